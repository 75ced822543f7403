package binaries

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
)

// ModulePath is the module whose go.mod pins every program.
const ModulePath = "github.com/logstack-dev/kubectl-logstack/hack/cluster"

// lockTimeout bounds how long a build waits for another command that builds the
// same program: longer than the coldest build on a slow machine.
const lockTimeout = 30 * time.Minute

// Cache builds programs into a directory. Its methods are safe for concurrent
// use, by several processes too.
type Cache struct {
	// Dir holds the programs and their keys.
	Dir string
	// ModuleDir is the directory of this module's go.mod.
	ModuleDir string
	// Log receives one line per program built. Nothing is written for a
	// program that is in the cache. Nil discards.
	Log io.Writer
}

// Open returns the cache in dir, or in the user's cache directory when dir is
// empty. The module is looked for in the working directory, above it, and in
// hack/cluster of those.
func Open(dir string, log io.Writer) (*Cache, error) {
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("no cache directory (set HOME or XDG_CACHE_HOME): %w", err)
		}
		dir = filepath.Join(base, "logstack-cluster", "bin")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cache directory: %w", err)
	}
	module, err := FindModule()
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = io.Discard
	}
	return &Cache{Dir: dir, ModuleDir: module, Log: log}, nil
}

// FindModule returns the directory of this module's go.mod.
func FindModule() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		for _, candidate := range []string{dir, filepath.Join(dir, "hack", "cluster")} {
			data, err := os.ReadFile(filepath.Join(candidate, "go.mod"))
			if err == nil && modfile.ModulePath(data) == ModulePath {
				return candidate, nil
			}
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("module %s not found in or above %s: run this from the repository", ModulePath, wd)
		}
	}
}

// Path is where the program called name is, or will be, in the cache.
func (c *Cache) Path(name string) string { return filepath.Join(c.Dir, name) }

// BuildAll builds several programs, one after another: a build uses every core
// by itself. It returns their paths by name.
func (c *Cache) BuildAll(ctx context.Context, names ...string) (map[string]string, error) {
	paths := make(map[string]string, len(names))
	for _, name := range names {
		path, err := c.Build(ctx, name)
		if err != nil {
			return nil, err
		}
		paths[name] = path
	}
	return paths, nil
}

// Build returns the path of the program called name, one of [Names], after
// building it if need be. The binary is static (CGO_ENABLED=0).
func (c *Cache) Build(ctx context.Context, name string) (string, error) {
	p, ok := Programs()[name]
	if !ok {
		return "", fmt.Errorf("unknown program %q, have %s", name, strings.Join(Names(), ", "))
	}
	key, err := c.key(p)
	if err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	if c.fresh(name, key) {
		return c.Path(name), nil
	}
	lockCtx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	unlock, err := lockFile(lockCtx, c.Path(name)+".lock")
	if err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	defer unlock()
	if c.fresh(name, key) { // built by the one that held the lock
		return c.Path(name), nil
	}
	start := time.Now()
	fmt.Fprintf(c.Log, "building %s (the first time takes minutes, later runs take it from %s)\n", name, c.Dir)
	if err := c.compile(ctx, name, p); err != nil {
		return "", err
	}
	if err := os.WriteFile(c.Path(name)+".key", []byte(key), 0o644); err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	fmt.Fprintf(c.Log, "%s built %s\n", name, time.Since(start).Round(100*time.Millisecond))
	return c.Path(name), nil
}

func (c *Cache) fresh(name, key string) bool {
	have, err := os.ReadFile(c.Path(name) + ".key")
	if err != nil || string(have) != key {
		return false
	}
	return c.modulesMatch(c.Path(name))
}

// compile builds beside the target and renames, so that a running program is
// not overwritten and a cut build leaves nothing that looks complete. The key is
// removed first and written last for the same reason.
func (c *Cache) compile(ctx context.Context, name string, p Program) error {
	if err := os.Remove(c.Path(name) + ".key"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("build %s: %w", name, err)
	}
	tmp := c.Path(name) + ".tmp"
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", p.LDFlags, "-o", tmp, p.Package)
	cmd.Dir = c.ModuleDir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOOS="+p.GOOS(), "GOARCH="+runtime.GOARCH)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("build %s: %w", name, ctx.Err())
		}
		return fmt.Errorf("build %s: %w\n%s", name, err, tail(output.String(), 20))
	}
	return os.Rename(tmp, c.Path(name))
}

// key hashes what the program is made of, but for its modules, which
// modulesMatch compares.
func (c *Cache) key(p Program) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, p.Package, p.LDFlags, runtime.Version(), p.GOOS(), runtime.GOARCH, os.Getenv("GOAMD64"))
	if strings.HasPrefix(p.Package, "./") {
		if err := hashSources(h, filepath.Join(c.ModuleDir, p.Package)); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

// modulesMatch reports whether the program at path was linked from the module
// versions that go.mod asks for now. The linker writes them into the program;
// comparing them, and not go.mod as a whole, spares Kubernetes a rebuild when
// something unrelated is added.
func (c *Cache) modulesMatch(path string) bool {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return false
	}
	wanted, err := c.requirements()
	if err != nil {
		return false
	}
	for _, dep := range info.Deps {
		used := module.Version{Path: dep.Path, Version: dep.Version}
		if dep.Replace != nil {
			// A replacement by a directory has no version in go.mod.
			used = module.Version{Path: dep.Replace.Path, Version: strings.TrimPrefix(dep.Replace.Version, "(devel)")}
		}
		if wanted[dep.Path] != used {
			return false
		}
	}
	return true
}

// requirements returns what go.mod selects for each module path, replacements
// applied. Since Go 1.17 it lists every module that a build uses.
func (c *Cache) requirements() (map[string]module.Version, error) {
	path := filepath.Join(c.ModuleDir, "go.mod")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	mod, err := modfile.Parse(path, data, nil)
	if err != nil {
		return nil, err
	}
	wanted := map[string]module.Version{}
	for _, r := range mod.Require {
		wanted[r.Mod.Path] = r.Mod
	}
	for _, r := range mod.Replace {
		if _, ok := wanted[r.Old.Path]; ok {
			wanted[r.Old.Path] = r.New
		}
	}
	return wanted, nil
}

func hashSources(w io.Writer, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s %d\n%s\n", e.Name(), len(data), data)
	}
	return nil
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
