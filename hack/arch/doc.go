// Package arch holds the map of the house as tests: who may import whom, which
// modules each binary links, that every package introduces itself, and a few
// patterns that have a better alternative here. It exports nothing.
//
// The import policy is written as floors (as go/build/deps_test.go does): a
// package may import packages of lower floors only. The module list of each
// binary is a checked-in file (cmd/NAME/modules.txt), so that a new dependency
// is a visible diff; `go test ./hack/arch -update` rewrites it.
package arch
