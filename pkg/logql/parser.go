package logql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
)

// MaxQueryBytes is the longest query that is parsed.
const MaxQueryBytes = 131072

// maxDepth limits how deep parentheses, arguments and right-hand operands nest,
// so that no text overflows a stack, here or in whoever walks the tree.
const maxDepth = 500

// Option changes what the parse functions accept.
type Option func(*parser)

// AllowEmptyMatchers accepts selectors all of whose matchers accept the empty
// string, {} among them: for the series and volume endpoints, which may ask for
// everything.
func AllowEmptyMatchers() Option {
	return func(p *parser) { p.allowEmpty = true }
}

// Parse reads a log or metric query. The error is a *ParseError.
func Parse(query string, opts ...Option) (expr Expr, err error) {
	err = parseWith(query, opts, func(p *parser) {
		expr = p.expr(0)
		p.end(expr)
	})
	if err != nil {
		return nil, err
	}
	return expr, nil
}

// ParseSelector reads a stream selector without stages: {app="a"}. The error
// is a *ParseError.
func ParseSelector(text string, opts ...Option) (matchers []*labels.Matcher, err error) {
	err = parseWith(text, opts, func(p *parser) {
		matchers = p.selector().Matchers
		if t := p.peek(); t.kind != tEOF {
			p.unexpected(t, "$end")
		}
	})
	if err != nil {
		return nil, err
	}
	return matchers, nil
}

// ParseMatchers reads the values of repeated match[] parameters, one selector
// each. The error names the text it is about in ParseError.Query.
func ParseMatchers(texts []string, opts ...Option) ([][]*labels.Matcher, error) {
	sets := make([][]*labels.Matcher, 0, len(texts))
	for _, text := range texts {
		set, err := ParseSelector(text, opts...)
		if err != nil {
			return nil, err
		}
		sets = append(sets, set)
	}
	return sets, nil
}

// parser walks over the tokens of one query by recursive descent. Its methods
// leave by panicking with a *ParseError, which parseWith recovers.
type parser struct {
	query      string
	toks       []token
	i          int
	depth      int
	allowEmpty bool
	// subqueries says that there is, or may be, a tSubquery among toks.
	subqueries bool
	// selectors are checked once the syntax of the whole text is known to be
	// right: a mistake of syntax is the better message.
	selectors []*LogSelector
}

// parseWith sets up a parser, runs rule and turns its panic into an error.
func parseWith(query string, opts []Option, rule func(*parser)) (err error) {
	p := &parser{query: query}
	for _, o := range opts {
		o(p)
	}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *ParseError:
			err = r
		default:
			panic(r)
		}
	}()
	if len(query) > MaxQueryBytes {
		p.general(0, "input size too long (%d > %d)", len(query), MaxQueryBytes)
	}
	p.toks = lex(query)
	p.subqueries = slices.ContainsFunc(p.toks, func(t token) bool { return t.kind == tSubquery || t.kind == tError })
	rule(p)
	p.checkSelectors()
	return nil
}

// peek returns the next token without taking it.
func (p *parser) peek() token { return p.toks[p.i] }

// peekAt looks n tokens ahead; peekAt(0) is peek.
func (p *parser) peekAt(n int) token { return p.toks[min(p.i+n, len(p.toks)-1)] }

// next takes a token. The last one, tEOF or tError, stays.
func (p *parser) next() token {
	t := p.toks[p.i]
	if p.i < len(p.toks)-1 {
		p.i++
	}
	return t
}

// accept takes the next token if it is a k.
func (p *parser) accept(k kind) bool {
	if p.peek().kind != k {
		return false
	}
	p.next()
	return true
}

// expect takes a token that has to be a k.
func (p *parser) expect(k kind) token {
	t := p.peek()
	if t.kind != k {
		p.unexpected(t, kindNames[k])
	}
	return p.next()
}

// enter counts a level of nesting; the caller defers leave.
func (p *parser) enter() {
	if p.depth++; p.depth > maxDepth {
		p.syntax(p.peek().pos, fmt.Sprintf("query is nested too deep (limit: %d levels)", maxDepth))
	}
}

func (p *parser) leave() { p.depth-- }

// maxMsgBytes cuts messages that quote a long string of the query.
const maxMsgBytes = 500

// fail panics with an error at pos.
func (p *parser) fail(pos Pos, general bool, msg string) {
	if len(msg) > maxMsgBytes {
		msg = strings.ToValidUTF8(msg[:maxMsgBytes], "") + "..."
	}
	line, col := pos.LineCol(p.query)
	panic(&ParseError{Line: line, Col: col, Offset: pos, Msg: msg, Query: p.query, General: general})
}

// syntax reports a malformed text.
func (p *parser) syntax(pos Pos, msg string) { p.fail(pos, false, msg) }

// general reports something well-formed that cannot be meant.
func (p *parser) general(pos Pos, format string, args ...any) {
	p.fail(pos, true, fmt.Sprintf(format, args...))
}

// maxExpected is the longest list of alternatives an error shows, as with yacc.
const maxExpected = 4

// unexpected reports that t cannot stand where it is. The expected names, if
// not too many, are shown; hints are made from what stands there.
func (p *parser) unexpected(t token, expected ...string) {
	if t.kind == tError {
		p.syntax(t.pos, t.text)
	}
	if t.kind == tSubquery {
		p.unexpectedHint(t, subqueryHint, expected...)
	}
	msg := "syntax error: unexpected " + t.name()
	if 0 < len(expected) && len(expected) <= maxExpected {
		msg += ", expecting " + strings.Join(expected, " or ")
	}
	p.syntax(t.pos, msg+p.hint(t))
}

// unexpectedHint is unexpected with a hint of the caller's.
func (p *parser) unexpectedHint(t token, hint string, expected ...string) {
	if own := p.hint(t); t.kind == tError || own != "" && t.kind != tSubquery {
		p.unexpected(t, expected...)
	}
	msg := "syntax error: unexpected " + t.name()
	if len(expected) > 0 {
		msg += ", expecting " + strings.Join(expected, " or ")
	}
	p.syntax(t.pos, msg+" ("+hint+")")
}

// end checks that nothing follows a whole expression.
func (p *parser) end(e Expr) {
	t := p.peek()
	if t.kind == tEOF {
		return
	}
	if _, ok := e.(*LogSelector); ok {
		switch t.kind {
		case tRange:
			p.unexpectedHint(t, "a range is only meant inside a function such as rate(...)")
		case tOffset:
			p.unexpectedHint(t, "offset follows a range such as [5m]")
		}
	}
	p.unexpected(t)
}

// checkSelectors refuses selectors that would read every stream.
func (p *parser) checkSelectors() {
	if p.allowEmpty {
		return
	}
	for _, s := range p.selectors {
		narrows := func(m *labels.Matcher) bool { return !m.Matches("") }
		if !slices.ContainsFunc(s.Matchers, narrows) {
			p.general(s.Position, `queries require at least one regexp or equality matcher that does not have an `+
				`empty-compatible value. For instance, app=~".*" does not meet this requirement, but app=~".+" will`)
		}
	}
}
