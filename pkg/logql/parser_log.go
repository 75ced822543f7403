package logql

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// logQuery reads a selector and the stages behind it.
func (p *parser) logQuery() *LogSelector {
	s := p.selector()
	s.Stages = p.stages()
	return s
}

// noUnwrap refuses an unwrap where no range aggregation is around it.
func (p *parser) noUnwrap() {
	if p.startsUnwrap() {
		p.next()
		p.unexpectedHint(p.peek(), "unwrap is only meant inside a function such as sum_over_time(... [5m])")
	}
}

func (p *parser) startsUnwrap() bool {
	return p.peek().kind == tPipe && p.peekAt(1).kind == tUnwrap
}

// selector reads "{a="b", c!="d"}".
func (p *parser) selector() *LogSelector {
	s := &LogSelector{Position: p.expect(tLeftBrace).pos}
	p.selectors = append(p.selectors, s)
	if p.accept(tRightBrace) {
		return s
	}
	if t := p.peek(); t.kind != tIdent {
		p.unexpected(t, "IDENTIFIER", "}")
	}
	for {
		s.Matchers = append(s.Matchers, p.matcher())
		t := p.peek()
		switch t.kind {
		case tComma:
			p.next()
		case tRightBrace:
			p.next()
			return s
		default:
			p.unexpected(t, "}", ",")
		}
	}
}

// matchTypes maps the operators of a matcher.
var matchTypes = map[kind]labels.MatchType{
	tAssign: labels.MatchEqual, tNotEqual: labels.MatchNotEqual,
	tMatch: labels.MatchRegexp, tNotMatch: labels.MatchNotRegexp,
}

// matcher reads "a="b"".
func (p *parser) matcher() *labels.Matcher {
	name := p.expect(tIdent)
	op := p.peek()
	typ, ok := matchTypes[op.kind]
	if !ok {
		p.unexpected(op, "=", "!=", "=~", "!~")
	}
	p.next()
	return p.newMatcher(typ, name.text, p.expect(tString))
}

func (p *parser) newMatcher(typ labels.MatchType, name string, value token) *labels.Matcher {
	m, err := labels.NewMatcher(typ, name, value.text)
	if err != nil {
		p.general(value.pos, "%s", err)
	}
	return m
}

// newFilterMatcher is labels.NewMatcher for a label filter: other than in the
// matchers of a selector, of drop and of keep, "." does not match a newline, as
// in Loki. Nor is Loki strict about ".*", ".+" and ".*text.*", which mean
// anything, something and contains. The expression stays as it was written.
func newFilterMatcher(typ labels.MatchType, name, value string) (*labels.Matcher, error) {
	m, err := labels.NewMatcher(typ, name, value)
	if err != nil || typ == labels.MatchEqual || typ == labels.MatchNotEqual || dotMeansAll(value) {
		return m, err
	}
	if m, err = labels.NewMatcher(typ, name, "(?-s:"+value+")"); err == nil {
		m.Value = value
	}
	return m, err
}

// dotMeansAll says that it does not matter, or not to Loki, whether "." matches
// a newline.
func dotMeansAll(expr string) bool {
	if expr == ".+" || !strings.Contains(expr, ".") {
		return true
	}
	rest, front := strings.CutPrefix(expr, ".*")
	text, back := strings.CutSuffix(rest, ".*")
	return front && (back || rest == "") && regexp.QuoteMeta(text) == text
}

// stages reads what follows a selector, up to anything that is no stage. An
// unwrap is left to the caller.
func (p *parser) stages() []Stage {
	var stages []Stage
	for {
		t := p.peek()
		switch _, isFilter := lineFilterOps[t.kind]; {
		case isFilter:
			stages = append(stages, p.lineFilter())
		case t.kind == tPipe && !p.startsUnwrap():
			p.next()
			stages = append(stages, p.pipeStage())
		default:
			return stages
		}
	}
}

// lineFilter reads "|= "a" or ip("b")".
func (p *parser) lineFilter() *LineFilter {
	t := p.next()
	f := &LineFilter{Position: t.pos, Op: lineFilterOps[t.kind]}
	for {
		f.Operands = append(f.Operands, p.lineOperand(f.Op))
		if !p.accept(tOr) {
			return f
		}
	}
}

func (p *parser) lineOperand(op LineFilterOp) LineOperand {
	t := p.peek()
	switch t.kind {
	case tString:
		p.next()
		p.checkLineOperand(op, t)
		return LineOperand{Position: t.pos, Text: t.text}
	case tIP:
		if op != LineContains && op != LineNotContains {
			p.general(t.pos, "ip() is only supported with |= and !=, not with %s", op)
		}
		return LineOperand{Position: t.pos, Text: p.ipCall(), IP: true}
	}
	p.unexpected(t, "STRING", "ip")
	return LineOperand{}
}

