package stage

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
)

// LineFilter keeps or refuses lines by their text alone. It is safe for
// concurrent use.
type LineFilter struct {
	tests  []lineTest // any of them
	negate bool
}

// lineTest is one operand. A struct and not an interface, so that a run over a
// batch is one loop without indirection.
type lineTest struct {
	contains string // the whole test if nothing below is set
	fold     *foldFinder
	re       *lineRegexp
	pattern  *patternFilter
	ip       *logql.IPRange
}

// NewLineFilter compiles a line filter.
func NewLineFilter(n *logql.LineFilter) (*LineFilter, error) {
	f := &LineFilter{negate: n.Op.Negated()}
	for _, o := range n.Operands {
		var t lineTest
		switch n.Op {
		case logql.LineContains, logql.LineNotContains:
			t.contains = o.Text
			if o.IP {
				r, err := logql.ParseIPRange(o.Text)
				if err != nil {
					return nil, err
				}
				t = lineTest{ip: &r}
			}
		case logql.LineContainsFold, logql.LineNotContainsFold:
			ts, err := compileLineRegexp("(?i)" + regexp.QuoteMeta(o.Text))
			if err != nil {
				return nil, err
			}
			f.tests = append(f.tests, ts...)
			continue
		case logql.LineMatches, logql.LineNotMatches:
			ts, err := compileLineRegexp(o.Text)
			if err != nil {
				return nil, err
			}
			f.tests = append(f.tests, ts...)
			continue
		case logql.LinePattern, logql.LineNotPattern:
			parts, err := logql.ParseLinePattern(o.Text)
			if err != nil {
				return nil, err
			}
			t.pattern = newPatternFilter(parts)
		default:
			return nil, fmt.Errorf("unknown line filter %s", n.Op)
		}
		f.tests = append(f.tests, t)
	}
	return f, nil
}

// Match says whether the filter keeps line.
func (f *LineFilter) Match(line string) bool { return f.match(line, &watch{}) }

func (f *LineFilter) match(line string, w *watch) bool {
	for i := range f.tests {
		if i > 0 && !w.spend(len(line)) {
			return false
		}
		if f.tests[i].match(line, w) {
			return !f.negate
		}
	}
	return f.negate
}

func (t *lineTest) match(line string, w *watch) bool {
	switch {
	case t.fold != nil:
		return t.fold.match(line)
	case t.re != nil:
		return t.re.match(line, w)
	case t.pattern != nil:
		return t.pattern.match(line)
	case t.ip != nil:
		return holdsAddr(line, *t.ip)
	}
	return strings.Contains(line, t.contains)
}

// Filter keeps in rows the indexes of the lines that match, in order.
func (f *LineFilter) Filter(lines []string, rows []uint32) []uint32 {
	return f.filter(lines, rows, &watch{})
}

// filter is Filter. It keeps none when the watch says that it is over.
func (f *LineFilter) filter(lines []string, rows []uint32, w *watch) []uint32 {
	kept := rows[:0]
	if len(f.tests) == 1 && f.tests[0].plain() {
		needle := f.tests[0].contains
		for _, r := range rows {
			if !w.spend(len(lines[r])) {
				return nil
			}
			if strings.Contains(lines[r], needle) != f.negate {
				kept = append(kept, r)
			}
		}
		return kept
	}
	for _, r := range rows {
		if !w.spend(len(lines[r])) {
			return nil
		}
		if f.match(lines[r], w) {
			kept = append(kept, r)
		}
	}
	if w.err != nil { // in the middle of the last line
		return nil
	}
	return kept
}

// anyOf returns texts one of which occurs in every line that the filter keeps,
// in any case where fold is set. nil if it cannot tell.
func (f *LineFilter) anyOf() (texts []string, fold bool) {
	if f.negate {
		return nil, false
	}
	for i := range f.tests {
		t := &f.tests[i]
		text := t.contains
		switch {
		case t.fold != nil:
			text = t.fold.lower
		case t.re != nil:
			text = t.re.literal
		case !t.plain():
			return nil, false
		}
		isFold := t.fold != nil
		if text == "" || i > 0 && isFold != fold {
			return nil, false
		}
		texts, fold = append(texts, text), isFold
	}
	return texts, fold
}

// plain says that the test is a mere substring.
func (t *lineTest) plain() bool {
	return t.fold == nil && t.re == nil && t.pattern == nil && t.ip == nil
}

// lineFilterStage is a line filter behind a stage that changes lines.
type lineFilterStage struct{ f *LineFilter }

func (st lineFilterStage) Process(_ int64, line string, b *Builder) (string, bool) {
	return line, st.f.match(line, &b.watch)
}
