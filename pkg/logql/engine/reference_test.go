package engine

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// refSample is an entry as the naive evaluation sees it.
type refSample struct {
	ts int64
	v  float64
}

// reference computes a range aggregation over one window from its samples in
// order of time, in the most literal way.
var reference = map[string]func(in []refSample, seconds float64) float64{
	"count_over_time": func(in []refSample, _ float64) float64 { return float64(len(in)) },
	"rate":            func(in []refSample, s float64) float64 { return float64(len(in)) / s },
	"bytes_over_time": func(in []refSample, _ float64) float64 { return refSum(in) },
	"bytes_rate":      func(in []refSample, s float64) float64 { return refSum(in) / s },
	"sum_over_time":   func(in []refSample, _ float64) float64 { return refSum(in) },
	"avg_over_time":   func(in []refSample, _ float64) float64 { return refSum(in) / float64(len(in)) },
	"min_over_time":   func(in []refSample, _ float64) float64 { return refSorted(in)[0] },
	"max_over_time":   func(in []refSample, _ float64) float64 { return refSorted(in)[len(in)-1] },
	"first_over_time": func(in []refSample, _ float64) float64 { return in[0].v },
	"last_over_time":  func(in []refSample, _ float64) float64 { return in[len(in)-1].v },
	"stdvar_over_time": func(in []refSample, _ float64) float64 {
		mean, sum := refSum(in)/float64(len(in)), 0.0
		for _, s := range in {
			sum += (s.v - mean) * (s.v - mean)
		}
		return sum / float64(len(in))
	},
	"quantile_over_time": func(in []refSample, _ float64) float64 {
		vs := refSorted(in)
		rank := 0.7 * float64(len(vs)-1)
		lo := int(rank)
		if lo+1 >= len(vs) {
			return vs[lo]
		}
		return vs[lo] + (vs[lo+1]-vs[lo])*(rank-float64(lo))
	},
}

func refSum(in []refSample) (sum float64) {
	for _, s := range in {
		sum += s.v
	}
	return sum
}

func refSorted(in []refSample) []float64 {
	var vs []float64
	for _, s := range in {
		vs = append(vs, s.v)
	}
	slices.Sort(vs)
	return vs
}

// TestRangeAgainstReference compares range aggregations over random entries,
// windows and steps with a rescan of all entries at each step.
func TestRangeAgainstReference(t *testing.T) {
	const seed = 42
	rnd := rand.New(rand.NewPCG(seed, seed))
	ops := slices.Sorted(func(yield func(string) bool) {
		for op := range reference {
			if !yield(op) {
				return
			}
		}
	})
	rounds := 1500
	if testing.Short() {
		rounds = 200
	}
	for round := range rounds {
		store := randomStore(rnd)
		op := ops[rnd.IntN(len(ops))]
		rng := randomDuration(rnd)
		offset := time.Duration(rnd.IntN(3)-1) * randomDuration(rnd)
		p := Params{Start: zero + rnd.Int64N(int64(time.Minute)), Step: randomDuration(rnd)}
		p.End = p.Start + rnd.Int64N(int64(2*time.Minute))
		p.Query = rangeQuery(op, rng, offset)
		e := New(store, Options{ExtraWorkers: 3})
		if round%3 == 0 {
			e.sliceWidth = 1 + rnd.Int64N(int64(time.Minute)) // several goroutines
		}
		res, err := e.Range(context.Background(), p)
		if err != nil {
			t.Fatalf("seed %d round %d: %s: %v", seed, round, p.Query, err)
		}
		got := map[string]float64{}
		for _, s := range res.Matrix {
			for _, f := range s.Floats {
				got[fmt.Sprint(s.Metric.Get("s"), "@", f.T)] = f.F
			}
		}
		want := rescan(store, op, p, rng, offset)
		if !closeTo(got, want) {
			t.Fatalf("seed %d round %d: %s from %s to %s step %s\n got %v\nwant %v", seed, round, p.Query,
				time.Duration(p.Start-zero), time.Duration(p.End-zero), p.Step, got, want)
		}
	}
}

// randomDuration prefers durations that divide each other.
func randomDuration(rnd *rand.Rand) time.Duration {
	switch rnd.IntN(3) {
	case 0:
		return time.Duration(1+rnd.IntN(6)) * 5 * time.Second
	case 1:
		return time.Duration(1+rnd.IntN(3)) * time.Minute
	}
	return time.Duration(1+rnd.IntN(40_000)) * time.Millisecond
}

