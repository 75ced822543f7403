package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/pkg/install"
	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

type installFlags struct {
	values  install.Values
	dryRun  string
	force   bool
	wait    bool
	timeout time.Duration
}

func newInstallCmd(a *app) *cobra.Command {
	f := &installFlags{values: install.DefaultValues()}
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Put the collector into the cluster, or upgrade it",
		Long: `Put the collector into the cluster and wait until the first line is collected.

It creates a namespace with PodSecurity "restricted", a ServiceAccount that may
read pods and their logs and nothing else, a NetworkPolicy, a Service and a
StatefulSet with one volume. Running it again changes only what differs: values
that are not given on the command line stay as they are.`,
		Example: `  # the defaults: namespace logstack, a 10Gi volume, seven days of logs
  kubectl logstack install

  # a Raspberry Pi: a small volume of a named class, three days
  kubectl logstack install --storage-class local-path --storage-size 4Gi --retention 3d --memory 128Mi

  # only look: the objects as YAML, or the API server's verdict on them
  kubectl logstack install --dry-run=client
  kubectl logstack install --dry-run=server`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.values.Namespace = installNamespace(a)
			return runInstall(cmd.Context(), a, f, cmd.Flags().Changed)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.values.Image, "image", f.values.Image, "Image of the collector.")
	fl.StringVar(&f.values.StorageClass, "storage-class", "", "StorageClass of the volume (default: the cluster's default class).")
	fl.StringVar(&f.values.StorageSize, "storage-size", f.values.StorageSize, "Size of the volume; the collector fills at most 80 % of it and then drops the oldest logs.")
	fl.BoolVar(&f.values.Ephemeral, "ephemeral", false, "Keep the logs in an emptyDir: they are lost with the collector's pod.")
	fl.StringVar(&f.values.Retention, "retention", f.values.Retention, "How long logs are kept (7d, 12h); 0 keeps them until the volume is full.")
	fl.StringVar(&f.values.Memory, "memory", f.values.Memory, "Memory limit of the collector.")
	fl.StringVar(&f.dryRun, "dry-run", "none", "none, client (print the objects as YAML, ask nobody) or server (let the API server judge, store nothing).")
	fl.BoolVar(&f.force, "force-conflicts", false, "Take over fields that another manager (Flux, Helm, kubectl edit) owns.")
	fl.BoolVar(&f.wait, "wait", true, "Wait until the collector is ready and has collected a line.")
	fl.DurationVar(&f.timeout, "timeout", 2*time.Minute, "How long to wait.")
	return cmd
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

func runInstall(ctx context.Context, a *app, f *installFlags, changed func(flag string) bool) error {
	if err := f.values.Validate(); err != nil {
		return &usageError{err}
	}
	switch f.dryRun {
	case "client":
		objs, err := install.Render(f.values)
		if err != nil {
			return err
		}
		b, err := install.YAML(objs)
		if err != nil {
			return err
		}
		_, err = a.Out.Write(b)
		return err
	case "none", "server":
	default:
		return usagef("--dry-run %q: none, client or server", f.dryRun)
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	started := time.Now()
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	if err := keepValues(ctx, a, c, f, changed); err != nil {
		return err
	}
	progress := output.NewProgress(a.ErrOut, a.err())
	defer progress.Done()
	count, err := install.Run(ctx, c, install.Options{
		Values: f.values, DryRun: f.dryRun == "server", Force: f.force, Wait: f.wait,
		Observer: install.Observer{
			Applied: func(object string, change kube.Change) { progress.Step(fmt.Sprintf("%s %s", object, change)) },
			Waiting: progress.Wait,
		},
	})
	if err != nil {
		return err
	}
	if f.dryRun == "server" {
		progress.Step(fmt.Sprintf("the API server accepts it (%d objects would change); nothing was stored", count))
		return nil
	}
	if !f.wait {
		progress.Step("applied; see how it is doing: " + install.Command(f.values.Namespace, "status"))
		return nil
	}
	return showFirstLine(ctx, a, c, f.values.Namespace, progress, started)
}

// keepValues takes what was not asked for on the command line from the running
// installation: changing the memory must not change the image.
func keepValues(ctx context.Context, a *app, c *kube.Client, f *installFlags, changed func(string) bool) error {
	now, found, err := install.Current(ctx, c, f.values.Namespace)
	if err != nil || !found {
		return err
	}
	want := &f.values
	fresh := install.DefaultValues()
	var kept []string
	keep := func(flag, value, fallback string, set func()) {
		if changed(flag) {
			return
		}
		set()
		if value != fallback {
			kept = append(kept, flag+" "+value)
		}
	}
	keep("image", now.Image, fresh.Image, func() { want.Image = now.Image })
	keep("retention", now.Retention, fresh.Retention, func() { want.Retention = now.Retention })
	keep("memory", now.Memory, fresh.Memory, func() { want.Memory = now.Memory })
	keep("storage-size", now.StorageSize, fresh.StorageSize, func() { want.StorageSize = now.StorageSize })
	if !changed("ephemeral") && !changed("storage-class") {
		want.Ephemeral, want.StorageClass = now.Ephemeral, now.StorageClass
	}
	if len(kept) > 0 {
		fmt.Fprintln(a.ErrOut, "note: keeping "+strings.Join(kept, ", "))
	}
	return f.values.Validate()
}

// showFirstLine ends an installation with its proof: a line of the cluster,
// collected, stored and read back.
func showFirstLine(ctx context.Context, a *app, c *kube.Client, namespace string, progress *output.Progress, started time.Time) error {
	progress.Wait("the first line")
	conn, err := c.Connect(ctx, serviceIn(namespace), "/ready")
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
  Grafana: add a Loki data source, URL http://`+install.Name+"."+namespace+`.svc:3100
`)
	return nil
}
