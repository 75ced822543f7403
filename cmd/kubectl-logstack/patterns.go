package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

type patternsFlags struct {
	exploreFlags
	limit int
}

func newPatternsCmd(a *app) *cobra.Command {
	f := &patternsFlags{}
	cmd := &cobra.Command{
		Use:   "patterns SELECTOR",
		Short: "Group lines by their shape, to see what a log mostly says",
		Long: `Group the lines of streams by their shape: <_> stands for what differs. The most
frequent come first. A pattern can be searched for, or left out, as it is:
{app="web"} |> "GET <_> 200" and {app="web"} !> "GET <_> 200".
` + targetHelp,
		Example: `  # what fills this log?
  kubectl logstack patterns '{app="checkout"}'

  # and what else is in it?
  kubectl logstack query '{app="checkout"} !> "GET <_> HTTP/1.1 200 <_>"'`,
		Args:              between(1, 1, "one selector"),
		ValidArgsFunction: a.completeSelector(&f.exploreFlags.target, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPatterns(cmd.Context(), a, f, args[0])
		},
	}
	f.add(a, cmd, "1h", "table", "json", "jsonl")
	cmd.Flags().IntVar(&f.limit, "limit", 30, "Most patterns to show; 0 shows all.")
	return cmd
}

const (
	// patternTrend is the number of steps that show how a pattern goes over time.
	patternTrend = 20
	// minPatternStep is the finest that Loki counts patterns in.
	minPatternStep = 10 * time.Second
)

func runPatterns(ctx context.Context, a *app, f *patternsFlags, query string) error {
	if _, err := parseLogQuery(a, query); err != nil {
		return err
	}
	if f.limit < 0 {
		return usagef("--limit %d: a number of patterns, or 0 for all", f.limit)
	}
	r, s, done, err := f.open(ctx, a)
	if err != nil {
		return err
	}
	defer done()
	step := max(niceStep(s.end.Sub(s.start), patternTrend), minPatternStep)
	patterns, err := r.Patterns(ctx, lokiapi.RangeRequest{Query: query, Start: s.start, End: s.end, Step: step})
	if err != nil {
		return explainMissing(err, "patterns (Loki: pattern_ingester.enabled)")
	}
	slices.SortStableFunc(patterns, func(x, y lokiapi.Pattern) int { return int(min(1, max(-1, y.Total()-x.Total()))) })
	if len(patterns) == 0 {
		fmt.Fprintln(a.ErrOut, "no patterns; Loki keeps them for a few hours only, and a single line makes none")
	}
	if more := len(patterns) - f.limit; f.limit > 0 && more > 0 {
		patterns = patterns[:f.limit]
		fmt.Fprintf(a.ErrOut, "note: %d more are rarer; --limit shows more, 0 all\n", more)
	}
	if f.format != "table" {
		return printJSON(a.Out, f.format, patterns)
	}
	return printPatterns(a, patterns, s, step)
}

func printPatterns(a *app, patterns []lokiapi.Pattern, s span, step time.Duration) error {
	if len(patterns) == 0 {
		return nil
	}
	t := a.out()
	rows := make([][]string, len(patterns))
	for i := range patterns {
		p := &patterns[i]
		rows[i] = []string{
			humanize.Comma(p.Total()), orDash(p.Level),
			output.Sparkline(trend(p.Samples, s, step), patternTrend+1, t),
			t.Cell(strings.ReplaceAll(p.Pattern, "\n", "\\n")),
		}
	}
	if t.Width > 0 {
		cutColumn(rows, 3, t.Width)
	}
	return output.Table(a.Out, []string{"LINES", "LEVEL", "OVER TIME", "PATTERN"}, rows)
}

// trend has the samples in their steps of the range; steps are multiples of
// their length since the epoch.
func trend(samples []lokiapi.PatternSample, s span, step time.Duration) []float64 {
	width := max(int64(step/time.Second), 1)
	first := s.start.Unix() / width
	out := make([]float64, s.end.Unix()/width-first+1)
	for _, p := range samples {
		if i := p.Time/width - first; i >= 0 && i < int64(len(out)) {
			out[i] += float64(p.Count)
		}
	}
	return out
}
