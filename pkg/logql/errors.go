package logql

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// LineCol returns the place of p in query, both counted from 1: the line by
// newlines, the column in characters (runes). Offsets beyond the text count as
// its end.
func (p Pos) LineCol(query string) (line, col int) {
	before := query[:min(max(int(p), 0), len(query))]
	line = 1 + strings.Count(before, "\n")
	return line, 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
}

// ParseError says what is wrong with a query and where.
type ParseError struct {
	// Line and Col count from 1, Col in characters.
	Line, Col int
	// Offset is the same place in bytes.
	Offset Pos
	// Msg is the text without position and without the "parse error" in front.
	Msg string
	// Query is the whole text that was parsed.
	Query string
	// General marks an error about the meaning of something well-formed. Loki
	// reports those without a position, so Error leaves it out; Line, Col,
	// Offset and Caret tell it nevertheless.
	General bool
}

// Error has Loki's shape: "parse error at line 1, col 8: msg", or
// "parse error : msg" for a General one.
func (e *ParseError) Error() string {
	if e.General {
		return "parse error : " + e.Msg
	}
	return fmt.Sprintf("parse error at line %d, col %d: %s", e.Line, e.Col, e.Msg)
}

// minCaretWidth is the narrowest drawing of Caret.
const minCaretWidth = 20

// Caret draws the line of the query that holds the error and, below it, a caret
// at the place: two lines without a final newline. A line longer than width
// characters is cut around the place. A width of 0 never cuts; one below 20
// counts as 20. Control characters are drawn as blanks.
func (e *ParseError) Caret(width int) string {
	lines := strings.Split(e.Query, "\n")
	if e.Line < 1 || e.Line > len(lines) {
		return ""
	}
	line := []rune(lines[e.Line-1])
	for i, r := range line {
		if r < ' ' || r == 0x7f {
			line[i] = ' '
		}
	}
	at := min(max(e.Col-1, 0), len(line))
	if width > 0 {
		line, at = cutAround(line, at, max(width, minCaretWidth))
	}
	return strings.TrimRight(string(line), " ") + "\n" + strings.Repeat(" ", at) + "^"
}

// cutAround returns at most width runes of line around the index at, with dots
// where something was cut, and the new index.
func cutAround(line []rune, at, width int) ([]rune, int) {
	const dots = "..."
	if max(len(line), at+1) <= width {
		return line, at
	}
	if from := at - width/2; from > len(dots) {
		// The caret of an error at the very end needs a column of its own.
		from = min(from, max(len(line), at+1)-width+len(dots))
		line = append([]rune(dots), line[from:]...)
		at += len(dots) - from
	}
	if len(line) > width {
		line = append(line[:width-len(dots):width-len(dots)], []rune(dots)...)
	}
	return line, at
}
