package main

import (
	"context"
	"encoding/json"
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

// queryStats adds up what the answers to a query say they cost: the summary of
// Loki's statistics.
type queryStats struct {
	Summary struct {
		Bytes     int64   `json:"totalBytesProcessed"`
		Lines     int64   `json:"totalLinesProcessed"`
		Passed    int64   `json:"totalPostFilterLines"`
		ExecTime  float64 `json:"execTime"`
		QueueTime float64 `json:"queueTime"`
	} `json:"summary"`
	answers int
}

// add counts one answer. A nil queryStats counts nothing.
func (s *queryStats) add(resp *lokiapi.QueryResponse) {
	var one queryStats
	if s == nil || len(resp.Stats) == 0 || json.Unmarshal(resp.Stats, &one) != nil || one == (queryStats{}) {
		return
	}
	s.answers++
	s.Summary.Bytes += one.Summary.Bytes
	s.Summary.Lines += one.Summary.Lines
	s.Summary.Passed += one.Summary.Passed
	s.Summary.ExecTime += one.Summary.ExecTime
	s.Summary.QueueTime += one.Summary.QueueTime
}

func (s *queryStats) String() string {
	if s.answers == 0 {
		return "stats: the server tells none"
	}
	m := s.Summary
	return fmt.Sprintf("stats: %s, %s read, %s passed the filters; %.3f s, %.3f s of it waiting",
		count(m.Lines, "line"), humanize.IBytes(uint64(max(m.Bytes, 0))), humanize.Comma(m.Passed), m.ExecTime+m.QueueTime, m.QueueTime)
}
