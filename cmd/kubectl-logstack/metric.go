package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

// metricFormats are the values of -o for a metric query, the default first.
var metricFormats = []string{"table", "chart", "json", "jsonl"}

// runMetricQuery prints numbers: at the end of the range, or with --step or as
// a chart over it.
func runMetricQuery(ctx context.Context, a *app, f *queryFlags, query string, s span) error {
	if f.follow {
		return usagef("--follow is for log lines; this is a metric query")
	}
	format := f.format
	if format == "text" {
		format = metricFormats[0]
	}
	if !slices.Contains(metricFormats, format) {
		return usagef("-o %s is for log lines; a metric query prints %s", f.format, orList(metricFormats))
	}
	var step time.Duration
	if f.step != "" {
		d, err := parseDuration("--step", f.step)
		if err != nil {
			return err
		}
		if step = time.Duration(d); step <= 0 {
			return usagef("--step %s: longer than nothing", f.step)
		}
	}
	toEnd := s
	if s.end.IsZero() {
		toEnd.end = time.Now()
	}
	if step == 0 && format == "chart" {
		step = niceStep(toEnd.end.Sub(s.start), output.PlotColumns(a.out()))
	}
	if s.end.IsZero() && step > 0 {
		toEnd.end = lastStep(toEnd, step)
	}
	client, done, err := a.connect(ctx, f.target)
	if err != nil {
		return err
	}
	defer done()
	var resp *lokiapi.QueryResponse
	if step == 0 {
		resp, err = client.Query(ctx, query, s.end)
	} else {
		resp, err = client.QueryRange(ctx, lokiapi.RangeRequest{Query: query, Start: s.start, End: toEnd.end, Step: step})
	}
	if err != nil {
		return explainAnswer(err)
	}
	if f.stats {
		var sum queryStats
		sum.add(resp)
		fmt.Fprintln(a.ErrOut, sum.String())
	}
	for _, w := range resp.Warnings {
		fmt.Fprintln(a.ErrOut, a.err().Line("note: "+w))
	}
	series := resp.Series
	if resp.ResultType == lokiapi.TypeScalar {
		series = []lokiapi.Series{{Points: []lokiapi.Point{resp.Scalar}}}
	}
	if len(series) == 0 {
		fmt.Fprintln(a.ErrOut, "the query has no result: no line matched in its range")
	}
	switch format {
	case "table":
		return printSeriesTable(a, series, step > 0, zone{f.utc}, "VALUE", formatValue)
	case "chart":
		return drawChart(a, series, toEnd, step, zone{f.utc}, nil)
	}
	return printSeriesJSON(a.Out, series, format == "json")
}

// lastStep is the last multiple of the step in a range that ends now. Servers
// round the end up: the last point would lie in the future, over a window that
// has only begun to fill, and every rate would seem to break down.
func lastStep(s span, step time.Duration) time.Time {
	ns := s.end.UnixNano()
	if last := time.Unix(0, ns-ns%int64(step)); !last.Before(s.start) {
		return last
	}
	return s.end
}

// printSeriesTable has a column per label name, then the value; ranges have a
// row per point.
func printSeriesTable(a *app, series []lokiapi.Series, withTime bool, z zone, what string, format func(float64) string) error {
	if len(series) == 0 {
		return nil
	}
	sets := make([]labels.Labels, len(series))
	for i := range series {
		sets[i] = series[i].Labels
	}
	names := labelNames(sets)
	var header []string
	if withTime {
		header = append(header, "TIME")
	}
	header = append(append(header, names...), what)
	var rows [][]string
	for _, s := range series {
		for _, p := range s.Points {
			var r []string
			if withTime {
				r = append(r, z.time(p.Time*int64(time.Millisecond)).Format("2006-01-02 15:04:05"))
			}
			for _, n := range names {
				r = append(r, a.out().Cell(s.Labels.Get(n)))
			}
			rows = append(rows, append(r, format(p.Value)))
		}
	}
	return output.Table(a.Out, header, rows)
}

// formatValue prints counts exactly and fractions with six digits: a table is
// for reading, JSON has them all.
func formatValue(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', 6, 64)
}

// printSeriesJSON writes one object per series, as lines or as one array.
func printSeriesJSON(w io.Writer, series []lokiapi.Series, array bool) error {
	var buf []byte
	sep, end := "\n", ""
	if array {
		buf = append(buf, '[')
		sep, end = ",\n ", "]\n"
	}
	for i, s := range series {
		if i > 0 && array {
			buf = append(buf, sep...)
		}
		buf = append(buf, `{"metric":`...)
		buf = lokiapi.AppendLabels(buf, s.Labels)
		buf = append(buf, `,"values":[`...)
		for j, p := range s.Points {
			if j > 0 {
				buf = append(buf, ',')
			}
			buf = append(buf, '[')
			buf = strconv.AppendFloat(buf, float64(p.Time)/1000, 'f', -1, 64)
			buf = append(buf, `,"`...)
			buf = lokiapi.AppendFloat(buf, p.Value)
			buf = append(buf, `"]`...)
		}
		buf = append(buf, "]}"...)
		if !array {
			buf = append(buf, '\n')
		}
	}
	_, err := w.Write(append(buf, end...))
	return err
}
