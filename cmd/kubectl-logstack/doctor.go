package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor"
	printing "github.com/logstack-dev/kubectl-logstack/pkg/doctor/report"
	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
	"github.com/logstack-dev/kubectl-logstack/pkg/install"
	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
	"github.com/logstack-dev/kubectl-logstack/pkg/version"
)

type doctorFlags struct {
	format, failOn, explain string
	strict                  bool
	only, skip              []string
	suppressions            string
	files                   []string
	useKube                 bool
	chart, release          string
	targetNamespace         string
	targetVersion           string
	wait, lineTimeout       time.Duration
	fix                     bool
	bundle                  string
	probe, pre              bool
	probeImage              string
}

func newDoctorCmd(a *app) *cobra.Command {
	f := &doctorFlags{}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find out why logs do not flow",
		Long: `Find out why logs do not flow: in our stack, and in a Loki, Alloy, Promtail,
Fluent Bit, Vector or Grafana stack that is already there. The way of a line from
a container to your screen is examined step by step, and a line written now is
followed through it. The cluster is only read; with --probe, and only then, pods
are made that look from inside, and deleted.

With -f, files are examined as if they were applied to the cluster; with
--use-kube=false, without a cluster: chart values, HelmReleases, Applications,
manifests, ConfigMaps, *.alloy, promtail.yaml, fluent-bit.conf, vector.yaml.

Every finding has a permanent code, the proof and the fix. What doctor is not
allowed to look at is shown as skipped, never as passed.

Exit codes, the same in every format: 0 nothing found, 1 findings of at least
--fail-on, 2 wrong usage or a file that cannot be read, 3 the cluster was not
reached or everything was skipped (with --strict: anything).`,
		Example: `  # why do my logs not flow?
  kubectl logstack doctor

  # what would these values do, in this cluster?
  kubectl logstack doctor -f values.yaml --chart grafana/loki@6.55.0 --release monitoring --target-namespace monitoring

  # a GitOps repository in CI, without a cluster
  kubectl logstack doctor -f clusters/home --use-kube=false -o github

  # may I install, and will the cluster take it?
  kubectl logstack doctor --pre

  # ask from inside, too: a pod that is deleted at once
  kubectl logstack doctor --probe --only services

  # what does a code mean?
  kubectl logstack doctor --explain LS0705`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.explain != "" {
				return explainCheck(a, f.explain)
			}
			return runDoctor(cmd.Context(), a, f, cmd.Flags().Changed("use-kube"))
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.format, "output", "o", "text", strings.Join(printing.Formats, ", ")+". short shows only what is not ok.")
	fl.StringVar(&f.failOn, "fail-on", "error", "Least severity that gives exit code 1: error, warning, info or none.")
	fl.BoolVar(&f.strict, "strict", false, "Exit code 3 when anything was skipped.")
	fl.StringSliceVar(&f.only, "only", nil, "Only these checks: codes (LS0501), beginnings of codes (LS05) or categories ("+strings.Join(doctor.Slugs(), ", ")+").")
	fl.StringSliceVar(&f.skip, "skip", nil, "Not these checks.")
	fl.StringVar(&f.suppressions, "suppressions", "", "File of findings to take out, with reason and expiry (default "+doctor.SuppressionsFile+", if it is there).")
	fl.StringVar(&f.explain, "explain", "", "Print what a code means and how it is examined.")
	fl.StringArrayVarP(&f.files, "filename", "f", nil, "File or directory to examine over the cluster, - for standard input. May be given more than once.")
	fl.BoolVar(&f.useKube, "use-kube", true, "Look at the cluster, too.")
	fl.StringVar(&f.chart, "chart", "", "Chart of values files: NAME, NAME@VERSION or REPOSITORY/NAME@VERSION (grafana/loki@6.55.0).")
	fl.StringVar(&f.release, "release", "", "Helm release name of values files (default: the chart's name).")
	fl.StringVar(&f.targetNamespace, "target-namespace", "", "Namespace of values files and of manifests without one (default: default).")
	fl.StringVar(&f.targetVersion, "target-version", "", "Chart version of an upgrade: what would break?")
	fl.DurationVar(&f.wait, "wait", 0, "Ask again for this long while something is not ready yet.")
	fl.DurationVar(&f.lineTimeout, "line-timeout", 30*time.Second, "How long to wait for the line that is written now.")
	fl.BoolVar(&f.fix, "fix", false, "Print the fixes instead of the report. Nothing is changed.")
	fl.StringVar(&f.bundle, "bundle", "", "Also write a redacted archive (.tgz) for a bug report.")
	fl.BoolVar(&f.probe, "probe", false, "Also look from inside: a short-lived, restricted pod in each namespace with a client asks what log traffic goes to, and is deleted.")
	fl.StringVar(&f.probeImage, "probe-image", "", "Image of that pod (default: the collector's).")
	fl.BoolVar(&f.pre, "pre", false, "Before an installation: may you install, and will the cluster take it? Nothing is applied.")
	completeDoctor(cmd)
	cmd.AddCommand(newDoctorListCmd(a))
	return cmd
}

