package logql

import (
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"
)

// lineRegexpFlags are those of |~ and !~: Perl's classes, "." matches no newline.
const lineRegexpFlags = syntax.Perl

func (p *parser) checkLineOperand(op LineFilterOp, t token) {
	switch op {
	case LineMatches, LineNotMatches:
		if _, err := syntax.Parse(t.text, lineRegexpFlags); err != nil {
			p.general(t.pos, "%s", err)
		}
	case LineContainsFold, LineNotContainsFold:
		if !utf8.ValidString(t.text) {
			p.general(t.pos, "%s compares characters and needs valid UTF-8, found %s", op, excerpt(t.text))
		}
	case LinePattern, LineNotPattern:
		if _, err := ParseLinePattern(t.text); err != nil {
			p.general(t.pos, "invalid line filter pattern %s: %s", excerpt(t.text), err)
		}
	}
}

func (p *parser) checkJSONPath(t token) {
	if _, err := ParseJSONPath(t.text); err != nil {
		p.general(t.pos, "invalid json expression %s: %s", excerpt(t.text), err)
	}
}

// checkLogfmtKey refuses what can be no key of logfmt. Loki allows only names.
func (p *parser) checkLogfmtKey(t token) {
	if t.text == "" || identLen(t.text) != len(t.text) {
		p.general(t.pos, "invalid logfmt expression %s: a key has only letters, digits and underscores", excerpt(t.text))
	}
}

func (p *parser) checkRegexpParser(t token) {
	re, err := syntax.Parse(t.text, syntax.Perl)
	if err != nil {
		p.general(t.pos, "invalid regexp parser: %s", err)
	}
	var seen []string
	for _, name := range re.CapNames() {
		switch {
		case name == "":
			continue
		case !isLabelName(name):
			p.general(t.pos, "invalid regexp parser: invalid extracted label name '%s'", name)
		case slices.Contains(seen, name):
			p.general(t.pos, "invalid regexp parser: duplicate extracted label name '%s'", name)
		}
		seen = append(seen, name)
	}
	if len(seen) == 0 {
		p.general(t.pos, "invalid regexp parser: at least one named capture must be supplied")
	}
}

// isLabelName says whether s is a label name that Loki would store.
func isLabelName(s string) bool {
	return s != "" && isIdentStart(s[0]) && strings.IndexFunc(s, func(r rune) bool {
		return r > 0x7f || !isIdentPart(byte(r))
	}) < 0
}

// errorLabel cannot be assigned: it is the engine's.
const errorLabel = "__error__"

func (p *parser) checkLabelFormat(before []LabelAssignment, a LabelAssignment) {
	if a.Dst == errorLabel {
		p.general(a.Position, "%s cannot be formatted", errorLabel)
	}
	if slices.ContainsFunc(before, func(b LabelAssignment) bool { return b.Dst == a.Dst }) {
		p.general(a.Position, "multiple label name '%s' not allowed in a single format operation", a.Dst)
	}
}

// checkRangeAggregation refuses what Loki refuses, in its words.
func (p *parser) checkRangeAggregation(a *RangeAggregation, param *token) {
	if distinct := firstDistinct(a.Selector); distinct != nil {
		p.general(distinct.Position, "distinct is for log queries: count_distinct_over_time(label, ...) counts the values of a label")
	}
	switch {
	case a.Op == OpQuantileOverTime && param == nil:
		p.general(a.Position, "parameter required for operation %s", a.Op)
	case a.Op != OpQuantileOverTime && param != nil:
		p.general(param.pos, "parameter %s not supported for operation %s", param.text, a.Op)
	case a.Unwrap == nil && a.Op.NeedsUnwrap():
		p.general(a.Position, "invalid aggregation %s without unwrap", a.Op)
	case a.Unwrap != nil && !a.Op.AllowsUnwrap():
		p.general(a.Unwrap.Position, "invalid aggregation %s with unwrap", a.Op)
	case a.Grouping != nil && !a.Op.AllowsGrouping():
		p.general(a.Grouping.Position, "grouping not allowed for %s aggregation", a.Op)
	}
}

// checkVectorAggregation refuses what Loki refuses, in its words.
func (p *parser) checkVectorAggregation(a *VectorAggregation, param *token) {
	switch {
	case a.Op.NeedsParam() && param == nil:
		p.general(a.Position, "parameter required for operation %s", a.Op)
	case !a.Op.NeedsParam() && param != nil:
		p.general(param.pos, "unsupported parameter for operation %s(%s,", a.Op, param.text)
	case a.Grouping != nil && len(a.Grouping.Labels) > 0 && (a.Op == OpSort || a.Op == OpSortDesc):
		p.general(a.Grouping.Position, "sort and sort_desc doesn't allow grouping by")
	case a.Grouping != nil && a.Op == OpApproxTopk:
		p.general(a.Grouping.Position, "grouping not allowed for %s aggregation", a.Op)
	}
	p.needsSeries(a.Op.String(), a.Expr)
}

// needsSeries refuses a single number as the argument of a function.
func (p *parser) needsSeries(function string, e MetricExpr) {
	if n, ok := e.(*Literal); ok {
		p.general(n.Position, "%s needs series, found the number %s: write vector(%[2]s)", function, formatNumber(n.Value))
	}
	if IsScalar(e) {
		p.general(e.Pos(), "%s needs series, found the number %s", function, e)
	}
}
