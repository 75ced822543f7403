package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// doctorOn runs doctor on one file, without a cluster.
func doctorOn(t *testing.T, name, text string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return doctorRun(t, append([]string{"-f", file}, args...)...)
}

func doctorRun(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code = run(append([]string{"doctor", "--use-kube=false"}, args...), genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut})
	return code, out.String(), errOut.String()
}

// closedPipe is the stdout of a process whose reader is gone.
type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) {
	return 0, &os.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.EPIPE}
}

// TestDoctorClosedPipe: `doctor | head -1` keeps the exit code.
func TestDoctorClosedPipe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.alloy")
	if err := os.WriteFile(file, []byte("loki.write \"d\" {\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var errOut bytes.Buffer
	if code := run([]string{"doctor", "--use-kube=false", "-f", file}, genericiooptions.IOStreams{Out: closedPipe{}, ErrOut: &errOut}); code != 1 {
		t.Errorf("exit code %d: %s", code, errOut.String())
	}
}

// TestDoctorUnknownChart is wrong usage that names what is known.
func TestDoctorUnknownChart(t *testing.T) {
	code, _, stderr := doctorOn(t, "values.yaml", "a: 1\n", "--chart", "loky@1")
	if code != exitUsage || !strings.Contains(stderr, "did you mean loki?") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// TestDoctorEndedSuppression: an end is told, and the finding counts again.
func TestDoctorEndedSuppression(t *testing.T) {
	file := filepath.Join(t.TempDir(), "s.yaml")
	if err := os.WriteFile(file, []byte("suppressions: [{code: LS0701, reason: later, until: 2026-01-01}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := doctorOn(t, "x.alloy", "loki.write \"d\" {\n", "--suppressions", file)
	if code != 1 || !strings.Contains(stderr, "LS0701 ended on 2026-01-01 (later)") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// TestDoctorBadSuppressions: every mistake with its place.
func TestDoctorBadSuppressions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "s.yaml")
	if err := os.WriteFile(file, []byte("suppressions:\n  - code: LS0608\n  - {code: LS9999, reason: x}\n  - {cod: LS0601, reason: y}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := doctorOn(t, "x.alloy", "loki.write \"d\" {\n", "--suppressions", file)
	for _, want := range []string{file + ":2: a reason is required", file + ":3: code: \"LS9999\" is no check", file + ":4: unknown key \"cod\"; did you mean code?"} {
		if code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("exit code %d, no %q: %s", code, want, stderr)
		}
	}
}

// TestDoctorNearest: what is meant by a wrong code, word or category.
func TestDoctorNearest(t *testing.T) {
	for want, args := range map[string][]string{
		"did you mean LS0515 (":   {"--explain", "LS0516"},
		"did you mean LS0705 (":   {"--explain", "ls705"},
		"did you mean LS0305 (":   {"--explain", "podsecurity"},
		"did you mean grafana?":   {"--only", "graphana", "-f", "x.yaml"},
		"there is no check \"x\"": {"--explain", "x"},
	} {
		if code, _, stderr := doctorRun(t, args...); code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit code %d: %s", args, code, stderr)
		}
	}
}

// TestDoctorNothingExamined: that is no good news.
func TestDoctorNothingExamined(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.yaml"), []byte("a: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := doctorRun(t, "-f", dir)
	if code != exitNoConnect || !strings.Contains(stdout, "nothing to examine") || !strings.Contains(stderr, "x.yaml: not read") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
}

// TestDoctorCompletion offers words, and no files.
func TestDoctorCompletion(t *testing.T) {
	for flag, want := range map[string]string{"-o": "sarif", "--only": "grafana", "--skip": "LS0501", "--explain": "LS0705\t", "--fail-on": "warning", "--chart": "loki"} {
		var out bytes.Buffer
		run([]string{"__complete", "doctor", flag, ""}, genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &bytes.Buffer{}})
		if !strings.Contains(out.String(), want) || !strings.Contains(out.String(), ":4") {
			t.Errorf("%s: %s", flag, out.String())
		}
	}
}
