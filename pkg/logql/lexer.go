package logql

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/common/model"
)

// lexer cuts a query into tokens.
type lexer struct {
	query string
	pos   int
	toks  []token
}

// lex returns the tokens of the query; the last one is tEOF or tError.
func lex(query string) []token {
	l := &lexer{query: query, toks: make([]token, 0, len(query)/4+4)}
	if i := invalidUTF8(query); i >= 0 {
		// Only the text before it is looked at, so that an earlier error wins.
		l.query = query[:i]
	}
	for {
		t := l.next()
		if t.kind == tEOF && len(l.query) < len(query) {
			t = token{kind: tError, pos: t.pos, end: t.pos, text: "invalid UTF-8 encoding"}
		}
		l.toks = append(l.toks, t)
		if t.kind == tEOF || t.kind == tError {
			break
		}
	}
	markFunctions(l.toks)
	return l.toks
}

// markFunctions turns names that are called into functions: a label may be
// named rate or sum, so the name alone does not tell.
func markFunctions(toks []token) {
	for i := range toks[:len(toks)-1] {
		t := &toks[i]
		if t.kind != tIdent {
			continue
		}
		f, ok := functions[strings.ToLower(t.text)]
		if !ok {
			continue
		}
		switch toks[i+1].kind {
		case tBy, tWithout:
			if f.kind == tFunction {
				continue // takes no grouping
			}
			t.kind, t.op = f.kind, f.op
		case tLeftParen:
			t.kind, t.op = f.kind, f.op
		}
	}
}

func invalidUTF8(s string) int {
	if utf8.ValidString(s) {
		return -1
	}
	for i, r := range s {
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return i
			}
		}
	}
	return -1
}

// next reads one token.
func (l *lexer) next() token {
	l.skipBlanks()
	rest := l.query[l.pos:]
	if rest == "" {
		return token{kind: tEOF, pos: Pos(l.pos), end: Pos(l.pos)}
	}
	switch c := rest[0]; {
	case c == '"' || c == '`':
		return l.str(rest)
	case c == '[':
		return l.rangeToken(rest)
	case isDigit(c) || c == '.' && len(rest) > 1 && isDigit(rest[1]):
		return l.number(rest)
	case strings.HasPrefix(rest, "/*"):
		return l.fail("comment not terminated")
	case strings.HasPrefix(rest, "--") && len(rest) > 2 && isLetter(rest[2]):
		return l.emit(tFlag, wordLen(rest, "-"))
	}
	if n := identLen(rest); n > 0 {
		if k, ok := keywords[strings.ToLower(rest[:n])]; ok {
			return l.emit(k, n)
		}
		return l.emit(tIdent, n)
	}
	if k, ok := foldTokens[rest[:min(3, len(rest))]]; ok && wordLen(rest[2:], "") == 1 {
		return l.emit(k, 3)
	}
	if len(rest) > 1 {
		if k, ok := twoByteTokens[rest[:2]]; ok {
			return l.emit(k, 2)
		}
	}
	if k, ok := oneByteTokens[rest[0]]; ok {
		return l.emit(k, 1)
	}
	return l.illegal(rest)
}

var twoByteTokens = map[string]kind{
	"|=": tPipeContains, "|~": tPipeMatches, "|>": tPipePattern,
	"!=": tNotEqual, "!~": tNotMatch, "!>": tNotPattern,
	"=~": tMatch, "==": tEqual, ">=": tGreaterEqual, "<=": tLessEqual,
}

// foldTokens are line filters in any case. The i stands alone.
var foldTokens = map[string]kind{"|=i": tPipeContainsFold, "!=i": tNotContainsFold}

var oneByteTokens = map[byte]kind{
	'{': tLeftBrace, '}': tRightBrace, '(': tLeftParen, ')': tRightParen, ',': tComma, '|': tPipe, '.': tDot,
	'=': tAssign, '>': tGreater, '<': tLess, '+': tAdd, '-': tSub, '*': tMul, '/': tDiv, '%': tMod, '^': tPow,
}

