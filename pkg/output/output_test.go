package output

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTable(t *testing.T) {
	var buf bytes.Buffer
	err := Table(&buf, []string{"LABEL", "VALUES"}, [][]string{{"namespace", "12"}, {"app_kubernetes_io", "3"}})
	if err != nil {
		t.Fatal(err)
	}
	want := "LABEL              VALUES\n" +
		"namespace          12\n" +
		"app_kubernetes_io  3\n"
	if d := cmp.Diff(want, buf.String()); d != "" {
		t.Error(d)
	}
}

func TestPaint(t *testing.T) {
	for name, tc := range map[string]struct {
		mode ColorMode
		want string
	}{
		"auto on a pipe": {ColorAuto, "x"},
		"never":          {ColorNever, "x"},
		"always":         {ColorAlways, "\x1b[31mx\x1b[0m"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Detect(&bytes.Buffer{}, tc.mode).Paint(Red, "x"); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
