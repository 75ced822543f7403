package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// TestGrafanaFlags: what is wrong is said before any network, and without the
// token; there is no cluster here.
func TestGrafanaFlags(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("glsa_secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args, env string
		code      int
		want      string
	}{
		{args: "--grafana-url https://g.example", code: exitUsage, want: "needs the token of a service account"},
		{args: "--grafana-url g.example", env: "glsa_secret", code: exitUsage, want: "not http:// or https://"},
		{args: "--grafana-url https://admin:glsa_secret@g.example", env: "glsa_secret", code: exitUsage, want: "has a user in it"},
		{args: "--grafana-url https://g.example", env: "glsa_secret glsa_secret", code: exitUsage, want: "blanks or more than one line"},
		{args: "--grafana-url https://g.example --grafana-token-file nowhere", code: exitUsage, want: "--grafana-token-file: open nowhere"},
		{args: "--grafana-token-file " + token, code: exitUsage, want: "are for --grafana-url"},
		{args: "--grafana-source-url http://x", code: exitUsage, want: "are for --grafana-url"},
		{args: "--grafana-url https://g.example --dry-run=client", env: "glsa_secret", code: exitUsage, want: "for a run that installs"},
		// As far as the cluster, which is not there.
		{args: "--grafana-url https://g.example/sub --grafana-source-url https://logs.example --grafana-token-file " + token, code: exitNoConnect, want: "KUBECONFIG"},
		{args: "--grafana-url https://g.example --grafana-token-file -", code: exitNoConnect, want: "KUBECONFIG"},
		{args: "--grafana-url https://g.example", env: "glsa_secret", code: exitNoConnect, want: "KUBECONFIG"},
		{args: "--grafana-namespace Not_A_Name", code: exitUsage, want: "grafana.namespace"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			t.Setenv(grafanaTokenEnv, tc.env)
			var out, errOut bytes.Buffer
			code := run(append([]string{"install"}, strings.Fields(tc.args)...), genericiooptions.IOStreams{In: strings.NewReader("glsa_secret"), Out: &out, ErrOut: &errOut})
			if code != tc.code || !strings.Contains(errOut.String(), tc.want) || out.Len() > 0 {
				t.Errorf("code %d, want %d; stderr %s, want %q; stdout %s", code, tc.code, &errOut, tc.want, &out)
			}
			if strings.Contains(errOut.String(), "glsa_secret") {
				t.Errorf("the token is told: %s", &errOut)
			}
		})
	}
}
