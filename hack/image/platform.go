package main

import (
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// platform is one GOOS/GOARCH with its OCI name.
type platform struct {
	oci v1.Platform
	// env is what `go build` needs beyond GOOS and GOARCH.
	env []string
}

// supported lists every platform this command builds for: where clusters run.
var supported = []platform{
	{oci: v1.Platform{OS: "linux", Architecture: "amd64"}},
	{oci: v1.Platform{OS: "linux", Architecture: "arm64"}},
	{oci: v1.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}, env: []string{"GOARM=7"}},
}

func parsePlatforms(list string) ([]platform, error) {
	var chosen []platform
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(supported, func(p platform) bool { return p.oci.String() == strings.TrimSpace(name) })
		if i < 0 {
			var names []string
			for _, p := range supported {
				names = append(names, p.oci.String())
			}
			return nil, fmt.Errorf("-platforms: unknown platform %q, have %s", name, strings.Join(names, ", "))
		}
		if slices.ContainsFunc(chosen, func(p platform) bool { return p.oci.Equals(supported[i].oci) }) {
			return nil, fmt.Errorf("-platforms: %s is named twice", name)
		}
		chosen = append(chosen, supported[i])
	}
	return chosen, nil
}

func (p platform) String() string { return p.oci.String() }
