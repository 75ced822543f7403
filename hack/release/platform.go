package main

import (
	"fmt"
	"slices"
	"strings"
)

// platform is one GOOS/GOARCH that the plugin is released for. Its names are
// those of Go and of Krew's selectors, which are the same.
type platform struct {
	os, arch string
	// arm is GOARM; 7 is what every 32-bit Raspberry Pi since the second has.
	arm string
}

var platforms = []platform{
	{os: "darwin", arch: "amd64"},
	{os: "darwin", arch: "arm64"},
	{os: "linux", arch: "amd64"},
	{os: "linux", arch: "arm", arm: "7"},
	{os: "linux", arch: "arm64"},
	{os: "windows", arch: "amd64"},
	{os: "windows", arch: "arm64"},
}

func (p platform) String() string { return p.os + "/" + p.arch }

// base is the name of the platform's files without their ending.
func (p platform) base() string { return "kubectl-logstack_" + p.os + "_" + p.arch }

// archive is what people of the platform can unpack without more.
func (p platform) archive() string {
	if p.os == "windows" {
		return p.base() + ".zip"
	}
	return p.base() + ".tar.gz"
}

func (p platform) binary() string {
	if p.os == "windows" {
		return "kubectl-logstack.exe"
	}
	return "kubectl-logstack"
}

func allPlatforms() string {
	var names []string
	for _, p := range platforms {
		names = append(names, p.String())
	}
	return strings.Join(names, ",")
}

func parsePlatforms(list string) ([]platform, error) {
	var chosen []platform
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		i := slices.IndexFunc(platforms, func(p platform) bool { return p.String() == name })
		if i < 0 {
			return nil, fmt.Errorf("-platforms: unknown platform %q, have %s", name, allPlatforms())
		}
		if slices.Contains(chosen, platforms[i]) {
			return nil, fmt.Errorf("-platforms: %s is named twice", name)
		}
		chosen = append(chosen, platforms[i])
	}
	return chosen, nil
}
