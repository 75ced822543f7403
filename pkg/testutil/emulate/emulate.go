// Package emulate lets a test start its own binary also where the kernel cannot
// run it: under the user emulation of qemu, which hack/qemu.sh names in
// LOGSTACK_EMULATOR.
package emulate

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Variable names the emulator. Without it programs are started as they are.
const Variable = "LOGSTACK_EMULATOR"

// Command is exec.Command of the program in the file exe, which sees name as its
// own.
func Command(name, exe string, args ...string) *exec.Cmd {
	if emulator := os.Getenv(Variable); emulator != "" {
		return exec.Command(emulator, append([]string{"-0", name, exe}, args...)...) //nolint:noctx // tests end what they start
	}
	cmd := exec.Command(exe, args...) //nolint:noctx // tests end what they start
	cmd.Args[0] = name
	return cmd
}

// Path returns a value for PATH with which the program of that name starts, given
// the present value. It is for scripts, which start it by its name.
func Path(t testing.TB, name, path string) string {
	emulator := os.Getenv(Variable)
	if emulator == "" {
		return path
	}
	t.Helper()
	exe, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nexec %s -0 %s '%s' \"$@\"\n", emulator, name, exe)
	if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir + string(os.PathListSeparator) + path
}
