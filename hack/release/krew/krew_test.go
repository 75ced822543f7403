package krew

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestValidate(t *testing.T) {
	good := func() Manifest {
		var m Manifest
		m.APIVersion, m.Kind, m.Metadata.Name = "krew.googlecontainertools.github.com/v1alpha2", "Plugin", "logstack"
		m.Spec.Version, m.Spec.ShortDescription = "v1.0.0", "Logs"
		p := Platform{URI: "https://example.org/a.tar.gz", SHA256: strings.Repeat("a", 64), Bin: "kubectl-logstack"}
		p.Selector.MatchLabels = map[string]string{"os": "linux", "arch": "amd64"}
		m.Spec.Platforms = []Platform{p}
		return m
	}
	tests := []struct {
		name, file string
		change     func(*Manifest)
		want       string
	}{
		{name: "good"},
		{name: "ending", file: "logstack.yml", want: "does not end in .yaml"},
		{name: "name", file: "other.yaml", want: "is not the file's name"},
		{name: "unsafe name", file: "a b.yaml", change: func(m *Manifest) { m.Metadata.Name = "a b" }, want: "not a safe file name"},
		{name: "device", file: "con.yaml", change: func(m *Manifest) { m.Metadata.Name = "con" }, want: "not a safe file name"},
		{name: "api", change: func(m *Manifest) { m.APIVersion = "v1" }, want: "apiVersion"},
		{name: "kind", change: func(m *Manifest) { m.Kind = "Pod" }, want: "kind"},
		{name: "version", change: func(m *Manifest) { m.Spec.Version = "1.0.0" }, want: "leading v"},
		{name: "no description", change: func(m *Manifest) { m.Spec.ShortDescription = "" }, want: "shortDescription is empty"},
		{name: "two lines", change: func(m *Manifest) { m.Spec.ShortDescription = "a\nb" }, want: "more than one line"},
		{name: "no platform", change: func(m *Manifest) { m.Spec.Platforms = nil }, want: "platforms is empty"},
		{name: "no uri", change: func(m *Manifest) { m.Spec.Platforms[0].URI = "" }, want: "[0]: uri is empty"},
		{name: "upper case", change: func(m *Manifest) { m.Spec.Platforms[0].SHA256 = strings.Repeat("A", 64) }, want: "lower-case"},
		{name: "no bin", change: func(m *Manifest) { m.Spec.Platforms[0].Bin = "" }, want: "bin is empty"},
		{name: "no selector", change: func(m *Manifest) { m.Spec.Platforms[0].Selector.MatchLabels = nil }, want: "selector is empty"},
		{name: "label", change: func(m *Manifest) { m.Spec.Platforms[0].Selector.MatchLabels["cpu"] = "x" }, want: `label "cpu"`},
		{name: "unknown os", change: func(m *Manifest) { m.Spec.Platforms[0].Selector.MatchLabels["os"] = "plan9" }, want: "no platform that Krew supports"},
		{name: "twice", change: func(m *Manifest) { m.Spec.Platforms = append(m.Spec.Platforms, m.Spec.Platforms[0]) }, want: "[0], [1] all match linux/amd64"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := good()
			if tt.change != nil {
				tt.change(&m)
			}
			file := tt.file
			if file == "" {
				file = "logstack.yaml"
			}
			checkError(t, m.Validate(file), tt.want)
		})
	}
}

func checkError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want != "" && err == nil:
		t.Errorf("accepted, want an error with %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("error %q, want one with %q", err, want)
	}
}

