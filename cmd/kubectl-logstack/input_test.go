package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

func TestInput(t *testing.T) {
	text := strings.Repeat("0123456789\n", 50_000)
	for name, from := range map[string]io.Reader{
		"whole":          strings.NewReader(text),
		"halves":         iotest.HalfReader(strings.NewReader(text)),
		"data with EOF":  iotest.DataErrReader(strings.NewReader(text)),
		"byte by byte":   io.MultiReader(iotest.OneByteReader(strings.NewReader(text[:100])), strings.NewReader(text[100:])),
		"nothing at all": strings.NewReader(""),
	} {
		want := text
		if name == "nothing at all" {
			want = ""
		}
		got, err := io.ReadAll(untilDone(t.Context(), from))
		if err != nil || string(got) != want {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(want), err)
		}
	}
	broken := errors.New("broken")
	if got, err := io.ReadAll(untilDone(t.Context(), io.MultiReader(strings.NewReader("a"), iotest.ErrReader(broken)))); string(got) != "a" || !errors.Is(err, broken) {
		t.Errorf("%q, %v", got, err)
	}
}

// Ctrl-C ends a command that waits for input.
func TestInputInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		from, keyboard := io.Pipe()
		ended := make(chan error)
		go func() {
			_, err := io.ReadAll(untilDone(ctx, from))
			ended <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		_ = keyboard.Close() // lets the pump go
	})
}

// A closed pipe behind our output is no failure, one to a server is.
func TestReportBrokenPipe(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code int
	}{
		{&os.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.EPIPE}, exitOK},
		{fmt.Errorf("asking: %w", &net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)}), exitFailed},
	} {
		var stderr bytes.Buffer
		if code := report(t.Context(), genericiooptions.IOStreams{ErrOut: &stderr}, tt.err); code != tt.code {
			t.Errorf("%v: code %d, want %d", tt.err, code, tt.code)
		}
		if said := stderr.Len() > 0; said != (tt.code != exitOK) {
			t.Errorf("%v: %q on stderr", tt.err, &stderr)
		}
	}
}
