package main

import (
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

// The completions below answer a shell: quickly, or not at all, and silent
// about every trouble. Candidates begin with what was typed, as shells demand.

type completeFunc = func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective)

// insideQuery keeps the shell from ending a word that goes on.
const insideQuery = cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder

// completionSpan is how far back the names and values reach that are offered.
const completionSpan = 6 * time.Hour

// maxCandidates is what a shell shows without asking back.
const maxCandidates = 100

// vocabulary is what a query can be completed with.
type vocabulary interface {
	// labels lists label names of the streams that a selector matches, values
	// those of one label. "" is no selector.
	labels(selector string) []string
	values(name, selector string) []string
	// fields lists what the lines of a log query can be filtered by.
	fields(query string) []string
}

// serverVocabulary asks the server of a command.
type serverVocabulary struct {
	ctx    context.Context
	app    *app
	target target
	remote *remote
	done   func()
	failed bool
}

func (v *serverVocabulary) server() *remote {
	if v.remote == nil && !v.failed {
		quiet := *v.app
		quiet.ErrOut = io.Discard
		r, done, err := quiet.connect(v.ctx, v.target)
		v.remote, v.done, v.failed = r, done, err != nil
	}
	return v.remote
}

func (v *serverVocabulary) close() {
	if v.remote != nil {
		v.done()
	}
}

func (v *serverVocabulary) request(selector string) lokiapi.MetadataRequest {
	return span{time.Now().Add(-completionSpan), time.Now().Add(clockSkew)}.metadata(selector)
}

func (v *serverVocabulary) labels(selector string) []string {
	if r := v.server(); r != nil {
		names, _ := r.Labels(v.ctx, v.request(selector))
		return names
	}
	return nil
}

func (v *serverVocabulary) values(name, selector string) []string {
	if r := v.server(); r != nil {
		values, _ := r.LabelValues(v.ctx, name, v.request(selector))
		return values
	}
	return nil
}

func (v *serverVocabulary) fields(query string) []string {
	r := v.server()
	if r == nil {
		return nil
	}
	req := v.request("")
	fields, _ := r.DetectedFields(v.ctx, lokiapi.FieldsRequest{Query: query, Start: req.Start, End: req.End, LineLimit: 100, Limit: maxCandidates})
	names := make([]string, len(fields))
	for i := range fields {
		names[i] = fields[i].Label
	}
	return names
}

// ask runs f with the vocabulary of a command's server; -n names where it is
// installed.
func (a *app) ask(cmd *cobra.Command, t *target, f func(v vocabulary)) {
	at := *t
	at.namespace = installNamespace(a)
	a.askUsual(cmd, &at, f)
}

// askUsual is ask for a command whose -n names something else.
func (a *app) askUsual(cmd *cobra.Command, t *target, f func(v vocabulary)) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	v := &serverVocabulary{ctx: ctx, app: a, target: *t}
	defer v.close()
	f(v)
}

// completeQuery completes the first argument, a LogQL query.
func (a *app) completeQuery(t *target) completeFunc { return a.completeSelector(t, 0) }

// completeSelector completes the n-th argument, a query or selector. As the
// function of a flag it completes the flag's value.
func (a *app) completeSelector(t *target, n int) completeFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) (out []string, d cobra.ShellCompDirective) {
		if len(args) > n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		a.ask(cmd, t, func(v vocabulary) { out = completeLogQL(toComplete, v) })
		return out, insideQuery
	}
}

// completeLabelName completes the only argument, a label.
func (a *app) completeLabelName(t *target) completeFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) (out []string, d cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		a.ask(cmd, t, func(v vocabulary) { out = withPrefix(v.labels(""), toComplete) })
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeLabelNames completes a flag with labels separated by commas.
func (a *app) completeLabelNames(t *target) completeFunc {
	return func(cmd *cobra.Command, _ []string, toComplete string) (out []string, d cobra.ShellCompDirective) {
		done := toComplete[:strings.LastIndexByte(toComplete, ',')+1]
		a.ask(cmd, t, func(v vocabulary) {
			for _, name := range withPrefix(v.labels(""), toComplete[len(done):]) {
				if !slices.Contains(strings.Split(done, ","), name) {
					out = append(out, done+name)
				}
			}
		})
		return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

// completeFields completes a query, then a field of its lines.
func (a *app) completeFields(f *fieldsFlags) completeFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) (out []string, d cobra.ShellCompDirective) {
		switch len(args) {
		case 0:
			return a.completeQuery(&f.target)(cmd, args, toComplete)
		case 1:
			a.ask(cmd, &f.target, func(v vocabulary) { out = withPrefix(v.fields(args[0]), toComplete) })
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeDeletes lists the orders that can be taken back.
func (a *app) completeDeletes(cmd *cobra.Command, t *target) (out []string) {
	a.ask(cmd, t, func(v vocabulary) {
		s := v.(*serverVocabulary)
		if r := s.server(); r != nil {
			list, _ := r.Deletes(s.ctx)
			for _, d := range list {
				out = append(out, d.ID+"\t"+d.Query)
			}
		}
	})
	return out
}

func withPrefix(words []string, prefix string) []string {
	var out []string
	for _, w := range words {
		if strings.HasPrefix(w, prefix) {
			out = append(out, w)
		}
	}
	return out
}

// asCompletion turns a call by kubectl's completion into cobra's own.
func asCompletion(program string, args []string) []string {
	base := program[strings.LastIndexAny(program, string(os.PathSeparator)+"/")+1:]
	if strings.TrimSuffix(base, ".exe") == completionAlias {
		return append([]string{cobra.ShellCompRequestCmd}, args...)
	}
	return args
}
