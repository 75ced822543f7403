package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

const (
	// leaveMark remembers that this replica is leaving, or has left.
	leaveMark = "peers/leave"
	// shipPrefix begins the marks of those who take entries over: how far the
	// sender has come, peers/ship/<sender>/<leave>/<lane>.
	shipPrefix = "peers/ship/"
	// leftQuery is the text of the delete request by which a replica that comes
	// back forgets what it handed over.
	leftQuery = "handed over when this replica left"

	// shipRows and shipBytes end a batch.
	shipRows  = 10_000
	shipBytes = 1 << 20
	// shipPause is the wait after a failure.
	shipPause = 2 * time.Second
)

// leaving is how far this replica has come in leaving for good.
type leaving struct {
	mu       sync.Mutex
	plan     leavePlan
	running  bool
	progress lokiapi.LeaveStatus

	// writers is held for reading by appends, for writing when the state changes:
	// nothing is stored here any more once it is being handed over.
	writers sync.RWMutex
}

// leavePlan is what the mark remembers.
type leavePlan struct {
	// ID tells the marks of one leave from those of another.
	ID    string `json:"id"`
	State string `json:"state"`
	// Lanes are the names of the replicas that were there in the beginning. Each
	// stream belongs to one of them, whoever takes it over in the end.
	Lanes   []string  `json:"lanes"`
	Started time.Time `json:"started"`
}

// state is active, leaving or left.
func (l *leaving) state() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.plan.State == "" {
		return stateActive
	}
	return l.plan.State
}

// LeaveStatus tells how far leaving has come.
func (s *Store) LeaveStatus() lokiapi.LeaveStatus {
	l := &s.leave
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.progress
	if out.State = l.plan.State; out.State == "" {
		out.State = stateActive
	}
	if out.State == stateActive && l.running {
		out.State = stateLeaving // it stops collecting
	}
	return out
}

// Append stores a batch at this replica, or at another one when this one leaves.
func (s *Store) Append(ctx context.Context, b *model.Batch) error {
	l := &s.leave
	l.writers.RLock()
	if l.state() == stateActive {
		defer l.writers.RUnlock()
		return s.local.Append(ctx, b)
	}
	l.writers.RUnlock()
	if len(b.Marks) > 0 {
		// Its writer goes on at another replica, at the last mark that it has.
		return fmt.Errorf("the entries of a collector are not stored here any more: %w", ErrLeaving)
	}
	return s.forward(ctx, b)
}

// forward stores a batch at the first replica that takes it.
func (s *Store) forward(ctx context.Context, b *model.Batch) error {
	var last error
	for _, p := range s.others() {
		if p.state() != stateActive {
			continue
		}
		_, err := s.ship(ctx, p, &shipment{}, b.Streams)
		if err == nil {
			return nil
		}
		last = err
	}
	return fmt.Errorf("this replica is leaving, and no other one takes entries: %w", cmpErr(last))
}

func cmpErr(err error) error {
	if err == nil {
		return ErrNobody
	}
	return err
}

// ErrNobody says that there is no replica to hand entries over to.
var ErrNobody = errors.New("there is no other replica that answers")

// Start does what is left to do of an earlier run: a replica that had left and is
// back gives up what it handed over, one that was leaving goes on. It is called
// once, before anything is served.
func (s *Store) Start(ctx context.Context) error {
	text, ok := s.local.Marks(leaveMark)[leaveMark]
	if !ok {
		return nil
	}
	var plan leavePlan
	if err := json.Unmarshal(text, &plan); err != nil {
		return fmt.Errorf("the mark %s cannot be read: %w", leaveMark, err)
	}
	if plan.State != stateLeft {
		s.leave.mu.Lock()
		s.leave.plan = plan
		s.leave.mu.Unlock()
		return nil
	}
	// No stream has this label: the matcher matches all of them.
	every := labels.MustNewMatcher(labels.MatchEqual, "__logstack_left__", "")
	if _, err := s.local.Delete(ctx, model.DeleteRequest{Matchers: []*labels.Matcher{every}, Range: model.AllTime(), Query: leftQuery}); err != nil {
		return fmt.Errorf("giving up what other replicas have taken over: %w", err)
	}
	s.log.Info("this replica is back; what it handed over when it left is with the others")
	return s.local.Append(ctx, &model.Batch{Marks: []model.Mark{{Key: leaveMark}}})
}

// Leave hands all entries over to the other replicas, for good, and returns when
// they have them. First [Options.OnLeave] stops the collectors; from then on
// nothing is stored here: what is pushed goes to others. It goes on after failures
// until ctx ends, and after a restart where it was ([Store.Run]); it cannot be
// taken back. A replica that has left still answers, but is not needed.
func (s *Store) Leave(ctx context.Context) error {
	if !s.leave.start() {
		return nil
	}
	return s.goOn(ctx)
}

// start is true for the one call that has to leave.
func (l *leaving) start() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running || l.plan.State == stateLeft {
		return false
	}
	l.running = true
	return true
}

