package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

const (
	// pingEvery is how often peers are asked how they are.
	pingEvery = 15 * time.Second
	// saveEvery is how often what is known of a peer is stored, where only the
	// times in it have changed.
	saveEvery = 10 * time.Minute
)

// Run keeps an eye on the peers until ctx ends: so that one that is back is asked
// again, and that it is known what those that go away hold.
func (s *Store) Run(ctx context.Context) {
	var leaving sync.WaitGroup
	defer leaving.Wait()
	if s.leave.state() == stateLeaving {
		leaving.Go(func() {
			if err := s.Leave(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("leaving failed", "error", err)
			}
		})
	}
	ticker := time.NewTicker(pingEvery)
	defer ticker.Stop()
	for {
		s.lookAround(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			// Who is asked after the next start may be away by then.
			s.save(context.WithoutCancel(ctx), 0)
			return
		}
	}
}

// lookAround asks all peers how they are, also those that have left, and stores
// what has changed.
func (s *Store) lookAround(ctx context.Context) {
	s.others()
	var wg sync.WaitGroup
	for _, p := range s.all() {
		if p.listedNow() {
			wg.Go(func() { _ = s.ping(ctx, p) }) // what came of it is noted with the peer
		}
	}
	wg.Wait()
	s.save(ctx, saveEvery)
}

// ping asks a peer for the headers of an answer.
func (s *Store) ping(ctx context.Context, p *peer) error {
	_, err := list(ctx, s, p, ask{what: "ping", body: struct{}{}}, (*decoder).text)
	return err
}

// all returns every peer that is known, sorted by name.
func (s *Store) all() []*peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*peer, 0, len(s.peers))
	for _, p := range s.peers {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *peer) int { return strings.Compare(a.name, b.name) })
	return out
}

func (p *peer) listedNow() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.listed && !p.self
}

// save stores what is known of the peers, in the marks of the local store, if more
// than times has changed or these are older than that.
func (s *Store) save(ctx context.Context, every time.Duration) {
	var marks []model.Mark
	for _, p := range s.all() {
		p.mu.Lock()
		k, saved := p.known, p.saved
		if !p.self && !k.Seen.IsZero() && (k.State != saved.State || k.Seen.Sub(saved.Seen) > every || saved.Oldest == 0 && k.Oldest != 0) {
			if text, err := json.Marshal(k); err == nil {
				marks = append(marks, model.Mark{Key: knownPrefix + p.name, Value: text})
				p.saved = k
			}
		}
		p.mu.Unlock()
	}
	if len(marks) == 0 {
		return
	}
	if err := s.local.Append(ctx, &model.Batch{Marks: marks}); err != nil && ctx.Err() == nil {
		s.log.Warn("what is known of other replicas cannot be stored", "error", err)
	}
}

// heard notes what a request tells of the replica that sent it.
func (s *Store) heard(h http.Header) {
	name, state := h.Get(headerReplica), h.Get(headerState)
	if name == "" || state == "" || h.Get(headerInstance) == s.instance {
		return
	}
	s.mu.Lock()
	p := s.peers[name]
	s.mu.Unlock()
	if p == nil {
		return
	}
	p.mu.Lock()
	changed := p.known.State != state
	p.known.State = state
	if p.known.Seen.IsZero() {
		p.known.Seen = s.opts.Now()
	}
	p.failures, p.until = 0, time.Time{} // it lives
	p.mu.Unlock()
	if changed {
		s.log.Info("a replica says what it does", "replica", name, "state", state)
		s.save(s.closing, saveEvery)
	}
}

// Members lists the replicas that are known, this one included, sorted by name.
func (s *Store) Members() []lokiapi.Member {
	s.others()
	oldest, newest := s.spanNow()
	self := lokiapi.Member{Name: s.opts.Name, Self: true, Live: true, Answers: true, State: s.leave.state()}
	self.Oldest, self.Newest = times(oldest, newest)
	out := []lokiapi.Member{self}
	for _, p := range s.all() {
		p.mu.Lock()
		k := p.known
		m := lokiapi.Member{Name: p.name, URL: p.url, Live: p.live, State: k.State, Answers: p.err == nil && !k.Seen.IsZero() && p.listed}
		switch {
		case p.err != nil:
			m.Error = reason(p.err)
		case p.unknown != "":
			m.Error = p.unknown
		case !p.listed:
			m.Error = "it is not a member any more"
		}
		m.Oldest, m.Newest = times(k.Oldest, k.Newest)
		if !k.Seen.IsZero() {
			seen := k.Seen.UTC()
			m.Seen = &seen
		}
		if !p.self {
			out = append(out, m)
		}
		p.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b lokiapi.Member) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func times(oldest, newest int64) (from, to *time.Time) {
	if oldest == 0 && newest == 0 {
		return nil, nil
	}
	a, b := time.Unix(0, oldest).UTC(), time.Unix(0, newest).UTC()
	return &a, &b
}

// Forget gives up what a replica holds that is not a member any more, here and at
// all others: answers do not warn of it, and it does not stop delete requests.
func (s *Store) Forget(ctx context.Context, name string) error {
	if err := s.forgetHere(ctx, name); err != nil {
		return err
	}
	peers := s.others()
	for i, err := range s.everyone(ctx, peers, "forget", wireQuestion{Name: name}, nil) {
		if err != nil {
			return &PartialError{Replica: peers[i].name, What: "forgetting " + name, Err: err}
		}
	}
	return nil
}

func (s *Store) forgetHere(ctx context.Context, name string) error {
	s.others()
	s.mu.Lock()
	p := s.peers[name]
	if p != nil {
		p.mu.Lock()
		listed := p.listed && p.live
		p.mu.Unlock()
		if listed {
			s.mu.Unlock()
			return fmt.Errorf("replica %s is running: only one that is gone can be forgotten", name)
		}
		delete(s.peers, name)
	}
	s.mu.Unlock()
	s.log.Info("a replica is forgotten", "replica", name)
	return s.local.Append(ctx, &model.Batch{Marks: []model.Mark{{Key: knownPrefix + name}}})
}

func (s *Store) serveForget(_ *answer, r *http.Request) error {
	var q wireQuestion
	if err := decodeRequest(r, &q); err != nil {
		return err
	}
	return s.forgetHere(r.Context(), q.Name)
}

// serveMembers answers GET and DELETE of lokiapi.MembersPath.
func (s *Store) serveMembers(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodDelete {
		name := r.URL.Query().Get("name")
		if name == "" {
			http.Error(w, "name is not set: the list of members tells it", http.StatusBadRequest)
			return
		}
		if err := s.Forget(r.Context(), name); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
	}
	writeJSON(w, http.StatusOK, s.Members())
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(code)
	_, _ = w.Write(append(text, '\n')) // an error means that the client is gone
}
