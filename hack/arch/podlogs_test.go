package arch

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestFaultsNameTheirTests: docs/podlogs.md promises a test for each defect and
// fault. Every row is there and has one, and every test that is named exists.
func TestFaultsNameTheirTests(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "podlogs.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests := testNames(t, "cmd", "pkg", "hack")
	row, name := regexp.MustCompile(`^\| ([RWF]\d+) \|`), regexp.MustCompile("`(Test\\w+)`")
	rows := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		named := name.FindAllStringSubmatch(line, -1)
		for _, m := range named {
			if !tests[m[1]] {
				t.Errorf("docs/podlogs.md names %s, which does not exist", m[1])
			}
		}
		m := row.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		rows[m[1]] = true
		if len(named) == 0 && m[1] != "F26" {
			t.Errorf("%s has no test", m[1])
		}
	}
	for letter, last := range map[string]int{"R": 5, "W": 15, "F": 28} {
		for i := 1; i <= last; i++ {
			if id := fmt.Sprint(letter, i); !rows[id] {
				t.Errorf("docs/podlogs.md has no row %s", id)
			}
		}
	}
}

// testNames returns the names of all tests below some directories.
func testNames(t *testing.T, dirs ...string) map[string]bool {
	t.Helper()
	decl := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	names := map[string]bool{}
	for _, dir := range dirs {
		err := filepath.WalkDir(filepath.Join("..", "..", dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			for _, m := range decl.FindAllSubmatch(b, -1) {
				names[string(bytes.Clone(m[1]))] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}
