package main

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/store"
)

const (
	// gapsMark holds the numbers of gaps of the last day, as JSON.
	gapsMark     = "collector/gaps"
	gapsInterval = time.Minute
	gapHours     = 24
	// maxGapKinds bounds the pairs of namespace and reason of one hour; the rest
	// counts under no namespace.
	maxGapKinds = 500
)

type gapKind struct{ namespace, reason string }

// gapLog counts gaps by the hour in which they were found.
type gapLog struct {
	now func() time.Time

	mu    sync.Mutex
	hours map[int64]map[gapKind]int64 // by hour since the epoch
	dirty bool
}

func newGapLog(now func() time.Time) *gapLog {
	return &gapLog{now: now, hours: make(map[int64]map[gapKind]int64)}
}

func (g *gapLog) add(namespace, reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.put(g.hour(), gapKind{namespace, reason}, 1)
	g.dirty = true
}

func (g *gapLog) hour() int64 { return g.now().Unix() / 3600 }

// put counts; the lock is held. Hours that are over go.
func (g *gapLog) put(hour int64, k gapKind, n int64) {
	oldest := g.hour() - gapHours
	maps.DeleteFunc(g.hours, func(h int64, _ map[gapKind]int64) bool { return h <= oldest })
	if hour <= oldest {
		return
	}
	counts := g.hours[hour]
	if counts == nil {
		counts = make(map[gapKind]int64)
		g.hours[hour] = counts
	}
	if _, known := counts[k]; !known && len(counts) >= maxGapKinds {
		k.namespace = ""
	}
	counts[k] += n
}

// lastDay sums the last 24 hours, the present one included; most first.
func (g *gapLog) lastDay() []lokiapi.GapCount {
	g.mu.Lock()
	defer g.mu.Unlock()
	oldest := g.hour() - gapHours
	sum := make(map[gapKind]int64)
	for hour, counts := range g.hours {
		if hour > oldest {
			for k, n := range counts {
				sum[k] += n
			}
		}
	}
	out := make([]lokiapi.GapCount, 0, len(sum))
	for k, n := range sum {
		out = append(out, lokiapi.GapCount{Namespace: k.namespace, Reason: k.reason, Count: n})
	}
	slices.SortFunc(out, func(a, b lokiapi.GapCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Reason, b.Reason))
	})
	return out
}

// storedGaps is the JSON of one hour and kind.
type storedGaps struct {
	Hour      int64  `json:"h"`
	Namespace string `json:"ns,omitempty"`
	Reason    string `json:"r"`
	Count     int64  `json:"n"`
}

// load adds what an earlier process has counted.
func (g *gapLog) load(b []byte) {
	var list []storedGaps
	if json.Unmarshal(b, &list) != nil {
		return // there is none, or it is of another version: a statistic
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range list {
		g.put(s.Hour, gapKind{s.Namespace, s.Reason}, s.Count)
	}
}

// save stores what has changed.
func (g *gapLog) save(ctx context.Context, db *store.DB) error {
	g.mu.Lock()
	if !g.dirty {
		g.mu.Unlock()
		return nil
	}
	g.dirty = false
	list := []storedGaps{}
	for hour, counts := range g.hours {
		for k, n := range counts {
			list = append(list, storedGaps{hour, k.namespace, k.reason, n})
		}
	}
	g.mu.Unlock()
	b, err := json.Marshal(list)
	if err == nil {
		err = db.Append(ctx, &model.Batch{Marks: []model.Mark{{Key: gapsMark, Value: b}}})
	}
	if err != nil {
		g.mu.Lock()
		g.dirty = true
		g.mu.Unlock()
	}
	return err
}

// gapsLastDay exports the gaps of the last day by reason.
type gapsLastDay struct{ g *gapLog }

var gapsLastDayDesc = prometheus.NewDesc("logstack_gaps_last_day", "Gaps found in the last 24 hours, by reason; those before a restart included.", []string{"reason"}, nil)

// Describe implements prometheus.Collector.
func (c gapsLastDay) Describe(ch chan<- *prometheus.Desc) { ch <- gapsLastDayDesc }

// Collect implements prometheus.Collector.
func (c gapsLastDay) Collect(ch chan<- prometheus.Metric) {
	sum := make(map[string]int64)
	for _, g := range c.g.lastDay() {
		sum[g.Reason] += g.Count
	}
	for reason, n := range sum {
		ch <- prometheus.MustNewConstMetric(gapsLastDayDesc, prometheus.GaugeValue, float64(n), reason)
	}
}
