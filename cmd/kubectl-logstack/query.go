package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
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
	stdin   bool
	stats   bool
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
range, or with --step its values over the range. -o chart draws them.

--limit 0 has no limit: with -o jsonl any number of lines goes to a file, oldest
first, in little memory.

-n names the namespace of the installation; namespaces of pods are labels of the
query.
` + targetHelp,
		Example: `  # the errors of the last hour in one namespace
  kubectl logstack query '{namespace="shop"} |= "error"'

  # follow what a JSON log says about slow requests
  kubectl logstack query -f '{app="checkout"} | json | duration_ms > 500'

  # everything of yesterday as JSON lines
  kubectl logstack query '{app="checkout"}' --from 2006-01-02 --to 2006-01-03 --limit 0 -o jsonl

  # errors per minute and app
  kubectl logstack query 'sum by (app) (rate({namespace="shop"} |= "error" [1m]))' --step 1m

  # LogQL over what another program prints
  kubectl logs deploy/checkout | kubectl logstack query --stdin '| json | status >= 500 | line_format "{{.path}}"'

  # the rate as a chart, from another Loki of the cluster
  kubectl logstack query 'sum by (app) (rate({namespace="shop"} |= "error" [1m]))' -o chart --service monitoring/loki`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("query takes one LogQL query in quotes, got %d arguments\n  example: kubectl logstack query '{namespace=\"shop\"} |= \"error\"'", len(args))
			}
			return nil
		},
		ValidArgsFunction: a.completeQuery(&f.target),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.stdin {
				return runStdinQuery(cmd, a, f, args[0])
			}
			f.target.namespace = installNamespace(a)
			return runQuery(cmd.Context(), a, f, args[0])
		},
	}
	fl := cmd.Flags()
	f.target.addFlags(a, cmd)
	f.timeFlags.addFlags(fl, "1h")
	fl.IntVar(&f.limit, "limit", 100, "Most lines to show; 0 shows all.")
	fl.BoolVar(&f.forward, "forward", false, "Take the oldest lines of the range instead of the newest.")
	fl.BoolVarP(&f.follow, "follow", "f", false, "Go on with new lines as they are collected, until Ctrl-C.")
	fl.StringVarP(&f.format, "output", "o", "text", "How to print it: "+orList(lineFormats)+"; for a metric query "+orList(metricFormats)+".")
	fl.BoolVar(&f.utc, "utc", false, "Print times in UTC instead of the local time zone.")
	fl.StringVar(&f.step, "step", "", "Distance of the points of a metric query over the range.")
	fl.BoolVar(&f.stats, "stats", false, "Tell on stderr how much the server read.")
	fl.BoolVar(&f.stdin, "stdin", false, "Filter and format the lines of standard input; no server is asked, the selector may be left out.")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(append(slices.Clone(lineFormats), "chart"), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// runStdinQuery has defaults of a filter: all lines, and nothing but lines.
func runStdinQuery(cmd *cobra.Command, a *app, f *queryFlags, query string) error {
	for _, flag := range []string{"follow", "forward", "step", "since", "from", "to", "addr", "service"} {
		if cmd.Flags().Changed(flag) {
			return usagef("--%s asks a server, --stdin none: leave one out", flag)
		}
	}
	limit, format := 0, "raw"
	if cmd.Flags().Changed("limit") {
		limit = f.limit
	}
	if cmd.Flags().Changed("output") {
		format = f.format
	}
	if limit < 0 {
		return usagef("--limit %d: a number of lines, or 0 for all", limit)
	}
	return queryStdin(cmd.Context(), a, query, limit, format, zone{f.utc})
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
		return runMetricQuery(ctx, a, f, query, span{start, end})
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
	if f.stats {
		client.stats = new(queryStats)
	}
	n, err := showLines(ctx, a, client, query, start, end, f.limit, f.forward, p)
	if err != nil {
		return err
	}
	if f.stats {
		fmt.Fprintln(a.ErrOut, client.stats.String())
	}
	switch {
	case n == 0:
		fmt.Fprintf(a.ErrOut, "no lines match since %s; look further back with --since, or see what there is: kubectl logstack labels\n", start.Format(time.DateTime))
	case f.limit > 0 && n == f.limit:
		which := "newest"
		if f.forward {
			which = "oldest"
		}
		fmt.Fprintf(a.ErrOut, "note: these are the %s %s of the range; --limit shows more, 0 all\n", which, count(int64(n), "line"))
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

// clockSkew is how far into the future a range without an end reaches: clocks
// of nodes differ.
const clockSkew = time.Minute

// showLines prints up to limit lines, oldest first, and returns their number.
// All lines (limit 0) take flat memory; the newest of many have to be turned
// around.
func showLines(ctx context.Context, a *app, r *remote, query string, start, end time.Time, limit int, forward bool, p linePrinter) (int, error) {
	req := lokiapi.RangeRequest{Query: query, Start: start, End: end, Limit: limit, Direction: model.Backward}
	if end.IsZero() {
		req.End = time.Now().Add(clockSkew)
	}
	if forward || limit == 0 {
		req.Direction = model.Forward
	}
	var newestFirst []row
	x := newExport(a, req)
	err := r.entries(ctx, req, func(e row) error {
		x.count(e)
		if req.Direction == model.Backward {
			newestFirst = append(newestFirst, e)
			return nil
		}
		return p.print(e)
	})
	x.bar.Clear()
	for _, e := range slices.Backward(newestFirst) {
		if perr := p.print(e); perr != nil && err == nil {
			err = perr
		}
	}
	if ferr := p.flush(); ferr != nil && err == nil {
		err = ferr
	}
	if err != nil {
		x.advise(a, err)
	}
	return x.lines, explainAnswer(err)
}

// export watches the lines of a query go by, for the progress and for advice
// when they end too early.
type export struct {
	bar         *output.Bar
	req         lokiapi.RangeRequest
	end         time.Time // of the range, or now
	lines       int
	bytes       int64
	first, last int64 // timestamps
}

// newExport has a progress bar when a person waits for a file: lines on the
// same terminal would tear it to pieces.
func newExport(a *app, req lokiapi.RangeRequest) *export {
	x := &export{req: req, end: req.End}
	if now := time.Now(); x.end.After(now) {
		x.end = now
	}
	if req.Limit == 0 || req.Limit > pageSize {
		t := a.err()
		t.Interactive = t.Interactive && !a.out().Interactive
		x.bar = output.NewBar(a.ErrOut, t)
	}
	return x
}

func (x *export) count(r row) {
	if x.lines == 0 {
		x.first = r.Timestamp
	}
	x.lines++
	x.bytes += int64(len(r.Line))
	x.last = r.Timestamp
	if x.bar.Due() {
		x.bar.Draw(x.fraction(), fmt.Sprintf("%s lines, %s, at %s",
			humanize.Comma(int64(x.lines)), humanize.IBytes(uint64(x.bytes)), time.Unix(0, x.last).Format(time.DateTime)))
	}
}

// fraction is how much of the way is done: by time, from the first line there
// was, or by number where that is nearer to its end.
func (x *export) fraction() float64 {
	whole, part := float64(x.end.UnixNano()-x.first), float64(x.last-x.first)
	if x.req.Direction == model.Backward {
		whole, part = float64(x.first-x.req.Start.UnixNano()), float64(x.first-x.last)
	}
	f := 0.0
	if whole > 0 {
		f = min(max(part/whole, 0), 1)
	}
	if x.req.Limit > 0 {
		f = max(f, float64(x.lines)/float64(x.req.Limit))
	}
	return f
}

// advise says how to go on where an export of all lines ended too early.
func (x *export) advise(a *app, err error) {
	if x.req.Limit != 0 || x.lines == 0 || errors.Is(err, syscall.EPIPE) {
		return
	}
	fmt.Fprintf(a.ErrOut, "stopped after %s lines; go on with --from %s (lines of that very moment come again)\n",
		humanize.Comma(int64(x.lines)), time.Unix(0, x.last).UTC().Format(time.RFC3339Nano))
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
	status := asStatus(err)
	if status == nil {
		return err
	}
	msg := messageOf(status)
	switch status.Code {
	case http.StatusBadRequest:
		return &usageError{errors.New(msg)}
	case http.StatusUnauthorized:
		if strings.Contains(msg, "no org id") {
			return usagef("this Loki has several tenants: name one with --org-id or LOKI_ORG_ID")
		}
		return fmt.Errorf("the server wants credentials (401): %s\n  with --addr: set LOKI_USERNAME and LOKI_PASSWORD, or LOKI_BEARER_TOKEN", msg)
	case http.StatusForbidden:
		return fmt.Errorf("the server refuses: %s", msg)
	case http.StatusNotFound:
		return fmt.Errorf("%w\n  the server does not know this request: is it an older collector, or something else?", err)
	case http.StatusTooManyRequests:
		return fmt.Errorf("the server has too much to do (429): %s\n  ask for less, or again in a while (LOKI_CLIENT_RETRIES=5 does that with --addr)", msg)
	case http.StatusServiceUnavailable:
		return fmt.Errorf("the server is not ready: %s\n  kubectl logstack status shows why, if it is ours", msg)
	}
	return err
}

// asStatus finds the answer of a server that refused.
func asStatus(err error) *lokiapi.StatusError {
	var status *lokiapi.StatusError
	if errors.As(err, &status) {
		return status
	}
	return nil
}
