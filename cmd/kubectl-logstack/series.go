package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

type seriesFlags struct {
	exploreFlags
	analyze bool
}

func newSeriesCmd(a *app) *cobra.Command {
	f := &seriesFlags{}
	cmd := &cobra.Command{
		Use:   "series [SELECTOR]",
		Short: "List the streams: every set of labels that lines have",
		Long: `List the streams: every set of labels that lines have, of all streams or of those
that a selector matches.

--analyze-labels tells instead how many values each label has and in how many
streams it is: a label with very many values makes very many streams.
` + targetHelp,
		Example: `  # all streams of a namespace
  kubectl logstack series '{namespace="shop"}'

  # which label makes so many streams?
  kubectl logstack series --analyze-labels --since 1d`,
		Args:              atMost(1, "one selector"),
		ValidArgsFunction: a.completeSelector(&f.exploreFlags.target, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runSeries(cmd.Context(), a, f, argOr(args, 0, ""))
		},
	}
	f.add(a, cmd, "1h", "text", "json", "jsonl")
	cmd.Flags().BoolVar(&f.analyze, "analyze-labels", false, "Count the values of each label instead.")
	return cmd
}

func argOr(args []string, i int, otherwise string) string {
	if i < len(args) {
		return args[i]
	}
	return otherwise
}

func runSeries(ctx context.Context, a *app, f *seriesFlags, selector string) error {
	selector, err := parseSelector(a, selector)
	if err != nil {
		return err
	}
	r, s, done, err := f.open(ctx, a)
	if err != nil {
		return err
	}
	defer done()
	series, err := r.Series(ctx, s.metadata(selector))
	if err != nil {
		return explainAnswer(err)
	}
	slices.SortFunc(series, labels.Compare)
	if len(series) == 0 {
		fmt.Fprintln(a.ErrOut, "no streams match; look further back with --since, or see what there is: kubectl logstack labels")
	}
	if f.analyze {
		return printCardinality(a, f.format, series)
	}
	if f.format == "text" {
		for _, ls := range series {
			if _, err := fmt.Fprintln(a.Out, ls.String()); err != nil {
				return err
			}
		}
		return nil
	}
	maps := make([]map[string]string, len(series))
	for i, ls := range series {
		maps[i] = ls.Map()
	}
	return printJSON(a.Out, f.format, maps)
}

// cardinality is what a label adds to the number of streams; fields are only
// ever added.
type cardinality struct {
	Label   string `json:"label"`
	Values  int    `json:"values"`
	Streams int    `json:"streams"`
}

func analyze(series []labels.Labels) []cardinality {
	values := map[string]map[string]bool{}
	streams := map[string]int{}
	for _, ls := range series {
		ls.Range(func(l labels.Label) {
			if values[l.Name] == nil {
				values[l.Name] = map[string]bool{}
			}
			values[l.Name][l.Value] = true
			streams[l.Name]++
		})
	}
	out := make([]cardinality, 0, len(values))
	for name, vs := range values {
		out = append(out, cardinality{name, len(vs), streams[name]})
	}
	slices.SortFunc(out, func(x, y cardinality) int {
		return cmp.Or(cmp.Compare(y.Values, x.Values), cmp.Compare(x.Label, y.Label))
	})
	return out
}

func printCardinality(a *app, format string, series []labels.Labels) error {
	list := analyze(series)
	if format != "text" {
		return printJSON(a.Out, format, list)
	}
	fmt.Fprintf(a.ErrOut, "%d streams, %d labels\n", len(series), len(list))
	rows := make([][]string, len(list))
	for i, c := range list {
		rows[i] = []string{c.Label, fmt.Sprint(c.Values), fmt.Sprint(c.Streams)}
	}
	return output.Table(a.Out, []string{"LABEL", "VALUES", "STREAMS"}, rows)
}
