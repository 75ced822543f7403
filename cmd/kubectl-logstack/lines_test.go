package main

import (
	"bytes"
	"strings"
	"syscall"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// fullDisk refuses what comes after its first bytes.
type fullDisk struct{ room int }

func (d *fullDisk) Write(p []byte) (int, error) {
	n := min(len(p), d.room)
	d.room -= n
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

// An export that cannot be written does not say where to go on: lines were
// counted that never left the buffer.
func TestExportToFullDisk(t *testing.T) {
	addr := startCollector(t)
	var errOut bytes.Buffer
	args := []string{"query", `{namespace="shop"}`, "--limit", "0", "-o", "jsonl", "--from", "2026-03-05T12:00:00Z", "--to", "2026-03-05T12:01:00Z", "--addr", addr}
	code := run(args, genericiooptions.IOStreams{In: strings.NewReader(""), Out: &fullDisk{100}, ErrOut: &errOut})
	if code != exitFailed || !strings.Contains(errOut.String(), syscall.ENOSPC.Error()) || strings.Contains(errOut.String(), "go on with") {
		t.Errorf("exit code %d, %s", code, &errOut)
	}
}
