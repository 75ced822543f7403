package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/pkg/install"
	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

func newDiffCmd(a *app) *cobra.Command {
	f := &installFlags{dryRun: "none", diff: true}
	cmd := &cobra.Command{
		Use:   "diff",
		Short: "Show what install would change",
		Long: `Show what install or upgrade would change, with the values that the installation
has and those that are given. The API server works it out and stores nothing.

Exit codes: 0 nothing would change, 1 something would, 2 wrong usage, 3 it could
not be found out.`,
		Example: `  kubectl logstack diff
  kubectl logstack diff --retention 30d
  kubectl logstack diff --values values.yaml > change.diff`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runInstall(cmd.Context(), a, f, cmd.Flags().Changed)
		},
	}
	f.valueFlags.add(cmd)
	cmd.Flags().BoolVar(&f.force, "force-conflicts", false, "As if the fields that another manager owns were taken over.")
	return cmd
}

// printDiff prints a unified diff of all objects, and ends with exit code 1 when
// there is any, as diff does.
func printDiff(ctx context.Context, a *app, c *kube.Client, opts install.Options) error {
	diffs, err := install.Diff(ctx, c, opts)
	if err != nil {
		return undecided(err)
	}
	t := a.out()
	changes := 0
	for _, d := range diffs {
		if d.Text == "" {
			continue
		}
		changes++
		for line := range strings.Lines(d.Text) {
			line = strings.TrimSuffix(line, "\n")
			if style := diffStyle(line); style != "" {
				line = t.Paint(style, line)
			}
			if _, err := fmt.Fprintln(a.Out, line); err != nil {
				return err
			}
		}
	}
	if changes == 0 {
		fmt.Fprintf(a.ErrOut, "nothing would change (%d objects)\n", len(diffs))
		return nil
	}
	fmt.Fprintf(a.ErrOut, "%d of %d objects would change\n", changes, len(diffs))
	return &silentError{exitFailed}
}

func diffStyle(line string) output.Style {
	switch {
	case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"), strings.HasPrefix(line, "@@"):
		return output.Faint
	case strings.HasPrefix(line, "+"):
		return output.Green
	case strings.HasPrefix(line, "-"):
		return output.Red
	}
	return ""
}

// undecided keeps exit code 1 for "something would change".
func undecided(err error) error {
	var usage *usageError
	if err == nil || errors.As(err, &usage) || errors.Is(err, context.Canceled) {
		return err
	}
	return &codeError{err: err, code: exitNoConnect}
}
