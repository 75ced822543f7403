//go:build !linux

package proc

import (
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// attributes puts a process into a session of its own. Dying with the parent is
// a feature of Linux.
func attributes(bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// startOf identifies the process that has pid now by its start time, as ps(1)
// prints it with a resolution of one second.
func startOf(pid int) (string, error) {
	out, err := exec.Command("ps", "-o", "state=,lstart=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return "", fmt.Errorf("no process %d: %w", pid, err)
	}
	state, started, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if started == "" || strings.HasPrefix(state, "Z") {
		return "", errors.New("process has ended")
	}
	return strings.TrimSpace(started), nil
}
