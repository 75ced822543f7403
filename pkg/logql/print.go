package logql

import (
	"strings"

	"github.com/prometheus/prometheus/model/labels"
)

// flat prints any node on one line.
func flat(n Node) string {
	var w printer
	w.node(n)
	return w.String()
}

// printer writes the canonical one-line form.
type printer struct {
	strings.Builder
}

func (w *printer) put(parts ...string) {
	for _, s := range parts {
		w.WriteString(s)
	}
}

// node writes n.
func (w *printer) node(n Node) {
	switch n := n.(type) {
	case *LogSelector:
		w.logQuery(n, nil)
	case MetricExpr:
		w.metric(n)
	case Stage:
		w.stage(n)
	case Predicate:
		w.predicate(n)
	case *Unwrap:
		w.unwrap(n)
	case *Grouping:
		w.grouping(n)
	}
}

func (w *printer) metric(e MetricExpr) {
	switch e := e.(type) {
	case *RangeAggregation:
		w.put(e.Op.String(), "(")
		w.put(rangeParam(e))
		w.logQuery(e.Selector, e.Unwrap)
		w.put(formatRange(e), ")")
		if e.Grouping != nil {
			w.put(" ")
			w.grouping(e.Grouping)
		}
	case *VectorAggregation:
		w.vectorHead(e)
		if e.Op.NeedsParam() {
			w.put(formatNumber(float64(e.Param)), ", ")
		}
		w.metric(e.Expr)
		w.put(")")
	case *BinaryExpr:
		w.operand(e.Left, needsParens(e, e.Left, false))
		w.put(" ", formatOperator(e), " ")
		w.operand(e.Right, needsParens(e, e.Right, true))
	case *LabelReplace:
		w.put("label_replace(")
		w.metric(e.Expr)
		w.put(", ", labelReplaceArgs(e), ")")
	case *Vector:
		w.put("vector(", formatNumber(e.Value), ")")
	case *Literal:
		w.put(formatNumber(e.Value))
	case *Call:
		w.put(e.Func, "(")
		for i, a := range e.Args {
			if i > 0 {
				w.put(", ")
			}
			w.metric(a)
		}
		w.put(stringArgs(e), ")")
	case *Subquery:
		_, parens := e.Expr.(*BinaryExpr)
		w.operand(e.Expr, parens)
		w.put(formatSubquery(e))
	}
}

// rangeParam is what stands in front of the selector: "0.99, ".
func rangeParam(e *RangeAggregation) string {
	switch e.Op {
	case OpQuantileOverTime:
		return formatNumber(e.Param) + ", "
	case OpCountDistinctOverTime:
		return e.Label + ", "
	}
	return ""
}

// stringArgs are the quoted arguments of a call behind its others.
func stringArgs(e *Call) string {
	var s strings.Builder
	for _, a := range e.Strings {
		s.WriteString(", " + quote(a))
	}
	return s.String()
}

// formatSubquery is "[1h:5m] offset 1h".
func formatSubquery(e *Subquery) string {
	s := "[" + formatRangeLength(e.Range) + ":"
	if e.Step != 0 {
		s += formatRangeLength(e.Step)
	}
	s += "]"
	if e.Offset != 0 {
		s += " offset " + formatDuration(e.Offset)
	}
	return s
}

func (w *printer) operand(e MetricExpr, parens bool) {
	if parens {
		w.put("(")
	}
	w.metric(e)
	if parens {
		w.put(")")
	}
}

// needsParens says whether an operand of b has to stand in parentheses.
func needsParens(b *BinaryExpr, operand MetricExpr, right bool) bool {
	o, ok := operand.(*BinaryExpr)
	if !ok {
		return false
	}
	outer, inner := b.Op.precedence(), o.Op.precedence()
	// Equal ones group to the left, but ^ to the right.
	return inner < outer || inner == outer && right != (b.Op == OpPow)
}

// vectorHead writes "sum by (a)(".
func (w *printer) vectorHead(e *VectorAggregation) {
	w.put(e.Op.String())
	if e.Grouping != nil {
		w.put(" ")
		w.grouping(e.Grouping)
	}
	w.put("(")
}

