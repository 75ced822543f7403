package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

func newStatsCmd(a *app) *cobra.Command {
	f := &exploreFlags{}
	cmd := &cobra.Command{
		Use:   "stats QUERY",
		Short: "Tell how much a query would read, without running it",
		Long: `Tell how many streams, chunks, lines and bytes a query would read at most, from the
index alone. Only its stream selectors count; line filters make the server skip
much of it.
` + targetHelp,
		Example: `  kubectl logstack stats '{namespace="shop"}' --since 1d
  kubectl logstack stats 'sum(rate({namespace="shop"} |= "error" [5m]))' -o json`,
		Args:              between(1, 1, "one query"),
		ValidArgsFunction: a.completeQuery(&f.target),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runStats(cmd.Context(), a, f, args[0])
		},
	}
	f.add(a, cmd, "1h", "table", "json")
	return cmd
}

func runStats(ctx context.Context, a *app, f *exploreFlags, query string) error {
	expr, err := parseQuery(a, query)
	if err != nil {
		return err
	}
	r, s, done, err := f.open(ctx, a)
	if err != nil {
		return err
	}
	defer done()
	var selectors []string
	for _, sel := range logql.Selectors(expr) {
		if text := selectorText(sel); !slices.Contains(selectors, text) {
			selectors = append(selectors, text)
		}
	}
	var sum lokiapi.IndexStats
	for _, text := range selectors {
		st, err := r.IndexStats(ctx, s.metadata(text))
		if err != nil {
			return explainMissing(err, "index statistics")
		}
		sum.Streams += st.Streams
		sum.Chunks += st.Chunks
		sum.Entries += st.Entries
		sum.Bytes += st.Bytes
	}
	if f.format == "json" {
		return printJSON(a.Out, "jsonl", []lokiapi.IndexStats{sum})
	}
	return output.Table(a.Out, []string{"STREAMS", "CHUNKS", "LINES", "BYTES"}, [][]string{{
		humanize.Comma(sum.Streams), humanize.Comma(sum.Chunks), humanize.Comma(sum.Entries), humanize.IBytes(uint64(max(sum.Bytes, 0))),
	}})
}

// statsLine is one line about stats, for people who decide.
func statsLine(st lokiapi.IndexStats) string {
	return fmt.Sprintf("%s in %s, %s", count(st.Entries, "line"), count(st.Streams, "stream"), humanize.IBytes(uint64(max(st.Bytes, 0))))
}

// count is "1 line", "1,234 lines".
func count(n int64, what string) string {
	if n != 1 {
		what += "s"
	}
	return humanize.Comma(n) + " " + what
}
