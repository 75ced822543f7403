package doctor

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// The registry keeps its own rules: codes are unique and permanent, everything
// is described, and belongs to its category.
func TestRegistry(t *testing.T) {
	seen := map[string]bool{}
	code := regexp.MustCompile(`^LS(0[1-9]|1[0-2])\d\d$`)
	for _, c := range Checks() {
		if seen[c.Code] {
			t.Errorf("%s is registered twice", c.Code)
		}
		seen[c.Code] = true
		if !code.MatchString(c.Code) {
			t.Errorf("%q is no code", c.Code)
		}
		if c.Category == "" || slugOf(&c) == "" || !strings.HasPrefix(c.Code, "LS"+digitsOf(c.Category)) {
			t.Errorf("%s is in category %q", c.Code, c.Category)
		}
		if c.Title == "" || len(c.Explain) < 60 || c.Fix == "" {
			t.Errorf("%s: title, explanation (60 characters at least) and fix are required", c.Code)
		}
		if c.Severity != Error && c.Severity != Warning && c.Severity != Info {
			t.Errorf("%s: severity %q", c.Code, c.Severity)
		}
		if c.Run == nil || len(c.inputs()) == 0 {
			t.Errorf("%s: Run and inputs are required", c.Code)
		}
		if strings.HasSuffix(c.Title, ".") || !strings.HasSuffix(c.Explain, ".") {
			t.Errorf("%s: a title has no full stop, an explanation has one", c.Code)
		}
	}
}

