package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"sigs.k8s.io/yaml"

	"github.com/logstack-dev/kubectl-logstack/hack/release/krew"
)

// manifestTemplate is read by the release bot of Krew's index, too, which
// knows the same two names and looks for it there: https://github.com/rajatjindal/krew-release-bot.
const manifestTemplate = ".krew.yaml"

// writeManifest fills the template with the digests of the archives that were
// built. A platform that was left out keeps no entry.
func writeManifest(cfg config, digests map[platform]string) (krew.Manifest, error) {
	var m krew.Manifest
	text, err := os.ReadFile(manifestTemplate)
	if err != nil {
		return m, err
	}
	filled, err := fill(string(text), cfg.version, digests)
	if err != nil {
		return m, fmt.Errorf("%s: %w", manifestTemplate, err)
	}
	if m, err = krew.Parse(filled); err != nil {
		return m, fmt.Errorf("%s: %w", manifestTemplate, err)
	}
	if len(digests) < len(platforms) {
		m.Spec.Platforms = slices.DeleteFunc(m.Spec.Platforms, func(p krew.Platform) bool { return p.SHA256 == notBuilt })
		if filled, err = yaml.Marshal(m); err != nil {
			return m, err
		}
	}
	if err := m.Validate(manifestName); err != nil {
		return m, fmt.Errorf("%s: %w", manifestTemplate, err)
	}
	return m, os.WriteFile(filepath.Join(cfg.output, manifestName), filled, 0o644)
}

// manifestName is what the name of the plugin demands.
const manifestName = "logstack.yaml"

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
