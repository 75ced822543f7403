package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// TestPages reads everything from a Loki that gives little at a time, has many
// entries of one timestamp and orders those anew at every request.
func TestPages(t *testing.T) {
	base := time.Unix(1700000000, 0)
	rnd := rand.New(rand.NewPCG(1, 2))
	l := &fakeLoki{t: t, maxLimit: 50, rnd: rnd}
	for i := range 700 {
		l.entries = append(l.entries, fakeEntry{fmt.Sprint("app", i%3), base.UnixNano() + rnd.Int64N(40), fmt.Sprint("line ", i)})
	}
	slices.SortStableFunc(l.entries, func(x, y fakeEntry) int { return int(x.ts - y.ts) })
	r := l.start()
	for _, d := range []model.Direction{model.Forward, model.Backward} {
		for _, limit := range []int{0, 1, 49, 50, 51, 333} {
			var got []fakeEntry
			err := r.entries(t.Context(), lokiapi.RangeRequest{Query: `{app=~".+"}`, Start: base, End: base.Add(time.Hour), Limit: limit, Direction: d}, func(e row) error {
				got = append(got, fakeEntry{e.labels.Get("app"), e.Timestamp, e.Line})
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			order := func(x, y fakeEntry) int {
				if d == model.Backward {
					x, y = y, x
				}
				return int(x.ts - y.ts)
			}
			if !slices.IsSortedFunc(got, order) {
				t.Errorf("%s, limit %d: not in order", d, limit)
			}
			want := len(l.entries)
			if limit > 0 {
				want = limit
			}
			lines := map[string]int{}
			for _, e := range got {
				if lines[e.line]++; lines[e.line] > 1 {
					t.Fatalf("%s, limit %d: %s came twice", d, limit, e.line)
				}
			}
			if len(got) != want {
				t.Errorf("%s, limit %d: %d entries, want %d", d, limit, len(got), want)
			}
		}
	}
}

// TestPagesOneTimestamp ends with a clear error where a page cannot get past
// one timestamp: nothing is left out silently.
func TestPagesOneTimestamp(t *testing.T) {
	base := time.Unix(1700000000, 0)
	l := &fakeLoki{t: t, maxLimit: 10, entries: times("a", base, 0, 11)}
	n := 0
	err := l.start().entries(t.Context(), lokiapi.RangeRequest{Query: `{app="a"}`, Start: base, End: base.Add(time.Hour), Direction: model.Forward}, func(row) error {
		n++
		return nil
	})
	var same *sameTimeError
	if !errors.As(err, &same) || n != 10 || !strings.Contains(err.Error(), "2023-11-14T22:13:20Z") {
		t.Errorf("%d entries, %v", n, err)
	}
}

// TestExportStops sees that an error of the reader ends a paged export at once.
func TestExportStops(t *testing.T) {
	base := time.Unix(1700000000, 0)
	l := &fakeLoki{t: t, maxLimit: 10, entries: times("a", base, time.Second, 100)}
	n := 0
	err := l.start().entries(t.Context(), lokiapi.RangeRequest{Query: `{app="a"}`, Start: base, End: base.Add(time.Hour), Direction: model.Forward}, func(row) error {
		if n++; n == 15 {
			return io.ErrClosedPipe
		}
		return nil
	})
	if !errors.Is(err, io.ErrClosedPipe) || n != 15 {
		t.Errorf("%d entries, %v", n, err)
	}
}

// TestExportGoesOn breaks an export of ours after every few entries: each comes
// once nevertheless, in order, also where many share a timestamp.
func TestExportGoesOn(t *testing.T) {
	base := time.Unix(1700000000, 0).UnixNano()
	const total = 100
	var all []fakeEntry
	for i := range total {
		all = append(all, fakeEntry{"a", base + int64(i/7), fmt.Sprint("line ", i/2)}) // twins among them
	}
	breaks := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != lokiapi.ExportPath {
			http.NotFound(w, r)
			return
		}
		start, _ := strconv.ParseInt(r.URL.Query().Get("start"), 10, 64)
		end, _ := strconv.ParseInt(r.URL.Query().Get("end"), 10, 64)
		backward := r.URL.Query().Get("direction") == "backward"
		sent := 0
		for i := range all {
			e := all[i]
			if backward {
				e = all[total-1-i]
			}
			if e.ts < start || e.ts >= end {
				continue
			}
			if sent++; sent > 11 {
				breaks++
				return
			}
			fmt.Fprintf(w, `{"labels":{"app":"a"},"timestamp":"%d","line":%q}`+"\n", e.ts, e.line) //nolint:errcheck // the client would notice
		}
		fmt.Fprintln(w, `{"event":"end"}`) //nolint:errcheck // the client would notice
	}))
	defer srv.Close()
	for _, d := range []model.Direction{model.Forward, model.Backward} {
		breaks = 0
		var got []string
		err := testRemote(t, srv.URL).entries(t.Context(), lokiapi.RangeRequest{Query: `{app="a"}`, Start: time.Unix(0, base), End: time.Unix(0, base+total), Direction: d}, func(e row) error {
			got = append(got, e.Line)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, e := range all {
			want = append(want, e.line)
		}
		if d == model.Backward {
			slices.Reverse(want)
		}
		if diff := cmp.Diff(want, got); diff != "" || breaks < 5 {
			t.Errorf("%s, %d breaks: %s", d, breaks, diff)
		}
	}
}

// TestExportRefused does not try again what is refused, or never began.
func TestExportRefused(t *testing.T) {
	for _, code := range []int{400, 503} {
		asked := 0
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked++
			w.WriteHeader(code)
		}))
		err := testRemote(t, srv.URL).entries(t.Context(), lokiapi.RangeRequest{Query: `{app="a"}`}, func(row) error { return nil })
		if status := asStatus(err); status == nil || status.Code != code || asked != 1 {
			t.Errorf("%d: asked %d times, %v", code, asked, err)
		}
		srv.Close()
	}
}

