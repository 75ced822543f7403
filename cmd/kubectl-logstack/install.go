package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/pkg/install"
	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

// installFlags say how install and upgrade proceed.
type installFlags struct {
	valueFlags
	upgrade     bool // the command upgrade
	printValues bool
	listImages  bool
	export      string
	format      string
	dryRun      string
	diff        bool
	pre         bool
	skipPre     bool
	force       bool
	wait        bool
	timeout     time.Duration
	rollback    bool // go back instead
	onFailure   bool // go back when the run fails
	grafana     grafanaFlags
	grafanaAPI  *install.GrafanaAPI // from the flags, nil for none
}

func newInstallCmd(a *app) *cobra.Command {
	f := &installFlags{}
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Put the collector into the cluster, or upgrade it",
		Long: `Put the collector into the cluster and wait until the first line is collected.

It creates a namespace with PodSecurity "restricted", a ServiceAccount that may
read pods and their logs and nothing else, a NetworkPolicy, a Service and a
StatefulSet with one volume. Running it again changes only what differs, and
deletes what is no longer wanted. What is not given, in a values file or on the
command line, stays as it is; flags win over --set, --set over --values.

An unknown or misplaced key in a values file is an error that names the right
one; it is never ignored. Before anything is changed, it is examined what would
keep the collector from working: rights, PodSecurity, storage, quotas, nodes
(--pre only examines, --skip-pre does not).`,
		Example: `  # the defaults: namespace logstack, a 10Gi volume, seven days of logs
  kubectl logstack install

  # would it work here?
  kubectl logstack install --pre

  # a Raspberry Pi: a small volume of a named class, three days
  kubectl logstack install --storage-class local-path --storage-size 4Gi --retention 3d --memory 128Mi

  # from a file that says all of it
  kubectl logstack install --print-values > values.yaml
  kubectl logstack install --values values.yaml --set image.tag=v0.2.0

  # for a GitOps repository: files that kubectl apply -k, Flux or Argo CD take
  kubectl logstack install --values values.yaml --export infrastructure/logstack --format flux

  # only look: the objects as YAML, the API server's verdict on them, what would change
  kubectl logstack install --dry-run=client
  kubectl logstack install --dry-run=server
  kubectl logstack install --retention 30d --diff`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case f.printValues:
				_, err := a.Out.Write(install.DefaultValuesFile)
				return err
			case f.listImages:
				return listImages(a, &f.valueFlags, cmd.Flags().Changed)
			}
			return runInstall(cmd.Context(), a, f, cmd.Flags().Changed)
		},
	}
	f.valueFlags.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.export, "export", "", "Write the objects into `directory` for a GitOps repository and end; no cluster is asked.")
	fl.StringVar(&f.format, "format", string(install.FormatKustomize), "Layout of --export: yaml (one file), kustomize, flux or argocd.")
	_ = cmd.MarkFlagDirname("export")
	completeFormat(cmd)
	fl.BoolVar(&f.printValues, "print-values", false, "Print a values file with every key, its default and its meaning, and end.")
	fl.BoolVar(&f.listImages, "list-images", false, "Print the images that would run, for a mirror, and end.")
	f.addRunFlags(cmd)
	return cmd
}

func newUpgradeCmd(a *app) *cobra.Command {
	f := &installFlags{upgrade: true}
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Bring the collector to the version of the plugin, or back",
		Long: `Bring an installation to the version of the plugin, with the values that it has
and those that are given: install does the same, and upgrade refuses where nothing
is installed. An image that was named keeps its tag.

With --rollback-on-failure, what was ready before is put back when the new
collector does not become ready; with --rollback, at any later time. A plugin whose
collector could not read the stored logs is refused.`,
		Example: `  kubectl logstack upgrade
  kubectl logstack upgrade --rollback-on-failure --timeout 5m

  # what would change?
  kubectl logstack upgrade --diff

  # back to what was ready before
  kubectl logstack upgrade --rollback`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.rollback {
				return runRollback(cmd.Context(), a, f, cmd.Flags().Changed)
			}
			return runInstall(cmd.Context(), a, f, cmd.Flags().Changed)
		},
	}
	f.valueFlags.add(cmd)
	f.addRunFlags(cmd)
	cmd.Flags().BoolVar(&f.rollback, "rollback", false, "Go back to what was ready before, with the objects and values that it had.")
	return cmd
}

