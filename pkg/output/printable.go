package output

import (
	"fmt"
	"strings"
)

// Line keeps a log line from steering the terminal: control characters other
// than tab, newline (a stack trace has some) and colours are shown, not sent.
// What goes elsewhere stays as it is.
func (t Terminal) Line(s string) string { return t.printable(s, true) }

// Cell does the same for what has to stay on its line and in its column: a name,
// a label's value, a cell of a table.
func (t Terminal) Cell(s string) string { return t.printable(s, false) }

func (t Terminal) printable(s string, line bool) string {
	steers := isControl
	if line {
		steers = func(r rune) bool { return isControl(r) && r != '\t' && r != '\n' }
	}
	if !t.Interactive || strings.IndexFunc(s, steers) < 0 {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case !steers(r), line && isColour(s[i:]):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x80:
			fmt.Fprintf(&b, "\\x%02x", r)
		default:
			fmt.Fprintf(&b, "\\u%04x", r)
		}
	}
	return b.String()
}

// isControl finds C0, DEL and C1: terminals take U+009B for ESC [.
func isControl(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }

// isColour says whether s begins with an SGR sequence, the only harmless kind.
func isColour(s string) bool {
	if !strings.HasPrefix(s, "\x1b[") {
		return false
	}
	for i := 2; i < len(s) && i < 24; i++ {
		switch c := s[i]; {
		case c == 'm':
			return true
		case c != ';' && (c < '0' || c > '9'):
			return false
		}
	}
	return false
}
