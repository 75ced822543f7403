package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/server"
	"github.com/logstack-dev/kubectl-logstack/pkg/store"
)

// listen serves a store in a temporary directory.
func listen(t *testing.T) (*lokiapi.Client, *store.DB, *server.Server) {
	t.Helper()
	db, err := store.Open(t.TempDir(), store.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	s := server.New(server.Options{StatusCode: statusCode})
	s.SetBackend(db, engine.New(db, engine.Options{}))
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return serveHTTP(t, s), db, s
}

// serveHTTP returns a client of the server, which ends with the test.
func serveHTTP(t *testing.T, s *server.Server) *lokiapi.Client {
	t.Helper()
	srv := httptest.NewServer(s.Handler())
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := s.Drain(context.Background()); err != nil {
			t.Error(err)
		}
		srv.Close()
	})
	return &lokiapi.Client{HTTP: &http.Client{Transport: transport}, BaseURL: srv.URL}
}

// TestTailWhilePushing opens tails on both transports while four clients push
// and the store flushes: each entry comes exactly once.
func TestTailWhilePushing(t *testing.T) {
	c, db, _ := listen(t)
	const writers, each = 4, 150
	start := time.Now()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range each {
				err := c.Push(t.Context(), []model.StreamEntries{{
					Labels:  labels.FromStrings("app", "web", "writer", fmt.Sprint(w)),
					Entries: []model.Entry{{Timestamp: time.Now().UnixNano(), Line: fmt.Sprintf("%d/%d", w, i)}},
				}})
				if err != nil {
					t.Error(err)
					return
				}
				if w == 0 && i%50 == 25 {
					if err := db.Flush(t.Context()); err != nil {
						t.Error(err)
					}
				}
			}
		}()
	}
	read := func(name string, open func(*lokiapi.Client, context.Context, lokiapi.TailRequest) (*lokiapi.TailStream, error)) {
		defer wg.Done()
		tail, err := open(c, t.Context(), lokiapi.TailRequest{Query: `{app="web"}`, Start: start.Add(-time.Minute), Limit: 5000})
		if err != nil {
			t.Error(err)
			return
		}
		defer tail.Close() //nolint:errcheck // always nil
		seen := map[string]int{}
		for len(seen) < writers*each {
			ev, err := tail.Next()
			if err != nil {
				t.Errorf("%s: after %d entries: %v", name, len(seen), err)
				return
			}
			if ev.Kind == lokiapi.EventDropped {
				t.Errorf("%s: %d entries were dropped", name, ev.Dropped)
			}
			if ev.Kind != lokiapi.EventEntry {
				continue
			}
			if seen[ev.Entry.Line]++; seen[ev.Entry.Line] > 1 {
				t.Errorf("%s: %s came twice", name, ev.Entry.Line)
			}
		}
	}
	for range 3 {
		wg.Add(2)
		go read("NDJSON", (*lokiapi.Client).TailNDJSON)
		go read("WebSocket", (*lokiapi.Client).TailWebSocket)
	}
	wg.Wait()
}

// TestExportOfStore compares an export with what was pushed, many entries of
// one timestamp and several blocks among it.
func TestExportOfStore(t *testing.T) {
	c, db, _ := listen(t)
	now := time.Now().UnixNano()
	const total = 6000
	for i := 0; i < total; i += 500 {
		st := model.StreamEntries{Labels: labels.FromStrings("app", fmt.Sprint("web-", i/500%3))}
		for j := i; j < i+500; j++ {
			st.Entries = append(st.Entries, model.Entry{Timestamp: now - int64(j%7), Line: fmt.Sprint(j)})
		}
		if err := c.Push(t.Context(), []model.StreamEntries{st}); err != nil {
			t.Fatal(err)
		}
		if i%2000 == 0 {
			if err := db.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	lists := map[model.Direction][]string{}
	for _, dir := range []model.Direction{model.Forward, model.Backward} {
		ex, err := c.Export(t.Context(), lokiapi.RangeRequest{Query: `{app=~"web.*"}`, Direction: dir, End: time.Unix(0, now+1)})
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			var ev lokiapi.TailEvent
			if ev, err = ex.Next(); err == nil && ev.Kind == lokiapi.EventEntry {
				lists[dir] = append(lists[dir], ev.Entry.Line)
			}
		}
		ex.Close() //nolint:errcheck // always nil
	}
	forward, backward := lists[model.Forward], lists[model.Backward]
	if len(forward) != total || len(backward) != total {
		t.Fatalf("%d and %d entries, want %d", len(forward), len(backward), total)
	}
	seen := map[string]bool{}
	for i, line := range forward {
		if seen[line] {
			t.Fatalf("%s came twice", line)
		}
		seen[line] = true
		if backward[total-1-i] != line {
			t.Fatalf("backward is not the reverse of forward at %d: %s and %s", i, line, backward[total-1-i])
		}
	}
}

func TestStatusCode(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code int
	}{
		{&store.DiskFullError{Dir: "d", Err: errors.New("no space")}, 507},
		{fmt.Errorf("storing a push: %w", &store.InvalidBatchError{Reason: "x"}), 400},
		{&store.InvalidDeleteError{Reason: "x"}, 400},
		{&store.DeleteBegunError{ID: "x"}, 400},
		{fmt.Errorf("%w: x", store.ErrNoDelete), 404},
		{store.ErrClosed, 503},
		{errors.New("other"), 0},
	} {
		if got := statusCode(tt.err); got != tt.code {
			t.Errorf("%v is answered %d, want %d", tt.err, got, tt.code)
		}
	}
}