func (f *installFlags) addRunFlags(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.dryRun, "dry-run", "none", "none, client (print the objects as YAML, ask nobody) or server (let the API server judge, store nothing).")
	_ = cmd.RegisterFlagCompletionFunc("dry-run", cobra.FixedCompletions([]string{"none", "client", "server"}, cobra.ShellCompDirectiveNoFileComp))
	fl.BoolVar(&f.diff, "diff", false, "Print what would change, and end. Exit code 1 when anything would.")
	fl.BoolVar(&f.pre, "pre", false, "Examine what would keep the collector from working, and end. Exit code 1 when anything would.")
	fl.BoolVar(&f.skipPre, "skip-pre", false, "Do not examine that first.")
	fl.BoolVar(&f.force, "force-conflicts", false, "Take over fields that another manager (Flux, Helm, kubectl edit) owns.")
	fl.BoolVar(&f.wait, "wait", true, "Wait until the collector is ready and has collected a line.")
	fl.DurationVar(&f.timeout, "timeout", 2*time.Minute, "How long to wait.")
	fl.BoolVar(&f.onFailure, "rollback-on-failure", false, "When it does not become ready, put back what was ready before, or take out what was new.")
	f.grafana.add(cmd)
}

// installNamespace is where the installation lives: --namespace where a person
// gave it, else "logstack"; the namespace of the kubeconfig context is where
// their own work is.
func installNamespace(a *app) string {
	if a.flags.Namespace != nil && *a.flags.Namespace != "" {
		return *a.flags.Namespace
	}
	return install.Name
}

// check refuses flags that contradict each other.
func (f *installFlags) check(changed func(flag string) bool) error {
	switch {
	case f.dryRun != "none" && f.dryRun != "client" && f.dryRun != "server":
		return usagef("--dry-run %q: none, client or server", f.dryRun)
	case changed("export") && f.export == "":
		return usagef("--export needs a directory")
	case changed("export") && changed("dry-run"):
		return usagef("--export and --dry-run: name one of them (--dry-run=client prints the objects)")
	case changed("format") && !changed("export"):
		return usagef("--format %s is for --export", f.format)
	case f.pre && f.skipPre:
		return usagef("--pre and --skip-pre: name one of them")
	case f.onFailure && !f.wait:
		return usagef("--rollback-on-failure needs --wait: without it nobody sees the failure")
	case f.grafana.url != "" && (changed("export") || f.dryRun != "none" || f.diff || f.pre):
		return usagef("--grafana-url is for a run that installs")
	}
	return nil
}

