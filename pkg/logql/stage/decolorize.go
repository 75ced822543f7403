package stage

import "strings"

// decolorizeStage is "| decolorize": it takes ANSI escape sequences (colours,
// cursor movements, titles) out of the line.
type decolorizeStage struct{}

// NewDecolorize returns the decolorize stage.
func NewDecolorize() Stage { return decolorizeStage{} }

const (
	escByte = 0x1b
	// csiC1 is the one-character form of ESC [ in UTF-8, U+009B.
	csiC1 = "\u009b"
)

func (decolorizeStage) Process(_ int64, line string, b *Builder) (string, bool) {
	if strings.IndexByte(line, escByte) < 0 && !strings.Contains(line, csiC1) {
		return line, true
	}
	n := len(b.scratch)
	for i := 0; i < len(line); {
		if skip := escapeLen(line[i:]); skip > 0 {
			i += skip
			continue
		}
		b.scratch = append(b.scratch, line[i])
		i++
	}
	return b.tail(n), true
}

// escapeLen is the length of the escape sequence that s begins with, 0 if none
// does. A sequence that the line cuts off counts too; a lone ESC does not.
func escapeLen(s string) int {
	switch {
	case strings.HasPrefix(s, csiC1):
		return controlSequence(s, len(csiC1))
	case len(s) < 2 || s[0] != escByte:
		return 0
	case s[1] == '[':
		return controlSequence(s, 2)
	case s[1] == ']': // operating system command, ended by BEL or ESC \
		for i := 2; i < len(s); i++ {
			if s[i] == 0x07 {
				return i + 1
			}
			if s[i] == escByte && i+1 < len(s) && s[i+1] == '\\' {
				return i + 2
			}
		}
		return 2
	case s[1] == '(' || s[1] == ')': // character set
		return min(3, len(s))
	case s[1] >= '0' && s[1] <= '~':
		return 2
	}
	return 0
}

// controlSequence is the length of parameters, intermediates and final byte
// behind the introducer of n bytes.
func controlSequence(s string, n int) int {
	for i := n; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 0x20 && c <= 0x3f:
		case c >= 0x40 && c <= 0x7e:
			return i + 1
		default:
			return i
		}
	}
	return len(s)
}
