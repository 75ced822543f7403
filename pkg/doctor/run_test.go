package doctor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// TestReference keeps docs/checks.md in step with the registry.
func TestReference(t *testing.T) {
	file := filepath.Join("..", "..", "docs", "checks.md")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(Reference()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(have), Reference()); d != "" {
		t.Errorf("docs/checks.md is stale (go test ./pkg/doctor -update):\n%s", d)
	}
}

// fake is a check that finds what it is given.
func fake(code string, found ...Finding) Check {
	return Check{Code: code, Category: "c", Title: "t", Run: func(*snapshot.Snapshot) []Finding { return found }}
}

func empty() *snapshot.Snapshot { return snapshot.New(taken, "logstack", "logstack") }

func TestExitCodes(t *testing.T) {
	e, w, i, ok, sk := Finding{Status: Error}, Finding{Status: Warning}, Finding{Status: Info}, Finding{Status: OK}, Finding{Status: Skip}
	for name, tc := range map[string]struct {
		found []Finding
		opts  RunOptions
		want  int
	}{
		"ok":                    {[]Finding{ok}, RunOptions{FailOn: Error}, 0},
		"error":                 {[]Finding{e, ok}, RunOptions{FailOn: Error}, 1},
		"warning":               {[]Finding{w}, RunOptions{FailOn: Error}, 0},
		"warning counts":        {[]Finding{w}, RunOptions{FailOn: Warning}, 1},
		"error with warning":    {[]Finding{e}, RunOptions{FailOn: Warning}, 1},
		"info":                  {[]Finding{i}, RunOptions{FailOn: Warning}, 0},
		"info counts":           {[]Finding{i}, RunOptions{FailOn: Info}, 1},
		"never":                 {[]Finding{e}, RunOptions{FailOn: None}, 0},
		"all skipped":           {[]Finding{sk}, RunOptions{FailOn: Error}, 3},
		"some skipped":          {[]Finding{sk, ok}, RunOptions{FailOn: Error}, 0},
		"strict":                {[]Finding{sk, ok}, RunOptions{FailOn: Error, Strict: true}, 3},
		"nothing to look at":    {[]Finding{{Status: None}}, RunOptions{FailOn: Error}, 3},
		"suppressed":            {[]Finding{e, ok}, RunOptions{FailOn: Error, Suppressions: []Suppression{{Code: "LS05", Reason: "known"}}}, 0},
		"suppressed category":   {[]Finding{e, ok}, RunOptions{FailOn: Error, Suppressions: []Suppression{{Code: "services", Reason: "known"}}}, 0},
		"suppression has ended": {[]Finding{e}, RunOptions{FailOn: Error, Suppressions: []Suppression{{Code: "LS05", Reason: "known", Until: "2026-03-04"}}}, 1},
		"its last day":          {[]Finding{e, ok}, RunOptions{FailOn: Error, Suppressions: []Suppression{{Code: "LS05", Reason: "known", Until: "2026-03-05"}}}, 0},
		"another object":        {[]Finding{e}, RunOptions{FailOn: Error, Suppressions: []Suppression{{Code: "LS05", Object: "pod/*/*", Reason: "known"}}}, 1},
	} {
		if r := Run(empty(), []Check{fake("LS0501", tc.found...)}, tc.opts); r.ExitCode != tc.want {
			t.Errorf("%s: exit code %d, want %d", name, r.ExitCode, tc.want)
		}
	}
	s := empty()
	s.SetMissing(snapshot.Server, &snapshot.Missing{Err: os.ErrDeadlineExceeded})
	if r := Run(s, []Check{fake("LS0101", e)}, RunOptions{FailOn: Error}); r.ExitCode != 3 {
		t.Errorf("no server: %d", r.ExitCode)
	}
}

// TestCauses: a cause takes its symptoms, by code and object; two findings
// never explain each other.
func TestCauses(t *testing.T) {
	pod := func(ns string) snapshot.Ref { return snapshot.Ref{Kind: "Pod", Namespace: ns, Name: "x"} }
	r := Run(empty(), []Check{
		fake("LS0501", Finding{Status: Error, Explains: []string{"LS0401@pod/a/*", "LS0504"}}),
		fake("LS0401", Finding{Status: Error, Ref: pod("a"), Explains: []string{"LS0410"}}, Finding{Status: Error, Ref: pod("b")}),
		fake("LS0410", Finding{Status: Error, Explains: []string{"LS0501"}}),
		fake("LS0504", Finding{Status: OK}),
	}, RunOptions{})
	by := func(i int) int {
		if e := r.Findings[i].ExplainedBy; e != nil {
			return *e
		}
		return -1
	}
	if got := []int{by(0), by(1), by(2), by(3), by(4)}; !slices.Equal(got, []int{-1, 0, -1, 1, -1}) {
		t.Errorf("causes %v", got)
	}
	if s := r.Symptoms(0); len(s) != 1 || s[0].Ref.Namespace != "a" {
		t.Errorf("symptoms %v", s)
	}
}

