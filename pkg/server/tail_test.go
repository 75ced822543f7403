package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// listen serves s on loopback and returns a client for it.
func listen(t *testing.T, s *Server) *lokiapi.Client {
	t.Helper()
	srv := httptest.NewServer(s.Handler())
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		srv.Close()
	})
	return &lokiapi.Client{HTTP: &http.Client{Transport: transport}, BaseURL: srv.URL}
}

func add(t *testing.T, st *memStore, app string, lines ...string) {
	t.Helper()
	b := model.Batch{Streams: []model.StreamEntries{{Labels: labels.FromStrings("app", app)}}}
	for i, line := range lines {
		b.Streams[0].Entries = append(b.Streams[0].Entries, model.Entry{Timestamp: testNow.UnixNano() + int64(i), Line: line})
	}
	if err := st.Append(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
}

// transports opens a tail either way.
var transports = map[string]func(c *lokiapi.Client, ctx context.Context, r lokiapi.TailRequest) (*lokiapi.TailStream, error){
	"NDJSON":    (*lokiapi.Client).TailNDJSON,
	"WebSocket": (*lokiapi.Client).TailWebSocket,
}

// nextLines reads n entries.
func nextLines(t *testing.T, tail *lokiapi.TailStream, n int) []string {
	t.Helper()
	var out []string
	for len(out) < n {
		ev, err := tail.Next()
		if err != nil {
			t.Fatalf("after %q: %v", out, err)
		}
		if ev.Kind == lokiapi.EventEntry {
			out = append(out, ev.Entry.Line)
		}
	}
	return out
}

func TestTail(t *testing.T) {
	for name, open := range transports {
		t.Run(name, func(t *testing.T) {
			s, st := newTestServer(nil)
			c := listen(t, s)
			add(t, st, "web", "old 1", "old 2", "skipped", "old 3")
			add(t, st, "other", "old other")
			tail, err := open(c, t.Context(), lokiapi.TailRequest{Query: `{app="web"} != "skipped" | logfmt`, Limit: 2})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"old 2", "old 3"}, nextLines(t, tail, 2)); diff != "" {
				t.Error(diff)
			}
			add(t, st, "web", "skipped", "a=b live")
			add(t, st, "other", "live other")
			add(t, st, "web", "live 2")
			ev, err := tail.Next()
			for err == nil && ev.Kind != lokiapi.EventEntry {
				ev, err = tail.Next()
			}
			if err != nil || ev.Entry.Line != "a=b live" || ev.Labels.String() != `{app="web"}` || ev.Entry.Parsed.Get("a") != "b" {
				t.Errorf("event %+v, %v", ev, err)
			}
			if got := nextLines(t, tail, 1); got[0] != "live 2" {
				t.Errorf("got %q", got)
			}
			// The client goes: the subscription ends.
			if err := tail.Close(); err != nil {
				t.Fatal(err)
			}
			if err := s.Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := st.tailCount(); n != 0 {
				t.Errorf("%d subscriptions are left", n)
			}
		})
	}
}