// packed is an archive of empty files, and the manifest of a plugin that is in it.
func packed(t *testing.T, version, ending string, names ...string) (Manifest, string) {
	t.Helper()
	var buf bytes.Buffer
	if ending == ".zip" {
		z := zip.NewWriter(&buf)
		for _, n := range names {
			if _, err := z.Create(n); err != nil {
				t.Fatal(err)
			}
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	} else {
		g := gzip.NewWriter(&buf)
		w := tar.NewWriter(g)
		for _, n := range names {
			h := &tar.Header{Typeflag: tar.TypeReg, Name: n, Mode: 0o755}
			if target, isLink := strings.CutPrefix(n, "link:"); isLink {
				h.Typeflag, h.Name, h.Linkname = tar.TypeSymlink, "link", target
			}
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "a"+ending)
	if err := os.WriteFile(file, buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	var m Manifest
	m.APIVersion, m.Kind, m.Metadata.Name = "krew.googlecontainertools.github.com/v1alpha2", "Plugin", "log-stack"
	m.Spec.Version, m.Spec.ShortDescription = version, "Logs"
	p := Platform{URI: "https://example.org/a" + ending, SHA256: fmt.Sprintf("%x", sha256.Sum256(buf.Bytes())), Bin: "program"}
	p.Selector.MatchLabels = map[string]string{"os": "linux"}
	m.Spec.Platforms = []Platform{p}
	return m, file
}

func TestInstall(t *testing.T) {
	for _, tt := range []struct {
		name, goos, ending string
		files              []string
		change             func(*Manifest)
		want               string
	}{
		{name: "good", files: []string{"program", "LICENSE"}},
		{name: "zip", ending: ".zip", files: []string{"program", "doc/COPYING"}},
		{name: "other machine", goos: "windows", files: []string{"program", "LICENSE"}, want: "no archive for windows/amd64"},
		{name: "digest", files: []string{"program", "LICENSE"}, change: func(m *Manifest) { m.Spec.Platforms[0].SHA256 = strings.Repeat("a", 64) }, want: "the manifest says aaaa"},
		{name: "no program", files: []string{"LICENSE"}, want: "bin program is not among"},
		{name: "no licence", files: []string{"program"}, want: "no licence"},
		{name: "leads out", files: []string{"program", "LICENSE", "../x"}, want: `"../x" leads out`},
		{name: "absolute", ending: ".zip", files: []string{"program", "LICENSE", "/etc/x"}, want: "leads out"},
		{name: "link", files: []string{"program", "LICENSE", "link:/etc"}, want: "neither a file nor"},
		{name: "bad manifest", files: []string{"program", "LICENSE"}, change: func(m *Manifest) { m.Spec.Version = "1" }, want: "leading v"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ending, goos := tt.ending, tt.goos
			if ending == "" {
				ending = ".tar.gz"
			}
			if goos == "" {
				goos = "linux"
			}
			m, file := packed(t, "v1.0.0", ending, tt.files...)
			if tt.change != nil {
				tt.change(&m)
			}
			_, err := Root(t.TempDir()).Install(m, file, goos, "amd64")
			checkError(t, err, tt.want)
		})
	}
}

// TestUpgradeAndUninstall sees one version on disk at a time, and in the end none.
func TestUpgradeAndUninstall(t *testing.T) {
	root := Root(t.TempDir())
	for _, version := range []string{"v1.0.0", "v1.1.0"} {
		m, file := packed(t, version, ".tar.gz", "program", "LICENSE")
		link, err := root.Install(m, file, "linux", "amd64")
		if err != nil {
			t.Fatal(err)
		}
		if want := filepath.Join(root.Bin(), "kubectl-log_stack"); link != want {
			t.Errorf("link %s, want %s", link, want)
		}
		if target, err := os.Readlink(link); err != nil || target != filepath.Join(string(root), "store", "log-stack", version, "program") {
			t.Errorf("%s leads to %s, %v", link, target, err)
		}
		versions, err := filepath.Glob(filepath.Join(string(root), "store", "log-stack", "*"))
		if err != nil || len(versions) != 1 {
			t.Errorf("versions on disk: %v, %v", versions, err)
		}
	}
	if err := root.Uninstall("log-stack", "linux"); err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, pattern := range []string{"bin/*", "store/*", "receipts/*"} {
		found, err := filepath.Glob(filepath.Join(string(root), pattern))
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, found...)
	}
	if diff := cmp.Diff([]string(nil), left); diff != "" {
		t.Errorf("left behind:\n%s", diff)
	}
}
