package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/semver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(os.Stderr, "release: %v\n", err)
		}
		os.Exit(1)
	}
}

// config is what the flags say.
type config struct {
	output    string
	version   string
	commit    string
	platforms []platform
	image     bool
	// imagePlatforms is handed to hack/image.
	imagePlatforms string
	// index is the directory of the Krew index to write, "" for none; mirror is
	// where it says that the archives are, "" for the release's own address.
	index, mirror string
	// date stands in archives as the time of every file.
	date time.Time
}

var commitForm = regexp.MustCompile(`^[0-9a-f]{7,40}$`)

func parse(ctx context.Context, args []string, log io.Writer) (config, error) {
	cfg := config{}
	var platforms string
	fs := flag.NewFlagSet("release", flag.ContinueOnError)
	fs.SetOutput(log)
	fs.StringVar(&cfg.output, "o", "dist/release", "`directory` to write to; it is emptied first")
	fs.StringVar(&cfg.version, "version", "", "release `version`, such as v0.1.0 (default: the tag of HEAD)")
	fs.StringVar(&cfg.commit, "commit", "", "commit to stamp (default: HEAD)")
	fs.StringVar(&platforms, "platforms", allPlatforms(), "comma-separated `list` of the plugin's platforms")
	fs.BoolVar(&cfg.image, "image", true, "also build the collector's image archive")
	fs.StringVar(&cfg.imagePlatforms, "image-platforms", "linux/amd64,linux/arm64,linux/arm/v7", "comma-separated `list` of the image's platforms")
	fs.StringVar(&cfg.index, "index", "", "`directory` of a Krew index to write, a git repository with plugins/logstack.yaml")
	fs.StringVar(&cfg.mirror, "mirror", "", "`URL` under which the index finds the archives (default: the release's address)")
	if err := fs.Parse(args); err != nil {
		return cfg, err
	}
	if fs.NArg() > 0 {
		return cfg, fmt.Errorf("unexpected argument %q: this command takes flags only", fs.Arg(0))
	}
	var err error
	if cfg.platforms, err = parsePlatforms(platforms); err != nil {
		return cfg, err
	}
	if cfg.mirror != "" && cfg.index == "" {
		return cfg, errors.New("-mirror is for an index: name its directory with -index")
	}
	if u, err := url.Parse(cfg.mirror); cfg.mirror != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		return cfg, fmt.Errorf("-mirror %q is not an http or https URL: Krew downloads over nothing else", cfg.mirror)
	}
	if cfg.version == "" {
		if cfg.version, err = git(ctx, "describe", "--tags", "--exact-match"); err != nil {
			return cfg, errors.New("HEAD has no tag: name the version with -version v1.2.3")
		}
	}
	// Krew parses the version so, and sorts upgrades by it.
	if !semver.IsValid(cfg.version) || semver.Canonical(cfg.version) != strings.SplitN(cfg.version, "+", 2)[0] {
		return cfg, fmt.Errorf("-version %q is not a semantic version such as v1.2.3", cfg.version)
	}
	if cfg.commit == "" {
		if cfg.commit, err = git(ctx, "rev-parse", "--short=12", "HEAD"); err != nil {
			return cfg, fmt.Errorf("no commit to stamp, name one with -commit: %w", err)
		}
	}
	if !commitForm.MatchString(cfg.commit) {
		return cfg, fmt.Errorf("-commit %q is not a commit", cfg.commit)
	}
	cfg.date, err = sourceDate(ctx, os.Getenv("SOURCE_DATE_EPOCH"))
	return cfg, err
}

func git(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", args...).Output()
	return strings.TrimSpace(string(out)), err
}

// sourceDate is the time of the commit, or what the environment says
// (https://reproducible-builds.org/specs/source-date-epoch/).
func sourceDate(ctx context.Context, env string) (time.Time, error) {
	from := "SOURCE_DATE_EPOCH"
	if env == "" {
		from = "the commit's time"
		var err error
		if env, err = git(ctx, "log", "-1", "--format=%ct"); err != nil {
			return time.Time{}, fmt.Errorf("no commit to take the time from, set SOURCE_DATE_EPOCH: %w", err)
		}
	}
	sec, err := strconv.ParseInt(env, 10, 64)
	if err != nil || sec < 0 {
		return time.Time{}, fmt.Errorf("%s %q is not a number of seconds since 1970", from, env)
	}
	return time.Unix(sec, 0).UTC(), nil
}

