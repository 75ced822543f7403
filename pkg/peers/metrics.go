package peers

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	failures *prometheus.CounterVec
	partial  prometheus.Counter
	doubled  prometheus.Counter
	handed   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "logstack", Subsystem: "peers", Name: name, Help: help})
	}
	m := &metrics{
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "logstack", Subsystem: "peers", Name: "failures_total",
			Help: "Requests to another replica that failed: it did not answer, or the answer broke off.",
		}, []string{"replica"}),
		partial: counter("partial_total", "Questions whose answer lacked the entries of a replica that did not answer."),
		doubled: counter("doubled_total", "Entries that several replicas had, and that were left out of an answer all but once."),
		handed:  counter("handed_over_total", "Entries that were handed over to other replicas before this one leaves."),
	}
	if reg != nil {
		reg.MustRegister(m.failures, m.partial, m.doubled, m.handed)
	}
	return m
}
