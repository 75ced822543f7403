package engine

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics count what queries share.
type metrics struct {
	shared                 prometheus.Counter
	cacheHits, cacheMisses prometheus.Counter
	cacheBytes             prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Namespace: "logstack", Name: name, Help: help})
	}
	return &metrics{
		shared:      counter("queries_shared_total", "Queries that were answered by an identical one that waited or ran."),
		cacheHits:   counter("query_cache_hits_total", "Steps of range aggregations whose points came from the cache."),
		cacheMisses: counter("query_cache_misses_total", "Steps of range aggregations, of queries that may use the cache, that had to be evaluated."),
		cacheBytes: f.NewGauge(prometheus.GaugeOpts{
			Namespace: "logstack", Name: "query_cache_bytes", Help: "Memory that cached points take.",
		}),
	}
}
