package podlogs

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

func TestLagWindow(t *testing.T) {
	if len(lagBounds)+1 != len(lagCounts{}) {
		t.Fatalf("%d bounds need %d counts", len(lagBounds), len(lagBounds)+1)
	}
	begin := time.Unix(1_800_000_000, 0)
	w := newLagWindow(begin)
	if l := w.lag(begin); l.P50 != 0 || l.P99 != 0 || l.Lines != 0 {
		t.Errorf("nothing was stored: %+v", l)
	}
	at := func(lag time.Duration, now time.Time) model.Entry {
		return model.Entry{Timestamp: now.Add(-lag).UnixNano()}
	}
	now := begin.Add(time.Hour)
	var entries []model.Entry
	for range 98 {
		entries = append(entries, at(220*time.Millisecond, now))
	}
	entries = append(entries, at(40*time.Second, now), at(40*time.Second, now),
		at(2*time.Hour, now),  // from before the start
		at(-time.Minute, now), // from the future
		model.Entry{Timestamp: now.UnixNano() - 5e12/5, Metadata: labels.FromStrings(MetaGap, "x")})
	w.stored(entries, now)
	l := w.lag(now)
	if l.Lines != 101 || l.P50 < 200*time.Millisecond || l.P50 > 250*time.Millisecond || l.P99 < 30*time.Second || l.P99 > time.Minute {
		t.Errorf("%+v", l)
	}
	if l := w.lag(now.Add(4 * time.Minute)); l.Lines != 101 {
		t.Errorf("after four minutes: %+v", l)
	}
	if l := w.lag(now.Add(6 * time.Minute)); l.Lines != 0 || l.P99 != 0 {
		t.Errorf("after six minutes: %+v", l)
	}
	w.stored([]model.Entry{at(59*time.Minute, now)}, now.Add(time.Hour))
	if l := w.lag(now.Add(time.Hour)); l.P99 != time.Hour && l.P99 < time.Hour {
		t.Errorf("beyond the bounds: %+v", l)
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(w)
	got, err := reg.Gather()
	if err != nil || len(got) != 1 || got[0].Metric[0].Histogram.GetSampleCount() != 102 {
		t.Errorf("%v %v", got, err)
	}
}

// TestLag looks at what a running collector says: idle containers have no lag,
// lines that wait for the store do.
func TestLag(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		gaps := make(map[string]int)
		p := k.addPod("web", "main")
		k.write(p, "main", "old")
		pass(time.Hour)
		c := startCollector(t, k, m, func(o *Options) {
			o.OnGap = func(ns string, r GapReason) { gaps[ns+" "+string(r)]++ }
		})
		pass(time.Minute)
		if l := c.Lag(); l.Lines != 0 {
			t.Errorf("lines from before the start count: %+v", l)
		}
		k.write(p, "main", "new")
		pass(10 * time.Second)
		if l := c.Lag(); l.Lines != 1 || l.P99 <= 0 || l.P99 > time.Second {
			t.Errorf("%+v", l)
		}
		pass(time.Hour)
		if l := c.Lag(); l.Lines != 0 {
			t.Errorf("an idle container has a lag: %+v", l)
		}
		c.stop()
		k.write(p, "main", "lost")
		k.rotate(p, "main")
		k.write(p, "main", "after")
		c = startCollector(t, k, m, func(o *Options) {
			o.OnGap = func(ns string, r GapReason) { gaps[ns+" "+string(r)]++ }
		})
		pass(time.Minute)
		c.stop()
		if len(gaps) != 1 || gaps["default rotated_away"] != 1 {
			t.Errorf("%v", gaps)
		}
	})
}
