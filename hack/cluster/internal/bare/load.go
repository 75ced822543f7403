package bare

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/binaries"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/images"
)

// ownArchives packs the images that every cluster has.
func (c *Cluster) ownArchives(ctx context.Context, cache *binaries.Cache) ([]string, error) {
	return images.Build(ctx, cache, c.log, images.Pause, images.CoreDNS, images.Loggen)
}

// loadOwn imports those archives that this node does not have yet. Their names
// tell their content, so a list of names is enough to know.
func (c *Cluster) loadOwn(ctx context.Context, archives []string) error {
	path := c.p.in("images-loaded")
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	loaded := strings.Fields(string(data))
	var fresh []string
	for _, a := range archives {
		if !slices.Contains(loaded, filepath.Base(a)) {
			fresh = append(fresh, a)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	if err := c.importImages(ctx, fresh); err != nil {
		return err
	}
	var names []string
	for _, a := range archives {
		names = append(names, filepath.Base(a))
	}
	return os.WriteFile(path, []byte(strings.Join(names, "\n")+"\n"), 0o644)
}

// importImages loads archives into containerd. Of an archive with several
// platforms, containerd unpacks the machine's own.
func (c *Cluster) importImages(ctx context.Context, archives []string) error {
	for _, a := range archives {
		begin := time.Now()
		if _, err := os.Stat(a); err != nil {
			return fmt.Errorf("image archive: %w", err)
		}
		cmd := exec.CommandContext(ctx, "ctr", "--address", c.p.containerdSocket(), "--namespace", "k8s.io", "images", "import", a)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("import %s: %w\n%s", a, err, lastLines(out, 5))
		}
		c.printf("image %s loaded %s", imageName(out, a), time.Since(begin).Round(100*time.Millisecond))
	}
	return nil
}

var unpacking = regexp.MustCompile(`unpacking (\S+) `)

// imageName finds the image's name in the words of ctr, else says the archive.
func imageName(out []byte, archive string) string {
	if m := unpacking.FindSubmatch(out); m != nil {
		return string(m[1])
	}
	return filepath.Base(archive)
}
