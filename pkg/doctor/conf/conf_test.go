package conf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestRelabelCases runs the table of the fixtures: what Prometheus's own
// package makes of each rule, and which trap it falls into.
func TestRelabelCases(t *testing.T) {
	text, err := os.ReadFile("../testdata/fixtures/collectors/relabel-cases.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name, Separator, Regex, Replacement, Finding, Note string
		Source                                             []string
		Got                                                *string
	}
	if err := yaml.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	pod := SamplePods()[0]
	for _, tc := range cases {
		t.Run(tc.Name, func(t *testing.T) {
			if tc.Note != "" {
				staticPods(t)
				return
			}
			sources := []string{"__meta_kubernetes_namespace", "__meta_kubernetes_pod_name", "__meta_kubernetes_pod_uid", "__meta_kubernetes_pod_container_name"}
			if tc.Source != nil {
				sources = sources[2:]
			}
			r := newRule(Rule{Regex: tc.Regex, Replacement: tc.Replacement}, sources, tc.Separator, "", "__path__", 0, true, true)
			out, kept, ok := Simulate([]Rule{r}, PodTarget(pod))
			if !ok || !kept {
				t.Fatal("the rule cannot be run")
			}
			got := out.Get("__path__")
			if want := tc.Got; want != nil && got != *want || want == nil && got != "" {
				t.Errorf("got %q", got)
			}
			fits, _ := PathFits(got, pod)
			finding := "none"
			switch {
			case len(r.Traps()) > 0:
				finding = "LS0705"
			case !fits:
				finding = "LS0704"
			}
			if finding != tc.Finding {
				t.Errorf("finding %s, want %s", finding, tc.Finding)
			}
		})
	}
}

// staticPods: the directory has the hash of the manifest, not the mirror's UID.
func staticPods(t *testing.T) {
	static := SamplePods()[2]
	r := newRule(Rule{Replacement: "/var/log/pods/*$1/*.log"}, []string{"__meta_kubernetes_pod_uid", "__meta_kubernetes_pod_container_name"}, "/", "", "__path__", 0, true, true)
	out, _, _ := Simulate([]Rule{r}, PodTarget(static))
	if fits, _ := PathFits(out.Get("__path__"), static); fits {
		t.Error("the UID of a mirror pod is in no path")
	}
	hash := newRule(Rule{Regex: "true/(.*)", Replacement: "/var/log/pods/*$1/*.log"}, []string{"__meta_kubernetes_pod_annotationpresent_kubernetes_io_config_hash", "__meta_kubernetes_pod_annotation_kubernetes_io_config_hash", "__meta_kubernetes_pod_container_name"}, "/", "", "__path__", 0, true, true)
	out, _, _ = Simulate([]Rule{r, hash}, PodTarget(static))
	if fits, _ := PathFits(out.Get("__path__"), static); !fits {
		t.Errorf("with the hash: %q", out.Get("__path__"))
	}
}

func TestTraps(t *testing.T) {
	for repl, want := range map[string]string{
		"$1_$2": "$1_", "$1": "", "${1}_${2}": "", "$$1_": "", "$3": "$3", "${3}": "${3}", "$1a": "$1a", "$name": "", "a$": "", "$1/$2": "",
	} {
		r := newRule(Rule{Regex: "(a)(b)", Replacement: repl}, nil, "", "", "x", 0, false, true)
		var got []string
		for _, tr := range r.Traps() {
			got = append(got, tr.Token)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %v, want %q", repl, got, want)
		}
	}
	if got := Mend("/var/log/pods/$1_$2_$3/$4/*.log"); got != "/var/log/pods/${1}_${2}_${3}/${4}/*.log" {
		t.Error(got)
	}
}

// TestAlloySamples: real configurations parse, with all references found.
func TestAlloySamples(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.alloy")
	if len(files) == 0 {
		t.Fatal("no samples")
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		c := Parse("alloy", string(text))
		if len(c.Errors) > 0 || len(c.Alloy.Undefined) > 0 {
			t.Errorf("%s: %v %v", f, c.Errors, c.Alloy.Undefined)
		}
		if len(c.Endpoints) == 0 {
			t.Errorf("%s: no endpoint", f)
		}
		noWay, unread := c.Alloy.DeadEnds()
		if len(noWay)+len(unread) > 0 {
			t.Errorf("%s: dead ends %v %v", f, noWay, unread)
		}
	}
}

func TestAlloyMigrated(t *testing.T) {
	text, err := os.ReadFile("testdata/7-migrated-file-source.alloy")
	if err != nil {
		t.Fatal(err)
	}
	c := Parse("alloy", string(text))
	if len(c.Sources) != 1 || len(c.Sources[0].Chains) != 1 {
		t.Fatalf("%+v", c.Sources)
	}
	s := c.Sources[0]
	if s.Kind != File || !s.Globs || !s.Parses || !s.Reaches || !s.Chains[0].NodeLimited || !s.Chains[0].Pods {
		t.Errorf("%+v", s)
	}
	for _, p := range SamplePods() {
		out, kept, ok := Simulate(s.Chains[0].Rules, PodTarget(p))
		if fits, known := PathFits(out.Get("__path__"), p); !ok || !kept || !fits || !known {
			t.Errorf("%s: %q", p.Name, out.Get("__path__"))
		}
	}
}

