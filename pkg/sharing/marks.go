package sharing

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// Where replicas ask each other for how far they are with something there is one
// owner of in the set, and where one that stops leaves that to the next owner.
const (
	askMarksPath  = PathPrefix + "marks/ask"
	giveMarksPath = PathPrefix + "marks/give"
)

// Singleton is the work that one replica of the set does for all, see
// [Group.Owns]. *kubevents.Collector is one.
type Singleton interface {
	// Handover returns how far this replica is.
	Handover() []model.Mark
	// Adopt takes what a former owner leaves.
	Adopt(marks []model.Mark)
}

type marksRequest struct {
	header
	Name  string       `json:"name"`
	Marks []model.Mark `json:"marks,omitempty"`
}

type marksResponse struct {
	Marks []model.Mark `json:"marks"`
}

// AddSingleton makes the others able to ask how far this replica is with the work
// of that name, and to leave theirs. It is to be called before Run.
func (g *Group) AddSingleton(name string, s Singleton) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.singletons[name] = s
}

func (g *Group) singleton(w http.ResponseWriter, name string) Singleton {
	g.mu.Lock()
	s := g.singletons[name]
	g.mu.Unlock()
	if s == nil {
		http.Error(w, fmt.Sprintf("%s does not do %q", g.opts.Name, name), http.StatusNotFound)
	}
	return s
}

func (g *Group) serveMarks(mux *http.ServeMux) {
	mux.HandleFunc("POST "+askMarksPath, func(w http.ResponseWriter, r *http.Request) {
		var req marksRequest
		if !g.decode(w, r, &req, &req.header) {
			return
		}
		if s := g.singleton(w, req.Name); s != nil {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(marksResponse{s.Handover()}) // who asked is gone otherwise
		}
	})
	mux.HandleFunc("POST "+giveMarksPath, func(w http.ResponseWriter, r *http.Request) {
		var req marksRequest
		if !g.decode(w, r, &req, &req.header) {
			return
		}
		if s := g.singleton(w, req.Name); s != nil {
			s.Adopt(req.Marks)
			w.WriteHeader(http.StatusNoContent)
		}
	})
}

// AskMarks returns how far each of the other members that work is with something.
// Who does not tell is left out.
func (g *Group) AskMarks(ctx context.Context, name string) [][]model.Mark {
	live, _ := g.targetsOf()
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	all := make([][]model.Mark, len(live))
	var wg sync.WaitGroup
	for i, m := range live {
		wg.Go(func() {
			req := marksRequest{header: header{Set: g.opts.Set, From: g.opts.Name, To: m.Name}, Name: name}
			var out marksResponse
			if err := g.post(ctx, m, askMarksPath, req, &out); err != nil {
				g.log.Info("a replica does not tell how far it is", "replica", m.Name, "with", name, "err", err)
				return
			}
			all[i] = out.Marks
		})
	}
	wg.Wait()
	return slices.DeleteFunc(all, func(marks []model.Mark) bool { return len(marks) == 0 })
}

// LeaveMarks tells the next owner of something how far this replica is, which has
// stopped doing it. It does nothing for one that is not the owner.
func (g *Group) LeaveMarks(ctx context.Context, name string) error {
	g.mu.Lock()
	s := g.singletons[name]
	first, next := g.ranking.best(nameKey(name))
	g.mu.Unlock()
	if s == nil || first != g.opts.Name || next == "" {
		return nil
	}
	live, _ := g.targetsOf()
	i := slices.IndexFunc(live, func(m Member) bool { return m.Name == next })
	if i < 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	req := marksRequest{header: header{Set: g.opts.Set, From: g.opts.Name, To: next}, Name: name, Marks: s.Handover()}
	if err := g.post(ctx, live[i], giveMarksPath, req, nil); err != nil {
		return fmt.Errorf("leaving %s to %s: %w", name, next, err)
	}
	return nil
}
