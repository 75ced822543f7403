package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"sigs.k8s.io/yaml"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor"
)

// Painter wraps s in a style; status names are the styles, and "bold", "faint".
type Painter func(style, s string) string

// Plain paints nothing.
func Plain(_, s string) string { return s }

// Formats are the values of -o.
var Formats = []string{"text", "table", "short", "json", "yaml", "junit", "sarif", "github"}

// Write prints the report in a format of Formats; nothing is wrapped.
func Write(w io.Writer, format string, r *doctor.Report, paint Painter) error {
	return WriteWidth(w, format, r, paint, 0)
}

// WriteWidth is Write with the texts of text and short wrapped at a width in
// columns; 0 is without end. What is to be pasted is never wrapped.
func WriteWidth(w io.Writer, format string, r *doctor.Report, paint Painter, width int) error {
	if paint == nil {
		paint = Plain
	}
	switch format {
	case "text":
		return text(w, r, paint, width, false)
	case "short":
		return text(w, r, paint, width, true)
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
func text(w io.Writer, r *doctor.Report, paint Painter, width int, short bool) error {
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
	var last doctor.Finding
	for _, i := range order {
		f := &r.Findings[i]
		if f.Category != last.Category {
			if last.Category != "" {
				b.WriteByte('\n')
			}
			fmt.Fprintln(b, paint("bold", f.Category))
		}
		again := f.Code == last.Code && f.Status == last.Status && f.Suppressed == "" && last.Suppressed == ""
		finding(b, r, i, paint, width, again)
		last = *f
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

// finding prints one; again says that its head stands above another one.
func finding(w io.Writer, r *doctor.Report, i int, paint Painter, width int, again bool) {
	f := &r.Findings[i]
	if f.Suppressed != "" {
		fmt.Fprintf(w, "  %s %s  %s (suppressed: %s)\n", paint("faint", "      "[:5]), f.Code, f.Title, f.Suppressed)
		return
	}
	if !again {
		fmt.Fprintf(w, "  %s %s  %s", paint(string(f.Status), signs[f.Status]), f.Code, head(f))
		if f.Detail != "" && f.Status == doctor.OK {
			fmt.Fprintf(w, " (%s)", f.Detail)
		}
		fmt.Fprintln(w)
	}
	if f.Status == doctor.OK {
		return
	}
	// A detail that begins with the path of its place says it twice.
	detail := strings.TrimSpace(f.Detail)
	if f.Ref.Path != "" {
		detail = strings.TrimPrefix(detail, f.Ref.Path+" ")
	}
	switch {
	case f.Object != "" && detail != "":
		detail = f.Object + ": " + detail
	case detail == "":
		detail = f.Object
	}
	wrapped(w, detail, width)
	if f.Fix != "" {
		fmt.Fprintf(w, "%sfix: %s\n", indent, paint("bold", strings.ReplaceAll(strings.TrimSpace(f.Fix), "\n", "\n"+indent+"     ")))
	}
	for _, line := range symptoms(r, i, nil) {
		wrapped(w, "explains "+line, width)
	}
}

// head is the title, which says what holds when all is well: a problem says
// that it does not.
func head(f *doctor.Finding) string {
	if f.Problem() {
		return "not so: " + f.Title
	}
	return f.Title
}

// narrowest is the width below which wrapping makes a text worse.
const narrowest = 60

// wrapped prints a text below a finding, broken between words at a width.
func wrapped(w io.Writer, text string, width int) {
	if text == "" {
		return
	}
	for line := range strings.SplitSeq(text, "\n") {
		room := width - len(indent)
		lead := indent
		for width >= narrowest && utf8.RuneCountInString(line) > room {
			at := lastSpace(line, room)
			if at <= 0 {
				break
			}
			fmt.Fprintf(w, "%s%s\n", lead, line[:at])
			line, lead, room = line[at+1:], indent+"  ", width-len(indent)-2
		}
		fmt.Fprintf(w, "%s%s\n", lead, line)
	}
}

// lastSpace is where the last space among the first n characters is, else the
// first one of all; -1 without any.
func lastSpace(s string, n int) int {
	at, count := -1, 0
	for i, r := range s {
		if count > n && at >= 0 {
			break
		}
		if r == ' ' {
			at = i
			if count > n {
				break
			}
		}
		count++
	}
	return at
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
		slices.Sort(codes[reason])
		fmt.Fprintf(w, "  %s %s: %s\n", paint("skip", "skip "), strings.Join(codes[reason], " "), reason)
	}
}
