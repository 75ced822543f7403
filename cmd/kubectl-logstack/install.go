package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/pkg/install"
	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

type installFlags struct {
	files       []string
	set         []string
	direct      []directFlag
	printValues bool
	export      string
	format      string
	dryRun      string
	force       bool
	wait        bool
	timeout     time.Duration
}

// directFlag is a flag for one value that people change often.
type directFlag struct {
	name  string
	apply func(*install.Values)
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
one; it is never ignored.`,
		Example: `  # the defaults: namespace logstack, a 10Gi volume, seven days of logs
  kubectl logstack install

  # a Raspberry Pi: a small volume of a named class, three days
  kubectl logstack install --storage-class local-path --storage-size 4Gi --retention 3d --memory 128Mi

  # from a file that says all of it
  kubectl logstack install --print-values > values.yaml
  kubectl logstack install --values values.yaml --set image.tag=v0.2.0

  # for a GitOps repository: files that kubectl apply -k, Flux or Argo CD take
  kubectl logstack install --values values.yaml --export infrastructure/logstack --format flux

  # only look: the objects as YAML, or the API server's verdict on them
  kubectl logstack install --dry-run=client
  kubectl logstack install --dry-run=server`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.printValues {
				_, err := a.Out.Write(install.DefaultValuesFile)
				return err
			}
			return runInstall(cmd.Context(), a, f, cmd.Flags().Changed)
		},
	}
	fl := cmd.Flags()
	fl.StringArrayVar(&f.files, "values", nil, "Values `file` (YAML, - for stdin); may be given more than once, later files win.")
	fl.StringArrayVar(&f.set, "set", nil, "One value, as `KEY=VALUE` (storage.size=4Gi, tolerations=[{operator: Exists}]); may be given more than once.")
	fl.StringVar(&f.export, "export", "", "Write the objects into `directory` for a GitOps repository and end; no cluster is asked.")
	fl.StringVar(&f.format, "format", string(install.FormatKustomize), "Layout of --export: yaml (one file), kustomize, flux or argocd.")
	_ = cmd.MarkFlagDirname("export")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"yaml", "kustomize", "flux", "argocd"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("dry-run", cobra.FixedCompletions([]string{"none", "client", "server"}, cobra.ShellCompDirectiveNoFileComp))
	fl.BoolVar(&f.printValues, "print-values", false, "Print a values file with every key, its default and its meaning, and end.")
	defaults := install.DefaultValues()
	direct := func(name, value, usage string, apply func(*install.Values, string)) {
		p := fl.String(name, value, usage)
		f.direct = append(f.direct, directFlag{name, func(v *install.Values) { apply(v, *p) }})
	}
	direct("image", defaults.Image.Ref(), "Image of the collector, with a tag or digest.", func(v *install.Values, s string) { v.Image.SetRef(s) })
	direct("storage-class", "", "StorageClass of the volume (default: the cluster's default class).", func(v *install.Values, s string) { v.Storage.Class = s })
	direct("storage-size", defaults.Storage.Size, "Size of the volume; the collector fills at most 80 % of it and then drops the oldest logs.", func(v *install.Values, s string) { v.Storage.Size = s })
	direct("retention", defaults.Retention, "How long logs are kept (7d, 12h); 0 keeps them until the volume is full.", func(v *install.Values, s string) { v.Retention = s })
	direct("memory", defaults.Resources.Memory, "Memory limit of the collector.", func(v *install.Values, s string) { v.Resources.Memory = s })
	ephemeral := fl.Bool("ephemeral", false, "Keep the logs in an emptyDir: they are lost with the collector's pod.")
	f.direct = append(f.direct, directFlag{"ephemeral", func(v *install.Values) { v.Storage.Ephemeral = *ephemeral }})
	fl.StringVar(&f.dryRun, "dry-run", "none", "none, client (print the objects as YAML, ask nobody) or server (let the API server judge, store nothing).")
	fl.BoolVar(&f.force, "force-conflicts", false, "Take over fields that another manager (Flux, Helm, kubectl edit) owns.")
	fl.BoolVar(&f.wait, "wait", true, "Wait until the collector is ready and has collected a line.")
	fl.DurationVar(&f.timeout, "timeout", 2*time.Minute, "How long to wait.")
	return cmd
}

// layer lays what was given over base: files, then --set, then the flags.
func (f *installFlags) layer(a *app, base install.Values, files map[string][]byte, changed func(flag string) bool) (install.Values, error) {
	v := base
	var err error
	for _, name := range f.files {
		source := name
		if name == "-" {
			source = "stdin"
		}
		if v, err = install.ParseValues(v, source, files[name]); err != nil {
			return base, &usageError{err}
		}
	}
	for _, s := range f.set {
		if v, err = install.SetValue(v, s); err != nil {
			return base, &usageError{err}
		}
	}
	if changed("storage-class") && !changed("ephemeral") {
		v.Storage.Ephemeral = false
	}
	if changed("ephemeral") && !changed("storage-class") {
		v.Storage.Class = ""
	}
	for _, d := range f.direct {
		if changed(d.name) {
			d.apply(&v)
		}
	}
	if n := a.flags.Namespace; n != nil && *n != "" {
		v.Namespace = *n
	}
	if err := v.Validate(); err != nil {
		return base, &usageError{err}
	}
	return v, nil
}

func (f *installFlags) read(a *app) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, name := range f.files {
		if _, twice := files[name]; twice {
			continue
		}
		var err error
		if name == "-" {
			files[name], err = io.ReadAll(a.In)
		} else {
			files[name], err = os.ReadFile(name)
		}
		if err != nil {
			return nil, usagef("--values: %w", err)
		}
	}
	return files, nil
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
	files, err := f.read(a)
	if err != nil {
		return err
	}
	// All that is wrong with the values is said before any network.
	values, err := f.layer(a, install.DefaultValues(), files, changed)
	if err != nil {
		return err
	}
	if changed("export") {
		switch {
		case f.export == "":
			return usagef("--export needs a directory")
		case changed("dry-run"):
			return usagef("--export and --dry-run: name one of them (--dry-run=client prints the objects)")
		}
		return exportFiles(a, values, f.export, install.Format(f.format))
	}
	if changed("format") {
		return usagef("--format %s is for --export", f.format)
	}
	switch f.dryRun {
	case "client":
		objs, err := install.Render(values)
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
	now, found, err := install.Current(ctx, c, values.Namespace)
	if err != nil {
		return err
	}
	if found {
		if values, err = f.layer(a, now, files, changed); err != nil {
			return err
		}
		noteKept(a, now, values)
	}
	progress := output.NewProgress(a.ErrOut, a.err())
	defer progress.Done()
	count, err := install.Run(ctx, c, install.Options{
		Values: values, DryRun: f.dryRun == "server", Force: f.force, Wait: f.wait,
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
		progress.Step("applied; see how it is doing: " + install.Command(values.Namespace, "status"))
		return nil
	}
	return showFirstLine(ctx, a, c, values.Namespace, progress, started)
}

// exportFiles writes the files of a GitOps repository. Files that are there are
// replaced: the repository keeps what they were.
func exportFiles(a *app, values install.Values, dir string, format install.Format) error {
	if !slices.Contains(install.Formats, format) {
		return usagef("--format %q: yaml, kustomize, flux or argocd", format)
	}
	files, err := install.Export(values, format)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("--export: %w", err)
	}
	for _, file := range files {
		path := filepath.Join(dir, filepath.FromSlash(file.Name))
		if err := os.WriteFile(path, file.Data, 0o644); err != nil {
			return fmt.Errorf("--export: %w", err)
		}
		fmt.Fprintln(a.Out, path)
	}
	noteLeftovers(a, dir, files)
	return nil
}

// noteLeftovers names what an earlier export with other values or in another
// format may have left: kubectl apply -f DIR would apply it, too.
func noteLeftovers(a *app, dir string, files []install.File) {
	for _, name := range install.ExportNames {
		if slices.ContainsFunc(files, func(f install.File) bool { return f.Name == name }) {
			continue
		}
		if path := filepath.Join(dir, name); fileExists(path) {
			fmt.Fprintf(a.ErrOut, "note: %s is no part of this export; if an earlier one left it, delete it\n", path)
		}
	}
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// noteKept names what stays as the running installation has it, where a fresh
// one would differ.
func noteKept(a *app, now, values install.Values) {
	changing := map[string]bool{}
	for _, c := range install.Changes(now, values) {
		changing[c.Path] = true
	}
	var kept []string
	for _, c := range install.Changes(install.DefaultValues(), now) {
		if !changing[c.Path] && c.Path != "namespace" {
			kept = append(kept, c.Path+" "+c.To)
		}
	}
	if len(kept) > 0 {
		fmt.Fprintln(a.ErrOut, "note: keeping "+strings.Join(kept, ", "))
	}
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
  Grafana: add a Loki data source, URL http://`+install.Name+"."+namespace+`.svc:3100
`)
	return nil
}
