package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

var date = time.Date(2026, 5, 4, 3, 2, 2, 0, time.UTC)

func host(t *testing.T) platform {
	for _, p := range platforms {
		if p.os == runtime.GOOS && p.arch == runtime.GOARCH {
			return p
		}
	}
	t.Skipf("the plugin is not released for %s/%s", runtime.GOOS, runtime.GOARCH)
	return platform{}
}

// atRoot runs the test in the repository's root, as the command is run.
func atRoot(t *testing.T) { t.Chdir(filepath.Join("..", "..")) }

// TestInstalledAsKrewDoes builds the release of this machine's platform twice,
// compares both, and installs one of them as Krew installs a plugin: digest
// compared, archive unpacked into the store, binary linked under its name, and
// called by kubectl's rule, kubectl-logstack on the PATH.
func TestInstalledAsKrewDoes(t *testing.T) {
	if testing.Short() {
		t.Skip("links the plugin twice")
	}
	p := host(t)
	atRoot(t)
	dirs := [2]string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")}
	for _, dir := range dirs {
		t.Setenv("SOURCE_DATE_EPOCH", "1770000000")
		var log bytes.Buffer
		args := []string{"-o", dir, "-version", "v0.1.0-rc.1", "-commit", "0123456789ab", "-platforms", p.String(), "-image=false"}
		if err := run(t.Context(), args, &log); err != nil {
			t.Fatalf("%v\n%s", err, log.String())
		}
	}
	first, second := read(t, dirs[0]), read(t, dirs[1])
	for name := range first {
		if !bytes.Equal(first[name], second[name]) {
			t.Errorf("%s differs between two builds of one commit", name)
		}
	}
	want := []string{"checksums.txt", p.archive(), p.base() + ".cdx.json", "logstack.yaml"}
	if len(first) != len(want) {
		t.Errorf("the release has %d files, want %v", len(first), want)
	}

	var m manifest
	if err := yaml.UnmarshalStrict(first["logstack.yaml"], &m); err != nil {
		t.Fatal(err)
	}
	if len(m.Spec.Platforms) != 1 {
		t.Fatalf("%d platforms in the manifest, one was built", len(m.Spec.Platforms))
	}
	entry := m.Spec.Platforms[0]
	archive := first[entry.URI[strings.LastIndex(entry.URI, "/")+1:]]
	if sum := sha256.Sum256(archive); hex.EncodeToString(sum[:]) != entry.SHA256 {
		t.Fatalf("the manifest's digest %s is not that of the archive", entry.SHA256)
	}
	krew := t.TempDir()
	store := filepath.Join(krew, "store", m.Metadata.Name, m.Spec.Version)
	files := unpack(t, entry.URI, archive, store)
	if diff := cmp.Diff([]string{"LICENSE", "THIRD_PARTY_LICENSES", entry.Bin}, files); diff != "" {
		t.Errorf("files of the archive (-want +got):\n%s", diff)
	}
	bin := filepath.Join(krew, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(bin, "kubectl-"+strings.ReplaceAll(m.Metadata.Name, "-", "_"))
	if err := os.Symlink(filepath.Join(store, entry.Bin), link); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), link, "version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "v0.1.0-rc.1 (commit 0123456789ab") {
		t.Errorf("the installed plugin said %q, %v", out, err)
	}
	if !bytes.Contains(first["checksums.txt"], []byte(entry.SHA256+"  "+p.archive())) {
		t.Errorf("checksums.txt lacks the archive:\n%s", first["checksums.txt"])
	}
	checkSBOM(t, first[p.base()+".cdx.json"])
}

