package proc

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// attributes puts a process into a session of its own.
func attributes(dieWithParent bool) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true}
	if dieWithParent {
		attr.Pdeathsig = syscall.SIGKILL
	}
	return attr
}

// errZombie marks a process that has ended and waits for its parent.
var errZombie = errors.New("process has ended")

// startOf identifies the process that has pid now: the boot's id and the start
// time in clock ticks since boot (proc(5), /proc/pid/stat field 22).
func startOf(pid int) (string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The command, field 2, may hold spaces and parentheses: count after the last ")".
	_, rest, ok := cutLast(string(data), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return "", fmt.Errorf("/proc/%d/stat: unexpected form %q", pid, data)
	}
	if state := fields[0]; state == "Z" || state == "X" {
		return "", errZombie
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(boot)) + "/" + fields[19], nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
