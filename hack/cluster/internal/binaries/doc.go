// Package binaries builds the programs of a Kubernetes control plane and node
// from their Go modules, and keeps them in a cache directory, so that only the
// first cluster of a machine pays for the compiler.
//
// A [Cache] is a directory (default: logstack-cluster/bin in the user's cache
// directory). [Cache.Build] returns the path of a program there, building it
// with `go build` when it is missing or out of date. The key beside it, <name>.key,
// covers package, flags, Go version, platform and, for programs of this module,
// their source files; the versions of the modules are read from the program
// itself and compared with go.mod. A file lock per program lets several commands
// share one cache.
//
// The list of programs and their flags is [Programs]. The package does not run
// any of them.
package binaries
