// Command kubectl-logstack is the kubectl plugin: it installs the collector,
// queries the collected logs and explains why logs do not flow. One file holds
// one command; main.go holds what all share: streams, signals, how errors are told.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // exec, OIDC and cloud logins of kubeconfigs
	"k8s.io/client-go/rest"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

func main() {
	// A reader of our output that has seen enough (head, less) is no failure:
	// with a handler the write ends with EPIPE and not the process with SIGPIPE.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	os.Exit(run(asCompletion(os.Args[0], os.Args[1:]), genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}))
}

// run is main without the process: tests call it.
func run(args []string, streams genericiooptions.IOStreams) int {
	// client-go prints what fails in the background; our errors say it better.
	utilruntime.ErrorHandlers = nil
	// What the API server warns of is said as kubectl says it, once.
	rest.SetDefaultWarningHandler(rest.NewWarningWriter(streams.ErrOut, rest.WarningWriterOptions{Deduplicate: true}))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	streams.In = untilDone(ctx, streams.In)
	cmd := newRootCmd(streams)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	return report(ctx, streams, err)
}

// usageError marks what the caller of the command has to change.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// silentError ends a command whose output has said everything, with a code.
type silentError struct{ code int }

func (e *silentError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// codeError is an error with an exit code of its own.
type codeError struct {
	err  error
	code int
}

func (e *codeError) Error() string { return e.err.Error() }
func (e *codeError) Unwrap() error { return e.err }

// report prints the error, if any, and returns the exit code.
func report(ctx context.Context, streams genericiooptions.IOStreams, err error) int {
	var (
		usage   *usageError
		silent  *silentError
		coded   *codeError
		cluster *kube.ClusterError
		noSvc   *kube.NoServiceError
		noEnd   *kube.NoEndpointsError
		network *net.OpError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &silent):
		return silent.code
	case errors.Is(err, syscall.EPIPE) && !errors.As(err, &network):
		return exitOK
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	// What a server answers is part of some errors.
	fmt.Fprintln(streams.ErrOut, output.Detect(streams.ErrOut, output.ColorNever).Line("error: "+err.Error()))
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, &cluster), errors.As(err, &noSvc), errors.As(err, &noEnd):
		return exitNoConnect
	}
	return exitFailed
}
