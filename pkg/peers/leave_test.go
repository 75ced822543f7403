package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// allRows are the rows of all time, from one replica's view.
func allRows(t *testing.T, s *Store) []row {
	t.Helper()
	it, err := s.Select(t.Context(), model.SelectRequest{Range: model.AllTime(), Direction: model.Forward})
	return readAll(t, it, err)
}

func sorted(rows []row) []string {
	var out []string
	for _, r := range rows {
		out = append(out, r.String())
	}
	slices.Sort(out)
	return out
}

// TestLeave has one of three replicas leave while it is read, with answers that
// get lost on the way: the others have everything then, once.
func TestLeave(t *testing.T) {
	c := newCluster(t, 3, nil)
	rnd := rand.New(rand.NewPCG(1, 1))
	want := fill(t, rnd, c, 900, 3000)
	all := sorted(want.all(t, model.AllTime(), nil))
	long := strings.Repeat("long line ", 20_000) // several shipments
	for i := range 20 {
		push(t, c[2].db, web, model.Entry{Timestamp: int64(5000 + i/5), Line: fmt.Sprint(i%3, long)})
		all = append(all, row{stream: web.String(), ts: int64(5000 + i/5), line: fmt.Sprint(i%3, long)}.String())
	}
	slices.Sort(all)
	if d := gocmp.Diff(all, sorted(allRows(t, c[0].peers))); d != "" {
		t.Fatal(d)
	}
	var ships atomic.Int64
	for _, r := range c[:2] {
		r.setWrap(func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if !strings.HasSuffix(req.URL.Path, "/ship") {
					h.ServeHTTP(w, req)
					return
				}
				if n := ships.Add(1); n%4 == 3 { // stored, and nobody learns of it
					h.ServeHTTP(&deafWriter{header: http.Header{}}, req)
					panic(http.ErrAbortHandler)
				}
				h.ServeHTTP(w, req)
			})
		})
	}
	stopped, restarts := 0, 0
	c[2].peers.opts.OnLeave = func(context.Context) error { stopped++; return nil }
	checked := false
	for c[2].peers.leave.state() != stateLeft {
		if err := c[2].peers.leaveOnce(t.Context()); err != nil { // it crashes then
			t.Log(err)
			restarts++
			again := New(c[2].db, c[2].dir, c[2].peers.opts)
			if err := again.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if again.LeaveStatus().State != stateLeaving {
				t.Fatal("after a restart it does not leave any more")
			}
			c[2].mu.Lock()
			c[2].peers = again
			c[2].mu.Unlock()
		}
		if !checked { // in the middle, any replica still gives all, once
			checked = true
			if d := gocmp.Diff(all, sorted(allRows(t, c[1].peers))); d != "" {
				t.Fatal(d)
			}
		}
	}
	if ships.Load() < 6 || restarts == 0 || stopped != restarts+1 {
		t.Errorf("%d shipments, %d restarts, collectors stopped %d times", ships.Load(), restarts, stopped)
	}
	if st := c[2].peers.LeaveStatus(); st.State != stateLeft || st.Shipped != st.Total || st.Total == 0 || st.Error != "" {
		t.Errorf("status %+v", st)
	}
	// A push that still comes goes to another replica.
	if err := c[2].peers.Append(t.Context(), &model.Batch{Streams: []model.StreamEntries{{Labels: web, Entries: []model.Entry{{Timestamp: 9000, Line: "late"}}}}}); err != nil {
		t.Error(err)
	}
	all = append(all, row{stream: web.String(), ts: 9000, line: "late"}.String())
	slices.Sort(all)
	// It goes. Nothing is missing, and there is no warning.
	c[2].srv.CloseClientConnections()
	c[2].srv.Close()
	ctx, warnings := model.WithWarnings(t.Context())
	for _, r := range c[:2] {
		r.dir.set(Peer{Name: c[0].name, URL: c[0].srv.URL, Live: true}, Peer{Name: c[1].name, URL: c[1].srv.URL, Live: true}, Peer{Name: c[2].name, URL: c[2].srv.URL})
		it, err := r.peers.Select(ctx, model.SelectRequest{Range: model.AllTime(), Direction: model.Forward})
		if d := gocmp.Diff(all, sorted(readAll(t, it, err))); d != "" {
			t.Errorf("%s: %s", r.name, d)
		}
	}
	if list := warnings.List(); len(list) > 0 {
		t.Errorf("warnings: %q", list)
	}
	// It comes back with its old volume: it starts with nothing, and is asked again.
	back := New(c[2].db, c[2].dir, c[2].peers.opts)
	if err := back.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	it, err := c[2].db.Select(t.Context(), model.SelectRequest{Range: model.AllTime()})
	if rows := readAll(t, it, err); len(rows) > 0 {
		t.Errorf("%d rows are still there", len(rows))
	}
	if len(back.DeleteRequests()) > 0 {
		t.Error("what was handed over is listed as a delete request")
	}
	back.lookAround(t.Context()) // tells the others
	for _, p := range c[0].peers.all() {
		if p.name == c[2].name && p.state() != stateActive {
			t.Errorf("the replica that is back counts as %s", p.state())
		}
	}
}

// forgive has all peers asked again at once.
func forgive(s *Store) {
	for _, p := range s.all() {
		p.mu.Lock()
		p.until, p.failures = p.until.Add(-lastBackoff), 0
		p.mu.Unlock()
	}
}

type deafWriter struct{ header http.Header }

func (w *deafWriter) Header() http.Header         { return w.header }
func (w *deafWriter) Write(b []byte) (int, error) { return len(b), nil }
func (w *deafWriter) WriteHeader(int)             {}
func (w *deafWriter) Flush()                      {}

// TestLeaveAlone refuses to leave when nobody can take over.
func TestLeaveAlone(t *testing.T) {
	c := newCluster(t, 2, nil)
	c[1].srv.CloseClientConnections()
	c[1].srv.Close()
	resp, err := http.Post(c[0].srv.URL+lokiapi.LeavePath, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // read by the decoder as far as it matters
	if resp.StatusCode != http.StatusConflict {
		t.Errorf("status %d", resp.StatusCode)
	}
	if s := c[0].peers.LeaveStatus(); s.State != stateActive {
		t.Errorf("%+v", s)
	}
}

// TestLeaveOverHTTP asks a replica to leave and for how far it has come.
func TestLeaveOverHTTP(t *testing.T) {
	c := newCluster(t, 2, nil)
	for i := range 10 {
		push(t, c[1].db, web, model.Entry{Timestamp: int64(i), Line: "x"})
	}
	for range 1000 {
		method := http.MethodPost // asking again does nothing
		req, _ := http.NewRequestWithContext(t.Context(), method, c[1].srv.URL+lokiapi.LeavePath, nil)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var st lokiapi.LeaveStatus
		err = json.NewDecoder(resp.Body).Decode(&st)
		resp.Body.Close() //nolint:errcheck // read
		if err != nil {
			t.Fatal(err)
		}
		if st.State == stateActive {
			t.Fatal("it was asked to leave, and says that it does not")
		}
		if st.State == stateLeft {
			if st.Shipped != 10 || st.Total != 10 {
				t.Errorf("%+v", st)
			}
			http.DefaultClient.CloseIdleConnections()
			return
		}
	}
	t.Error("it did not leave")
}
