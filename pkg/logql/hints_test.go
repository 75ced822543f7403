package logql

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRequiredSubstrings(t *testing.T) {
	tests := []struct {
		stages string
		want   []string
	}{
		{``, nil},
		{`|= "a"`, []string{"a"}},
		{`|= ""`, nil},
		{`|= "abc" |= "b" |= "abc" |= "d"`, []string{"abc", "d"}},
		{`!= "a" !~ "b" !> "c"`, nil},
		{`|= "a" or "b"`, nil},
		{`|= ip("1.2.3.4")`, nil},
		{`| json | x="y" |= "a" | drop z |= "b"`, []string{"a", "b"}},
		{`|= "a" | line_format "x" |= "b"`, []string{"a"}},
		{`|= "a" | unpack |= "b"`, []string{"a"}},
		{`|= "a" | decolorize |= "b"`, []string{"a"}},
		{`|> "<_> foo <_>bar"`, []string{" foo ", "bar"}},
		{`|~ "foo"`, []string{"foo"}},
		{`|~ "foo.*bar"`, []string{"foo", "bar"}},
		{`|~ "^foo$"`, []string{"foo"}},
		{"|~ `foo\\b bar`", []string{"foo bar"}},
		{`|~ "fo(o b)ar"`, []string{"foo bar"}},
		{`|~ "a|b"`, nil},
		{`|~ "x(a|b)y"`, []string{"x", "y"}},
		{`|~ "(foo)+bar"`, []string{"foo", "bar"}},
		{`|~ "(foo){2,}x"`, []string{"foo", "x"}},
		{`|~ "(foo)*bar"`, []string{"bar"}},
		{`|~ "(foo)?bar"`, []string{"bar"}},
		{`|~ "(foo){0,2}bar"`, []string{"bar"}},
		{`|~ "[f]oo[xy]bar"`, []string{"foo", "bar"}},
		{`|~ "(?i)error"`, nil},
		{`|~ "(?i)code=42"`, []string{"=42"}},
		{`|~ "abc(?i)def"`, []string{"abc"}},
		{"|~ `a\\x{fffd}b`", []string{"a", "b"}},
		{`|~ "größe"`, []string{"größe"}},
		{`|~ ""`, nil},
		{`|~ ".+"`, nil},
	}
	for _, tc := range tests {
		if diff := cmp.Diff(tc.want, mustSelector(t, `{a="b"} `+tc.stages).RequiredSubstrings()); diff != "" {
			t.Errorf("%s: %s", tc.stages, diff)
		}
	}
	many := mustSelector(t, `{a="b"}`+strings.Repeat(` |= "x"`, 10)+strings.Repeat(` |~ "a.b.c.d.e.f.g"`, 100))
	if n := len(many.RequiredSubstrings()); n == 0 || n > maxSubstrings {
		t.Errorf("%d substrings of many", n)
	}
}

func mustSelector(t *testing.T, query string) *LogSelector {
	t.Helper()
	e, err := Parse(query)
	if err != nil {
		t.Fatal(err)
	}
	return e.(*LogSelector)
}

// A line that matches an expression contains every substring that is said to be
// required of it: random expressions against random lines.
func TestRequiredSubstringsNeverMiss(t *testing.T) {
	const seed = 7
	rnd := rand.New(rand.NewPCG(seed, seed))
	pieces := []string{"a", "b", "ab", "K", "(?i)", "(", ")", "(?:", ")", "|", "*", "+", "?", "{2}", "{0,1}", ".", "[ab]", "[^a]", "^", "$", `\b`, "\u212a", `\x{fffd}`, "ß"}
	letters := []string{"a", "b", "A", "B", "k", "K", "\u212a", "\xff", "\ufffd", "ß", "ẞ", " "}
	compiled, matched := 0, 0
	for range 20000 {
		var expr strings.Builder
		for range 1 + rnd.IntN(8) {
			expr.WriteString(pieces[rnd.IntN(len(pieces))])
		}
		re, err := regexp.Compile("(?s)" + expr.String())
		if err != nil {
			continue
		}
		compiled++
		required := operandSubstrings(LineMatches, expr.String())
		for range 10 {
			var line strings.Builder
			for range rnd.IntN(6) {
				line.WriteString(letters[rnd.IntN(len(letters))])
			}
			if !re.MatchString(line.String()) {
				continue
			}
			matched++
			for _, s := range required {
				if !strings.Contains(line.String(), s) {
					t.Fatalf("seed %d: %q matches %q without containing %q", seed, expr.String(), line.String(), s)
				}
			}
		}
	}
	if compiled < 1000 || matched < 1000 {
		t.Errorf("only %d expressions and %d matches: the generator is broken", compiled, matched)
	}
}

