package peers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// selectOnly hides everything but Select: nothing is kept, divided or hinted at.
type selectOnly struct{ s *Store }

func (s selectOnly) Select(ctx context.Context, r model.SelectRequest) (model.BatchIterator, error) {
	return s.s.Select(ctx, model.SelectRequest{Matchers: r.Matchers, Range: r.Range, Direction: r.Direction})
}

// TestKeptResults changes three replicas at random, one of them being away at
// times, and compares the answers of engines that keep results with those of one
// that reads everything every time.
func TestKeptResults(t *testing.T) {
	rnd := rand.New(rand.NewPCG(11, 11))
	start := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC).UnixNano()
	c := newCluster(t, 3, nil)
	var kept []*engine.Engine
	for _, r := range c {
		kept = append(kept, engine.New(r.peers, engine.Options{ExtraWorkers: 2}))
	}
	plain := engine.New(selectOnly{c[0].peers}, engine.Options{ExtraWorkers: -1})
	now := start
	n := 0
	add := func(count int) {
		for range count {
			n++
			ls := labels.FromStrings("app", fmt.Sprint(rnd.IntN(3)))
			e := model.Entry{Timestamp: now - rnd.Int64N(int64(30*time.Second)), Line: fmt.Sprintf("level=%s n=%d", []string{"info", "error"}[rnd.IntN(2)], n)}
			if rnd.IntN(20) == 0 {
				e.Timestamp -= rnd.Int64N(int64(time.Hour))
			}
			at := rnd.IntN(3)
			push(t, c[at].db, ls, e)
			if rnd.IntN(4) == 0 {
				push(t, c[(at+1)%3].db, ls, e)
			}
		}
	}
	for range 30 {
		now += int64(2 * time.Minute)
		add(15)
	}
	queries := []string{
		`sum by (app) (count_over_time({app=~".+"}[1m]))`,
		`sum by (level) (rate({app=~".+"} | logfmt [5m]))`,
		`bytes_over_time({app="1"} |= "error" [3m])`,
	}
	away := false
	hits := int64(0)
	rounds := 120
	if testing.Short() {
		rounds = 30
	}
	for round := range rounds {
		switch k := rnd.IntN(12); {
		case k < 5:
			now += rnd.Int64N(int64(time.Minute))
			add(rnd.IntN(6))
		case k == 5 && !away:
			_, err := c[rnd.IntN(3)].peers.Delete(t.Context(), model.DeleteRequest{
				Matchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "app", fmt.Sprint(rnd.IntN(3)))},
				Range:    model.TimeRange{Start: now - int64(20*time.Minute), End: now - int64(19*time.Minute)},
			})
			if err != nil {
				t.Fatal(err)
			}
		case k == 6:
			away = !away
			c[2].setWrap(nil)
			if away {
				c[2].setWrap(through(func(http.ResponseWriter, http.Handler, *http.Request) { panic(http.ErrAbortHandler) }))
			}
			for _, r := range c {
				forgive(r.peers)
			}
		}
		p := engine.Params{Query: queries[rnd.IntN(len(queries))], Start: now - rnd.Int64N(int64(time.Hour)), End: now, Step: time.Minute}
		// A replica that is away still answers for itself, as all the others do.
		got, err := kept[rnd.IntN(2)].Range(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		want, err := plain.Range(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if away != (len(got.Warnings) > 0) {
			t.Errorf("round %d: away is %t, warnings %q", round, away, got.Warnings)
		}
		hits += got.Stats.CacheHits
		if d := gocmp.Diff(pointsOf(want.Matrix), pointsOf(got.Matrix), cmpopts.EquateApprox(1e-12, 1e-12)); d != "" {
			t.Fatalf("round %d: %s (-want +got)\n%s", round, p.Query, d)
		}
	}
	if hits == 0 {
		t.Error("nothing was kept")
	}
	t.Logf("%d steps were kept", hits)
}

func pointsOf(m promql.Matrix) map[string][]promql.FPoint {
	out := map[string][]promql.FPoint{}
	for _, s := range m {
		out[s.Metric.String()] = s.Floats
	}
	return out
}
