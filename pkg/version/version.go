// Package version tells which build this is. The variables are stamped by the
// linker (-X); a plain `go build` leaves the defaults.
package version

import (
	"fmt"
	"runtime"
)

// Version is the release ("v0.1.0") or "dev"; Commit the abbreviated git
// commit or "unknown". They are never written at run time.
var (
	Version = "dev"
	Commit  = "unknown"
)

// Image is the container image of the collector, without a tag.
const Image = "ghcr.io/logstack-dev/collector"

// StoreFormat is the newest format of the collector's data directory that this
// version reads and may write: store.FormatVersion, for programs that do not
// link the store. A test of cmd/collector compares the two.
const StoreFormat = 2

// String is the one-line form that both binaries print.
func String() string {
	return fmt.Sprintf("%s (commit %s, %s %s/%s)", Version, Commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
