package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/pkg/version"
)

func newVersionCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of the plugin",
		Example: "  kubectl logstack version",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.Out, "kubectl-logstack "+version.String())
			return err
		},
	}
}
