package server

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the counters of the HTTP side.
type metrics struct {
	requests       *prometheus.HistogramVec
	refused        *prometheus.CounterVec
	panics         prometheus.Counter
	pushedEntries  prometheus.Counter
	pushedBytes    prometheus.Counter
	pushedBodies   prometheus.Counter
	refusedEntries *prometheus.CounterVec
	refusedBytes   *prometheus.CounterVec
	truncatedLines prometheus.Counter
	// The same under the names that Loki's dashboards and alerts ask for.
	lokiRefusedEntries *prometheus.CounterVec
	lokiRefusedBytes   *prometheus.CounterVec
	running            prometheus.Gauge
	waiting            prometheus.Gauge
	tails              prometheus.Gauge
	tailDropped        prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Namespace: "logstack", Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Namespace: "logstack", Name: name, Help: help})
	}
	return &metrics{
		requests: f.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "logstack", Name: "http_request_duration_seconds",
			Help:    "How long requests took, by route, method and status.",
			Buckets: []float64{.005, .025, .1, .5, 2, 10, 60},
		}, []string{"route", "method", "code"}),
		refused: f.NewCounterVec(prometheus.CounterOpts{
			Namespace: "logstack", Name: "http_requests_refused_total",
			Help: "Requests that were answered with an error, by route and reason.",
		}, []string{"route", "reason"}),
		panics:        counter("http_panics_total", "Handlers that panicked: a bug each."),
		pushedEntries: counter("push_entries_total", "Entries that pushes stored."),
		pushedBytes:   counter("push_bytes_total", "Bytes of lines and metadata that pushes stored."),
		pushedBodies:  counter("push_body_bytes_total", "Bytes of push bodies as they were sent."),
		refusedEntries: f.NewCounterVec(prometheus.CounterOpts{
			Namespace: "logstack", Name: "push_refused_entries_total",
			Help: "Entries of pushes that were refused, by reason; a request that could not be read counts once.",
		}, []string{"reason"}),
		refusedBytes: f.NewCounterVec(prometheus.CounterOpts{
			Namespace: "logstack", Name: "push_refused_bytes_total",
			Help: "Bytes of entries of pushes that were refused, by reason.",
		}, []string{"reason"}),
		truncatedLines: counter("push_truncated_lines_total", "Lines of pushes that were cut because they were too long."),
		lokiRefusedEntries: f.NewCounterVec(prometheus.CounterOpts{
			Name: "loki_discarded_samples_total", Help: "The same as logstack_push_refused_entries_total, as Loki has it.",
		}, []string{"reason", "tenant"}),
		lokiRefusedBytes: f.NewCounterVec(prometheus.CounterOpts{
			Name: "loki_discarded_bytes_total", Help: "The same as logstack_push_refused_bytes_total, as Loki has it.",
		}, []string{"reason", "tenant"}),
		running:     gauge("queries_running", "Queries that run now."),
		waiting:     gauge("queries_waiting", "Queries that wait for their turn."),
		tails:       gauge("tails", "Live tails that are open."),
		tailDropped: counter("tail_dropped_entries_total", "Live entries that slow readers of tails lost."),
	}
}

// lokiTenant is the only tenant, by Loki's name for it.
const lokiTenant = "fake"

// refuse counts entries of a push that were refused.
func (m *metrics) refuse(reason string, entries int, bytes int64) {
	m.refusedEntries.WithLabelValues(reason).Add(float64(entries))
	m.refusedBytes.WithLabelValues(reason).Add(float64(bytes))
	m.lokiRefusedEntries.WithLabelValues(reason, lokiTenant).Add(float64(entries))
	m.lokiRefusedBytes.WithLabelValues(reason, lokiTenant).Add(float64(bytes))
}
