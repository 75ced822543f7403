package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "loggen: %v\n", err)
	}
	os.Exit(code)
}

// options are what flags and environment say.
type options struct {
	format string
	rate   float64
	count  uint64
	start  uint64
	id     string
	seed   uint64
	errors float64
	pad    int
	hold   bool
	exit   int
	verify bool
}

// maxRate bounds the lines per second: beyond it a pipe is the limit anyway.
const maxRate = 1_000_000

func run(ctx context.Context, args []string, getenv func(string) string, in io.Reader, out, errOut io.Writer) (int, error) {
	opts, err := parse(args, getenv, errOut)
	if err != nil {
		return 2, err
	}
	if opts.verify {
		report, err := verify(in)
		if err != nil {
			return 2, err
		}
		if _, err := io.WriteString(out, report.String()); err != nil {
			return 2, err
		}
		if !report.ok() {
			return 1, nil
		}
		return 0, nil
	}
	if err := generate(ctx, opts, out); err != nil {
		return 1, err
	}
	if opts.hold {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return 0, nil
	}
	return opts.exit, nil
}

func parse(args []string, getenv func(string) string, errOut io.Writer) (options, error) {
	var o options
	fs := flag.NewFlagSet("loggen", flag.ContinueOnError)
	fs.SetOutput(errOut)
	fs.StringVar(&o.format, "format", "text", "form of the lines: "+strings.Join(formatNames(), ", "))
	fs.Float64Var(&o.rate, "rate", 1, "lines per `second`; 0 is as fast as possible")
	fs.Uint64Var(&o.count, "count", 0, "`number` of lines; 0 is without end")
	fs.Uint64Var(&o.start, "start", 1, "first `number`")
	fs.StringVar(&o.id, "id", "", "`name` of the writer (default: the host name, which is the pod's)")
	fs.Uint64Var(&o.seed, "seed", 1, "`number` that the texts depend on")
	fs.Float64Var(&o.errors, "errors", 0.05, "`share` of error lines, 0 to 1")
	fs.IntVar(&o.pad, "pad", 0, "`bytes` of random text added to each line")
	fs.BoolVar(&o.hold, "hold", false, "after the last line wait for a signal instead of ending")
	fs.IntVar(&o.exit, "exit", 0, "exit `code` after the last line")
	fs.BoolVar(&o.verify, "verify", false, "check lines from standard input instead of writing any")
	var envErr error
	fs.VisitAll(func(f *flag.Flag) {
		name := strings.ToUpper(f.Name)
		// HOSTNAME and the like are no flags, but PAD or EXIT may be set and empty.
		if v := getenv(name); v != "" && envErr == nil {
			if err := fs.Set(f.Name, v); err != nil {
				envErr = fmt.Errorf("environment variable %s=%q: %w", name, v, err)
			}
		}
	})
	if envErr != nil {
		return o, envErr
	}
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	return o, o.validate(fs.Args())
}

// validate reports everything that is wrong at once, and fills in the id.
func (o *options) validate(rest []string) error {
	var errs []error
	if len(rest) > 0 {
		errs = append(errs, fmt.Errorf("unexpected argument %q", rest[0]))
	}
	if _, ok := formats[o.format]; !ok {
		errs = append(errs, fmt.Errorf("-format %q: have %s", o.format, strings.Join(formatNames(), ", ")))
	}
	if math.IsNaN(o.rate) || o.rate < 0 || o.rate > maxRate {
		errs = append(errs, fmt.Errorf("-rate %v: want 0 to %d", o.rate, maxRate))
	}
	if math.IsNaN(o.errors) || o.errors < 0 || o.errors > 1 {
		errs = append(errs, fmt.Errorf("-errors %v: want 0 to 1", o.errors))
	}
	if o.pad < 0 || o.pad > 1<<20 {
		errs = append(errs, fmt.Errorf("-pad %d: want 0 to 1048576", o.pad))
	}
	if o.id == "" {
		name, err := os.Hostname()
		if err != nil {
			errs = append(errs, fmt.Errorf("name of the writer (set -id): %w", err))
		}
		o.id = name
	}
	if strings.ContainsAny(o.id, " \t\"\\=") {
		errs = append(errs, fmt.Errorf("-id %q: blanks, quotes, backslashes and = would break the line", o.id))
	}
	return errors.Join(errs...)
}

// tick is the longest time between two writes; faster rates write several lines
// a tick.
const tick = 10 * time.Millisecond

// generate writes lines at the rate until the count is reached or ctx ends. What
// a slow reader has delayed is made up for, so that the count stays rate × time.
func generate(ctx context.Context, o options, out io.Writer) error {
	w := bufio.NewWriterSize(out, 64<<10)
	g := newGenerator(o)
	begin := time.Now()
	for done := uint64(0); o.count == 0 || done < o.count; {
		due := uint64(1000)
		if o.rate > 0 {
			// The first line comes at once.
			due = 1 + uint64(time.Since(begin).Seconds()*o.rate)
			due -= min(due, done)
		}
		if o.count > 0 {
			due = min(due, o.count-done)
		}
		for range due {
			if _, err := w.Write(g.next(time.Now())); err != nil {
				return fmt.Errorf("write line %d: %w", g.seq-1, err)
			}
		}
		done += due
		if err := w.Flush(); err != nil {
			return fmt.Errorf("write line %d: %w", g.seq-1, err)
		}
		if ctx.Err() != nil {
			return nil
		}
		if o.rate == 0 {
			continue
		}
		next := begin.Add(time.Duration(float64(done) / o.rate * float64(time.Second)))
		wait := max(time.Until(next), tick)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
	return nil
}
