package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"golang.org/x/mod/semver"
	"sigs.k8s.io/yaml"
)

// manifestTemplate is read by the release bot of Krew's index, too, which
// knows the same two names: https://github.com/rajatjindal/krew-release-bot.
const manifestTemplate = "krew/.krew.yaml"

// manifest is a Krew plugin, as far as this command looks at it.
type manifest struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Version          string             `json:"version"`
		ShortDescription string             `json:"shortDescription"`
		Description      string             `json:"description"`
		Caveats          string             `json:"caveats"`
		Homepage         string             `json:"homepage"`
		Platforms        []manifestPlatform `json:"platforms"`
	} `json:"spec"`
}

type manifestPlatform struct {
	URI      string `json:"uri"`
	SHA256   string `json:"sha256"`
	Bin      string `json:"bin"`
	Selector struct {
		MatchLabels map[string]string `json:"matchLabels"`
	} `json:"selector"`
	Files []struct {
		From string `json:"from"`
		To   string `json:"to"`
	} `json:"files,omitempty"`
}

// writeManifest fills the template with the digests of the archives that were
// built. A platform that was left out keeps no entry.
func writeManifest(cfg config, digests map[platform]string) error {
	text, err := os.ReadFile(manifestTemplate)
	if err != nil {
		return err
	}
	filled, err := fill(string(text), cfg.version, digests)
	if err != nil {
		return fmt.Errorf("%s: %w", manifestTemplate, err)
	}
	var m manifest
	if err := yaml.UnmarshalStrict(filled, &m); err != nil {
		return fmt.Errorf("%s: %w", manifestTemplate, err)
	}
	if len(digests) < len(platforms) {
		m.Spec.Platforms = slices.DeleteFunc(m.Spec.Platforms, func(p manifestPlatform) bool { return p.SHA256 == notBuilt })
		if filled, err = yaml.Marshal(m); err != nil {
			return err
		}
	}
	const name = "logstack.yaml"
	if err := validate(name, m); err != nil {
		return fmt.Errorf("%s: %w", manifestTemplate, err)
	}
	return os.WriteFile(filepath.Join(cfg.output, name), filled, 0o644)
}

// notBuilt stands for the digest of an archive that this run did not build.
const notBuilt = "not built"

func fill(text, tag string, digests map[platform]string) ([]byte, error) {
	var data struct{ TagName string }
	data.TagName = tag
	add := func(uri, tag string) (string, error) {
		t, err := template.New("uri").Parse(uri)
		if err != nil {
			return "", err
		}
		var b strings.Builder
		if err := t.Execute(&b, struct{ TagName string }{tag}); err != nil {
			return "", err
		}
		i := slices.IndexFunc(platforms, func(p platform) bool { return strings.HasSuffix(b.String(), "/"+p.archive()) })
		if i < 0 {
			return "", fmt.Errorf("%s is no archive of a release", b.String())
		}
		sum := digests[platforms[i]]
		if sum == "" {
			sum = notBuilt
		}
		// The bot indents the second line so: the template relies on it.
		return fmt.Sprintf("uri: %s\n      sha256: %s", b.String(), sum), nil
	}
	t, err := template.New("krew").Funcs(template.FuncMap{"addURIAndSha": add}).Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, data)
	return b.Bytes(), err
}

// What Krew's validation demands of a manifest (internal/index/validation and
// cmd/validate-krew-manifest of kubernetes-sigs/krew v0.4).
var (
	pluginName = regexp.MustCompile(`^[\w-]+$`)
	digestForm = regexp.MustCompile(`^[a-f0-9]{64}$`)
	// windowsDevices cannot be file names on Windows.
	windowsDevices = regexp.MustCompile(`(?i)^(con|prn|aux|nul|com[0-9]|lpt[0-9])$`)
	// krewPlatforms are the pairs that the index's check tries.
	krewPlatforms = []platform{
		{os: "windows", arch: "386"}, {os: "windows", arch: "amd64"}, {os: "windows", arch: "arm64"},
		{os: "linux", arch: "386"}, {os: "linux", arch: "amd64"}, {os: "linux", arch: "arm"}, {os: "linux", arch: "arm64"},
		{os: "linux", arch: "ppc64le"}, {os: "linux", arch: "s390x"},
		{os: "darwin", arch: "386"}, {os: "darwin", arch: "amd64"}, {os: "darwin", arch: "arm64"},
	}
)

// validate reports everything for which Krew or its index would refuse the
// manifest.
func validate(fileName string, m manifest) error {
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
	if !pluginName.MatchString(m.Metadata.Name) || windowsDevices.MatchString(m.Metadata.Name) {
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
		errs = append(errs, validatePlatform(i, p)...)
	}
	errs = append(errs, validateSelectors(m.Spec.Platforms)...)
	return errors.Join(errs...)
}

func validatePlatform(i int, p manifestPlatform) (errs []error) {
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
func validateSelectors(entries []manifestPlatform) (errs []error) {
	matched := make([]int, len(entries))
	for _, p := range krewPlatforms {
		var hits []string
		for i, e := range entries {
			l := e.Selector.MatchLabels
			if (l["os"] == "" || l["os"] == p.os) && (l["arch"] == "" || l["arch"] == p.arch) {
				matched[i]++
				hits = append(hits, fmt.Sprintf("[%d]", i))
			}
		}
		if len(hits) > 1 {
			errs = append(errs, fmt.Errorf("spec.platforms%s all match %s", strings.Join(hits, ", "), p))
		}
	}
	for i, n := range matched {
		if n == 0 {
			errs = append(errs, fmt.Errorf("spec.platforms[%d]: the selector matches no platform that Krew supports", i))
		}
	}
	return errs
}
