package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
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
  kubectl logstack query '{app="checkout"}' --from yesterday --to today --limit 0 -o jsonl > yesterday.jsonl

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
	for _, flag := range []string{"follow", "forward", "step", "since", "from", "to", "addr", "service", "org-id", "stats"} {
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
		shown := fmt.Sprintf("these are the %s %s", which, count(int64(n), "line"))
		if n == 1 {
			shown = fmt.Sprintf("this is the %s line", which)
		}
		fmt.Fprintf(a.ErrOut, "note: %s of the range; --limit shows more, 0 all\n", shown)
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
		return &kube.ClusterError{Cause: "the server wants credentials (401): " + msg, Fix: "with --addr: set LOKI_USERNAME and LOKI_PASSWORD, or LOKI_BEARER_TOKEN", Err: err}
	case http.StatusForbidden:
		return &kube.ClusterError{Cause: "the server refuses (403): " + msg, Fix: "ask for the right to read these logs, or with --addr take other credentials (LOKI_USERNAME and LOKI_PASSWORD, or LOKI_BEARER_TOKEN)", Err: err}
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
