package manifests

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	commonmodel "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

// rule is an alert as it is written.
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

type ruleFile struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

func read(t *testing.T, file string, into any) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err == nil {
		err = yaml.UnmarshalStrict(b, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func alerts(t *testing.T) []rule {
	t.Helper()
	var object struct {
		APIVersion string         `json:"apiVersion"`
		Kind       string         `json:"kind"`
		Metadata   map[string]any `json:"metadata"`
		Spec       ruleFile       `json:"spec"`
	}
	read(t, "alerts.yaml", &object)
	if object.Kind != "PrometheusRule" || len(object.Spec.Groups) != 1 {
		t.Fatalf("%+v", object)
	}
	return object.Spec.Groups[0].Rules
}

// documented are the metrics of docs/metrics.md, with the parts of histograms,
// and those that every process and scrape has.
func documented(t *testing.T) map[string]bool {
	t.Helper()
	b, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"up": true, "process_resident_memory_bytes": true, "process_cpu_seconds_total": true, "go_goroutines": true, "process_start_time_seconds": true}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (\\w+)").FindAllStringSubmatch(string(b), -1) {
		known[m[1]] = true
		if m[2] == "histogram" {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				known[m[1]+suffix] = true
			}
		}
	}
	return known
}

// metricsOf parses an expression and returns the metrics in it.
func metricsOf(expr string) ([]string, error) {
	e, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return nil, err
	}
	var names []string
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok {
			names = append(names, v.Name)
		}
		return nil
	})
	return names, nil
}

// TestAlerts checks what every alert must have.
func TestAlerts(t *testing.T) {
	known := documented(t)
	runbooks, err := os.ReadFile("../docs/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, r := range alerts(t) {
		if names[r.Alert] {
			t.Errorf("%s: there are two of this name", r.Alert)
		}
		names[r.Alert] = true
		used, err := metricsOf(r.Expr)
		if err != nil {
			t.Errorf("%s: %v", r.Alert, err)
		}
		for _, name := range used {
			if !known[name] {
				t.Errorf("%s: docs/metrics.md does not know %s", r.Alert, name)
			}
		}
		if !slices.Contains([]string{"info", "warning", "critical"}, r.Labels["severity"]) {
			t.Errorf("%s: severity %q", r.Alert, r.Labels["severity"])
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || !strings.HasSuffix(r.Annotations["runbook_url"], "/docs/alerts.md#"+strings.ToLower(r.Alert)) {
			t.Errorf("%s: annotations %v", r.Alert, r.Annotations)
		}
		if !strings.Contains(string(runbooks), "\n## "+r.Alert+"\n") {
			t.Errorf("docs/alerts.md has no section %s", r.Alert)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^## (Logstack\w+)$`).FindAllStringSubmatch(string(runbooks), -1) {
		if !names[m[1]] {
			t.Errorf("docs/alerts.md explains %s, which there is not", m[1])
		}
	}
}

// TestRuleFile compares the plain rule file with the PrometheusRule.
func TestRuleFile(t *testing.T) {
	var plain ruleFile
	read(t, "rules/logstack.rules.yaml", &plain)
	if d := cmp.Diff(alerts(t), plain.Groups[0].Rules); d != "" {
		t.Error(d)
	}
}

// alertCase is one of testdata/alerts.yaml.
type alertCase struct {
	Alert  string   `json:"alert"`
	At     string   `json:"at"`
	By     string   `json:"by"`
	Series []string `json:"series"`
	Fires  []string `json:"fires"`
}

// TestAlertsFire evaluates alerts once a minute, as Prometheus would.
func TestAlertsFire(t *testing.T) {
	var cases []alertCase
	read(t, "testdata/alerts.yaml", &cases)
	rules := make(map[string]rule)
	for _, r := range alerts(t) {
		rules[r.Alert] = r
	}
	fired := make(map[string]bool)
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, Parser: parser.NewParser(parser.Options{})})
	for i, tc := range cases {
		r, ok := rules[tc.Alert]
		if !ok {
			t.Errorf("case %d: there is no alert %s", i, tc.Alert)
			continue
		}
		if tc.By == "" {
			tc.By = "instance"
		}
		got := firing(t, engine, r, tc)
		fired[r.Alert] = fired[r.Alert] || len(got) > 0
		want := tc.Fires
		if want == nil {
			want = []string{}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("case %d, %s: %s", i, tc.Alert, d)
		}
	}
	for name := range rules {
		if !fired[name] {
			t.Errorf("no case in which %s fires", name)
		}
	}
}

// firing returns a label's values of the alerts that have been true for as long
// as the rule demands.
func firing(t *testing.T, engine *promql.Engine, r rule, tc alertCase) []string {
	t.Helper()
	storage := series(t, tc.Series)
	duration := func(s string) time.Duration {
		d, err := commonmodel.ParseDuration(s)
		if err != nil && s != "" {
			t.Fatal(err)
		}
		return time.Duration(d)
	}
	at := time.Unix(0, 0).Add(duration(tc.At))
	var still map[string]bool
	for ts := at.Add(-duration(r.For)); !ts.After(at); ts = ts.Add(time.Minute) {
		q, err := engine.NewInstantQuery(t.Context(), storage, nil, r.Expr, ts)
		if err != nil {
			t.Fatal(err)
		}
		res := q.Exec(t.Context())
		v, err := res.Vector()
		if err != nil {
			t.Fatalf("%s: %v", r.Alert, err)
		}
		now := make(map[string]bool)
		for _, s := range v {
			if still == nil || still[s.Metric.Get(tc.By)] {
				now[s.Metric.Get(tc.By)] = true
			}
		}
		still = now
		q.Close()
	}
	if len(still) == 0 {
		return []string{}
	}
	return slices.Sorted(maps.Keys(still))
}

// TestDashboards checks that every query of a dashboard parses and asks for
// metrics that there are.
func TestDashboards(t *testing.T) {
	b, err := os.ReadFile("dashboards/collector.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		UID, Title string
		Panels     []struct {
			ID         int
			Title      string
			Type       string
			Datasource map[string]string
			GridPos    struct{ H, W, X, Y int }
			Targets    []struct{ Expr, RefID string }
		}
	}
	if err := json.Unmarshal(b, &board); err != nil {
		t.Fatal(err)
	}
	if board.UID != "logstack-collector" || board.Title == "" || len(board.Panels) < 10 {
		t.Errorf("%+v", board)
	}
	known, ids := documented(t), make(map[int]bool)
	variables := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*", "$namespace", ".*", "$__range", "1h")
	taken := make(map[[2]int]string)
	for _, p := range board.Panels {
		if ids[p.ID] {
			t.Errorf("%s: id %d is used twice", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Fatalf("%s lies over %s", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%s is too wide", p.Title)
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%s asks nothing", p.Title)
		}
		for _, target := range p.Targets {
			used, err := metricsOf(variables.Replace(target.Expr))
			if err != nil {
				t.Errorf("%s: %s: %v", p.Title, target.Expr, err)
			}
			for _, name := range used {
				if !known[name] {
					t.Errorf("%s: docs/metrics.md does not know %s", p.Title, name)
				}
			}
		}
	}
}