// memoryPrinter collects lines.
type memoryPrinter struct {
	lines []string
	after func(n int) // called behind the n-th line; may be nil
	limit int
	stop  context.CancelFunc
}

func (p *memoryPrinter) print(r row) error {
	p.lines = append(p.lines, r.Line)
	if p.after != nil {
		p.after(len(p.lines))
	}
	if len(p.lines) == p.limit {
		p.stop()
	}
	return nil
}

func (p *memoryPrinter) flush() error { return nil }

// TestFollowReconnects takes up a broken WebSocket tail: what came in between
// is fetched, what was shown is not shown again, late lines are.
func TestFollowReconnects(t *testing.T) {
	base := time.Unix(1700000000, 0)
	all := times("a", base, time.Second, 6)
	twin := fakeEntry{"b", all[1].ts, "b twin"}
	l := &fakeLoki{t: t, maxLimit: 5000}
	l.entries = append(slices.Clone(all[:4]), twin)
	l.tails = [][]fakeEntry{
		{all[0], twin, {}, all[1]}, // then it breaks; all[2] and all[3] are missed
		{all[0], twin, all[1], all[2], all[3], all[4], all[5]},
	}
	slices.SortStableFunc(l.entries, func(x, y fakeEntry) int { return int(x.ts - y.ts) })
	ctx, stop := context.WithCancel(t.Context())
	p := &memoryPrinter{limit: 8, stop: stop}
	var notes []string
	f := &follower{remote: l.start(), query: `{app=~".+"}`, out: p}
	f.remote.note = func(s string) { notes = append(notes, s) }
	if err := f.run(ctx, base, 100); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	want := []string{"a 0", "b twin", "2 lines were not shown: this reader was too slow for them (they are stored)", "a 1", "a 2", "a 3", "a 4", "a 5"}
	if d := cmp.Diff(want, p.lines); d != "" {
		t.Error(d)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], "max duration") {
		t.Errorf("notes: %q", notes)
	}
}

// TestFollowGivesUp ends a follow that is refused, and one that never began.
func TestFollowGivesUp(t *testing.T) {
	base := time.Unix(1700000000, 0)
	for name, tails := range map[string][][]fakeEntry{"at once": nil, "later": {times("a", base, time.Second, 2)}} {
		l := &fakeLoki{t: t, maxLimit: 5000, tails: tails}
		f := &follower{remote: l.start(), query: `{app="a"}`, out: &memoryPrinter{}}
		var status *lokiapi.StatusError
		if err := f.run(t.Context(), base, 100); !errors.As(err, &status) || status.Code != 400 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// brokenPrinter fails at its n-th line, as a pipe that nobody reads any more.
type brokenPrinter struct{ n int }

func (p *brokenPrinter) print(row) error {
	if p.n--; p.n <= 0 {
		return syscall.EPIPE
	}
	return nil
}

func (p *brokenPrinter) flush() error { return nil }

// TestFollowEndsWithItsReader does not begin again when nobody reads: neither
// live nor while it catches up.
func TestFollowEndsWithItsReader(t *testing.T) {
	base := time.Unix(1700000000, 0)
	all := times("a", base, time.Second, 6)
	for n := 1; n < 6; n++ {
		l := &fakeLoki{t: t, maxLimit: 5000, entries: all, tails: [][]fakeEntry{all[:2], all}}
		f := &follower{remote: l.start(), query: `{app="a"}`, out: &brokenPrinter{n}}
		if err := f.run(t.Context(), base, 100); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("line %d: %v", n, err)
		}
	}
}

// TestRecent forgets what is too old to come again.
func TestRecent(t *testing.T) {
	var r recent
	for i := range 1000 {
		ts := int64(i) * int64(time.Second)
		r.add(ts, entryKey{timestamp: ts})
	}
	if len(r.counts) > 25 || r.counts[entryKey{timestamp: 999e9}] != 1 || r.counts[entryKey{timestamp: 990e9}] != 1 {
		t.Errorf("%d are known", len(r.counts))
	}
	if got := r.from(); !got.Equal(time.Unix(989, 0)) {
		t.Errorf("it begins again at %s", got)
	}
	r.add(5e9, entryKey{timestamp: 5e9})
	if r.newest != 999e9 || r.counts[entryKey{timestamp: 5e9}] != 0 {
		t.Error("a late entry moved the place")
	}
}
