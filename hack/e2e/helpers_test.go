package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Images that hack/e2e.sh has loaded into the node.
const (
	collectorImage = "ghcr.io/logstack-dev/collector:e2e"
	loggenImage    = "logstack.dev/loggen:dev"
)

func TestMain(m *testing.M) {
	if os.Getenv("LOGSTACK_E2E_PLUGIN") == "" {
		// `go test ./...` of the packages: hack/test.sh says which parts ran.
		os.Stdout.WriteString("the real cluster's tests run by make test-cluster\n")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

type result struct {
	stdout, stderr string
	code           int
}

func execute(ctx context.Context, t *testing.T, stdin, name string, args ...string) result {
	t.Helper()
	cmd := exec.CommandContext(ctx, name, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.Stdin = strings.NewReader(stdin)
	err := cmd.Run()
	r := result{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
	if err != nil && r.code < 0 {
		t.Fatalf("%s %q: %v\n%s", name, args, err, r.stderr)
	}
	return r
}

// plugin runs kubectl-logstack and returns what it said.
func plugin(t *testing.T, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	return execute(ctx, t, "", os.Getenv("LOGSTACK_E2E_PLUGIN"), args...)
}

// mustPlugin fails the test unless the command succeeds.
func mustPlugin(t *testing.T, args ...string) result {
	t.Helper()
	r := plugin(t, args...)
	if r.code != 0 {
		t.Fatalf("kubectl logstack %q: exit code %d\nstdout:\n%s\nstderr:\n%s", args, r.code, r.stdout, r.stderr)
	}
	return r
}

func mustKubectl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	name := os.Getenv("LOGSTACK_E2E_KUBECTL")
	if name == "" {
		name = "kubectl"
	}
	r := execute(ctx, t, stdin, name, args...)
	if r.code != 0 {
		t.Fatalf("kubectl %q: exit code %d\n%s%s", args, r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// eventually polls until f says that it holds; f returns what is missing.
func eventually(t *testing.T, timeout time.Duration, f func() (missing string)) {
	t.Helper()
	deadline := time.Now().Add(timeout)
	for {
		missing := f()
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: %s", timeout, missing)
		}
		<-time.After(500 * time.Millisecond)
	}
}
