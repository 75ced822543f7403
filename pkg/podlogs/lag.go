package podlogs

import (
	"math"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// Lag is the time from the stamp that the container runtime gave a line to the
// moment in which it was durable here. A container that writes nothing has
// none, and lines from before this process began are left out: how far behind
// a start is says the state of the targets.
type Lag struct {
	// P50 and P99 are of the lines of the last few minutes; 0 if there were none.
	P50, P99 time.Duration
	// Lines is how many these were, Window the time in which they came.
	Lines  int64
	Window time.Duration
}

// lagBounds are the buckets' upper bounds, in seconds.
var lagBounds = []float64{
	0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 30, 60, 120, 300, 600, 1800, 3600, 6 * 3600, 24 * 3600,
}

const (
	lagSlot  = 30 * time.Second
	lagSlots = 10
)

type lagCounts [30]int64 // one more than bounds: the last is what is above them all

// lagWindow counts lines by lag: all of them for metrics, the recent ones for
// quantiles.
type lagWindow struct {
	since int64 // Unix nanoseconds; older lines are not counted
	desc  *prometheus.Desc

	mu    sync.Mutex
	all   lagCounts
	sum   float64
	slots [lagSlots]lagCounts
	slot  int64 // number of the present slot since the epoch
}

func newLagWindow(now time.Time) *lagWindow {
	return &lagWindow{
		since: now.UnixNano(),
		desc: prometheus.NewDesc(metricPrefix+"lag_seconds",
			"Time from the stamp of a line to the moment in which it was stored, by line; without lines from before the start of the process.", nil, nil),
	}
}

// turn moves to the slot of now. The lock is held.
func (w *lagWindow) turn(now time.Time) {
	slot := now.UnixNano() / int64(lagSlot)
	for n := min(slot-w.slot, lagSlots); n > 0; n-- {
		w.slots[(slot-n+1)%lagSlots] = lagCounts{}
	}
	w.slot = max(w.slot, slot)
}

// stored counts the lines of a piece.
func (w *lagWindow) stored(entries []model.Entry, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.turn(now)
	recent := &w.slots[w.slot%lagSlots]
	ns := now.UnixNano()
	last, i := int64(math.MinInt64), 0
	for j := range entries {
		e := &entries[j]
		if e.Timestamp < w.since || e.Metadata.Has(MetaGap) {
			continue
		}
		lag := max(ns-e.Timestamp, 0) // the node's clock may be ahead
		if lag != last {
			i = sort.SearchFloat64s(lagBounds, float64(lag)/1e9)
			last = lag
		}
		w.all[i]++
		recent[i]++
		w.sum += float64(lag) / 1e9
	}
}

// lag answers the quantiles of the recent lines.
func (w *lagWindow) lag(now time.Time) Lag {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.turn(now)
	var sum lagCounts
	l := Lag{Window: lagSlots * lagSlot}
	for i := range w.slots {
		for j, n := range w.slots[i] {
			sum[j] += n
			l.Lines += n
		}
	}
	l.P50, l.P99 = sum.quantile(0.5, l.Lines), sum.quantile(0.99, l.Lines)
	return l
}

// quantile interpolates inside of the bucket; what is above all bounds counts
// as the last one.
func (c *lagCounts) quantile(q float64, total int64) time.Duration {
	rank, below := q*float64(total), 0.0
	lower := 0.0
	for i, n := range c {
		if n > 0 && below+float64(n) >= rank {
			if i == len(lagBounds) {
				break
			}
			return time.Duration((lower + (lagBounds[i]-lower)*(rank-below)/float64(n)) * float64(time.Second))
		}
		below += float64(n)
		if i < len(lagBounds) {
			lower = lagBounds[i]
		}
	}
	if total == 0 {
		return 0
	}
	return time.Duration(lower * float64(time.Second))
}

// Describe implements prometheus.Collector.
func (w *lagWindow) Describe(ch chan<- *prometheus.Desc) { ch <- w.desc }

// Collect implements prometheus.Collector.
func (w *lagWindow) Collect(ch chan<- prometheus.Metric) {
	w.mu.Lock()
	all, sum := w.all, w.sum
	w.mu.Unlock()
	buckets := make(map[float64]uint64, len(lagBounds))
	count := uint64(0)
	for i, n := range all {
		count += uint64(n)
		if i < len(lagBounds) {
			buckets[lagBounds[i]] = count
		}
	}
	ch <- prometheus.MustNewConstHistogram(w.desc, count, sum, buckets)
}

// Lag returns how far behind what is stored is.
func (c *Collector) Lag() Lag { return c.batcher.lag.lag(time.Now()) }

// durable looks at a piece that is stored.
func (b *batcher) durable(p *piece) {
	b.lag.stored(p.entries, time.Now())
	if b.onGap == nil {
		return
	}
	for i := range p.entries {
		if reason := p.entries[i].Metadata.Get(MetaGap); reason != "" {
			b.onGap(p.labels.Get("namespace"), GapReason(reason))
		}
	}
}

// TargetStates lists all states of targets, in the order of a target's life.
func TargetStates() []TargetState { return slices.Clone(targetStates) }
