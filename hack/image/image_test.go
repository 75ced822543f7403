package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// pack runs the command with a fixed version and returns the archive's path.
func pack(t *testing.T, args ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "x.tar")
	args = append([]string{"-o", out, "-tag", "example.org/hello:v1", "-binary", "./testdata/hello", "-version", "v1.2.3", "-commit", "abc"}, args...)
	var log bytes.Buffer
	if err := run(t.Context(), args, &log); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	return out
}

// readTar returns the files of a tar stream by name, and their headers in order.
func readTar(t *testing.T, r io.Reader) (map[string][]byte, []*tar.Header) {
	t.Helper()
	files := map[string][]byte{}
	var headers []*tar.Header
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files, headers
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = data
		headers = append(headers, h)
	}
}

func open(t *testing.T, path string) map[string][]byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files, _ := readTar(t, bytes.NewReader(data))
	for file, data := range files {
		if hex, ok := strings.CutPrefix(file, "blobs/sha256/"); ok && hex != fmt.Sprintf("%x", sha256.Sum256(data)) {
			t.Errorf("blob %s holds something else", hex)
		}
	}
	return files
}

func decode[T any](t *testing.T, data []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v: %s", err, data)
	}
	return v
}

func TestAllPlatforms(t *testing.T) {
	platforms := []string{"linux/amd64", "linux/arm64", "linux/arm/v7"}
	if testing.Short() {
		platforms = platforms[:2]
	}
	files := open(t, pack(t, "-platforms", strings.Join(platforms, ",")))
	if got := string(files["oci-layout"]); got != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout: %s", got)
	}
	top := decode[v1.IndexManifest](t, files["index.json"])
	if len(top.Manifests) != 1 || top.Manifests[0].Annotations["io.containerd.image.name"] != "example.org/hello:v1" ||
		top.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != "v1" {
		t.Fatalf("index.json: %s", files["index.json"])
	}
	inner := decode[v1.IndexManifest](t, files[blobPath(top.Manifests[0].Digest)])
	var got []string
	for _, m := range inner.Manifests {
		got = append(got, m.Platform.String())
		manifest := decode[v1.Manifest](t, files[blobPath(m.Digest)])
		cfg := decode[v1.ConfigFile](t, files[blobPath(manifest.Config.Digest)])
		if p := cfg.Platform(); p.String() != m.Platform.String() {
			t.Errorf("configuration says %s, index says %s", p, m.Platform)
		}
		if cfg.Config.User != "65532:65532" || !slices.Equal(cfg.Config.Entrypoint, []string{"/hello"}) {
			t.Errorf("user %q, entry point %q", cfg.Config.User, cfg.Config.Entrypoint)
		}
		if cfg.Config.Labels["org.opencontainers.image.version"] != "v1.2.3" || cfg.Config.Labels["org.opencontainers.image.revision"] != "abc" {
			t.Errorf("labels %v", cfg.Config.Labels)
		}
		if len(manifest.Layers) != 2 {
			t.Errorf("%d layers", len(manifest.Layers))
		}
	}
	if !slices.Equal(got, platforms) {
		t.Errorf("platforms %v, want %v", got, platforms)
	}
}

// What Docker reads must be a valid image with the right files in it.
func TestDockerReadsIt(t *testing.T) {
	tag, err := name.NewTag("example.org/hello:v1")
	if err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(pack(t, "-platforms", "linux/amd64"), &tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		files, headers := readTar(t, r)
		for _, h := range headers {
			names = append(names, fmt.Sprintf("%s %o", h.Name, h.Mode))
			if !h.ModTime.Equal(epoch) || h.Uid != 0 || h.Gid != 0 || h.Uname != "" {
				t.Errorf("%s tells who made it and when: %+v", h.Name, h)
			}
		}
		if pem, ok := files[certsFile]; ok {
			if pool := x509.NewCertPool(); !pool.AppendCertsFromPEM(pem) || bytes.Count(pem, []byte("BEGIN CERTIFICATE")) < 100 {
				t.Error("the root certificates are not a bundle of many")
			}
		}
	}
	want := []string{
		"etc/ 755", "etc/group 644", "etc/passwd 644", "etc/ssl/ 755", "etc/ssl/certs/ 755",
		certsFile + " 644", "tmp/ 1777", "hello 755",
	}
	if !slices.Equal(names, want) {
		t.Errorf("files %q, want %q", names, want)
	}
}

func TestReproducible(t *testing.T) {
	var sums []string
	for range 2 {
		data, err := os.ReadFile(pack(t, "-platforms", "linux/amd64"))
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, fmt.Sprintf("%x", sha256.Sum256(data)))
	}
	if sums[0] != sums[1] {
		t.Error("two builds of the same sources differ")
	}
	t.Setenv("SOURCE_DATE_EPOCH", "86400")
	data, err := os.ReadFile(pack(t, "-platforms", "linux/amd64"))
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprintf("%x", sha256.Sum256(data)) == sums[0] {
		t.Error("SOURCE_DATE_EPOCH has no effect")
	}
}

func TestPrebuilt(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "pause")
	cmd := exec.Command("go", "build", "-o", bin, "./testdata/hello")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	files := open(t, pack(t, "-prebuilt", bin, "-platforms", "linux/amd64"))
	top := decode[v1.IndexManifest](t, files["index.json"])
	manifest := decode[v1.Manifest](t, files[blobPath(top.Manifests[0].Digest)])
	cfg := decode[v1.ConfigFile](t, files[blobPath(manifest.Config.Digest)])
	if !slices.Equal(cfg.Config.Entrypoint, []string{"/pause"}) {
		t.Errorf("entry point %q", cfg.Config.Entrypoint)
	}
}

func TestRefuses(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	arm := filepath.Join(dir, "arm")
	cmd := exec.Command("go", "build", "-o", arm, "./testdata/hello")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, tc := range []struct {
		want string
		args []string
	}{
		{"unexpected argument", []string{"now"}},
		{"have linux/amd64, linux/arm64, linux/arm/v7", []string{"-platforms", "windows/amd64"}},
		{"named twice", []string{"-platforms", "linux/amd64,linux/amd64"}},
		{"-prebuilt is a binary of one platform", []string{"-prebuilt", script}},
		{"is not a Linux program", []string{"-prebuilt", script, "-platforms", "linux/amd64"}},
		{"not for linux/amd64", []string{"-prebuilt", arm, "-platforms", "linux/amd64"}},
		{"-tag", []string{"-tag", "no tag"}},
		{"program is called after it", []string{"-binary", "."}},
		{"holds no PEM certificate", []string{"-ca-bundle", script, "-platforms", "linux/amd64"}},
		{"build ./nothing for linux/amd64", []string{"-binary", "./nothing", "-platforms", "linux/amd64"}},
	} {
		err := run(t.Context(), append([]string{"-o", filepath.Join(dir, "out.tar")}, tc.args...), io.Discard)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: got %v, want %q", tc.args, err, tc.want)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "out.tar*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if err := run(t.Context(), nil, io.Discard); err == nil || !strings.Contains(err.Error(), "SOURCE_DATE_EPOCH") {
		t.Errorf("got %v", err)
	}
}

func TestRefusesDynamicPrograms(t *testing.T) {
	for _, path := range []string{"/bin/ls", "/usr/bin/env"} {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for _, p := range supported {
			if err := checkStatic(path, data, p); err == nil {
				t.Errorf("%s was accepted for %s", path, p)
			}
		}
	}
}