// ipCall reads "ip("…")" and returns the checked text.
func (p *parser) ipCall() string {
	p.expect(tIP)
	p.expect(tLeftParen)
	t := p.expect(tString)
	if _, err := ParseIPRange(t.text); err != nil {
		p.general(t.pos, "ip: %s", err)
	}
	p.expect(tRightParen)
	return t.text
}

// pipeStage reads a stage behind its "|".
func (p *parser) pipeStage() Stage {
	t := p.peek()
	switch t.kind {
	case tIdent, tLeftParen:
		if p.startsDistinct() {
			return p.distinct()
		}
		return &LabelFilter{Position: t.pos, Filter: p.predicate()}
	case tJSON:
		return p.json()
	case tLogfmt:
		return p.logfmt()
	case tRegexp:
		p.next()
		s := p.expect(tString)
		p.checkRegexpParser(s)
		return &RegexpParser{Position: t.pos, Pattern: s.text}
	case tPattern:
		p.next()
		s := p.expect(tString)
		if _, err := ParsePattern(s.text); err != nil {
			p.general(s.pos, "invalid pattern parser: %s", err)
		}
		return &PatternParser{Position: t.pos, Pattern: s.text}
	case tUnpack:
		p.next()
		return &Unpack{Position: t.pos}
	case tDecolorize:
		p.next()
		return &Decolorize{Position: t.pos}
	case tLineFormat:
		p.next()
		s := p.expect(tString)
		if _, err := parseTemplate("line", s.text); err != nil {
			p.general(s.pos, "stage '| line_format %s' : invalid line template: %s", excerpt(s.text), err)
		}
		return &LineFormat{Position: t.pos, Template: s.text}
	case tLabelFormat:
		return p.labelFormat()
	case tDrop:
		p.next()
		return &DropLabels{Position: t.pos, Items: p.labelItems()}
	case tKeep:
		p.next()
		return &KeepLabels{Position: t.pos, Items: p.labelItems()}
	}
	p.unexpected(t)
	return nil
}

// json reads "json --arrays" or "json a, b="c[0]"".
func (p *parser) json() *JSONParser {
	j := &JSONParser{Position: p.next().pos}
	flag := p.peek()
	for p.peek().kind == tFlag {
		if t := p.peek(); t.text != "--arrays" {
			p.unexpected(t, "--arrays")
		}
		p.next()
		j.Arrays = true
	}
	j.Extractions = p.extractions(p.checkJSONPath)
	if j.Arrays && len(j.Extractions) > 0 {
		p.general(flag.pos, "--arrays takes everything: leave it out where json has expressions, such as first=%s", quote("tags[0]"))
	}
	return j
}

// logfmt reads "logfmt --strict a, b="c"".
func (p *parser) logfmt() *LogfmtParser {
	l := &LogfmtParser{Position: p.next().pos}
	for p.peek().kind == tFlag {
		switch t := p.peek(); t.text {
		case "--strict":
			l.Strict = true
		case "--keep-empty":
			l.KeepEmpty = true
		default:
			p.unexpected(t, "--strict", "--keep-empty")
		}
		p.next()
	}
	l.Extractions = p.extractions(p.checkLogfmtKey)
	return l
}

// extractions reads a possibly empty list of "a="expr"" and "b".
func (p *parser) extractions(check func(token)) []Extraction {
	if p.peek().kind != tIdent {
		return nil
	}
	var list []Extraction
	for {
		t := p.expect(tIdent)
		e := Extraction{Position: t.pos, Label: t.text, Expr: t.text}
		if p.accept(tAssign) {
			s := p.expect(tString)
			check(s)
			e.Expr = s.text
		}
		list = append(list, e)
		if !p.accept(tComma) {
			return list
		}
	}
}

// labelFormat reads "label_format a=b, c="tmpl"".
func (p *parser) labelFormat() *LabelFormat {
	f := &LabelFormat{Position: p.next().pos}
	for {
		dst := p.expect(tIdent)
		p.expect(tAssign)
		a := LabelAssignment{Position: dst.pos, Dst: dst.text}
		src := p.peek()
		switch src.kind {
		case tIdent:
			a.Src = src.text
		case tString:
			if _, err := parseTemplate("label", src.text); err != nil {
				p.general(src.pos, "stage '| label_format %s=%s' : invalid template for label '%s': %s",
					a.Dst, excerpt(src.text), a.Dst, err)
			}
			a.Template = src.text
		default:
			p.unexpected(src, "IDENTIFIER", "STRING")
		}
		p.next()
		p.checkLabelFormat(f.Formats, a)
		f.Formats = append(f.Formats, a)
		if !p.accept(tComma) {
			return f
		}
	}
}

