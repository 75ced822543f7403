package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/binaries"
)

// Image is a program of this module with the name of its image.
type Image struct{ Program, Tag string }

// The images of this module.
var (
	Pause   = Image{binaries.Pause, "logstack.dev/pause:1"}
	CoreDNS = Image{binaries.CoreDNS, "logstack.dev/coredns:dev"}
	Loggen  = Image{binaries.Loggen, "logstack.dev/loggen:dev"}
)

// Build returns the path of an archive for each image, in their order, packing
// those whose program has changed. Each archive holds the platform of this
// machine's processor.
func Build(ctx context.Context, cache *binaries.Cache, log io.Writer, images ...Image) ([]string, error) {
	dir := filepath.Join(filepath.Dir(cache.Dir), "images")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var archives []string
	for _, image := range images {
		program, err := cache.Build(ctx, image.Program)
		if err != nil {
			return nil, err
		}
		sum, err := hashFile(program)
		if err != nil {
			return nil, err
		}
		archive := filepath.Join(dir, image.Program+"-"+sum[:16]+".tar")
		archives = append(archives, archive)
		if _, err := os.Stat(archive); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		begin := time.Now()
		if err := pack(ctx, cache.ModuleDir, program, image.Tag, archive); err != nil {
			return nil, err
		}
		removeOthers(dir, image.Program, archive)
		fmt.Fprintf(log, "image %s packed %s\n", image.Tag, time.Since(begin).Round(100*time.Millisecond))
	}
	return archives, nil
}

// pack runs hack/image, which is part of the product's module.
func pack(ctx context.Context, moduleDir, program, tag, archive string) error {
	platform := "linux/" + runtime.GOARCH
	if runtime.GOARCH == "arm" {
		platform += "/v7"
	}
	cmd := exec.CommandContext(ctx, "go", "run", "./hack/image", "-prebuilt", program, "-tag", tag, "-o", archive,
		"-platforms", platform, "-version", binaries.KubernetesVersion, "-commit", "none")
	cmd.Dir = filepath.Dir(filepath.Dir(moduleDir))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pack %s: %w\n%s", tag, err, bytes.TrimSpace(out))
	}
	return nil
}

// removeOthers deletes archives of earlier builds of the same program.
func removeOthers(dir, program, keep string) {
	old, _ := filepath.Glob(filepath.Join(dir, program+"-*.tar")) // the pattern is well-formed
	for _, path := range old {
		if path != keep {
			_ = os.Remove(path) // left behind it only costs disk
		}
	}
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}