// skipBlanks moves over white space and comments: # to the end of the line and,
// because Loki takes its words from Go, those of Go.
func (l *lexer) skipBlanks() {
	for l.pos < len(l.query) {
		rest := l.query[l.pos:]
		switch c := rest[0]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			l.pos++
		case c == '#' || strings.HasPrefix(rest, "//"):
			n := strings.IndexByte(rest, '\n')
			if n < 0 {
				n = len(rest)
			}
			l.pos += n
		case strings.HasPrefix(rest, "/*"):
			n := strings.Index(rest[2:], "*/")
			if n < 0 {
				return // next reports it
			}
			l.pos += n + 4
		default:
			return
		}
	}
}

// emit makes a token of the next n bytes.
func (l *lexer) emit(k kind, n int) token {
	t := token{kind: k, pos: Pos(l.pos), end: Pos(l.pos + n), text: l.query[l.pos : l.pos+n]}
	l.pos += n
	return t
}

// fail ends the text with an error at the place of the current token.
func (l *lexer) fail(format string, args ...any) token {
	return token{kind: tError, pos: Pos(l.pos), end: Pos(l.pos), text: fmt.Sprintf(format, args...)}
}

// illegal reports a character that begins no token.
func (l *lexer) illegal(rest string) token {
	switch r, _ := utf8.DecodeRuneInString(rest); r {
	case '\'':
		return l.fail("syntax error: unexpected ' (strings are written in double quotes or backquotes)")
	case '“', '”', '„', '‘', '’', '«', '»':
		return l.fail("syntax error: unexpected %c (strings are written in plain double quotes or backquotes)", r)
	case '$':
		return l.fail("syntax error: unexpected $ (a dashboard variable that was not filled in?)")
	case '!':
		return l.fail("syntax error: unexpected !, expecting != or !~ or !>")
	default:
		return l.fail("syntax error: unexpected character %s", strconv.QuoteRune(r))
	}
}

// str reads a string literal.
func (l *lexer) str(rest string) token {
	n := stringLen(rest)
	if n < 0 {
		return l.fail("literal not terminated")
	}
	value, err := strconv.Unquote(rest[:n])
	if err != nil {
		return l.fail("invalid char escape%s", badEscape(rest[1:n-1]))
	}
	t := l.emit(tString, n)
	t.text = value
	return t
}

// stringLen is the length of the literal that s begins with, or -1.
func stringLen(s string) int {
	if s[0] == '`' {
		n := strings.IndexByte(s[1:], '`')
		if n < 0 {
			return -1
		}
		return n + 2
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		case '\n':
			return -1
		}
	}
	return -1
}

// badEscape names the first escape of body that strconv refuses, with the way out.
func badEscape(body string) string {
	for len(body) > 0 {
		_, _, tail, err := strconv.UnquoteChar(body, '"')
		if err != nil {
			bad := body
			if _, size := utf8.DecodeRuneInString(body[1:]); size > 0 {
				bad = body[:1+size]
			}
			return fmt.Sprintf(" %s (write \\%s, or put the text in backquotes)", bad, bad)
		}
		body = tail
	}
	return ""
}

// rangeToken reads "[5m]" or "[1h:5m]".
func (l *lexer) rangeToken(rest string) token {
	n := strings.IndexByte(rest, ']')
	if n < 0 {
		return l.fail("missing closing ']' in duration")
	}
	length, step, sub := strings.Cut(rest[1:n], ":")
	d, err := l.rangeLength(length)
	if err != nil {
		return l.fail("%s", err)
	}
	if !sub {
		t := l.emit(tRange, n+1)
		t.whole = d
		return t
	}
	var every uint64
	if strings.TrimSpace(step) != "" {
		if every, err = l.rangeLength(step); err == nil && every == 0 {
			err = errors.New("the step of a subquery is 0")
		}
	}
	if err == nil && d == 0 {
		err = errors.New("the range of a subquery is 0")
	}
	if err != nil {
		return l.fail("%s", err)
	}
	t := l.emit(tSubquery, n+1)
	t.whole, t.step = d, every
	return t
}

