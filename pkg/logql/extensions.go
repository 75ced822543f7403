package logql

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// The grammar of what Loki does not have; doc.go lists it.

// argument is what a function of PromQL wants.
type argument uint8

const (
	argSeries argument = iota
	argNumber          // a single number
	argRange           // series over time: a subquery
)

// promFunction is a function that evaluation leaves to PromQL.
type promFunction struct {
	name string
	args []argument
	// optional is how many of the last args may be left out.
	optional int
	// strings says that strings follow the args, at least two.
	strings bool
	// number says that the result is a single number.
	number bool
}

var (
	onSeries   = []argument{argSeries}
	onRange    = []argument{argRange}
	numbersOn1 = []argument{argSeries, argNumber}
)

// promFunctions are PromQL's, less those for native histograms, experimental
// ones and those that LogQL has of its own.
var promFunctions = []promFunction{
	{name: "abs", args: onSeries},
	{name: "absent", args: onSeries},
	{name: "acos", args: onSeries},
	{name: "acosh", args: onSeries},
	{name: "asin", args: onSeries},
	{name: "asinh", args: onSeries},
	{name: "atan", args: onSeries},
	{name: "atanh", args: onSeries},
	{name: "ceil", args: onSeries},
	{name: "changes", args: onRange},
	{name: "clamp", args: []argument{argSeries, argNumber, argNumber}},
	{name: "clamp_max", args: numbersOn1},
	{name: "clamp_min", args: numbersOn1},
	{name: "cos", args: onSeries},
	{name: "cosh", args: onSeries},
	{name: "day_of_month", args: onSeries, optional: 1},
	{name: "day_of_week", args: onSeries, optional: 1},
	{name: "day_of_year", args: onSeries, optional: 1},
	{name: "days_in_month", args: onSeries, optional: 1},
	{name: "deg", args: onSeries},
	{name: "delta", args: onRange},
	{name: "deriv", args: onRange},
	{name: "exp", args: onSeries},
	{name: "floor", args: onSeries},
	{name: "histogram_quantile", args: []argument{argNumber, argSeries}},
	{name: "hour", args: onSeries, optional: 1},
	{name: "idelta", args: onRange},
	{name: "increase", args: onRange},
	{name: "irate", args: onRange},
	{name: "label_join", args: onSeries, strings: true},
	{name: "ln", args: onSeries},
	{name: "log10", args: onSeries},
	{name: "log2", args: onSeries},
	{name: "minute", args: onSeries, optional: 1},
	{name: "month", args: onSeries, optional: 1},
	{name: "pi", number: true},
	{name: "predict_linear", args: []argument{argRange, argNumber}},
	{name: "present_over_time", args: onRange},
	{name: "rad", args: onSeries},
	{name: "resets", args: onRange},
	{name: "round", args: numbersOn1, optional: 1},
	{name: "scalar", args: onSeries, number: true},
	{name: "sgn", args: onSeries},
	{name: "sin", args: onSeries},
	{name: "sinh", args: onSeries},
	{name: "sqrt", args: onSeries},
	{name: "tan", args: onSeries},
	{name: "tanh", args: onSeries},
	{name: "time", number: true},
	{name: "timestamp", args: onSeries},
	{name: "year", args: onSeries, optional: 1},
}

// rangeFunctions are PromQL's functions that share their name with a range
// aggregation. Their argument tells which is meant. Operations that are missing
// have no meaning over a subquery.
var rangeFunctions = map[RangeOp]*promFunction{
	OpAbsentOverTime:   {name: "absent_over_time", args: onRange},
	OpAvgOverTime:      {name: "avg_over_time", args: onRange},
	OpCountOverTime:    {name: "count_over_time", args: onRange},
	OpFirstOverTime:    {name: "first_over_time", args: onRange},
	OpLastOverTime:     {name: "last_over_time", args: onRange},
	OpMaxOverTime:      {name: "max_over_time", args: onRange},
	OpMinOverTime:      {name: "min_over_time", args: onRange},
	OpQuantileOverTime: {name: "quantile_over_time", args: []argument{argNumber, argRange}},
	OpRate:             {name: "rate", args: onRange},
	OpStddevOverTime:   {name: "stddev_over_time", args: onRange},
	OpStdvarOverTime:   {name: "stdvar_over_time", args: onRange},
	OpSumOverTime:      {name: "sum_over_time", args: onRange},
}

