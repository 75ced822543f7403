// Package binaries builds the programs of a Kubernetes control plane and node
// from their Go modules, and keeps them in a cache directory, so that only the
// first cluster of a machine pays for the compiler.
//
// A [Cache] is a directory (default: logstack-cluster/bin in the user's cache
// directory). [Cache.Build] returns the path of a program there, building it
// with `go build` when it is missing or when its key has changed. The key, kept
// beside the program as <name>.key, covers everything the result depends on:
// package, flags, Go version, platform, the module's requirements and, for
// programs of this module, their source files. A file lock per program lets
// several commands share one cache.
//
// The list of programs and their flags is [Programs]. The package does not run
// any of them.
package binaries
