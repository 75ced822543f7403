package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// pty opens a terminal of that many columns: what is written to the second is
// read from the first.
func pty(t *testing.T, columns uint16) (screen, terminal *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { screen.Close() })
	fd := int(screen.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return screen, terminal
}

// onTerminal returns what a command shows on a terminal.
func onTerminal(t *testing.T, columns uint16, env []string, args ...string) string {
	t.Helper()
	screen, terminal := pty(t, columns)
	cmd := process(t, args...)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	terminal.Close()
	// Reading ends with EIO when the last writer has closed it.
	var shown bytes.Buffer
	_, _ = io.Copy(&shown, screen)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%q: %v\n%s", args, err, &shown)
	}
	return strings.ReplaceAll(shown.String(), "\r\n", "\n")
}

// TestColour: escape sequences go to terminals that want them, and nowhere else.
func TestColour(t *testing.T) {
	addr := startCollector(t)
	query := []string{"query", `{app=~"web|db"}`, "--addr", addr, "--from", "2026-03-05", "--to", "2026-03-06"}
	for _, tc := range []struct {
		name string
		env  []string
		args []string
		want bool
	}{
		{"terminal", nil, nil, true},
		{"NO_COLOR", []string{"NO_COLOR=1"}, nil, false},
		{"TERM=dumb", []string{"TERM=dumb"}, nil, false},
		{"never", nil, []string{"--color=never"}, false},
		{"always beats NO_COLOR", []string{"NO_COLOR=1"}, []string{"--color=always"}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			shown := onTerminal(t, 120, tc.env, append(query, tc.args...)...)
			if strings.Contains(shown, "\x1b[") != tc.want || !strings.Contains(shown, "deadlock") {
				t.Errorf("escape sequences: want %v:\n%q", tc.want, shown)
			}
		})
	}
	t.Run("pipe", func(t *testing.T) {
		out, err := process(t, query...).Output()
		if err != nil || bytes.Contains(out, []byte("\x1b")) || !bytes.Contains(out, []byte("deadlock")) {
			t.Errorf("%v, %q", err, out)
		}
	})
}

// TestWidth: charts and bars keep to the terminal's columns, whatever they are.
func TestWidth(t *testing.T) {
	addr := startCollector(t)
	day := []string{"--addr", addr, "--from", "2026-03-05T11:00", "--to", "2026-03-05T13:00", "--color=never"}
	for _, command := range [][]string{
		{"query", `sum by (app) (count_over_time({app=~".+"}[1m]))`, "-o", "chart"},
		{"volume"}, {"volume", "-o", "chart"}, {"patterns", `{app="web"}`},
	} {
		for _, columns := range []uint16{60, 90, 200} {
			t.Run(fmt.Sprint(strings.Join(command, " "), " ", columns), func(t *testing.T) {
				shown := onTerminal(t, columns, nil, append(command, day...)...)
				for line := range strings.Lines(shown) {
					if n := len([]rune(strings.TrimRight(line, "\n"))); n > int(columns) {
						t.Errorf("%d columns: %q", n, line)
					}
				}
				if strings.Count(shown, "\n") < 2 {
					t.Errorf("shown: %q", shown)
				}
			})
		}
	}
}
