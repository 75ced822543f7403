package logql

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxSubstrings is the most that RequiredSubstrings returns: more would cost
// more than they can save.
const maxSubstrings = 32

// RequiredSubstrings returns byte strings all of which occur in every stored
// line that can pass the stages, for skipping what cannot match. They come from
// |=, from literals that |~ cannot do without and from |>, as long as no stage
// before has changed the line. They are compared as bytes, so nothing comes of
// the case-insensitive part of an expression. The list has no empty string and
// none that is part of another.
func (n *LogSelector) RequiredSubstrings() []string {
	var list []string
	for _, s := range n.Stages {
		switch s := s.(type) {
		case *LineFilter:
			if len(s.Operands) == 1 && !s.Operands[0].IP {
				list = append(list, operandSubstrings(s.Op, s.Operands[0].Text)...)
			}
		case *LineFormat, *Unpack, *Decolorize, *DistinctLabels:
			return withoutParts(list)
		}
	}
	return withoutParts(list)
}

func operandSubstrings(op LineFilterOp, text string) []string {
	switch op {
	case LineContains:
		return []string{text}
	case LineContainsFold:
		return regexpSubstrings("(?i)" + regexp.QuoteMeta(text))
	case LineMatches:
		return regexpSubstrings(text)
	case LinePattern:
		parts, err := ParseLinePattern(text)
		if err != nil {
			return nil
		}
		var list []string
		for _, p := range parts {
			list = append(list, p.Literal)
		}
		return list
	}
	return nil
}

func regexpSubstrings(expr string) []string {
	re, err := syntax.Parse(expr, lineRegexpFlags)
	if err != nil {
		return nil
	}
	var c literalCollector
	c.collect(re)
	c.flush()
	return c.list
}

// withoutParts removes empty strings, repetitions and strings inside others,
// and what exceeds maxSubstrings.
func withoutParts(list []string) []string {
	list = list[:min(len(list), maxSubstrings)]
	var kept []string
	for i, s := range list {
		if s != "" && !insideAnother(list, i) {
			kept = append(kept, s)
		}
	}
	return kept
}

// insideAnother says whether list[i] is part of a longer string of the list or
// equal to an earlier one.
func insideAnother(list []string, i int) bool {
	for j, s := range list {
		if j != i && strings.Contains(s, list[i]) && (len(s) > len(list[i]) || j < i) {
			return true
		}
	}
	return false
}

// literalCollector gathers the literal text that every match of an expression
// contains.
type literalCollector struct {
	list []string
	// run is literal text that what comes next may extend.
	run []byte
}

func (c *literalCollector) flush() {
	if len(c.run) > 0 {
		c.list = append(c.list, string(c.run))
		c.run = c.run[:0]
	}
}

func (c *literalCollector) collect(re *syntax.Regexp) {
	switch re.Op {
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			// U+FFFD also matches any invalid byte; a rune with another case
			// matches that too.
			if r == utf8.RuneError || re.Flags&syntax.FoldCase != 0 && unicode.SimpleFold(r) != r {
				c.flush()
				continue
			}
			c.run = utf8.AppendRune(c.run, r)
		}
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			c.collect(sub)
		}
	case syntax.OpCapture:
		c.collect(re.Sub[0])
	case syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText,
		syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		// No width: what stands before and behind touches.
	case syntax.OpPlus:
		c.once(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			c.once(re.Sub[0])
			return
		}
		c.flush()
	default:
		c.flush()
	}
}

// once collects from something that occurs at least once.
func (c *literalCollector) once(re *syntax.Regexp) {
	c.flush()
	c.collect(re)
	c.flush()
}
