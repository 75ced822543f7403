package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor"
	"github.com/logstack-dev/kubectl-logstack/pkg/install"
	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

type doctorFlags struct {
	format  string
	failOn  string
	explain string
	wait    time.Duration
}

func newDoctorCmd(a *app) *cobra.Command {
	f := &doctorFlags{}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find out why logs do not flow",
		Long: `Find out why logs do not flow: the way of a line from a container to your screen
is examined step by step, and a line written now is followed through it.

Every finding has a permanent code, the proof and the fix. What doctor is not
allowed to look at is shown as skipped, never as passed.

Exit codes: 0 nothing found, 1 findings of at least --fail-on, 2 wrong usage,
3 the cluster was not reached or every check was skipped.`,
		Example: `  kubectl logstack doctor
  kubectl logstack doctor -o json
  kubectl logstack doctor --explain LS0203`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.explain != "" {
				return explainCheck(a, f.explain)
			}
			return runDoctor(cmd.Context(), a, f)
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.format, "output", "o", "text", "text, short (only what is not ok) or json.")
	fl.StringVar(&f.failOn, "fail-on", "error", "Least severity that gives exit code 1: error, warning or none.")
	fl.StringVar(&f.explain, "explain", "", "Print what a code means and how it is examined.")
	fl.DurationVar(&f.wait, "wait", 30*time.Second, "How long to wait for the line that is written now.")
	return cmd
}

func explainCheck(a *app, code string) error {
	var codes []string
	for _, c := range doctor.Checks() {
		if strings.EqualFold(c.Code, code) {
			_, err := fmt.Fprintf(a.Out, "%s  %s: %s\n\n%s\n", c.Code, c.Category, c.Title, c.Explain)
			return err
		}
		codes = append(codes, c.Code)
	}
	return usagef("there is no check %q; the checks are %s", code, strings.Join(codes, ", "))
}

func runDoctor(ctx context.Context, a *app, f *doctorFlags) error {
	var printer func(io.Writer, output.Terminal, *doctor.Report) error
	switch f.format {
	case "text":
		printer = printReport
	case "short":
		printer = printShortReport
	case "json":
		printer = func(w io.Writer, _ output.Terminal, r *doctor.Report) error {
			enc := json.NewEncoder(w)
			enc.SetIndent("", "  ")
			return enc.Encode(r)
		}
	default:
		return usagef("-o %q: text, short or json", f.format)
	}
	if f.failOn != "error" && f.failOn != "warning" && f.failOn != "none" {
		return usagef("--fail-on %q: error, warning or none", f.failOn)
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	namespace := installNamespace(a)
	progress := output.NewProgress(a.ErrOut, a.err())
	if a.err().Interactive {
		progress.Wait("looking at the cluster")
	}
	s, err := doctor.Load(ctx, c, namespace, install.Name, probes(c, namespace, f.wait))
	progress.Done()
	if err != nil {
		return err
	}
	r := doctor.Run(s, doctor.Checks())
	if err := printer(a.Out, a.out(), r); err != nil {
		return err
	}
	return doctorExit(s, r, f.failOn)
}

// doctorExit is the same for every output format.
func doctorExit(s *doctor.Snapshot, r *doctor.Report, failOn string) error {
	worst := r.Worst()
	switch {
	case s.Missing[doctor.PartServer] != nil, worst == doctor.Skip,
		worst != doctor.Error && s.Missing[doctor.PartQuery] != nil && s.Missing[doctor.PartArrival] != nil:
		return &silentError{exitNoConnect}
	case failOn == "none":
	case worst == doctor.Error, worst == doctor.Warning && failOn == "warning":
		return &silentError{exitFailed}
	}
	return nil
}

// probes reach into the running stack: is it ready, and does a line arrive?
func probes(c *kube.Client, namespace string, wait time.Duration) doctor.Probes {
	var client *lokiapi.Client
	return doctor.Probes{
		Query: func(ctx context.Context) *doctor.QueryResult {
			conn, err := c.Connect(ctx, serviceIn(namespace), "/ready")
			if err != nil {
				return &doctor.QueryResult{Err: err}
			}
			client = &lokiapi.Client{HTTP: conn.HTTP, BaseURL: conn.BaseURL}
			return &doctor.QueryResult{Via: string(conn.Via), Note: conn.Note, Err: client.Ready(ctx)}
		},
		Arrival: func(ctx context.Context) *doctor.ArrivalResult {
			return followALine(ctx, client, namespace, wait)
		},
	}
}

// followALine asks the collector to write a line with a number of ours into
// its own log and queries until the line has come all the way back.
func followALine(ctx context.Context, client *lokiapi.Client, namespace string, wait time.Duration) *doctor.ArrivalResult {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	token := fmt.Sprintf("doctor-%016x", rand.Uint64())
	started := time.Now()
	if err := client.Echo(ctx, token); err != nil {
		return &doctor.ArrivalResult{Err: fmt.Errorf("the collector did not write a line: %w", err)}
	}
	query := fmt.Sprintf(`{namespace=%q, pod=~"%s-.*"} |= %q`, namespace, install.Name, token)
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		resp, err := client.QueryRange(ctx, lokiapi.RangeRequest{Query: query, Start: started.Add(-5 * time.Minute), End: time.Now().Add(5 * time.Minute), Limit: 1, Direction: model.Backward})
		if err == nil && len(resp.Streams) > 0 {
			return &doctor.ArrivalResult{After: time.Since(started)}
		}
		select {
		case <-ctx.Done():
			if err == nil || errors.Is(err, context.DeadlineExceeded) {
				err = fmt.Errorf("the collector wrote a line to its own log and it was not collected within %s", wait)
			}
			return &doctor.ArrivalResult{Err: err}
		case <-ticker.C:
		}
	}
}

