package store

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// TestChangesSince appends and deletes at random: every range that ChangedSince
// calls changed overlaps a span of ChangesSince, and few others do.
func TestChangesSince(t *testing.T) {
	rnd := rand.New(rand.NewPCG(6, 6))
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
	const hour = int64(time.Hour)
	web := labels.FromStrings("app", "web")
	clocks := []uint64{db.Clock()}
	for i := range 80 {
		ts := rnd.Int64N(100 * hour)
		if err := db.Append(t.Context(), &model.Batch{Streams: []model.StreamEntries{{Labels: web, Entries: []model.Entry{{Timestamp: ts, Line: "x"}}}}}); err != nil {
			t.Fatal(err)
		}
		if i%20 == 7 {
			_, err := db.Delete(t.Context(), model.DeleteRequest{
				Matchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "app", "web")}, Range: model.TimeRange{Start: ts - hour, End: ts + hour},
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		clocks = append(clocks, db.Clock())
	}
	for range 2000 {
		clock := clocks[rnd.IntN(len(clocks))]
		from := rnd.Int64N(101 * hour)
		r := model.TimeRange{Start: from, End: from + 1 + rnd.Int64N(hour)}
		now, spans, ok := db.ChangesSince(clock)
		if !ok || now != db.Clock() {
			t.Fatal("the clock is not known")
		}
		inside := slices.ContainsFunc(spans, func(s model.Span) bool { return r.Overlaps(s.Min, s.Max) })
		// Where there are few changes the spans are exact.
		if changed := db.ChangedSince(clock, r); changed && !inside || inside && !changed && len(spans) < maxStreamSpans {
			t.Fatalf("range %v: changed is %t, spans %v", r, changed, spans)
		}
	}
	if _, spans, ok := db.ChangesSince(db.Clock()); !ok || len(spans) > 0 {
		t.Errorf("nothing has changed: %v", spans)
	}
	for _, clock := range []uint64{0, db.Clock() + 1} {
		if _, _, ok := db.ChangesSince(clock); ok {
			t.Errorf("the clock %d is none of this store", clock)
		}
	}
}
