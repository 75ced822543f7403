package main

import (
	"bytes"
	"context"
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

	"github.com/logstack-dev/kubectl-logstack/hack/release/krew"
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
		args := []string{"-o", dir, "-version", "v0.1.0-rc.1", "-commit", "0123456789ab", "-platforms", p.String(), "-image=false",
			"-index", dir + "-index", "-mirror", "http://mirror.example:8000/logstack/"}
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
	want := []string{"checksums.txt", p.archive(), p.base() + ".cdx.json", manifestName}
	if len(first) != len(want) {
		t.Errorf("the release has %d files, want %v", len(first), want)
	}

	m, err := krew.Parse(first[manifestName])
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Spec.Platforms) != 1 {
		t.Fatalf("%d platforms in the manifest, one was built", len(m.Spec.Platforms))
	}
	link, err := krew.Root(t.TempDir()).Install(m, filepath.Join(dirs[0], p.archive()), p.os, p.arch)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), link, "version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "v0.1.0-rc.1 (commit 0123456789ab") {
		t.Errorf("the installed plugin said %q, %v", out, err)
	}
	if !bytes.Contains(first["checksums.txt"], []byte(m.Spec.Platforms[0].SHA256+"  "+p.archive())) {
		t.Errorf("checksums.txt lacks the archive:\n%s", first["checksums.txt"])
	}
	checkSBOM(t, first[p.base()+".cdx.json"])
	checkIndex(t, dirs[0]+"-index", dirs[1]+"-index", "http://mirror.example:8000/logstack/"+p.archive())
}

// checkIndex clones an index as Krew does and compares it with another one of
// the same release.
func checkIndex(t *testing.T, dir, again, uri string) {
	t.Helper()
	clone := filepath.Join(t.TempDir(), "index")
	if out, err := exec.CommandContext(t.Context(), "git", "clone", "--quiet", dir, clone).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(clone, "plugins", manifestName))
	if err != nil {
		t.Fatal(err)
	}
	m, err := krew.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Validate(manifestName); err != nil {
		t.Error(err)
	}
	if m.Spec.Platforms[0].URI != uri {
		t.Errorf("the index says %s, want the mirror's %s", m.Spec.Platforms[0].URI, uri)
	}
	var heads [2]string
	for i, d := range []string{dir, again} {
		out, err := exec.CommandContext(t.Context(), "git", "-C", d, "rev-parse", "HEAD").Output()
		if err != nil {
			t.Fatal(err)
		}
		heads[i] = string(out)
	}
	if heads[0] != heads[1] {
		t.Errorf("indexes of one release differ: commits %q", heads)
	}
}

// TestIndexReplaced writes an index over an older one, and not over anything
// that somebody else made.
func TestIndexReplaced(t *testing.T) {
	atRoot(t)
	digests := map[platform]string{}
	for _, p := range platforms {
		digests[p] = strings.Repeat("f", 64)
	}
	cfg := config{output: t.TempDir(), version: "v1.2.3", date: date, index: filepath.Join(t.TempDir(), "index")}
	m, err := writeManifest(cfg, digests)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := writeIndex(t.Context(), cfg, m); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(cfg.index, "plugins", "other.yaml")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	checkError(t, writeIndex(t.Context(), cfg, m), "other.yaml")
	if err := errors.Join(os.Remove(file), os.WriteFile(filepath.Join(cfg.index, "README.md"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	checkError(t, writeIndex(t.Context(), cfg, m), "README.md")
	clone := filepath.Join(t.TempDir(), "clone")
	if out, err := exec.CommandContext(t.Context(), "git", "clone", "--quiet", cfg.index, clone).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cfg.index = clone
	checkError(t, writeIndex(t.Context(), cfg, m), "clone of another repository")
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
			if _, err := krew.Unpack(name, data, out); err != nil {
				t.Fatal(err)
			}
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
	if _, err := writeManifest(cfg, digests); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(cfg.output, manifestName))
	if err != nil {
		t.Fatal(err)
	}
	m, err := krew.Parse(data)
	if err != nil {
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
		{"mirror alone", []string{"-mirror", "http://mirror.example"}, "-index"},
		{"mirror on disk", []string{"-index", "x", "-mirror", "file:///srv"}, "not an http or https URL"},
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
