package doctor

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

var update = flag.Bool("update", false, "rewrite docs/checks.md and golden files")

var taken = time.Date(2026, 3, 5, 12, 0, 0, 0, time.UTC)

// header are the comment lines at the head of a case or fixture:
//
//	# EXPECT: LS0501 error loki.monitoring     code, status, words of the detail or fix
//	# EXPECT: none                             the check of the file's name finds nothing
//	# chart: grafana/loki 6.55.0, release "monitoring", namespace "monitoring"
//	# target-version: 6.55.0                   what an upgrade would go to
//	# complete: pods, events                   all of the kind is in the files ("all")
//	# with: fixtures/cluster/x.yaml, ...       more files, relative to testdata
//
// A line that begins with a code right after EXPECT lines goes on with them.
type header struct {
	expect                                              []expectation
	none                                                bool
	chart, version, repo, release, namespace, targetVer string
	complete, with                                      []string
}

type expectation struct {
	code   string
	status Status
	words  string
}

func (e expectation) String() string { return fmt.Sprintf("%s %s %q", e.code, e.status, e.words) }

func (e expectation) matches(f *Finding) bool {
	return f.Code == e.code && f.Status == e.status && strings.Contains(f.Object+" "+f.Detail+" "+f.Fix, e.words)
}

func parseHeader(t *testing.T, file string) header {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var h header
	for line := range strings.Lines(string(text)) {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), "#")
		if !ok {
			break
		}
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		list := func() []string {
			var out []string
			for v := range strings.SplitSeq(value, ",") {
				out = append(out, strings.TrimSpace(v))
			}
			return out
		}
		switch key {
		case "EXPECT":
			if value == "none" {
				h.none = true
				continue
			}
			code, rest, _ := strings.Cut(value, " ")
			status, words, _ := strings.Cut(rest, " ")
			h.expect = append(h.expect, expectation{code, Status(status), strings.TrimSpace(words)})
		case "chart":
			h.parseChart(value)
		case "target-version":
			h.targetVer = value
		case "complete":
			h.complete = list()
		case "with":
			h.with = list()
		}
	}
	return h
}

// parseChart reads `grafana/loki 6.55.0, release "monitoring", namespace "monitoring"`.
func (h *header) parseChart(value string) {
	for i, part := range strings.Split(value, ",") {
		f := strings.Fields(part)
		switch {
		case len(f) >= 2 && i == 0:
			h.repo, h.chart, _ = strings.Cut(f[0], "/")
			h.version = strings.TrimRight(f[1], ".")
		case len(f) >= 2 && f[0] == "release":
			h.release = strings.Trim(f[1], `".`)
		case len(f) >= 2 && f[0] == "namespace":
			h.namespace = strings.Trim(f[1], `".`)
		}
	}
}

func (h *header) request(files ...string) snapshot.Request {
	r := snapshot.Request{
		Files: files, StackNamespace: "logstack", StackName: "logstack", Now: taken,
		FileOptions: FileOptions(snapshot.FileOptions{Chart: h.chart, Version: h.version, Repo: h.repo, Release: h.release, Namespace: h.namespace}),
		Options:     snapshot.Options{TargetVersion: h.targetVer},
	}
	for _, w := range h.with {
		r.Files = append(r.Files, filepath.Join("testdata", w))
	}
	for _, c := range h.complete {
		r.Complete = append(r.Complete, snapshot.Input(c))
	}
	return r
}

func load(t testing.TB, r snapshot.Request) *snapshot.Snapshot {
	t.Helper()
	s, err := snapshot.Load(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// testCase is a snapshot and what one check has to find in it.
type testCase struct {
	name   string
	code   string
	expect []expectation // none: the check passes
	build  func(testing.TB) *snapshot.Snapshot
}

// moreCases are added by the test files of the categories, in init.
var moreCases []func() []testCase

// cases are those of testdata/checks, goCases and moreCases.
func cases(t *testing.T) []testCase {
	t.Helper()
	files, err := filepath.Glob("testdata/checks/*")
	if err != nil {
		t.Fatal(err)
	}
	out := goCases()
	for _, f := range moreCases {
		out = append(out, f()...)
	}
	for _, file := range files {
		h := parseHeader(t, file)
		code, _, _ := strings.Cut(filepath.Base(file), "-")
		if len(h.expect) == 0 && !h.none {
			t.Errorf("%s: no EXPECT line", file)
		}
		out = append(out, testCase{name: filepath.Base(file), code: strings.TrimSuffix(code, filepath.Ext(code)), expect: h.expect, build: func(tb testing.TB) *snapshot.Snapshot {
			return load(tb, h.request(file))
		}})
	}
	return out
}

// TestCases: each check finds exactly what its cases say.
func TestCases(t *testing.T) {
	for _, tc := range cases(t) {
		t.Run(tc.code+"/"+tc.name, func(t *testing.T) {
			c, ok := Lookup(tc.code)
			if !ok {
				t.Fatalf("there is no check %s", tc.code)
			}
			r := Run(tc.build(t), []Check{c}, RunOptions{})
			compare(t, r.Findings, tc.expect)
			if len(tc.expect) == 0 && r.Counts[OK]+r.Counts[Info] == 0 {
				t.Errorf("the check did not look: %+v", r.Findings)
			}
		})
	}
}

// compare wants each expectation once and no problem beyond.
func compare(t *testing.T, findings []Finding, expect []expectation) {
	t.Helper()
	left := slices.Clone(expect)
	for i := range findings {
		f := &findings[i]
		if j := slices.IndexFunc(left, func(e expectation) bool { return e.matches(f) }); j >= 0 {
			left = slices.Delete(left, j, j+1)
			continue
		}
		if f.Problem() {
			t.Errorf("not expected: %s %s %s: %s\n  fix: %s", f.Code, f.Status, f.Object, f.Detail, f.Fix)
		}
		if f.Status == Skip && strings.Contains(f.Detail, "the check failed") {
			t.Error(f.Detail)
		}
	}
	for _, e := range left {
		t.Errorf("not found: %s", e)
	}
	if t.Failed() {
		for i := range findings {
			t.Logf("  %s %s %s | %s | fix: %s", findings[i].Code, findings[i].Status, findings[i].Object, findings[i].Detail, findings[i].Fix)
		}
	}
}
