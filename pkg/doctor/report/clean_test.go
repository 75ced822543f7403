package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor"
	"github.com/logstack-dev/kubectl-logstack/pkg/output"
)

// TestClean: no field of a finding steers the terminal, in any format for
// people; off a terminal everything stays as it is.
func TestClean(t *testing.T) {
	const evil = "a\x1b[2Jb\u009b1mc\rd"
	f := doctor.Finding{Code: "LS0501", Category: "c", Title: "t", Status: doctor.Error, Object: "x\n" + evil, Detail: evil, Fix: evil, Patch: "-" + evil}
	skipped, known, plain := f, f, f
	skipped.Status, skipped.Right = doctor.Skip, evil
	known.Suppressed = evil
	plain.Patch = ""
	r := &doctor.Report{Findings: []doctor.Finding{f, skipped, known, plain}, Summary: "s"}
	for _, format := range []string{"text", "short", "table", "fix"} {
		for _, interactive := range []bool{true, false} {
			term := output.Terminal{Interactive: interactive}
			var buf bytes.Buffer
			c := Clean(r, term.Line, term.Cell)
			if format == "fix" {
				if err := Fixes(&buf, c); err != nil {
					t.Fatal(err)
				}
			} else if err := Write(&buf, format, c, nil); err != nil {
				t.Fatal(err)
			}
			if got := strings.ContainsAny(buf.String(), "\x1b\u009b\r"); got == interactive {
				t.Errorf("%s, terminal %v: %q", format, interactive, buf.String())
			}
			if interactive && !strings.Contains(buf.String(), `x\n`) {
				t.Errorf("%s: a name does not stay on its line: %q", format, buf.String())
			}
		}
	}
	if r.Findings[0].Detail != evil {
		t.Error("the report itself was changed")
	}
}
