package stage

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxJSONDepth bounds the nesting that the json stage follows.
const maxJSONDepth = 256

// maxJSONScratch bounds the memory in bytes for names and values of a line: the
// names of nested keys repeat what they are nested in, and a key of 128 KiB
// around 20,000 others would take gigabytes.
const maxJSONScratch = 8 << 20

// The ways in which a line can fail to be JSON.
var (
	errJSONObject = errors.New("the line is not a JSON object")
	errJSONEnd    = errors.New("the JSON object ends too early")
	errJSONKey    = errors.New("expected a key in double quotes in the JSON object")
	errJSONColon  = errors.New("expected a colon after a key of the JSON object")
	errJSONComma  = errors.New("expected a comma or a closing bracket in the JSON value")
	errJSONValue  = errors.New("expected a JSON value")
	errJSONDepth  = errors.New("the JSON value is nested too deeply")
	errJSONNames  = fmt.Errorf("the labels of the JSON object need more than %d MiB", maxJSONScratch>>20)
)

// jsonKind is the type of a JSON value.
type jsonKind uint8

const (
	jsonString jsonKind = iota
	jsonNumber
	jsonBool
	jsonNull
	jsonObject
	jsonArray
)

// jsonScanner reads JSON text from left to right without building a tree. It
// is as lenient as it can be without guessing: raw control characters in
// strings and text behind the value are not its business.
type jsonScanner struct {
	s string
	i int
}

func (p *jsonScanner) space() {
	for p.i < len(p.s) {
		switch p.s[p.i] {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return
		}
	}
}

// peek skips blanks and returns the next byte, 0 at the end.
func (p *jsonScanner) peek() byte {
	p.space()
	if p.i < len(p.s) {
		return p.s[p.i]
	}
	return 0
}

// str reads a string whose opening quote is next. The text between the quotes
// is returned as it stands.
func (p *jsonScanner) str() (raw string, escaped bool, err error) {
	p.i++
	start := p.i
	for quote := -1; ; {
		// It is looked for once, not behind each escape: there may be 100,000.
		if quote < p.i {
			j := strings.IndexByte(p.s[p.i:], '"')
			if j < 0 {
				return "", false, errJSONEnd
			}
			quote = p.i + j
		}
		if k := strings.IndexByte(p.s[p.i:quote], '\\'); k >= 0 {
			escaped = true
			p.i += k + 2 // the quote may be what is escaped
			continue
		}
		p.i = quote + 1
		return p.s[start:quote], escaped, nil
	}
}

// value reads any value and returns its text: that of a string between the
// quotes, that of an object or array with its brackets.
func (p *jsonScanner) value() (raw string, kind jsonKind, escaped bool, err error) {
	c := p.peek()
	start := p.i
	switch {
	case c == '"':
		raw, escaped, err = p.str()
		return raw, jsonString, escaped, err
	case c == '{' || c == '[':
		if err := p.skipNested(); err != nil {
			return "", 0, false, err
		}
		kind = jsonObject
		if c == '[' {
			kind = jsonArray
		}
		return p.s[start:p.i], kind, false, nil
	case c == '-' || c >= '0' && c <= '9':
		for p.i < len(p.s) && isNumberByte(p.s[p.i]) {
			p.i++
		}
		return p.s[start:p.i], jsonNumber, false, nil
	}
	for _, w := range [...]struct {
		text string
		kind jsonKind
	}{{"true", jsonBool}, {"false", jsonBool}, {"null", jsonNull}} {
		if strings.HasPrefix(p.s[p.i:], w.text) {
			p.i += len(w.text)
			return w.text, w.kind, false, nil
		}
	}
	if c == 0 {
		return "", 0, false, errJSONEnd
	}
	return "", 0, false, errJSONValue
}

func isNumberByte(c byte) bool {
	return c >= '0' && c <= '9' || c == '.' || c == '-' || c == '+' || c == 'e' || c == 'E'
}

// skipNested skips an object or array, looking only at brackets and strings.
func (p *jsonScanner) skipNested() error {
	depth := 0
	for p.i < len(p.s) {
		switch p.s[p.i] {
		case '"':
			if _, _, err := p.str(); err != nil {
				return err
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
			if depth == 0 {
				p.i++
				return nil
			}
		}
		p.i++
	}
	return errJSONEnd
}

// member reads the key of the next member of an object, up to the colon, with
// the scanner behind "{" or the previous value. more is false at "}".
func (p *jsonScanner) member(first bool) (key string, escaped, more bool, err error) {
	c := p.peek()
	if c == '}' {
		p.i++
		return "", false, false, nil
	}
	if !first {
		if c != ',' {
			if c == 0 {
				return "", false, false, errJSONEnd
			}
			return "", false, false, errJSONComma
		}
		p.i++
		c = p.peek()
		if c == '}' { // a trailing comma
			p.i++
			return "", false, false, nil
		}
	}
	switch c {
	case '"':
	case 0:
		return "", false, false, errJSONEnd
	default:
		return "", false, false, errJSONKey
	}
	if key, escaped, err = p.str(); err != nil {
		return "", false, false, err
	}
	switch p.peek() {
	case ':':
		p.i++
		return key, escaped, true, nil
	case 0:
		return "", false, false, errJSONEnd
	}
	return "", false, false, errJSONColon
}

// element goes to the next element of an array, with the scanner behind "["
// or the previous value. more is false at "]".
func (p *jsonScanner) element(first bool) (more bool, err error) {
	c := p.peek()
	if c == ']' {
		p.i++
		return false, nil
	}
	if !first {
		if c == 0 {
			return false, errJSONEnd
		}
		if c != ',' {
			return false, errJSONComma
		}
		p.i++
	}
	return true, nil
}

// appendUnescaped appends the meaning of the text between the quotes of a JSON
// string. An escape that has none stays as it is.
func appendUnescaped(dst []byte, s string) []byte {
	for {
		k := strings.IndexByte(s, '\\')
		if k < 0 || k+1 >= len(s) {
			return append(dst, s...)
		}
		dst = append(dst, s[:k]...)
		s = s[k:]
		switch c := s[1]; c {
		case '"', '\\', '/', '\'':
			dst = append(dst, c)
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, n := unicodeEscape(s)
			if n == 0 {
				dst = append(dst, s[:2]...)
				break
			}
			dst = utf8.AppendRune(dst, r)
			s = s[n:]
			continue
		default:
			dst = append(dst, s[:2]...)
		}
		s = s[2:]
	}
}

// unicodeEscape reads \uXXXX at the start of s, or a surrogate pair of two, and
// the number of bytes it takes; 0 where it is malformed.
func unicodeEscape(s string) (rune, int) {
	r := hex4(s)
	if r < 0 {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if len(s) >= 12 && s[6] == '\\' && s[7] == 'u' {
		if d := utf16.DecodeRune(r, hex4(s[6:])); d != utf8.RuneError {
			return d, 12
		}
	}
	return utf8.RuneError, 6
}

// hex4 reads the four digits of \uXXXX, or returns -1.
func hex4(s string) rune {
	if len(s) < 6 {
		return -1
	}
	var r rune
	for _, c := range []byte(s[2:6]) {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// unescape returns the meaning of a JSON string's text, valid until the next Reset.
func (b *Builder) unescape(raw string) string {
	n := len(b.scratch)
	b.scratch = appendUnescaped(b.scratch, raw)
	return b.tail(n)
}
