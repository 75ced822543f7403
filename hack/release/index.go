package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/logstack-dev/kubectl-logstack/hack/release/krew"
)

// writeIndex writes a Krew index that holds this plugin alone: a git repository,
// which `kubectl krew index add NAME DIRECTORY` takes from a disk, too. Its one
// commit has the release's time and no person's name, so that equal releases
// give equal indexes. An older one in that place is replaced: Krew resets its
// clone to what it finds.
func writeIndex(ctx context.Context, cfg config, m krew.Manifest) error {
	if err := emptyIndex(cfg.index); err != nil {
		return err
	}
	if cfg.mirror != "" {
		m.Spec.Platforms = slices.Clone(m.Spec.Platforms)
		for i := range m.Spec.Platforms {
			p := &m.Spec.Platforms[i]
			p.URI = strings.TrimSuffix(cfg.mirror, "/") + "/" + p.Archive()
		}
	}
	data, err := yaml.Marshal(m)
	if err != nil {
		return err
	}
	plugins := filepath.Join(cfg.index, "plugins")
	if err := os.MkdirAll(plugins, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(plugins, manifestName), data, 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main", "--template="},
		{"add", "plugins"},
		{"commit", "--quiet", "--no-gpg-sign", "-m", m.Metadata.Name + " " + m.Spec.Version},
	} {
		if err := gitInIndex(ctx, cfg, args...); err != nil {
			return err
		}
	}
	return nil
}

// gitInIndex runs git without what the machine and its user have set up.
func gitInIndex(ctx context.Context, cfg config, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", cfg.index}, args...)...)
	date := cfg.date.Format("2006-01-02T15:04:05Z")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.DevNull, "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_CONFIG_NOSYSTEM=1"}
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		cmd.Env = append(cmd.Env, "GIT_"+who+"_NAME=logstack release", "GIT_"+who+"_EMAIL=release@logstack.dev", "GIT_"+who+"_DATE="+date)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("krew index: git %s: %w\n%s", args[0], err, bytes.TrimSpace(out))
	}
	return nil
}

// emptyIndex removes an older index. A directory that holds anything else is
// refused: it may be a mistyped path.
func emptyIndex(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != ".git" && e.Name() != "plugins" {
			return fmt.Errorf("-index %s holds %s, which no index of ours has: name an empty directory", dir, e.Name())
		}
	}
	if config, err := os.ReadFile(filepath.Join(dir, ".git", "config")); err == nil && bytes.Contains(config, []byte("[remote ")) {
		return fmt.Errorf("-index %s is the clone of another repository: name an empty directory and copy plugins/%s from it", dir, manifestName)
	}
	plugins, err := os.ReadDir(filepath.Join(dir, "plugins"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, p := range plugins {
		if p.Name() != manifestName {
			return fmt.Errorf("-index %s holds another plugin, %s: add %s to it by hand", dir, p.Name(), manifestName)
		}
	}
	return os.RemoveAll(dir)
}