// TestTailHandover appends while tails begin: each entry arrives exactly once,
// whether the subscription, the query, or both saw it.
func TestTailHandover(t *testing.T) {
	for name, open := range transports {
		t.Run(name, func(t *testing.T) {
			for round := range 20 {
				s, st := newTestServer(nil)
				c := listen(t, s)
				const total = 60
				rnd := rand.New(rand.NewPCG(uint64(round), 1))
				before, during := rnd.IntN(20), rnd.IntN(20)
				next := 0
				write := func(n int) {
					for range n {
						add(t, st, "web", fmt.Sprint(next))
						next++
					}
				}
				write(before)
				st.onSelect = func(context.Context) { write(during) } // seen by both
				tail, err := open(c, t.Context(), lokiapi.TailRequest{Query: `{app="web"}`, Limit: 100})
				if err != nil {
					t.Fatal(err)
				}
				write(total - next)
				seen := map[string]int{}
				for _, line := range nextLines(t, tail, total) {
					seen[line]++
				}
				for i := range total {
					if seen[fmt.Sprint(i)] != 1 {
						t.Fatalf("round %d (%d before, %d during): line %d came %d times", round, before, during, i, seen[fmt.Sprint(i)])
					}
				}
				// Nothing comes twice later on either.
				add(t, st, "web", "last")
				if got := nextLines(t, tail, 1); got[0] != "last" {
					t.Fatalf("round %d: %q came again", round, got)
				}
				tail.Close() //nolint:errcheck // always nil
				if err := s.Drain(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestTailSameLine keeps equal lines of one timestamp apart by their number.
func TestTailSameLine(t *testing.T) {
	s, st := newTestServer(nil)
	c := listen(t, s)
	add(t, st, "web", "x")
	add(t, st, "web", "x")
	tail, err := c.TailNDJSON(t.Context(), lokiapi.TailRequest{Query: `{app="web"}`})
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close() //nolint:errcheck // always nil
	if got := nextLines(t, tail, 2); got[0] != "x" || got[1] != "x" {
		t.Errorf("got %q", got)
	}
}

func TestTailEvents(t *testing.T) {
	s, st := newTestServer(nil)
	c := listen(t, s)
	add(t, st, "web", "old")
	tail, err := c.TailNDJSON(t.Context(), lokiapi.TailRequest{Query: `{app="web"}`})
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close() //nolint:errcheck // always nil
	nextLines(t, tail, 1)
	if ev, err := tail.Next(); err != nil || ev.Kind != lokiapi.EventLive {
		t.Fatalf("event %+v, %v; want live", ev, err)
	}
	// A subscription that lost entries says so before the next one.
	st.mu.Lock()
	for sub := range st.tails {
		sub.mu.Lock()
		sub.dropped = 7
		sub.mu.Unlock()
	}
	st.mu.Unlock()
	add(t, st, "web", "new")
	if ev, err := tail.Next(); err != nil || ev.Kind != lokiapi.EventDropped || ev.Dropped != 7 {
		t.Fatalf("event %+v, %v; want 7 dropped", ev, err)
	}
	if got := nextLines(t, tail, 1); got[0] != "new" {
		t.Errorf("got %q", got)
	}
	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	var end *lokiapi.TailError
	if _, err := tail.Next(); !errors.As(err, &end) || !strings.Contains(end.Msg, "shutting down") {
		t.Errorf("the tail ended with %v", err)
	}
}

func TestTailWebSocketEnds(t *testing.T) {
	s, st := newTestServer(nil)
	c := listen(t, s)
	for _, end := range []func(){st.closeTails, s.stop} {
		tail, err := c.TailWebSocket(t.Context(), lokiapi.TailRequest{Query: `{app="web"}`, Limit: -1})
		if err != nil {
			t.Fatal(err)
		}
		end()
		if ev, err := tail.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("event %+v, error %v; want the end", ev, err)
		}
		tail.Close() //nolint:errcheck // always nil
	}
}

// TestTailHeartbeat sees a sign of life on a silent tail.
func TestTailHeartbeat(t *testing.T) {
	s, _ := newTestServer(func(o *Options) { o.Heartbeat = time.Millisecond })
	c := listen(t, s)
	resp, err := c.HTTP.Get(c.BaseURL + lokiapi.TailPath + `?query=%7Bapp%3D%22web%22%7D`)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // given up
	lines := bufio.NewReader(resp.Body)
	if line, err := lines.ReadString('\n'); err != nil || line != `{"event":"live"}`+"\n" {
		t.Fatalf("read %q, %v", line, err)
	}
	for range 3 {
		if line, err := lines.ReadString('\n'); err != nil || line != "\n" {
			t.Fatalf("read %q, %v", line, err)
		}
	}
}

func TestTailLimits(t *testing.T) {
	s, _ := newTestServer(func(o *Options) { o.MaxTails = 1 })
	c := listen(t, s)
	r := lokiapi.TailRequest{Query: `{app="web"}`, Limit: -1}
	tail, err := c.TailNDJSON(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close() //nolint:errcheck // always nil
	for name, open := range transports {
		_, err := open(c, t.Context(), r)
		var status *lokiapi.StatusError
		if !errors.As(err, &status) || status.Code != 400 || !strings.Contains(status.Body, "max concurrent tail requests limit exceeded") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, open := range transports {
		_, err := open(c, t.Context(), r)
		var status *lokiapi.StatusError
		if !errors.As(err, &status) || status.Code != 503 {
			t.Errorf("%s while draining: %v", name, err)
		}
	}
}

// TestTailErrors are answered before the protocol is switched.
func TestTailErrors(t *testing.T) {
	s, _ := newTestServer(nil)
	c := listen(t, s)
	for name, open := range transports {
		_, err := open(c, t.Context(), lokiapi.TailRequest{Query: `{app=`})
		var status *lokiapi.StatusError
		if !errors.As(err, &status) || status.Code != 400 || !strings.Contains(status.Body, "parse error") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestClient walks through all methods against the real handlers.
func TestClient(t *testing.T) {
	s, _ := newTestServer(nil)
	c := listen(t, s)
	ctx := t.Context()
	if err := c.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	if info, err := c.BuildInfo(ctx); err != nil || info.GoVersion == "" {
		t.Errorf("%+v, %v", info, err)
	}
	entries := []model.Entry{
		{Timestamp: testNow.UnixNano() - 2e9, Line: "one"},
		{Timestamp: testNow.UnixNano() - 1e9, Line: "two\n<&>\xff", Metadata: labels.FromStrings("k", "v")},
	}
	if err := c.Push(ctx, []model.StreamEntries{{Labels: labels.FromStrings("app", "web"), Entries: entries}}); err != nil {
		t.Fatal(err)
	}
	var status *lokiapi.StatusError
	if err := c.Push(ctx, nil); !errors.As(err, &status) || status.Code != 422 {
		t.Errorf("an empty push: %v", err)
	}
	res, err := c.QueryRange(ctx, lokiapi.RangeRequest{Query: `{app="web"}`, Start: testNow.Add(-time.Hour), End: testNow, Limit: 10})
	if err != nil || len(res.Streams) != 1 || len(res.Streams[0].Entries) != 2 {
		t.Fatalf("%+v, %v", res, err)
	}
	if e := res.Streams[0].Entries[0]; e.Line != "two\n<&>\uFFFD" || e.StructuredMetadata.Get("k") != "v" || e.Timestamp != entries[1].Timestamp {
		t.Errorf("%+v", e)
	}
	res, err = c.Query(ctx, `sum(count_over_time({app="web"}[1m]))`, testNow)
	if err != nil || len(res.Series) != 1 || res.Series[0].Points[0] != (lokiapi.Point{Time: testNow.UnixMilli(), Value: 2}) {
		t.Errorf("%+v, %v", res, err)
	}
	if names, err := c.Labels(ctx, lokiapi.MetadataRequest{}); err != nil || strings.Join(names, " ") != "app service_name" {
		t.Errorf("%q, %v", names, err)
	}
	if values, err := c.LabelValues(ctx, "app", lokiapi.MetadataRequest{Query: `{app=~".+"}`}); err != nil || strings.Join(values, " ") != "web" {
		t.Errorf("%q, %v", values, err)
	}
	if series, err := c.Series(ctx, lokiapi.MetadataRequest{Query: `{app="web"}`}); err != nil || len(series) != 1 || series[0].Get("app") != "web" {
		t.Errorf("%v, %v", series, err)
	}
	if vol, err := c.Volume(ctx, lokiapi.MetadataRequest{Query: `{}`, TargetLabels: []string{"app"}}); err != nil || len(vol) != 1 || vol[0].Points[0].Value == 0 {
		t.Errorf("%v, %v", vol, err)
	}
	if text, err := c.Status(ctx); err != nil || !strings.Contains(string(text), `"ready":true`) {
		t.Errorf("%s, %v", text, err)
	}
	_, err = c.QueryRange(ctx, lokiapi.RangeRequest{Query: `{app=`})
	if !errors.As(err, &status) || status.Code != 400 || !strings.Contains(err.Error(), "parse error") {
		t.Errorf("%v", err)
	}
}

// TestExport pages through more entries than fit into one answer, many of
// them of the same timestamp.
func TestExport(t *testing.T) {
	s, st := newTestServer(nil)
	c := listen(t, s)
	rnd := rand.New(rand.NewPCG(3, 4))
	const total = 4321
	for i := range total {
		b := model.Batch{Streams: []model.StreamEntries{{
			Labels:  labels.FromStrings("app", fmt.Sprintf("web-%d", rnd.IntN(3))),
			Entries: []model.Entry{{Timestamp: testNow.UnixNano() - 1e9 + rnd.Int64N(5), Line: fmt.Sprint(i)}},
		}}}
		if err := st.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []model.Direction{model.Forward, model.Backward} {
		for _, limit := range []int{0, 1, 999, 1000, 1001, 4000} {
			tail, err := c.Export(t.Context(), lokiapi.RangeRequest{
				Query: `{app=~"web.*"}`, Start: testNow.Add(-time.Hour), End: testNow.Add(time.Hour), Direction: dir, Limit: limit,
			})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for {
				ev, err := tail.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if ev.Kind == lokiapi.EventEntry {
					got = append(got, ev.Entry.Line)
				}
			}
			tail.Close() //nolint:errcheck // always nil
			var want []string
			for _, row := range st.selected(model.AllTime(), nil, dir) {
				want = append(want, row.entry.Line)
			}
			if limit > 0 {
				want = want[:limit]
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s, limit %d: %d entries instead of %d: %.300s", dir, limit, len(got), len(want), diff)
			}
		}
	}
}

// TestExportOneTimestamp exports far more entries of one timestamp than the
// engine gives in one answer.
func TestExportOneTimestamp(t *testing.T) {
	s, st := newTestServer(nil)
	c := listen(t, s)
	const total = 12_345
	b := model.Batch{Streams: []model.StreamEntries{{Labels: labels.FromStrings("app", "web")}}}
	for i := range total {
		b.Streams[0].Entries = append(b.Streams[0].Entries, model.Entry{Timestamp: testNow.UnixNano(), Line: fmt.Sprint(i)})
	}
	if err := st.Append(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []model.Direction{model.Forward, model.Backward} {
		for _, limit := range []int{0, 7001} {
			tail, err := c.Export(t.Context(), lokiapi.RangeRequest{Query: `{app="web"}`, End: testNow.Add(time.Hour), Direction: dir, Limit: limit})
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for err == nil {
				var ev lokiapi.TailEvent
				if ev, err = tail.Next(); err != nil || ev.Kind != lokiapi.EventEntry {
					continue
				}
				want := fmt.Sprint(n)
				if dir == model.Backward {
					want = fmt.Sprint(total - 1 - n)
				}
				if ev.Entry.Line != want {
					t.Fatalf("%s: entry %d is %s", dir, n, ev.Entry.Line)
				}
				n++
			}
			tail.Close() //nolint:errcheck // always nil
			want := total
			if limit > 0 {
				want = limit
			}
			if !errors.Is(err, io.EOF) || n != want {
				t.Errorf("%s, limit %d: %d entries instead of %d, %v", dir, limit, n, want, err)
			}
		}
	}
}

// TestExportBreaks tells the client that something is missing.
func TestExportBreaks(t *testing.T) {
	s, st := newTestServer(nil)
	c := listen(t, s)
	for i := range 1500 {
		add(t, st, "web", fmt.Sprint(i))
	}
	n := 0
	st.onSelect = func(context.Context) {
		if n++; n == 2 {
			st.selectErr = errors.New("block is damaged")
		}
	}
	tail, err := c.Export(t.Context(), lokiapi.RangeRequest{Query: `{app="web"}`, End: testNow.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close() //nolint:errcheck // always nil
	for err == nil {
		_, err = tail.Next()
	}
	var end *lokiapi.TailError
	if !errors.As(err, &end) || !strings.Contains(end.Msg, "block is damaged") {
		t.Errorf("the export ended with %v", err)
	}
}

// TestExportLongLines halves its pages where the engine's memory is too small
// for a usual one.
func TestExportLongLines(t *testing.T) {
	s, st := newTestServer(nil)
	s.SetBackend(st, engine.New(st, engine.Options{Now: func() time.Time { return testNow }, MaxQueryBytes: 1 << 20}))
	c := listen(t, s)
	const total = 60
	var long []string
	for i := range total {
		long = append(long, fmt.Sprint(i, strings.Repeat("x", 100<<10)))
	}
	add(t, st, "web", long...)
	for _, limit := range []int{0, 30} {
		tail, err := c.Export(t.Context(), lokiapi.RangeRequest{Query: `{app="web"}`, End: testNow.Add(time.Hour), Limit: limit})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for err == nil {
			var ev lokiapi.TailEvent
			if ev, err = tail.Next(); err == nil && ev.Kind == lokiapi.EventEntry {
				n++
			}
		}
		tail.Close() //nolint:errcheck // always nil
		want := total
		if limit > 0 {
			want = limit
		}
		if !errors.Is(err, io.EOF) || n != want {
			t.Errorf("limit %d: %d entries instead of %d, %v", limit, n, want, err)
		}
	}
}

// TestTailTwin sees that an entry equal to a stored one is left out only while
// it may be that one.
func TestTailTwin(t *testing.T) {
	ls := labels.FromStrings("app", "web")
	entry := func(ts int64) engine.LiveEntry {
		e := engine.LiveEntry{Labels: ls}
		e.Timestamp, e.Line = ts, "x"
		return e
	}
	begin := func() *tail {
		a := entry(1)
		tl := &tail{seen: map[uint64]int{}, seenEnd: 10}
		tl.seen[tl.hash(&a)] = 2
		return tl
	}
	tl := begin()
	if got := tl.unseen([]engine.LiveEntry{entry(1), entry(9), entry(1), entry(1)}); len(got) != 2 {
		t.Errorf("before the end: %d entries, want 2", len(got))
	}
	tl = begin()
	if got := tl.unseen([]engine.LiveEntry{entry(1), entry(10), entry(1), entry(1)}); len(got) != 3 {
		t.Errorf("around the end: %d entries, want 3", len(got))
	}
	if got := tl.unseen([]engine.LiveEntry{entry(1)}); len(got) != 1 {
		t.Error("a twin was left out after the end")
	}
}

// TestTailTwinAfterSilence sees that a heartbeat ends the comparison with
// stored entries.
func TestTailTwinAfterSilence(t *testing.T) {
	s, st := newTestServer(func(o *Options) { o.Heartbeat = time.Millisecond })
	c := listen(t, s)
	add(t, st, "web", "x")
	resp, err := c.HTTP.Get(c.BaseURL + lokiapi.TailPath + `?query=%7Bapp%3D%22web%22%7D`)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // given up
	lines := bufio.NewReader(resp.Body)
	for silent := false; !silent; {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		silent = line == "\n"
	}
	add(t, st, "web", "x")
	for range 1000 {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, `"x"`) {
			return
		}
	}
	t.Error("the twin was left out")
}
