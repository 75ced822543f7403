package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/pkg/install"
)

// valueFlags say what is installed; install, upgrade, diff and export share them.
type valueFlags struct {
	files  []string
	set    []string
	direct []directFlag
}

// directFlag is a flag for one value that people change often.
type directFlag struct {
	name  string
	apply func(*install.Values)
}

func (f *valueFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringArrayVar(&f.files, "values", nil, "Values `file` (YAML, - for stdin); may be given more than once, later files win.")
	fl.StringArrayVar(&f.set, "set", nil, "One value, as `KEY=VALUE` (storage.size=4Gi, tolerations=[{operator: Exists}]); may be given more than once.")
	_ = cmd.RegisterFlagCompletionFunc("set", completeSet)
	_ = cmd.MarkFlagFilename("values", "yaml", "yml")
	defaults := install.DefaultValues()
	direct := func(name, value, usage string, apply func(*install.Values, string)) {
		p := fl.String(name, value, usage)
		f.direct = append(f.direct, directFlag{name, func(v *install.Values) { apply(v, *p) }})
	}
	direct("image", defaults.Image.Ref(), "Image of the collector, with a tag or digest.", func(v *install.Values, s string) { v.Image.SetRef(s) })
	direct("image-registry", "", "Registry that mirrors the image's (registry.example:5000, or with a path).", func(v *install.Values, s string) { v.Image.Registry = s })
	direct("image-pull-secret", "", "Secret with the registry's credentials, in the namespace of the installation.", func(v *install.Values, s string) { v.Image.PullSecrets = []string{s} })
	direct("storage-class", "", "StorageClass of the volume (default: the cluster's default class).", func(v *install.Values, s string) { v.Storage.Class = s })
	direct("storage-size", defaults.Storage.Size, "Size of the volume; the collector fills at most 80 % of it and then drops the oldest logs.", func(v *install.Values, s string) { v.Storage.Size = s })
	direct("retention", defaults.Retention, "How long logs are kept (7d, 12h); 0 keeps them until the volume is full.", func(v *install.Values, s string) { v.Retention = s })
	direct("grafana-namespace", "", "Namespace of the Grafana that gets a data source and dashboards (default: the only one that is found).", func(v *install.Values, s string) { v.Grafana.Namespace = s })
	direct("memory", defaults.Resources.Memory, "Memory limit of the collector.", func(v *install.Values, s string) { v.Resources.Memory = s })
	ephemeral := fl.Bool("ephemeral", false, "Keep the logs in an emptyDir: they are lost with the collector's pod.")
	f.direct = append(f.direct, directFlag{"ephemeral", func(v *install.Values) { v.Storage.Ephemeral = *ephemeral }})
}

// completeSet offers the keys of values with their meaning.
func completeSet(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	if strings.Contains(word, "=") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, key := range install.Keys() {
		out = append(out, key+"=")
	}
	return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// layer lays what was given over base: files, then --set, then the flags.
func (f *valueFlags) layer(a *app, base install.Values, files map[string][]byte, changed func(flag string) bool) (install.Values, error) {
	v := base
	var unfit error // the first of what does not fit, unless later ones mend it
	lay := func(next install.Values, err error) error {
		var invalid *install.InvalidError
		switch {
		case errors.As(err, &invalid):
			unfit, next = cmp.Or(unfit, err), invalid.Values
		case err != nil:
			return &usageError{err}
		}
		v = next
		return nil
	}
	for _, name := range f.files {
		source := name
		if name == "-" {
			source = "stdin"
		}
		if err := lay(install.ParseValues(v, source, files[name])); err != nil {
			return base, err
		}
	}
	for _, s := range f.set {
		if err := lay(install.SetValue(v, s)); err != nil {
			return base, err
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
		return base, &usageError{cmp.Or(unfit, err)}
	}
	return v, nil
}

func (f *valueFlags) read(a *app) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, name := range f.files {
		if _, twice := files[name]; twice {
			continue
		}
		var err error
		files[name], err = readInput(a, name)
		if err != nil {
			return nil, usagef("--values: %w", err)
		}
	}
	return files, nil
}

// readInput reads a file, or stdin for -.
func readInput(a *app, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(a.In)
	}
	return os.ReadFile(name)
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
