package engine

import (
	"context"
	"fmt"
	"testing"
)

// TestHints checks what log and metric queries ask the store for, so that it can
// skip what cannot match.
func TestHints(t *testing.T) {
	for _, c := range []struct{ stages, want string }{
		{`|= "error"`, `["error"] [] false []`},
		{`|=i "Error"`, `[] ["error"] true []`},
		{`|=i "Error 5031"`, `[" 5031"] ["error 5031"] true []`},
		{`|=i "error" or "Refused"`, `[] ["error" "refused"] true []`},
		{`!=i "error"`, `[] [] false []`},
		{`|=i "5031"`, `["5031"] [] false []`},
		{`|= "a" or "b"`, `[] ["a" "b"] false []`},
		{`| json |=i "error"`, `[] ["error"] true []`},
		{`!= "debug" |=i "error"`, `[] ["error"] true ["debug"]`},
		{`| line_format "{{.x}}" |=i "error"`, `[] [] false []`},
	} {
		for _, query := range []string{`{app="a"} ` + c.stages, `sum(count_over_time({app="a"} ` + c.stages + ` [1m]))`} {
			s := storeOf(1, 3)
			p := params(query)
			if _, err := New(s, Options{}).Range(context.Background(), p); err != nil {
				t.Fatal(err)
			}
			r := s.requests[0]
			if got := fmt.Sprintf("%q %q %v %q", r.Contains, r.ContainsAny, r.AnyFold, r.ContainsNone); got != c.want {
				t.Errorf("%s\n got %s\nwant %s", query, got, c.want)
			}
		}
	}
	s := storeOf(1, 3)
	if _, err := New(s, Options{}).Range(context.Background(), params(`{app="a"} | distinct level |= "x"`)); err != nil {
		t.Fatal(err)
	}
	if r := s.requests[0]; len(r.Contains) > 0 {
		t.Errorf("a filter behind distinct was handed to the store: %q", r.Contains)
	}
}
