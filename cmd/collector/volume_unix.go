//go:build linux || darwin

package main

import "golang.org/x/sys/unix"

// freeBytes is what a process without privileges may still write on the volume
// of a directory, -1 if that is not known.
func freeBytes(dir string) int64 {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return -1
	}
	return int64(s.Bavail) * int64(s.Bsize) //nolint:unconvert // 32 bits on Darwin
}
