package logql

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// indentWidth is the number of blanks per level.
const indentWidth = 2

// Pretty prints e over several lines where it does not fit into width
// characters: one stage, one argument, one operand a line. What cannot be
// broken may stick out. Comments of the source are not kept.
func Pretty(e Expr, width int) string {
	p := pretty{width: width}
	p.expr(e, 0, "")
	return strings.Join(p.lines, "\n")
}

// pretty collects finished lines. Every method writes whole lines at a given
// level of indentation; tail is what has to follow on the last of them.
type pretty struct {
	width int
	lines []string
}

func (p *pretty) line(level int, parts ...string) {
	p.lines = append(p.lines, strings.Repeat(" ", level*indentWidth)+strings.Join(parts, ""))
}

// fits writes the node on one line if the line is short enough.
func (p *pretty) fits(n Node, level int, tail string) bool {
	return p.lineFits(level, flat(n)+tail)
}

// lineFits writes s if it is short enough.
func (p *pretty) lineFits(level int, s string) bool {
	if level*indentWidth+utf8.RuneCountInString(s) > p.width {
		return false
	}
	p.line(level, s)
	return true
}

func (p *pretty) expr(e Expr, level int, tail string) {
	// A long chain of operators is taken apart at once below: printing each
	// beginning of it here would take quadratic time.
	b, ok := e.(*BinaryExpr)
	if ok && p.chainTooLong(b) {
		p.chain(b, level, tail)
		return
	}
	if p.fits(e, level, tail) {
		return
	}
	switch e := e.(type) {
	case *LogSelector:
		p.logQuery(e, nil, level, tail)
	case *RangeAggregation:
		p.rangeAggregation(e, level, tail)
	case *VectorAggregation:
		var w printer
		w.vectorHead(e)
		p.line(level, w.String())
		if e.Op.NeedsParam() {
			p.line(level+1, formatNumber(float64(e.Param)), ",")
		}
		p.expr(e.Expr, level+1, "")
		p.line(level, ")", tail)
	case *LabelReplace:
		p.line(level, "label_replace(")
		p.expr(e.Expr, level+1, ",")
		p.line(level+1, labelReplaceArgs(e))
		p.line(level, ")", tail)
	case *BinaryExpr:
		p.chain(e, level, tail)
	case *Call:
		p.call(e, level, tail)
	case *Subquery:
		_, parens := e.Expr.(*BinaryExpr)
		p.operand(e.Expr, parens, level, formatSubquery(e)+tail)
	default:
		p.line(level, flat(e), tail)
	}
}

// call writes each argument on lines of its own.
func (p *pretty) call(e *Call, level int, tail string) {
	p.line(level, e.Func, "(")
	for i, a := range e.Args {
		end := ","
		if i == len(e.Args)-1 {
			end = stringArgs(e)
		}
		p.expr(a, level+1, end)
	}
	p.line(level, ")", tail)
}

// chainTooLong says whether b has more operators in a row than fit on a line.
func (p *pretty) chainTooLong(b *BinaryExpr) bool {
	n := 0
	for e, ok := b, true; ok; e, ok = e.Left.(*BinaryExpr) {
		if n++; n > p.width {
			return true
		}
	}
	return false
}

// chain writes a binary operation: an operator begins a line, with its operand
// behind it or, if that is too long, below it.
func (p *pretty) chain(b *BinaryExpr, level int, tail string) {
	spine := []*BinaryExpr{b}
	for {
		last := spine[len(spine)-1]
		left, ok := last.Left.(*BinaryExpr)
		if !ok || left.Op.precedence() != last.Op.precedence() || last.Op == OpPow {
			break
		}
		spine = append(spine, left)
	}
	first := spine[len(spine)-1]
	p.operand(first.Left, needsParens(first, first.Left, false), level, "")
	for i := len(spine) - 1; i >= 0; i-- {
		b, end := spine[i], ""
		if i == 0 {
			end = tail
		}
		parens := needsParens(b, b.Right, true)
		var w printer
		w.put(formatOperator(b), " ")
		w.operand(b.Right, parens)
		if !p.lineFits(level, w.String()+end) {
			p.line(level, formatOperator(b))
			p.operand(b.Right, parens, level, end)
		}
	}
}

