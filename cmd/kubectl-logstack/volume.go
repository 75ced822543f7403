package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

type volumeFlags struct {
	exploreFlags
	by    []string
	step  string
	limit int
	utc   bool
}

func newVolumeCmd(a *app) *cobra.Command {
	f := &volumeFlags{}
	cmd := &cobra.Command{
		Use:   "volume [SELECTOR]",
		Short: "Show who logs how much",
		Long: `Show how many bytes of lines are stored, by label, the most first. Nothing is read
but the index, so it is quick for any range.

--by names the labels to group by. Without it, it is the first of namespace, app,
service_name and pod that the selector does not fix already. With --step, or
-o chart, it shows how the volume goes over time.
` + targetHelp,
		Example: `  # which namespaces log most?
  kubectl logstack volume --since 1d

  # which apps and containers of one of them?
  kubectl logstack volume '{namespace="shop"}' --by app,container

  # when did it begin?
  kubectl logstack volume '{namespace="shop"}' --by app --since 12h -o chart`,
		Args:              atMost(1, "one selector"),
		ValidArgsFunction: a.completeSelector(&f.exploreFlags.target, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runVolume(cmd.Context(), a, f, argOr(args, 0, ""))
		},
	}
	f.add(a, cmd, "1h", "table", "chart", "json", "jsonl")
	fl := cmd.Flags()
	fl.StringSliceVar(&f.by, "by", nil, "Labels to group by, separated by commas.")
	fl.StringVar(&f.step, "step", "", "Show the volume over the range, in steps of this length.")
	fl.IntVar(&f.limit, "limit", 20, "Most groups to show.")
	fl.BoolVar(&f.utc, "utc", false, "Print times in UTC instead of the local time zone.")
	_ = cmd.RegisterFlagCompletionFunc("by", a.completeLabelNames(&f.exploreFlags.target))
	return cmd
}

func runVolume(ctx context.Context, a *app, f *volumeFlags, selector string) error {
	selector, err := parseSelector(a, selector)
	if err != nil {
		return err
	}
	var step time.Duration
	if f.step != "" {
		d, err := parseDuration("--step", f.step)
		if err != nil {
			return err
		}
		if step = time.Duration(d); step < time.Second {
			return usagef("--step %s: at least 1s", f.step)
		}
	}
	if f.limit <= 0 {
		return usagef("--limit %d: a number of groups, at least 1", f.limit)
	}
	r, s, done, err := f.open(ctx, a)
	if err != nil {
		return err
	}
	defer done()
	req := s.metadata(selector)
	req.Limit, req.TargetLabels = f.limit, f.by
	if len(f.by) == 0 {
		if req.TargetLabels, err = volumeLabels(ctx, r, req); err != nil {
			return explainAnswer(err)
		}
	}
	var series []lokiapi.Series
	if step == 0 && f.format != "chart" {
		series, err = r.Volume(ctx, req)
	} else {
		if step == 0 {
			step = niceStep(s.end.Sub(s.start), output.PlotColumns(a.out()))
		}
		req.Step = step
		series, err = r.VolumeRange(ctx, req)
	}
	if err != nil {
		return explainMissing(err, "volumes (Loki: limits_config.volume_enabled)")
	}
	if len(series) == 0 {
		fmt.Fprintln(a.ErrOut, "nothing is stored there; look further back with --since, or see what there is: kubectl logstack labels")
	}
	z := zone{f.utc}
	switch {
	case f.format == "chart":
		return drawChart(a, series, s, step, z, formatBytes)
	case f.format != "table":
		return printSeriesJSON(a.Out, series, f.format == "json")
	case step > 0:
		return printSeriesTable(a, series, true, z, "BYTES", formatBytes)
	}
	return printVolume(a, series)
}

// volumeLabels picks the label that tells most about who logs: the widest one
// that the selector leaves open.
func volumeLabels(ctx context.Context, r *remote, req lokiapi.MetadataRequest) ([]string, error) {
	req.Limit = 0
	if req.Query == "{}" {
		req.Query = "" // means the same, and Loki refuses {} here
	}
	names, err := r.Labels(ctx, req)
	if err != nil {
		return nil, err
	}
	fixed := map[string]bool{}
	if req.Query != "" {
		ms, err := logql.ParseSelector(req.Query, logql.AllowEmptyMatchers())
		if err != nil {
			return nil, err
		}
		for _, m := range ms {
			fixed[m.Name] = m.Type == labels.MatchEqual
		}
	}
	for _, name := range []string{"namespace", "app", "service_name", "pod"} {
		if slices.Contains(names, name) && !fixed[name] {
			return []string{name}, nil
		}
	}
	return nil, nil
}

func formatBytes(v float64) string { return humanize.IBytes(uint64(max(v, 0))) }

// printVolume has a row per group with its share of all that is shown.
func printVolume(a *app, series []lokiapi.Series) error {
	if len(series) == 0 {
		return nil
	}
	value := func(s lokiapi.Series) float64 { return s.Points[len(s.Points)-1].Value }
	series = slices.DeleteFunc(series, func(s lokiapi.Series) bool { return len(s.Points) == 0 })
	slices.SortStableFunc(series, func(x, y lokiapi.Series) int { return cmp.Compare(value(y), value(x)) })
	sets := make([]labels.Labels, len(series))
	total, most := 0.0, 0.0
	for i, s := range series {
		sets[i] = s.Labels
		total += value(s)
		most = max(most, value(s))
	}
	names := labelNames(sets)
	var header []string
	for _, n := range names {
		header = append(header, strings.ToUpper(n))
	}
	header = append(header, "BYTES", "SHARE")
	rows := make([][]string, len(series))
	for i, s := range series {
		for _, n := range names {
			rows[i] = append(rows[i], orDash(a.out().Cell(s.Labels.Get(n))))
		}
		rows[i] = append(rows[i], formatBytes(value(s)), fmt.Sprintf("%.0f %%", 100*value(s)/max(total, 1)))
	}
	if bar := barWidth(header, rows, a.out().Width); bar > 0 {
		header = append(header, "")
		for i, s := range series {
			rows[i] = append(rows[i], output.HBar(value(s)/max(most, 1), bar, a.out()))
		}
	}
	if err := output.Table(a.Out, header, rows); err != nil {
		return err
	}
	fmt.Fprintf(a.ErrOut, "together %s\n", formatBytes(total))
	return nil
}

// barWidth is what a terminal of a width leaves for bars behind the other
// columns; bars of a few columns tell nothing.
func barWidth(header []string, rows [][]string, width int) int {
	const least, most = 8, 24
	if width <= 0 {
		return most
	}
	for c := range header {
		longest := utf8.RuneCountInString(header[c])
		for _, r := range rows {
			longest = max(longest, utf8.RuneCountInString(r[c]))
		}
		width -= longest + 2
	}
	if width < least {
		return 0
	}
	return min(width, most)
}

// orDash fills a cell of a table that would be empty.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
