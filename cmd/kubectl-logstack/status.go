package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
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

func newStatusCmd(a *app) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the installed collector is doing",
		Long: `Show how the installed collector is doing: its pod and volume, what it collects
and what it stores. The exit code is 1 when it is not ready.`,
		Example: `  kubectl logstack status
  kubectl logstack status -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runStatus(cmd.Context(), a, format) },
	}
	cmd.Flags().StringVarP(&format, "output", "o", "table", "table or json.")
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
}

func runStatus(ctx context.Context, a *app, format string) error {
	if format != "table" && format != "json" {
		return usagef("-o %q: table or json", format)
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	namespace := installNamespace(a)
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
		v.Collector, unreachable = collectorStatus(ctx, c, namespace)
		v.Ready = unreachable == nil
		if unreachable != nil {
			v.Reason, v.Fix = "it cannot be asked: "+firstLineOf(unreachable), install.Command(namespace, "doctor")
		}
	}
	if format == "json" {
		enc := json.NewEncoder(a.Out)
		enc.SetIndent("", "  ")
		err = enc.Encode(v)
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

func collectorStatus(ctx context.Context, c *kube.Client, namespace string) (json.RawMessage, error) {
	conn, err := connectOurs(ctx, c, namespace)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return (&lokiapi.Client{HTTP: conn.HTTP, BaseURL: conn.BaseURL}).Status(ctx)
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
	rows = append(rows, collectorRows(v.Collector, t)...)
	return output.Table(a.Out, []string{"STATUS", ""}, rows)
}

// collectorView is what the table shows of the collector's own status. What a
// newer or older collector does not say is left out.
type collectorView struct {
	Version string
	Podlogs struct {
		Synced   bool
		Targets  map[string]int
		Problems []string
	}
	Store struct {
		Entries, RawBytes, BlockBytes, DiskBytes int64
		Oldest, Newest                           *time.Time
		DiskFull                                 bool
		Damaged                                  int64
		Errors                                   []string
	}
}

func collectorRows(raw json.RawMessage, t output.Terminal) [][]string {
	var v collectorView
	if len(raw) == 0 || json.Unmarshal(raw, &v) != nil {
		return nil
	}
	rows := [][]string{{"version", v.Version}}
	add := func(name, value string) { rows = append(rows, []string{name, value}) }
	var targets []string
	for _, state := range slices.Sorted(maps.Keys(v.Podlogs.Targets)) {
		targets = append(targets, fmt.Sprintf("%d %s", v.Podlogs.Targets[state], state))
	}
	if len(targets) > 0 {
		add("containers", strings.Join(targets, ", "))
	}
	for _, p := range v.Podlogs.Problems {
		add("problem", t.Paint(output.Yellow, p))
	}
	s := v.Store
	if s.Entries > 0 {
		add("stored", fmt.Sprintf("%s lines, %s on disk", humanize.Comma(s.Entries), humanize.IBytes(uint64(max(0, s.DiskBytes)))))
	}
	if s.Oldest != nil {
		add("oldest", humanize.Time(*s.Oldest))
	}
	if s.Newest != nil {
		add("newest", humanize.Time(*s.Newest))
	}
	if s.DiskFull {
		add("problem", t.Paint(output.Red, "the disk is full: nothing new is stored, queries work"))
	}
	if s.Damaged > 0 {
		add("problem", t.Paint(output.Red, fmt.Sprintf("%d chunk blocks are damaged: their lines are missing from answers", s.Damaged)))
	}
	for _, e := range s.Errors {
		add("last error", e)
	}
	return rows
}
