package snapshot

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

// Limits of reading metrics.
const (
	maxMetricServices = 8
	maxMetricBytes    = 16 << 20
	metricsTimeout    = 3 * time.Second
)

// wanted are the metrics that checks look at. Their names are those of Loki,
// Alloy and Promtail; our collector counts refused lines under Loki's name, too.
var wanted = []string{
	"process_start_time_seconds",
	"loki_discarded_samples_total",
	"loki_write_sent_entries_total", "loki_write_dropped_entries_total",
	"promtail_sent_entries_total", "promtail_dropped_entries_total",
	"loki_source_file_read_lines_total",
	"alloy_config_last_load_successful",
}

// Sample is one value of a metric.
type Sample struct {
	Name   string
	Labels map[string]string
	Value  float64
}

// Metrics are those of one Service, as one of its pods gave them.
type Metrics struct {
	Service *corev1.Service
	Samples []Sample
	// Err says why they could not be read; Samples is empty then. Right is what
	// lacks, where that is the reason.
	Err   error
	Right *Right
}

// Sum adds the samples of a metric up.
func (m *Metrics) Sum(name string) (sum float64, found bool) {
	for _, v := range m.Samples {
		if v.Name == name {
			sum, found = sum+v.Value, true
		}
	}
	return sum, found
}

// By adds the samples of a metric up per value of a label.
func (m *Metrics) By(name, label string) map[string]float64 {
	out := map[string]float64{}
	for _, v := range m.Samples {
		if v.Name == name {
			out[v.Labels[label]] += v.Value
		}
	}
	return out
}

// Since is when the counters began; zero when unknown.
func (m *Metrics) Since() time.Time {
	if v, ok := m.Sum("process_start_time_seconds"); ok && v > 0 {
		return time.Unix(int64(v), 0).UTC()
	}
	return time.Time{}
}

// Metrics are those of the stack's Services that could be asked.
func (s *Snapshot) Metrics() []*Metrics {
	s.t.touch(StackMetrics)
	return s.d.metrics
}

// SetMetrics is for tests.
func (s *Snapshot) SetMetrics(m []*Metrics) { s.d.metrics = m }

// ParseMetrics reads the wanted metrics of a text in Prometheus's format.
func ParseMetrics(r io.Reader) ([]Sample, error) {
	var kept bytes.Buffer
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Bytes()
		if end := bytes.IndexAny(line, "{ "); end > 0 && slices.Contains(wanted, string(line[:end])) {
			kept.Write(line)
			kept.WriteByte('\n')
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(&kept)
	if err != nil {
		return nil, err
	}
	var out []Sample
	for _, name := range wanted {
		f := families[name]
		if f == nil {
			continue
		}
		for _, m := range f.GetMetric() {
			v := Sample{Name: name, Labels: map[string]string{}, Value: m.GetUntyped().GetValue()}
			for _, l := range m.GetLabel() {
				v.Labels[l.GetName()] = l.GetValue()
			}
			out = append(out, v)
		}
	}
	return out, nil
}

// metricServices are the Services whose pods count lines: one for each of the
// products, no helpers.
func (s *Snapshot) metricServices() []*corev1.Service {
	var out []*corev1.Service
	for _, svc := range list[corev1.Service](s, Services) {
		switch svc.Labels["app.kubernetes.io/name"] {
		case "loki", "enterprise-logs", "alloy", "promtail", "logstack":
		default:
			continue
		}
		switch component := svc.Labels["app.kubernetes.io/component"]; {
		case svc.Spec.ClusterIP == corev1.ClusterIPNone, len(svc.Spec.Ports) == 0, len(svc.Spec.Selector) == 0, s.d.sources[svc] != nil,
			component == "gateway", component == "canary", strings.HasPrefix(component, "memcached"), strings.Contains(svc.Name, "memberlist"):
			continue
		}
		out = append(out, svc)
	}
	return out[:min(len(out), maxMetricServices)]
}

// readMetrics asks the stack's Services through the API server.
func (s *Snapshot) readMetrics(ctx context.Context, c *kube.Client) {
	services := s.metricServices()
	if len(services) == 0 || s.d.missing[Server] != nil || c.Config == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, metricsTimeout)
	defer cancel()
	var g errgroup.Group
	found := make([]*Metrics, len(services))
	for i, svc := range services {
		g.Go(func() error {
			l := &live{s: s, c: c}
			port := httpPort(svc)
			right := Right{Verb: "get", Resource: "services", Subresource: "proxy", Namespace: svc.Namespace, Name: "http:" + svc.Name + ":" + port}
			found[i] = &Metrics{Service: svc}
			if !l.may(ctx, right) {
				found[i].Right, found[i].Err = &right, &Missing{Right: &right}
				return nil
			}
			found[i].Samples, found[i].Err = proxyMetrics(ctx, c, svc, port)
			return nil
		})
	}
	_ = g.Wait() // no function fails
	s.d.metrics = found
	if !slices.ContainsFunc(found, func(m *Metrics) bool { return m.Right == nil }) {
		s.SetMissing(StackMetrics, &Missing{Right: found[0].Right})
	}
}

func httpPort(svc *corev1.Service) string {
	for _, p := range svc.Spec.Ports {
		if strings.HasPrefix(p.Name, "http") {
			return p.Name
		}
	}
	if p := svc.Spec.Ports[0]; p.Name != "" {
		return p.Name
	}
	return strconv.Itoa(int(svc.Spec.Ports[0].Port))
}

func proxyMetrics(ctx context.Context, c *kube.Client, svc *corev1.Service, port string) ([]Sample, error) {
	body, err := c.Kube.CoreV1().Services(svc.Namespace).ProxyGet("http", svc.Name, port, "metrics", nil).Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("metrics of service %s/%s: %w", svc.Namespace, svc.Name, err)
	}
	defer body.Close()
	return ParseMetrics(io.LimitReader(body, maxMetricBytes))
}
