package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
	commonmodel "github.com/prometheus/common/model"
	"github.com/spf13/pflag"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/version"
)

// Exit codes.
const (
	exitFailed = 1 // what was asked for could not be done
	exitUsage  = 2 // what was asked for makes no sense
)

func main() { os.Exit(start()) }

// start is main with an exit code.
func start() int {
	if len(os.Args) > 1 && os.Args[1] == "probe" {
		return probe(os.Args[2:], os.Stdout, os.Stderr)
	}
	cfg, err := parseConfig(os.Args[1:], os.LookupEnv, os.Stderr)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(os.Stderr, "collector: %v\nRun 'collector --help' for the flags.\n", err)
		return exitUsage
	case cfg.showVersion:
		fmt.Println("collector " + version.String())
		return 0
	}
	stop := make(chan os.Signal, 2)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	if err := run(cfg, stop); err != nil {
		fmt.Fprintf(os.Stderr, "collector: %v\n", err)
		return exitFailed
	}
	return 0
}

// config is what the flags say.
type config struct {
	dataDir       string
	listenAddress string
	addressFile   string

	kubeconfig   string
	kubeContext  string
	noKubernetes bool
	namespaces   []string
	replicas     replicaFlags

	retention    time.Duration // 0 keeps everything
	maxDisk      int64         // bytes, 0 is no limit
	memoryLimit  int64         // bytes, 0 is auto
	syncInterval time.Duration
	noLevels     bool
	limits       lokiapi.Limits // of pushes
	secure       secureFlags
	events       eventFlags
	nodeFiles    nodeFileFlags
	peers        peerFlags

	logger      *slog.Logger
	logLevel    *slog.LevelVar // of logger
	pprof       bool
	showVersion bool

	flags *pflag.FlagSet // as they were set, for /config
}

const usageHead = `collector stores the logs of a Kubernetes cluster and answers LogQL over Loki's HTTP API.

Usage:
  collector --data-dir DIR [flags]
  collector probe [flags] URL...    (looks whether URLs can be reached from here)

In a cluster it reads all containers' logs with the permissions of its service account.
Elsewhere, name a cluster with --kubeconfig, or take pushes only with --no-kubernetes.

Flags (each can also be set in the environment: --data-dir is LOGSTACK_DATA_DIR):
`

// parseConfig reads the flags, and the environment for those that are not given.
func parseConfig(args []string, env func(string) (string, bool), help io.Writer) (*config, error) {
	cfg := &config{}
	fs := pflag.NewFlagSet("collector", pflag.ContinueOnError)
	cfg.flags = fs
	fs.SortFlags = false
	fs.SetOutput(io.Discard)
	var retention, maxDisk, memory, sync, limits, level, format string
	fs.StringVar(&cfg.dataDir, "data-dir", "/data", "directory `DIR` that holds the log database; created if missing")
	fs.StringVar(&cfg.listenAddress, "listen-address", ":3100", "`ADDRESS` to serve HTTP on; port 0 picks a free one")
	fs.StringVar(&cfg.addressFile, "address-file", "", "write the address that is served into `FILE` once it is")
	fs.StringVar(&cfg.kubeconfig, "kubeconfig", "", "kubeconfig `FILE` of the cluster to collect from, when not running inside of it")
	fs.StringVar(&cfg.kubeContext, "context", "", "context `NAME` of the kubeconfig instead of its current one")
	fs.BoolVar(&cfg.noKubernetes, "no-kubernetes", false, "collect no container logs; only take pushes")
	fs.StringSliceVar(&cfg.namespaces, "namespace", nil, "collect from this namespace `NAME` only; may be repeated (default all)")
	cfg.replicas.add(fs)
	fs.StringVar(&retention, "retention", "7d", "`AGE` at which entries are removed, such as 12h or 30d; 0 keeps them for ever")
	fs.StringVar(&maxDisk, "max-disk", "10GiB", "`SIZE` of the database beyond which the oldest entries are removed; 0 is no limit")
	fs.StringVar(&memory, "memory-limit", "auto", "`SIZE` of memory to stay below; auto is the container's limit, or 512MiB without one")
	fs.StringVar(&sync, "sync-interval", "0s", "shortest `TIME` between two syncs to disk; 200ms spares SD cards, writers wait as long")
	fs.BoolVar(&cfg.noLevels, "no-detected-level", false, "do not add the detected_level of each line as structured metadata")
	fs.StringVar(&limits, "limits", "", "YAML `FILE` of limits for what is pushed, named as in Loki's limits_config, its otlp_config included")
	cfg.events.add(fs)
	cfg.nodeFiles.add(fs)
	cfg.secure.add(fs)
	cfg.peers.add(fs)
	fs.StringVar(&level, "log-level", "info", "least `LEVEL` of the collector's own log: debug, info, warn or error")
	fs.StringVar(&format, "log-format", "logfmt", "`FORMAT` of the collector's own log: logfmt or json")
	fs.BoolVar(&cfg.pprof, "pprof", false, "serve Go profiles at /debug/pprof/")
	fs.BoolVar(&cfg.showVersion, "version", false, "print the version and exit")

	if err := fs.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			_, _ = fmt.Fprint(help, usageHead, fs.FlagUsagesWrapped(100))
		}
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q: there are only flags", fs.Arg(0))
	}
	if cfg.showVersion {
		return cfg, nil
	}
	errs := []error{fromEnvironment(fs, env)}
	parse := func(flag string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("--%s %w", flag, err))
		}
	}
	var err error
	cfg.retention, err = parseDuration(retention)
	parse("retention", err)
	cfg.syncInterval, err = parseDuration(sync)
	parse("sync-interval", err)
	cfg.maxDisk, err = parseSize(maxDisk)
	parse("max-disk", err)
	if memory != "auto" {
		cfg.memoryLimit, err = parseSize(memory)
		if err == nil && cfg.memoryLimit < minMemory {
			err = fmt.Errorf("%q: the collector needs at least %s", memory, humanize.IBytes(minMemory))
		}
		parse("memory-limit", err)
	}
	cfg.logLevel = &slog.LevelVar{}
	cfg.limits, err = readLimits(limits)
	parse("limits", err)
	cfg.logger, err = newLogger(os.Stderr, cfg.logLevel, level, format)
	if err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, cfg.check(), cfg.events.check(), cfg.nodeFiles.check(), cfg.secure.check(), cfg.peers.check())
	return cfg, errors.Join(errs...)
}

