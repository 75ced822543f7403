package krew

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"golang.org/x/mod/semver"
	"sigs.k8s.io/yaml"
)

// Manifest is a plugin as an index describes it.
type Manifest struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Version          string     `json:"version"`
		ShortDescription string     `json:"shortDescription"`
		Description      string     `json:"description"`
		Caveats          string     `json:"caveats"`
		Homepage         string     `json:"homepage"`
		Platforms        []Platform `json:"platforms"`
	} `json:"spec"`
}

// Platform is an archive and the machines that it is for.
type Platform struct {
	URI      string `json:"uri"`
	SHA256   string `json:"sha256"`
	Bin      string `json:"bin"`
	Selector struct {
		MatchLabels map[string]string `json:"matchLabels"`
	} `json:"selector"`
	// Files nil is all files of the archive.
	Files []File `json:"files,omitempty"`
}

// File says which files of the archive are installed where.
type File struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Archive is the file name of the archive.
func (p Platform) Archive() string { return p.URI[strings.LastIndexByte(p.URI, '/')+1:] }

func (p Platform) matches(m machine) bool {
	l := p.Selector.MatchLabels
	return (l["os"] == "" || l["os"] == m.os) && (l["arch"] == "" || l["arch"] == m.arch)
}

// Parse reads a manifest. An unknown key is an error.
func Parse(data []byte) (Manifest, error) {
	var m Manifest
	if err := yaml.UnmarshalStrict(data, &m); err != nil {
		return m, fmt.Errorf("krew manifest: %w", err)
	}
	return m, nil
}

type machine struct{ os, arch string }

var (
	nameForm   = regexp.MustCompile(`^[\w-]+$`)
	digestForm = regexp.MustCompile(`^[a-f0-9]{64}$`)
	// windowsDevices cannot be file names on Windows.
	windowsDevices = regexp.MustCompile(`(?i)^(con|prn|aux|nul|com[0-9]|lpt[0-9])$`)
	// machines are the pairs that the index's check tries.
	machines = []machine{
		{"windows", "386"}, {"windows", "amd64"}, {"windows", "arm64"},
		{"linux", "386"}, {"linux", "amd64"}, {"linux", "arm"}, {"linux", "arm64"},
		{"linux", "ppc64le"},
		{"darwin", "386"}, {"darwin", "amd64"}, {"darwin", "arm64"},
	}
)

// Validate reports everything for which Krew or its index would refuse the
// manifest in a file of that name.
func (m Manifest) Validate(fileName string) error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	name, isYAML := strings.CutSuffix(fileName, ".yaml")
	if !isYAML {
		fail("file name %q does not end in .yaml", fileName)
	}
	if m.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" {
		fail("apiVersion %q is not krew.googlecontainertools.github.com/v1alpha2", m.APIVersion)
	}
	if m.Kind != "Plugin" {
		fail("kind %q is not Plugin", m.Kind)
	}
	if m.Metadata.Name != name {
		fail("metadata.name %q is not the file's name %q", m.Metadata.Name, name)
	}
	if !nameForm.MatchString(m.Metadata.Name) || windowsDevices.MatchString(m.Metadata.Name) {
		fail("metadata.name %q is not a safe file name", m.Metadata.Name)
	}
	if s := m.Spec; s.ShortDescription == "" {
		fail("spec.shortDescription is empty")
	} else if strings.ContainsAny(s.ShortDescription, "\r\n") {
		fail("spec.shortDescription has more than one line")
	}
	if !semver.IsValid(m.Spec.Version) {
		fail("spec.version %q is not a semantic version with a leading v", m.Spec.Version)
	}
	if len(m.Spec.Platforms) == 0 {
		fail("spec.platforms is empty")
	}
	for i, p := range m.Spec.Platforms {
		errs = append(errs, p.validate(i)...)
	}
	errs = append(errs, validateSelectors(m.Spec.Platforms)...)
	return errors.Join(errs...)
}

func (p Platform) validate(i int) (errs []error) {
	fail := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("spec.platforms[%d]: "+format, append([]any{i}, args...)...))
	}
	if p.URI == "" {
		fail("uri is empty")
	}
	if !digestForm.MatchString(p.SHA256) {
		fail("sha256 %q is not 64 lower-case hexadecimal digits", p.SHA256)
	}
	if p.Bin == "" {
		fail("bin is empty")
	}
	if p.Files != nil && len(p.Files) == 0 {
		fail("files is there but empty: leave it out for all files")
	}
	for _, f := range p.Files {
		if f.From == "" || f.To == "" {
			fail("files: from and to must both be given")
		}
	}
	if len(p.Selector.MatchLabels) == 0 {
		fail("selector is empty")
	}
	for k := range p.Selector.MatchLabels {
		if k != "os" && k != "arch" {
			fail("selector: label %q is not os or arch", k)
		}
	}
	return errs
}

// validateSelectors finds platforms that no machine, or that two entries match.
func validateSelectors(entries []Platform) (errs []error) {
	matched := make([]int, len(entries))
	for _, m := range machines {
		var hits []string
		for i, e := range entries {
			if e.matches(m) {
				matched[i]++
				hits = append(hits, fmt.Sprintf("[%d]", i))
			}
		}
		if len(hits) > 1 {
			errs = append(errs, fmt.Errorf("spec.platforms%s all match %s/%s", strings.Join(hits, ", "), m.os, m.arch))
		}
	}
	for i, n := range matched {
		if n == 0 {
			errs = append(errs, fmt.Errorf("spec.platforms[%d]: the selector matches no platform that Krew supports", i))
		}
	}
	return errs
}
