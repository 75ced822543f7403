package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/binaries"
)

func TestBuildPacksOnce(t *testing.T) {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" && runtime.GOARCH != "arm" {
		t.Skipf("no images for %s", runtime.GOARCH)
	}
	cache, err := binaries.Open(filepath.Join(t.TempDir(), "bin"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	first, err := Build(t.Context(), cache, &log, Pause)
	if err != nil {
		t.Fatal(err)
	}
	if len(first) != 1 || !strings.Contains(log.String(), Pause.Tag+" packed") {
		t.Fatalf("%v, %q", first, log.String())
	}
	if names := entries(t, first[0]); !names["index.json"] || !names["oci-layout"] || !names["manifest.json"] {
		t.Errorf("not an image archive: %v", names)
	}
	log.Reset()
	second, err := Build(t.Context(), cache, &log, Pause)
	if err != nil || len(second) != 1 || second[0] != first[0] || log.Len() > 0 {
		t.Errorf("second time: %v, %v, %q", second, err, log.String())
	}
	// Another program by the same name gives another archive, and the old one goes.
	binary, err := os.ReadFile(cache.Path(binaries.Pause))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cache.Path(binaries.Pause), append(binary, 0), 0o755); err != nil {
		t.Fatal(err)
	}
	third, err := Build(t.Context(), cache, &log, Pause)
	if err != nil || third[0] == first[0] {
		t.Fatalf("after a change: %v, %v", third, err)
	}
	if _, err := os.Stat(first[0]); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there", first[0])
	}
}

func entries(t *testing.T, path string) map[string]bool {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	names := map[string]bool{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names[h.Name] = true
	}
}