func TestPanickingCheck(t *testing.T) {
	c := fake("LS0501")
	c.Run = func(*snapshot.Snapshot) []Finding { panic("boom") }
	r := Run(empty(), []Check{c, fake("LS0502")}, RunOptions{FailOn: Error})
	if r.Counts[Skip] != 1 || r.Counts[OK] != 1 || !strings.Contains(r.Findings[0].Detail, "boom") {
		t.Errorf("%+v", r.Findings)
	}
}

func TestSelection(t *testing.T) {
	r := Run(empty(), Checks(), RunOptions{Only: []string{"services", "LS0601"}, Skip: []string{"LS051"}})
	for _, f := range r.Findings {
		if !strings.HasPrefix(f.Code, "LS050") && f.Code != "LS0601" {
			t.Errorf("%s was not asked for", f.Code)
		}
	}
	if err := ValidateSelection([]string{"LS0501", "ls05", "grafana"}); err != nil {
		t.Error(err)
	}
	for _, w := range []string{"LS9", "helm", "", "L"} {
		if ValidateSelection([]string{w}) == nil {
			t.Errorf("%q was taken", w)
		}
	}
}

func TestParseSuppressions(t *testing.T) {
	all, err := ParseSuppressions([]byte("suppressions:\n  - {code: LS0608, object: '*', reason: we stay, until: 2027-03-31}\n"))
	if err != nil || len(all) != 1 || all[0].Until != "2027-03-31" {
		t.Errorf("%v %v", all, err)
	}
	if _, err := ParseSuppressions(nil); err != nil {
		t.Error(err)
	}
	for text, want := range map[string]string{
		"suppressions: [{code: LS0608}]":                                  "reason",
		"suppressions: [{code: LS9999, reason: x}]":                       "LS9999",
		"suppressions: [{code: LS0608, reason: x, until: soon}]":          "2026-12-31",
		"suppressions: [{code: LS0608, reason: x, untl: 2027-01-01}]":     "untl",
		"suppressions: [{code: LS0608, reason: x, object: '[', until: }]": "object",
		"suppressions:\n  - {id: LS0608, reason: x}":                      "line 2: unknown key \"id\"; there are code",
		"suppression: []":                                                  "it is suppressions",
		"suppressions: {code: LS0608, reason: x}":                          "is a list",
		"suppressions: []\n---\nsuppressions: [{code: LS0608, reason: x}]": "line 2: a second document",
		"suppressions: [LS0608]":                                           "a mapping",
		"suppressions: [{reason: x}]":                                      "no check",
	} {
		if _, err := ParseSuppressions([]byte(text)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "doctor.") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestWaiting(t *testing.T) {
	f := Finding{Code: "LS0410", Status: Error, Detail: "0 of 1 replicas are ready"}
	if (&Report{Findings: []Finding{f}}).Waiting() == "" {
		t.Error("a rollout is worth waiting for")
	}
	f = Finding{Code: "LS0404", Status: Error, Detail: "0/1 nodes are available: 1 Insufficient memory."}
	if w := (&Report{Findings: []Finding{f}}).Waiting(); w != "" {
		t.Errorf("waiting for %s: no node grows", w)
	}
}

// TestSummary: the last line counts checks by their worst outcome, and its
// numbers add up; findings are counted apart.
func TestSummary(t *testing.T) {
	e, w, ok, sk := Finding{Status: Error}, Finding{Status: Warning}, Finding{Status: OK}, Finding{Status: Skip, Right: "list nodes"}
	for name, tc := range map[string]struct {
		checks []Check
		want   string
	}{
		"each worst": {[]Check{fake("LS0501", e, e, w, sk), fake("LS0502", w, w), fake("LS0503"), fake("LS0504", ok, sk), fake("LS0505", Finding{Status: Info}), fake("LS0506", Finding{Status: None})},
			"5 checks: 1 ok, 1 info, 1 warning, 1 error, 1 skipped (no permission)"},
		"plural":            {[]Check{fake("LS0501", e, e), fake("LS0502", e), fake("LS0503", sk), fake("LS0504", Finding{Status: Skip})}, "4 checks: 0 ok, 2 errors, 2 skipped"},
		"suppressed":        {[]Check{fake("LS0608", w, w), fake("LS0502")}, "2 checks: 1 ok, 1 suppressed"},
		"one":               {[]Check{fake("LS0501")}, "1 check: 1 ok"},
		"nothing to say of": {[]Check{fake("LS0501", Finding{Status: None})}, "0 checks: there was nothing to examine"},
	} {
		r := Run(empty(), tc.checks, RunOptions{Suppressions: []Suppression{{Code: "LS0608", Reason: "we stay"}}})
		if r.Summary != tc.want {
			t.Errorf("%s: %q, want %q", name, r.Summary, tc.want)
		}
	}
	if r := Run(empty(), []Check{fake("LS0501", e, e)}, RunOptions{}); r.Counts[Error] != 2 || r.Checks[Error] != 1 {
		t.Errorf("findings %v, checks %v", r.Counts, r.Checks)
	}
}