// readLimits reads the limits of pushes; without a file they are the defaults.
func readLimits(file string) (lokiapi.Limits, error) {
	limits := lokiapi.DefaultLimits()
	if file == "" {
		return limits, nil
	}
	text, err := os.ReadFile(file)
	if err == nil {
		err = lokiapi.ParseLimits(text, &limits)
	}
	if err != nil {
		return limits, fmt.Errorf("%s: %w", file, err)
	}
	return limits, nil
}

// check refuses combinations that make no sense.
func (c *config) check() error {
	switch {
	case c.dataDir == "":
		return errors.New("--data-dir is empty: name a directory")
	case c.noKubernetes && c.kubeconfig != "":
		return errors.New("--no-kubernetes and --kubeconfig contradict each other: give one of them")
	case c.noKubernetes && len(c.namespaces) > 0:
		return errors.New("--no-kubernetes and --namespace contradict each other: give one of them")
	case c.kubeContext != "" && c.kubeconfig == "":
		return errors.New("--context needs --kubeconfig")
	}
	abs, err := filepath.Abs(c.dataDir)
	if err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	c.dataDir = abs
	return c.replicas.complete(c.noKubernetes)
}

// envName is the environment variable of a flag. Kubernetes itself sets
// LOGSTACK_PORT and LOGSTACK_SERVICE_… for the Service of that name: no flag may
// be called so.
func envName(flag string) string {
	return "LOGSTACK_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fromEnvironment sets the flags that were not given from their variables.
func fromEnvironment(fs *pflag.FlagSet, env func(string) (string, bool)) error {
	var errs []error
	fs.VisitAll(func(f *pflag.Flag) {
		value, ok := env(envName(f.Name))
		if f.Changed || !ok || f.Name == "version" || f.Name == "help" {
			return
		}
		if err := fs.Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("environment variable %s: %w", envName(f.Name), err))
		}
	})
	return errors.Join(errs...)
}

func parseDuration(s string) (time.Duration, error) {
	d, err := commonmodel.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration: write it like 90m, 12h or 7d", s)
	}
	return time.Duration(d), nil
}

func parseSize(s string) (int64, error) {
	n, err := humanize.ParseBytes(s)
	if err != nil || n > 1<<62 {
		return 0, fmt.Errorf("%q is not a size: write it like 500MiB or 10GiB", s)
	}
	return int64(n), nil
}

// newLogger sets at to level and returns a logger that follows it.
func newLogger(w io.Writer, at *slog.LevelVar, level, format string) (*slog.Logger, error) {
	if err := at.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: use debug, info, warn or error", level)
	}
	o := &slog.HandlerOptions{Level: at}
	switch format {
	case "logfmt":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("--log-format %q: use logfmt or json", format)
}

// effective prints the flags as they are in force, as YAML.
func (c *config) effective() []byte {
	var b strings.Builder
	c.flags.VisitAll(func(f *pflag.Flag) {
		if f.Name != "version" && f.Name != "help" {
			fmt.Fprintf(&b, "%s: %q\n", f.Name, f.Value)
		}
	})
	return []byte(b.String())
}
