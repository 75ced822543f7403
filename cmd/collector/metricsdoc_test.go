package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

const metricsDoc = "../../docs/metrics.md"

const metricsHead = `# Metrics of the collector

` + "`GET /metrics`" + ` answers in Prometheus' format, without credentials. The names and
labels below are an interface: alerts (docs/alerts.md) and the dashboard use
them, and they change only with an entry in the changelog. Beside them there are
those of the Go runtime and the process (` + "`go_*`, `process_*`" + `), whose names are
client_golang's; memory in use is ` + "`process_resident_memory_bytes`" + `.

This page is generated from what a running collector registers:
` + "`go test ./cmd/collector -run TestMetricsAreDocumented -update`" + `.
`

var descText = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: "((?:[^"\\]|\\.)*)", (?:unit: "[^"]*", )?constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// TestMetricsAreDocumented compares docs/metrics.md with what a collector with
// everything on registers.
func TestMetricsAreDocumented(t *testing.T) {
	p := startParts(t, everything(t)...)
	types := make(map[string]string)
	families, err := p.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		types[f.GetName()] = strings.ToLower(f.GetType().String())
	}
	descs := make(chan *prometheus.Desc, 10_000)
	p.registry.Describe(descs)
	close(descs)
	rows := make(map[string]string)
	for d := range descs {
		m := descText.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("a description of another form: %s", d)
		}
		name, help := m[1], strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(m[2])
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
			continue
		}
		if !strings.HasSuffix(help, ".") {
			t.Errorf("%s: the help is no sentence: %q", name, help)
		}
		var labels []string
		for _, l := range strings.FieldsFunc(m[4]+","+constNames(m[3]), func(r rune) bool { return r == ',' }) {
			labels = append(labels, "`"+l+"`")
		}
		rows[name] = fmt.Sprintf("| `%s` | %s | %s | %s |", name, kindOf(name, types), strings.Join(labels, ", "), strings.ReplaceAll(help, "|", `\|`))
	}
	for name := range types {
		if rows[name] == "" && !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			t.Errorf("%s is exported without a description", name)
		}
	}
	got := metricsHead + metricsTables(rows)
	if *update {
		if err := os.WriteFile(metricsDoc, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(metricsDoc)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("docs/metrics.md is not what a collector exports (go test ./cmd/collector -run TestMetricsAreDocumented -update):\n%s", d)
	}
}

// everything are flags that switch on whatever has metrics.
func everything(t *testing.T) []string {
	t.Helper()
	return []string{"--replica-set", "x", "--replica-name", "a", "--replica-namespace", "x", "--advertise-url", "http://127.0.0.1:1"}
}

func constNames(text string) string {
	var names []string
	for _, m := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	return strings.Join(names, ",")
}

// kindOf is the type; that of a vector without children follows from its name.
func kindOf(name string, types map[string]string) string {
	switch {
	case types[name] != "":
		return types[name]
	case strings.HasSuffix(name, "_total"):
		return "counter"
	case strings.HasSuffix(name, "_seconds"), strings.HasSuffix(name, "_bytes"):
		return "histogram"
	}
	return "gauge"
}

// metricsTables has one table for each part of the collector.
func metricsTables(rows map[string]string) string {
	parts := []struct{ title, prefix string }{
		{"Container logs", "logstack_podlogs_"}, {"Kubernetes events", "logstack_events_"}, {"API server", "logstack_apiserver_"},
		{"Store", "logstack_store_"}, {"Queries", "logstack_query_"}, {"HTTP", "logstack_http_"}, {"Replicas", "logstack_peers_"}, {"Sharing of pods", "logstack_replicas_"}, {"The rest", ""},
	}
	var b strings.Builder
	left := slices.Collect(func(yield func(string) bool) {
		for name := range rows {
			if !yield(name) {
				return
			}
		}
	})
	slices.Sort(left)
	for _, part := range parts {
		var here []string
		left = slices.DeleteFunc(left, func(name string) bool {
			is := strings.HasPrefix(name, part.prefix)
			if is {
				here = append(here, rows[name])
			}
			return is
		})
		if len(here) > 0 {
			fmt.Fprintf(&b, "\n## %s\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n%s\n", part.title, strings.Join(here, "\n"))
		}
	}
	return b.String()
}