// CallFunctions returns, sorted, the names that a Call may have.
func CallFunctions() []string {
	names := map[string]bool{}
	for _, f := range promFunctions {
		names[f.name] = true
	}
	for _, f := range rangeFunctions {
		names[f.name] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// IsScalar says whether e is a single number at each time, not series: a
// literal, one of the functions time, pi and scalar, or arithmetic of such.
func IsScalar(e MetricExpr) bool {
	switch e := e.(type) {
	case *Literal:
		return true
	case *BinaryExpr:
		return IsScalar(e.Left) && IsScalar(e.Right)
	case *Call:
		return slices.ContainsFunc(promFunctions, func(f promFunction) bool { return f.number && f.name == e.Func })
	}
	return false
}

// What can be told about a subquery that cannot stand where it is.
const (
	subqueryHint     = "a subquery is only meant as the argument of a function such as max_over_time"
	subqueryOfLastOp = "the subquery belongs to the last operand alone: put the operation in parentheses"
)

// callsSubquery says whether the function at hand has a subquery among its
// arguments, and no lines.
func (p *parser) callsSubquery() bool {
	if !p.subqueries || p.peekAt(2).kind == tLeftBrace {
		return false
	}
	depth := 0
	for i, t := range p.toks[p.i+1:] {
		switch t.kind {
		case tLeftParen:
			depth++
		case tRightParen:
			depth--
		case tSubquery:
			if depth == 1 {
				return true
			}
		case tError: // maybe what is meant for one
			return depth == 1 && p.toks[p.i+i].kind == tRightParen
		}
		if depth <= 0 {
			return false
		}
	}
	return false
}

// call reads "clamp_max(…, 10)". f is nil for a name that is no such function.
func (p *parser) call(f *promFunction) *Call {
	p.enter()
	defer p.leave()
	name := p.next()
	if f == nil {
		p.general(name.pos, "%s works on lines: it has no meaning over a subquery", name.name())
	}
	c := &Call{Position: name.pos, Func: f.name}
	p.expect(tLeftParen)
	for i, want := range f.args {
		if i >= len(f.args)-f.optional && p.peek().kind == tRightParen {
			break
		}
		if i > 0 {
			p.expect(tComma)
		}
		c.Args = append(c.Args, p.argument(f.name, i+1, want))
	}
	if f.strings {
		for len(c.Strings) < 2 || p.peek().kind == tComma {
			p.expect(tComma)
			s := p.expect(tString)
			if i := len(c.Strings); i != 1 && !isLabelName(s.text) {
				p.general(s.pos, "invalid label name %s in %s", excerpt(s.text), f.name)
			}
			c.Strings = append(c.Strings, s.text)
		}
	}
	p.expect(tRightParen)
	return c
}

// argument reads the n-th argument of a function and checks its type.
func (p *parser) argument(function string, n int, want argument) MetricExpr {
	begin := p.peek()
	e := p.operand()
	if p.peek().kind == tSubquery {
		e = p.subquery(e)
	} else {
		e = p.operators(e, 0)
	}
	m, ok := e.(MetricExpr)
	if !ok {
		p.general(begin.pos, "%s needs a metric query inside, such as count_over_time({...}[5m])", function)
	}
	_, isRange := m.(*Subquery)
	next := p.peek()
	switch {
	case want == argRange && !isRange && next.kind == tError:
		p.unexpected(next)
	case want == argRange && !isRange && next.kind == tSubquery:
		p.unexpectedHint(next, subqueryOfLastOp, ")")
	case want == argRange && !isRange:
		p.general(begin.pos, "argument %d of %s has to be a subquery, such as %s(count_over_time({...}[5m])[1h:5m])", n, function, function)
	case want != argRange && isRange:
		p.general(begin.pos, "argument %d of %s cannot be a subquery", n, function)
	case want == argNumber && !IsScalar(m):
		p.general(begin.pos, "argument %d of %s has to be a single number", n, function)
	case want == argSeries:
		p.needsSeries(function, m)
	}
	return m
}

// subquery reads "[1h:5m] offset 1d" behind e.
func (p *parser) subquery(e Expr) *Subquery {
	m, ok := e.(MetricExpr)
	if !ok {
		p.unexpectedHint(p.peek(), "lines have a range such as [5m]; a subquery follows a metric query")
	}
	p.needsSeries("a subquery", m)
	t := p.next()
	s := &Subquery{Position: t.pos, Expr: m, Range: time.Duration(t.whole), Step: time.Duration(t.step)}
	if p.accept(tOffset) {
		s.Offset = p.offset()
	}
	return s
}

// startsDistinct says whether a distinct stage is next. The word is no keyword:
// a label may be named so.
func (p *parser) startsDistinct() bool {
	t := p.peek()
	return t.kind == tIdent && strings.EqualFold(t.text, "distinct") && p.peekAt(1).kind == tIdent
}

// distinct reads "distinct a, b".
func (p *parser) distinct() *DistinctLabels {
	d := &DistinctLabels{Position: p.next().pos}
	for {
		d.Labels = append(d.Labels, p.expect(tIdent).text)
		if !p.accept(tComma) {
			return d
		}
	}
}

func firstDistinct(s *LogSelector) *DistinctLabels {
	for _, st := range s.Stages {
		if d, ok := st.(*DistinctLabels); ok {
			return d
		}
	}
	return nil
}
