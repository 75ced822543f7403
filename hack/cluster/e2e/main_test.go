package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/binaries"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig"

	"go.uber.org/goleak"
)

var (
	// shared is the rig of all tests.
	shared *rig.Rig
	// collectorBinary is built once from the working tree.
	collectorBinary string
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "logstack-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	collectorBinary = filepath.Join(dir, "collector")
	if err := errors.Join(buildCollector(ctx), startRig(ctx, dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// Scenes mostly wait, each on a node and with a collector of its own.
	if err := flag.Set("test.parallel", "4"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if err := errors.Join(shared.Stop(), goleak.Find()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// buildCollector builds the binary, unless E2E_COLLECTOR names one.
func buildCollector(ctx context.Context) error {
	if path := os.Getenv("E2E_COLLECTOR"); path != "" {
		collectorBinary = path
		return nil
	}
	module, err := binaries.FindModule()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", collectorBinary, "./cmd/collector")
	cmd.Dir = filepath.Join(module, "..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the collector: %w\n%s", err, out)
	}
	return nil
}

func startRig(ctx context.Context, dir string) (err error) {
	args, err := auditArgs(dir)
	if err != nil {
		return err
	}
	shared, err = rig.Start(ctx, rig.Options{Dir: filepath.Join(dir, "rig"), Log: os.Stderr, APIServerArgs: args})
	return err
}