func randomStore(rnd *rand.Rand) *memoryStore {
	store := &memoryStore{shuffle: rnd, rows: 1 + rnd.IntN(50)}
	for s := range 1 + rnd.IntN(3) {
		var es []model.Entry
		for range rnd.IntN(60) {
			ts := zero + rnd.Int64N(int64(4*time.Minute)) - int64(time.Minute)
			if rnd.IntN(2) == 0 { // on the ends of windows
				ts -= ts % int64(5*time.Second)
			}
			es = append(es, model.Entry{Timestamp: ts, Line: "v=" + strconv.Itoa(rnd.IntN(100)-20)})
		}
		// One value per timestamp, so that first and last are certain.
		slices.SortFunc(es, func(x, y model.Entry) int { return cmp.Compare(x.Timestamp, y.Timestamp) })
		es = slices.CompactFunc(es, func(x, y model.Entry) bool { return x.Timestamp == y.Timestamp })
		store.push(labels.FromStrings("app", "a", "s", strconv.Itoa(s)), es...)
	}
	return store
}

func rangeQuery(op string, rng, offset time.Duration) string {
	sel := `{app="a"}`
	if !isLineOp(op) {
		sel += ` | logfmt | unwrap v`
	}
	if op == "quantile_over_time" {
		sel = "0.7, " + sel
	}
	q := fmt.Sprintf("%s(%s [%dms]", op, sel, rng.Milliseconds())
	if offset != 0 {
		q += fmt.Sprintf(" offset %dms", offset.Milliseconds())
	}
	return q + ")"
}

func isLineOp(op string) bool {
	return op == "count_over_time" || op == "rate" || strings.HasPrefix(op, "bytes")
}

// rescan is the naive evaluation.
func rescan(store *memoryStore, op string, p Params, rng, offset time.Duration) map[string]float64 {
	out := map[string]float64{}
	step := int64(p.Step)
	for ts := floorDiv(p.Start, step) * step; ts < p.End+step; ts += step {
		if ts-step >= p.End {
			break
		}
		for _, s := range store.streams {
			var in []refSample
			for _, e := range s.Entries {
				if e.Timestamp > ts-int64(rng)-int64(offset) && e.Timestamp <= ts-int64(offset) {
					v, _ := strconv.ParseFloat(e.Line[2:], 64)
					if isLineOp(op) {
						v = float64(len(e.Line))
					}
					in = append(in, refSample{e.Timestamp, v})
				}
			}
			if len(in) > 0 {
				out[fmt.Sprint(s.Labels.Get("s"), "@", ts/1e6)] = reference[op](in, rng.Seconds())
			}
		}
	}
	return out
}

func closeTo(got, want map[string]float64) bool {
	if len(got) != len(want) {
		return false
	}
	for k, w := range want {
		g, ok := got[k]
		if !ok || math.Abs(g-w) > 1e-9*max(1, math.Abs(w)) {
			return false
		}
	}
	return true
}

// TestGridWindows checks for every window of many grids that its buckets are
// those of its entries and of no others.
func TestGridWindows(t *testing.T) {
	for step := int64(1); step <= 7; step++ {
		for rng := int64(1); rng <= 30; rng++ {
			for n := 1; n <= 6; n++ {
				g := newGrid(100, step, rng, n)
				for k := range n {
					end := 100 + int64(k)*step
					first, last := g.window(k)
					for ts := int64(60); ts < 150; ts++ {
						b := g.bucket(ts)
						if b >= g.buckets() {
							t.Fatalf("step %d rng %d n %d: bucket %d of %d", step, rng, n, b, g.buckets())
						}
						in := ts > end-rng && ts <= end
						if lo, hi := g.interval(ts, b); lo < ts && ts <= hi && (g.bucket(lo+1) != b || g.bucket(hi) != b) {
							t.Fatalf("step %d rng %d n %d: interval (%d, %d] of entry %d", step, rng, n, lo, hi, ts)
						}
						if got := b >= 0 && b >= first && b <= last; got != in {
							t.Fatalf("step %d rng %d n %d: entry %d in bucket %d, window %d is [%d, %d], want inside: %v", step, rng, n, ts, b, k, first, last, in)
						}
						if in != g.span().Contains(ts) && in {
							t.Fatalf("step %d rng %d n %d: entry %d is outside the span", step, rng, n, ts)
						}
					}
				}
			}
		}
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		start, end, width int64
		want              string
	}{
		{0, 10, 4, "[[0 4] [4 8] [8 10]]"},
		{-5, 3, 4, "[[-5 -4] [-4 0] [0 3]]"},
		{5, 12, 4, "[[5 12]]"},
		{4, 12, 4, "[[4 8] [8 12]]"},
	} {
		if got := fmt.Sprint(cutText(cut(model.TimeRange{Start: c.start, End: c.end}, c.width))); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	if n := len(cut(model.TimeRange{Start: -maxTime, End: maxTime}, 1)); n > maxSlices+1 {
		t.Errorf("%d slices", n)
	}
}

// cutText is without the String of TimeRange.
func cutText(rs []model.TimeRange) (out [][2]int64) {
	for _, r := range rs {
		out = append(out, [2]int64{r.Start, r.End})
	}
	return out
}
