package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

// exploreFlags are those of the commands that tell what is there: whom to ask,
// about which time, and how to print it.
type exploreFlags struct {
	target
	timeFlags
	format  string
	formats []string
}

func (f *exploreFlags) add(a *app, cmd *cobra.Command, since string, formats ...string) {
	f.target.addFlags(a, cmd)
	f.timeFlags.addFlags(cmd.Flags(), since)
	f.formats = formats
	addFormatFlag(cmd, &f.format, formats)
}

// addFormatFlag makes -o. The words mean the same in every command, the first
// one is the default.
func addFormatFlag(cmd *cobra.Command, p *string, formats []string) {
	cmd.Flags().StringVarP(p, "output", "o", formats[0], "How to print it: "+orList(formats)+".")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

// orList is "a, b or c".
func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// checkFormat refuses what -o does not know, before any network.
func checkFormat(format string, formats []string) error {
	if !slices.Contains(formats, format) {
		return usagef("-o %q is not a format: use %s", format, orList(formats))
	}
	return nil
}

// span is the time a command asks about. It always has an end.
type span struct{ start, end time.Time }

func (s span) metadata(query string) lokiapi.MetadataRequest {
	return lokiapi.MetadataRequest{Query: query, Start: s.start, End: s.end}
}

// open checks the flags and connects. The caller calls done.
func (f *exploreFlags) open(ctx context.Context, a *app) (r *remote, s span, done func(), err error) {
	if err := checkFormat(f.format, f.formats); err != nil {
		return nil, s, nil, err
	}
	now := time.Now()
	if s.start, s.end, err = f.resolve(now); err != nil {
		return nil, s, nil, err
	}
	if s.end.IsZero() {
		s.end = now.Add(clockSkew)
	}
	f.target.namespace = installNamespace(a)
	r, done, err = a.connect(ctx, f.target)
	return r, s, done, err
}

// parseSelector reads a stream selector before any network; "" stands for all
// streams.
func parseSelector(a *app, text string) (string, error) {
	if strings.TrimSpace(text) == "" {
		return "{}", nil
	}
	_, err := logql.ParseSelector(text, logql.AllowEmptyMatchers())
	var pe *logql.ParseError
	if errors.As(err, &pe) {
		return "", usagef("%w\n%s", err, pe.Caret(a.err().Width))
	}
	if err != nil {
		return "", &usageError{err}
	}
	return text, nil
}

// parseLogQuery reads a query for lines before any network.
func parseLogQuery(a *app, text string) (*logql.LogSelector, error) {
	expr, err := parseQuery(a, text)
	if err != nil {
		return nil, err
	}
	sel, ok := expr.(*logql.LogSelector)
	if !ok {
		return nil, usagef("this is a metric query, and a query for lines is needed: %s", text)
	}
	return sel, nil
}

// selectorText prints the stream selector of a query.
func selectorText(sel *logql.LogSelector) string {
	parts := make([]string, len(sel.Matchers))
	for i, m := range sel.Matchers {
		parts[i] = m.String()
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// atMost refuses more than n arguments.
func atMost(n int, what string) cobra.PositionalArgs { return between(0, n, what) }

// between refuses other numbers of arguments, with a hint at the quotes that
// queries need.
func between(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && len(args) <= most {
			return nil
		}
		quotes := ""
		if len(args) > most && (strings.Contains(what, "query") || strings.Contains(what, "selector")) {
			quotes = " (a query needs quotes)"
		}
		return usagef("%s takes %s, got %d arguments%s\n  %[1]s --help has examples", cmd.CommandPath(), what, len(args), quotes)
	}
}

// printJSON writes a list as one array, or with jsonl one object a line.
func printJSON[T any](w io.Writer, format string, list []T) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if format == "jsonl" {
		for _, v := range list {
			if err := enc.Encode(v); err != nil {
				return err
			}
		}
		return nil
	}
	if list == nil {
		list = []T{}
	}
	enc.SetIndent("", " ")
	return enc.Encode(list)
}

// labelNames lists the names that label sets have, sorted.
func labelNames(sets []labels.Labels) []string {
	var names []string
	for _, ls := range sets {
		ls.Range(func(l labels.Label) {
			if !slices.Contains(names, l.Name) {
				names = append(names, l.Name)
			}
		})
	}
	slices.Sort(names)
	return names
}

// explainMissing is explainAnswer for endpoints that some servers do not have.
func explainMissing(err error, what string) error {
	if isUnknownPath(err) {
		return fmt.Errorf("this server has no %s: %w", what, err)
	}
	return explainAnswer(err)
}

// messageOf is the text of a refusal: that of the API server's Status object
// where it spoke, else the body.
func messageOf(e *lokiapi.StatusError) string {
	var status struct{ Kind, Message string }
	if json.Unmarshal([]byte(e.Body), &status) == nil && status.Kind == "Status" && status.Message != "" {
		return status.Message
	}
	if e.Body == "" {
		return http.StatusText(e.Code)
	}
	return e.Body
}
