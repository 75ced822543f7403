package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/logstack-dev/kubectl-logstack/pkg/reach"
)

const probeUsage = `collector probe looks whether URLs can be reached from where it runs: their name,
the connection, TLS and HTTP. kubectl logstack doctor --probe runs it in a pod.

Usage:
  collector probe [flags] URL...

A URL is http://, https:// or tcp://HOST:PORT. The exit code is 1 when one fails.

Flags:
`

// probe is the subcommand: it looks, prints a line for each URL, and writes a
// report for programs.
func probe(args []string, stdout, stderr io.Writer) int {
	fs := pflag.NewFlagSet("probe", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	timeout := fs.Duration("timeout", 5*time.Second, "`TIME` for each URL")
	report := fs.String("report", "", "write the answers as JSON into `FILE`, such as /dev/termination-log")
	switch err := fs.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		_, _ = fmt.Fprint(stderr, probeUsage, fs.FlagUsagesWrapped(100))
		return 0
	case err != nil:
		return probeFailed(stderr, err)
	case fs.NArg() == 0:
		return probeFailed(stderr, errors.New("name at least one URL"))
	}
	answers := reach.LookAll(context.Background(), fs.Args(), *timeout)
	code := 0
	for i, a := range answers {
		took := time.Duration(a.Millis) * time.Millisecond
		switch {
		case a.Failed != "":
			code = exitFailed
			_, _ = fmt.Fprintf(stdout, "%s %s: %s (%s)\n", fs.Arg(i), a.Failed, a.Error, took)
		case a.Status > 0:
			_, _ = fmt.Fprintf(stdout, "%s ok: HTTP %d (%s)\n", fs.Arg(i), a.Status, took)
		default:
			_, _ = fmt.Fprintf(stdout, "%s ok: connected (%s)\n", fs.Arg(i), took)
		}
	}
	if *report != "" {
		text, err := reach.Encode(answers)
		if err == nil {
			err = os.WriteFile(*report, text, 0o644)
		}
		if err != nil {
			_, _ = fmt.Fprintf(stderr, "collector probe: cannot write the report: %v\n", err)
			return exitFailed
		}
	}
	return code
}

func probeFailed(stderr io.Writer, err error) int {
	_, _ = fmt.Fprintf(stderr, "collector probe: %v\nRun 'collector probe --help' for the flags.\n", err)
	return exitUsage
}