// labelItems reads the operands of drop and keep. An operator behind a name
// makes a matcher of it, never a line filter.
func (p *parser) labelItems() []LabelItem {
	var items []LabelItem
	for {
		t := p.peek()
		item := LabelItem{Position: t.pos, Name: t.text}
		if _, ok := matchTypes[p.peekAt(1).kind]; ok {
			item.Matcher = p.matcher()
		} else {
			p.expect(tIdent)
		}
		items = append(items, item)
		if !p.accept(tComma) {
			return items
		}
	}
}

// predicate reads a label filter. "and" binds tighter than "or". "," and mere
// neighbourhood mean "and" too, but take everything to their right as their
// right side, as in Loki, whose grammar gives them no precedence:
// a=1, b=2 or c=3 is a=1 and (b=2 or c=3).
func (p *parser) predicate() Predicate {
	p.enter()
	defer p.leave()
	left := p.conjunction()
	for p.peek().kind == tOr {
		t := p.next()
		left = joinPredicates(t.pos, true, left, p.conjunction())
	}
	return left
}

func (p *parser) conjunction() Predicate {
	left := p.greedyTerm()
	for p.peek().kind == tAnd {
		t := p.next()
		left = joinPredicates(t.pos, false, left, p.greedyTerm())
	}
	return left
}

// greedyTerm reads one condition and, behind "," or nothing, all that follows.
func (p *parser) greedyTerm() Predicate {
	left := p.condition()
	switch t := p.peek(); t.kind {
	case tComma:
		p.next()
		return joinPredicates(t.pos, false, left, p.predicate())
	case tIdent, tLeftParen:
		return joinPredicates(t.pos, false, left, p.predicate())
	}
	return left
}

// joinPredicates builds chains of one operator leaning left, so that
// a, (b and c) is the same tree as a and b and c. Left to right evaluation
// that stops early gives the same result either way.
func joinPredicates(pos Pos, or bool, left, right Predicate) Predicate {
	r, ok := right.(*BoolFilter)
	if !ok || r.Or != or {
		return &BoolFilter{Position: pos, Or: or, Left: left, Right: right}
	}
	first := r
	for {
		l, ok := first.Left.(*BoolFilter)
		if !ok || l.Or != or {
			break
		}
		first = l
	}
	first.Left = &BoolFilter{Position: pos, Or: or, Left: left, Right: first.Left}
	return r
}

// condition reads a predicate in parentheses or a comparison.
func (p *parser) condition() Predicate {
	if p.accept(tLeftParen) {
		f := p.predicate()
		p.expect(tRightParen)
		return f
	}
	name := p.peek()
	if name.kind != tIdent {
		p.unexpected(name, "IDENTIFIER", "(")
	}
	p.next()
	op := p.peek()
	_, textual := matchTypes[op.kind]
	_, numeric := compareOps[op.kind]
	if !textual && !numeric {
		p.unexpected(op)
	}
	p.next()
	return p.comparison(name, op)
}

// comparison reads the right side of "name op …".
func (p *parser) comparison(name, op token) Predicate {
	typ, textual := matchTypes[op.kind]
	cmp, numeric := compareOps[op.kind]
	t := p.peek()
	switch {
	case t.kind == tString && textual:
		p.next()
		m, err := newFilterMatcher(typ, name.text, t.text)
		if err != nil {
			p.general(t.pos, "%s", err)
		}
		return &StringFilter{Position: name.pos, Matcher: m}
	case t.kind == tIP && (op.kind == tAssign || op.kind == tNotEqual):
		return &IPFilter{Position: name.pos, Name: name.text, Negate: op.kind == tNotEqual, Range: p.ipCall()}
	case !numeric:
		p.unexpected(t, "STRING")
	}
	sign := 1
	if t.kind == tSub || t.kind == tAdd {
		if t.kind == tSub {
			sign = -1
		}
		p.next()
		t = p.peek()
	}
	switch {
	case t.kind == tNumber:
		p.next()
		return &NumberFilter{Position: name.pos, Name: name.text, Op: cmp, Value: float64(sign) * t.number}
	case t.kind == tDuration:
		p.next()
		return &DurationFilter{Position: name.pos, Name: name.text, Op: cmp, Value: time.Duration(sign) * time.Duration(t.whole)}
	case t.kind == tBytes && sign > 0:
		p.next()
		return &BytesFilter{Position: name.pos, Name: name.text, Op: cmp, Value: t.whole}
	case t.kind == tString && op.kind == tEqual:
		p.unexpectedHint(t, "text is compared with =, numbers with ==", "NUMBER", "DURATION", "BYTES")
	case t.kind == tString:
		p.unexpectedHint(t, "text is compared with = != =~ !~", "NUMBER", "DURATION", "BYTES")
	}
	expected := []string{"NUMBER", "DURATION", "BYTES"}
	if textual {
		expected = slices.Insert(expected, 0, "STRING")
	}
	p.unexpected(t, expected...)
	return nil
}
