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

// runMetricQuery prints numbers: at the end of the range, or with --step over it.
func runMetricQuery(ctx context.Context, a *app, f *queryFlags, query string, start, end time.Time) error {
	if f.follow {
		return usagef("--follow is for log lines; this is a metric query")
	}
	format := f.format
	if format == "text" {
		format = "table"
	}
	if !slices.Contains([]string{"table", "json", "jsonl"}, format) {
		return usagef("-o %s is for log lines; a metric query prints table, json or jsonl", f.format)
	}
	client, done, err := a.connect(ctx, f.target)
	if err != nil {
		return err
	}
	defer done()
	var resp *lokiapi.QueryResponse
	if f.step == "" {
		resp, err = client.Query(ctx, query, end)
	} else {
		step, serr := parseDuration("--step", f.step)
		if serr != nil {
			return serr
		}
		if end.IsZero() {
			end = time.Now()
		}
		resp, err = client.QueryRange(ctx, lokiapi.RangeRequest{Query: query, Start: start, End: end, Step: time.Duration(step)})
	}
	if err != nil {
		return explainAnswer(err)
	}
	for _, w := range resp.Warnings {
		fmt.Fprintln(a.ErrOut, "note: "+w)
	}
	series := resp.Series
	if resp.ResultType == lokiapi.TypeScalar {
		series = []lokiapi.Series{{Points: []lokiapi.Point{resp.Scalar}}}
	}
	if len(series) == 0 {
		fmt.Fprintln(a.ErrOut, "the query has no result: no line matched in its range")
	}
	if format == "table" {
		return printSeriesTable(a.Out, series, f.step != "", zone{f.utc})
	}
	return printSeriesJSON(a.Out, series, format == "json")
}

// printSeriesTable has a column per label name, then the value; ranges have a
// row per point.
func printSeriesTable(w io.Writer, series []lokiapi.Series, withTime bool, z zone) error {
	if len(series) == 0 {
		return nil
	}
	var names []string
	for _, s := range series {
		s.Labels.Range(func(l labels.Label) {
			if !slices.Contains(names, l.Name) {
				names = append(names, l.Name)
			}
		})
	}
	slices.Sort(names)
	var header []string
	if withTime {
		header = append(header, "TIME")
	}
	header = append(append(header, names...), "VALUE")
	var rows [][]string
	for _, s := range series {
		for _, p := range s.Points {
			var r []string
			if withTime {
				r = append(r, z.time(p.Time*int64(time.Millisecond)).Format("2006-01-02 15:04:05"))
			}
			for _, n := range names {
				r = append(r, s.Labels.Get(n))
			}
			rows = append(rows, append(r, formatValue(p.Value)))
		}
	}
	return output.Table(w, header, rows)
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