func runInstall(ctx context.Context, a *app, f *installFlags, changed func(flag string) bool) error {
	files, err := f.read(a)
	if err != nil {
		return err
	}
	// All that is wrong with the values is said before any network.
	values, err := f.layer(a, install.DefaultValues(), files, changed)
	if err != nil {
		return err
	}
	if err := f.check(changed); err != nil {
		return err
	}
	if f.grafanaAPI, err = f.grafana.api(a); err != nil {
		return err
	}
	if changed("export") {
		return exportFiles(a, values, f.export, install.Format(f.format))
	}
	if f.dryRun == "client" {
		return printObjects(a, values)
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	now, found, err := install.Current(ctx, c, values.Namespace)
	if err != nil {
		return err
	}
	switch {
	case found:
		if values, err = f.layer(a, now, files, changed); err != nil {
			return err
		}
		noteKept(a, now, values)
	case f.upgrade:
		return usagef("nothing is installed in namespace %s\n  install it: %s", values.Namespace, install.Command(values.Namespace, "install"))
	}
	if f.diff {
		return printDiff(ctx, a, c, install.Options{Values: values, Force: f.force})
	}
	if f.pre {
		return printPreflight(ctx, a, c, values)
	}
	if !f.skipPre {
		if err := preflight(ctx, a, c, values); err != nil {
			return err
		}
	}
	if !found {
		now.Replicas = 0
	}
	return apply(ctx, a, c, f, values, now.Replicas)
}

// apply changes the cluster, in which so many replicas are running.
func apply(ctx context.Context, a *app, c *kube.Client, f *installFlags, values install.Values, running int32) error {
	started := time.Now()
	progress := output.NewProgress(a.ErrOut, a.err())
	defer progress.Done()
	opts := f.options(values, progress)
	if running > 0 {
		opts.StoreFormat = runningFormat(ctx, c, values.Namespace)
	}
	if running > values.Replicas && !opts.DryRun {
		if err := scaleDown(ctx, c, values.Namespace, running, values.Replicas, progress); err != nil {
			return interrupted(a, progress, values.Namespace, err)
		}
	}
	count, err := install.Run(ctx, c, opts)
	if err != nil {
		return interrupted(a, progress, values.Namespace, err)
	}
	if f.dryRun == "server" {
		progress.Step(fmt.Sprintf("the API server accepts it (%d objects would change); nothing was stored", count))
		return nil
	}
	if err := tellGrafana(ctx, f.grafanaAPI, values, opts.Observer); err != nil {
		return err
	}
	if !f.wait {
		progress.Step("applied; see how it is doing: " + install.Command(values.Namespace, "status"))
		return nil
	}
	ctx, cancel := context.WithDeadline(ctx, started.Add(max(f.timeout, time.Since(started)+firstLineTimeout)))
	defer cancel()
	return showFirstLine(ctx, a, c, values.Namespace, progress, started)
}

// firstLineTimeout is what is left for the proof at the end, at least.
const firstLineTimeout = 30 * time.Second

func (f *installFlags) options(values install.Values, progress *output.Progress) install.Options {
	return install.Options{
		Values: values, DryRun: f.dryRun == "server", Force: f.force, Wait: f.wait, Timeout: f.timeout, Rollback: f.onFailure,
		Observer: install.Observer{
			Applied: func(object string, change kube.Change) { progress.Step(fmt.Sprintf("%s %s", object, change)) },
			Waiting: progress.Wait,
			Reached: func(object, what string) { progress.Step(object + ": " + what) },
			Note:    progress.Step,
		},
	}
}

// interrupted says what is left behind when somebody pressed Ctrl-C; the exit
// code says nothing of it.
func interrupted(a *app, progress *output.Progress, namespace string, err error) error {
	progress.Done()
	if errors.Is(err, context.Canceled) {
		fmt.Fprintf(a.ErrOut, "interrupted: what was applied stays; run the same command again to go on, or take it out: %s\n", install.Command(namespace, "uninstall"))
	}
	return err
}

// runningFormat asks the running collector for the format of its data; 0 where
// it cannot be asked, which keeps nobody from mending it.
func runningFormat(ctx context.Context, c *kube.Client, namespace string) int {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	raw, err := collectorStatus(ctx, c, namespace)
	if err != nil {
		return 0
	}
	var v struct{ Store struct{ Format int } }
	if json.Unmarshal(raw, &v) != nil {
		return 0
	}
	return v.Store.Format
}

func runRollback(ctx context.Context, a *app, f *installFlags, changed func(flag string) bool) error {
	for _, flag := range append([]string{"values", "set", "diff", "pre", "dry-run", "rollback-on-failure"}, f.names()...) {
		if changed(flag) {
			return usagef("--rollback and --%s: what is put back has values of its own", flag)
		}
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	values := install.DefaultValues()
	values.Namespace = installNamespace(a)
	progress := output.NewProgress(a.ErrOut, a.err())
	defer progress.Done()
	opts := f.options(values, progress)
	opts.StoreFormat = runningFormat(ctx, c, values.Namespace)
	if _, err := install.Rollback(ctx, c, opts); err != nil {
		return interrupted(a, progress, values.Namespace, err)
	}
	progress.Step("what was ready before is back; see how it is doing: " + install.Command(values.Namespace, "status"))
	return nil
}

func (f *valueFlags) names() (names []string) {
	for _, d := range f.direct {
		names = append(names, d.name)
	}
	return names
}

// showFirstLine ends an installation with its proof: a line of the cluster,
// collected, stored and read back.
func showFirstLine(ctx context.Context, a *app, c *kube.Client, namespace string, progress *output.Progress, started time.Time) error {
	progress.Wait("the first line")
	conn, err := connectOurs(ctx, c, namespace)
	if err != nil {
		return err
	}
	defer conn.Close()
	line, err := waitForLine(ctx, conn, started)
	if err != nil {
		return fmt.Errorf("the collector runs and no line has arrived yet: %w\n  find out why: %s", err, install.Command(namespace, "doctor"))
	}
	progress.Step(fmt.Sprintf("ready after %.0f s; the newest collected line:", time.Since(started).Seconds()))
	progress.Done()
	printEntry(a.Out, a.out(), line)
	fmt.Fprint(a.ErrOut, `
next:
  kubectl logstack query '{namespace=~".+"} |= "error"'    search all logs
  kubectl logstack logs deploy/NAME -f                     follow one workload
  Grafana: where none was told above, add a Loki data source, URL http://`+install.Name+"."+namespace+`.svc:3100
`)
	return nil
}
