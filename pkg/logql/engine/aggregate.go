package engine

import (
	"math"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/logql/stage"
)

// aggregator collects the samples of a range aggregation and makes a value for
// each series and window. Samples come in any order.
type aggregator interface {
	// add takes samples; it keeps nothing of the columns.
	add(s *stage.Samples)
	// merge takes everything that another aggregator of the same operation and
	// grid has; to are the numbers that its series have here. The other must
	// not be used afterwards.
	merge(other aggregator, to []int)
	// points calls emit for every window of a series that has a value, in order.
	points(series int, emit func(k int, v float64))
}

// newAggregator returns the aggregator of an operation.
func newAggregator(n *logql.RangeAggregation, g *grid, budget *stage.Budget) aggregator {
	seconds := n.Range.Seconds()
	value := func(a acc) float64 { return a.a }
	perSecond := func(a acc) float64 { return a.a / seconds }
	switch n.Op {
	case logql.OpCountOverTime, logql.OpAbsentOverTime:
		return &counter{buckets: buckets[float64]{g: g, budget: budget}, per: 1}
	case logql.OpRate:
		if n.Unwrap == nil {
			return &counter{buckets: buckets[float64]{g: g, budget: budget}, per: seconds}
		}
		return newFolder(g, budget, addSum, addSumAll, perSecond)
	case logql.OpBytesRate:
		return newFolder(g, budget, addSum, addSumAll, perSecond)
	case logql.OpBytesOverTime, logql.OpSumOverTime:
		return newFolder(g, budget, addSum, addSumAll, value)
	case logql.OpAvgOverTime:
		return newFolder(g, budget, addSum, addSumAll, func(x acc) float64 { return x.a / x.n })
	case logql.OpStdvarOverTime:
		return newFolder(g, budget, addMoments, mergeMoments, variance)
	case logql.OpStddevOverTime:
		return newFolder(g, budget, addMoments, mergeMoments, func(a acc) float64 { return math.Sqrt(variance(a)) })
	case logql.OpMinOverTime:
		return newFolder(g, budget, addMin, mergeMin, value)
	case logql.OpMaxOverTime:
		return newFolder(g, budget, addMax, mergeMax, value)
	case logql.OpFirstOverTime:
		return newFolder(g, budget, addFirst, mergeFirst, value)
	case logql.OpLastOverTime:
		return newFolder(g, budget, addLast, mergeLast, value)
	case logql.OpCountDistinctOverTime:
		return &distincts{buckets[hashSet]{g: g, budget: budget}}
	case logql.OpQuantileOverTime:
		return &lister{g: g, budget: budget, value: quantileOf(n.Param)}
	case logql.OpRateCounter:
		return &lister{g: g, budget: budget, value: counterRate(n.Range)}
	}
	return nil
}

// slide calls emit with the merged buckets of each window in turn. It merges
// each bucket at most three times, and never takes a value out of a sum, which
// would cost precision: buckets up to pivot are merged backwards once (tails),
// those behind it as they come (head).
func slide[T any](g *grid, bs []T, merge func(x, y T) T, emit func(k int, v T)) {
	if g.layout == apart {
		for k, b := range bs {
			emit(k, b)
		}
		return
	}
	var (
		zero, head T
		tails      = make([]T, len(bs))
		pivot      = -1
		next       = 0 // first bucket not in head
	)
	for k := range g.n {
		first, last := g.window(k)
		for ; next <= last; next++ {
			head = merge(head, bs[next])
		}
		if first > pivot {
			tail := zero
			for i := last; i >= first; i-- {
				tail = merge(bs[i], tail)
				tails[i] = tail
			}
			pivot, head = last, zero
		}
		emit(k, merge(tails[first], head))
	}
}

// counter counts samples: the aggregator of most queries, and so a single
// number per bucket. Counts are whole numbers, exact up to 2^53.
type counter struct {
	buckets[float64]
	per float64
}

// add looks up a bucket only where a sample is not in that of the one before:
// most follow their neighbour in time and series.
func (c *counter) add(s *stage.Samples) {
	var (
		at     *float64
		of     uint32
		lo, hi int64
	)
	for i, series := range s.Series {
		ts := s.Timestamps[i]
		if at != nil && series == of && ts > lo && ts <= hi {
			*at++
			continue
		}
		b := c.g.bucket(ts)
		if b < 0 {
			continue
		}
		at, of = c.at(series, b), series
		lo, hi = c.g.interval(ts, b)
		*at++
	}
}

