package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/bare"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/binaries"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "cluster: %v\n", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	var kind, dir string
	root := &cobra.Command{
		Use:           "cluster",
		Short:         "A Kubernetes cluster to develop and test against",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentFlags().StringVar(&kind, "cluster", envOr("CLUSTER", "bare"), "bare, kind or current (environment: CLUSTER)")
	root.PersistentFlags().StringVar(&dir, "dir", "", "state directory of a bare cluster (environment: LOGSTACK_CLUSTER_DIR; default "+bare.DefaultDir+")")
	add := func(use, short string, args cobra.PositionalArgs, run func(*cobra.Command, provider, []string) error) {
		root.AddCommand(&cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
			p, err := newProvider(kind, dir, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return run(cmd, p, args)
		}})
	}
	add("up", "Start the cluster and wait until it runs pods", cobra.NoArgs, func(cmd *cobra.Command, p provider, _ []string) error {
		if err := p.Up(cmd.Context()); err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), p.Kubeconfig())
		return nil
	})
	add("down", "Stop the cluster and remove every trace of it", cobra.NoArgs, func(cmd *cobra.Command, p provider, _ []string) error {
		return p.Down(cmd.Context())
	})
	add("status", "Show what runs", cobra.NoArgs, func(cmd *cobra.Command, p provider, _ []string) error {
		return p.Status(cmd.Context(), cmd.OutOrStdout())
	})
	add("load ARCHIVE...", "Load image archives into the node", cobra.MinimumNArgs(1), func(cmd *cobra.Command, p provider, args []string) error {
		return p.Load(cmd.Context(), args...)
	})
	add("kubeconfig", "Print the path of the kubeconfig", cobra.NoArgs, func(cmd *cobra.Command, p provider, _ []string) error {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), p.Kubeconfig())
		return err
	})
	add("apply FILE|DIR...", "Apply manifests and wait until their Deployments are available", cobra.MinimumNArgs(1), func(cmd *cobra.Command, p provider, args []string) error {
		return applyManifests(cmd.Context(), p, kind == "bare", args, cmd.ErrOrStderr())
	})
	root.AddCommand(buildCommand())
	return root
}

// buildCommand fills the cache of programs, which `up` and the API rig use.
func buildCommand() *cobra.Command {
	return &cobra.Command{
		Use: "build [PROGRAM...]", Short: "Build programs into the cache and print their paths",
		Long:      "Build programs into the cache and print their paths.\nWithout a name: etcd and kube-apiserver, which the API rig needs. Known: " + strings.Join(binaries.Names(), ", ") + ".",
		ValidArgs: binaries.Names(), Args: cobra.OnlyValidArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			cache, err := binaries.Open("", cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if len(args) == 0 {
				args = []string{binaries.Etcd, binaries.APIServer}
			}
			for _, name := range args {
				path, err := cache.Build(cmd.Context(), name)
				if err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), path)
			}
			return nil
		},
	}
}

func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}