// completeDoctor offers formats, codes with their titles, and categories.
func completeDoctor(cmd *cobra.Command) {
	var codes []string
	for _, c := range doctor.Checks() {
		codes = append(codes, c.Code+"\t"+c.Title)
	}
	for flag, words := range map[string][]string{
		"output": printing.Formats, "fail-on": {"error", "warning", "info", "none"}, "explain": codes,
		"chart": doctor.FamiliarCharts(), "only": slices.Concat(doctor.Slugs(), codes), "skip": slices.Concat(doctor.Slugs(), codes),
	} {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
}

func newDoctorListCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List all checks",
		Example: `  kubectl logstack doctor list
  kubectl logstack doctor --explain LS0705   # one of them`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			var rows [][]string
			all := doctor.Checks()
			slices.SortFunc(all, func(a, b doctor.Check) int { return strings.Compare(a.Code, b.Code) })
			for _, c := range all {
				rows = append(rows, []string{c.Code, string(c.Severity), c.Category, c.Title})
			}
			return output.Table(a.Out, []string{"CODE", "SEVERITY", "CATEGORY", "HOLDS WHEN ALL IS WELL"}, rows)
		},
	}
}

func explainCheck(a *app, code string) error {
	c, ok := doctor.Lookup(code)
	if !ok {
		if why, was := doctor.Retired(code); was {
			return usagef("%s is retired: %s", strings.ToUpper(code), why)
		}
		if near := doctor.NearestCode(code); near != "" {
			return usagef("there is no check %q; did you mean %s?\n  kubectl logstack doctor list shows all", code, near)
		}
		return usagef("there is no check %q\n  kubectl logstack doctor list shows all", code)
	}
	_, err := fmt.Fprintf(a.Out, "%s  %s: %s\n\n%s\n\nfix: %s\n", c.Code, c.Category, c.Title, c.Explain, c.Fix)
	return err
}

// options checks all flags and says what is wrong with them at once.
func (f *doctorFlags) options() (doctor.RunOptions, error) {
	var errs []error
	if !slices.Contains(printing.Formats, f.format) {
		errs = append(errs, fmt.Errorf("-o %q: %s", f.format, strings.Join(printing.Formats, ", ")))
	}
	if !slices.Contains([]string{"error", "warning", "info", "none"}, f.failOn) {
		errs = append(errs, fmt.Errorf("--fail-on %q: error, warning, info or none", f.failOn))
	}
	if err := doctor.ValidateSelection(f.only); err != nil {
		errs = append(errs, fmt.Errorf("--only: %w", err))
	}
	if err := doctor.ValidateSelection(f.skip); err != nil {
		errs = append(errs, fmt.Errorf("--skip: %w", err))
	}
	if f.pre && len(f.only) == 0 {
		f.only = preChecks
	}
	if f.probeImage != "" && !f.probe {
		errs = append(errs, errors.New("--probe-image: it is the image of --probe"))
	}
	if (f.probe || f.pre) && !f.useKube {
		errs = append(errs, errors.New("--probe and --pre need a cluster: leave out --use-kube=false"))
	}
	if f.probe && f.pre {
		errs = append(errs, errors.New("--probe and --pre: before an installation there is nothing to ask; name one of them"))
	}
	if !f.useKube && len(f.files) == 0 {
		errs = append(errs, errors.New("--use-kube=false: there is nothing to look at; name files with -f"))
	}
	if _, chart, _ := f.chartParts(); f.chart != "" {
		if err := doctor.CheckChart(chart); err != nil {
			errs = append(errs, fmt.Errorf("--chart: %w", err))
		}
	}
	o := doctor.RunOptions{Only: f.only, Skip: f.skip, FailOn: doctor.Status(f.failOn), Strict: f.strict}
	var err error
	if o.Suppressions, err = readSuppressions(f.suppressions); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return o, &usageError{errors.Join(errs...)}
	}
	return o, nil
}

