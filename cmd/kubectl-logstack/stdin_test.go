package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// TestStdinGoesOn shows a line as soon as it is there, not when the input ends.
func TestStdinGoesOn(t *testing.T) {
	in, feed := io.Pipe()
	show, out := io.Pipe()
	done := make(chan int)
	go func() {
		done <- run([]string{"query", "--stdin", `| json | a > 1`}, genericiooptions.IOStreams{In: in, Out: out, ErrOut: io.Discard})
	}()
	lines := bufio.NewScanner(show)
	for i := 2; i < 5; i++ {
		fmt.Fprintf(feed, `{"a":1}`+"\n"+`{"a":%d}`+"\n", i) //nolint:errcheck // the scanner would notice
		if !lines.Scan() || lines.Text() != fmt.Sprintf(`{"a":%d}`, i) {
			t.Errorf("line %d: %q", i, lines.Text())
		}
	}
	feed.Close() //nolint:errcheck // always nil
	if code := <-done; code != exitOK {
		t.Errorf("code %d", code)
	}
}

// TestStdinDistinct keeps what it has seen over many batches.
func TestStdinDistinct(t *testing.T) {
	var in strings.Builder
	for i := range 10 * stdinBatch {
		fmt.Fprintf(&in, "n=%d\n", i%7)
	}
	var out bytes.Buffer
	code := run([]string{"query", "--stdin", `| logfmt | distinct n`}, genericiooptions.IOStreams{In: strings.NewReader(in.String()), Out: &out, ErrOut: io.Discard})
	if n := strings.Count(out.String(), "\n"); code != exitOK || n != 7 {
		t.Errorf("code %d, %d lines", code, n)
	}
}
