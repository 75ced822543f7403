package peers

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

const (
	// recentRows is how many rows a tail remembers, to leave out those that come
	// from a second replica.
	recentRows = 8192
	// lookForPeers is how often a tail looks for replicas that were not there.
	lookForPeers = 2 * time.Second
	// catchUp is how far before the last entry of a broken tail it is taken up
	// again: what arrives late is stored late.
	catchUp = 2 * time.Second
)

// Tail follows new entries at all replicas. When it returns, those that can be
// reached are being followed; one that comes later, or back, is from then on, and
// what it stored meanwhile is read first. Entries of one replica come in the
// order in which they became durable there. A line that two replicas store at
// about the same time comes as often as the one that has most of it.
func (s *Store) Tail(ctx context.Context, req model.TailRequest) (model.BatchIterator, error) {
	if s.directory == nil {
		return s.local.Tail(ctx, req)
	}
	it, err := s.local.Tail(ctx, req)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	t := &tail{s: s, req: req, cancel: cancel, begun: s.opts.Now(), items: make(chan tailItem), known: map[*peer]bool{}}
	t.recent.counts = map[uint64]int{}
	t.group.Add(1)
	go func() {
		defer t.group.Done()
		err := t.pump(ctx, s.opts.Name, it)
		err = errors.Join(err, it.Close())
		t.end(ctx, err)
	}()
	var first sync.WaitGroup
	t.follow(ctx, &first)
	first.Wait()
	t.group.Add(1)
	go func() {
		defer t.group.Done()
		ticker := time.NewTicker(lookForPeers)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				t.follow(ctx, nil)
			case <-ctx.Done():
				return
			}
		}
	}()
	return t, nil
}

// tail merges what replicas store.
type tail struct {
	s      *Store
	req    model.TailRequest
	cancel context.CancelFunc
	begun  time.Time
	group  sync.WaitGroup
	items  chan tailItem

	mu    sync.Mutex
	known map[*peer]bool // that are followed

	// What follows belongs to the reader.
	table  streamTable
	trans  map[string]*tailSource
	begins uint64 // how many sources have begun
	recent recentLines
	out    model.EntryBatch
	ack    chan<- struct{} // of the batch that is being read
	err    error
}

// tailItem is a batch on its way to the reader, who closes done when it has been read.
type tailItem struct {
	from  string
	fresh bool // the numbers of streams begin anew
	b     *model.EntryBatch
	done  chan<- struct{}
	err   error
}

// give hands a batch to the reader and waits until it has been read.
func (t *tail) give(ctx context.Context, from string, fresh bool, b *model.EntryBatch) error {
	done := make(chan struct{})
	select {
	case t.items <- tailItem{from: from, fresh: fresh, b: b, done: done}:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end tells the reader why there is nothing more.
func (t *tail) end(ctx context.Context, err error) {
	select {
	case t.items <- tailItem{err: err}:
	case <-ctx.Done():
	}
}

// pump hands on what an iterator gives, up to its end.
func (t *tail) pump(ctx context.Context, from string, it model.BatchIterator) error {
	for fresh := true; ; fresh = false {
		b, err := it.Next(ctx)
		if err != nil {
			return err
		}
		if err := t.give(ctx, from, fresh, b); err != nil {
			return err
		}
	}
}

// follow begins to follow the peers that are not followed yet. first, if there is
// one, is done when each of them has been tried once.
func (t *tail) follow(ctx context.Context, first *sync.WaitGroup) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.s.others() {
		if t.known[p] {
			continue
		}
		t.known[p] = true
		tried := func() {}
		f := &follower{t: t, p: p, late: first == nil, last: math.MinInt64}
		if first != nil {
			first.Add(1)
			tried = sync.OnceFunc(first.Done)
		}
		t.group.Add(1)
		go func() {
			defer t.group.Done()
			defer tried()
			f.run(ctx, tried)
		}()
	}
}

// follower follows one peer.
type follower struct {
	t    *tail
	p    *peer
	late bool  // entries may have been missed
	last int64 // the newest timestamp that came
	down bool  // and the reader has been told
}

// run follows until ctx ends; tried is called when it has been tried once.
func (f *follower) run(ctx context.Context, tried func()) {
	s := f.t.s
	for ctx.Err() == nil {
		resp, err := s.post(ctx, f.p, "tail", wireTail{Matchers: toWire(f.t.req.Matchers), Buffer: f.t.req.Buffer})
		if err == nil {
			if f.down {
				model.Warn(ctx, fmt.Sprintf("replica %s answers again", f.p.name))
			}
			f.down = false
			tried()
			err = f.read(ctx, resp)
			f.late = true
		}
		tried()
		if ctx.Err() != nil || errors.Is(err, errSelf) {
			return
		}
		if !f.down {
			f.down = true
			s.warn(ctx, f.p, model.AllTime(), err)
		}
		wait := time.NewTimer(lookForPeers)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return
		}
	}
}

