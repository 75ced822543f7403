package main

import (
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
	"github.com/logstack-dev/kubectl-logstack/pkg/version"
)

// app is what the commands share.
type app struct {
	genericiooptions.IOStreams
	flags *genericclioptions.ConfigFlags
	color string
}

// client connects to the cluster of the flags. Tests replace it.
func (a *app) client() (*kube.Client, error) { return kube.NewClient(a.flags) }

// out and err describe the terminals behind stdout and stderr.
func (a *app) out() output.Terminal { return output.Detect(a.Out, output.ColorMode(a.color)) }
func (a *app) err() output.Terminal { return output.Detect(a.ErrOut, output.ColorMode(a.color)) }

func newRootCmd(streams genericiooptions.IOStreams) *cobra.Command {
	a := &app{IOStreams: streams, flags: genericclioptions.NewConfigFlags(true)}
	cmd := &cobra.Command{
		Use:   "kubectl-logstack",
		Short: "Searchable logs for any cluster",
		Long: `Searchable logs for any cluster: install one small collector, query the logs of
all pods with LogQL, also of pods long gone, and find out why logs do not flow.

It needs a kubeconfig and nothing else. Grafana, logcli and every Loki log
shipper work with the collector, too: it speaks Loki's API on port 3100.`,
		Example: `  # put it into the cluster
  kubectl logstack install

  # the errors of the last hour, everywhere
  kubectl logstack query '{namespace=~".+"} |= "error"'

  # stored and live lines of a deployment, also of its deleted pods
  kubectl logstack logs deploy/checkout -f

  # why do my logs not flow?
  kubectl logstack doctor`,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl logstack"},
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version.Version,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			switch output.ColorMode(a.color) {
			case output.ColorAuto, output.ColorAlways, output.ColorNever:
				return nil
			}
			return usagef("--color %q: auto, always or never", a.color)
		},
	}
	cmd.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		hint := c.CommandPath() + " --help lists the commands"
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			hint = "did you mean " + strings.Join(near, " or ") + "?"
		}
		return usagef("unknown command %q\n  %s", args[0], hint)
	}
	cmd.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	cmd.SetUsageTemplate(shortUsage(cmd.UsageTemplate()))
	cmd.SuggestionsMinimumDistance = 2
	cmd.SetIn(streams.In)
	cmd.SetOut(streams.Out)
	cmd.SetErr(streams.ErrOut)
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usagef("%w\n  %s --help lists the flags", err, c.CommandPath())
	})
	a.flags.AddFlags(cmd.PersistentFlags())
	cmd.PersistentFlags().StringVar(&a.color, "color", string(output.ColorAuto), "Colour the output: auto, always or never. NO_COLOR is respected.")
	addGroup(cmd, "search", "Search logs:",
		newQueryCmd(a), newLogsCmd(a))
	addGroup(cmd, "explore", "See what is there:",
		newLabelsCmd(a), newSeriesCmd(a), newVolumeCmd(a), newPatternsCmd(a), newFieldsCmd(a), newStatsCmd(a))
	addGroup(cmd, "operate", "Run the collector:",
		newInstallCmd(a), newUpgradeCmd(a), newDiffCmd(a), newExportCmd(a), newStatusCmd(a), newDoctorCmd(a), newDeleteCmd(a), newUninstallCmd(a))
	cmd.AddCommand(newFmtCmd(a), newCompletionCmd(a), newCompleteBashCmd(a), newVersionCmd(a))
	return cmd
}

// shortUsage leaves the two dozen flags of every kubectl command, and the exit
// codes, to the help of the root.
func shortUsage(template string) string {
	const from, to = "{{if .HasAvailableInheritedFlags}}", "{{end}}"
	head, rest, ok := strings.Cut(template, from)
	_, tail, ok2 := strings.Cut(rest, to)
	if !ok || !ok2 {
		return template
	}
	return head + from + `

--context, --kubeconfig, --namespace and kubectl's other flags work, too:
{{.Root.DisplayName}} --help lists them, and the exit codes.` + to + "{{if not .HasParent}}\n\nExit codes:\n" + exitCodesHelp() + "{{end}}" + tail
}

// addGroup adds commands under a heading of the help.
func addGroup(cmd *cobra.Command, id, title string, group ...*cobra.Command) {
	cmd.AddGroup(&cobra.Group{ID: id, Title: title})
	for _, c := range group {
		c.GroupID = id
		cmd.AddCommand(c)
	}
}

// noArgs refuses arguments with exit code 2 and a hint.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments, got %q", cmd.CommandPath(), args)
	}
	return nil
}
