package sharing

import "github.com/prometheus/client_golang/prometheus"

const metricPrefix = "logstack_replicas_"

type metrics struct{ fences, failures, keepFailures prometheus.Counter }

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: metricPrefix + name, Help: help})
	}
	return &metrics{
		fences:       counter("fenced_total", "Times this replica stopped reading because its Lease could not be renewed."),
		failures:     counter("lease_renew_failures_total", "Renewals of this replica's Lease that failed."),
		keepFailures: counter("copy_failures_total", "Deliveries of positions to another replica that failed; they are tried again."),
	}
}

var (
	membersDesc = prometheus.NewDesc(metricPrefix+"members", "Replicas of the set that are known, this one included, by state.", []string{"state"}, nil)
	fencedDesc  = prometheus.NewDesc(metricPrefix+"fenced", "1 while this replica reads nothing because it is not sure to be a member.", nil, nil)
)

func (m *metrics) register(r prometheus.Registerer, g *Group) error {
	for _, c := range []prometheus.Collector{m.fences, m.failures, m.keepFailures, collector{g}} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// collector exports the members.
type collector struct{ g *Group }

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) { ch <- membersDesc; ch <- fencedDesc }

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	count := map[State]int{StateReady: 0, StateLeaving: 0, StateAway: 0}
	for _, m := range c.g.Members() {
		count[m.State]++
	}
	for state, n := range count {
		ch <- prometheus.MustNewConstMetric(membersDesc, prometheus.GaugeValue, float64(n), string(state))
	}
	fenced := 0.0
	if c.g.Fenced() {
		fenced = 1
	}
	ch <- prometheus.MustNewConstMetric(fencedDesc, prometheus.GaugeValue, fenced)
}
