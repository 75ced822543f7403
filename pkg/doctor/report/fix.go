package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor"
)

// Fixes prints what to do, causes before the rest and symptoms not at all: the
// patch where a file has to change, else the advice as a comment, else the
// command. It can be read as a shell script; nothing of it has been done.
func Fixes(w io.Writer, r *doctor.Report) error {
	var b strings.Builder
	for i := range r.Findings {
		f := &r.Findings[i]
		if !f.Problem() || f.ExplainedBy != nil {
			continue
		}
		detail, _, _ := strings.Cut(f.Detail, "\n")
		fmt.Fprintf(&b, "# %s %s\n# %s\n", f.Code, f.Object, detail)
		switch {
		case f.Patch != "":
			comment(&b, f.Fix)
			b.WriteString(strings.TrimRight(f.Patch, "\n") + "\n")
		case strings.HasPrefix(f.Fix, "kubectl ") && !strings.ContainsAny(f.Fix, "(;"):
			b.WriteString(f.Fix + "\n")
		default:
			comment(&b, f.Fix)
		}
		b.WriteByte('\n')
	}
	if b.Len() == 0 {
		b.WriteString("# nothing to fix\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func comment(b *strings.Builder, s string) {
	for line := range strings.Lines(s) {
		b.WriteString("# " + strings.TrimRight(line, "\n") + "\n")
	}
}
