package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/logstack-dev/kubectl-logstack/pkg/reach"
)

// TestProbe: a line for people and an answer for programs, for each URL.
func TestProbe(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	defer s.Close()
	report := filepath.Join(t.TempDir(), "report")
	var out, errOut bytes.Buffer
	tcp := "tcp://" + strings.TrimPrefix(s.URL, "http://")
	if code := probe([]string{"--report", report, s.URL, tcp, "tcp://nowhere"}, &out, &errOut); code != exitFailed {
		t.Errorf("exit code %d: %s", code, errOut.String())
	}
	for _, want := range []string{s.URL + " ok: HTTP 418 (", tcp + " ok: connected (", "tcp://nowhere url: no port ("} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	if answers, err := reach.Decode(text, 3); err != nil || answers[0].Status != 418 || answers[2].Failed != reach.URL {
		t.Errorf("%+v %v", answers, err)
	}
	for want, args := range map[int][]string{0: {tcp}, exitUsage: {}, exitFailed: {"--report", t.TempDir(), tcp}} {
		if code := probe(args, &out, &errOut); code != want {
			t.Errorf("%v: exit code %d, want %d", args, code, want)
		}
	}
	errOut.Reset()
	if code := probe([]string{"--help"}, &out, &errOut); code != 0 || !strings.Contains(errOut.String(), "collector probe [flags] URL...") {
		t.Errorf("exit code %d: %s", code, errOut.String())
	}
	if code := probe([]string{"--tiemout", "1s", tcp}, &out, &errOut); code != exitUsage {
		t.Errorf("exit code %d for an unknown flag", code)
	}
}
