package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

type queryFlags struct {
	target
	timeFlags
	limit   int
	forward bool
	follow  bool
	format  string
	utc     bool
	step    string
}

func newQueryCmd(a *app) *cobra.Command {
	f := &queryFlags{}
	cmd := &cobra.Command{
		Use:   "query LOGQL",
		Short: "Search the collected logs with LogQL",
		Long: `Search the collected logs with LogQL, Loki's query language.

Lines are shown oldest first, the newest at the bottom, as kubectl logs does:
--limit takes the newest ones of the range, --forward the oldest. A metric query
(rate, count_over_time, sum by …) prints a table: its value at the end of the
range, or with --step its values over the range.

-n names the namespace of the installation; namespaces of pods are labels of the
query.`,
		Example: `  # the errors of the last hour in one namespace
  kubectl logstack query '{namespace="shop"} |= "error"'

  # follow what a JSON log says about slow requests
  kubectl logstack query -f '{app="checkout"} | json | duration_ms > 500'

  # everything of yesterday as JSON lines
  kubectl logstack query '{app="checkout"}' --from 2006-01-02 --to 2006-01-03 --limit 0 -o jsonl

  # errors per minute and app
  kubectl logstack query 'sum by (app) (rate({namespace="shop"} |= "error" [1m]))' --step 1m`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("query takes one LogQL query in quotes, got %d arguments\n  example: kubectl logstack query '{namespace=\"shop\"} |= \"error\"'", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			f.target.namespace = installNamespace(a)
			return runQuery(cmd.Context(), a, f, args[0])
		},
	}
	fl := cmd.Flags()
	f.target.addFlags(fl)
	f.timeFlags.addFlags(fl, "1h")
	fl.IntVar(&f.limit, "limit", 100, "Most lines to show; 0 shows all.")
	fl.BoolVar(&f.forward, "forward", false, "Take the oldest lines of the range instead of the newest.")
	fl.BoolVarP(&f.follow, "follow", "f", false, "Go on with new lines as they are collected, until Ctrl-C.")
	fl.StringVarP(&f.format, "output", "o", "text", "text, raw (lines only), jsonl, json or table; for a metric query table, json or jsonl.")
	fl.BoolVar(&f.utc, "utc", false, "Print times in UTC instead of the local time zone.")
	fl.StringVar(&f.step, "step", "", "Distance of the points of a metric query over the range.")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(lineFormats, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// parseQuery parses before any network: a typo costs no round trip. The error
// shows the place with a caret.
func parseQuery(a *app, query string) (logql.Expr, error) {
	expr, err := logql.Parse(query)
	var pe *logql.ParseError
	if errors.As(err, &pe) {
		return nil, usagef("%w\n%s", err, pe.Caret(a.err().Width))
	}
	if err != nil {
		return nil, &usageError{err}
	}
	return expr, nil
}

func runQuery(ctx context.Context, a *app, f *queryFlags, query string) error {
	expr, err := parseQuery(a, query)
	if err != nil {
		return err
	}
	if f.limit < 0 {
		return usagef("--limit %d: a number of lines, or 0 for all", f.limit)
	}
	start, end, err := f.resolve(time.Now())
	if err != nil {
		return err
	}
	if _, isLog := expr.(*logql.LogSelector); !isLog {
		return runMetricQuery(ctx, a, f, query, start, end)
	}
	if f.step != "" {
		return usagef("--step is for metric queries; this one selects log lines")
	}
	p, err := newLinePrinter(f.format, a.Out, a.out(), zone{f.utc})
	if err != nil {
		return err
	}
	if err := checkFollow(f.follow, f.to, f.format); err != nil {
		return err
	}
	client, done, err := a.connect(ctx, f.target)
	if err != nil {
		return err
	}
	defer done()
	if f.follow {
		return followLines(ctx, client, query, start, f.limit, p)
	}
	n, err := showLines(ctx, client, query, start, end, f.limit, f.forward, p)
	if err != nil {
		return err
	}
	switch {
	case n == 0:
		fmt.Fprintf(a.ErrOut, "no lines match since %s; look further back with --since, or see what there is: kubectl logstack labels\n", start.Format(time.DateTime))
	case f.limit > 0 && n == f.limit:
		which := "newest"
		if f.forward {
			which = "oldest"
		}
		fmt.Fprintf(a.ErrOut, "note: these are the %s %d lines of the range; --limit shows more, 0 all\n", which, n)
	}
	return nil
}

// checkFollow refuses what a follow without end cannot do.
func checkFollow(follow bool, to, format string) error {
	switch {
	case !follow:
		return nil
	case to != "":
		return usagef("--follow goes on for ever: it cannot be used with --to")
	case format == "json" || format == "table":
		return usagef("-o %s is one whole document: with --follow use text, raw or jsonl", format)
	}
	return nil
}

// pageSize is the most lines of one answer that is sorted in memory: Loki's
// own limit, so that a foreign server accepts it.
const pageSize = 5000

// showLines prints up to limit lines, oldest first, and returns their number.
// More than a page comes as an export stream: any size, flat memory.
func showLines(ctx context.Context, client *lokiapi.Client, query string, start, end time.Time, limit int, forward bool, p linePrinter) (int, error) {
	if end.IsZero() {
		// A little ahead: clocks of nodes differ.
		end = time.Now().Add(time.Minute)
	}
	r := lokiapi.RangeRequest{Query: query, Start: start, End: end, Limit: limit, Direction: model.Backward}
	if forward || limit == 0 {
		r.Direction = model.Forward
	}
	if limit == 0 || limit > pageSize {
		return exportLines(ctx, client, r, p)
	}
	resp, err := client.QueryRange(ctx, r)
	if err != nil {
		return 0, explainAnswer(err)
	}
	rows := rowsOf(resp, r.Direction)
	if r.Direction == model.Backward {
		slices.Reverse(rows)
	}
	for _, row := range rows {
		if err := p.print(row); err != nil {
			return 0, err
		}
	}
	return len(rows), p.flush()
}

func exportLines(ctx context.Context, client *lokiapi.Client, r lokiapi.RangeRequest, p linePrinter) (int, error) {
	stream, err := client.Export(ctx, r)
	if err != nil {
		return 0, explainAnswer(err)
	}
	defer stream.Close()
	var newestFirst []row
	n := 0
	for {
		ev, err := stream.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			_ = p.flush()
			return n, explainAnswer(err)
		}
		if ev.Kind != lokiapi.EventEntry {
			continue
		}
		n++
		if r.Direction == model.Backward {
			newestFirst = append(newestFirst, row{ev.Labels, ev.Entry})
		} else if err := p.print(row{ev.Labels, ev.Entry}); err != nil {
			return n, err
		}
	}
	for _, row := range slices.Backward(newestFirst) {
		if err := p.print(row); err != nil {
			return n, err
		}
	}
	return n, p.flush()
}

// followLines prints the newest lines since start and goes on with live ones
// until the context ends. A broken connection is taken up again where it broke.
func followLines(ctx context.Context, client *lokiapi.Client, query string, start time.Time, limit int, p linePrinter) error {
	if limit == 0 {
		limit = pageSize
	}
	stream, err := client.TailNDJSON(ctx, lokiapi.TailRequest{Query: query, Start: start, Limit: limit})
	if err != nil {
		return explainAnswer(err)
	}
	defer stream.Close()
	live := false
	for {
		ev, err := stream.Next()
		if ctx.Err() != nil {
			// Ctrl-C is how a follow ends.
			return errors.Join(p.flush(), context.Canceled)
		}
		if err != nil {
			_ = p.flush()
			if errors.Is(err, io.EOF) {
				return errors.New("the collector ended the stream (is it restarting?); run the command again")
			}
			return explainAnswer(err)
		}
		switch ev.Kind {
		case lokiapi.EventEntry:
			err = p.print(row{ev.Labels, ev.Entry})
		case lokiapi.EventLive:
			live = true
		case lokiapi.EventDropped:
			err = p.print(row{Entry: lokiapi.Entry{Timestamp: time.Now().UnixNano(), Line: fmt.Sprintf("%d lines were not shown: this reader was too slow for them (they are stored)", ev.Dropped)}, labels: labels.FromStrings(gapLabel, "slow_reader")})
		}
		if err == nil && live {
			err = p.flush()
		}
		if err != nil {
			return err
		}
	}
}

// rowsOf flattens an answer into the order of the query.
func rowsOf(resp *lokiapi.QueryResponse, d model.Direction) []row {
	var rows []row
	for _, s := range resp.Streams {
		for _, e := range s.Entries {
			rows = append(rows, row{s.Labels, e})
		}
	}
	slices.SortStableFunc(rows, func(x, y row) int {
		if d == model.Forward {
			return int(min(1, max(-1, x.Timestamp-y.Timestamp)))
		}
		return int(min(1, max(-1, y.Timestamp-x.Timestamp)))
	})
	return rows
}

// explainAnswer makes the server's refusals readable.
func explainAnswer(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) && !errors.Is(err, context.Canceled) {
		u, perr := url.Parse(ue.URL)
		if perr != nil {
			return err
		}
		return &kube.ClusterError{Cause: fmt.Sprintf("cannot reach %s://%s: %v", u.Scheme, u.Host, ue.Err), Fix: "does something listen there? check --addr if it is given, else: kubectl logstack doctor", Err: err}
	}
	var se *lokiapi.StatusError
	if !errors.As(err, &se) {
		return err
	}
	switch se.Code {
	case http.StatusBadRequest:
		return &usageError{errors.New(strings.TrimSpace(se.Body))}
	case http.StatusForbidden:
		return fmt.Errorf("the collector refuses: %s", se.Body)
	case http.StatusNotFound:
		return fmt.Errorf("%w\n  the server does not know this request: is it an older collector, or something else?", err)
	case http.StatusServiceUnavailable:
		return fmt.Errorf("the collector is not ready: %s\n  kubectl logstack status shows why", se.Body)
	}
	return err
}
