package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/spf13/cobra"
)

type logsFlags struct {
	target
	timeFlags
	container string
	tail      int
	follow    bool
	all       bool
	format    string
	utc       bool
	grep      string
	events    bool
}

func newLogsCmd(a *app) *cobra.Command {
	f := &logsFlags{}
	cmd := &cobra.Command{
		Use:   "logs [POD | TYPE/NAME | REGEX]",
		Short: "Show the logs of pods, also of deleted ones, as one timeline",
		Long: `Show the logs of pods as one timeline: what was stored and, with -f, what comes.
Pods that were deleted, restarted or replaced are part of it.

What to show is named as in kubectl and stern:
  web-7d4b9c-x2x8p   the pod of this name
  web                the pods whose name is web or starts with web-
  deploy/web         all pods that a deployment ever had (also sts, ds, job, cronjob, rs, pod)
  'web|api'          a regular expression found anywhere in the pod's name
Nothing named is every pod of the namespace.
` + targetHelp,
		Example: `  # the last hour of a deployment, all its pods
  kubectl logstack logs deploy/checkout

  # follow it, beginning with the last 20 lines
  kubectl logstack logs deploy/checkout -f --tail 20

  # why did it restart last night? the pod is long gone
  kubectl logstack logs checkout -n shop --since 1d -c app --grep panic

  # the same with what happened to it: events, restarts, OOM kills
  kubectl logstack logs checkout -n shop --since 1d --events

  # everything with redis or valkey in its name, in all namespaces
  kubectl logstack logs 'redis|valkey' -A`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("logs takes one pod, TYPE/NAME or regular expression, got %q", args)
			}
			return nil
		},
		ValidArgsFunction: a.completePods(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runLogs(cmd.Context(), a, f, argOr(args, 0, ""))
		},
	}
	fl := cmd.Flags()
	f.target.addFlags(a, cmd)
	f.timeFlags.addFlags(fl, "1h")
	fl.StringVarP(&f.container, "container", "c", "", "Only this container (a name or a regular expression).")
	fl.IntVar(&f.tail, "tail", -1, "Only the newest lines of the range; -1 shows all (with --follow 100).")
	fl.BoolVarP(&f.follow, "follow", "f", false, "Go on with new lines as they are collected, until Ctrl-C.")
	fl.BoolVarP(&f.all, "all-namespaces", "A", false, "Pods of all namespaces instead of that of the context or -n.")
	fl.StringVar(&f.grep, "grep", "", "Only lines in which this regular expression is found.")
	fl.BoolVar(&f.events, "events", false, "With Kubernetes events, and starts and ends of containers, between the lines.")
	fl.BoolVar(&f.utc, "utc", false, "Print times in UTC instead of the local time zone.")
	addFormatFlag(cmd, &f.format, lineFormats)
	_ = cmd.RegisterFlagCompletionFunc("container", a.completePodLabel(f, "container"))
	return cmd
}

func runLogs(ctx context.Context, a *app, f *logsFlags, what string) error {
	namespace, err := f.podNamespace(a)
	if err != nil {
		return err
	}
	query, err := logsQuery(what, namespace, f.container, f.grep, f.events)
	if err != nil {
		return err
	}
	start, end, err := f.resolve(time.Now())
	if err != nil {
		return err
	}
	p, err := newLinePrinter(f.format, a.Out, a.out(), zone{f.utc})
	if err != nil {
		return err
	}
	if err := checkFollow(f.follow, f.to, f.format); err != nil {
		return err
	}
	if f.tail < -1 {
		return usagef("--tail %d: a number of lines, or -1 for all", f.tail)
	}
	client, done, err := a.connect(ctx, f.target)
	if err != nil {
		return err
	}
	defer done()
	if f.follow {
		limit := f.tail
		switch {
		case limit < 0:
			limit = 100
		case limit == 0:
			limit = -1
		}
		return followLines(ctx, client, query, start, limit, p)
	}
	if f.tail == 0 {
		return p.flush()
	}
	n, err := showLines(ctx, a, client, query, start, end, max(0, f.tail), false, p)
	if err == nil && n == 0 {
		where := "namespace " + namespace
		if namespace == "" {
			where = "any namespace"
		}
		of := ""
		if what != "" {
			of = fmt.Sprintf(" of %q", what)
		}
		fmt.Fprintf(a.ErrOut, "no lines%s in %s since %s\n  the query was: %s\n  look further back (--since 1d), elsewhere (-n, -A), or list the pods there are: kubectl logstack labels pod\n",
			of, where, start.Format(time.DateTime), query)
	}
	return err
}

// podNamespace is where the pods are: that of -n or of the context; "" is all.
func (f *logsFlags) podNamespace(a *app) (string, error) {
	if f.all {
		return "", nil
	}
	ns, _, err := a.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil && f.addr == "" {
		return "", err
	}
	return ns, nil
}

