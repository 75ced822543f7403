package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

func newDeleteCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete",
		Short: "Delete stored lines, or list and cancel orders to do so",
		Long: `Delete the stored lines that a query selects, list the orders to delete, or take
one back. Lines are gone from answers at once.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDeleteCreateCmd(a), newDeleteListCmd(a), newDeleteCancelCmd(a))
	return cmd
}

type deleteListFlags struct {
	exploreFlags
	utc bool
}

type deleteFlags struct {
	exploreFlags
	yes, dryRun bool
}

func newDeleteCreateCmd(a *app) *cobra.Command {
	f := &deleteFlags{}
	cmd := &cobra.Command{
		Use:   "create QUERY",
		Short: "Delete the lines that a query selects",
		Long: `Delete the lines that a query selects, within a range of time that has to be
given. What would be deleted is shown first and has to be confirmed.
` + targetHelp,
		Example: `  # what would go?
  kubectl logstack delete create '{namespace="shop"} |= "password="' --since 7d --dry-run

  # without a question
  kubectl logstack delete create '{namespace="old"}' --from 2006-01-01 --to 2006-02-01 --yes`,
		Args:              between(1, 1, "one query"),
		ValidArgsFunction: a.completeQuery(&f.exploreFlags.target),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runDeleteCreate(cmd.Context(), a, f, args[0])
		},
	}
	f.target.addFlags(a, cmd)
	f.timeFlags.addFlags(cmd.Flags(), "")
	f.formats, f.format = []string{"table"}, "table"
	cmd.Flags().BoolVarP(&f.yes, "yes", "y", false, "Do not ask.")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "Only show what would be deleted.")
	return cmd
}

func runDeleteCreate(ctx context.Context, a *app, f *deleteFlags, query string) error {
	sel, err := parseLogQuery(a, query)
	if err != nil {
		return err
	}
	if f.since == "" && f.from == "" {
		return usagef("which lines? give the range: --since 7d, or --from and --to")
	}
	r, s, done, err := f.open(ctx, a)
	if err != nil {
		return err
	}
	defer done()
	if f.to == "" {
		s.end = time.Now() // what is yet to come stays
	}
	empty, err := describeDelete(ctx, a, r, sel, query, s)
	if err != nil {
		return err
	}
	if empty {
		fmt.Fprintln(a.ErrOut, "there is nothing to delete")
		return nil
	}
	if f.dryRun {
		return nil
	}
	if !f.yes {
		ok, err := a.confirm("Delete them? They cannot be brought back.")
		if err != nil {
			return err
		}
		if !ok {
			fmt.Fprintln(a.ErrOut, "nothing was deleted")
			return &silentError{exitFailed}
		}
	}
	id, err := r.CreateDelete(ctx, query, s.start, s.end)
	if err != nil {
		return explainDelete(err)
	}
	if id != "" {
		id = " (" + id + ")"
	}
	fmt.Fprintf(a.ErrOut, "the order is accepted%s; kubectl logstack delete list shows how far it is\n", id)
	return nil
}

// describeDelete shows on stderr what a deletion would hit, and says whether
// that is nothing.
func describeDelete(ctx context.Context, a *app, r *remote, sel *logql.LogSelector, query string, s span) (empty bool, err error) {
	st, err := r.IndexStats(ctx, s.metadata(selectorText(sel)))
	if err != nil {
		return false, explainMissing(err, "index statistics")
	}
	fmt.Fprintf(a.ErrOut, "%s\n  from %s to %s\n", query, s.start.Format(time.DateTime), s.end.Format(time.DateTime))
	if len(sel.Stages) == 0 && st.Streams > 0 {
		fmt.Fprintf(a.ErrOut, "would delete about %s\n", statsLine(st))
		return false, printDeleteVolume(ctx, a, r, sel, s)
	}
	// The filters decide, or the index knows nothing yet (Loki's does not before
	// a flush): count.
	counting := fmt.Sprintf("sum(count_over_time(%s [%dms]))", query, max(s.end.Sub(s.start).Milliseconds(), 1))
	resp, err := r.Query(ctx, counting, s.end)
	if err != nil {
		return false, explainAnswer(err)
	}
	n := 0.0
	if len(resp.Series) == 1 && len(resp.Series[0].Points) == 1 {
		n = resp.Series[0].Points[0].Value
	}
	text := "would delete " + count(int64(n), "line")
	if st.Streams > 0 {
		text += ", out of about " + statsLine(st)
	}
	fmt.Fprintln(a.ErrOut, text)
	return n == 0, nil
}

// printDeleteVolume shows which apps lose lines.
func printDeleteVolume(ctx context.Context, a *app, r *remote, sel *logql.LogSelector, s span) error {
	req := s.metadata(selectorText(sel))
	req.Limit = 10
	var err error
	if req.TargetLabels, err = volumeLabels(ctx, r, req); err != nil {
		return explainAnswer(err)
	}
	series, err := r.Volume(ctx, req)
	if err != nil || len(series) == 0 {
		return nil //nolint:nilerr // a help for the eyes that a server may lack
	}
	for _, v := range series {
		if len(v.Points) > 0 {
			fmt.Fprintf(a.ErrOut, "  %s %s\n", v.Labels, formatBytes(v.Points[0].Value))
		}
	}
	return nil
}

// confirm asks on the terminal. Without one there is nobody to ask.
func (a *app) confirm(question string) (bool, error) {
	if f, ok := inputFile(a.In); ok && !term.IsTerminal(int(f.Fd())) {
		return false, usagef("there is no terminal to ask on: --yes deletes without a question, --dry-run only shows")
	}
	return confirm(a.In, a.ErrOut, question)
}

// confirm takes y and yes for a yes.
func confirm(in io.Reader, out io.Writer, question string) (bool, error) {
	fmt.Fprint(out, question+" [y/N] ")
	answer, err := bufio.NewReader(in).ReadString('\n')
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(out)
		return false, err
	}
	if err != nil && answer == "" {
		fmt.Fprintln(out)
		return false, nil //nolint:nilerr // no answer is a no
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}

func newDeleteListCmd(a *app) *cobra.Command {
	f := &deleteListFlags{}
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the orders to delete",
		Long:    "List the orders to delete and how far they are.\n" + targetHelp,
		Example: `  kubectl logstack delete list`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDeleteList(cmd.Context(), a, f)
		},
	}
	f.target.addFlags(a, cmd)
	f.formats, f.since = []string{"table", "json", "jsonl"}, "1h"
	addFormatFlag(cmd, &f.format, f.formats)
	cmd.Flags().BoolVar(&f.utc, "utc", false, "Print times in UTC instead of the local time zone.")
	return cmd
}

func runDeleteList(ctx context.Context, a *app, f *deleteListFlags) error {
	r, _, done, err := f.open(ctx, a)
	if err != nil {
		return err
	}
	defer done()
	list, err := r.Deletes(ctx)
	if err != nil {
		return explainDelete(err)
	}
	if f.format != "table" {
		return printJSON(a.Out, f.format, list)
	}
	if len(list) == 0 {
		fmt.Fprintln(a.ErrOut, "there are no orders to delete")
		return nil
	}
	when := func(t lokiapi.UnixSeconds) string {
		return zone{f.utc}.time(t.Time().UnixNano()).Format(time.DateTime)
	}
	rows := make([][]string, len(list))
	for i, d := range list {
		rows[i] = []string{d.ID, when(d.Created), d.Status, when(d.Start), when(d.End), d.Query}
	}
	return output.Table(a.Out, []string{"ID", "CREATED", "STATUS", "FROM", "TO", "QUERY"}, rows)
}

func newDeleteCancelCmd(a *app) *cobra.Command {
	t := &target{}
	force := false
	cmd := &cobra.Command{
		Use:     "cancel ID",
		Short:   "Take an order to delete back",
		Long:    "Take an order to delete back, as long as nothing is deleted yet.\n" + targetHelp,
		Example: `  kubectl logstack delete cancel 5f7ef3c1`,
		Args:    between(1, 1, "the ID of an order"),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.completeDeletes(cmd, t), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			t.namespace = installNamespace(a)
			r, done, err := a.connect(cmd.Context(), *t)
			if err != nil {
				return err
			}
			defer done()
			if err := r.CancelDelete(cmd.Context(), args[0], force); err != nil {
				return explainDelete(err)
			}
			fmt.Fprintf(a.ErrOut, "the order %s is taken back\n", args[0])
			return nil
		},
	}
	t.addFlags(a, cmd)
	cmd.Flags().BoolVar(&force, "force", false, "Also stop one that has begun; what is deleted stays deleted.")
	return cmd
}

// explainDelete adds what makes servers refuse deletions.
func explainDelete(err error) error {
	status := asStatus(err)
	switch {
	case isUnknownPath(err) && !strings.Contains(status.Body, "page not found") && status.Body != "":
		return fmt.Errorf("%s\n  kubectl logstack delete list shows the orders", messageOf(status))
	case isUnknownPath(err):
		return fmt.Errorf("this server deletes nothing at this address (a distributed Loki does it behind its gateway or compactor Service): %w", err)
	case status != nil && status.Code == http.StatusForbidden && strings.Contains(messageOf(status), "services/proxy"):
		return &kube.ClusterError{
			Cause: "you may not change anything through the API server's service proxy (the right \"create\" on services/proxy): " + messageOf(status),
			Fix:   "go another way: kubectl port-forward, then --addr http://localhost:PORT", Err: err,
		}
	}
	return explainAnswer(err)
}
