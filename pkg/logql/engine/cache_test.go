package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// revisedStore is a memoryStore that knows its changes, to the nanosecond.
type revisedStore struct {
	*memoryStore
	changes []model.TimeRange // change i happened at clock i+1
}

func (s *revisedStore) Clock() uint64 { return uint64(len(s.changes)) }

func (s *revisedStore) ChangedSince(clock uint64, r model.TimeRange) bool {
	return slices.ContainsFunc(s.changes[clock:], func(c model.TimeRange) bool { return c.Start < r.End && r.Start < c.End })
}

func (s *revisedStore) push(ls labels.Labels, ts int64, line string) {
	s.memoryStore.push(ls, model.Entry{Timestamp: ts, Line: line})
	s.changes = append(s.changes, model.TimeRange{Start: ts, End: ts + 1})
}

func (s *revisedStore) delete(r model.TimeRange) {
	for i := range s.streams {
		st := &s.streams[i]
		st.Entries = slices.DeleteFunc(slices.Clone(st.Entries), func(e model.Entry) bool { return r.Contains(e.Timestamp) })
	}
	s.changes = append(s.changes, r)
}

// sameMatrix compares up to the rounding of sums in another order.
func sameMatrix(got, want promql.Matrix) string {
	key := func(m promql.Matrix) map[string][]promql.FPoint {
		out := map[string][]promql.FPoint{}
		for _, s := range m {
			out[s.Metric.String()] = s.Floats
		}
		return out
	}
	return cmp.Diff(key(want), key(got), cmpopts.EquateApprox(1e-12, 1e-12), cmpopts.EquateNaNs())
}

// cachedQueries are metric queries over randomStore and what the property test
// pushes.
var cachedQueries = []string{
	`rate({app="a"}[7s])`,
	`sum by (s) (count_over_time({app="a"} |= "1" [1m]))`,
	`sum(bytes_over_time({app="a"}[30s] offset 20s)) / sum(count_over_time({app="a"}[30s] offset 10s))`,
	`topk(1, max_over_time({app="a"} | logfmt | unwrap v [1m]))`,
	`quantile_over_time(0.5, {app="a"} | logfmt | unwrap v [25s]) by (s)`,
	`avg_over_time({app="a", s="1"} | logfmt | unwrap v [13s])`,
	`absent_over_time({app="a", s="0"}[3s])`,
	`count_over_time({app="a"} | logfmt | v > 10 [5s])`,
	`rate({app="a"}[20s] offset -30s)`,
	`rate_counter({app="a"} | logfmt | unwrap v [1m])`,
	`sum by (s) (count_over_time({app="a"}[5s])) > 1 or vector(0)`,
}

// TestCacheAnswersTheSame changes a store at random and compares the answers of
// an engine with a cache with those of one without.
func TestCacheAnswersTheSame(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 3))
			s := &revisedStore{memoryStore: randomStore(rnd)}
			limit := int64(1 << 20)
			if seed == 3 {
				limit = 6 << 10 // forgets all the time
			}
			cached := New(s, Options{CacheBytes: limit})
			plain := New(s.memoryStore, Options{})
			rounds := 400
			if testing.Short() {
				rounds = 100
			}
			for round := range rounds {
				switch rnd.IntN(6) {
				case 0:
					from := zero + rnd.Int64N(int64(5*time.Minute)) - int64(time.Minute)
					s.delete(model.TimeRange{Start: from, End: from + rnd.Int64N(int64(20*time.Second))})
				case 1, 2:
					for range rnd.IntN(5) {
						ts := zero + rnd.Int64N(int64(5*time.Minute)) - int64(time.Minute)
						ts -= ts % (1 + rnd.Int64N(2)*5e9)
						s.push(labels.FromStrings("app", "a", "s", fmt.Sprint(rnd.IntN(4))), ts, fmt.Sprint("v=", rnd.IntN(100)))
					}
				}
				p := Params{Query: cachedQueries[rnd.IntN(len(cachedQueries))], Step: []time.Duration{time.Second, 5 * time.Second, 250 * time.Millisecond}[rnd.IntN(3)]}
				p.Start = zero + rnd.Int64N(int64(3*time.Minute))
				p.End = p.Start + rnd.Int64N(int64(2*time.Minute))
				p.NoCache = rnd.IntN(20) == 0
				got, err := cached.Range(context.Background(), p)
				if err != nil {
					t.Fatal(err)
				}
				want, err := plain.Range(context.Background(), p)
				if err != nil {
					t.Fatal(err)
				}
				if d := sameMatrix(got.Matrix, want.Matrix); d != "" {
					t.Fatalf("round %d: %s from %s to %s step %s (-want +got)\n%s", round, p.Query,
						time.Duration(p.Start-zero), time.Duration(p.End-zero), p.Step, d)
				}
				checkCache(t, cached.cache)
			}
			hits, misses := testutil.ToFloat64(cached.metrics.cacheHits), testutil.ToFloat64(cached.metrics.cacheMisses)
			t.Logf("%v hits, %v misses", hits, misses)
			if hits == 0 || misses == 0 {
				t.Error("the cache was not used, or always")
			}
		})
	}
}