func (w *printer) grouping(g *Grouping) {
	word := "by "
	if g.Without {
		word = "without "
	}
	w.put(word, formatLabels(g.Labels))
}

func formatLabels(list []string) string { return "(" + strings.Join(list, ", ") + ")" }

// formatOperator is the operator with its modifiers: "/ on (a) group_left ()".
func formatOperator(b *BinaryExpr) string {
	s := b.Op.String()
	if b.Bool {
		s += " bool"
	}
	if m := b.Matching; m != nil {
		word := " ignoring "
		if m.On {
			word = " on "
		}
		s += word + formatLabels(m.Labels)
		if m.Group != GroupNone {
			s += " " + m.Group.String() + " " + formatLabels(m.Include)
		}
	}
	return s
}

func labelReplaceArgs(e *LabelReplace) string {
	return quote(e.Dst) + ", " + quote(e.Replacement) + ", " + quote(e.Src) + ", " + quote(e.Regex)
}

// formatRange is "[5m] offset 1h".
func formatRange(e *RangeAggregation) string {
	s := "[" + formatRangeLength(e.Range) + "]"
	if e.Offset != 0 {
		s += " offset " + formatDuration(e.Offset)
	}
	return s
}

// logQuery writes a selector, its stages and an unwrap, if any.
func (w *printer) logQuery(s *LogSelector, u *Unwrap) {
	w.matchers(s.Matchers)
	for _, stage := range s.Stages {
		w.put(" ")
		w.stage(stage)
	}
	if u != nil {
		w.put(" ")
		w.unwrap(u)
	}
}

func (w *printer) matchers(ms []*labels.Matcher) {
	w.put("{")
	for i, m := range ms {
		if i > 0 {
			w.put(", ")
		}
		w.put(formatMatcher(m))
	}
	w.put("}")
}

func formatMatcher(m *labels.Matcher) string { return m.Name + m.Type.String() + quote(m.Value) }

func (w *printer) unwrap(u *Unwrap) {
	w.put("| unwrap ")
	if u.Conversion == ConvertNumber {
		w.put(u.Label)
	} else {
		w.put(u.Conversion.String(), "(", u.Label, ")")
	}
	for _, f := range u.Filters {
		w.put(" ")
		w.stage(f)
	}
}

func (w *printer) stage(s Stage) {
	switch s := s.(type) {
	case *LineFilter:
		w.put(s.Op.String(), " ")
		for i, o := range s.Operands {
			if i > 0 {
				w.put(" or ")
			}
			w.put(formatLineOperand(o))
		}
	case *JSONParser:
		w.put("| json")
		if s.Arrays {
			w.put(" --arrays")
		}
		w.extractions(s.Extractions)
	case *LogfmtParser:
		w.put("| logfmt")
		if s.Strict {
			w.put(" --strict")
		}
		if s.KeepEmpty {
			w.put(" --keep-empty")
		}
		w.extractions(s.Extractions)
	case *RegexpParser:
		w.put("| regexp ", quote(s.Pattern))
	case *PatternParser:
		w.put("| pattern ", quote(s.Pattern))
	case *Unpack:
		w.put("| unpack")
	case *Decolorize:
		w.put("| decolorize")
	case *LabelFilter:
		w.put("| ")
		w.predicate(s.Filter)
	case *LineFormat:
		w.put("| line_format ", quote(s.Template))
	case *LabelFormat:
		w.put("| label_format ")
		for i, a := range s.Formats {
			if i > 0 {
				w.put(", ")
			}
			w.put(a.Dst, "=")
			if a.Src != "" {
				w.put(a.Src)
			} else {
				w.put(quote(a.Template))
			}
		}
	case *DropLabels:
		w.put("| drop ", formatItems(s.Items))
	case *KeepLabels:
		w.put("| keep ", formatItems(s.Items))
	case *DistinctLabels:
		w.put("| distinct ", strings.Join(s.Labels, ", "))
	}
}

func formatLineOperand(o LineOperand) string {
	if o.IP {
		return "ip(" + quote(o.Text) + ")"
	}
	return quote(o.Text)
}

