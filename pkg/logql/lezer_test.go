package logql

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// lezerOnly are queries that Grafana's editor grammar accepts and we do not,
// because Loki does not either.
var lezerOnly = map[string]string{
	`min(2.5)`: "a number is no vector; Loki cannot evaluate it",
	`label_replace(1, "d", "$1", "s", "(.*)")`:        "a number is no vector; Loki cannot evaluate it",
	`topk(0, vector(1))`:                              "k has to be at least 1",
	`topk(1.5, vector(1))`:                            "k has to be a whole number",
	`topk(vector(1))`:                                 "k is missing",
	`sum(3, vector(1))`:                               "sum has no parameter",
	`stdvar_over_time(1, {app="a"} | unwrap ms [1m])`: "only quantile_over_time has a parameter",
	`vector(1) or 1`:                                  "set operations are for series",
	`{app="a"} + 1`:                                   "lines are no numbers",
	`rate({app="f"}[1m]) by (app)`:                    "rate has no grouping of its own",
	`sort(vector(1)) by (a)`:                          "sort has no grouping",
	`count_over_time({app="a"} | unwrap ms [1m])`:     "counting needs no number",
	`sum_over_time({app="a"} | logfmt [1m])`:          "a sum needs a number",

	`{app=""}`:                                       "it would read every stream",
	`{app="a"} | label_format __error__="x"`:         "the error label is the engine's",
	`{app="a"} | label_format a=b, a=c`:              "which of the two?",
	`{app=~"("}`:                                     "no regular expression",
	`{app="a"} |~ "("`:                               "no regular expression",
	`{app="j"} | regexp "x"`:                         "no named group",
	`label_replace(vector(1), "n", "x", "pod", "(")`: "no regular expression",
	`{app="j"} | json x="a["`:                        "no path",
	`{app="j"} | json x=""`:                          "no path",
	`{app="f"} | logfmt x="a.b"`:                     "no key of logfmt",
	`{app="f"} |> "<_><_>"`:                          "nothing between the captures",
	`{app="f"} |> "<a>=1"`:                           "a filter has no use for a name",
	`{app="j"} | pattern "x"`:                        "no named capture",
	`{app="f"} |~ ip("10.0.0.0/8")`:                  "ip() is for |= and !=",
	`{app="a"} |= ip("test")`:                        "no address",
	`{app="a"} | line_format "{{"`:                   "no template",
	`{app="a"} | line_format "{{ until 3 }}"`:        "no such function",
	`{a="\q"}`: "no such escape",

	`count_over_time({app="a"}[-20s])`:      "a range has no sign",
	`count_over_time({app="a"}[10us])`:      "a range has Prometheus's units",
	`count_over_time({app="a"}[2.5s])`:      "a range has Prometheus's units, whole numbers of them",
	`vector(0x1F)`:                          "hexadecimal needs an exponent, as in Loki",
	`vector(1) + on (a,) vector(1)`:         "a comma too many",
	`{a="b"} | logfmt --strict--keep-empty`: "flags stand apart",
	`{A:b="x"}`:                             "no label name",
	`{by="x"}`:                              "by is a keyword everywhere",
	`{a="b"} | by="x"`:                      "by is a keyword everywhere",
	`sum by (or) (vector(1))`:               "or is a keyword everywhere",
	`{a="b"} | label_format unless="x"`:     "unless is a keyword everywhere",
	`{a="b"} | keep and`:                    "and is a keyword everywhere",
	`{a="b"} | without="x"`:                 "without is a keyword everywhere",
}

// TestLezerAccepts holds us to the grammar of Grafana's editor: what one can
// write there without a red line we accept, lezerOnly aside.
func TestLezerAccepts(t *testing.T) {
	text, err := os.ReadFile("testdata/lezer_accepts.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		query := strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(query, "#") {
			continue
		}
		if strings.HasPrefix(query, `"`) {
			if query, err = strconv.Unquote(query); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
		seen[query] = true
		e, err := Parse(query)
		why, only := lezerOnly[query]
		switch {
		case err != nil && !only:
			t.Errorf("%s\n%v", query, err)
		case err == nil && only:
			t.Errorf("%s is accepted now, though %s", query, why)
		case err == nil:
			checkRoundTrip(t, e)
		}
	}
	for query := range lezerOnly {
		if !seen[query] {
			t.Errorf("%s is not in the list of queries", query)
		}
	}
	if len(seen) < 700 {
		t.Errorf("only %d queries", len(seen))
	}
}