// read hands on what the answer brings. What was stored while nobody followed
// comes first.
func (f *follower) read(ctx context.Context, resp *http.Response) error {
	defer resp.Body.Close() //nolint:errcheck // given up
	frames := newPatientReader(resp, f.p.idle)
	defer frames.stop()
	if f.late {
		if err := f.catchUp(ctx); err != nil {
			return err
		}
	}
	var table batchTable
	var b model.EntryBatch
	var payload []byte
	for fresh := true; ; {
		kind, next, err := frames.next(payload)
		payload = next
		switch {
		case err != nil:
			f.t.s.fail(ctx, f.p, err)
			return err
		case kind == frameHeartbeat:
			continue
		case kind == frameEnd:
			return io.EOF
		case kind == frameError:
			return &RemoteError{Msg: string(payload)}
		case kind != frameBatch:
			return damaged("a frame of kind %q", kind)
		}
		if err := table.decodeBatch(payload, &b); err != nil {
			return err
		}
		f.note(&b)
		if err := f.t.give(ctx, f.p.name, fresh, &b); err != nil {
			return err
		}
		fresh = false
	}
}

func (f *follower) note(b *model.EntryBatch) {
	for _, ts := range b.Timestamps {
		f.last = max(f.last, ts)
	}
}

// catchUp reads what the peer has stored since it was followed last.
func (f *follower) catchUp(ctx context.Context) error {
	start := f.t.begun.UnixNano()
	if f.last != math.MinInt64 {
		start = f.last
	}
	it := f.t.s.selectFrom(ctx, f.p, model.SelectRequest{
		Matchers: f.t.req.Matchers, Direction: model.Forward,
		Range: model.TimeRange{Start: start - int64(catchUp), End: math.MaxInt64},
	})
	defer it.Close() //nolint:errcheck // always nil
	for fresh := true; ; fresh = false {
		b, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		f.note(b)
		if err := f.t.give(ctx, f.p.name, fresh, b); err != nil {
			return err
		}
	}
}

// tailSource is one connection to a replica. What a second one brings again does
// not count twice.
type tailSource struct {
	translation
	number uint64
}

// Next implements model.BatchIterator. It ends with the local store's tail.
func (t *tail) Next(ctx context.Context) (*model.EntryBatch, error) {
	for t.err == nil {
		if t.ack != nil {
			close(t.ack)
			t.ack = nil
		}
		select {
		case item := <-t.items:
			if item.err != nil {
				t.err = item.err
				continue
			}
			t.ack = item.done
			if out := t.pass(&item); out != nil {
				return out, nil
			}
		case <-ctx.Done():
			t.err = ctx.Err()
		}
	}
	return nil, t.err
}

// pass translates a batch and leaves out what another replica has brought.
func (t *tail) pass(item *tailItem) *model.EntryBatch {
	b := item.b
	if t.trans == nil {
		t.trans = map[string]*tailSource{}
	}
	trans := t.trans[item.from]
	if trans == nil || item.fresh {
		t.begins++
		trans = &tailSource{number: t.begins}
		t.trans[item.from] = trans
	}
	trans.grow(&t.table, b.Streams)
	t.out.Reset()
	out := &t.out
	for i, id := range b.StreamIndex {
		id := trans.ids[id]
		if !t.recent.first(trans.number, id, b, i) {
			t.s.doubled(1)
			continue
		}
		out.StreamIndex = append(out.StreamIndex, id)
		out.Timestamps = append(out.Timestamps, b.Timestamps[i])
		out.Lines = append(out.Lines, b.Lines[i])
		if len(b.Metadata) > 0 {
			out.Metadata = append(out.Metadata, b.Metadata[i])
		}
	}
	res := *out
	res.Streams, res.Dropped = t.table.labels, b.Dropped
	if len(b.Metadata) == 0 {
		res.Metadata = nil
	}
	if len(res.Timestamps) == 0 && res.Dropped == 0 {
		return nil
	}
	return &res
}

// Stats implements model.BatchIterator. A tail has none.
func (t *tail) Stats() model.SelectStats { return model.SelectStats{} }

// Close implements model.BatchIterator.
func (t *tail) Close() error {
	t.cancel()
	t.group.Wait()
	if t.err == nil {
		t.err = io.EOF
	}
	return nil
}

// recentLines counts the last rows by their hash, in all and by source.
type recentLines struct {
	counts map[uint64]int
	ring   [2 * recentRows]uint64
	at     int
	buf    []byte
}

// first says whether no other source has brought as many of a row, this one
// included, as this one.
func (r *recentLines) first(source uint64, id uint32, b *model.EntryBatch, i int) bool {
	r.buf = binary.LittleEndian.AppendUint64(r.buf[:0], uint64(b.Timestamps[i]))
	r.buf = binary.LittleEndian.AppendUint32(r.buf, id)
	if len(b.Metadata) > 0 && !b.Metadata[i].IsEmpty() {
		r.buf = binary.LittleEndian.AppendUint64(r.buf, b.Metadata[i].Hash())
	}
	key := xxhash.Sum64(r.buf)*0x9e3779b97f4a7c15 ^ xxhash.Sum64String(b.Lines[i])
	own := (key ^ source*0x9e3779b97f4a7c15) * 0xff51afd7ed558ccd
	r.note(own)
	if r.counts[own] <= r.counts[key] {
		return false
	}
	r.note(key)
	return true
}

// note counts a key and forgets the oldest one.
func (r *recentLines) note(key uint64) {
	if old := r.ring[r.at]; old != 0 {
		if r.counts[old]--; r.counts[old] <= 0 {
			delete(r.counts, old)
		}
	}
	r.ring[r.at] = key
	r.at = (r.at + 1) % len(r.ring)
	r.counts[key]++
}