func (p *pretty) operand(e MetricExpr, parens bool, level int, tail string) {
	if !parens {
		p.expr(e, level, tail)
		return
	}
	p.line(level, "(")
	p.expr(e, level+1, "")
	p.line(level, ")", tail)
}

func (p *pretty) rangeAggregation(e *RangeAggregation, level int, tail string) {
	p.line(level, e.Op.String(), "(")
	if param := rangeParam(e); param != "" {
		p.line(level+1, strings.TrimSuffix(param, " "))
	}
	var w printer
	w.logQuery(e.Selector, e.Unwrap)
	if !p.lineFits(level+1, w.String()+formatRange(e)) {
		length := formatRange(e)
		if len(e.Selector.Stages) > 0 || e.Unwrap != nil {
			length = " " + length
		}
		p.logQuery(e.Selector, e.Unwrap, level+1, length)
	}
	if e.Grouping != nil {
		tail = " " + flat(e.Grouping) + tail
	}
	p.line(level, ")", tail)
}

// logQuery writes the selector on one line if it fits, and each stage on its own.
func (p *pretty) logQuery(s *LogSelector, u *Unwrap, level int, tail string) {
	stages := s.Stages
	if u != nil {
		stages = append(stages[:len(stages):len(stages)], nil)
		for _, f := range u.Filters {
			stages = append(stages, f)
		}
	}
	end := func(i int) string {
		if i == len(stages) {
			return tail
		}
		return ""
	}
	p.matchers(s, level, end(0))
	for i, stage := range stages {
		if stage == nil {
			head := Unwrap{Label: u.Label, Conversion: u.Conversion}
			p.line(level+1, flat(&head), end(i+1))
			continue
		}
		p.stage(stage, level+1, end(i+1))
	}
}

func (p *pretty) matchers(s *LogSelector, level int, tail string) {
	alone := &LogSelector{Matchers: s.Matchers}
	if p.fits(alone, level, tail) {
		return
	}
	if len(s.Matchers) < 2 {
		p.line(level, flat(alone), tail)
		return
	}
	p.line(level, "{")
	for i, m := range s.Matchers {
		comma := ","
		if i == len(s.Matchers)-1 {
			comma = ""
		}
		p.line(level+1, formatMatcher(m), comma)
	}
	p.line(level, "}", tail)
}

// stage breaks line filters and label filters at their operators.
func (p *pretty) stage(s Stage, level int, tail string) {
	if p.fits(s, level, tail) {
		return
	}
	var parts []string
	switch s := s.(type) {
	case *LineFilter:
		for i, o := range s.Operands {
			head := "or "
			if i == 0 {
				head = s.Op.String() + " "
			}
			parts = append(parts, head+formatLineOperand(o))
		}
	case *LabelFilter:
		parts = predicateParts(s.Filter)
	default:
		parts = []string{flat(s)}
	}
	for i, part := range parts {
		end := ""
		if i == len(parts)-1 {
			end = tail
		}
		p.line(level+min(i, 1), part, end)
	}
}

// predicateParts cuts a label filter at its outermost operators.
func predicateParts(f Predicate) []string {
	top, ok := f.(*BoolFilter)
	if !ok {
		return []string{"| " + flat(f)}
	}
	var parts []string // from the last to the first
	operand := func(head string, b *BoolFilter, f Predicate) {
		var w printer
		w.put(head)
		w.boolOperand(b, f)
		parts = append(parts, w.String())
	}
	b := top
	for next := top; ok && next.Or == top.Or; next, ok = b.Left.(*BoolFilter) {
		b = next
		operand(boolWord(b.Or)+" ", b, b.Right)
	}
	operand("| ", b, b.Left)
	slices.Reverse(parts)
	return parts
}
