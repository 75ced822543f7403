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
	// value makes a window's value from its samples, sorted by time; start and
	// end are the ends of the window. It may use scratch.
	value   func(in []sample, start, end int64, scratch *[]float64) float64
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
			emit(k, l.value(all[lo:hi], start, end, &l.scratch))
		}
	}
}

// quantileOf returns the q-quantile: linear between the two nearest ranks.
func quantileOf(q float64) func([]sample, int64, int64, *[]float64) float64 {
	return func(in []sample, _, _ int64, scratch *[]float64) float64 {
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

// counterRate returns the increase of a counter per second, across resets and
// extrapolated to the ends of the window, by the rules of PromQL's rate. Fewer
// than two samples are 0.
func counterRate(rng time.Duration) func([]sample, int64, int64, *[]float64) float64 {
	return func(in []sample, start, end int64, _ *[]float64) float64 {
		if len(in) < 2 {
			return 0
		}
		first, last := in[0], in[len(in)-1]
		increase := last.v - first.v
		for i := 1; i < len(in); i++ {
			if in[i].v < in[i-1].v {
				increase += in[i-1].v
			}
		}
		sampled := float64(last.ts - first.ts)
		if sampled == 0 {
			return 0
		}
		average := sampled / float64(len(in)-1)
		toStart, toEnd := float64(first.ts-start), float64(end-last.ts)
		// No further than a sample is to be expected, nor below zero.
		if toStart >= average*1.1 {
			toStart = average / 2
		}
		if increase > 0 && first.v >= 0 {
			toStart = min(toStart, sampled*(first.v/increase))
		}
		if toEnd >= average*1.1 {
			toEnd = average / 2
		}
		return increase * (sampled + toStart + toEnd) / sampled / rng.Seconds()
	}
}
