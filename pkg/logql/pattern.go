package logql

import (
	"errors"
	"fmt"
)

// PatternPart is a piece of a pattern: literal text or a capture.
type PatternPart struct {
	// Capture is true for <name> and <_>.
	Capture bool
	// Name is the label of a capture; "" for <_>.
	Name string
	// Literal is the text to find where Capture is false; never "".
	Literal string
}

// What a pattern can have wrong.
var (
	errPatternEmpty     = errors.New("empty pattern")
	errPatternNoCapture = errors.New("at least one named capture is required, such as <status>")
	errPatternNamed     = errors.New("named captures are not allowed here: write <_>")
)

// ParsePattern reads the text of a pattern stage: "<ip> - <_> [<time>]". There
// is at least one named capture, no name occurs twice, and no two captures
// stand side by side (nothing would tell where one ends).
func ParsePattern(text string) ([]PatternPart, error) {
	if text == "" {
		return nil, errPatternEmpty
	}
	parts, err := splitPattern(text)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, p := range parts {
		if p.Name == "" {
			continue
		}
		if seen[p.Name] {
			return nil, fmt.Errorf("duplicate capture name <%s>", p.Name)
		}
		seen[p.Name] = true
	}
	if len(seen) == 0 {
		return nil, errPatternNoCapture
	}
	return parts, nil
}

// ParseLinePattern reads the operand of |> and !>: literals and <_>. The empty
// text has no parts and is accepted: it matches the empty line.
func ParseLinePattern(text string) ([]PatternPart, error) {
	parts, err := splitPattern(text)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		if p.Name != "" {
			return nil, fmt.Errorf("%w, found <%s>", errPatternNamed, p.Name)
		}
	}
	return parts, nil
}

// splitPattern cuts text at its captures. A "<" that begins no well-formed
// capture is literal text.
func splitPattern(text string) ([]PatternPart, error) {
	var parts []PatternPart
	literal := 0
	for i := 0; i < len(text); {
		end := captureEnd(text, i)
		if end < 0 {
			i++
			continue
		}
		if literal < i {
			parts = append(parts, PatternPart{Literal: text[literal:i]})
		} else if len(parts) > 0 {
			return nil, fmt.Errorf("captures side by side at byte %d: put text between them", i)
		}
		name := text[i+1 : end-1]
		if name == "_" {
			name = ""
		}
		parts = append(parts, PatternPart{Capture: true, Name: name})
		i, literal = end, end
	}
	if literal < len(text) {
		parts = append(parts, PatternPart{Literal: text[literal:]})
	}
	return parts, nil
}

// captureEnd returns the offset behind the capture that begins at i, or -1.
func captureEnd(text string, i int) int {
	if text[i] != '<' || i+1 >= len(text) || !isIdentStart(text[i+1]) {
		return -1
	}
	for j := i + 2; j < len(text); j++ {
		switch {
		case text[j] == '>':
			return j + 1
		case !isIdentPart(text[j]):
			return -1
		}
	}
	return -1
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

func isIdentStart(c byte) bool { return c == '_' || isLetter(c) }

func isIdentPart(c byte) bool { return isIdentStart(c) || isDigit(c) }