// completePods completes the names of pods that have lines, and the kinds.
func (a *app) completePods(f *logsFlags) completeFunc {
	pods := a.completePodLabel(f, "pod")
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 || strings.Contains(toComplete, "/") {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		out, d := pods(cmd, args, toComplete)
		if toComplete != "" {
			if kinds := withPrefix([]string{"deploy/", "sts/", "ds/", "job/", "cronjob/"}, toComplete); len(kinds) > 0 {
				out, d = append(out, kinds...), d|cobra.ShellCompDirectiveNoSpace
			}
		}
		return out, d
	}
}

// completePodLabel completes values of a label among the streams of a
// namespace.
func (a *app) completePodLabel(f *logsFlags, name string) completeFunc {
	return func(cmd *cobra.Command, _ []string, toComplete string) (out []string, d cobra.ShellCompDirective) {
		selector := ""
		if ns, err := f.podNamespace(a); err == nil && ns != "" {
			selector = fmt.Sprintf("{namespace=%q}", ns)
		}
		a.askUsual(cmd, &f.target, func(v vocabulary) { out = withPrefix(v.values(name, selector), toComplete) })
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// Generated parts of pod names, as the controllers make them
// (k8s.io/apimachinery/pkg/util/rand): an alphabet without vowels and the like.
const (
	randChars = "[bcdfghjklmnpqrstvwxz2456789]"
	podSuffix = "-" + randChars + "{5}"
	// A ReplicaSet's hash is a 32 bit number in that alphabet.
	rsSuffix = "-" + randChars + "{1,10}"
)

// ownedBy maps a kind as kubectl spells it to the form of its pods' names. No
// question to the API server: it forgets what is deleted, names do not.
var ownedBy = map[string]string{
	"pod": "", "pods": "", "po": "",
	"deployment": rsSuffix + podSuffix, "deployments": rsSuffix + podSuffix, "deploy": rsSuffix + podSuffix,
	"replicaset": podSuffix, "replicasets": podSuffix, "rs": podSuffix,
	"daemonset": podSuffix, "daemonsets": podSuffix, "ds": podSuffix,
	"statefulset": "-[0-9]+", "statefulsets": "-[0-9]+", "sts": "-[0-9]+",
	"job": "(-[0-9]+)?" + podSuffix, "jobs": "(-[0-9]+)?" + podSuffix,
	"cronjob": "-[0-9]+(-[0-9]+)?" + podSuffix, "cronjobs": "-[0-9]+(-[0-9]+)?" + podSuffix, "cj": "-[0-9]+(-[0-9]+)?" + podSuffix,
}

// plainName is what a Kubernetes object name may consist of.
var plainName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

// logsQuery builds the LogQL query for what a person typed.
func logsQuery(what, namespace, container, grep string, events bool) (string, error) {
	var ms []*labels.Matcher
	add := func(t labels.MatchType, name, value string) error {
		m, err := labels.NewMatcher(t, name, value)
		if err != nil {
			return usagef("%s %q is not a regular expression: %w", name, value, err)
		}
		ms = append(ms, m)
		return nil
	}
	if namespace != "" {
		if err := add(labels.MatchEqual, "namespace", namespace); err != nil {
			return "", err
		}
	}
	pod, err := podPattern(what)
	if err != nil {
		return "", err
	}
	if err := add(labels.MatchRegexp, "pod", pod); err != nil {
		return "", err
	}
	if container != "" {
		if err := add(labels.MatchRegexp, "container", container); err != nil {
			return "", err
		}
	}
	if !events {
		if err := add(labels.MatchNotRegexp, "job", notLogs); err != nil {
			return "", err
		}
	}
	parts := make([]string, len(ms))
	for i, m := range ms {
		parts[i] = m.String()
	}
	q := "{" + strings.Join(parts, ", ") + "}"
	if grep != "" {
		if _, err := regexp.Compile(grep); err != nil {
			return "", usagef("--grep %q is not a regular expression: %w", grep, err)
		}
		q += fmt.Sprintf(" |~ %q", grep)
	}
	return q, nil
}

// podPattern returns an anchored regular expression for pod names.
func podPattern(what string) (string, error) {
	if what == "" {
		return ".+", nil
	}
	if kind, name, ok := strings.Cut(what, "/"); ok {
		suffix, known := ownedBy[strings.ToLower(kind)]
		if !known {
			return "", usagef("%q: the kind %q has no pods that can be named; use deploy, sts, ds, job, cronjob, rs or pod", what, kind)
		}
		if !plainName.MatchString(name) {
			return "", usagef("%q is not the name of a %s", name, kind)
		}
		return regexp.QuoteMeta(name) + suffix, nil
	}
	if plainName.MatchString(what) {
		return regexp.QuoteMeta(what) + "(-.*)?", nil
	}
	if _, err := regexp.Compile(what); err != nil {
		return "", usagef("%q is neither a pod's name nor a regular expression: %w", what, err)
	}
	return ".*(" + what + ").*", nil
}