func checkSBOM(t *testing.T, data []byte) {
	t.Helper()
	var bom struct {
		BOMFormat string
		Metadata  struct {
			Component struct{ Name, Version string }
		}
		Components []struct{ Name, Version, Purl string }
	}
	if err := json.Unmarshal(data, &bom); err != nil {
		t.Fatal(err)
	}
	if bom.BOMFormat != "CycloneDX" || bom.Metadata.Component.Version != "v0.1.0-rc.1" {
		t.Errorf("bill of materials is a %q of version %q", bom.BOMFormat, bom.Metadata.Component.Version)
	}
	for _, c := range bom.Components {
		if c.Name == "k8s.io/client-go" && c.Purl == "pkg:golang/k8s.io/client-go@"+c.Version {
			return
		}
	}
	t.Error("the bill of materials does not list k8s.io/client-go")
}

func read(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// unpack writes the files of an archive into dir and returns their names.
func unpack(t *testing.T, name string, archive []byte, dir string) []string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var names []string
	add := func(name string, mode os.FileMode, r io.Reader) {
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, mode); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if strings.HasSuffix(name, ".zip") {
		z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range z.File {
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			add(f.Name, f.Mode(), r)
		}
		return names
	}
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		add(h.Name, h.FileInfo().Mode(), r)
	}
}

func TestArchives(t *testing.T) {
	members := []member{{"LICENSE", 0o644, []byte("text")}, {"tool", 0o755, bytes.Repeat([]byte("x"), 1<<16)}}
	for _, name := range []string{"a.tar.gz", "a.zip"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, name)
			sum, err := writeArchive(path, date, members)
			if err != nil {
				t.Fatal(err)
			}
			again, err := writeArchive(filepath.Join(dir, "again-"+name), date, members)
			if err != nil {
				t.Fatal(err)
			}
			if sum != again {
				t.Errorf("equal members gave %s and %s", sum, again)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(dir, "out")
			unpack(t, name, data, out)
			for _, m := range members {
				info, err := os.Stat(filepath.Join(out, m.name))
				if err != nil || info.Size() != int64(len(m.data)) || info.Mode().Perm() != os.FileMode(m.mode) {
					t.Errorf("%s: %v, %v", m.name, info, err)
				}
			}
		})
	}
}

