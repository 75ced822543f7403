//go:build unix

package main

import (
	"bufio"
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asMain makes a process of this test binary the plugin, see TestMain.
const asMain = "LOGSTACK_TEST_MAIN"

// process is the plugin as a program of its own, with the environment of a person
// who has no cluster.
func process(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asMain+"=1", "LANG=C.UTF-8", "TZ=UTC", "LC_ALL=", "LC_CTYPE=", "NO_COLOR=", "TERM=xterm", "KUBECONFIG="+t.TempDir()+"/none")
	return cmd
}

// TestQuietPipe: a reader that has gone (head, less) is no failure, and nothing is
// said about it.
func TestQuietPipe(t *testing.T) {
	addr := startCollector(t)
	for _, args := range [][]string{
		{"--help"}, {"version"}, {"completion", "bash"}, {"completion", "powershell"}, {"completion", "kubectl"},
		{"install", "--print-values"}, {"install", "--dry-run=client"}, {"doctor", "list"}, {"doctor", "--explain", "LS0101"}, {"fmt", `{app="a"}`},
		{"query", `{app="web"}`, "--addr", addr, "--from", "2026-03-05", "--to", "2026-03-06"},
		{"query", `{app="web"}`, "--addr", addr, "--from", "2026-03-05", "--to", "2026-03-06", "-o", "json"},
		{"query", `count_over_time({app="web"}[1m])`, "--addr", addr, "--from", "2026-03-05T12:00", "--to", "2026-03-05T12:10", "-o", "chart"},
		{"labels", "--addr", addr, "--from", "2026-03-05"}, {"series", "--addr", addr, "--from", "2026-03-05"}, {"volume", "--addr", addr, "--from", "2026-03-05"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			r.Close()
			defer w.Close()
			cmd := process(t, args...)
			var errOut bytes.Buffer
			cmd.Stdout, cmd.Stderr = w, &errOut
			if err := cmd.Run(); err != nil || errOut.Len() > 0 {
				t.Errorf("%v, stderr %q", err, &errOut)
			}
		})
	}
}

// TestCtrlC: 130, with what was printed before whole, and no word on stderr.
func TestCtrlC(t *testing.T) {
	addr := startCollector(t)
	t.Run("following", func(t *testing.T) {
		cmd := process(t, "query", `{app="web"}`, "--addr", addr, "--from", "2026-03-05", "-f", "-o", "raw")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var errOut bytes.Buffer
		cmd.Stderr = &errOut
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var lines []string
		s := bufio.NewScanner(out)
		for len(lines) < 10 && s.Scan() {
			lines = append(lines, s.Text())
		}
		interrupt(t, cmd, &errOut)
		if len(lines) != 10 || !strings.HasSuffix(lines[9], "}") {
			t.Errorf("before it: %q", lines)
		}
	})
	t.Run("waiting for an answer", func(t *testing.T) {
		asked := make(chan struct{})
		srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case asked <- struct{}{}:
			case <-r.Context().Done():
			}
			<-r.Context().Done()
		}))
		defer srv.Close()
		cmd := process(t, "query", `{app="web"}`, "--addr", srv.URL)
		var errOut bytes.Buffer
		cmd.Stderr = &errOut
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-asked
		interrupt(t, cmd, &errOut)
	})
}

func interrupt(t *testing.T, cmd *exec.Cmd, errOut *bytes.Buffer) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		<-ended
		t.Fatal("Ctrl-C did not end it")
	}
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || errOut.Len() > 0 {
		t.Errorf("code %d, want %d; stderr %q", code, exitInterrupted, errOut)
	}
}
