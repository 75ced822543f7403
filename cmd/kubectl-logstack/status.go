package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/logstack-dev/kubectl-logstack/pkg/install"
	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

// statusFlags are the flags of status.
type statusFlags struct {
	format  string
	targets bool
	request lokiapi.TargetsRequest
}

func newStatusCmd(a *app) *cobra.Command {
	f := &statusFlags{}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the installed collector is doing",
		Long: `Show how the installed collector is doing: its pod and volume, what it collects
and how far behind it is, gaps of the last day, memory and disk. With several
replicas there is a table of them. The exit code is 1 when it is not ready.

lag is the time from the stamp that the container runtime gave a line to the
moment in which it was stored, of the lines of the last 5 minutes. A container
that writes nothing has none.`,
		Example: `  kubectl logstack status
  kubectl logstack status -o json

  # all containers that are read, or only those that cannot be
  kubectl logstack status --targets
  kubectl logstack status --targets --state retrying --of shop`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runStatus(cmd.Context(), a, f) },
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.format, "output", "o", "table", "table or json.")
	fl.BoolVar(&f.targets, "targets", false, "List the containers that are read instead.")
	fl.StringVar(&f.request.State, "state", "", "With --targets: only those in this state ("+strings.Join(targetStates, ", ")+").")
	fl.StringVar(&f.request.Namespace, "of", "", "With --targets: only those of this namespace.")
	fl.IntVar(&f.request.Limit, "limit", 1000, "With --targets: at most so many, up to 10000.")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(targetStates, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// statusView is what -o json prints; fields are only ever added.
type statusView struct {
	Namespace string          `json:"namespace"`
	Installed bool            `json:"installed"`
	Ready     bool            `json:"ready"`
	Reason    string          `json:"reason,omitempty"`
	Fix       string          `json:"fix,omitempty"`
	Image     string          `json:"image,omitempty"`
	Pod       string          `json:"pod,omitempty"`
	Node      string          `json:"node,omitempty"`
	Restarts  int32           `json:"restarts"`
	Since     *time.Time      `json:"since,omitempty"`
	Volume    string          `json:"volume,omitempty"`
	Collector json.RawMessage `json:"collector,omitempty"`
	// Replicas are all of them, if there are several.
	Replicas []lokiapi.Replica `json:"replicas,omitempty"`

	// troubled are containers that wait or are retried.
	troubled []lokiapi.Target
}

// targetStates are those of package podlogs, which the plugin does not link.
var targetStates = []string{"waiting", "catching_up", "following", "polling", "draining", "retrying", "done"}

func (f *statusFlags) check() error {
	switch {
	case f.format != "table" && f.format != "json":
		return usagef("-o %q: table or json", f.format)
	case !f.targets && (f.request.State != "" || f.request.Namespace != ""):
		return usagef("--state and --of choose among containers: give --targets, too")
	case f.request.State != "" && !slices.Contains(targetStates, f.request.State):
		return usagef("--state %q: one of %s", f.request.State, strings.Join(targetStates, ", "))
	case f.request.Limit < 1 || f.request.Limit > 10_000:
		return usagef("--limit %d: a number from 1 to 10000", f.request.Limit)
	}
	return nil
}

func runStatus(ctx context.Context, a *app, f *statusFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	namespace := installNamespace(a)
	if f.targets {
		return runTargets(ctx, a, f, c, namespace)
	}
	st, err := install.Inspect(ctx, c, namespace)
	forbidden := apierrors.IsForbidden(err)
	if err != nil && !forbidden {
		return err
	}
	v := statusView{Namespace: namespace, Installed: true, Reason: "you may not look at its objects"}
	if !forbidden {
		v = viewOf(namespace, st)
	}
	var unreachable error
	if forbidden || st.Ready {
		unreachable = v.askCollector(ctx, c, namespace)
		v.Ready = unreachable == nil
		if unreachable != nil {
			v.Reason, v.Fix = "it cannot be asked: "+firstLineOf(unreachable), install.Command(namespace, "doctor")
		}
	}
	if f.format == "json" {
		err = printIndented(a.Out, v)
	} else {
		err = printStatus(a, v)
	}
	switch {
	case err != nil:
		return err
	case unreachable != nil:
		return &silentError{exitNoConnect}
	case !v.Ready:
		return &silentError{exitFailed}
	}
	return nil
}

func firstLineOf(err error) string {
	s, _, _ := strings.Cut(err.Error(), "\n")
	return s
}

func viewOf(namespace string, st *install.State) statusView {
	v := statusView{Namespace: namespace, Installed: st.Installed, Ready: st.Ready, Reason: st.Reason, Image: st.Image}
	if st.Stuck != nil {
		v.Reason, v.Fix = st.Stuck.Reason, st.Stuck.Fix
	}
	if !st.Installed {
		v.Fix = install.Command(namespace, "install")
	}
	if p := st.Pod; p != nil {
		v.Pod, v.Node = p.Name, p.Spec.NodeName
		if p.Status.StartTime != nil {
			v.Since = &p.Status.StartTime.Time
		}
		for _, c := range p.Status.ContainerStatuses {
			v.Restarts += c.RestartCount
		}
	}
	if st.Claim != nil {
		v.Volume = fmt.Sprintf("%s, %s, %s", st.Claim.Name, st.Claim.Spec.Resources.Requests.Storage(), strings.ToLower(string(st.Claim.Status.Phase)))
	}
	return v
}

// askCollector asks for the collector's own status; that of the other replicas
// and the reasons of containers that are in trouble are left out by older ones.
func (v *statusView) askCollector(ctx context.Context, c *kube.Client, namespace string) error {
	conn, err := connectOurs(ctx, c, namespace)
	if err != nil {
		return err
	}
	defer conn.Close()
	client := &lokiapi.Client{HTTP: conn.HTTP, BaseURL: conn.BaseURL}
	if v.Collector, err = client.Status(ctx); err != nil {
		return err
	}
	for _, state := range []string{"waiting", "retrying"} {
		if list, err := client.Targets(ctx, lokiapi.TargetsRequest{State: state, Limit: 10_000}); err == nil {
			v.troubled = append(v.troubled, list.Targets...)
		}
	}
	if list, err := client.Replicas(ctx); err == nil && len(list) > 1 {
		v.Replicas = list
	}
	return nil
}

func collectorStatus(ctx context.Context, c *kube.Client, namespace string) (json.RawMessage, error) {
	conn, err := connectOurs(ctx, c, namespace)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return (&lokiapi.Client{HTTP: conn.HTTP, BaseURL: conn.BaseURL}).Status(ctx)
}

// runTargets lists containers.
func runTargets(ctx context.Context, a *app, f *statusFlags, c *kube.Client, namespace string) error {
	conn, err := connectOurs(ctx, c, namespace)
	if err != nil {
		return err
	}
	defer conn.Close()
	list, err := (&lokiapi.Client{HTTP: conn.HTTP, BaseURL: conn.BaseURL}).Targets(ctx, f.request)
	if err != nil {
		return err
	}
	if f.format == "json" {
		return printIndented(a.Out, list)
	}
	header, rows := targetTable(list, a.out(), time.Now())
	if err := output.Table(a.Out, header, rows); err != nil {
		return err
	}
	if n := list.Total - len(list.Targets); n > 0 {
		fmt.Fprintf(a.ErrOut, "%d more: choose with --state and --of, or raise --limit\n", n)
	}
	for _, e := range list.Errors {
		fmt.Fprintln(a.ErrOut, e)
	}
	return nil
}

func printIndented(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func printStatus(a *app, v statusView) error {
	t := a.out()
	state := t.Paint(output.Green, "ready")
	switch {
	case !v.Installed:
		state = t.Paint(output.Red, "not installed")
	case !v.Ready:
		state = t.Paint(output.Red, "not ready")
	}
	rows := [][]string{{"collector", state}}
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{name, value})
		}
	}
	add("reason", v.Reason)
	add("fix", v.Fix)
	add("namespace", v.Namespace)
	add("image", v.Image)
	if v.Pod != "" {
		pod := v.Pod
		if v.Node != "" {
			pod += " on " + v.Node
		}
		if v.Since != nil {
			pod += ", since " + humanize.Time(*v.Since)
		}
		add("pod", fmt.Sprintf("%s, %d restarts", pod, v.Restarts))
	}
	add("volume", v.Volume)
	rows = append(rows, collectorRows(v.Collector, v.troubled, t, time.Now())...)
	if err := output.Table(a.Out, []string{"STATUS", ""}, rows); err != nil || len(v.Replicas) == 0 {
		return err
	}
	fmt.Fprintln(a.Out)
	header, replicas := replicaTable(v.Replicas, t)
	return output.Table(a.Out, header, replicas)
}
