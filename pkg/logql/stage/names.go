package stage

import (
	"strings"
	"unicode/utf8"
)

// isASCII says that s has no byte above 0x7f.
func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func validUTF8(s string) bool { return utf8.ValidString(s) }

// appendValid appends s with each invalid byte replaced by a blank.
func appendValid(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			dst = append(dst, ' ')
		} else {
			dst = append(dst, s[i:i+n]...)
		}
		i += n
	}
	return dst
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= '0' && c <= '9'
}

// isName says whether s can be a label name as it is.
func isName(s string) bool {
	if s == "" || s[0] >= '0' && s[0] <= '9' {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !isNameByte(s[i]) {
			return false
		}
	}
	return true
}

// appendName appends s as a label name: each character that a name cannot have
// becomes an underscore. A digit at the start of the name gets one before it;
// first says whether s starts the name.
func appendName(dst []byte, s string, first bool) []byte {
	s = strings.TrimSpace(s)
	if first && s != "" && s[0] >= '0' && s[0] <= '9' {
		dst = append(dst, '_')
	}
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if !isNameByte(c) {
				c = '_'
			}
			dst = append(dst, c)
			i++
			continue
		}
		_, n := utf8.DecodeRuneInString(s[i:])
		dst = append(dst, '_')
		i += n
	}
	return dst
}

// SanitizeName turns any key into a label name, as the parsers do.
func SanitizeName(s string) string {
	if isName(s) {
		return s
	}
	return string(appendName(nil, s, true))
}

// labelName returns key as a label name that is valid until the next Reset.
func (b *Builder) labelName(key string) string {
	if isName(key) {
		return key
	}
	n := len(b.scratch)
	b.scratch = appendName(b.scratch, key, true)
	return b.tail(n)
}
