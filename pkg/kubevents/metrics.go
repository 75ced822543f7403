package kubevents

import (
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
)

const metricPrefix = "logstack_events_"

// metrics are what the collector counts. Names and labels are an interface:
// alerts and dashboards use them.
type metrics struct {
	entries                               *prometheus.CounterVec
	gaps, lists, failures, appendFailures prometheus.Counter
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: metricPrefix + name, Help: help})
	}
	m := &metrics{
		entries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: metricPrefix + "entries_total", Help: "Occurrences of Kubernetes events stored, by type.",
		}, []string{"type"}),
		gaps:           counter("gaps_total", "Times in which events may have come and gone unseen, marked in the stream."),
		lists:          counter("lists_total", "Times that all events were listed: at the first start, and when the API server had forgotten the place in the watch."),
		failures:       counter("failures_total", "Lists, watches and writes of events that failed and were tried again."),
		appendFailures: counter("append_failures_total", "Batches of events that the store refused; they are taken from the API server again."),
	}
	for _, t := range []string{corev1.EventTypeNormal, corev1.EventTypeWarning, "other"} {
		m.entries.WithLabelValues(t) // so that rates begin at zero
	}
	return m
}

// stored counts occurrences that are durable.
func (m *metrics) stored(occurrences []occurrence) {
	for i := range occurrences {
		t := occurrences[i].event.Type
		if t != corev1.EventTypeNormal && t != corev1.EventTypeWarning {
			t = "other"
		}
		m.entries.WithLabelValues(t).Inc()
	}
}

func (m *metrics) register(r prometheus.Registerer, c *Collector) error {
	gauge := func(name, help string, value func(Status) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: metricPrefix + name, Help: help},
			func() float64 { return value(c.Status()) })
	}
	for _, x := range []prometheus.Collector{
		m.entries, m.gaps, m.lists, m.failures, m.appendFailures,
		gauge("remembered", "Events that exist and are stored.", func(s Status) float64 { return float64(s.Remembered) }),
		gauge("owner", "1 if this replica collects events, 0 if another one does.", func(s Status) float64 {
			if s.Owner {
				return 1
			}
			return 0
		}),
		gauge("contact_timestamp_seconds", "Unix time up to which all events are known to be stored, 0 if that is not known. A cluster without events renews it every 4 to 6 minutes.", func(s Status) float64 {
			if s.Contact.IsZero() {
				return 0
			}
			return float64(s.Contact.UnixMilli()) / 1000
		}),
	} {
		if err := r.Register(x); err != nil {
			return err
		}
	}
	return nil
}
