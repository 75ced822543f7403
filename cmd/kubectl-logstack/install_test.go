package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// Exported files are named on stdout, and a second export changes nothing.
func TestInstallExport(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "infrastructure", "logstack")
	args := []string{"install", "--export", dir, "--format", "flux", "--set", "grafana.namespace=monitoring", "-n", "logs"}
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		var errOut bytes.Buffer
		if code := run(args, genericiooptions.IOStreams{In: strings.NewReader(""), Out: out, ErrOut: &errOut}); code != 0 {
			t.Fatalf("code %d: %s", code, errOut.String())
		}
	}
	if first.String() != second.String() {
		t.Errorf("first %s, second %s", first.String(), second.String())
	}
	for _, name := range []string{"kustomization.yaml", "namespace.yaml", "rbac.yaml", "release.yaml", "datasource.yaml", "flux-kustomization.yaml"} {
		path := filepath.Join(dir, name)
		if !strings.Contains(first.String(), path+"\n") {
			t.Errorf("%s is not named in %s", path, first.String())
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		if name != "kustomization.yaml" && !bytes.Contains(data, []byte("logs")) {
			t.Errorf("%s does not know the namespace", name)
		}
	}
}

// An export over another one names what the other one left.
func TestInstallExportLeftovers(t *testing.T) {
	dir := t.TempDir()
	export := func(args ...string) string {
		var out, errOut bytes.Buffer
		args = append([]string{"install", "--export", dir}, args...)
		if code := run(args, genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut}); code != 0 {
			t.Fatalf("code %d: %s", code, errOut.String())
		}
		return errOut.String()
	}
	if said := export("--format", "flux", "--set", "grafana.namespace=monitoring"); said != "" {
		t.Errorf("the first: %q", said)
	}
	said := export("--format", "kustomize")
	for _, name := range []string{"datasource.yaml", "dashboards.yaml", "flux-kustomization.yaml"} {
		if !strings.Contains(said, "note: "+filepath.Join(dir, name)+" is no part of this export") {
			t.Errorf("%s is not named in %q", name, said)
		}
	}
	if n := strings.Count(said, "note: "); n != 3 {
		t.Errorf("%d notes: %q", n, said)
	}
}
