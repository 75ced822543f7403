package bare

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"time"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/binaries"
)

// ownImages are packed from programs of this module.
var ownImages = []struct{ program, tag string }{
	{binaries.Pause, PauseImage},
	{binaries.CoreDNS, CoreDNSImage},
	{binaries.Loggen, LoggenImage},
}

// buildImages returns an archive of each own image, packing those whose program
// has changed. The archives are kept beside the programs, by content.
func buildImages(ctx context.Context, cache *binaries.Cache, log io.Writer) ([]string, error) {
	dir := filepath.Join(filepath.Dir(cache.Dir), "images")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var archives []string
	for _, image := range ownImages {
		program, err := cache.Build(ctx, image.program)
		if err != nil {
			return nil, err
		}
		sum, err := hashFile(program)
		if err != nil {
			return nil, err
		}
		archive := filepath.Join(dir, image.program+"-"+sum[:16]+".tar")
		archives = append(archives, archive)
		if _, err := os.Stat(archive); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		begin := time.Now()
		if err := pack(ctx, cache.ModuleDir, program, image.tag, archive); err != nil {
			return nil, err
		}
		removeOthers(dir, image.program, archive)
		fmt.Fprintf(log, "image %s packed %s\n", image.tag, time.Since(begin).Round(100*time.Millisecond))
	}
	return archives, nil
}

// pack runs hack/image, which is part of the product's module.
func pack(ctx context.Context, moduleDir, program, tag, archive string) error {
	cmd := exec.CommandContext(ctx, "go", "run", "./hack/image", "-prebuilt", program, "-tag", tag, "-o", archive,
		"-platforms", "linux/"+runtime.GOARCH, "-version", binaries.KubernetesVersion, "-commit", "none")
	cmd.Dir = filepath.Dir(filepath.Dir(moduleDir))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pack %s: %w\n%s", tag, err, lastLines(out, 10))
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

var unpacking = regexp.MustCompile(`unpacking (\S+) `)

// imageName finds the image's name in the words of ctr, else says the archive.
func imageName(out []byte, archive string) string {
	if m := unpacking.FindSubmatch(out); m != nil {
		return string(m[1])
	}
	return filepath.Base(archive)
}
