package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// command runs the command line as a person would.
func command(args ...string) (stdout, stderr string, err error) {
	cmd := newCommand()
	var out, errOut bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&errOut)
	cmd.SetArgs(args)
	err = cmd.Execute()
	return out.String(), errOut.String(), err
}

func TestCommandErrors(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("LOGSTACK_CLUSTER_DIR", dir)
	t.Setenv("KUBECONFIG", filepath.Join(dir, "kubeconfig"))
	for _, tc := range []struct{ cluster, args, want string }{
		{"moon", "up", "have bare, kind, current"},
		{"bare", "status", "no cluster in " + dir},
		{"bare", "load x.tar", "`up` first"},
		{"bare", "load", "at least 1 arg"},
		{"bare", "up now", "unknown command"},
		{"bare", "build kubedoom", `invalid argument "kubedoom"`},
		{"bare", "apply " + dir, "holds no YAML file"},
		{"current", "up", "no current context"},
		{"current", "load x.tar", "push the image to a registry"},
	} {
		t.Setenv("CLUSTER", tc.cluster)
		_, _, err := command(strings.Fields(tc.args)...)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("CLUSTER=%s %s: got %v, want %q", tc.cluster, tc.args, err, tc.want)
		}
	}
}

func TestKubeconfig(t *testing.T) {
	t.Setenv("LOGSTACK_CLUSTER_DIR", "/x")
	t.Setenv("KUBECONFIG", "/y/config")
	for cluster, want := range map[string]string{"bare": "/x/kubeconfig\n", "current": "/y/config\n"} {
		t.Setenv("CLUSTER", cluster)
		out, errOut, err := command("kubeconfig")
		if out != want || errOut != "" || err != nil {
			t.Errorf("%s: %q, %q, %v", cluster, out, errOut, err)
		}
	}
}

func TestManifestFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b.yaml", "a.yaml", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := manifestFiles([]string{dir, filepath.Join(dir, "notes.txt")})
	want := []string{filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml"), filepath.Join(dir, "notes.txt")}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}
