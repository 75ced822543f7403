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

// patternFilter is the test of |> and !>: a capture takes at least one byte,
// and the text at both ends of the pattern is at both ends of the line.
type patternFilter struct {
	first, last string   // literals at the ends, "" where a capture stands there
	mid         []string // literals with a capture on either side
	captures    int
}

// newPatternFilter compiles what logql.ParseLinePattern returned.
func newPatternFilter(parts []logql.PatternPart) *patternFilter {
	f := &patternFilter{}
	for i, p := range parts {
		switch {
		case p.Capture:
			f.captures++
		case i == 0:
			f.first = p.Literal
		case i == len(parts)-1:
			f.last = p.Literal
		default:
			f.mid = append(f.mid, p.Literal)
		}
	}
	return f
}

func (f *patternFilter) match(line string) bool {
	if f.captures == 0 {
		return line == f.first
	}
	rest, ok := strings.CutPrefix(line, f.first)
	if !ok {
		return false
	}
	if rest, ok = strings.CutSuffix(rest, f.last); !ok {
		return false
	}
	for _, lit := range f.mid {
		if rest == "" {
			return false
		}
		at := strings.Index(rest[1:], lit)
		if at < 0 {
			return false
		}
		rest = rest[1+at+len(lit):]
	}
	return rest != ""
}
