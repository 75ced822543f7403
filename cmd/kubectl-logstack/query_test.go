package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// What a server refuses ends with the documented exit code.
func TestRefusals(t *testing.T) {
	for code, want := range map[int]int{
		http.StatusBadRequest:          exitUsage,
		http.StatusUnauthorized:        exitNoConnect,
		http.StatusForbidden:           exitNoConnect,
		http.StatusTooManyRequests:     exitFailed,
		http.StatusInternalServerError: exitFailed,
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "what the server says", code)
		}))
		for _, args := range [][]string{{"labels"}, {"query", `{a="b"}`}, {"delete", "list"}} {
			var out, errOut bytes.Buffer
			got := run(append(args, "--addr", srv.URL), genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut})
			if got != want || !strings.Contains(errOut.String(), "what the server says") || out.Len() > 0 {
				t.Errorf("%s, %d: exit code %d, want %d; stderr %q, stdout %q", args, code, got, want, &errOut, &out)
			}
		}
		srv.Close()
	}
}
