package output

import "testing"

// Hostile text cannot steer the terminal.
func TestPrintable(t *testing.T) {
	for _, tt := range []struct{ in, line, cell string }{
		{"plain", "plain", "plain"},
		{"trace\n\tat x", "trace\n\tat x", `trace\n\tat x`},
		{"\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m", `\x1b[31mred\x1b[0m`},
		{"\x1b]0;title\x07", `\x1b]0;title\x07`, `\x1b]0;title\x07`},
		{"\x1b[2J", `\x1b[2J`, `\x1b[2J`},
		{"\x1b[31", `\x1b[31`, `\x1b[31`},
		{"\u009b2J", `\u009b2J`, `\u009b2J`},
		{"over\rwritten", `over\x0dwritten`, `over\x0dwritten`},
		{"bad \x00 \x7f", `bad \x00 \x7f`, `bad \x00 \x7f`},
		{"äé日本\u00a0🎉", "äé日本\u00a0🎉", "äé日本\u00a0🎉"},
		{"invalid \xff stays", "invalid \xff stays", "invalid \xff stays"},
	} {
		tty := Terminal{Interactive: true}
		if got := tty.Line(tt.in); got != tt.line {
			t.Errorf("line %q: got %q, want %q", tt.in, got, tt.line)
		}
		if got := tty.Cell(tt.in); got != tt.cell {
			t.Errorf("cell %q: got %q, want %q", tt.in, got, tt.cell)
		}
		if got := (Terminal{}).Line(tt.in) + (Terminal{}).Cell(tt.in); got != tt.in+tt.in {
			t.Errorf("%q was changed for a pipe: %q", tt.in, got)
		}
	}
}
