package peers

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// revisions remember what has changed when at all replicas, so that results of
// metric queries can be kept. Ticks number moments; a moment stands for a clock of
// the local store, and for what the peers had told by then. Peers are asked once
// for each query, before it begins ([Store.Refresh]): what they stored before is
// noted with a later tick than that of any result that may lack it.
type revisions struct {
	mu   sync.Mutex
	tick uint64
	base uint64 // everything counts as changed then
	// clocks are those of the local store, by the tick at which they were first seen.
	clocks  []clockAt
	changes []changeAt
	// asked are the names of the peers that were asked last, seen their clocks.
	asked string
	seen  map[string]uint64
	// failed says that not all of them answered.
	failed bool
}

type clockAt struct{ tick, clock uint64 }

type changeAt struct {
	tick uint64
	model.Span
}

// maxRevisions bounds the moments and the changes that are remembered.
const maxRevisions = 4096

// begin makes the first moment, under mu. A tick that another process gave out
// must not look like one of this one.
func (r *revisions) begin() {
	if r.tick == 0 {
		r.tick = rand.Uint64()>>2 + 1
		r.base = r.tick
		r.seen = map[string]uint64{}
	}
}

// spoilLocked makes everything count as changed now, under mu.
func (r *revisions) spoilLocked() {
	r.begin()
	r.tick++
	r.base = r.tick
	r.changes = nil
}

// spoil makes everything count as changed now.
func (r *revisions) spoil() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spoilLocked()
}

// Clock returns a moment, see engine.Reviser.
func (s *Store) Clock() uint64 {
	if s.directory == nil {
		return s.local.Clock()
	}
	r := &s.revisions
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begin()
	clock := s.local.Clock()
	if n := len(r.clocks); n == 0 || r.clocks[n-1].clock != clock {
		r.tick++
		r.clocks = append(r.clocks, clockAt{r.tick, clock})
		if len(r.clocks) > maxRevisions {
			r.clocks = slices.Delete(r.clocks, 0, maxRevisions/2)
		}
	}
	return r.tick
}

// ChangedSince says whether entries of a range may have come or gone at any
// replica since that moment, as far as was known at the last [Store.Refresh]. It
// always says so while a replica does not answer.
func (s *Store) ChangedSince(tick uint64, rng model.TimeRange) bool {
	others := s.others()
	if s.directory == nil {
		// One that is remembered is missed by every answer, which says so.
		return len(others) > 0 || s.local.ChangedSince(tick, rng)
	}
	names := namesOf(others)
	r := &s.revisions
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed || names != r.asked || tick < r.base || tick > r.tick {
		return true
	}
	for i := len(r.changes) - 1; i >= 0 && r.changes[i].tick > tick; i-- {
		if c := r.changes[i]; rng.Overlaps(c.Min, c.Max) {
			return true
		}
	}
	at := sort.Search(len(r.clocks), func(i int) bool { return r.clocks[i].tick > tick }) - 1
	return at < 0 || s.local.ChangedSince(r.clocks[at].clock, rng)
}

func namesOf(peers []*peer) string {
	var b strings.Builder
	for _, p := range peers {
		b.WriteString(p.name + "\xff")
	}
	return b.String()
}

// wireChanges is what has changed at a peer since its clock was Since.
type wireChanges struct {
	Since uint64       `json:"since,omitempty"`
	Clock uint64       `json:"clock"`
	All   bool         `json:"all,omitempty"`
	Spans []model.Span `json:"spans,omitempty"`
}

// Refresh asks all peers what has changed there, see engine.Refresher.
func (s *Store) Refresh(ctx context.Context) {
	if s.directory == nil {
		return
	}
	peers := s.others()
	r := &s.revisions
	r.mu.Lock()
	r.begin()
	since := make([]uint64, len(peers))
	for i, p := range peers {
		since[i] = r.seen[p.name]
	}
	r.mu.Unlock()
	answers := make([]wireChanges, len(peers))
	errs := make([]error, len(peers))
	var wg sync.WaitGroup
	for i, p := range peers {
		wg.Go(func() {
			text, err := s.askJSON(ctx, p, "changes", wireChanges{Since: since[i]})
			if err == nil {
				err = json.Unmarshal(text, &answers[i])
			}
			errs[i] = err
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	failed, all := false, false
	for i, p := range peers {
		if errs[i] != nil {
			failed = true
			delete(r.seen, p.name)
			continue
		}
		all = all || answers[i].All || since[i] == 0
		if answers[i].All || answers[i].Clock > r.seen[p.name] {
			r.seen[p.name] = answers[i].Clock
		}
		r.note(answers[i].Spans)
	}
	if names := namesOf(peers); names != r.asked || failed || r.failed || all || len(r.changes) > maxRevisions {
		r.asked, r.failed = names, failed
		r.spoilLocked()
	}
}

// note notes changes at a peer, under mu.
func (r *revisions) note(spans []model.Span) {
	if len(spans) == 0 {
		return
	}
	r.tick++
	for _, sp := range spans {
		r.changes = append(r.changes, changeAt{r.tick, sp})
	}
}

// serveChanges tells another replica what has changed here.
func (s *Store) serveChanges(a *answer, r *http.Request) error {
	var w wireChanges
	if err := decodeRequest(r, &w); err != nil {
		return err
	}
	now, spans, ok := s.local.ChangesSince(w.Since)
	text, err := json.Marshal(wireChanges{Clock: now, All: !ok, Spans: spans})
	if err != nil {
		return err
	}
	return sendList(a, []string{string(text)}, nil, appendString)
}
