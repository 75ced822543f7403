package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// releaseStartupPages unmaps the code and constants of our own binary that were
// touched so far. Most of them are needed once: what packages do before main
// walks over some 20 MB of the file. What is still in use comes back from the
// page cache at its next use; the mappings are read-only views of the file, so
// nothing can be lost.
func releaseStartupPages() error {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer maps.Close() //nolint:errcheck // only read
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		var from, to uintptr
		var perms string
		line := lines.Text()
		if !strings.HasSuffix(line, exe) {
			continue
		}
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &perms); err != nil {
			return fmt.Errorf("reading /proc/self/maps: %w", err)
		}
		if strings.Contains(perms, "w") {
			continue
		}
		if err := madvise(from, to-from, unix.MADV_DONTNEED); err != nil {
			return fmt.Errorf("giving back %s: %w", line, err)
		}
	}
	return lines.Err()
}

// madvise is unix.Madvise for a range that is no slice of ours.
func madvise(from, length uintptr, advice int) error {
	if _, _, errno := unix.Syscall(unix.SYS_MADVISE, from, length, uintptr(advice)); errno != 0 {
		return errno
	}
	return nil
}