func (w *printer) extractions(list []Extraction) {
	for i, e := range list {
		if i > 0 {
			w.put(",")
		}
		w.put(" ", e.Label)
		if e.Expr != e.Label {
			w.put("=", quote(e.Expr))
		}
	}
}

func formatItems(items []LabelItem) string {
	parts := make([]string, len(items))
	for i, item := range items {
		parts[i] = item.Name
		if item.Matcher != nil {
			parts[i] = formatMatcher(item.Matcher)
		}
	}
	return strings.Join(parts, ", ")
}

func (w *printer) predicate(f Predicate) {
	switch f := f.(type) {
	case *BoolFilter:
		w.boolOperand(f, f.Left)
		w.put(" ", boolWord(f.Or), " ")
		w.boolOperand(f, f.Right)
	case *StringFilter:
		w.put(formatMatcher(f.Matcher))
	case *NumberFilter:
		w.put(f.Name, f.Op.String(), formatNumber(f.Value))
	case *DurationFilter:
		w.put(f.Name, f.Op.String(), formatDuration(f.Value))
	case *BytesFilter:
		w.put(f.Name, f.Op.String(), formatBytes(f.Value))
	case *IPFilter:
		op := "="
		if f.Negate {
			op = "!="
		}
		w.put(f.Name, op, "ip(", quote(f.Range), ")")
	}
}

func boolWord(or bool) string {
	if or {
		return "or"
	}
	return "and"
}

// boolOperand writes an operand of f: an "or" below an "and" needs
// parentheses. Chains of one operator lean left and need none.
func (w *printer) boolOperand(f *BoolFilter, operand Predicate) {
	o, ok := operand.(*BoolFilter)
	parens := ok && o.Or && !f.Or
	if parens {
		w.put("(")
	}
	w.predicate(operand)
	if parens {
		w.put(")")
	}
}

func (n *LogSelector) String() string       { return flat(n) } // String implements Node.
func (n *LineFilter) String() string        { return flat(n) } // String implements Node.
func (n *JSONParser) String() string        { return flat(n) } // String implements Node.
func (n *LogfmtParser) String() string      { return flat(n) } // String implements Node.
func (n *RegexpParser) String() string      { return flat(n) } // String implements Node.
func (n *PatternParser) String() string     { return flat(n) } // String implements Node.
func (n *Unpack) String() string            { return flat(n) } // String implements Node.
func (n *Decolorize) String() string        { return flat(n) } // String implements Node.
func (n *LabelFilter) String() string       { return flat(n) } // String implements Node.
func (n *LineFormat) String() string        { return flat(n) } // String implements Node.
func (n *LabelFormat) String() string       { return flat(n) } // String implements Node.
func (n *DropLabels) String() string        { return flat(n) } // String implements Node.
func (n *KeepLabels) String() string        { return flat(n) } // String implements Node.
func (n *DistinctLabels) String() string    { return flat(n) } // String implements Node.
func (n *BoolFilter) String() string        { return flat(n) } // String implements Node.
func (n *StringFilter) String() string      { return flat(n) } // String implements Node.
func (n *NumberFilter) String() string      { return flat(n) } // String implements Node.
func (n *DurationFilter) String() string    { return flat(n) } // String implements Node.
func (n *BytesFilter) String() string       { return flat(n) } // String implements Node.
func (n *IPFilter) String() string          { return flat(n) } // String implements Node.
func (n *Unwrap) String() string            { return flat(n) } // String implements Node.
func (n *Grouping) String() string          { return flat(n) } // String implements Node.
func (n *RangeAggregation) String() string  { return flat(n) } // String implements Node.
func (n *VectorAggregation) String() string { return flat(n) } // String implements Node.
func (n *BinaryExpr) String() string        { return flat(n) } // String implements Node.
func (n *LabelReplace) String() string      { return flat(n) } // String implements Node.
func (n *Vector) String() string            { return flat(n) } // String implements Node.
func (n *Literal) String() string           { return flat(n) } // String implements Node.
func (n *Call) String() string              { return flat(n) } // String implements Node.
func (n *Subquery) String() string          { return flat(n) } // String implements Node.
