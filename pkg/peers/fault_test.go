package peers

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// cutWriter breaks the connection after some bytes.
type cutWriter struct {
	http.ResponseWriter
	left int
}

func (w *cutWriter) Write(b []byte) (int, error) {
	if len(b) > w.left {
		if w.left > 0 {
			_, _ = w.ResponseWriter.Write(b[:w.left])
			_ = http.NewResponseController(w.ResponseWriter).Flush()
		}
		panic(http.ErrAbortHandler)
	}
	w.left -= len(b)
	return w.ResponseWriter.Write(b)
}

func (w *cutWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// garbleWriter changes a byte of what is sent.
type garbleWriter struct {
	http.ResponseWriter
	at int
}

func (w *garbleWriter) Write(b []byte) (int, error) {
	if w.at >= 0 && w.at < len(b) {
		b = append([]byte(nil), b...)
		b[w.at] ^= 0x55
	}
	w.at -= len(b)
	return w.ResponseWriter.Write(b)
}

func (w *garbleWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func through(f func(w http.ResponseWriter, h http.Handler, r *http.Request)) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f(w, h, r) })
	}
}

// faults are ways in which a replica fails to answer.
var faults = map[string]func(http.Handler) http.Handler{
	"dies at once": through(func(http.ResponseWriter, http.Handler, *http.Request) { panic(http.ErrAbortHandler) }),
	"dies in the preamble": through(func(w http.ResponseWriter, h http.Handler, r *http.Request) {
		h.ServeHTTP(&cutWriter{w, 4}, r)
	}),
	"dies in the middle": through(func(w http.ResponseWriter, h http.Handler, r *http.Request) {
		h.ServeHTTP(&cutWriter{w, 3000}, r)
	}),
	"one byte is wrong": through(func(w http.ResponseWriter, h http.Handler, r *http.Request) {
		h.ServeHTTP(&garbleWriter{w, 20}, r)
	}),
	"answers something else": through(func(w http.ResponseWriter, _ http.Handler, _ *http.Request) {
		_, _ = fmt.Fprint(w, strings.Repeat("<html>this is a proxy's page</html>", 100))
	}),
	"refuses": through(func(w http.ResponseWriter, _ http.Handler, _ *http.Request) {
		http.Error(w, "not ready: opening the data directory", http.StatusServiceUnavailable)
	}),
	"asks for a token": through(func(w http.ResponseWriter, _ http.Handler, _ *http.Request) {
		http.Error(w, "who are you?", http.StatusUnauthorized)
	}),
	"is silent": through(func(_ http.ResponseWriter, _ http.Handler, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else nobody notices that the asker leaves
		<-r.Context().Done()
	}),
	"is silent in the middle": through(func(w http.ResponseWriter, h http.Handler, r *http.Request) {
		defer func() {
			_ = recover() // of cutWriter
			<-r.Context().Done()
		}()
		h.ServeHTTP(&cutWriter{w, 3000}, r)
	}),
}

// TestFaults has one of three replicas fail: everything else is answered, with a
// warning that names it and what it holds.
func TestFaults(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 3, nil)
			for i, r := range c {
				ls := labels.FromStrings("app", "web", "at", fmt.Sprint(i))
				var es []model.Entry
				for k := range 2000 {
					// It packs badly, so that the answer is long.
					es = append(es, model.Entry{Timestamp: int64(k) * 1e9, Line: fmt.Sprintf("%x %d at %d", uint64(k*k*k)*0x9e3779b97f4a7c15, k, i)})
				}
				push(t, r.db, ls, es...)
			}
			c[0].peers.lookAround(t.Context()) // it is known what they hold
			c[2].setWrap(fault)
			failing := c[0].peers.peers[c[2].name]
			failing.timeout, failing.idle = 100*time.Millisecond, 100*time.Millisecond
			for _, what := range []string{"ordered", "unordered", "split", "series", "volume"} {
				forgive(c[0].peers)
				ctx, warnings := model.WithWarnings(t.Context())
				n := countAt(t, ctx, c[0].peers, what)
				for _, at := range []string{"0", "1"} {
					if want := map[string]int{"series": 1, "volume": 2000}[what]; n[at] != want && (want > 0 || n[at] != 2000) {
						t.Errorf("%s: %d rows of %s", what, n[at], at)
					}
				}
				list := warnings.List()
				if len(list) == 0 && n["2"] == n["0"] {
					continue // a small answer was through before the fault
				}
				if len(list) != 1 || !strings.HasPrefix(list[0], "replica logstack-2 does not answer (") ||
					!strings.Contains(list[0], "it held logs from 1970-01-01T00:00:00Z to 1970-01-01T00:33:19Z") {
					t.Errorf("%s: warnings %q", what, list)
				}
			}
		})
	}
}