// goOn leaves until that is done, or ctx ends.
func (s *Store) goOn(ctx context.Context) error {
	l := &s.leave
	defer func() {
		l.mu.Lock()
		l.running = false
		l.mu.Unlock()
	}()
	for {
		err := s.leaveOnce(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		l.mu.Lock()
		l.progress.Error = err.Error()
		l.mu.Unlock()
		s.log.Warn("leaving does not go on", "error", err)
		timer := time.NewTimer(shipPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// leaveOnce tries to leave, from where it has come.
func (s *Store) leaveOnce(ctx context.Context) error {
	l := &s.leave
	var lanes []string
	if s.leave.state() == stateActive {
		if lanes = s.lanes(ctx); len(lanes) == 0 {
			return ErrNobody
		}
	}
	if s.opts.OnLeave != nil {
		if err := s.opts.OnLeave(ctx); err != nil {
			return fmt.Errorf("stopping what collects entries: %w", err)
		}
	}
	if err := s.beginLeave(ctx, lanes); err != nil {
		return err
	}
	l.mu.Lock()
	plan := l.plan
	l.progress.Shipped = 0
	l.mu.Unlock()
	volumes, err := s.local.Volume(ctx, model.AllTime(), nil)
	if err != nil {
		return err
	}
	total := int64(0)
	for _, v := range volumes {
		total += v.Entries
	}
	l.mu.Lock()
	l.progress.Total = total
	l.mu.Unlock()
	for _, lane := range plan.Lanes {
		if err := s.shipLane(ctx, &plan, lane); err != nil {
			return err
		}
	}
	plan.State = stateLeft
	if err := s.setPlan(ctx, plan); err != nil {
		return err
	}
	l.mu.Lock()
	l.progress.Error = ""
	l.mu.Unlock()
	s.log.Info("everything is handed over: this replica may go", "entries", total)
	s.everyone(ctx, s.others(), "ping", struct{}{}, nil) // tells them
	return nil
}

// lanes are the replicas that can take entries over.
func (s *Store) lanes(ctx context.Context) []string {
	var out []string
	for _, p := range s.others() {
		if err := s.ping(ctx, p); err == nil && p.state() == stateActive {
			out = append(out, p.name)
		}
	}
	return out
}

// beginLeave makes the plan, unless there is one. From then on nothing is stored
// here.
func (s *Store) beginLeave(ctx context.Context, lanes []string) error {
	if s.leave.state() != stateActive {
		return nil
	}
	plan := leavePlan{ID: fmt.Sprintf("%016x", rand.Uint64()), State: stateLeaving, Lanes: lanes, Started: s.opts.Now().UTC()}
	s.leave.writers.Lock()
	defer s.leave.writers.Unlock()
	if err := s.setPlan(ctx, plan); err != nil {
		return err
	}
	s.log.Info("leaving: handing all entries over", "to", strings.Join(lanes, ", "))
	return nil
}

// setPlan stores the plan and puts it into force.
func (s *Store) setPlan(ctx context.Context, plan leavePlan) error {
	text, err := json.Marshal(plan)
	if err != nil {
		return err
	}
	if err := s.local.Append(ctx, &model.Batch{Marks: []model.Mark{{Key: leaveMark, Value: text}}}); err != nil {
		return fmt.Errorf("storing how far leaving has come: %w", err)
	}
	s.leave.mu.Lock()
	s.leave.plan = plan
	s.leave.mu.Unlock()
	return nil
}

// weight ranks lanes for a stream, or replicas for a lane (rendezvous hashing).
func weight(name, key string) uint64 { return xxhash.Sum64String(name + "\xff" + key) }

// laneOf is the lane that a stream belongs to.
func (p *leavePlan) laneOf(ls labels.Labels) string {
	key := ls.String()
	best := p.Lanes[0]
	for _, lane := range p.Lanes[1:] {
		if weight(lane, key) > weight(best, key) {
			best = lane
		}
	}
	return best
}

// taker is who takes a lane over: the replica of its name, or else one of the others.
func (s *Store) taker(ctx context.Context, lane string) (*peer, error) {
	peers := slices.DeleteFunc(s.others(), func(p *peer) bool { return s.ping(ctx, p) != nil || p.state() != stateActive })
	if len(peers) == 0 {
		return nil, ErrNobody
	}
	return slices.MaxFunc(peers, func(a, b *peer) int {
		switch {
		case a.name == lane || b.name != lane && weight(a.name, lane) > weight(b.name, lane):
			return 1
		case b.name == lane || weight(a.name, lane) < weight(b.name, lane):
			return -1
		}
		return 0
	}), nil
}

// position is how far a lane has been taken over: all entries before a time, and
// the first few with it. Entries are counted in the order of forward.
type position struct {
	Time int64 `json:"time"`
	Rows int64 `json:"rows"`
	Sum  int64 `json:"sum"` // of all entries so far, for progress
}

// beginning is the position before all entries.
var beginning = position{Time: math.MinInt64}

// shipLane hands the streams of one lane over.
func (s *Store) shipLane(ctx context.Context, plan *leavePlan, lane string) error {
	p, err := s.taker(ctx, lane)
	if err != nil {
		return err
	}
	w := &shipment{Mark: s.opts.Name + "/" + plan.ID + "/" + lane, From: beginning}
	at, err := s.ship(ctx, p, w, nil) // tells where it is
	if err != nil {
		return fmt.Errorf("handing over to %s: %w", p.name, err)
	}
	s.shipped(at.Sum)
	it, err := s.local.Select(ctx, model.SelectRequest{Range: model.TimeRange{Start: at.Time, End: math.MaxInt64}, Direction: model.Forward})
	if err != nil {
		return err
	}
	defer it.Close() //nolint:errcheck // of files that have been read
	b := laneBatch{plan: plan, lane: lane, at: at, skip: at.Rows}
	b.begin()
	for {
		rows, err := it.Next(ctx)
		if err != nil && !isEnd(err) {
			return err
		}
		last := err != nil
		for i := 0; !last && i < rows.Len(); i++ {
			if b.full(rows, i) {
				if err := s.sendLane(ctx, p, w, &b); err != nil {
					return err
				}
			}
			b.add(rows, i)
		}
		if last {
			return s.sendLane(ctx, p, w, &b)
		}
	}
}

// sendLane sends what has been gathered.
func (s *Store) sendLane(ctx context.Context, p *peer, w *shipment, b *laneBatch) error {
	if b.rows == 0 {
		return nil
	}
	w.From, w.To, w.Middle = b.sent, b.at, b.middle
	at, err := s.ship(ctx, p, w, b.streams)
	if err != nil {
		return fmt.Errorf("handing over to %s: %w", p.name, err)
	}
	if at != w.To {
		return fmt.Errorf("handing over to %s: it is at %+v and not at %+v", p.name, at, w.To)
	}
	s.metrics.handed.Add(float64(b.rows))
	s.shipped(int64(b.rows))
	b.begin()
	return nil
}

func (s *Store) shipped(n int64) {
	l := &s.leave
	l.mu.Lock()
	l.progress.Shipped += n
	l.progress.Error = ""
	l.mu.Unlock()
}

// laneBatch gathers the entries of one lane.
type laneBatch struct {
	plan *leavePlan
	lane string
	own  []bool // by number of a stream: whether it belongs to the lane
	at   position
	sent position // at is behind the entries of the batch, sent before them
	skip int64    // entries of the first timestamp that have been taken over

	streams []model.StreamEntries
	of      map[uint32]int
	rows    int
	bytes   int
	last    uint32 // the stream of the last row
	middle  bool   // the batch before ended among rows of this one's first stream and timestamp
}

// begin prepares for another batch.
func (b *laneBatch) begin() {
	b.streams, b.of, b.rows, b.bytes, b.sent = nil, map[uint32]int{}, 0, 0, b.at
}

// full says whether the batch ends before a row. Rows of one stream and timestamp
// stay together, as long as that is possible: the receiver compares them with its
// own.
func (b *laneBatch) full(rows *model.EntryBatch, i int) bool {
	if b.rows < shipRows && b.bytes < shipBytes {
		return false
	}
	alike := rows.Timestamps[i] == b.at.Time && rows.StreamIndex[i] == b.last
	b.middle = alike && b.bytes >= maxGroup
	return !alike || b.middle
}

// add takes a row, if it belongs to the lane.
func (b *laneBatch) add(rows *model.EntryBatch, i int) {
	for n := len(b.own); n < len(rows.Streams); n++ {
		b.own = append(b.own, b.plan.laneOf(rows.Streams[n]) == b.lane)
	}
	id := rows.StreamIndex[i]
	if !b.own[id] {
		return
	}
	ts := rows.Timestamps[i]
	if b.skip > 0 {
		if ts == b.at.Time {
			b.skip--
			return
		}
		b.skip = 0
	}
	if ts != b.at.Time {
		b.at.Time, b.at.Rows = ts, 0
	}
	b.at.Rows++
	b.at.Sum++
	n, ok := b.of[id]
	if !ok {
		n = len(b.streams)
		b.of[id] = n
		b.streams = append(b.streams, model.StreamEntries{Labels: rows.Streams[id]})
	}
	e := model.Entry{Timestamp: ts, Line: strings.Clone(rows.Lines[i])}
	if len(rows.Metadata) > 0 {
		e.Metadata = rows.Metadata[i].Copy()
	}
	b.streams[n].Entries = append(b.streams[n].Entries, e)
	b.rows++
	b.bytes += len(e.Line) + int(e.Metadata.ByteSize())
	b.last = id
}

// serveLeave answers lokiapi.LeavePath.
func (s *Store) serveLeave(w http.ResponseWriter, r *http.Request) {
	code := http.StatusOK
	if r.Method == http.MethodPost {
		code = http.StatusAccepted
		if s.leave.state() == stateActive && len(s.lanes(r.Context())) == 0 {
			http.Error(w, "this replica cannot leave: "+ErrNobody.Error(), http.StatusConflict)
			return
		}
		if s.leave.start() {
			go func() {
				if err := s.goOn(s.closing); err != nil && s.closing.Err() == nil {
					s.log.Error("leaving failed", "error", err)
				}
			}()
		}
	}
	if _, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxRequest)); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeJSON(w, code, s.LeaveStatus())
}
