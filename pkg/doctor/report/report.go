package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor"
)

// Painter wraps s in a style; status names are the styles, and "bold", "faint".
type Painter func(style, s string) string

// Plain paints nothing.
func Plain(_, s string) string { return s }

// Formats are the values of -o.
var Formats = []string{"text", "table", "short", "json", "yaml", "junit", "sarif", "github"}

// Write prints the report in a format of Formats.
func Write(w io.Writer, format string, r *doctor.Report, paint Painter) error {
	if paint == nil {
		paint = Plain
	}
	switch format {
	case "text":
		return text(w, r, paint, false)
	case "short":
		return text(w, r, paint, true)
	case "table":
		return table(w, r, paint)
	case "json":
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(r)
	case "yaml":
		out, err := yaml.Marshal(r)
		if err != nil {
			return err
		}
		_, err = w.Write(out)
		return err
	case "junit":
		return junit(w, r)
	case "sarif":
		return sarif(w, r)
	case "github":
		return github(w, r)
	}
	return fmt.Errorf("format %q: %s", format, strings.Join(Formats, ", "))
}

// signs go before a finding: the word carries the meaning, the colour repeats it.
var signs = map[doctor.Status]string{
	doctor.OK: "ok   ", doctor.Info: "info ", doctor.Warning: "WARN ", doctor.Error: "ERROR", doctor.Skip: "skip ", doctor.None: "-    ",
}

// rank sorts the findings of a category: problems first.
var rank = map[doctor.Status]int{doctor.Error: 0, doctor.Warning: 1, doctor.Info: 2, doctor.Skip: 3, doctor.OK: 4, doctor.None: 5}

// indent stands before the lines that belong to a finding.
const indent = "                "

// text prints the findings by category, problems first. short leaves out what
// is well. What another finding explains is folded under its cause.
func text(w io.Writer, r *doctor.Report, paint Painter, short bool) error {
	b := &strings.Builder{}
	order := make([]int, 0, len(r.Findings))
	var skipped []int
	for i := range r.Findings {
		f := &r.Findings[i]
		switch {
		case f.Status == doctor.None, f.ExplainedBy != nil, short && f.Status == doctor.OK, short && f.Suppressed != "":
			continue
		case f.Status == doctor.Skip:
			skipped = append(skipped, i)
			continue
		}
		order = append(order, i)
	}
	// Categories with an error come first when only problems are shown.
	category := map[string]int{}
	for _, i := range order {
		c := r.Findings[i].Category
		if _, ok := category[c]; !ok {
			category[c] = i
		}
	}
	slices.SortStableFunc(order, func(x, y int) int {
		a, c := &r.Findings[x], &r.Findings[y]
		if a.Category != c.Category {
			return category[a.Category] - category[c.Category]
		}
		return rankOf(a) - rankOf(c)
	})
	last := ""
	for _, i := range order {
		f := &r.Findings[i]
		if f.Category != last {
			if last != "" {
				b.WriteByte('\n')
			}
			last = f.Category
			fmt.Fprintln(b, paint("bold", f.Category))
		}
		finding(b, r, i, paint)
	}
	skips(b, r, skipped, paint)
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	fmt.Fprintln(b, r.Summary)
	_, err := io.WriteString(w, b.String())
	return err
}

func rankOf(f *doctor.Finding) int {
	if f.Suppressed != "" {
		return 4
	}
	return rank[f.Status]
}

func finding(w io.Writer, r *doctor.Report, i int, paint Painter) {
	f := &r.Findings[i]
	if f.Suppressed != "" {
		fmt.Fprintf(w, "  %s %s  %s (suppressed: %s)\n", paint("faint", "      "[:5]), f.Code, f.Title, f.Suppressed)
		return
	}
	fmt.Fprintf(w, "  %s %s  %s", paint(string(f.Status), signs[f.Status]), f.Code, f.Title)
	if f.Detail != "" && f.Status == doctor.OK {
		fmt.Fprintf(w, " (%s)", f.Detail)
	}
	fmt.Fprintln(w)
	if f.Status == doctor.OK {
		return
	}
	detail := strings.ReplaceAll(strings.TrimSpace(f.Detail), "\n", "\n"+indent)
	switch {
	case f.Object != "" && detail != "":
		fmt.Fprintf(w, "%s%s: %s\n", indent, f.Object, detail)
	case f.Object+detail != "":
		fmt.Fprintf(w, "%s%s%s\n", indent, f.Object, detail)
	}
	if f.Fix != "" {
		fmt.Fprintf(w, "%sfix: %s\n", indent, paint("bold", strings.ReplaceAll(strings.TrimSpace(f.Fix), "\n", "\n"+indent+"     ")))
	}
	for _, line := range symptoms(r, i, nil) {
		fmt.Fprintf(w, "%sexplains %s\n", indent, line)
	}
}

// symptoms lists what a finding explains, also over several steps.
func symptoms(r *doctor.Report, i int, seen []int) []string {
	var out []string
	for j := range r.Findings {
		by := r.Findings[j].ExplainedBy
		if by == nil || *by != i || slices.Contains(seen, j) {
			continue
		}
		s := &r.Findings[j]
		line := s.Code + " " + s.Object
		if d, _, _ := strings.Cut(s.Detail, "\n"); d != "" {
			line += ": " + d
		}
		out = append(append(out, line), symptoms(r, j, append(seen, j))...)
	}
	return out
}

// skips are grouped by their reason: fifty checks that lack one right are one line.
func skips(w *strings.Builder, r *doctor.Report, skipped []int, paint Painter) {
	if len(skipped) == 0 {
		return
	}
	var reasons []string
	codes := map[string][]string{}
	for _, i := range skipped {
		f := &r.Findings[i]
		reason := f.Detail
		if f.Right != "" {
			reason = "need " + f.Right
		}
		if codes[reason] == nil {
			reasons = append(reasons, reason)
		}
		if !slices.Contains(codes[reason], f.Code) {
			codes[reason] = append(codes[reason], f.Code)
		}
	}
	if w.Len() > 0 {
		w.WriteByte('\n')
	}
	fmt.Fprintln(w, paint("bold", "Not examined"))
	for _, reason := range reasons {
		fmt.Fprintf(w, "  %s %s: %s\n", paint("skip", "skip "), strings.Join(codes[reason], " "), reason)
	}
}
