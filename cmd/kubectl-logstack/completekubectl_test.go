package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// TestCompletionForKubectl writes the script that kubectl asks beside the
// plugin, over what is there, and calls it as kubectl does.
func TestCompletionForKubectl(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a copy of the program there, not a script")
	}
	bin := t.TempDir()
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	call := func(args ...string) (int, string, string) {
		var out, errOut bytes.Buffer
		code := run(args, genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut})
		return code, out.String(), errOut.String()
	}
	// In the PATH of this test there may be another one.
	t.Run("not in the PATH", func(t *testing.T) {
		t.Setenv("PATH", bin)
		if code, out, errOut := call("completion", "kubectl", "--install"); code != exitFailed || out != "" || !strings.Contains(errOut, "not in the PATH") {
			t.Errorf("code %d, stdout %q, stderr %q", code, out, errOut)
		}
	})
	plugin := "#!/bin/sh\nprintf '<%s>' \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "kubectl-logstack"), []byte(plugin), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(bin, completionAlias)
	for _, before := range []string{"", "stale"} {
		if before != "" {
			if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if code, out, errOut := call("completion", "kubectl", "--install"); code != 0 || out != path+"\n" || errOut != "" {
			t.Fatalf("code %d, stdout %q, stderr %q", code, out, errOut)
		}
		out, err := exec.CommandContext(t.Context(), completionAlias, "query", "").CombinedOutput()
		if want := "<__complete><query><>"; err != nil || string(out) != want {
			t.Errorf("the script called the plugin with %s, want %s, %v", out, want, err)
		}
	}
	if _, out, _ := call("completion", "kubectl"); out != kubectlCompletion {
		t.Errorf("printed %q", out)
	}
	if code, _, errOut := call("completion", "bash", "--install"); code != exitUsage || !strings.Contains(errOut, "completion kubectl") {
		t.Errorf("code %d, stderr %q", code, errOut)
	}
	left, err := filepath.Glob(filepath.Join(bin, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}
