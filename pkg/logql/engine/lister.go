package engine

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/stage"
)

// lister is the aggregator of operations that need every sample of a window.
type lister struct {
	g      *grid
	budget *stage.Budget
	series [][]sample
	// value makes a window's value from its samples, sorted by time. It may use
	// scratch.
	value   func(in []sample, scratch *[]float64) float64
	scratch []float64
}

type sample struct {
	ts int64
	v  float64
}

// sampleSize is the size of a sample in bytes, with the slack of a growing slice.
const sampleSize = 24

func (l *lister) add(s *stage.Samples) {
	for i, series := range s.Series {
		if l.g.bucket(s.Timestamps[i]) < 0 {
			continue
		}
		for int(series) >= len(l.series) {
			l.series = append(l.series, nil)
		}
		l.series[series] = append(l.series[series], sample{s.Timestamps[i], s.Values[i]})
	}
	l.budget.Take(sampleSize * len(s.Series))
}

func (l *lister) merge(other aggregator, to []int) {
	for i, from := range other.(*lister).series {
		for to[i] >= len(l.series) {
			l.series = append(l.series, nil)
		}
		l.series[to[i]] = append(l.series[to[i]], from...)
	}
}

func (l *lister) points(series int, emit func(k int, v float64)) {
	if series >= len(l.series) {
		return
	}
	all := l.series[series]
	byTime := func(x, y sample) int { return cmp.Compare(x.ts, y.ts) }
	if !slices.IsSortedFunc(all, byTime) {
		slices.SortStableFunc(all, byTime)
	}
	lo, hi := 0, 0
	for k := range l.g.n {
		end := l.g.start + int64(k)*l.g.step
		start := end - l.g.rng
		for lo < len(all) && all[lo].ts <= start {
			lo++
		}
		for hi < len(all) && all[hi].ts <= end {
			hi++
		}
		if lo < hi {
			emit(k, l.value(all[lo:hi], &l.scratch))
		}
	}
}

// quantileOf returns the q-quantile: linear between the two nearest ranks.
func quantileOf(q float64) func([]sample, *[]float64) float64 {
	return func(in []sample, scratch *[]float64) float64 {
		switch {
		case math.IsNaN(q):
			return math.NaN()
		case q < 0:
			return math.Inf(-1)
		case q > 1:
			return math.Inf(+1)
		}
		vs := (*scratch)[:0]
		for _, s := range in {
			vs = append(vs, s.v)
		}
		*scratch = vs
		slices.Sort(vs)
		rank := q * float64(len(vs)-1)
		lower := math.Floor(rank)
		upper := min(lower+1, float64(len(vs)-1))
		weight := rank - lower
		return vs[int(lower)]*(1-weight) + vs[int(upper)]*weight
	}
}

// counterRate returns the increase of a counter per second of the window, across
// resets; fewer than two samples are 0. Loki means to extrapolate to the ends of
// the window, as PromQL does, but what it adds is a millionth: it takes
// nanoseconds for milliseconds.
func counterRate(rng time.Duration) func([]sample, *[]float64) float64 {
	return func(in []sample, _ *[]float64) float64 {
		first, last := in[0], in[len(in)-1]
		if first.ts == last.ts {
			return 0
		}
		increase := last.v - first.v
		for i := 1; i < len(in); i++ {
			if in[i].v < in[i-1].v {
				increase += in[i-1].v
			}
		}
		return increase / rng.Seconds()
	}
}
