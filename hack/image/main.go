package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/logstack-dev/kubectl-logstack/pkg/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(os.Stderr, "image: %v\n", err)
		}
		os.Exit(1)
	}
}

// config is what the flags say.
type config struct {
	output    string
	tag       string
	binary    string
	prebuilt  string
	platforms []platform
	version   string
	commit    string
	caBundle  string
	title     string
	created   time.Time
}

func run(ctx context.Context, args []string, log io.Writer) error {
	cfg, err := parse(args, log)
	if err != nil {
		return err
	}
	start := time.Now()
	size, err := build(ctx, cfg, log)
	if err != nil {
		return err
	}
	fmt.Fprintf(log, "%s: %s, %.1f MiB, %s\n", cfg.output, cfg.tag, float64(size)/(1<<20), time.Since(start).Round(100*time.Millisecond))
	return nil
}

func parse(args []string, log io.Writer) (config, error) {
	cfg := config{}
	var platforms string
	fs := flag.NewFlagSet("image", flag.ContinueOnError)
	fs.SetOutput(log)
	fs.StringVar(&cfg.output, "o", "dist/collector.tar", "`file` to write the archive to")
	fs.StringVar(&cfg.tag, "tag", version.Image+":dev", "`name` and tag of the image")
	fs.StringVar(&cfg.binary, "binary", "./cmd/collector", "`package` to compile")
	fs.StringVar(&cfg.prebuilt, "prebuilt", "", "static binary `file` to pack instead of compiling; one platform only")
	fs.StringVar(&platforms, "platforms", "linux/amd64,linux/arm64,linux/arm/v7", "comma-separated `list` of platforms")
	fs.StringVar(&cfg.version, "version", "", "version to stamp (default: git describe)")
	fs.StringVar(&cfg.commit, "commit", "", "commit to stamp (default: git rev-parse)")
	fs.StringVar(&cfg.caBundle, "ca-bundle", "", "PEM `file` to use instead of Mozilla's root certificates")
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
	if cfg.prebuilt != "" && len(cfg.platforms) > 1 {
		return cfg, errors.New("-prebuilt is a binary of one platform: name it with -platforms, for example -platforms linux/amd64")
	}
	if _, err := name.NewTag(cfg.tag, name.StrictValidation); err != nil {
		return cfg, fmt.Errorf("-tag: %w", err)
	}
	cfg.title = path.Base(cfg.binary)
	if cfg.prebuilt != "" {
		cfg.title = path.Base(cfg.prebuilt)
	}
	if cfg.title == "." || cfg.title == "/" {
		return cfg, fmt.Errorf("-binary %s: name the package's directory, the program is called after it", cfg.binary)
	}
	if cfg.version == "" {
		cfg.version = git("describe", "--tags", "--always", "--dirty")
	}
	if cfg.commit == "" {
		cfg.commit = git("rev-parse", "--short", "HEAD")
	}
	cfg.created, err = sourceDate(os.Getenv("SOURCE_DATE_EPOCH"))
	return cfg, err
}

// git asks the repository, or says "unknown" where there is none (a source
// archive): an image can be built there too.
func git(args ...string) string {
	out, err := exec.CommandContext(context.Background(), "git", args...).Output()
	if err != nil || len(out) == 0 {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func sourceDate(env string) (time.Time, error) {
	if env == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	sec, err := strconv.ParseInt(env, 10, 64)
	if err != nil || sec < 0 {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH=%q is not a number of seconds since 1970", env)
	}
	return time.Unix(sec, 0).UTC(), nil
}
