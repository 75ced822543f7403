package engine

import (
	"math"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/stage"
)

// hashSize is the memory of a value in a set, in bytes: a hash, and the slack
// of a map.
const hashSize = 24

// hashSet are values by their hashes.
type hashSet map[uint64]struct{}

// distincts counts the distinct values of a label: a set per bucket.
type distincts struct{ buckets[hashSet] }

func (d *distincts) add(s *stage.Samples) {
	for i, series := range s.Series {
		b := d.g.bucket(s.Timestamps[i])
		if b < 0 {
			continue
		}
		set := d.at(series, b)
		if *set == nil {
			*set = hashSet{}
		}
		hash := math.Float64bits(s.Values[i])
		if _, ok := (*set)[hash]; !ok {
			(*set)[hash] = struct{}{}
			d.budget.Take(hashSize)
		}
	}
}

func (d *distincts) merge(other aggregator, to []int) {
	mergeBuckets(&d.buckets, &other.(*distincts).buckets, to, func(x, y hashSet) hashSet {
		if x == nil {
			return y
		}
		for hash := range y {
			x[hash] = struct{}{}
		}
		return x
	})
}

// points moves over the windows and keeps in how many of a window's buckets
// each value is.
func (d *distincts) points(series int, emit func(k int, v float64)) {
	sets := d.all(series)
	if sets == nil {
		return
	}
	in := map[uint64]int{}
	from, next := 0, 0 // the buckets that in counts
	for k := range d.g.n {
		first, last := d.g.window(k)
		for ; next <= last; next++ {
			for hash := range sets[next] {
				in[hash]++
			}
		}
		for ; from < first; from++ {
			for hash := range sets[from] {
				if in[hash]--; in[hash] == 0 {
					delete(in, hash)
				}
			}
		}
		if len(in) > 0 {
			emit(k, float64(len(in)))
		}
	}
}
