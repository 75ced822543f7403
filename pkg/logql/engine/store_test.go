package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/store"
)

// selectOnly hides everything of a store but Select: nothing is cached, divided
// among goroutines, or hinted at.
type selectOnly struct{ db *store.DB }

func (s selectOnly) Select(ctx context.Context, r model.SelectRequest) (model.BatchIterator, error) {
	r.Contains, r.ContainsAny, r.ContainsNone = nil, nil, nil
	r.NoLines, r.TimesOnly, r.CountStep = false, false, 0
	return s.db.Select(ctx, r)
}

// TestStoreShortcuts changes a real store at random, late entries, deletes and
// retention included, and compares the answers of an engine that uses all that
// the store offers with those of one that reads everything, every time.
func TestStoreShortcuts(t *testing.T) {
	const seed = 5
	rnd := rand.New(rand.NewPCG(seed, seed))
	now := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC).UnixNano()
	var clock atomic.Int64 // now, for the store's background work too
	pass := func(d int64) {
		now += d
		clock.Store(now)
	}
	pass(0)
	o := store.DefaultOptions()
	o.Retention = 5 * time.Hour
	o.Now = func() time.Time { return time.Unix(0, clock.Load()) }
	db, err := store.Open(t.TempDir(), o)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(err)
	defer func() { must(db.Close()) }()
	quick := engine.New(db, engine.Options{ExtraWorkers: 3, Now: o.Now})
	plain := engine.New(selectOnly{db}, engine.Options{ExtraWorkers: -1, Now: o.Now})
	queries := []string{
		`sum by (app) (count_over_time({app=~".+"}[1m]))`,
		`count_over_time({app=~".+"}[10m])`,
		`sum by (level) (rate({app=~".+"} | logfmt [5m]))`,
		`sum(count_over_time({app=~".+"} |~ "(?i)TIMED out|refused" [2m]))`,
		`sum by (pod) (bytes_over_time({app=~".+"} != "info" !~ "warn|debug" [3m]))`,
		`quantile_over_time(0.9, {app=~".+"} | logfmt | unwrap took [5m]) by (app)`,
		`first_over_time({app="a1"} | logfmt | unwrap took [5m]) by (pod)`,
		`topk(2, sum by (pod) (count_over_time({app=~".+"} |= "n=1" [30m] offset 5m)))`,
		`absent_over_time({app="a2", pod="p2-1"} |= "refused" [1m])`,
		`sum by (trace) (count_over_time({app=~".+"} | trace != "" [10m]))`,
	}
	line := 0
	push := func(n int) {
		b := &model.Batch{}
		for range n {
			app := rnd.IntN(3)
			ts := now - rnd.Int64N(int64(20*time.Second))
			if rnd.IntN(30) == 0 {
				ts -= rnd.Int64N(int64(6 * time.Hour))
			}
			line++
			e := model.Entry{Timestamp: ts, Line: fmt.Sprintf("level=%s n=%d msg=%q took=%d",
				[]string{"info", "warn", "error", "debug"}[rnd.IntN(4)], line, []string{"ready", "Timed Out", "connection refused"}[rnd.IntN(3)], rnd.IntN(1000))}
			if rnd.IntN(8) == 0 {
				e.Metadata = labels.FromStrings("trace", fmt.Sprint(rnd.IntN(5)))
			}
			b.Streams = append(b.Streams, model.StreamEntries{
				Labels:  labels.FromStrings("app", fmt.Sprint("a", app), "pod", fmt.Sprintf("p%d-%d", app, rnd.IntN(3))),
				Entries: []model.Entry{e},
			})
		}
		must(db.Append(t.Context(), b))
	}
	for range 100 {
		pass(int64(2 * time.Minute))
		push(60)
	}
	hits := int64(0)
	rounds := 250
	if testing.Short() {
		rounds = 60
	}
	for round := range rounds {
		switch p := rnd.IntN(20); {
		case p < 8:
			pass(rnd.Int64N(int64(time.Minute)))
			push(1 + rnd.IntN(40))
		case p == 8:
			must(db.Flush(t.Context()))
		case p == 9:
			from := now - rnd.Int64N(int64(4*time.Hour))
			_, err := db.Delete(t.Context(), model.DeleteRequest{
				Matchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "app", fmt.Sprint("a", rnd.IntN(3)))},
				Range:    model.TimeRange{Start: from, End: from + 1 + rnd.Int64N(int64(10*time.Minute))},
			})
			must(err)
		case p == 11:
			for _, d := range db.DeleteRequests() { // whichever can be
				_ = db.CancelDelete(t.Context(), d.ID, true)
			}
		case p == 10:
			pass(int64(20 * time.Minute))
		}
		p := engine.Params{Query: queries[rnd.IntN(len(queries))], End: now, Step: []time.Duration{time.Minute, 5 * time.Minute}[rnd.IntN(2)]}
		p.Start = now - rnd.Int64N(int64(6*time.Hour))
		got, err := quick.Range(t.Context(), p)
		must(err)
		want, err := plain.Range(t.Context(), p)
		must(err)
		hits += got.Stats.CacheHits
		if d := cmp.Diff(points(want.Matrix), points(got.Matrix), cmpopts.EquateApprox(1e-12, 1e-12)); d != "" {
			t.Fatalf("round %d: %s from %s step %s (-want +got)\n%s", round, p.Query, time.Duration(p.End-p.Start), p.Step, d)
		}
	}
	if hits == 0 {
		t.Error("nothing came from the cache")
	}
}

func points(m promql.Matrix) map[string][]promql.FPoint {
	out := map[string][]promql.FPoint{}
	for _, s := range m {
		out[s.Metric.String()] = s.Floats
	}
	return out
}
