package logql

import (
	"math"
	"regexp/syntax"
	"strconv"
	"strings"
	"time"
)

// expr reads an expression whose binary operators all bind at least as tight
// as minPrec.
func (p *parser) expr(minPrec int) Expr {
	p.enter()
	defer p.leave()
	return p.operators(p.operand(), minPrec)
}

// operators reads the binary operators, and their right operands, behind left.
func (p *parser) operators(left Expr, minPrec int) Expr {
	for {
		t := p.peek()
		op, ok := binaryOps[t.kind]
		if !ok || op.precedence() < minPrec {
			return left
		}
		p.next()
		b := &BinaryExpr{Position: t.pos, Op: op}
		p.modifiers(b)
		next := op.precedence() + 1
		if op == OpPow {
			next-- // a ^ b ^ c is a ^ (b ^ c)
		}
		left = p.join(b, left, p.expr(next))
	}
}

// metric reads an expression that has to be a metric expression.
func (p *parser) metric(of string) MetricExpr {
	e := p.expr(0)
	m, ok := e.(MetricExpr)
	if !ok {
		hint := of + " needs a metric query inside, such as count_over_time({...}[5m])"
		p.unexpectedHint(p.peek(), hint)
	}
	return m
}

// operand reads an expression up to its first binary operator.
func (p *parser) operand() Expr {
	t := p.peek()
	switch t.kind {
	case tLeftBrace:
		s := p.logQuery()
		p.noUnwrap()
		return s
	case tLeftParen:
		p.next()
		e := p.expr(0)
		p.expect(tRightParen)
		return e
	case tNumber, tAdd, tSub:
		return p.literal()
	case tRangeOp:
		if p.callsSubquery() {
			return p.call(rangeFunctions[RangeOp(t.op)])
		}
		return p.rangeAggregation()
	case tFunction:
		return p.call(&promFunctions[t.op])
	case tVectorOp:
		return p.vectorAggregation()
	case tVector:
		return p.vector()
	case tLabelReplace:
		return p.labelReplace()
	case tIdent:
		if _, ok := specialNumber(t); ok {
			return p.literal()
		}
	}
	p.unexpected(t)
	return nil
}

// specialNumber reads the names of the floats that have no digits. Folding
// makes them (1/0 is NaN), so the printer needs a way to write them.
func specialNumber(t token) (float64, bool) {
	switch {
	case t.kind != tIdent:
	case strings.EqualFold(t.text, "nan"):
		return math.NaN(), true
	case strings.EqualFold(t.text, "inf"):
		return math.Inf(1), true
	}
	return 0, false
}

// literal reads a number with an optional sign. The sign belongs to the
// number: -1^2 is 1.
func (p *parser) literal() *Literal {
	n := &Literal{Position: p.peek().pos}
	sign := 1.0
	switch {
	case p.accept(tSub):
		sign = -1
	case p.accept(tAdd):
	}
	t := p.peek()
	v, ok := specialNumber(t)
	switch {
	case t.kind == tNumber:
		v = t.number
	case !ok:
		p.unexpected(t, "NUMBER")
	}
	p.next()
	n.Value = sign * v
	return n
}

// modifiers reads "bool on (a) group_left (b)" behind a binary operator.
func (p *parser) modifiers(b *BinaryExpr) {
	b.Bool = p.accept(tBool)
	t := p.peek()
	if t.kind != tOn && t.kind != tIgnoring {
		return
	}
	p.next()
	b.Matching = &VectorMatching{Position: t.pos, On: t.kind == tOn, Labels: p.labelList()}
	switch p.peek().kind {
	case tGroupLeft:
		b.Matching.Group = GroupLeft
	case tGroupRight:
		b.Matching.Group = GroupRight
	default:
		return
	}
	p.next()
	// "group_left (" begins its labels or the right operand: a name or ")"
	// behind the parenthesis tells which.
	if p.peek().kind == tLeftParen {
		if k := p.peekAt(1).kind; k == tIdent || k == tRightParen {
			b.Matching.Include = p.labelList()
		}
	}
}

// labelList reads "(a, b)"; "()" gives nil.
func (p *parser) labelList() []string {
	p.expect(tLeftParen)
	if p.accept(tRightParen) {
		return nil
	}
	var list []string
	for {
		t := p.peek()
		if t.kind != tIdent {
			p.unexpected(t, "IDENTIFIER", ")")
		}
		list = append(list, p.next().text)
		if t := p.peek(); t.kind != tComma {
			if t.kind != tRightParen {
				p.unexpected(t, ")", ",")
			}
			p.next()
			return list
		}
		p.next()
	}
}

