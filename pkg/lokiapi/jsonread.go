package lokiapi

import (
	"bytes"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// maxJSONDepth bounds nesting of values that are skipped.
const maxJSONDepth = 64

// SyntaxError says where a JSON body stops being what was expected.
type SyntaxError struct {
	Offset int // bytes from the start of the body, negative if unknown
	Msg    string
}

func (e *SyntaxError) Error() string {
	if e.Offset < 0 {
		return "invalid JSON: " + e.Msg
	}
	return fmt.Sprintf("invalid JSON at byte %d: %s", e.Offset, e.Msg)
}

// jsonReader reads JSON from a buffer that it owns: strings are unescaped in
// place (an escape is never shorter than what it stands for) and alias the
// buffer. The first error sticks; callers check err at the end of a step.
type jsonReader struct {
	b   []byte
	i   int
	err error
}

func (r *jsonReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = &SyntaxError{Offset: r.i, Msg: fmt.Sprintf(format, args...)}
	}
}

// peek skips blanks and returns the next byte, 0 at the end or after an error.
func (r *jsonReader) peek() byte {
	if r.err != nil {
		return 0
	}
	for r.i < len(r.b) {
		switch c := r.b[r.i]; c {
		case ' ', '\t', '\n', '\r':
			r.i++
		default:
			return c
		}
	}
	return 0
}

// accept consumes c if it is next.
func (r *jsonReader) accept(c byte) bool {
	if r.peek() != c || r.err != nil {
		return false
	}
	r.i++
	return true
}

func (r *jsonReader) expect(c byte) {
	if !r.accept(c) {
		r.fail("expected %q", c)
	}
}

// object calls f for each key; f consumes the value. null counts as empty.
func (r *jsonReader) object(f func(key string)) {
	if r.null() {
		return
	}
	r.expect('{')
	if r.accept('}') {
		return
	}
	for r.err == nil {
		key := r.str()
		r.expect(':')
		if r.err != nil {
			return
		}
		f(key)
		if r.accept('}') {
			return
		}
		r.expect(',')
	}
}

// array calls f for each element; f consumes it. null counts as empty.
func (r *jsonReader) array(f func()) {
	if r.null() {
		return
	}
	r.expect('[')
	if r.accept(']') {
		return
	}
	for r.err == nil {
		f()
		if r.accept(']') {
			return
		}
		r.expect(',')
	}
}

// null consumes a null.
func (r *jsonReader) null() bool {
	if r.peek() == 'n' && bytes.HasPrefix(r.b[r.i:], []byte("null")) {
		r.i += 4
		return true
	}
	return false
}

// str reads a string. The result aliases the buffer.
func (r *jsonReader) str() string {
	if r.peek() != '"' {
		r.fail("expected a string")
		return ""
	}
	r.i++
	n := bytes.IndexByte(r.b[r.i:], '"')
	if n < 0 {
		r.fail("string is not terminated")
		return ""
	}
	part := r.b[r.i : r.i+n]
	if bytes.IndexByte(part, '\\') >= 0 {
		return r.unescape(r.i)
	}
	r.i += n + 1
	return r.checked(part)
}

// checked refuses control characters, as JSON does, and returns b as a string.
func (r *jsonReader) checked(b []byte) string {
	for _, c := range b {
		if c < 0x20 {
			r.fail("control character in string")
			return ""
		}
	}
	return alias(b)
}

// alias views b as a string without a copy.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// unescape reads the string that begins at start and writes it unescaped over itself.
func (r *jsonReader) unescape(start int) string {
	w := start
	i := start
	for i < len(r.b) {
		c := r.b[i]
		switch {
		case c == '"':
			r.i = i + 1
			return alias(r.b[start:w])
		case c < 0x20:
			r.i = i
			r.fail("control character in string")
			return ""
		case c != '\\':
			r.b[w] = c
			w++
			i++
		default:
			size, n := r.escape(i, w)
			if n == 0 {
				r.i = i
				r.fail("bad escape sequence in string")
				return ""
			}
			w += size
			i += n
		}
	}
	r.i = i
	r.fail("string is not terminated")
	return ""
}

// escape decodes the escape sequence at i to position w. It returns the bytes
// written and read, 0 read for a bad one.
func (r *jsonReader) escape(i, w int) (written, read int) {
	if i+1 >= len(r.b) {
		return 0, 0
	}
	c := r.b[i+1]
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		u, ok := hex4(r.b[i+2:])
		if !ok {
			return 0, 0
		}
		read = 6
		if utf16.IsSurrogate(u) {
			low, ok := rune(0), false
			if rest := r.b[i+6:]; len(rest) >= 6 && rest[0] == '\\' && rest[1] == 'u' {
				low, ok = hex4(rest[2:])
			}
			if u = utf16.DecodeRune(u, low); ok && u != utf8.RuneError {
				read = 12
			} else {
				u = utf8.RuneError
			}
		}
		return utf8.EncodeRune(r.b[w:w+utf8.UTFMax:w+utf8.UTFMax], u), read
	default:
		return 0, 0
	}
	r.b[w] = c
	return 1, 2
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var u rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		u = u<<4 | rune(c)
	}
	return u, true
}

// skip passes over any value without touching it and returns its raw bytes.
// It finds where the value ends; it does not check every detail inside.
func (r *jsonReader) skip() []byte {
	r.peek()
	start := r.i
	depth := 0
	for r.err == nil {
		switch c := r.peek(); c {
		case 0:
			r.fail("unexpected end or NUL")
			return nil
		case '"':
			r.skipString()
		case '{', '[':
			if depth++; depth > maxJSONDepth {
				r.fail("nested deeper than %d", maxJSONDepth)
			}
			r.i++
			continue
		case '}', ']':
			if depth == 0 {
				r.fail("expected a value")
				return nil
			}
			depth--
			r.i++
		case ',', ':':
			if depth == 0 {
				r.fail("expected a value")
				return nil
			}
			r.i++
			continue
		default:
			r.scalar()
		}
		if depth == 0 && r.err == nil {
			return r.b[start:r.i]
		}
	}
	return nil
}

// skipString passes over a string without unescaping it.
func (r *jsonReader) skipString() {
	for i := r.i + 1; i < len(r.b); i++ {
		switch r.b[i] {
		case '\\':
			i++
		case '"':
			r.i = i + 1
			return
		}
	}
	r.fail("string is not terminated")
}

// scalar passes over a number, true, false or null and returns its text.
func (r *jsonReader) scalar() []byte {
	r.peek()
	start := r.i
	for r.i < len(r.b) {
		c := r.b[r.i]
		if !isNameByte(c, false) && c != '+' && c != '-' && c != '.' {
			break
		}
		r.i++
	}
	if r.i == start {
		r.fail("expected a value")
	}
	return r.b[start:r.i]
}

// end checks that nothing but blanks follows.
func (r *jsonReader) end() {
	if r.peek() != 0 || r.err == nil && r.i != len(r.b) {
		r.fail("unexpected text after the value")
	}
}