// checkCache checks what the cache says of itself.
func checkCache(t *testing.T, c *resultCache) {
	t.Helper()
	sum := int64(0)
	for e := c.lru.Front(); e != nil; e = e.Next() {
		s := e.Value.(*segment)
		sum += s.bytes
		if c.items[s.key] != e || s.first > s.last || floorDiv(s.first, segmentSteps) != s.key.n || floorDiv(s.last, segmentSteps) != s.key.n {
			t.Fatalf("segment %d holds [%d, %d]", s.key.n, s.first, s.last)
		}
	}
	if sum != c.bytes || sum > c.limit || len(c.items) != c.lru.Len() {
		t.Fatalf("%d bytes, counted as %d, limit %d, %d of %d items", sum, c.bytes, c.limit, c.lru.Len(), len(c.items))
	}
	if got := testutil.ToFloat64(c.metrics.cacheBytes); got != float64(sum) {
		t.Fatalf("metric says %v bytes of %d", got, sum)
	}
}

// TestCacheReadsOnlyWhatChanged checks which spans of time are read again.
func TestCacheReadsOnlyWhatChanged(t *testing.T) {
	s := &revisedStore{memoryStore: &memoryStore{}}
	at := func(d time.Duration) int64 { return zero + int64(d) }
	for d := time.Duration(0); d < 20*time.Minute; d += 10 * time.Second {
		s.push(labels.FromStrings("app", "a"), at(d), "x")
	}
	e := New(s, Options{})
	ask := func(query string, from, to time.Duration, noCache bool) string {
		t.Helper()
		s.requests = nil
		_, err := e.Range(context.Background(), Params{Query: query, Start: at(from), End: at(to), Step: 10 * time.Second, NoCache: noCache})
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, r := range s.requests {
			out = append(out, fmt.Sprintf("(%s,%s]", time.Duration(r.Range.Start-1-zero), time.Duration(r.Range.End-1-zero)))
		}
		return strings.Join(out, " ")
	}
	const q, minute = `sum(count_over_time({app="a"}[1m]))`, time.Minute
	for _, c := range []struct {
		what   string
		change func()
		query  string
		from   time.Duration
		to     time.Duration
		fresh  bool
		want   string
	}{
		{"first", nil, q, 0, 10 * minute, false, "(-1m0s,10m0s]"},
		{"again", nil, q, 0, 10 * minute, false, ""},
		{"written otherwise", nil, "sum ( count_over_time ( { app = `a` } [60s] ) )", minute, 5 * minute, false, ""},
		{"without the cache", nil, q, 0, 10 * minute, true, "(-1m0s,10m0s]"},
		{"later", nil, q, 5 * minute, 12 * minute, false, "(9m10s,12m0s]"},
		{"wider", nil, q, -minute, 13 * minute, false, "(-2m0s,-10s] (11m10s,13m0s]"},
		{"late entry", func() { s.push(labels.FromStrings("app", "b"), at(4*minute+1), "late") }, q, 0, 12 * minute, false, "(3m10s,5m0s]"},
		{"at the end", func() { s.push(labels.FromStrings("app", "a"), at(12*minute), "new") }, q, 0, 12 * minute, false, "(11m0s,12m0s]"},
		{"deleted", func() { s.delete(model.TimeRange{Start: at(-minute), End: at(0) + 1}) }, q, 0, 12 * minute, false, "(-1m0s,50s]"},
		{"another filter", nil, `sum(count_over_time({app="a"} |= "x" [1m]))`, 0, minute, false, "(-1m0s,1m0s]"},
		{"another grouping", nil, `sum by (app) (count_over_time({app="a"}[1m]))`, 0, minute, false, "(-1m0s,1m0s]"},
		{"another operation above", nil, `2 * q / 7`, 0, 12 * minute, false, ""},
		{"the time of the query", nil, `count_over_time({app="a"} | label_format x="{{now}}" [1m])`, 0, minute, false, "(-1m0s,1m0s]"},
		{"the time of the query, again", nil, `count_over_time({app="a"} | label_format x="{{now}}" [1m])`, 0, minute, false, "(-1m0s,1m0s]"},
	} {
		if c.change != nil {
			c.change()
		}
		if got := ask(strings.ReplaceAll(c.query, " q ", " "+q+" "), c.from, c.to, c.fresh); got != c.want {
			t.Errorf("%s: read %q, want %q", c.what, got, c.want)
		}
	}
}

