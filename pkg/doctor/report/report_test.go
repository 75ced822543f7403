package report

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor"
	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

var update = flag.Bool("update", false, "rewrite testdata")

// sample is a report with every kind of finding.
func sample(t *testing.T) *doctor.Report {
	t.Helper()
	file := snapshot.Ref{Kind: "HelmRelease", Namespace: "flux-system", Name: "loki", Path: "spec.values.monitoring.lokiCanary", File: "clusters/home, old/loki.yaml", Line: 42, Column: 7}
	found := map[string][]doctor.Finding{
		"LS0205": {{Status: doctor.Skip, Detail: "could not look at nodes: need list nodes", Right: "list nodes"}},
		"LS0302": {{Status: doctor.None, Detail: "there is nothing to look at"}},
		"LS0501": {{Status: doctor.Error, Ref: snapshot.Ref{Kind: "ConfigMap", Namespace: "monitoring", Name: "alloy", Path: "data[config.alloy]", Line: 33, Column: 17},
			Detail: "loki.monitoring.svc does not exist (\"no such host\")\nServices: monitoring-loki", Fix: "use http://monitoring-loki.monitoring.svc:3100/loki/api/v1/push", Patch: "-url = \"http://loki\"\n+url = \"http://monitoring-loki\"\n", Explains: []string{"LS0504", "LS1001"}}},
		"LS0504": {{Status: doctor.Error, Ref: snapshot.Ref{Kind: "Service", Namespace: "monitoring", Name: "x"}, Detail: "1 endpoint, 0 ready", Fix: "kubectl get pods"}},
		"LS0601": {{Status: doctor.Warning, Ref: file, Detail: "moved: 100% <ignored> & gone", Fix: "kubectl apply -f x.yaml"}, {Status: doctor.Info, Detail: "by the way"}},
		"LS0608": {{Status: doctor.Warning, Ref: snapshot.Ref{File: "values.yaml", Line: 1}, Detail: "frozen", Fix: "later"}},
		"LS1001": {{Status: doctor.OK, Detail: "after 300ms"}},
	}
	var checks []doctor.Check
	for _, c := range doctor.Checks() {
		if f, ok := found[c.Code]; ok {
			c.Needs, c.Uses, c.Applies = nil, nil, nil
			c.Run = func(*snapshot.Snapshot) []doctor.Finding { return f }
			checks = append(checks, c)
		}
	}
	s := snapshot.New(time.Date(2026, 3, 5, 12, 0, 0, 0, time.UTC), "logstack", "logstack")
	s.Context = "home"
	return doctor.Run(s, checks, doctor.RunOptions{FailOn: doctor.Error, Suppressions: []doctor.Suppression{{Code: "LS0608", Reason: "we stay"}}})
}