// addCounts takes samples each of which stands for as many entries as its value
// says, all in one bucket.
func (c *counter) addCounts(s *stage.Samples) {
	for i, series := range s.Series {
		if b := c.g.bucket(s.Timestamps[i]); b >= 0 {
			*c.at(series, b) += s.Values[i]
		}
	}
}

func plus(x, y float64) float64 { return x + y }

func (c *counter) merge(other aggregator, to []int) {
	mergeBuckets(&c.buckets, &other.(*counter).buckets, to, plus)
}

func (c *counter) points(series int, emit func(k int, v float64)) {
	bs := c.all(series)
	if bs == nil {
		return
	}
	slide(c.g, bs, plus, func(k int, v float64) {
		if v > 0 {
			emit(k, v/c.per)
		}
	})
}

// acc is what a folder keeps of the samples of a bucket.
type acc struct {
	n    float64 // samples
	a, b float64 // what they mean is the operation's business
}

// folder folds samples into an acc per bucket.
type folder struct {
	buckets[acc]
	put   func(x *acc, ts int64, v float64)
	join  func(x, y acc) acc
	value func(acc) float64
}

func newFolder(g *grid, budget *stage.Budget, put func(*acc, int64, float64), merge func(x, y acc) acc, value func(acc) float64) aggregator {
	return &folder{
		buckets: buckets[acc]{g: g, budget: budget},
		put:     put,
		value:   value,
		join: func(x, y acc) acc {
			switch {
			case x.n == 0:
				return y
			case y.n == 0:
				return x
			}
			return merge(x, y)
		},
	}
}

func (f *folder) add(s *stage.Samples) {
	for i, series := range s.Series {
		if b := f.g.bucket(s.Timestamps[i]); b >= 0 {
			x := f.at(series, b)
			f.put(x, s.Timestamps[i], s.Values[i])
			x.n++
		}
	}
}

func (f *folder) merge(other aggregator, to []int) {
	mergeBuckets(&f.buckets, &other.(*folder).buckets, to, f.join)
}

func (f *folder) points(series int, emit func(k int, v float64)) {
	bs := f.all(series)
	if bs == nil {
		return
	}
	slide(f.g, bs, f.join, func(k int, x acc) {
		if x.n > 0 {
			emit(k, f.value(x))
		}
	})
}

// The sum is a.
func addSum(x *acc, _ int64, v float64) { x.a += v }
func addSumAll(x, y acc) acc            { return acc{x.n + y.n, x.a + y.a, 0} }

// The mean is a, the sum of squared distances from it is b (Welford; Chan for
// the merge).
func addMoments(x *acc, _ int64, v float64) {
	d := v - x.a
	x.a += d / (x.n + 1)
	x.b += d * (v - x.a)
}

func mergeMoments(x, y acc) acc {
	n := x.n + y.n
	d := y.a - x.a
	return acc{n, x.a + d*y.n/n, x.b + y.b + d*d*x.n*y.n/n}
}

func variance(x acc) float64 { return x.b / x.n }

// The extreme is a. As in PromQL NaN gives way to any number.
func addMin(x *acc, _ int64, v float64) {
	if x.n == 0 || v < x.a || math.IsNaN(x.a) {
		x.a = v
	}
}

func addMax(x *acc, _ int64, v float64) {
	if x.n == 0 || v > x.a || math.IsNaN(x.a) {
		x.a = v
	}
}

func mergeMin(x, y acc) acc {
	n := x.n + y.n
	addMin(&x, 0, y.a)
	x.n = n
	return x
}

func mergeMax(x, y acc) acc {
	n := x.n + y.n
	addMax(&x, 0, y.a)
	x.n = n
	return x
}

// The value is a, the bits of its timestamp are b. Of equal timestamps the
// first to arrive is first, the last to arrive last.
func addFirst(x *acc, ts int64, v float64) {
	if x.n == 0 || ts < timeOf(*x) {
		x.a, x.b = v, math.Float64frombits(uint64(ts))
	}
}

func addLast(x *acc, ts int64, v float64) {
	if x.n == 0 || ts >= timeOf(*x) {
		x.a, x.b = v, math.Float64frombits(uint64(ts))
	}
}

func timeOf(x acc) int64 { return int64(math.Float64bits(x.b)) }

func mergeFirst(x, y acc) acc {
	n := x.n + y.n
	if timeOf(y) < timeOf(x) {
		x = y
	}
	x.n = n
	return x
}

func mergeLast(x, y acc) acc {
	n := x.n + y.n
	if timeOf(y) >= timeOf(x) {
		x = y
	}
	x.n = n
	return x
}
