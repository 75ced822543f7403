package logql

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRoundTripOfScripts prints and parses every query of the engine's scripts
// again, in all widths: the tree stays the same.
func TestRoundTripOfScripts(t *testing.T) {
	files, err := filepath.Glob("engine/testdata/*.test")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	n := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			_, query, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			if !ok || !strings.HasPrefix(line, "eval ") {
				continue
			}
			e, err := Parse(query)
			if err != nil {
				continue // one of those that are refused
			}
			n++
			checkRoundTrip(t, e)
			if t.Failed() {
				t.Fatalf("%s: %s", file, query)
			}
		}
	}
	if n < 500 {
		t.Errorf("only %d queries", n)
	}
}