// TestFormats compares every format with testdata; they are the contract with
// people and programs.
func TestFormats(t *testing.T) {
	r := sample(t)
	for _, format := range append(slices.Clone(Formats), "fix") {
		t.Run(format, func(t *testing.T) {
			var buf bytes.Buffer
			var err error
			if format == "fix" {
				err = Fixes(&buf, r)
			} else {
				err = Write(&buf, format, r, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			if format == "sarif" {
				withoutProse(t, &buf)
			}
			file := filepath.Join("testdata", "report."+format)
			if *update {
				if err := os.WriteFile(file, buf.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), buf.String()); d != "" {
				t.Error(d)
			}
		})
	}
	if Write(io.Discard, "xml", r, nil) == nil {
		t.Error("an unknown format was taken")
	}
}

// withoutProse takes the texts of the registry out of the rules: they are
// checked elsewhere, and change more often than the format.
func withoutProse(t *testing.T, buf *bytes.Buffer) {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(buf.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	run := doc["runs"].([]any)[0].(map[string]any)
	for _, r := range run["tool"].(map[string]any)["driver"].(map[string]any)["rules"].([]any) {
		for _, key := range []string{"shortDescription", "fullDescription", "help"} {
			text := r.(map[string]any)[key].(map[string]any)
			if text["text"] == "" {
				t.Errorf("a rule without %s", key)
			}
			text["text"] = "..."
		}
	}
	buf.Reset()
	enc := json.NewEncoder(buf)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		t.Fatal(err)
	}
}

// TestSameContent: the programs' formats parse, and hold each problem with its
// code and detail; all have one exit code.
func TestSameContent(t *testing.T) {
	r := sample(t)
	out := map[string]string{}
	for _, f := range Formats {
		var buf bytes.Buffer
		if err := Write(&buf, f, r, Plain); err != nil {
			t.Fatal(err)
		}
		out[f] = buf.String()
	}
	var back doctor.Report
	if err := json.Unmarshal([]byte(out["json"]), &back); err != nil || back.ExitCode != 1 || back.Kind != "DoctorReport" || len(back.Findings) != len(r.Findings) {
		t.Errorf("json: %v %+v", err, back)
	}
	var fromYAML doctor.Report
	if err := yaml.Unmarshal([]byte(out["yaml"]), &fromYAML); err != nil || fromYAML.Summary != r.Summary {
		t.Fatal(err, fromYAML.Summary)
	}
	if d := cmp.Diff(back.Findings, fromYAML.Findings); d != "" {
		t.Errorf("json and yaml differ: %s", d)
	}
	var suites junitSuites
	if err := xml.Unmarshal([]byte(out["junit"]), &suites); err != nil || suites.Failures != 3 {
		t.Errorf("junit: %v, %d failures", err, suites.Failures)
	}
	if !json.Valid([]byte(out["sarif"])) {
		t.Error("sarif is no JSON")
	}
	for _, f := range Formats {
		for _, code := range []string{"LS0501", "LS0601", "LS0504", "LS0205"} {
			if !strings.Contains(out[f], code) {
				t.Errorf("%s lacks %s", f, code)
			}
		}
		if !strings.Contains(out[f], r.Summary) && f != "junit" && f != "yaml" {
			t.Errorf("%s lacks the summary", f)
		}
	}
}

// TestPainted: colour changes nothing but colour.
func TestPainted(t *testing.T) {
	r := sample(t)
	var plain, painted bytes.Buffer
	if err := Write(&plain, "text", r, nil); err != nil {
		t.Fatal(err)
	}
	if err := Write(&painted, "text", r, func(_, s string) string { return "<" + s + ">" }); err != nil {
		t.Fatal(err)
	}
	if strings.NewReplacer("<", "", ">", "").Replace(painted.String()) != strings.NewReplacer("<", "", ">", "").Replace(plain.String()) {
		t.Error("the text differs")
	}
}

func TestBundle(t *testing.T) {
	file := filepath.Join(t.TempDir(), "s.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: a}\nstringData: {x: geheim}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.Load(context.Background(), snapshot.Request{Files: []string{file}, StackNamespace: "logstack", StackName: "logstack"})
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := Bundle(&buf, s, sample(t)); err != nil {
		t.Fatal(err)
	}
	zr, err := gzip.NewReader(&buf)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(tr)
		if err != nil || bytes.Contains(content, []byte("geheim")) || len(content) == 0 {
			t.Errorf("%s: %v %s", h.Name, err, content)
		}
		names = append(names, h.Name)
	}
	if want := []string{"logstack-doctor/report.txt", "logstack-doctor/report.json", "logstack-doctor/objects/secrets.yaml"}; !slices.Equal(names, want) {
		t.Errorf("%v", names)
	}
}

// TestWrapped: on a terminal, details are broken between words and stay in their
// column; what is to be pasted is never broken.
func TestWrapped(t *testing.T) {
	r := sample(t)
	var buf bytes.Buffer
	if err := WriteWidth(&buf, "text", r, nil, 80); err != nil {
		t.Fatal(err)
	}
	var words, wide []string
	for line := range strings.Lines(buf.String()) {
		line = strings.TrimRight(line, "\n")
		if len([]rune(line)) > 80 && strings.HasPrefix(line, indent) {
			wide = append(wide, line)
		}
		words = append(words, strings.Fields(line)...)
	}
	for _, l := range wide {
		if !strings.HasPrefix(strings.TrimSpace(l), "fix: ") && strings.Count(strings.TrimSpace(l), " ") > 0 {
			t.Errorf("too wide: %s", l)
		}
	}
	var plain bytes.Buffer
	if err := Write(&plain, "text", r, nil); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(words, strings.Fields(plain.String())) {
		t.Error("wrapping changes words")
	}
	if plain.Len() >= buf.Len() {
		t.Error("nothing was wrapped")
	}
}