func run(ctx context.Context, args []string, log io.Writer) error {
	cfg, err := parse(ctx, args, log)
	if err != nil {
		return err
	}
	if err := emptyDir(cfg.output); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "logstack-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	start := time.Now()
	if err := build(ctx, cfg, work, log); err != nil {
		return err
	}
	names, err := checksums(cfg.output)
	if err != nil {
		return err
	}
	fmt.Fprintf(log, "%s: %d files of %s (commit %s), %s\n", cfg.output, names, cfg.version, cfg.commit, time.Since(start).Round(time.Second))
	return nil
}

// build makes each file of the release in turn; checksums come last.
func build(ctx context.Context, cfg config, work string, log io.Writer) error {
	license, err := os.ReadFile("LICENSE")
	if err != nil {
		return fmt.Errorf("run this in the repository's root: %w", err)
	}
	digests := map[platform]string{}
	for _, p := range cfg.platforms {
		fmt.Fprintf(log, "building the plugin for %s\n", p)
		binary := filepath.Join(work, p.binary())
		if err := compile(ctx, cfg, p, binary); err != nil {
			return err
		}
		info, err := readBuildInfo(binary)
		if err != nil {
			return err
		}
		notices, err := thirdParty(ctx, info)
		if err != nil {
			return err
		}
		if err := writeSBOM(cfg, info, filepath.Join(cfg.output, p.base()+".cdx.json")); err != nil {
			return err
		}
		program, err := os.ReadFile(binary)
		if err != nil {
			return err
		}
		digests[p], err = writeArchive(filepath.Join(cfg.output, p.archive()), cfg.date, []member{
			{name: "LICENSE", mode: 0o644, data: license},
			{name: "THIRD_PARTY_LICENSES", mode: 0o644, data: notices},
			{name: p.binary(), mode: 0o755, data: program},
		})
		if err != nil {
			return err
		}
	}
	if cfg.image {
		if err := image(ctx, cfg, work, log); err != nil {
			return err
		}
	}
	m, err := writeManifest(cfg, digests)
	if err != nil || cfg.index == "" {
		return err
	}
	return writeIndex(ctx, cfg, m)
}

// compile builds the plugin as every released binary is built.
func compile(ctx context.Context, cfg config, p platform, path string) error {
	return goBuild(ctx, cfg, "./cmd/kubectl-logstack", path, "GOOS="+p.os, "GOARCH="+p.arch, "GOARM="+p.arm)
}

func goBuild(ctx context.Context, cfg config, pkg, path string, env ...string) error {
	const v = "github.com/logstack-dev/kubectl-logstack/pkg/version"
	ldflags := fmt.Sprintf("-s -w -buildid= -X %s.Version=%s -X %s.Commit=%s", v, cfg.version, v, cfg.commit)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", ldflags, "-o", path, pkg)
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s (%s): %w\n%s", pkg, strings.Join(env, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// image has hack/image pack the collector, and lists what is in it.
func image(ctx context.Context, cfg config, work string, log io.Writer) error {
	cmd := exec.CommandContext(ctx, "go", "run", "./hack/image", "-o", filepath.Join(cfg.output, "collector.tar"),
		"-tag", imageName+":"+cfg.version, "-platforms", cfg.imagePlatforms, "-version", cfg.version, "-commit", cfg.commit)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+strconv.FormatInt(cfg.date.Unix(), 10))
	cmd.Stderr = log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("collector's image: %w", err)
	}
	binary := filepath.Join(work, "collector")
	if err := goBuild(ctx, cfg, "./cmd/collector", binary, "GOOS=linux", "GOARCH=amd64"); err != nil {
		return err
	}
	info, err := readBuildInfo(binary)
	if err != nil {
		return err
	}
	return writeSBOM(cfg, info, filepath.Join(cfg.output, "collector.cdx.json"))
}
