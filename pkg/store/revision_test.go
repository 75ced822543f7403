package store

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// TestUnchangedMeansSame runs random operations and checks that a range of which
// ChangedSince says no gives what it gave when the clock was read, and that
// neither a flush nor a compaction counts as a change.
func TestUnchangedMeansSame(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		seed      uint64
		retention time.Duration
		small     bool // levels are emptied all the time
	}{
		{name: "plain", seed: 7},
		{name: "retention", seed: 8, retention: 30 * time.Hour},
		{name: "emptied levels", seed: 9, small: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t, c.seed)
			if c.retention > 0 {
				h.opts.Retention = c.retention
				h.reopen()
			}
			type seen struct {
				clock uint64
				rng   model.TimeRange
				rows  []row
			}
			read := func(rng model.TimeRange) []row {
				it, err := h.db.Select(context.Background(), model.SelectRequest{Range: rng, Direction: model.Forward})
				h.must(err)
				defer it.Close()
				return collect(t, it, 0, false)
			}
			var known []seen
			unchanged, changed := 0, 0
			for i := range 150 {
				if c.retention > 0 { // which the harness knows nothing of
					h.must(h.db.Append(context.Background(), h.batch()))
					if i%5 == 0 {
						h.must(h.db.Flush(context.Background()))
						h.must(h.db.maintain(context.Background()))
					}
					h.now += h.Int64N(int64(time.Hour))
				} else {
					h.step(i)
				}
				if c.small {
					h.db.revisions.shrink()
				}
				for _, s := range known {
					if h.db.ChangedSince(s.clock, s.rng) {
						changed++
						continue
					}
					unchanged++
					diffRows(t, s.rng.String(), read(s.rng), s.rows)
				}
				start := h.now - h.Int64N(int64(40*time.Hour))
				rng := model.TimeRange{Start: start, End: start + h.Int64N(int64(3*time.Hour))}
				s := seen{clock: h.db.Clock(), rng: rng, rows: read(rng)}
				known = append(known[max(0, len(known)-9):], s)
			}
			if unchanged == 0 || changed == 0 {
				t.Errorf("%d times unchanged, %d times changed: the test tests nothing", unchanged, changed)
			}
		})
	}
}

// shrink empties all levels but the coarsest, as too many pieces do.
func (r *revisions) shrink() {
	for i := range r.levels[:len(r.levels)-1] {
		clear(r.levels[i].last)
		r.levels[i].emptied = true
	}
}

// TestChanges checks that a change is seen where it is, and only there.
func TestChanges(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	const minute, hour, day = int64(time.Minute), int64(time.Hour), 24 * int64(time.Hour)
	at := 20000*day + 5*hour + 7*minute
	rng := func(lo, hi int64) model.TimeRange { return model.TimeRange{Start: at + lo, End: at + hi} }
	db := openTest(t, Options{noBackground: true, Now: func() time.Time { return time.Unix(0, at) }})
	push := func(times ...int64) {
		s := model.StreamEntries{Labels: labels.FromStrings("app", "a")}
		for _, ts := range times {
			s.Entries = append(s.Entries, model.Entry{Timestamp: ts, Line: "x"})
		}
		must(t, db.Append(ctx, &model.Batch{Streams: []model.StreamEntries{s}}))
	}
	push(at-10*day, at)
	for _, c := range []struct {
		name   string
		change func()
		yes    []model.TimeRange
		no     []model.TimeRange
	}{
		{"nothing", func() {}, nil, []model.TimeRange{model.AllTime()}},
		{
			"an entry", func() { push(at + 30e9) },
			[]model.TimeRange{model.AllTime(), rng(0, minute), rng(-3*day, 3*day), rng(30e9, 30e9+1), rng(-2*hour, minute), rng(0, 400*day)},
			[]model.TimeRange{rng(-minute, 0), rng(minute, hour), rng(-3*day, 0), rng(minute, 3*day), rng(5, 5)},
		},
		{
			"a late entry", func() { push(at+1, at-4*day) },
			[]model.TimeRange{rng(-4*day, -4*day+1), rng(-5*day, -hour), rng(0, 2)},
			[]model.TimeRange{rng(-3*day, -minute), rng(-5*day, -4*day)},
		},
		{
			"the ends of time", func() { push(math.MinInt64, math.MaxInt64) },
			[]model.TimeRange{{Start: math.MinInt64, End: math.MinInt64 + 1}, {Start: math.MaxInt64 - 1, End: math.MaxInt64}},
			[]model.TimeRange{rng(-day, day)},
		},
		{"flush", func() { must(t, db.Flush(ctx)) }, nil, []model.TimeRange{model.AllTime()}},
		{
			"delete", func() {
				_, err := db.Delete(ctx, model.DeleteRequest{Matchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "app", "a")}, Range: rng(-hour, hour)})
				must(t, err)
			},
			[]model.TimeRange{rng(0, 1), rng(-day, -hour+1)},
			[]model.TimeRange{rng(-day, -hour), rng(hour, day)},
		},
	} {
		clock := db.Clock()
		c.change()
		for _, r := range c.yes {
			if !db.ChangedSince(clock, r) {
				t.Errorf("%s: no change in %s", c.name, r)
			}
		}
		for _, r := range c.no {
			if db.ChangedSince(clock, r) {
				t.Errorf("%s: a change in %s", c.name, r)
			}
		}
	}
	other := openTest(t, Options{noBackground: true})
	if !other.ChangedSince(db.Clock(), model.AllTime()) {
		t.Error("the clock of another store counts")
	}
}

// TestRevisionsAreBounded appends all over time.
func TestRevisionsAreBounded(t *testing.T) {
	t.Parallel()
	r := newRevisions()
	one := func(ts int64) []pendingBatch {
		return []pendingBatch{{streams: []pendingStream{{entries: []model.Entry{{Timestamp: ts}}}}}}
	}
	for i := range int64(5 * maxRevisions) {
		r.appended(one(i * 7 * int64(time.Hour)))
	}
	for _, l := range r.levels {
		if len(l.last) > maxRevisions {
			t.Errorf("%d pieces of %s", len(l.last), time.Duration(l.width))
		}
	}
	for i := range int64(10 * maxGone) {
		r.removed(closedRange{10 * i, 10*i + 5})
	}
	if len(r.gone) > maxGone {
		t.Errorf("%d removals", len(r.gone))
	}
	if r.last(closedRange{12, 13}) <= r.base {
		t.Error("an old removal is forgotten")
	}
}
