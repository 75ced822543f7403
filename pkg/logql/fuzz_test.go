package logql

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Whatever the text, the parser returns: a tree that prints to an equal one, or
// an error with a place inside the text.
func FuzzParse(f *testing.F) {
	for _, tc := range accepted {
		f.Add(tc.query)
	}
	for _, tc := range refused {
		f.Add(tc.query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		e, err := Parse(query)
		if err != nil {
			var pe *ParseError
			if !asParseError(err, &pe) {
				t.Fatalf("%T: %v", err, err)
			}
			if pe.Offset < 0 || int(pe.Offset) > len(query) || pe.Line < 1 || pe.Col < 1 || pe.Msg == "" {
				t.Errorf("bad error %#v", pe)
			}
			pe.Caret(40)
			return
		}
		NeededLabels(e)
		for _, s := range Selectors(e) {
			s.RequiredSubstrings()
		}
		for _, text := range []string{e.String(), Pretty(e, 30)} {
			if len(text) > MaxQueryBytes {
				continue
			}
			again, err := Parse(text)
			if err != nil {
				t.Fatalf("%q prints %q: %v", query, text, err)
			}
			if diff := cmp.Diff(e, again, sameTree); diff != "" {
				t.Fatalf("%q prints %q:\n%s", query, text, diff)
			}
			if again.String() != e.String() {
				t.Fatalf("%q prints %q, then %q", query, e, again)
			}
		}
	})
}
