package engine

import (
	"math/bits"
	"unsafe"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/stage"
)

// buckets holds the buckets of all series, in pages that are made with the first
// sample that falls into them: a series with one sample in 11,000 steps takes
// kilobytes, not hundreds of them.
type buckets[T any] struct {
	g      *grid
	budget *stage.Budget
	// series has the pages of each series: nil where there is no sample.
	series [][][]T
	// spill takes samples when the budget is exceeded, until the query ends.
	spill T
	whole []T // what all returns where there are several pages
}

const (
	// pageBuckets is the number of buckets in a page.
	pageBuckets = 64
	pageShift   = 6
	sliceHeader = 24
)

var _ = [1]struct{}{}[bits.Len(pageBuckets-1)-pageShift] // they agree

// at returns a bucket of a series.
func (b *buckets[T]) at(series uint32, k int) *T {
	for int(series) >= len(b.series) {
		b.series = append(b.series, nil)
	}
	pages := b.series[series]
	if pages == nil {
		if b.budget.Exceeded() {
			return &b.spill
		}
		pages = make([][]T, (b.g.buckets()+pageBuckets-1)>>pageShift)
		b.series[series] = pages
		b.budget.Take(sliceHeader * (len(pages) + 2))
	}
	page := pages[k>>pageShift]
	if page == nil {
		if b.budget.Exceeded() {
			return &b.spill
		}
		page = make([]T, min(pageBuckets, b.g.buckets()-k&^(pageBuckets-1)))
		pages[k>>pageShift] = page
		b.budget.Take(int(unsafe.Sizeof(b.spill)) * len(page))
	}
	return &page[k&(pageBuckets-1)]
}

// all returns all buckets of a series, nil if there are none. They are valid
// until the next call.
func (b *buckets[T]) all(series int) []T {
	if series >= len(b.series) || b.series[series] == nil {
		return nil
	}
	pages := b.series[series]
	if len(pages) == 1 {
		return pages[0]
	}
	if b.whole == nil {
		b.whole = make([]T, b.g.buckets())
		b.budget.Take(int(unsafe.Sizeof(b.spill)) * len(b.whole))
	}
	clear(b.whole)
	for i, page := range pages {
		copy(b.whole[i<<pageShift:], page)
	}
	return b.whole
}

// mergeBuckets puts the buckets of o into b.
func mergeBuckets[T any](b, o *buckets[T], to []int, merge func(x, y T) T) {
	for i, pages := range o.series {
		for p, page := range pages {
			for j := range page {
				dst := b.at(uint32(to[i]), p<<pageShift+j)
				*dst = merge(*dst, page[j])
			}
		}
	}
}