// TestCacheManyChanges checks that many changed places are read together.
func TestCacheManyChanges(t *testing.T) {
	s := &revisedStore{memoryStore: &memoryStore{}}
	ls := labels.FromStrings("app", "a")
	e := New(s, Options{})
	p := Params{Query: `count_over_time({app="a"}[1s])`, Start: zero, End: zero + 600e9, Step: time.Second}
	if _, err := e.Range(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	for i := range int64(50) {
		s.push(ls, zero+i*10e9, "x")
	}
	s.requests = nil
	res, err := e.Range(context.Background(), p)
	if err != nil || len(res.Matrix) != 1 || len(res.Matrix[0].Floats) != 50 {
		t.Fatalf("%v, %v", res.Matrix, err)
	}
	if n := len(s.requests); n > maxMissing {
		t.Errorf("%d selects", n)
	}
}

// TestCacheKeepsNoErrors checks that a failed query leaves nothing behind.
func TestCacheKeepsNoErrors(t *testing.T) {
	s := &revisedStore{memoryStore: storeOf(1, 30)}
	e := New(s, Options{})
	p := params(`sum by (x) (count_over_time({app="a"} | json [10s]))`)
	for range 2 {
		if _, err := e.Range(context.Background(), p); err == nil {
			t.Fatal("no error")
		}
	}
	if len(e.cache.items) != 0 {
		t.Error("a failed query is cached")
	}
}

// again evaluates a query of a script with a cache that knows the first half of
// the range, and one that knows everything: the answer must be the same.
func (s *script) again(where string, p Params, want []string) {
	if p.End <= p.Start || len(want) == 1 && strings.HasPrefix(want[0], "fail: ") {
		return
	}
	e := New(&revisedStore{memoryStore: s.store}, Options{Now: func() time.Time { return time.Unix(0, zero) }})
	half := p
	half.End = p.Start + (p.End-p.Start)/2
	_, _ = e.Range(context.Background(), half)
	for range 2 {
		res, err := e.Range(context.Background(), p)
		if got := render(p, res, err, false); !slices.Equal(got, want) {
			s.t.Errorf("%s: with a cache:\n  %s\nwithout:\n  %s", where, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
		}
	}
}
