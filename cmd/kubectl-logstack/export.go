package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/pkg/install"
)

func newExportCmd(a *app) *cobra.Command {
	var f valueFlags
	var format string
	cmd := &cobra.Command{
		Use:   "export DIRECTORY",
		Short: "Write the collector's objects as files for a GitOps repository",
		Long: `Write the objects that install would apply into a directory, for kubectl apply -k,
Flux or Argo CD. No cluster is asked, and equal values give equal bytes. What
depends on the cluster (serviceMonitor: auto) is left out: say true or false.`,
		Example: `  kubectl logstack export infrastructure/logstack --values values.yaml
  kubectl logstack export infrastructure/logstack --values values.yaml --format flux
  kubectl apply -k infrastructure/logstack`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return usagef("%s needs one directory, got %q", cmd.CommandPath(), args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			files, err := f.read(a)
			if err != nil {
				return err
			}
			values, err := f.layer(a, install.DefaultValues(), files, cmd.Flags().Changed)
			if err != nil {
				return err
			}
			return exportFiles(a, values, args[0], install.Format(format))
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&format, "format", string(install.FormatKustomize), "Layout: yaml (one file), kustomize, flux or argocd.")
	completeFormat(cmd)
	return cmd
}

func completeFormat(cmd *cobra.Command) {
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"yaml", "kustomize", "flux", "argocd"}, cobra.ShellCompDirectiveNoFileComp))
}

// printObjects prints what would be applied, without asking anybody.
func printObjects(a *app, values install.Values) error {
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
}

// listImages prints what a mirror has to hold.
func listImages(a *app, f *valueFlags, changed func(flag string) bool) error {
	files, err := f.read(a)
	if err != nil {
		return err
	}
	values, err := f.layer(a, install.DefaultValues(), files, changed)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.Out, values.Image.Ref())
	return err
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
