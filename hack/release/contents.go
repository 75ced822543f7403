package main

import (
	"bytes"
	"cmp"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

const imageName = "ghcr.io/logstack-dev/collector"

// readBuildInfo returns what the linker wrote into a binary: exactly the
// modules whose code is in it.
func readBuildInfo(binary string) (*debug.BuildInfo, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, fmt.Errorf("read the module list of %s: %w", filepath.Base(binary), err)
	}
	slices.SortFunc(info.Deps, func(a, b *debug.Module) int { return cmp.Compare(a.Path, b.Path) })
	return info, nil
}

// actual is the module that was compiled, where one replaces another.
func actual(m *debug.Module) *debug.Module {
	if m.Replace != nil {
		return m.Replace
	}
	return m
}

// writeSBOM writes a CycloneDX bill of materials. It has no serial number and
// claims the commit's time, so that equal commits give equal files.
func writeSBOM(cfg config, info *debug.BuildInfo, path string) error {
	purl := func(path, version string) string {
		return "pkg:golang/" + path + "@" + url.PathEscape(version)
	}
	root := cdx.Component{
		BOMRef: purl(info.Path, cfg.version), Type: cdx.ComponentTypeApplication,
		Name: info.Path, Version: cfg.version, PackageURL: purl(info.Path, cfg.version),
		Licenses: &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}},
	}
	components := []cdx.Component{{
		BOMRef: purl("std", info.GoVersion), Type: cdx.ComponentTypeLibrary,
		Name: "std", Version: info.GoVersion, PackageURL: purl("std", strings.TrimPrefix(info.GoVersion, "go")),
	}}
	for _, m := range info.Deps {
		m = actual(m)
		components = append(components, cdx.Component{
			BOMRef: purl(m.Path, m.Version), Type: cdx.ComponentTypeLibrary,
			Name: m.Path, Version: m.Version, PackageURL: purl(m.Path, m.Version),
			// Go's h1 sum is a hash of hashes; CycloneDX has no field for it.
			Properties: &[]cdx.Property{{Name: "go:sum", Value: m.Sum}},
		})
	}
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Timestamp: cfg.date.Format("2006-01-02T15:04:05Z"), Component: &root}
	bom.Components = &components

	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := cdx.NewBOMEncoder(f, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom); err != nil {
		f.Close()
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return f.Close()
}

// licenseFile is how modules name the file with their conditions. NOTICE files
// are part of the conditions of the Apache License, section 4(d).
var licenseFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)([.-].*)?$`)

// thirdParty collects the licences of all modules in a binary: most of them
// demand to be passed on with it.
func thirdParty(ctx context.Context, info *debug.BuildInfo) ([]byte, error) {
	dirs, err := moduleDirs(ctx)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("This program contains code of the following modules, under their own licences.\n")
	for _, m := range info.Deps {
		m = actual(m)
		dir := dirs[m.Path]
		if dir == "" {
			return nil, fmt.Errorf("module %s is in the binary but not in the module cache: go mod download", m.Path)
		}
		texts, err := licenses(dir)
		if err != nil {
			return nil, err
		}
		if len(texts) == 0 {
			return nil, fmt.Errorf("module %s has no licence file in %s: a binary with it may not be passed on", m.Path, filepath.Base(dir))
		}
		fmt.Fprintf(&b, "\n%s\n%s %s\n%[1]s\n", strings.Repeat("=", 80), m.Path, m.Version)
		for _, t := range texts {
			b.WriteByte('\n')
			b.Write(bytes.TrimSpace(t))
			b.WriteByte('\n')
		}
	}
	return b.Bytes(), nil
}

func licenses(dir string) ([][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var texts [][]byte
	for _, e := range entries {
		if e.Type().IsRegular() && licenseFile.MatchString(e.Name()) {
			data, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				return nil, err
			}
			texts = append(texts, data)
		}
	}
	return texts, nil
}

// moduleDirs maps module paths to where their sources are.
func moduleDirs(ctx context.Context) (map[string]string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-json=Path,Dir", "all")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list -m all: %w\n%s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	dirs := map[string]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var m struct{ Path, Dir string }
		if err := d.Decode(&m); err != nil {
			return nil, err
		}
		dirs[m.Path] = m.Dir
	}
	return dirs, nil
}
