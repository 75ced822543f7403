// Package vfs is the filesystem seam of the store: everything that the store
// writes itself (blocks, manifest) goes through an FS, so that a test can stop
// the world at any write and look at the disk as a power cut would leave it.
//
// Three implementations:
//
//   - OS is the real filesystem;
//   - Mem keeps files in memory and knows which bytes and which directory
//     entries have been synced: CrashClone returns the disk after a power cut;
//   - Fault wraps another FS and fails, or calls back, at chosen operations
//     (by kind, path and how many times it has matched).
//
// The write-ahead log does not use this package: Prometheus's wlog writes to
// the operating system's files directly.
package vfs
