package podlogs

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what the collector counts. Names and labels are an interface:
// alerts and dashboards use them.
type metrics struct {
	lines, bytes   prometheus.Counter
	opens          *prometheus.CounterVec
	openErrors     *prometheus.CounterVec
	inbandErrors   *prometheus.CounterVec
	gaps           *prometheus.CounterVec
	gapSeconds     prometheus.Counter
	duplicates     prometheus.Counter
	stuck          prometheus.Counter
	renewals       prometheus.Counter
	lagging        prometheus.Counter
	rotations      prometheus.Counter
	unverified     prometheus.Counter
	truncated      prometheus.Counter
	unparsed       prometheus.Counter
	backPressure   prometheus.Counter
	appendFailures prometheus.Counter
	appendSeconds  prometheus.Histogram
	all            []prometheus.Collector
	fileMetrics
}

const metricPrefix = "logstack_podlogs_"

func newMetrics() *metrics {
	m := &metrics{}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: metricPrefix + name, Help: help})
		m.all = append(m.all, c)
		return c
	}
	vec := func(name, help, label string, values ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricPrefix + name, Help: help}, []string{label})
		for _, value := range values {
			v.WithLabelValues(value) // so that rates begin at zero
		}
		m.all = append(m.all, v)
		return v
	}
	m.lines = counter("lines_total", "Log lines stored.")
	m.bytes = counter("line_bytes_total", "Bytes of log lines stored.")
	m.opens = vec("requests_total", "Log requests sent to the API server, by purpose.", "kind", "catchup", "follow", "probe")
	var kinds []string
	for _, k := range openErrorKinds {
		kinds = append(kinds, string(k))
	}
	m.openErrors = vec("request_errors_total", "Log requests that were refused, by kind.", "kind", kinds...)
	m.inbandErrors = vec("inband_errors_total", "Errors that the kubelet wrote into a log with status 200, by kind.", "kind")
	var reasons []string
	for _, r := range gapReasons {
		reasons = append(reasons, string(r))
	}
	m.gaps = vec("gaps_total", "Places where lines may be missing, marked in the stream, by reason.", "reason", reasons...)
	m.gapSeconds = counter("gap_seconds_total", "Length of gaps whose ends are known.")
	m.duplicates = counter("duplicates_suppressed_total", "Lines that were read again and left out.")
	m.stuck = counter("streams_stuck_total", "Follows that did not deliver what is in the file.")
	m.renewals = counter("stream_renewals_total", "Follows replaced by a new one before the kubelet would cut them.")
	m.lagging = counter("streams_lagging_total", "Follows closed because their lines came late: the log is read without following.")
	m.rotations = counter("rotations_total", "Rotations of a log seen while it was followed.")
	m.unverified = counter("rotations_unverified_total", "Those of them after which the old file could not be read again: a line that the runtime wrote to it late would be missing unseen.")
	m.truncated = counter("lines_truncated_total", "Lines cut to the maximum length.")
	m.unparsed = counter("lines_unparsed_total", "Lines without a timestamp where one was due.")
	m.backPressure = counter("back_pressure_total", "Reads closed because the store did not keep up.")
	m.appendFailures = counter("append_failures_total", "Batches that the store refused; their lines are read again.")
	m.appendSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: metricPrefix + "append_seconds", Help: "Time to store one batch.",
		Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
	})
	m.all = append(m.all, m.appendSeconds)
	m.fileMetrics = newFileMetrics(&m.all)
	return m
}

// stored counts a piece that is durable.
func (m *metrics) stored(p *piece) {
	m.lines.Add(float64(len(p.entries)))
	m.bytes.Add(float64(len(p.buf)))
}

// stateCollector exports the number of targets by state.
type stateCollector struct {
	c    *Collector
	desc *prometheus.Desc
}

func newStateCollector(c *Collector) stateCollector {
	return stateCollector{
		c:    c,
		desc: prometheus.NewDesc(metricPrefix+"targets", "Containers known, by what is being done with their log.", []string{"state"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (s stateCollector) Describe(ch chan<- *prometheus.Desc) { ch <- s.desc }

// Collect implements prometheus.Collector.
func (s stateCollector) Collect(ch chan<- prometheus.Metric) {
	counts := s.c.Status().Targets
	for _, state := range targetStates {
		ch <- prometheus.MustNewConstMetric(s.desc, prometheus.GaugeValue, float64(counts[state]), string(state))
	}
}

func (m *metrics) register(r prometheus.Registerer, c *Collector) error {
	for _, x := range append(m.all, newStateCollector(c), newFileCollector(c.files)) {
		if err := r.Register(x); err != nil {
			return err
		}
	}
	return nil
}