// join makes the node of a binary operation, or the number two numbers make.
func (p *parser) join(b *BinaryExpr, left, right Expr) MetricExpr {
	legs := [2]MetricExpr{}
	for i, e := range []Expr{left, right} {
		side := [...]string{"left", "right"}[i]
		m, ok := e.(MetricExpr)
		if !ok {
			p.general(e.Pos(), "unexpected type for %s leg of binary operation (%s): "+
				"a log query, where a metric query such as count_over_time({...}[5m]) is needed", side, b.Op)
		}
		if b.Op.IsSet() {
			if n, ok := e.(*Literal); ok {
				p.general(n.Position, "unexpected literal for %s leg of logical/set binary operation (%s): %f", side, b.Op, n.Value)
			}
			if IsScalar(m) {
				p.general(e.Pos(), "unexpected number for %s leg of logical/set binary operation (%s): %s", side, b.Op, e)
			}
		}
		legs[i] = m
	}
	b.Left, b.Right = legs[0], legs[1]
	x, okX := b.Left.(*Literal)
	y, okY := b.Right.(*Literal)
	if okX && okY {
		return &Literal{Position: x.Position, Value: fold(b.Op, x.Value, y.Value)}
	}
	return b
}

// fold computes x op y with Loki's rule for division by zero.
func fold(op BinaryOp, x, y float64) float64 {
	truth := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	switch op {
	case OpAdd:
		return x + y
	case OpSub:
		return x - y
	case OpMul:
		return x * y
	case OpDiv:
		if y == 0 {
			return math.NaN()
		}
		return x / y
	case OpMod:
		return math.Mod(x, y) // NaN for y == 0
	case OpPow:
		return math.Pow(x, y)
	case OpEqual:
		return truth(x == y)
	case OpNotEqual:
		return truth(x != y)
	case OpGreater:
		return truth(x > y)
	case OpGreaterEqual:
		return truth(x >= y)
	case OpLess:
		return truth(x < y)
	}
	return truth(x <= y)
}

// rangeAggregation reads "rate({…}[5m])" and its like.
func (p *parser) rangeAggregation() *RangeAggregation {
	t := p.next()
	a := &RangeAggregation{Position: t.pos, Op: RangeOp(t.op)}
	p.expect(tLeftParen)
	var param *token
	switch n := p.peek(); {
	case a.Op == OpCountDistinctOverTime:
		a.Label = p.expect(tIdent).text
		p.expect(tComma)
	case n.kind == tNumber:
		p.next()
		p.expect(tComma)
		param, a.Param = &n, n.number
	}
	r := p.logRange(param == nil && a.Label == "")
	if !r.hasRange {
		p.unexpectedHint(p.peek(), "a range such as [5m] is missing", "RANGE")
	}
	a.Selector, a.Range, a.Offset, a.Unwrap = r.selector, r.length, r.offset, r.unwrap
	p.expect(tRightParen)
	a.Grouping = p.grouping()
	if a.Op != OpQuantileOverTime {
		a.Param = 0
	}
	p.checkRangeAggregation(a, param)
	return a
}

// logRange is what stands inside a range aggregation.
type logRange struct {
	selector       *LogSelector
	length, offset time.Duration
	hasRange       bool
	unwrap         *Unwrap
}

// logRange reads "{…} | stages | unwrap x [5m] offset 1h". The range may also
// stand right behind the selector, and parentheses around any beginning. A
// range that is missing is left to the caller to complain about.
func (p *parser) logRange(orNumber bool) logRange {
	p.enter()
	defer p.leave()
	var r logRange
	t := p.peek()
	switch t.kind {
	case tLeftBrace:
		r.selector = p.logQuery()
		r.unwrap = p.unwrap()
	case tLeftParen:
		p.next()
		r = p.logRange(false)
		p.expect(tRightParen)
	default:
		expected := []string{"NUMBER", "{", "("}
		if !orNumber {
			expected = expected[1:]
		}
		if t.kind == tRangeOp || t.kind == tVectorOp || t.kind == tFunction {
			p.unexpectedHint(t, "over a metric query it takes a subquery, such as [1h:5m]", expected...)
		}
		p.unexpected(t, expected...)
	}
	if p.peek().kind == tSubquery {
		p.unexpectedHint(p.peek(), "lines have a range such as [5m]; a subquery follows a metric query", "RANGE")
	}
	if r.hasRange || p.peek().kind != tRange {
		return r
	}
	r.hasRange = true
	r.length = time.Duration(p.next().whole)
	if p.accept(tOffset) {
		r.offset = p.offset()
	}
	if len(r.selector.Stages) == 0 && r.unwrap == nil {
		r.selector.Stages = p.stages()
		r.unwrap = p.unwrap()
	}
	return r
}

