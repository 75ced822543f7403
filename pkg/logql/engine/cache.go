package engine

import (
	"container/list"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// Reviser is what a Querier implements to have the results of range
// aggregations kept. Both methods are called from many goroutines.
type Reviser interface {
	// Clock is a moment in the order of all changes.
	Clock() uint64
	// ChangedSince says whether entries in the range may have come or gone since
	// that moment. It may be true without need, and never false if a Select of
	// the range gives something else now.
	ChangedSince(clock uint64, r model.TimeRange) bool
}

// resultCache keeps the points of range aggregations.
//
// A range aggregation at a step depends only on the entries in its window. So
// its points are kept, by the printed aggregation and the step, together with
// the Reviser's clock from before they were computed, and used again wherever
// nothing in their windows has changed since; the rest is evaluated. A panel
// that shows the last six hours costs the last minutes when it is refreshed,
// and an entry that arrives late costs the windows that it falls into.
//
// What is above the range aggregation is evaluated every time: it costs little,
// and need not be a function of single steps.
//
// Steps are numbered from the epoch on: steps of equal distance are the same
// whatever the range of the query, because ranges are aligned. They are kept in
// segments of segmentSteps, the unit that is replaced and forgotten.
type resultCache struct {
	rev     Reviser
	limit   int64
	metrics *metrics

	mu    sync.Mutex
	bytes int64
	items map[segmentKey]*list.Element // of *segment, which is never changed
	lru   list.List                    // front is what was used last
}

// segmentSteps is the number of steps in a segment; they fit one byte.
const segmentSteps = 256

type segmentKey struct {
	leaf    string
	step, n int64
}

// segment holds the points of the steps [first, last] of a segment.
type segment struct {
	key         segmentKey
	first, last int64
	clock       uint64
	series      []segmentSeries
	bytes       int64
}

// segmentSeries are the points of one series: at[i] is the number of a step in
// the segment.
type segmentSeries struct {
	metric labels.Labels
	at     []uint8
	values []float64
}

// Bytes of a segment and of a series in it, besides what they hold.
const (
	segmentCost       = 200
	segmentSeriesCost = 80
)

// newResultCache returns nil if nothing can be kept.
func newResultCache(q Querier, limit int64, m *metrics) *resultCache {
	rev, ok := q.(Reviser)
	if !ok || limit <= 0 {
		return nil
	}
	return &resultCache{rev: rev, limit: limit, metrics: m, items: map[segmentKey]*list.Element{}}
}

func (c *resultCache) get(key segmentKey) *segment {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.items[key]
	if !ok {
		return nil
	}
	c.lru.MoveToFront(e)
	return e.Value.(*segment)
}

// put replaces a segment, and forgets those that were not used for longest.
func (c *resultCache) put(s *segment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(c.items[s.key])
	if s.bytes <= c.limit/8 {
		c.items[s.key] = c.lru.PushFront(s)
		c.bytes += s.bytes
	}
	for c.bytes > c.limit {
		c.drop(c.lru.Back())
	}
	c.metrics.cacheBytes.Set(float64(c.bytes))
}

func (c *resultCache) drop(e *list.Element) {
	if e == nil {
		return
	}
	s := c.lru.Remove(e).(*segment)
	c.bytes -= s.bytes
	delete(c.items, s.key)
}

// cacheable says whether the result of a range aggregation at a step is a
// function of the entries in its window.
func cacheable(n *logql.RangeAggregation) bool {
	for _, st := range n.Selector.Stages {
		switch st := st.(type) {
		case *logql.LineFilter, *logql.LabelFilter, *logql.JSONParser, *logql.LogfmtParser, *logql.RegexpParser, *logql.PatternParser,
			*logql.Unpack, *logql.Decolorize, *logql.DropLabels, *logql.KeepLabels:
		case *logql.LineFormat:
			if strings.Contains(st.Template, "now") {
				return false
			}
		case *logql.LabelFormat:
			for _, f := range st.Formats {
				if strings.Contains(f.Template, "now") {
					return false
				}
			}
		default: // may look at more than a line
			return false
		}
	}
	return true
}

// leafText is equal for range aggregations with the same result.
func (r *run) leafText(n *logql.RangeAggregation, by *logql.Grouping) string {
	text := "all"
	if by != nil {
		text = by.String()
	}
	return fmt.Sprintf("%s %v %s", text, r.needs[n], n)
}

// cached computes the points of a range aggregation at the steps of r with eval,
// which computes them at any steps, or takes them from the cache.
func (r *run) cached(n *logql.RangeAggregation, by *logql.Grouping, eval func(steps) ([]promql.Series, error)) ([]promql.Series, error) {
	c := r.e.cache
	s := r.steps
	if c == nil || r.noCache || s.instant || s.n < 2 || s.start%s.step != 0 || s.step%int64(time.Millisecond) != 0 || n.Range <= 0 || !cacheable(n) {
		return eval(s)
	}
	l := &cachedLeaf{c: c, text: r.leafText(n, by), step: s.step, clock: c.rev.Clock()}
	l.back, l.ahead = spanOf(n)
	l.from = s.start / l.step
	l.to = l.from + int64(s.n) - 1
	l.find()
	missing := l.missing()
	var parts [][]promql.Series
	misses := int64(0)
	for _, m := range missing {
		misses += m.to - m.from + 1
		series, err := eval(steps{start: m.from * l.step, step: l.step, n: int(m.to-m.from) + 1})
		if err != nil {
			return nil, err
		}
		parts = append(parts, series)
	}
	hits := int64(s.n) - misses
	c.metrics.cacheHits.Add(float64(hits))
	c.metrics.cacheMisses.Add(float64(misses))
	r.stats.CacheHits += hits
	r.stats.CacheMisses += misses
	if hits == 0 {
		l.store(parts[0])
		return parts[0], nil
	}
	series, err := l.assemble(r, missing, parts)
	if err == nil && misses > 0 {
		l.store(series)
	}
	return series, err
}

// cachedLeaf is the use of the cache by one range aggregation.
type cachedLeaf struct {
	c    *resultCache
	text string
	step int64
	// The window of the step at time t is (t-back, t-ahead].
	back, ahead int64
	from, to    int64  // the steps that are wanted
	clock       uint64 // from before anything was looked at
	found       []foundRun
}

// stepRun are the steps [from, to].
type stepRun struct{ from, to int64 }

// foundRun is a run of steps whose points are known and still right.
type foundRun struct {
	stepRun
	seg *segment
}

func (l *cachedLeaf) key(n int64) segmentKey { return segmentKey{l.text, l.step, n} }

// changed says whether anything happened in the windows of steps.
func (l *cachedLeaf) changed(clock uint64, from, to int64) bool {
	return l.c.rev.ChangedSince(clock, model.TimeRange{Start: from*l.step - l.back + 1, End: to*l.step - l.ahead + 1})
}

// find looks up what is known, in order of time.
func (l *cachedLeaf) find() {
	for n := floorDiv(l.from, segmentSteps); n <= floorDiv(l.to, segmentSteps); n++ {
		s := l.c.get(l.key(n))
		if s == nil {
			continue
		}
		if from, to := max(l.from, s.first), min(l.to, s.last); from <= to {
			l.valid(s, from, to)
		}
	}
}

// valid adds the steps of a segment that are still right. It halves the run
// until all or nothing of it is.
func (l *cachedLeaf) valid(s *segment, from, to int64) {
	if !l.changed(s.clock, from, to) {
		if n := len(l.found); n > 0 && l.found[n-1].seg == s && l.found[n-1].to == from-1 {
			l.found[n-1].to = to
			return
		}
		l.found = append(l.found, foundRun{stepRun{from, to}, s})
		return
	}
	if from == to {
		return
	}
	mid := from + (to-from)/2
	l.valid(s, from, mid)
	l.valid(s, mid+1, to)
}

// maxMissing bounds the runs of steps that are evaluated one by one.
const maxMissing = 4

// missing returns the runs of steps that have to be evaluated. Where there are
// many, what was found between two of them is given up, shortest first.
func (l *cachedLeaf) missing() []stepRun {
	for {
		var out []stepRun
		next := l.from
		for _, f := range l.found {
			if f.from > next {
				out = append(out, stepRun{next, f.from - 1})
			}
			next = f.to + 1
		}
		if next <= l.to {
			out = append(out, stepRun{next, l.to})
		}
		if len(out) <= maxMissing {
			return out
		}
		short := 0
		for i, f := range l.found {
			if f.to-f.from < l.found[short].to-l.found[short].from {
				short = i
			}
		}
		l.found = slices.Delete(l.found, short, short+1)
	}
}

// seriesTable gathers series of equal labels.
type seriesTable struct {
	at     map[string]int
	series []promql.Series
	key    []byte
}

func (t *seriesTable) of(metric labels.Labels) *promql.Series {
	t.key = metric.Bytes(t.key)
	i, ok := t.at[string(t.key)]
	if !ok {
		i = len(t.series)
		t.at[string(t.key)] = i
		t.series = append(t.series, promql.Series{Metric: metric})
	}
	return &t.series[i]
}

// assemble puts what was found and what was evaluated together, in order of time.
func (l *cachedLeaf) assemble(r *run, missing []stepRun, parts [][]promql.Series) ([]promql.Series, error) {
	t := seriesTable{at: map[string]int{}}
	found := l.found
	for len(found) > 0 || len(missing) > 0 {
		if len(found) > 0 && (len(missing) == 0 || found[0].from < missing[0].from) {
			l.take(&t, r, found[0])
			found = found[1:]
		} else {
			for _, s := range parts[0] {
				dst := t.of(s.Metric)
				dst.Floats = append(dst.Floats, s.Floats...)
			}
			parts, missing = parts[1:], missing[1:]
		}
		if err := r.checkBudget(); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(t.series, bySeriesLabels)
	return t.series, nil
}

// take adds the points of a found run.
func (l *cachedLeaf) take(t *seriesTable, r *run, f foundRun) {
	base := f.seg.key.n * segmentSteps
	for i := range f.seg.series {
		s := &f.seg.series[i]
		lo, _ := slices.BinarySearch(s.at, uint8(f.from-base))
		hi, _ := slices.BinarySearchFunc(s.at, f.to-base, func(a uint8, last int64) int { return int(int64(a) - last - 1) })
		if lo >= hi {
			continue
		}
		dst := t.of(s.metric)
		for j := lo; j < hi; j++ {
			dst.Floats = append(dst.Floats, promql.FPoint{T: l.millis(base + int64(s.at[j])), F: s.values[j]})
		}
		r.budget.Take(pointSize * (hi - lo))
	}
}

// millis is the time of a step.
func (l *cachedLeaf) millis(step int64) int64 { return steps{start: step * l.step}.millis(0) }

// store keeps the points of all wanted steps, in every segment that did not have
// all of them.
func (l *cachedLeaf) store(series []promql.Series) {
	pos := make([]int, len(series)) // first point of a series that has not been stored
	for n := floorDiv(l.from, segmentSteps); n <= floorDiv(l.to, segmentSteps); n++ {
		first, last := max(l.from, n*segmentSteps), min(l.to, (n+1)*segmentSteps-1)
		if slices.ContainsFunc(l.found, func(f foundRun) bool { return f.from <= first && f.to >= last }) {
			skipTo(series, pos, l.millis(last))
			continue
		}
		seg := &segment{key: l.key(n), first: first, last: last, clock: l.clock, bytes: segmentCost + int64(len(l.text))}
		for i := range series {
			seg.add(l, series[i], &pos[i])
		}
		l.widen(seg)
		l.c.put(seg)
	}
}

// skipTo moves the positions behind a time.
func skipTo(series []promql.Series, pos []int, last int64) {
	for i := range series {
		for pos[i] < len(series[i].Floats) && series[i].Floats[pos[i]].T <= last {
			pos[i]++
		}
	}
}

// add takes the points of a series from *pos on that lie in the segment.
func (s *segment) add(l *cachedLeaf, series promql.Series, pos *int) {
	end, last := *pos, l.millis(s.last)
	for end < len(series.Floats) && series.Floats[end].T <= last {
		end++
	}
	points := series.Floats[*pos:end]
	*pos = end
	if len(points) == 0 {
		return
	}
	base := l.millis(s.key.n * segmentSteps)
	millis := l.step / 1e6
	out := segmentSeries{metric: series.Metric, at: make([]uint8, len(points)), values: make([]float64, len(points))}
	for i, p := range points {
		out.at[i], out.values[i] = uint8((p.T-base)/millis), p.F
	}
	s.series = append(s.series, out)
	s.bytes += segmentSeriesCost + int64(series.Metric.ByteSize()) + 9*int64(len(points))
}

// widen adds the points of the segment's predecessor before and behind the
// wanted steps, if they touch and are still right.
func (l *cachedLeaf) widen(seg *segment) {
	old := l.c.get(seg.key)
	if old == nil || old.first > seg.last+1 || old.last < seg.first-1 {
		return
	}
	before := old.first < seg.first && !l.changed(old.clock, old.first, seg.first-1)
	behind := old.last > seg.last && !l.changed(old.clock, seg.last+1, old.last)
	if !before && !behind {
		return
	}
	t := seriesTable{at: map[string]int{}}
	in := &run{}
	wide := *seg
	if before {
		l.take(&t, in, foundRun{stepRun{old.first, seg.first - 1}, old})
		wide.first = old.first
	}
	l.take(&t, in, foundRun{stepRun{seg.first, seg.last}, seg})
	if behind {
		l.take(&t, in, foundRun{stepRun{seg.last + 1, old.last}, old})
		wide.last = old.last
	}
	wide.series, wide.bytes = nil, segmentCost+int64(len(l.text))
	for _, s := range t.series {
		wide.add(l, s, new(int))
	}
	*seg = wide
}
