package logql

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Each testdata/pretty/*.logql is printed at three widths into its .golden.
func TestPretty(t *testing.T) {
	files, err := filepath.Glob("testdata/pretty/*.logql")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test files: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".logql")
		t.Run(name, func(t *testing.T) {
			query, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			e, err := Parse(string(query))
			if err != nil {
				t.Fatal(err)
			}
			checkRoundTrip(t, e)
			var got strings.Builder
			for _, width := range []int{100, 60, 20} {
				fmt.Fprintf(&got, "# width %d\n%s\n\n", width, Pretty(e, width))
			}
			golden := filepath.Join("testdata", "pretty", name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v (run with -update to write it)", err)
			}
			if got.String() != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
			}
		})
	}
}
