package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/logstack-dev/kubectl-logstack/pkg/install"
	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

// preflight stops an installation that cannot work, and tells of what is worth
// knowing. What it may not look at says nothing: the run itself will.
func preflight(ctx context.Context, a *app, c *kube.Client, values install.Values) error {
	checks, err := install.CheckBefore(ctx, c, values)
	if err != nil {
		return err
	}
	var bad []string
	for _, k := range checks {
		for _, p := range k.Problems {
			if p.Warning {
				fmt.Fprintln(a.ErrOut, a.err().Paint(output.Yellow, "warning: ")+problemText(p, "  "))
				continue
			}
			bad = append(bad, problemText(p, "    "))
		}
	}
	if len(bad) == 0 {
		return nil
	}
	what := "this would keep the collector from working"
	if len(bad) > 1 {
		what = fmt.Sprintf("%d things would keep the collector from working", len(bad))
	}
	return errors.New(what + " (nothing was changed; --skip-pre goes on all the same):\n  " + strings.Join(bad, "\n  "))
}

// problemText is one or two lines; the second begins with indent.
func problemText(p install.Problem, indent string) string {
	text := p.Detail
	if p.Object != "" {
		text = p.Object + ": " + text
	}
	if p.Fix != "" {
		text += "\n" + indent + p.Fix
	}
	return text
}

// printPreflight prints all checks, and ends with exit code 1 when one found
// something that would keep the collector from working.
func printPreflight(ctx context.Context, a *app, c *kube.Client, values install.Values) error {
	checks, err := install.CheckBefore(ctx, c, values)
	if err != nil {
		return err
	}
	t := a.out()
	var ok, warnings, errs, skipped int
	for _, k := range checks {
		failed := false
		for _, p := range k.Problems {
			mark := t.Paint(output.Red, "✗")
			if p.Warning {
				mark = t.Paint(output.Yellow, "!")
				warnings++
			} else {
				errs++
			}
			failed = true
			fmt.Fprintf(a.Out, "%s %s: %s\n", mark, k.Name, problemText(p, "    "))
		}
		switch {
		case k.Skipped != "":
			skipped++
			fmt.Fprintf(a.Out, "%s %s: skipped: %s\n", t.Paint(output.Faint, "-"), k.Name, k.Skipped)
		case !failed:
			ok++
			fmt.Fprintf(a.Out, "%s %s: %s\n", t.Paint(output.Green, "✓"), k.Name, k.Holds)
		}
	}
	fmt.Fprintf(a.Out, "%d checks ok, %d errors, %d warnings, %d skipped (no permission)\n", ok, errs, warnings, skipped)
	if errs > 0 {
		return &silentError{exitFailed}
	}
	return nil
}
