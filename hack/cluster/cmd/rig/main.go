// Command rig runs the API rig in the foreground: a real API server with played
// nodes and pods that log, for a machine without root or a container runtime.
//
//	rig up --dir DIR [--demo=false]
//
// When everything is up it prints, for a shell to evaluate, where the
// kubeconfigs of the administrator and of the collector are, and writes the same
// to DIR/ready. SIGINT or SIGTERM stops everything.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig"
)

const usage = `usage: rig up --dir DIR [--demo=false]

Starts etcd, kube-apiserver and two played nodes on 127.0.0.1, with pods that
log, and stays in the foreground until SIGINT or SIGTERM.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "rig:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	if len(args) == 0 || args[0] != "up" {
		fmt.Fprint(stderr, usage)
		if len(args) > 0 && (args[0] == "help" || args[0] == "--help" || args[0] == "-h") {
			return nil
		}
		return errors.New("the command is missing or unknown: use `rig up`")
	}
	flags := flag.NewFlagSet("rig up", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dir := flags.String("dir", "", "directory for every file of the rig (required)")
	demo := flags.Bool("demo", true, "run pods that log")
	apiserver := flags.String("kube-apiserver", "", "kube-apiserver program (default: built from its Go module)")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if *dir == "" {
		return errors.New("--dir is required: name a directory for the rig's files")
	}
	ready := filepath.Join(*dir, "ready")
	if err := os.Remove(ready); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	r, err := rig.Start(ctx, rig.Options{Dir: *dir, APIServer: *apiserver, Log: stderr})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(ready), r.Stop()) }()
	collector, err := r.ServiceAccount(ctx, rig.ServiceAccount{})
	if err != nil {
		return err
	}
	var apps *demoApps
	if *demo {
		if apps, err = startDemo(ctx, r); err != nil {
			return err
		}
		defer apps.stop()
	}
	env := fmt.Sprintf("export KUBECONFIG=%s\nexport COLLECTOR_KUBECONFIG=%s\n", r.Kubeconfig(), collector)
	if err := os.WriteFile(ready, []byte(env), 0o644); err != nil {
		return err
	}
	fmt.Fprint(stdout, env)
	fmt.Fprintln(stderr, "the rig is up; Ctrl-C stops it")
	<-ctx.Done()
	return nil
}
