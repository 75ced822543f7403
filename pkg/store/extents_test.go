package store

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// TestExtents looks for entries outside of the spans that Extents tells, and for
// spans without entries.
func TestExtents(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	o := DefaultOptions()
	o.noBackground = true
	db, err := Open(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	times := map[string][]int64{}
	for i := range 60 { // many pieces of time with gaps in between
		ls := labels.FromStrings("app", fmt.Sprint(rnd.IntN(3)))
		base := int64(i) * 10_000
		b := &model.Batch{Streams: []model.StreamEntries{{Labels: ls}}}
		for range 1 + rnd.IntN(5) {
			ts := base + rnd.Int64N(500)
			b.Streams[0].Entries = append(b.Streams[0].Entries, model.Entry{Timestamp: ts, Line: "x"})
			times[ls.String()] = append(times[ls.String()], ts)
		}
		if err := db.Append(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if rnd.IntN(2) == 0 {
			if err := db.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 200 {
		from := rnd.Int64N(600_000) - 1000
		r := model.TimeRange{Start: from, End: from + 1 + rnd.Int64N(200_000)}
		list, err := db.Extents(t.Context(), r, []*labels.Matcher{labels.MustNewMatcher(labels.MatchNotEqual, "app", "2")})
		if err != nil {
			t.Fatal(err)
		}
		spans := map[string][]model.Span{}
		for i, st := range list {
			if i > 0 && labels.Compare(list[i-1].Labels, st.Labels) >= 0 {
				t.Fatal("streams are not sorted")
			}
			for k, sp := range st.Spans {
				if sp.Min > sp.Max || !r.Contains(sp.Min) || !r.Contains(sp.Max) || k > 0 && sp.Min <= st.Spans[k-1].Max {
					t.Fatalf("range %v: spans %v", r, st.Spans)
				}
			}
			spans[st.Labels.String()] = st.Spans
		}
		for name, list := range times {
			if name == `{app="2"}` {
				if len(spans[name]) > 0 {
					t.Fatal("a stream that was not asked for")
				}
				continue
			}
			for _, ts := range list {
				inside := false
				for _, sp := range spans[name] {
					inside = inside || ts >= sp.Min && ts <= sp.Max
				}
				if r.Contains(ts) && !inside {
					t.Fatalf("range %v: %s has an entry at %d outside of %v", r, name, ts, spans[name])
				}
			}
		}
	}
}

func TestJoinSpans(t *testing.T) {
	var list []model.Span
	for i := range int64(100) { // gaps of 1 to 100, and touching ones
		list = append(list, model.Span{Min: i * 1000, Max: i*1000 + 900 - i}, model.Span{Min: i*1000 + 901 - i, Max: i*1000 + 950 - i})
	}
	out := joinSpans(list)
	if len(out) != maxStreamSpans {
		t.Fatalf("%d spans, want %d", len(out), maxStreamSpans)
	}
	if out[0].Min != 0 || out[len(out)-1].Max != 99*1000+950-99 {
		t.Errorf("the ends are lost: %v", out)
	}
	for i, s := range out[1:] { // the widest gaps are at the end
		if s.Min-out[i].Max < 100 {
			t.Errorf("a gap of %d was kept", s.Min-out[i].Max)
		}
	}
}