// lineWord is how a mistake in the file says its line.
var lineWord = regexp.MustCompile(`(?m)(^)(?:\S+: )?line (\d+):`)

func readSuppressions(name string) ([]doctor.Suppression, error) {
	text, err := os.ReadFile(cmpOr(name, doctor.SuppressionsFile))
	switch {
	case name == "" && errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("suppressions: %w", err)
	}
	all, err := doctor.ParseSuppressions(text)
	if err != nil {
		// Each mistake with its place, as compilers write it.
		file := cmpOr(name, doctor.SuppressionsFile)
		return nil, errors.New(lineWord.ReplaceAllString(file+": "+err.Error(), "${1}"+strings.ReplaceAll(file, "$", "$$")+":${2}:"))
	}
	return all, nil
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// chartParts takes --chart apart.
func (f *doctorFlags) chartParts() (repo, chart, version string) {
	chart, version, _ = strings.Cut(f.chart, "@")
	if i := strings.LastIndexByte(chart, '/'); i >= 0 {
		repo, chart = chart[:i], chart[i+1:]
	}
	return repo, chart, version
}

// request says what to look at. Without a kubeconfig, files are examined alone.
func (f *doctorFlags) request(a *app, insist bool) (snapshot.Request, error) {
	r := snapshot.Request{
		Files: f.files, StackNamespace: installNamespace(a), StackName: install.Name,
		Options: snapshot.Options{TargetVersion: f.targetVersion},
	}
	o := snapshot.FileOptions{Release: f.release, Namespace: f.targetNamespace, Stdin: a.In}
	o.Repo, o.Chart, o.Version = f.chartParts()
	r.FileOptions = doctor.FileOptions(o)
	if !f.useKube {
		return r, nil
	}
	c, err := a.client()
	if err != nil {
		if len(f.files) > 0 && !insist {
			fmt.Fprintln(a.ErrOut, "no cluster is asked: "+firstLineOf(err))
			return r, nil
		}
		return r, err
	}
	r.Client = c
	if f.pre {
		return r, f.beforeInstall(&r)
	}
	r.Probes = probes(c, r.StackNamespace, f.lineTimeout)
	if f.probe {
		r.Probes.Inside = insideProbe{c: c, image: f.probeImage, poll: probePoll, wait: probeTimeout}.look
	}
	return r, nil
}

// preChecks are those that say something before an installation: access,
// versions, rights, admission and volumes. What is not there yet is not missed.
var preChecks = []string{"LS0101", "LS0102", "LS0105", "LS0201", "LS0202", "LS0301", "LS0303", "LS0305", "LS0901"}

// beforeInstall adds what an installation with the default values would apply,
// as if it were a file, and asks for the rights that it needs.
func (f *doctorFlags) beforeInstall(r *snapshot.Request) error {
	values := install.DefaultValues()
	values.Namespace = r.StackNamespace
	objs, err := install.Render(values)
	if err != nil {
		return err
	}
	r.InstallNeeds = doctor.InstallNeeds(objs)
	r.Manifests, err = install.YAML(objs)
	return err
}

func runDoctor(ctx context.Context, a *app, f *doctorFlags, insist bool) error {
	opts, err := f.options()
	if err != nil {
		return err
	}
	req, err := f.request(a, insist)
	if err != nil {
		return err
	}
	s, r, err := examine(ctx, a, f, req, opts)
	if err != nil {
		var file *snapshot.FileError
		if errors.As(err, &file) {
			return &usageError{err}
		}
		return err
	}
	for i := range opts.Suppressions {
		if e := &opts.Suppressions[i]; e.Ended(s.Taken) {
			fmt.Fprintln(a.ErrOut, a.err().Cell(fmt.Sprintf("the suppression of %s ended on %s (%s)", e.Code, e.Until, e.Reason)))
		}
	}
	for _, n := range s.Notes {
		fmt.Fprintln(a.ErrOut, a.err().Cell(n))
	}
	if f.bundle != "" {
		if err := writeBundle(f.bundle, s, r); err != nil {
			return err
		}
		fmt.Fprintln(a.ErrOut, "wrote "+f.bundle)
	}
	// Who reads no further than the first lines still gets the exit code.
	if err := printReport(a, f, r); err != nil && !errors.Is(err, syscall.EPIPE) {
		return err
	}
	if r.ExitCode != doctor.ExitOK {
		return &silentError{r.ExitCode}
	}
	return nil
}

// printReport keeps what clusters and files contain from steering the terminal.
func printReport(a *app, f *doctorFlags, r *doctor.Report) error {
	t := a.out()
	switch {
	case f.fix:
		return printing.Fixes(a.Out, printing.Clean(r, t.Line, t.Cell))
	case slices.Contains([]string{"text", "short", "table"}, f.format):
		r = printing.Clean(r, t.Line, t.Cell)
	}
	return printing.WriteWidth(a.Out, f.format, r, painter(t), t.Width)
}

// waitBetween is the pause of --wait between two looks.
const waitBetween = 5 * time.Second

// examine looks once, or with --wait again while something transient is wrong.
func examine(ctx context.Context, a *app, f *doctorFlags, req snapshot.Request, opts doctor.RunOptions) (*snapshot.Snapshot, *doctor.Report, error) {
	progress := output.NewProgress(a.ErrOut, a.err())
	defer progress.Done()
	if a.err().Interactive && req.Client != nil {
		progress.Wait("looking at the cluster")
	}
	wait := f.wait
	if req.Client == nil {
		wait = 0 // files do not mend themselves
	}
	say := func(reason string) {
		reason = "waiting: " + a.err().Cell(reason)
		progress.Step(reason)
		if a.err().Interactive {
			progress.Wait(reason)
		}
	}
	return lookAgain(ctx, wait, say, func(ctx context.Context) (*snapshot.Snapshot, *doctor.Report, error) {
		s, err := snapshot.Load(ctx, req)
		if err != nil {
			return nil, nil, err
		}
		r := doctor.Run(s, doctor.Checks(), opts)
		r.Sources = f.files
		return s, r, nil
	})
}

// lookAgain looks until nothing is wrong that may mend itself, for at most wait:
// the last look is the answer. say is told what is waited for, each time that
// it is another thing.
func lookAgain(ctx context.Context, wait time.Duration, say func(string), look func(context.Context) (*snapshot.Snapshot, *doctor.Report, error)) (*snapshot.Snapshot, *doctor.Report, error) {
	deadline := time.Now().Add(wait)
	said := ""
	for {
		s, r, err := look(ctx)
		if err != nil {
			return nil, nil, err
		}
		reason := r.Waiting()
		if reason == "" || time.Now().Add(waitBetween).After(deadline) {
			return s, r, nil
		}
		if reason != said {
			say(reason)
			said = reason
		}
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-time.After(waitBetween):
		}
	}
}