func (p *parser) offset() time.Duration {
	sign := time.Duration(1)
	if p.accept(tSub) {
		sign = -1
	}
	t := p.peek()
	if t.kind == tNumber && t.number == 0 {
		p.next() // Prometheus takes 0 without a unit
		return 0
	}
	return sign * time.Duration(p.expect(tDuration).whole)
}

// unwrap reads "| unwrap bytes(x) | __error__="""; nil if there is none.
func (p *parser) unwrap() *Unwrap {
	if !p.startsUnwrap() {
		return nil
	}
	p.next()
	u := &Unwrap{Position: p.next().pos}
	t := p.peek()
	switch t.kind {
	case tIdent:
		u.Label = p.next().text
	case tConversion:
		p.next()
		p.expect(tLeftParen)
		u.Conversion = Conversion(t.op)
		u.Label = p.expect(tIdent).text
		p.expect(tRightParen)
	default:
		p.unexpected(t, "IDENTIFIER", "bytes", "duration", "duration_seconds")
	}
	for p.accept(tPipe) {
		t := p.peek()
		if t.kind != tIdent && t.kind != tLeftParen {
			p.unexpectedHint(t, "only label filters can follow unwrap", "IDENTIFIER", "(")
		}
		u.Filters = append(u.Filters, &LabelFilter{Position: t.pos, Filter: p.predicate()})
	}
	return u
}

// grouping reads "by (a)" or "without (a)"; nil if there is none.
func (p *parser) grouping() *Grouping {
	t := p.peek()
	if t.kind != tBy && t.kind != tWithout {
		return nil
	}
	p.next()
	return &Grouping{Position: t.pos, Without: t.kind == tWithout, Labels: p.labelList()}
}

// vectorAggregation reads "sum by (a) (…)" and "topk(3, …) by (a)".
func (p *parser) vectorAggregation() *VectorAggregation {
	t := p.next()
	a := &VectorAggregation{Position: t.pos, Op: VectorOp(t.op), Grouping: p.grouping()}
	p.expect(tLeftParen)
	var param *token
	if n := p.peek(); n.kind == tNumber && p.peekAt(1).kind == tComma {
		p.next()
		p.next()
		param = &n
	}
	a.Expr = p.metric(a.Op.String())
	p.expect(tRightParen)
	if a.Grouping == nil {
		a.Grouping = p.grouping()
	}
	p.checkVectorAggregation(a, param)
	if a.Op == OpSort || a.Op == OpSortDesc {
		a.Grouping = nil // "by ()" means nothing here, and Loki takes it
	}
	if param != nil {
		a.Param = p.groupSize(a.Op, *param)
	}
	return a
}

// groupSize reads the k of topk.
func (p *parser) groupSize(op VectorOp, param token) int {
	k, err := strconv.Atoi(param.text)
	if err != nil {
		p.general(param.pos, "invalid parameter %s(%s,", op, param.text)
	}
	if k < 1 {
		p.general(param.pos, "invalid parameter (must be greater than 0) %s(%s", op, param.text)
	}
	return k
}

// vector reads "vector(1)".
func (p *parser) vector() *Vector {
	v := &Vector{Position: p.next().pos}
	p.expect(tLeftParen)
	v.Value = p.literal().Value
	p.expect(tRightParen)
	return v
}

// labelReplace reads "label_replace(…, "dst", "replacement", "src", "regex")".
func (p *parser) labelReplace() *LabelReplace {
	l := &LabelReplace{Position: p.next().pos}
	p.expect(tLeftParen)
	l.Expr = p.metric("label_replace")
	var args [4]token
	for i := range args {
		p.expect(tComma)
		args[i] = p.expect(tString)
	}
	p.expect(tRightParen)
	l.Dst, l.Replacement, l.Src, l.Regex = args[0].text, args[1].text, args[2].text, args[3].text
	p.needsSeries("label_replace", l.Expr)
	if !isLabelName(l.Dst) {
		p.general(args[0].pos, "invalid label name %s in label_replace", excerpt(l.Dst))
	}
	if _, err := syntax.Parse(l.Regex, syntax.Perl); err != nil {
		p.general(args[3].pos, "invalid regex in label_replace: %s", err)
	}
	return l
}
