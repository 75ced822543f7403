package logql

import (
	"regexp"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

// TestFilterMatchers compares the matchers of label filters with what they mean:
// anchored at both ends, "." matches no newline unless the expression says so, or says so little
// that Loki lets it pass.
func TestFilterMatchers(t *testing.T) {
	exprs := []string{
		".", ".+", ".*", "a.*", ".*a", ".*-.*", ".*-.*-.*", "a.b", "a.+b", "(a|b).*", "a|b", "a|b.", "(?s).+", "(?s:a.b)", "(?i)A.B", "(?i)a.*", "[^a]+",
		"(?-s).", ".?a", "a{2}.", "(?m)^a.$", "foo|.*bar.*|b.z", "", "()", "\\.", "a\\.b", ".*foo.*bar.*", "(.+)", "x*.", "(?:.*)", ".*\n.*", "\n", ".\n.",
	}
	values := []string{
		"", "a", "b", "\n", "a\n", "\na", "a\nb", "axb", "AXB", "A\nB", "a-b", "a\n-b", "-", "--", "a-b-c", "a-\n-c", "aa.", "foo", "foobar", "\nbar", "xbarx", "b\nz",
		"foo\nbar", "xfooxbarx", "xxx\n", ".", "\n.\n", "é", "a\r\nb", "a\xffb",
	}
	for _, expr := range exprs {
		flags := ""
		if dotMeansAll(expr) {
			flags = "s"
		}
		re := regexp.MustCompile("^(?" + flags + ":" + expr + ")$")
		for _, typ := range []labels.MatchType{labels.MatchRegexp, labels.MatchNotRegexp} {
			m, err := newFilterMatcher(typ, "n", expr)
			if err != nil {
				t.Fatal(err)
			}
			if m.Value != expr {
				t.Errorf("%q became %q", expr, m.Value)
			}
			for _, v := range values {
				if got, want := m.Matches(v), re.MatchString(v) == (typ == labels.MatchRegexp); got != want {
					t.Errorf("%s on %q: %v, want %v", m, v, got, want)
				}
			}
			if set := m.SetMatches(); len(set) > 0 {
				for _, v := range set {
					if !re.MatchString(v) {
						t.Errorf("%s lists %q among its values", m, v)
					}
				}
			}
		}
	}
	if _, err := newFilterMatcher(labels.MatchRegexp, "n", "(."); err == nil || err.Error() != "error parsing regexp: missing closing ): `(.`" {
		t.Errorf("got %v", err)
	}
}

func TestDotMeansAll(t *testing.T) {
	for expr, want := range map[string]bool{
		".*": true, ".+": true, ".*x.*": true, "x": true, "a|b": true, ".*a b.*": true,
		"x.*": false, ".*x": false, "a.b": false, ".*a.b.*": false, ".*(a|b).*": false, ".*.*.*": false, ".": false,
	} {
		if got := dotMeansAll(expr); got != want {
			t.Errorf("%q: %v", expr, got)
		}
	}
}
