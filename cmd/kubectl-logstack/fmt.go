package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
)

func newFmtCmd(a *app) *cobra.Command {
	width := 80
	cmd := &cobra.Command{
		Use:   "fmt [QUERY]",
		Short: "Format a LogQL query, or find its mistake",
		Long: `Format a LogQL query: the argument, or what comes from standard input. Nothing is
sent anywhere. A query with a mistake is shown with a caret at the place, and the
exit code is 2.`,
		Example: `  kubectl logstack fmt 'sum by(app)(rate({namespace="shop"}|="error"|json|status>=500[5m]))'
  kubectl logstack fmt < query.logql`,
		Args:              atMost(1, "one query"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(_ *cobra.Command, args []string) error {
			text := argOr(args, 0, "-")
			if text == "-" {
				b, err := io.ReadAll(io.LimitReader(a.In, logql.MaxQueryBytes+1))
				if err != nil {
					return err
				}
				text = strings.TrimRight(string(b), "\n")
			}
			if strings.TrimSpace(text) == "" {
				return usagef("there is no query: give one in quotes, or on standard input")
			}
			expr, err := parseQuery(a, text)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.Out, logql.Pretty(expr, width))
			return err
		},
	}
	cmd.Flags().IntVar(&width, "width", width, "Columns to fit the query into.")
	return cmd
}
