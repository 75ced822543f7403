package engine

import (
	"math"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// maxTime and maxSpan keep sums of times and ranges inside an int64: about 146
// years around 1970, and 73 years.
const (
	maxTime = math.MaxInt64 / 2
	maxSpan = math.MaxInt64 / 4
)

// grid lays out the windows of a range aggregation: window k, of n, is
// (start+k·step-rng, start+k·step], everything in nanoseconds.
//
// The 2n ends of windows cut time into intervals inside which all entries
// belong to the same windows. A bucket is such an interval, so that an entry is
// added to one bucket however many windows overlap, and a window is the run of
// buckets between its ends. Entries may come in any order.
//
//	lower ends   |-----|-----|-----|              rng = 2½ steps
//	upper ends                   |-----|-----|
//	buckets      0  1     2    3 4 5 …
//
// Two layouts save buckets: windows that do not overlap are one bucket each,
// and where rng is a multiple of step the ends fall together.
type grid struct {
	start, step, rng int64
	n                int
	layout           layout
	m                int // rng/step, rounded up
}

type layout uint8

const (
	apart   layout = iota // rng ≤ step: a bucket is a window
	aligned               // rng = m·step: a bucket is a step
	general
)

// newGrid lays out n windows. rng is positive, step too where n > 1.
func newGrid(start, step, rng int64, n int) *grid {
	g := &grid{start: start, step: step, rng: rng, n: n}
	if n == 1 {
		// One window: any step will do, and this is the simplest.
		g.step = rng
	}
	g.m = int(min((rng-1)/g.step+1, int64(n)))
	switch {
	case rng <= g.step:
		g.layout = apart
	case rng%g.step == 0 && g.m < n:
		g.layout = aligned
	default:
		g.layout = general
	}
	return g
}

// end is the time of the last window's upper end.
func (g *grid) end() int64 { return g.start + int64(g.n-1)*g.step }

// span is the range of timestamps that fall into any window.
func (g *grid) span() model.TimeRange {
	return model.TimeRange{Start: g.start - g.rng + 1, End: g.end() + 1}
}

// gaps says that there is time between windows.
func (g *grid) gaps() bool { return g.n > 1 && g.rng < g.step }

// pieces returns the width of all buckets and where one of them begins, or 0
// where they differ or leave gaps.
func (g *grid) pieces() (width, from int64) {
	if g.layout == general || g.gaps() {
		return 0, 0
	}
	return g.step, g.start + 1
}

// buckets is the number of buckets.
func (g *grid) buckets() int {
	switch g.layout {
	case apart:
		return g.n
	case aligned:
		return g.n + g.m
	}
	return 2 * g.n
}

// before counts the multiples k in [0, n) with from+k·step < t.
func (g *grid) before(from, t int64, n int) int {
	if t <= from {
		return 0
	}
	return int(min((t-from-1)/g.step+1, int64(n)))
}

// bucket returns the bucket of an entry, or -1 if it is in no window.
func (g *grid) bucket(t int64) int {
	switch g.layout {
	case apart:
		k := g.before(g.start, t, g.n)
		if k == g.n || t <= g.start+int64(k)*g.step-g.rng {
			return -1
		}
		return k
	case aligned:
		b := g.before(g.start-g.rng, t, g.n+g.m) - 1
		if t > g.end() {
			return -1
		}
		return b
	}
	opened, closed := g.before(g.start-g.rng, t, g.n), g.before(g.start, t, g.n)
	if opened == closed {
		return -1
	}
	return opened + closed - 1
}

// interval returns the interval (lo, hi] around t whose entries all belong to
// bucket b = bucket(t), or one that is empty where that takes longer to tell
// than bucket.
func (g *grid) interval(t int64, b int) (lo, hi int64) {
	switch {
	case b < 0 || g.layout == general:
		return t, t
	case g.layout == apart:
		hi = g.start + int64(b)*g.step
		return hi - g.rng, hi
	}
	lo = g.start - g.rng + int64(b)*g.step
	return lo, lo + g.step
}

// window returns the first and last bucket of window k. Both grow with k.
func (g *grid) window(k int) (first, last int) {
	switch g.layout {
	case apart:
		return k, k
	case aligned:
		return k, k + g.m - 1
	}
	// Just above the lower end k+1 windows are open, and those are closed whose
	// upper end is not above it: j·step ≤ k·step-rng.
	closed := 0
	if d := int64(k)*g.step - g.rng; d >= 0 {
		closed = int(d/g.step) + 1
	}
	// At the upper end k are closed, and those open with j·step-rng < k·step.
	opened := int(min((int64(k)*g.step+g.rng-1)/g.step+1, int64(g.n)))
	return k + closed, opened + k - 1
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}
