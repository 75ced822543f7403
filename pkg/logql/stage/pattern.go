package stage

import (
	"strings"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
)

// patternStage is "| pattern "<ip> - <_> <status>"": a leading literal must
// begin the line, each capture runs to the next literal, and the capture whose
// literal does not come takes the rest of the line.
type patternStage struct {
	parts []logql.PatternPart
}

// NewPattern returns the pattern stage for what logql.ParsePattern returned.
func NewPattern(parts []logql.PatternPart) Stage { return &patternStage{parts} }

func (st *patternStage) Process(_ int64, line string, b *Builder) (string, bool) {
	if line == "" { // nothing to capture, not even empty labels
		return line, true
	}
	rest, parts := line, st.parts
	if !parts[0].Capture {
		var ok bool
		if rest, ok = strings.CutPrefix(rest, parts[0].Literal); !ok {
			return line, true
		}
		parts = parts[1:]
	}
	// Captures and literals alternate from here on.
	for i, more := 0, true; more && i < len(parts); i += 2 {
		var val string
		if val, more = rest, false; i+1 < len(parts) {
			val, rest, more = strings.Cut(rest, parts[i+1].Literal)
		}
		if name := parts[i].Name; name != "" && b.extract(name, val) {
			break
		}
	}
	return line, true
}

// patternFilter is the test of |> and !>. It goes from left to right without
// ever going back, as Loki does: a literal is found at its first place in the
// rest of the line, a capture takes at least one byte, and nothing may be left
// behind a literal at the end. What stands in front of a literal at the
// beginning does not matter.
type patternFilter struct {
	literals                  []string // with a capture between any two of them
	captureFirst, captureLast bool
}

// newPatternFilter compiles what logql.ParseLinePattern returned.
func newPatternFilter(parts []logql.PatternPart) *patternFilter {
	f := &patternFilter{}
	for _, p := range parts {
		if !p.Capture {
			f.literals = append(f.literals, p.Literal)
		}
	}
	if n := len(parts); n > 0 {
		f.captureFirst, f.captureLast = parts[0].Capture, parts[n-1].Capture
	}
	return f
}

func (f *patternFilter) match(line string) bool {
	rest := line
	for i, lit := range f.literals {
		at := strings.Index(rest, lit)
		if at < 0 || at == 0 && (i > 0 || f.captureFirst) {
			return false
		}
		rest = rest[at+len(lit):]
	}
	return (rest != "") == f.captureLast
}
