package data

import (
	"slices"
	"strings"
	"testing"
)

// The embedded files are read by every user: they have to be whole.
func TestEmbeddedFiles(t *testing.T) {
	for _, chart := range []string{"loki", "alloy", "promtail", "loki-stack", "grafana", "k8s-monitoring"} {
		for _, f := range FactsOf(chart) {
			if f.Path == "" || f.Status == "" {
				t.Errorf("%s: fact without path or status: %+v", chart, f)
			}
			if f.Status == "moved" && len(f.To) == 0 {
				t.Errorf("%s: %s moved nowhere", chart, f.Path)
			}
			for _, v := range []string{f.From, f.Until} {
				if v != "" && !strings.HasPrefix(v, "alloy v") && Compare(v, "0.0.1") < 0 {
					t.Errorf("%s: %s: version %q", chart, f.Path, v)
				}
			}
		}
	}
	if got := Charts(); !slices.Equal(got, []string{"alloy", "loki", "loki-stack", "promtail"}) {
		t.Errorf("charts %v", got)
	}
}

func TestLineage(t *testing.T) {
	for _, tc := range []struct{ chart, repo, home, desc, version, want string }{
		{"loki", "grafana", "", "", "6.55.0", LokiGrafana},
		{"loki", "grafana", "", "", "7.1.0", LokiGEL},
		{"loki", "https://grafana.github.io/helm-charts", "", "", "6.55.0", LokiGrafana},
		{"loki", "https://grafana-community.github.io/helm-charts", "", "", "18.11.0", LokiCommunity},
		{"loki", "oci://ghcr.io/grafana-community/helm-charts/loki", "", "", "7.0.0", LokiCommunity},
		{"loki", "", "https://grafana.github.io/helm-charts", "Helm chart for Grafana Enterprise Logs", "7.0.0", LokiGEL},
		{"loki", "", "", "", "6.10.0", LokiGrafana},
		{"loki", "", "", "", "12.0.0", LokiCommunity},
		{"loki", "", "", "", "7.0.0", ""},
		{"promtail", "", "", "", "6.17.1", "promtail"},
		{"fluent-bit", "https://fluent.github.io/helm-charts", "", "", "0.55.0", ""},
		{"nginx", "", "", "", "1.0.0", ""},
	} {
		l, _ := LineageOf(tc.chart, tc.repo, tc.home, tc.desc, tc.version)
		if l.ID != tc.want {
			t.Errorf("%+v: %q", tc, l.ID)
		}
	}
}

func TestKeys(t *testing.T) {
	l, _ := LineageOf("loki", "grafana", "", "", "6.55.0")
	k := KeysOf(l, "6.55.0")
	if s := k.Get("lokiCanary.enabled"); !s.Known {
		t.Errorf("lokiCanary.enabled: %+v", s)
	}
	if s := k.Get("monitoring.lokiCanary.enabled"); s.Known || s.Removed != "6.0.0" {
		t.Errorf("monitoring.lokiCanary.enabled: %+v", s)
	}
	if s := k.Get("gateway.metrics.enabled"); s.Known || s.Introduced == "" {
		t.Errorf("gateway.metrics.enabled: %+v", s)
	}
	if KeysOf(l, "5.48.0").Get("lokiCanary").Known {
		t.Error("lokiCanary at the root is newer than 5.48.0")
	}
	if !k.HasChildren("loki.limits_config") || k.HasChildren("deploymentMode") {
		t.Error("children")
	}
}

func TestServices(t *testing.T) {
	for _, tc := range []struct {
		lineage, version, mode, release, full string
		want, not                             string
	}{
		{LokiGrafana, "6.55.0", "SingleBinary", "monitoring", "", "monitoring-loki", "loki"},
		{LokiGrafana, "6.55.0", "SingleBinary", "monitoring", "", "loki-canary", "monitoring-loki-canary"},
		{LokiCommunity, "18.11.0", "Monolithic", "monitoring", "", "monitoring-loki-canary", "loki-canary"},
		{LokiGrafana, "5.48.0", "SingleBinary", "monitoring", "", "loki-gateway", "monitoring-loki-gateway"},
		{LokiGrafana, "6.55.0", "SingleBinary", "my-loki-prod", "", "my-loki-prod", "my-loki-prod-loki"},
		{LokiGrafana, "6.55.0", "SingleBinary", "monitoring", "logs", "logs-gateway", "monitoring-loki-gateway"},
		{LokiCommunity, "8.1.1", "SimpleScalable", "monitoring", "", "monitoring-loki-read", "loki-read"},
		{LokiCommunity, "8.1.0", "SimpleScalable", "monitoring", "", "loki-read", "monitoring-loki-read"},
	} {
		n, f := Names("loki", tc.release, "", tc.full)
		names := ServiceNames(Services(tc.lineage, tc.version, tc.mode, n, f))
		if !slices.Contains(names, tc.want) || slices.Contains(names, tc.not) {
			t.Errorf("%+v: %v", tc, names)
		}
	}
}

func TestGuessChart(t *testing.T) {
	for want, keys := range map[string][]string{
		"loki":  {"deploymentMode", "loki", "singleBinary", "read", "write", "backend", "test"},
		"alloy": {"alloy", "controller"},
		"":      {"image", "replicaCount"},
	} {
		if got := GuessChart(keys); got != want {
			t.Errorf("%v: %q, want %q", keys, got, want)
		}
	}
}

func TestMatches(t *testing.T) {
	if !Matches("6.x", "6.55.0") || Matches("6.x", "7.0.0") || !Matches(">=7", "18.11.0") || Matches("nonsense!", "1.0.0") {
		t.Error("ranges")
	}
}