// TestTemplate fills the manifest for all platforms.
func TestTemplate(t *testing.T) {
	atRoot(t)
	digests := map[platform]string{}
	for i, p := range platforms {
		digests[p] = strings.Repeat("f"+strconv.Itoa(i), 32)
	}
	cfg := config{output: t.TempDir(), version: "v1.2.3"}
	if err := writeManifest(cfg, digests); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(cfg.output, "logstack.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var m manifest
	if err := yaml.UnmarshalStrict(data, &m); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, p := range m.Spec.Platforms {
		if !strings.HasPrefix(p.URI, "https://github.com/logstack-dev/kubectl-logstack/releases/download/v1.2.3/") {
			t.Errorf("uri %s", p.URI)
		}
		got[p.Selector.MatchLabels["os"]+"/"+p.Selector.MatchLabels["arch"]] = p.SHA256 + " " + p.Bin
	}
	want := map[string]string{}
	for p, sum := range digests {
		want[p.String()] = sum + " " + p.binary()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
}

func TestValidate(t *testing.T) {
	good := func() manifest {
		var m manifest
		m.APIVersion, m.Kind, m.Metadata.Name = "krew.googlecontainertools.github.com/v1alpha2", "Plugin", "logstack"
		m.Spec.Version, m.Spec.ShortDescription = "v1.0.0", "Logs"
		p := manifestPlatform{URI: "https://example.org/a.tar.gz", SHA256: strings.Repeat("a", 64), Bin: "kubectl-logstack"}
		p.Selector.MatchLabels = map[string]string{"os": "linux", "arch": "amd64"}
		m.Spec.Platforms = []manifestPlatform{p}
		return m
	}
	tests := []struct {
		name, file string
		change     func(*manifest)
		want       string
	}{
		{name: "good"},
		{name: "ending", file: "logstack.yml", want: "does not end in .yaml"},
		{name: "name", file: "other.yaml", want: "is not the file's name"},
		{name: "unsafe name", file: "a b.yaml", change: func(m *manifest) { m.Metadata.Name = "a b" }, want: "not a safe file name"},
		{name: "device", file: "con.yaml", change: func(m *manifest) { m.Metadata.Name = "con" }, want: "not a safe file name"},
		{name: "api", change: func(m *manifest) { m.APIVersion = "v1" }, want: "apiVersion"},
		{name: "kind", change: func(m *manifest) { m.Kind = "Pod" }, want: "kind"},
		{name: "version", change: func(m *manifest) { m.Spec.Version = "1.0.0" }, want: "leading v"},
		{name: "no description", change: func(m *manifest) { m.Spec.ShortDescription = "" }, want: "shortDescription is empty"},
		{name: "two lines", change: func(m *manifest) { m.Spec.ShortDescription = "a\nb" }, want: "more than one line"},
		{name: "no platform", change: func(m *manifest) { m.Spec.Platforms = nil }, want: "platforms is empty"},
		{name: "no uri", change: func(m *manifest) { m.Spec.Platforms[0].URI = "" }, want: "[0]: uri is empty"},
		{name: "upper case", change: func(m *manifest) { m.Spec.Platforms[0].SHA256 = strings.Repeat("A", 64) }, want: "lower-case"},
		{name: "no bin", change: func(m *manifest) { m.Spec.Platforms[0].Bin = "" }, want: "bin is empty"},
		{name: "no selector", change: func(m *manifest) { m.Spec.Platforms[0].Selector.MatchLabels = nil }, want: "selector is empty"},
		{name: "label", change: func(m *manifest) { m.Spec.Platforms[0].Selector.MatchLabels["cpu"] = "x" }, want: `label "cpu"`},
		{name: "unknown os", change: func(m *manifest) { m.Spec.Platforms[0].Selector.MatchLabels["os"] = "plan9" }, want: "no platform that Krew supports"},
		{name: "twice", change: func(m *manifest) { m.Spec.Platforms = append(m.Spec.Platforms, m.Spec.Platforms[0]) }, want: "[0], [1] all match linux/amd64"},
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
			checkError(t, validate(file, m), tt.want)
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

func TestRefuses(t *testing.T) {
	atRoot(t)
	t.Setenv("SOURCE_DATE_EPOCH", "1")
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.tex"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"argument", []string{"now"}, "flags only"},
		{"version", []string{"-version", "1.2.3"}, "not a semantic version"},
		{"short version", []string{"-version", "v1.2"}, "not a semantic version"},
		{"commit", []string{"-version", "v1.2.3", "-commit", "HEAD~1"}, "is not a commit"},
		{"platform", []string{"-platforms", "plan9/amd64"}, "unknown platform"},
		{"twice", []string{"-platforms", "linux/arm,linux/arm"}, "named twice"},
		{"foreign directory", []string{"-version", "v1.2.3", "-commit", "0123456", "-o", foreign}, "thesis.tex"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			checkError(t, run(context.Background(), tt.args, io.Discard), tt.want)
		})
	}
	if _, err := os.Stat(filepath.Join(foreign, "thesis.tex")); err != nil {
		t.Error(err)
	}
}

func TestLicenseFiles(t *testing.T) {
	for name, want := range map[string]bool{
		"LICENSE": true, "LICENSE.md": true, "License.txt": true, "COPYING": true, "NOTICE": true, "LICENCE": true,
		"LICENSE-APACHE-2.0.txt": true, "PATENTS": true, "licenses.go": false, "README.md": false, "notice_board.go": false,
	} {
		if got := licenseFile.MatchString(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if _, err := thirdParty(t.Context(), &debug.BuildInfo{Deps: []*debug.Module{{Path: "example.org/gone", Version: "v1.0.0"}}}); err == nil {
		t.Error("a module without sources has no licence to pass on")
	}
}