// TestCodesArePermanent: testdata/codes.txt has every code that was ever given.
// A code is in the registry or retired, never both and never gone; a new one is
// added to the list by -update.
func TestCodesArePermanent(t *testing.T) {
	file := filepath.Join("testdata", "codes.txt")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	given := strings.Fields(string(text))
	for _, c := range Checks() {
		if _, gone := Retired(c.Code); gone {
			t.Errorf("%s is retired and registered", c.Code)
		}
		if slices.Contains(given, c.Code) {
			continue
		}
		if !*update {
			t.Errorf("%s is not in %s (go test ./pkg/doctor -update)", c.Code, file)
		}
		given = append(given, c.Code)
	}
	for _, code := range given {
		_, registered := Lookup(code)
		if why, gone := Retired(code); !registered && (!gone || why == "") {
			t.Errorf("%s was given and is gone: retire it, with the reason", code)
		}
	}
	for code := range retired {
		if !slices.Contains(given, code) {
			t.Errorf("%s is retired and was never given", code)
		}
	}
	if *update {
		slices.Sort(given)
		if err := os.WriteFile(file, []byte(strings.Join(given, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func digitsOf(category string) string {
	for _, c := range categories {
		if c.name == category {
			return c.digits
		}
	}
	return "??"
}

// TestEveryCheckHasCases: one case that it passes and one in which it finds something.
func TestEveryCheckHasCases(t *testing.T) {
	ok, bad := map[string]bool{}, map[string]bool{}
	for _, tc := range cases(t) {
		if len(tc.expect) == 0 {
			ok[tc.code] = true
		}
		for _, e := range tc.expect {
			if e.code == tc.code && e.status != Skip {
				bad[tc.code] = true
			}
		}
	}
	for _, c := range Checks() {
		if !ok[c.Code] || !bad[c.Code] {
			t.Errorf("%s: passing case %t, failing case %t", c.Code, ok[c.Code], bad[c.Code])
		}
	}
}

// TestInputsAreDeclared runs every check over every case: none reads what it
// does not declare. What it finds is complete: place, proof and fix.
func TestInputsAreDeclared(t *testing.T) {
	codes := map[string]bool{}
	for _, c := range Checks() {
		codes[c.Code] = true
	}
	for _, tc := range cases(t) {
		s := tc.build(t)
		for _, c := range Checks() {
			view, undeclared := s.For(c.inputs()...)
			for _, f := range ask(view, &c) {
				if f.Status == Skip && strings.Contains(f.Detail, "the check failed") {
					t.Errorf("%s over %s/%s: %s", c.Code, tc.code, tc.name, f.Detail)
				}
				if f.Status == Error || f.Status == Warning {
					if f.Fix == "" || f.Detail == "" {
						t.Errorf("%s over %s/%s: no fix or no detail: %+v", c.Code, tc.code, tc.name, f)
					}
					if f.Status == Error && c.Severity != Error || f.Status == Warning && c.Severity == Info {
						t.Errorf("%s over %s/%s: finds %s and declares %s at worst", c.Code, tc.code, tc.name, f.Status, c.Severity)
					}
				}
				for _, e := range f.Explains {
					if code, _, _ := strings.Cut(e, "@"); !regexp.MustCompile(`^LS\d{4}$`).MatchString(code) {
						t.Errorf("%s explains %q, which is no code", c.Code, e)
					}
				}
			}
			if u := undeclared(); len(u) > 0 {
				t.Errorf("%s (%s/%s) reads %v, which its Needs and Uses do not name", c.Code, tc.code, tc.name, u)
			}
		}
	}
}

// allInputs are what a check can declare.
func allInputs() []snapshot.Input {
	var out []snapshot.Input
	for _, c := range Checks() {
		for _, in := range c.inputs() {
			if !slices.Contains(out, in) {
				out = append(out, in)
			}
		}
	}
	return out
}

// TestForbidden: without one of its inputs, over each of its cases, a check
// does not panic, and is a skip when it needs the input.
func TestForbidden(t *testing.T) {
	for _, tc := range cases(t) {
		c, ok := Lookup(tc.code)
		if !ok {
			t.Fatalf("there is no check %s", tc.code)
		}
		s := tc.build(t)
		for _, in := range c.inputs() {
			before := s.Missing(in)
			s.SetMissing(in, &snapshot.Missing{Right: &snapshot.Right{Verb: "list", Resource: string(in)}})
			for _, f := range answer(s, &c) {
				if strings.Contains(f.Detail, "the check failed") {
					t.Errorf("%s without %s (%s): %s", c.Code, in, tc.name, f.Detail)
				}
				if slices.Contains(c.Needs, in) && (f.Status != Skip || f.Right == "") {
					t.Errorf("%s without %s: %s, want a skip that names the right", c.Code, in, f.Status)
				}
			}
			s.SetMissing(in, before)
		}
	}
}

// TestLargeCluster: every check is done with a cluster of 5,000 pods, and reads
// nothing there that it does not declare. BenchmarkRun5000Pods has the figures.
func TestLargeCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("5,000 pods")
	}
	s := large(t, 5000)
	for _, c := range Checks() {
		view, undeclared := s.For(c.inputs()...)
		for _, f := range ask(view, &c) {
			if strings.Contains(f.Detail, "the check failed") {
				t.Errorf("%s: %s", c.Code, f.Detail)
			}
		}
		if u := undeclared(); len(u) > 0 {
			t.Errorf("%s reads %v", c.Code, u)
		}
	}
}

// TestEmpty: an empty cluster has no log stack, and nothing else to say; with
// nothing readable there is nothing but skips.
func TestEmpty(t *testing.T) {
	r := Run(snapshot.New(taken, "logstack", "logstack"), Checks(), RunOptions{FailOn: Error})
	for _, f := range r.Findings {
		if f.Problem() && f.Code != "LS0104" && f.Code != "LS0205" {
			t.Errorf("%s %s: %s", f.Code, f.Status, f.Detail)
		}
	}
	s := snapshot.New(taken, "logstack", "logstack")
	for _, in := range allInputs() {
		s.SetMissing(in, &snapshot.Missing{Right: &snapshot.Right{Verb: "list", Resource: string(in)}})
	}
	s.SetMissing(snapshot.Server, nil)
	r = Run(s, Checks(), RunOptions{FailOn: Error})
	for _, f := range r.Findings {
		if f.Status != Skip && f.Code != "LS0101" && f.Code != "LS0201" {
			t.Errorf("%s: %s without any right, want a skip", f.Code, f.Status)
		}
	}
}
