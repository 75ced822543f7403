package output

import (
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// Terminal says how a writer is to be treated.
type Terminal struct {
	// Interactive is true when a person watches: progress may redraw a line.
	Interactive bool
	// Color is true when escape sequences are welcome.
	Color bool
	// Unicode is true when the locale has characters beyond ASCII.
	Unicode bool
	// Width in columns; 0 when unknown or not a terminal: do not wrap.
	Width int
}

// ColorMode is the value of a --color flag.
type ColorMode string

// The colour modes. Auto follows the terminal, NO_COLOR (https://no-color.org)
// and TERM=dumb.
const (
	ColorAuto   ColorMode = "auto"
	ColorAlways ColorMode = "always"
	ColorNever  ColorMode = "never"
)

// Detect looks at the writer and the environment.
func Detect(w io.Writer, mode ColorMode) Terminal {
	t := Terminal{Unicode: unicodeLocale(os.Getenv)}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		t.Interactive = os.Getenv("TERM") != "dumb"
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			t.Width = width
		}
	}
	switch mode {
	case ColorAlways:
		t.Color = true
	case ColorNever:
	default:
		t.Color = t.Interactive && os.Getenv("NO_COLOR") == ""
	}
	return t
}

// unicodeLocale looks at the first of the variables that POSIX looks at for the
// kind of characters. Windows has none of them; its terminal tells by WT_SESSION.
func unicodeLocale(get func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(get(name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return get("WT_SESSION") != ""
}

// Style is a terminal attribute (SGR parameter).
type Style string

// The styles in use. Meaning is never in colour alone.
const (
	Bold   Style = "1"
	Faint  Style = "2"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
	Blue   Style = "34"
	Purple Style = "35"
	Cyan   Style = "36"
)

// Paint wraps s in a style where the terminal shows it.
func (t Terminal) Paint(st Style, s string) string {
	if !t.Color || s == "" {
		return s
	}
	return "\x1b[" + string(st) + "m" + s + "\x1b[0m"
}
