package sharing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/podlogs"
)

// Where replicas ask each other for positions. The bodies are JSON of the request
// and response types of this file.
const (
	PathPrefix = "/logstack/v1/peer/positions/"
	claimPath  = PathPrefix + "claim"
	keepPath   = PathPrefix + "keep"
	// pendingPath answers with pendingResponse.
	pendingPath = PathPrefix + "pending"
)

const (
	// maxBody bounds requests and answers, maxKeep the positions in one request.
	maxBody = 16 << 20
	maxKeep = 1000
	// claimTimeout bounds one question, keepTimeout one delivery.
	claimTimeout = 10 * time.Second
	keepTimeout  = 3 * time.Second
	// unreachablePatience is how long a member whose Lease is renewed and that
	// cannot be asked is waited for.
	unreachablePatience = 30 * time.Second
)

// header begins every request: an address may be another's by now.
type header struct {
	Set  string `json:"set"`
	From string `json:"from"`
	To   string `json:"to"`
}

type claimRequest struct {
	header
	Pods []podlogs.PodRef `json:"pods"`
}

type claimResponse struct {
	Held    []podlogs.Held `json:"held"`
	Refused []string       `json:"refused"` // uids of pods that it owns, as it thinks
}

type pendingResponse struct {
	Pending int `json:"pending"`
}

type keepRequest struct {
	header
	Positions []podlogs.Held `json:"positions"`
}

// Positions are the containers that a replica reads. *podlogs.Collector is one.
type Positions interface {
	Release(ctx context.Context, taker string, pods []podlogs.PodRef) (held []podlogs.Held, refused []string, err error)
	Keep(ctx context.Context, from string, list []podlogs.Held) error
	Pending() int
}

// Handler answers the other replicas, below PathPrefix. Who may ask is its
// caller's business.
func (g *Group) Handler(p Positions) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+claimPath, func(w http.ResponseWriter, r *http.Request) {
		var req claimRequest
		if !g.decode(w, r, &req, &req.header) {
			return
		}
		held, refused, err := p.Release(r.Context(), req.From, req.Pods)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(claimResponse{Held: held, Refused: refused}) // who asked is gone otherwise
	})
	mux.HandleFunc("POST "+keepPath, func(w http.ResponseWriter, r *http.Request) {
		var req keepRequest
		if !g.decode(w, r, &req, &req.header) {
			return
		}
		if err := p.Keep(r.Context(), req.From, req.Positions); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST "+pendingPath, func(w http.ResponseWriter, r *http.Request) {
		var h header
		if g.decode(w, r, &h, &h) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(pendingResponse{p.Pending()}) // who asked is gone otherwise
		}
	})
	g.serveMarks(mux)
	return mux
}

// Pending asks all other members that work how much of what was given to them
// they have not begun to read.
func (g *Group) Pending(ctx context.Context) (n int, err error) {
	live, _ := g.targetsOf()
	for _, m := range live {
		var out pendingResponse
		if err := g.post(ctx, m, pendingPath, header{Set: g.opts.Set, From: g.opts.Name, To: m.Name}, &out); err != nil {
			return 0, err
		}
		n += out.Pending
	}
	return n, nil
}

// decode reads a request that is meant for us.
func (g *Group) decode(w http.ResponseWriter, r *http.Request, into any, h *header) bool {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(into); err != nil {
		http.Error(w, "cannot read the request: "+err.Error(), http.StatusBadRequest)
		return false
	}
	if h.Set != g.opts.Set || h.To != g.opts.Name || h.From == "" {
		http.Error(w, fmt.Sprintf("this is %s of the set %s", g.opts.Name, g.opts.Set), http.StatusMisdirectedRequest)
		return false
	}
	return true
}

// post sends one request and decodes the answer, unless out is nil.
func (g *Group) post(ctx context.Context, m Member, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.URL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := g.opts.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end, or thrown away
	if resp.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		return fmt.Errorf("%s answers %s: %s", m.Name, resp.Status, bytes.TrimSpace(text))
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(io.LimitReader(resp.Body, maxBody)).Decode(out)
}