// rangeLength reads a length of time inside brackets.
func (l *lexer) rangeLength(text string) (uint64, error) {
	text = strings.TrimSpace(text)
	d, err := model.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%w%s", err, rangeHint(text))
	}
	return uint64(d), nil
}

// rangeHint explains the usual mistakes inside brackets.
func rangeHint(text string) string {
	switch {
	case strings.Contains(text, "$"):
		return " (a dashboard variable that was not filled in?)"
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 && d%time.Millisecond == 0 {
		return " (write " + formatRangeLength(d) + ")"
	}
	return ""
}

// number reads a number, a duration or a number of bytes. Of something else
// that begins with digits (20kb) it takes the number and leaves the letters.
func (l *lexer) number(rest string) token {
	n := max(numberLen(rest), hexNumberLen(rest))
	// Both micro signs are letters; a sign of an exponent is not.
	if run := wordLen(rest, "."); run > n {
		if d, err := parseDuration(rest[:run]); err == nil {
			t := l.emit(tDuration, run)
			t.whole = uint64(d)
			return t
		}
		if b, ok := parseBytes(rest[:run]); ok {
			t := l.emit(tBytes, run)
			t.whole = b
			return t
		}
	}
	v, err := strconv.ParseFloat(strings.ReplaceAll(rest[:n], "_", ""), 64)
	if err != nil {
		return l.fail("number %s is out of range", rest[:n])
	}
	t := l.emit(tNumber, n)
	t.number = v
	return t
}

// numberLen is the length of the decimal float that s begins with. As in Go
// there may be an underscore between two digits.
func numberLen(s string) int {
	digits := func(i int) int {
		start := i
		for i < len(s) && (isDigit(s[i]) || s[i] == '_' && i > start && s[i-1] != '_' && i+1 < len(s) && isDigit(s[i+1])) {
			i++
		}
		return i
	}
	n := digits(0)
	if n < len(s) && s[n] == '.' {
		n = digits(n + 1)
	}
	if n < len(s) && (s[n] == 'e' || s[n] == 'E') {
		e := n + 1
		if e < len(s) && (s[e] == '+' || s[e] == '-') {
			e++
		}
		if end := digits(e); end > e {
			n = end
		}
	}
	return n
}

// hexNumberLen is the length of the hexadecimal float that s begins with, such
// as 0x1.8p3. As in Loki only its exponent makes a number of it.
func hexNumberLen(s string) int {
	if len(s) < 2 || s[0] != '0' || s[1]|0x20 != 'x' {
		return 0
	}
	mantissa := len(s) - len(strings.TrimLeft(s[2:], "0123456789abcdefABCDEF_."))
	if mantissa == len(s) || s[mantissa]|0x20 != 'p' {
		return 0
	}
	exponent := strings.TrimPrefix(strings.TrimPrefix(s[mantissa+1:], "+"), "-")
	end := len(s) - len(strings.TrimLeft(exponent, "0123456789"))
	if _, err := strconv.ParseFloat(s[:end], 64); errors.Is(err, strconv.ErrSyntax) {
		return 0
	}
	return end
}

// identLen is the length of the identifier that s begins with, or 0.
func identLen(s string) int {
	if r, _ := utf8.DecodeRuneInString(s); unicode.IsDigit(r) {
		return 0
	}
	return wordLen(s, "")
}

// wordLen is the length of the run of letters, digits, underscores and the
// characters of extra that s begins with.
func wordLen(s, extra string) int {
	for i, r := range s {
		if !isWordRune(r) && !strings.ContainsRune(extra, r) {
			return i
		}
	}
	return len(s)
}

func isWordRune(r rune) bool {
	return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r)
}