// signs go before a finding: the word carries the meaning, the colour repeats it.
var signs = map[doctor.Status]struct {
	sign  string
	style output.Style
}{
	doctor.OK:      {"ok   ", output.Green},
	doctor.Info:    {"info ", output.Blue},
	doctor.Warning: {"WARN ", output.Yellow},
	doctor.Error:   {"ERROR", output.Red},
	doctor.Skip:    {"skip ", output.Faint},
}

func printReport(w io.Writer, t output.Terminal, r *doctor.Report) error {
	return printFindings(w, t, r, func(doctor.Finding) bool { return true })
}

func printShortReport(w io.Writer, t output.Terminal, r *doctor.Report) error {
	return printFindings(w, t, r, func(f doctor.Finding) bool { return f.Status != doctor.OK })
}

func printFindings(w io.Writer, t output.Terminal, r *doctor.Report, show func(doctor.Finding) bool) error {
	causes := map[string]string{}
	for _, f := range r.Findings {
		for _, code := range f.Explains {
			if causes[code] == "" {
				causes[code] = f.Code
			}
		}
	}
	category := ""
	for _, f := range r.Findings {
		if !show(f) {
			continue
		}
		if f.Category != category {
			if category != "" {
				fmt.Fprintln(w)
			}
			category = f.Category
			fmt.Fprintln(w, t.Paint(output.Bold, category))
		}
		printFinding(w, t, f, causes[f.Code])
	}
	if category != "" {
		fmt.Fprintln(w)
	}
	_, err := fmt.Fprintln(w, r.Summary())
	return err
}

func printFinding(w io.Writer, t output.Terminal, f doctor.Finding, cause string) {
	s := signs[f.Status]
	fmt.Fprintf(w, "  %s %s  %s", t.Paint(s.style, s.sign), f.Code, f.Title)
	if f.Detail != "" && (f.Status == doctor.OK || f.Status == doctor.Info || f.Status == doctor.Skip) {
		fmt.Fprintf(w, " (%s)", f.Detail)
	}
	fmt.Fprintln(w)
	if f.Status != doctor.Error && f.Status != doctor.Warning {
		return
	}
	indent := strings.Repeat(" ", 16)
	if f.Object != "" {
		fmt.Fprintf(w, "%s%s: %s\n", indent, f.Object, strings.ReplaceAll(f.Detail, "\n", "\n"+indent))
	} else if f.Detail != "" {
		fmt.Fprintf(w, "%s%s\n", indent, strings.ReplaceAll(f.Detail, "\n", "\n"+indent))
	}
	if cause != "" {
		fmt.Fprintf(w, "%sexplained by %s above: mend that first\n", indent, cause)
	} else if f.Fix != "" {
		fmt.Fprintf(w, "%sfix: %s\n", indent, t.Paint(output.Bold, f.Fix))
	}
}
