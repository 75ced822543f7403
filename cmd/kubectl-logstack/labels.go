package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

type labelsFlags struct {
	exploreFlags
	match string
}

func newLabelsCmd(a *app) *cobra.Command {
	f := &labelsFlags{}
	cmd := &cobra.Command{
		Use:   "labels [NAME]",
		Short: "List the labels that can be queried, or the values of one",
		Long: `List the labels that streams have, with the number of their values, or the values
of one label.
` + targetHelp,
		Example: `  # which labels are there, and with how many values?
  kubectl logstack labels

  # which apps of one namespace logged in the last day?
  kubectl logstack labels app --match '{namespace="shop"}' --since 1d`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("labels takes at most one label name, got %q", args)
			}
			return nil
		},
		ValidArgsFunction: a.completeLabelName(&f.exploreFlags.target),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runLabels(cmd.Context(), a, f, argOr(args, 0, ""))
		},
	}
	f.add(a, cmd, "1h", "table", "name", "json")
	cmd.Flags().StringVar(&f.match, "match", "", `Only streams that match a selector: '{namespace="shop"}'.`)
	_ = cmd.RegisterFlagCompletionFunc("match", a.completeSelector(&f.exploreFlags.target, 0))
	return cmd
}

func runLabels(ctx context.Context, a *app, f *labelsFlags, name string) error {
	if f.match != "" {
		if _, err := parseSelector(a, f.match); err != nil {
			return err
		}
	}
	client, s, done, err := f.open(ctx, a)
	if err != nil {
		return err
	}
	defer done()
	req := s.metadata(f.match)
	if name != "" {
		values, err := client.LabelValues(ctx, name, req)
		if err != nil {
			return explainAnswer(err)
		}
		if len(values) == 0 {
			fmt.Fprintf(a.ErrOut, "label %q has no values since %s; kubectl logstack labels lists the labels\n", name, s.start.Format(time.DateTime))
		}
		return printNames(a, f.format, strings.ToUpper(name), values)
	}
	names, err := client.Labels(ctx, req)
	if err != nil {
		return explainAnswer(err)
	}
	if f.format != "table" {
		return printNames(a, f.format, "LABEL", names)
	}
	return printLabelTable(ctx, a, client, req, names)
}

// printLabelTable shows how many values each label has, and the first ones:
// what a person needs to write a selector.
func printLabelTable(ctx context.Context, a *app, client *remote, req lokiapi.MetadataRequest, names []string) error {
	const examples = 4
	rows := make([][]string, 0, len(names))
	for _, n := range names {
		values, err := client.LabelValues(ctx, n, req)
		if err != nil {
			return explainAnswer(err)
		}
		shown := a.out().Cell(strings.Join(values[:min(examples, len(values))], ", "))
		if len(values) > examples {
			shown += ", …"
		}
		rows = append(rows, []string{n, fmt.Sprint(len(values)), shown})
	}
	if width := a.out().Width; width > 0 {
		cutColumn(rows, 2, width)
	}
	return output.Table(a.Out, []string{"LABEL", "VALUES", "EXAMPLES"}, rows)
}

// cutColumn shortens the last column so that rows fit the terminal.
func cutColumn(rows [][]string, column, width int) {
	used := 0
	for i := range column {
		longest := len("VALUES")
		for _, r := range rows {
			longest = max(longest, len(r[i]))
		}
		used += longest + 2
	}
	room := max(width-used, 20)
	for _, r := range rows {
		if runes := []rune(r[column]); len(runes) > room {
			r[column] = string(runes[:room-1]) + "…"
		}
	}
}

func printNames(a *app, format, header string, names []string) error {
	switch format {
	case "json":
		if names == nil {
			names = []string{}
		}
		return json.NewEncoder(a.Out).Encode(names)
	case "name":
		for _, n := range names {
			if _, err := fmt.Fprintln(a.Out, a.out().Cell(n)); err != nil {
				return err
			}
		}
		return nil
	case "table":
		rows := make([][]string, len(names))
		for i, n := range names {
			rows[i] = []string{a.out().Cell(n)}
		}
		return output.Table(a.Out, []string{header}, rows)
	}
	return fmt.Errorf("BUG: format %q was not checked", format)
}
