package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

type fieldsFlags struct {
	exploreFlags
	lineLimit, limit int
}

func newFieldsCmd(a *app) *cobra.Command {
	f := &fieldsFlags{}
	cmd := &cobra.Command{
		Use:   "fields QUERY [NAME]",
		Short: "List the fields that lines have, or the values of one",
		Long: `List the fields that the newest lines of a query have: what the json and logfmt
parsers find in them, and structured metadata. With a name, list the values of
that field.
` + targetHelp,
		Example: `  # what can be asked of these lines?
  kubectl logstack fields '{app="checkout"}'

  # the values of one field, of errors only
  kubectl logstack fields '{app="checkout"} |= "error"' status --line-limit 5000`,
		Args:              between(1, 2, "a query and perhaps a field"),
		ValidArgsFunction: a.completeFields(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runFields(cmd.Context(), a, f, args[0], argOr(args, 1, ""))
		},
	}
	f.add(a, cmd, "1h", "table", "name", "json", "jsonl")
	cmd.Flags().IntVar(&f.lineLimit, "line-limit", 1000, "Number of the newest lines to look at.")
	cmd.Flags().IntVar(&f.limit, "limit", 1000, "Most fields or values to list.")
	return cmd
}

func runFields(ctx context.Context, a *app, f *fieldsFlags, query, name string) error {
	if _, err := parseLogQuery(a, query); err != nil {
		return err
	}
	if f.limit < 1 {
		return usagef("--limit %d: a number of fields or values, at least 1", f.limit)
	}
	if f.lineLimit < 1 {
		return usagef("--line-limit %d: a number of lines, at least 1", f.lineLimit)
	}
	r, s, done, err := f.open(ctx, a)
	if err != nil {
		return err
	}
	defer done()
	req := lokiapi.FieldsRequest{Query: query, Start: s.start, End: s.end, LineLimit: f.lineLimit, Limit: f.limit}
	if name != "" {
		values, err := r.DetectedFieldValues(ctx, name, req)
		if err != nil {
			return explainMissing(err, "detected fields")
		}
		if len(values) == 0 {
			fmt.Fprintf(a.ErrOut, "the newest %d lines have no field %q; kubectl logstack fields QUERY lists the fields\n", f.lineLimit, name)
		}
		return printNames(a, f.format, strings.ToUpper(name), values)
	}
	fields, err := r.DetectedFields(ctx, req)
	if err != nil {
		return explainMissing(err, "detected fields")
	}
	if len(fields) == 0 {
		fmt.Fprintln(a.ErrOut, "no fields: no line matches, or none is JSON or logfmt (the pattern and regexp parsers take others apart)")
	}
	return printFields(a, f.format, fields)
}

func printFields(a *app, format string, fields []lokiapi.DetectedField) error {
	switch format {
	case "json", "jsonl":
		return printJSON(a.Out, format, fields)
	case "name":
		names := make([]string, len(fields))
		for i := range fields {
			names[i] = fields[i].Label
		}
		return printNames(a, format, "", names)
	}
	rows := make([][]string, len(fields))
	for i, d := range fields {
		from := strings.Join(d.Parsers, ", ")
		if d.Parsers == nil {
			from = "metadata"
		}
		rows[i] = []string{d.Label, d.Type, fmt.Sprint(d.Cardinality), orDash(from), a.out().Cell(strings.Join(d.JSONPath, "."))}
	}
	return output.Table(a.Out, []string{"FIELD", "TYPE", "VALUES", "FROM", "PATH"}, rows)
}