func TestNeededLabels(t *testing.T) {
	all := LabelNeeds{All: true}
	names := func(n ...string) LabelNeeds { return LabelNeeds{Names: n} }
	tests := []struct {
		query string
		want  []LabelNeeds // by range aggregation in the order of the text
	}{
		{`count_over_time({a="b"} | json [5m])`, []LabelNeeds{all}},
		{`sum(count_over_time({a="b"} | json [5m]))`, []LabelNeeds{names()}},
		{`sum by () (rate({a="b"} | json [5m]))`, []LabelNeeds{names()}},
		{`sum by (status) (bytes_rate({a="b"} | json [5m]))`, []LabelNeeds{names("status")}},
		{`sum without (status) (bytes_over_time({a="b"} | json [5m]))`, []LabelNeeds{all}},
		{`sum(count_over_time({a="b"} | json | __error__="" [5m]))`, []LabelNeeds{names("__error__")}},
		{`sum by (x) (sum_over_time({a="b"} | json | unwrap x | __error__="" [5m]))`, []LabelNeeds{names("__error__", "x")}},
		{`sum(bytes_rate({a="b"} | json | line_format "{{.__error__}}{{index . \"x\"}}" [5m]))`, []LabelNeeds{all}},
		{`sum(count_over_time({a="b"} | json | drop __error__, x="y" | keep z [5m]))`, []LabelNeeds{names()}},
		{`sum(count_over_time({a="b"} | json | x=1 or (y="z" and u>5s) , v<1kB | w=ip("::1") [5m]))`, []LabelNeeds{names("u", "v", "w", "x", "y")}},
		{`sum(sum_over_time({a="b"} | json | unwrap x | y>1 [5m]))`, []LabelNeeds{names("x", "y")}},
		// Only a sum, and only directly around what adds up.
		{`max(count_over_time({a="b"} | json [5m]))`, []LabelNeeds{all}},
		{`sum(max_over_time({a="b"} | json | unwrap x [5m]))`, []LabelNeeds{all}},
		{`sum(count_over_time({a="b"} | json [5m]) > 1)`, []LabelNeeds{all}},
		{`sum(sum by (x) (rate({a="b"} | json [5m])))`, []LabelNeeds{names("x")}},
		{`sum(rate({a="b"} | json [5m])) / label_replace(rate({a="b"} | json [5m]), "a", "b", "c", "d")`, []LabelNeeds{names(), all}},
		// The aggregation's own grouping.
		{`avg_over_time({a="b"} | json | unwrap x [5m]) by (y)`, []LabelNeeds{names("x", "y")}},
		{`avg_over_time({a="b"} | json | unwrap x [5m]) without (y)`, []LabelNeeds{all}},
		{`absent_over_time({a="b"} | json [5m])`, []LabelNeeds{names()}},
		// Templates.
		{`sum(bytes_rate({a="b"} | json | line_format "{{.x}} {{if .y}}{{$.z}}{{else}}{{.u | lower}}{{end}}" [5m]))`, []LabelNeeds{names("u", "x", "y", "z")}},
		{`sum(rate({a="b"} | json | label_format x=y, z="{{with .u}}{{range $i, $e := fromJson .v}}{{$e.w}}{{end}}{{end}}" [5m]))`, []LabelNeeds{names("u", "v", "y")}},
		{`sum(bytes_rate({a="b"} | json | line_format "{{define \"t\"}}{{.x}}{{end}}{{template \"t\"}}" [5m]))`, []LabelNeeds{names("x")}},
		{`sum(bytes_rate({a="b"} | json | line_format "{{index . \"x\"}}" [5m]))`, []LabelNeeds{all}},
		{`sum(bytes_rate({a="b"} | json | line_format "{{index $ \"x\"}}" [5m]))`, []LabelNeeds{all}},
		{`sum(bytes_rate({a="b"} | json | line_format "{{(fromJson .x).y}}" [5m]))`, []LabelNeeds{names("x")}},
		{`sum(bytes_rate({a="b"} | json | line_format "{{__line__}}" [5m]))`, []LabelNeeds{names()}},
		{`sum(rate({a="b"} | json | line_format "{{.x}}" | decolorize [5m]))`, []LabelNeeds{names()}}, // left out
		{`sum(rate({a="b"} | json | line_format "{{.x}}" |= "y" [5m]))`, []LabelNeeds{names("x")}},
		{`1 + 1`, nil},
		{`{a="b"} | json`, nil},
	}
	for _, tc := range tests {
		e, err := Parse(tc.query)
		if err != nil {
			t.Fatal(err)
		}
		needs := NeededLabels(e)
		var got []LabelNeeds
		for _, a := range RangeAggregations(e) {
			got = append(got, needs[a])
		}
		if diff := cmp.Diff(tc.want, got); diff != "" || len(needs) != len(got) {
			t.Errorf("%s: %s", tc.query, diff)
		}
	}
}
