package podlogs

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/logstack-dev/kubectl-logstack/pkg/podlogs/nodefiles"
)

// fileMetrics are what is counted when files of nodes are read.
type fileMetrics struct {
	fileRequests  *prometheus.CounterVec
	fileFallbacks *prometheus.CounterVec
	backfills     *prometheus.CounterVec
	backfilled    prometheus.Counter
}

func newFileMetrics(all *[]prometheus.Collector) fileMetrics {
	vec := func(name, help, label string, values ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricPrefix + name, Help: help}, []string{label})
		for _, value := range values {
			v.WithLabelValues(value)
		}
		*all = append(*all, v)
		return v
	}
	outcomes, reasons := []string{outcome("")}, []string{"unproven"}
	for _, k := range nodefiles.Kinds {
		outcomes, reasons = append(outcomes, string(k)), append(reasons, string(k))
	}
	m := fileMetrics{
		fileRequests:  vec("node_files_requests_total", "Requests for log files sent to kubelets, by outcome.", "outcome", outcomes...),
		fileFallbacks: vec("node_files_fallbacks_total", "Containers that were to be read from files and are read from the API, by reason.", "reason", reasons...),
		backfills:     vec("backfills_total", "Attempts to read from files what the API no longer shows, by result.", "result", "done", "failed"),
		backfilled: prometheus.NewCounter(prometheus.CounterOpts{
			Name: metricPrefix + "backfilled_lines_total", Help: "Lines read from files that the API no longer showed.",
		}),
	}
	*all = append(*all, m.backfilled)
	return m
}

// fileCollector exports the number of nodes by whether their files can be read.
type fileCollector struct {
	files *nodeFiles
	desc  *prometheus.Desc
}

func newFileCollector(f *nodeFiles) fileCollector {
	return fileCollector{files: f, desc: prometheus.NewDesc(metricPrefix+"node_files_nodes",
		"Nodes by whether their log files can be read; none if they are not to be.", []string{"state"}, nil)}
}

// Describe implements prometheus.Collector.
func (f fileCollector) Describe(ch chan<- *prometheus.Desc) { ch <- f.desc }

// Collect implements prometheus.Collector.
func (f fileCollector) Collect(ch chan<- prometheus.Metric) {
	readable, unreadable := f.files.counts()
	ch <- prometheus.MustNewConstMetric(f.desc, prometheus.GaugeValue, float64(readable), "readable")
	ch <- prometheus.MustNewConstMetric(f.desc, prometheus.GaugeValue, float64(unreadable), "unreadable")
}