// countAt asks in one way and counts rows by the label at.
func countAt(t *testing.T, ctx context.Context, s *Store, what string) map[string]int {
	t.Helper()
	n := map[string]int{}
	r := model.SelectRequest{Range: model.AllTime(), Unordered: what != "ordered"}
	count := func(it model.BatchIterator, err error) {
		for _, x := range readAll(t, it, err) {
			n[parseLabels(t, x.stream).Get("at")]++
		}
	}
	switch what {
	case "split":
		its, err := s.SelectSplit(ctx, r, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range its {
			count(it, nil)
		}
	case "series":
		list, err := s.Series(ctx, r.Range, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, ls := range list {
			n[ls.Get("at")]++
		}
	case "volume":
		list, err := s.Volume(ctx, r.Range, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range list {
			n[v.Labels.Get("at")] += int(v.Entries)
		}
	default:
		count(s.Select(ctx, r))
	}
	return n
}

// TestLeftAlone asks again and again while a replica is dead: it is left alone
// for a while after each failure, and asked again when the time is over.
func TestLeftAlone(t *testing.T) {
	var now atomic.Int64
	now.Store(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).UnixNano())
	c := newCluster(t, 2, func(_ int, o *Options) { o.Now = func() time.Time { return time.Unix(0, now.Load()) } })
	push(t, c[1].db, web, model.Entry{Timestamp: 1, Line: "x"})
	var asked atomic.Int64
	c[1].setWrap(through(func(http.ResponseWriter, http.Handler, *http.Request) {
		asked.Add(1)
		panic(http.ErrAbortHandler)
	}))
	var tries []int64
	for second := range int64(64) {
		for range 10 {
			ctx, warnings := model.WithWarnings(t.Context())
			it, err := c[0].peers.Select(ctx, model.SelectRequest{Range: model.AllTime()})
			if rows := readAll(t, it, err); len(rows) != 0 || len(warnings.List()) != 1 {
				t.Fatalf("%d rows, warnings %q", len(rows), warnings.List())
			}
		}
		if n := asked.Swap(0); n > 0 {
			tries = append(tries, second)
		}
		now.Add(int64(time.Second))
	}
	if d := cmp.Diff([]int64{0, 1, 3, 7, 15, 31, 61}, tries); d != "" {
		t.Errorf("it was asked at these seconds: %s", d)
	}
	c[1].setWrap(nil)
	now.Add(int64(lastBackoff))
	if got := allLines(t, c[0]); len(got) != 1 {
		t.Errorf("it is back: %q", got)
	}
}

// TestKnown restarts a replica while another one is away: the warning still tells
// what that one holds, until it is forgotten.
func TestKnown(t *testing.T) {
	c := newCluster(t, 3, nil)
	push(t, c[1].db, web, model.Entry{Timestamp: 60e9, Line: "x"}, model.Entry{Timestamp: 120e9, Line: "y"})
	c[0].peers.lookAround(t.Context())
	c[1].srv.CloseClientConnections()
	c[1].srv.Close()
	for _, listed := range []bool{true, false} {
		dir := &directory{}
		dir.set(Peer{Name: c[2].name, URL: c[2].srv.URL, Live: true})
		if listed {
			dir.set(Peer{Name: c[1].name, URL: c[1].srv.URL}, Peer{Name: c[2].name, URL: c[2].srv.URL, Live: true})
		}
		again := New(c[0].db, dir, Options{Name: c[0].name, Transport: c[0].peers.opts.Transport})
		ctx, warnings := model.WithWarnings(t.Context())
		if _, err := again.Series(ctx, model.AllTime(), nil); err != nil {
			t.Fatal(err)
		}
		list := warnings.List()
		if len(list) != 1 || !strings.Contains(list[0], "replica logstack-1 is away") || !strings.Contains(list[0], "from 1970-01-01T00:01:00Z to 1970-01-01T00:02:00Z") {
			t.Fatalf("warnings %q", list)
		}
		if listed {
			continue
		}
		c[2].dir.set(Peer{Name: c[0].name, URL: c[0].srv.URL, Live: true})
		if err := again.Forget(t.Context(), c[1].name); err != nil {
			t.Fatal(err)
		}
		ctx, warnings = model.WithWarnings(t.Context())
		if _, err := again.Series(ctx, model.AllTime(), nil); err != nil {
			t.Fatal(err)
		}
		if list := warnings.List(); len(list) != 0 {
			t.Errorf("warnings %q of a replica that is forgotten", list)
		}
		if err := again.Forget(t.Context(), c[2].name); err == nil {
			t.Error("a running replica was forgotten")
		}
	}
}

// TestSelf gives a replica its own address under another name.
func TestSelf(t *testing.T) {
	c := newCluster(t, 2, nil)
	push(t, c[0].db, web, model.Entry{Timestamp: 1, Line: "x"})
	c[0].dir.set(Peer{Name: "another-name", URL: c[0].srv.URL, Live: true})
	for range 2 {
		ctx, warnings := model.WithWarnings(t.Context())
		list, err := c[0].peers.Volume(ctx, model.AllTime(), nil)
		if err != nil || len(list) != 1 || list[0].Entries != 1 || len(warnings.List()) > 0 {
			t.Errorf("%+v, %v, %q", list, err, warnings.List())
		}
	}
}

// TestCancel ends a read while a peer is silent: it returns at once, and nothing
// is held against the peer.
func TestCancel(t *testing.T) {
	c := newCluster(t, 2, nil)
	c[1].setWrap(faults["is silent"])
	ctx, cancel := context.WithCancel(t.Context())
	it, err := c[0].peers.Select(ctx, model.SelectRequest{Range: model.AllTime()})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := it.Next(ctx); err == nil {
		t.Error("a row from a silent peer")
	}
	if err := it.Close(); err != nil {
		t.Error(err)
	}
	for _, p := range c[0].peers.all() {
		if p.failures > 0 {
			t.Errorf("%d failures", p.failures)
		}
	}
}
