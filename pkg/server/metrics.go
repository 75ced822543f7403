package server

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the counters of the HTTP side.
type metrics struct {
	requests       *prometheus.HistogramVec
	panics         prometheus.Counter
	pushedEntries  prometheus.Counter
	pushedBytes    prometheus.Counter
	pushedBodies   prometheus.Counter
	refusedEntries *prometheus.CounterVec
	refusedBytes   *prometheus.CounterVec
	running        prometheus.Gauge
	waiting        prometheus.Gauge
	tails          prometheus.Gauge
	tailDropped    prometheus.Counter
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
		running:     gauge("queries_running", "Queries that run now."),
		waiting:     gauge("queries_waiting", "Queries that wait for their turn."),
		tails:       gauge("tails", "Live tails that are open."),
		tailDropped: counter("tail_dropped_entries_total", "Live entries that slow readers of tails lost."),
	}
}