// painter maps the report's styles to the terminal's.
func painter(t output.Terminal) printing.Painter {
	styles := map[string]output.Style{
		string(doctor.OK): output.Green, string(doctor.Info): output.Blue, string(doctor.Warning): output.Yellow, string(doctor.Error): output.Red,
		string(doctor.Skip): output.Faint, "bold": output.Bold, "faint": output.Faint, "suppressed": output.Faint,
	}
	return func(style, s string) string { return t.Paint(styles[style], s) }
}

func writeBundle(name string, s *snapshot.Snapshot, r *doctor.Report) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := printing.Bundle(f, s, r); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// probes reach into the running stack: is it ready, and does a line arrive?
func probes(c *kube.Client, namespace string, wait time.Duration) snapshot.Probes {
	var client *lokiapi.Client
	return snapshot.Probes{
		Query: func(ctx context.Context) *snapshot.QueryResult {
			conn, err := connectOurs(ctx, c, namespace)
			if err != nil {
				return &snapshot.QueryResult{Err: err}
			}
			client = &lokiapi.Client{HTTP: conn.HTTP, BaseURL: conn.BaseURL}
			q := &snapshot.QueryResult{Via: string(conn.Via), Note: conn.Note, Plugin: version.Version, Err: client.Ready(ctx)}
			if info, err := client.BuildInfo(ctx); err == nil {
				q.Version = info.Version
			}
			return q
		},
		Arrival: func(ctx context.Context) *snapshot.ArrivalResult {
			return followALine(ctx, client, namespace, wait)
		},
		Flow: func(ctx context.Context) *snapshot.FlowResult { return lookAtFlow(ctx, client) },
	}
}