func TestAlloyMistakes(t *testing.T) {
	c := Parse("alloy", "loki.write \"x\" {\n  endpoint {\n    url = \n  }\n}\n")
	if len(c.Errors) == 0 || c.Errors[0].Pos.Line != 4 {
		t.Errorf("%+v", c.Errors)
	}
	c = Parse("alloy", `loki.source.kubernetes "p" {
  targets = discovery.relabel.nope.output
  forward_to = [loki.process.q.receiver]
}
loki.process "q" { forward_to = [] }
loki.write "unused" { endpoint { url = sys.env("URL") } }
`)
	if len(c.Alloy.Undefined) != 1 || c.Alloy.Undefined[0].ID != "discovery.relabel.nope" || c.Alloy.Undefined[0].Pos != (Pos{2, 13}) {
		t.Errorf("%+v", c.Alloy.Undefined)
	}
	noWay, unread := c.Alloy.DeadEnds()
	if len(noWay) != 2 || len(unread) != 1 || !c.Endpoints[0].Dynamic {
		t.Errorf("%v %v %+v", noWay, unread, c.Endpoints)
	}
}

// TestAlloyUsed: blocks without a label, functions and other signals use
// components as well.
func TestAlloyUsed(t *testing.T) {
	c := Parse("alloy", `logging { write_to = [loki.write.default.receiver] }
loki.write "default" { endpoint { url = "http://x/loki/api/v1/push" } }
loki.source.file "f" {
  targets    = array.concat([{"__path__" = "/var/log/*.log"}], local.file_match.m.targets)
  forward_to = [otelcol.receiver.loki.l.receiver]
}
local.file_match "m" { path_targets = [{__path__ = "/x"}] }
otelcol.receiver.loki "l" { output { logs = [otelcol.exporter.otlphttp.e.input] } }
otelcol.exporter.otlphttp "e" { client { endpoint = remote.kubernetes.secret.s.data["url"] } }
remote.kubernetes.secret "s" { name = "x" }
`)
	noWay, unread := c.Alloy.DeadEnds()
	if len(c.Errors)+len(c.Alloy.Undefined)+len(noWay)+len(unread) > 0 {
		t.Errorf("%v %v %v %v", c.Errors, c.Alloy.Undefined, noWay, unread)
	}
	if s := c.Sources[0]; len(s.Chains) != 2 || s.Chains[0].Paths[0] != "/var/log/*.log" || !s.Reaches {
		t.Errorf("%+v", s)
	}
}

func TestOtherProducts(t *testing.T) {
	for _, tc := range []struct{ product, text, url string }{
		{"fluent-bit", "[SERVICE]\n    Flush 1\n[INPUT]\n    Name tail\n    Path /var/log/containers/*.log\n    multiline.parser cri\n[OUTPUT]\n    Name   loki\n    Host   loki.logs\n    Port   3100\n    http_passwd geheim\n", "http://loki.logs:3100/loki/api/v1/push"},
		{"fluent-bit", "pipeline:\n  inputs:\n    - {name: tail, path: /var/log/containers/*.log, parser: cri}\n  outputs:\n    - {name: loki, host: loki.logs, port: 3100, http_passwd: geheim}\n", "http://loki.logs:3100/loki/api/v1/push"},
		{"vector", "sources: {k: {type: kubernetes_logs}}\nsinks:\n  l: {type: loki, inputs: [k], endpoint: 'http://loki.logs:3100', auth: {strategy: basic, password: geheim}}\n", "http://loki.logs:3100"},
		{"promtail", "clients: [{url: 'http://loki.logs:3100/loki/api/v1/push', basic_auth: {password: geheim}}]\nscrape_configs: [{pipeline_stages: [{cri: {}}], static_configs: [{labels: {__path__: '/var/log/*.log'}}]}]\n", "http://loki.logs:3100/loki/api/v1/push"},
		{"opentelemetry-collector", "receivers: {}\nexporters: {otlphttp: {endpoint: 'http://loki.logs:3100/otlp', token: geheim}}\nservice: {}\n", "http://loki.logs:3100/otlp"},
	} {
		c := Parse(tc.product, tc.text)
		if len(c.Errors) > 0 || len(c.Endpoints) != 1 || c.Endpoints[0].URL != tc.url || c.Endpoints[0].Pos.Line == 0 {
			t.Errorf("%s: %+v", tc.product, c)
		}
		if len(c.Secrets) != 1 {
			t.Errorf("%s: secrets %+v", tc.product, c.Secrets)
		}
		if tc.product != "opentelemetry-collector" && (len(c.Sources) != 1 || !c.Sources[0].Parses || len(c.Sources[0].Chains) != 1) {
			t.Errorf("%s: sources %+v", tc.product, c.Sources)
		}
	}
	if c := Parse("promtail", "clients: [\n  x"); len(c.Errors) != 1 {
		t.Errorf("%+v", c)
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.alloy")
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("[OUTPUT]\n Name loki\n")
	f.Add("clients: [{url: x}]\nscrape_configs: [{relabel_configs: [{regex: '(', replacement: $1_}]}]")
	f.Fuzz(func(_ *testing.T, text string) {
		for _, product := range []string{"alloy", "promtail", "fluent-bit", "vector", "opentelemetry-collector"} {
			c := Parse(product, text)
			for i := range c.Endpoints {
				c.Endpoints[i].Parse()
			}
			for i := range c.Sources {
				for _, ch := range c.Sources[i].Chains {
					for j := range ch.Rules {
						ch.Rules[j].Traps()
					}
					Simulate(ch.Rules, PodTarget(SamplePods()[0]))
				}
			}
			if c.Alloy != nil {
				c.Alloy.DeadEnds()
			}
		}
	})
}