// answer is what one member said, or did not.
type answer struct {
	member Member
	claimResponse
	err error
}

// Claim implements podlogs.Share.
func (g *Group) Claim(ctx context.Context, pods []podlogs.PodRef) podlogs.Claim {
	live, away := g.targetsOf()
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	answers := make([]answer, len(live))
	var wg sync.WaitGroup
	for i, m := range live {
		wg.Go(func() {
			a := &answers[i]
			a.member = m
			req := claimRequest{header: header{Set: g.opts.Set, From: g.opts.Name, To: m.Name}, Pods: pods}
			a.err = g.post(ctx, m, claimPath, req, &a.claimResponse)
		})
	}
	wg.Wait()
	var out podlogs.Claim
	later := make(map[string]bool)
	missing := func(since time.Time) {
		out.Missing = true
		if since.After(out.MissingSince) {
			out.MissingSince = since
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range away {
		since := m.LastSeen
		if g.began.After(since) {
			since = g.began
		}
		missing(since)
	}
	for i := range answers {
		a := &answers[i]
		if wait := g.reached(a); wait {
			for _, p := range pods {
				later[p.UID] = true
			}
			continue
		}
		if a.err != nil {
			missing(g.unreachable[a.member.Name])
			continue
		}
		out.Held = append(out.Held, a.Held...)
		for _, uid := range a.Refused {
			later[uid] = true
		}
	}
	for uid := range later {
		out.Later = append(out.Later, uid)
	}
	return out
}

// reached notes whether a member could be asked, and says whether it is to be
// waited for. The lock is held.
func (g *Group) reached(a *answer) (wait bool) {
	name := a.member.Name
	if a.err == nil {
		delete(g.unreachable, name)
		return false
	}
	since, known := g.unreachable[name]
	if !known || g.reachedID[name] != a.member.ID {
		since = time.Now()
		g.unreachable[name], g.reachedID[name] = since, a.member.ID
		g.log.Warn("a replica whose Lease is renewed cannot be asked for positions; what it reads waits for it for a while",
			"replica", name, "url", a.member.URL, "err", a.err)
	}
	m := g.members[name]
	return m != nil && m.live && time.Since(since) < unreachablePatience
}

// Replicate implements podlogs.Share.
func (g *Group) Replicate(ctx context.Context, list []podlogs.Held) (failed []podlogs.Held) {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	to := make(map[string][]podlogs.Held)
	for _, h := range list {
		first, second := g.rank(podlogs.PodRef{UID: h.UID, Node: h.Node})
		if first != g.opts.Name {
			second = first // it is about to ask for the pod, if it still can
		}
		if second != "" && second != g.opts.Name {
			to[second] = append(to[second], h)
		}
	}
	live, _ := g.targetsOf()
	byName := make(map[string]Member, len(live))
	for _, m := range live {
		byName[m.Name] = m
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for name, positions := range to {
		wg.Go(func() {
			for len(positions) > 0 {
				n := min(len(positions), maxKeep)
				if err := g.keep(ctx, byName[name], positions[:n]); err != nil {
					mu.Lock()
					failed = append(failed, positions...)
					mu.Unlock()
					return
				}
				positions = positions[n:]
			}
		})
	}
	wg.Wait()
	return failed
}

func (g *Group) keep(ctx context.Context, m Member, positions []podlogs.Held) error {
	if m.URL == "" {
		return errors.New("the member is away")
	}
	req := keepRequest{header: header{Set: g.opts.Set, From: g.opts.Name, To: m.Name}, Positions: positions}
	err := g.post(ctx, m, keepPath, req, nil)
	if err != nil {
		g.metrics.keepFailures.Inc()
		g.log.Debug("positions could not be copied; it is tried again", "replica", m.Name, "err", err)
	}
	return err
}
