package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/pkg/install"
	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

func newUninstallCmd(a *app) *cobra.Command {
	var purge bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Take the collector out of the cluster",
		Long: `Take the collector out of the cluster. The collected logs (the volume claim) and
the namespace stay unless --purge is given; what stayed is listed.`,
		Example: `  kubectl logstack uninstall
  kubectl logstack uninstall --purge   # the collected logs, too`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runUninstall(cmd.Context(), a, purge, timeout)
		},
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "Also delete the volume claim with all collected logs, and the namespace if install created it.")
	cmd.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "How long to wait for the collector to stop.")
	return cmd
}

func runUninstall(ctx context.Context, a *app, purge bool, timeout time.Duration) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	progress := output.NewProgress(a.ErrOut, a.err())
	defer progress.Done()
	found := false
	kept, err := install.Uninstall(ctx, c, installNamespace(a), purge, install.Observer{
		Applied: func(object string, change kube.Change) {
			found = found || change == kube.Deleted
			progress.Step(fmt.Sprintf("%s %s", object, change))
		},
		Waiting: progress.Wait,
	})
	if err != nil {
		return err
	}
	progress.Done()
	if !found {
		fmt.Fprintf(a.ErrOut, "nothing was installed in namespace %s\n", installNamespace(a))
	}
	for _, k := range kept {
		fmt.Fprintln(a.ErrOut, "kept: "+k)
	}
	if len(kept) > 0 && !purge {
		fmt.Fprintln(a.ErrOut, "  --purge deletes them, too")
	}
	return nil
}
