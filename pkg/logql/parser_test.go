package logql

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/prometheus/model/labels"
)

// sameMatchers compares matchers by what they were made of.
var sameMatchers = cmp.Comparer(func(a, b *labels.Matcher) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Type == b.Type && a.Name == b.Name && a.Value == b.Value
})

// sameTree compares trees without their positions.
var sameTree = cmp.Options{sameMatchers, cmpopts.IgnoreTypes(Pos(0)), cmpopts.EquateNaNs()}

// accepted are queries and their canonical form; "" stands for the query itself.
var accepted = []struct{ query, want string }{
	// Selectors.
	{`{a="b"}`, ``},
	{`{ a = "b" , c != "d", e =~ "f.+", g !~ "h" }`, `{a="b", c!="d", e=~"f.+", g!~"h"}`},
	{`({a="b"})`, `{a="b"}`},
	{`(({a="b"} |= "x"))`, `{a="b"} |= "x"`},
	{"{a=`b`}", `{a="b"}`},
	{`{a="x\"y\\z"}`, "{a=`x\"y\\z`}"},
	{`{a=~"\\d+"}`, "{a=~`\\d+`}"},
	{`{a="b\n"}`, `{a="b\n"}`},
	{`{ünï="x"}`, ``},
	{`{a="grüße"}`, ``},
	{`{a!=""}`, ``},
	{`{a="", b="c"}`, ``},
	{"{a=\"b\"} # the rest is a comment |= \"x\"", `{a="b"}`},
	{"{a=\"b\"} // the rest is a comment |= \"x\"", `{a="b"}`},
	{"/* first */ {a=\"b\"} /* second\n/* */ |= \"/*\" // third\n|= \"//\"", `{a="b"} |= "/*" |= "//"`},
	{"# first\n{a=\"b\"} # second\n|= \"#\" # third", `{a="b"} |= "#"`},

	// Names of functions are labels where they are not called.
	{`{rate="a", sum="b", count_over_time="c", bytes="d", duration="e", ip="f", vector="g", label_replace="h"}`, ``},
	{`{a="b"} | rate=1 | duration>5s | bytes<3kB | ip="x"`, ``},
	{`{a="b"} | label_format rate=sum, topk="x"`, ``},
	{`sum by (rate, sum)(rate({a="b"}[1m]))`, ``},
	{`{a="b"} | json rate, sum="x.y"`, ``},
	{`count_over_time({a="b"} | unwrap_x="1"[5m])`, ``},

	// Line filters.
	{`{a="b"}|="x"!="y"|~"z"!~"w"`, `{a="b"} |= "x" != "y" |~ "z" !~ "w"`},
	{`{a="b"} |> "<_> x <_>" !> "y"`, ``},
	{`{a="b"} |= ""`, ``},
	{`{a="b"} |= "x" or "y" or "z" != "u" or "v"`, ``},
	{`{a="b"} |= ip("10.0.0.0/8") or "x" or ip("::1") != ip("1.2.3.4-1.2.3.9")`, ``},
	{`{a="b"} |~ "(?i)x" or "\\."`, "{a=\"b\"} |~ \"(?i)x\" or `\\.`"},
	{`{a="b"} |= "\xff\x00"`, ``},
	{`{a="b"} |> ""`, ``},

	// Parsers.
	{`{a="b"} | json`, ``},
	{`{a="b"} | json x="a.b[0]", y="[\"k k\"].z", z`, "{a=\"b\"} | json x=\"a.b[0]\", y=`[\"k k\"].z`, z"},
	{`{a="b"} | json a="a"`, `{a="b"} | json a`},
	{`{a="b"} | logfmt`, ``},
	{`{a="b"} | logfmt --strict --keep-empty a, b="c"`, ``},
	{`{a="b"} | logfmt --keep-empty --strict`, `{a="b"} | logfmt --strict --keep-empty`},
	{`{a="b"} | regexp "(?P<x>.*) (?P<y>.)"`, ``},
	{`{a="b"} | pattern "<a> - <_> \"<b>\""`, "{a=\"b\"} | pattern `<a> - <_> \"<b>\"`"},
	{`{a="b"} | unpack | decolorize`, ``},
	{`{a="b"} | JSON | LogFmt`, `{a="b"} | json | logfmt`},

	// Label filters.
	{`{a="b"} | x="y" | x!="y" | x=~"y.*" | x!~"y"`, ``},
	{`{a="b"} | x=1 | x==1 | x!=1 | x>1 | x>=1.5 | x<1e3 | x<=.5`, `{a="b"} | x=1 | x=1 | x!=1 | x>1 | x>=1.5 | x<1000 | x<=0.5`},
	{`{a="b"} | x>-1 | x<+2`, `{a="b"} | x>-1 | x<2`},
	{`{a="b"} | x>5m30s | x==1d | x<1.5s | x>250us | x!=100ms | x<-5m`, `{a="b"} | x>5m30s | x=1d | x<1.5s | x>250µs | x!=100ms | x<-5m`},
	{`{a="b"} | x>20kB | x<20KB | x=1KiB | x!=1.5MiB | x>3G | x<=7B`, `{a="b"} | x>20kB | x<20kB | x=1KiB | x!=1536KiB | x>3GB | x<=7B`},
	{`{a="b"} | x=ip("10.0.0.1") | x!=ip("10.0.0.1-10.0.0.9")`, ``},
	{`{a="b"} | x="1" and y="2"`, ``},
	{`{a="b"} | x="1" or y="2" and z="3"`, ``},
	{`{a="b"} | (x="1" or y="2") and z="3"`, ``},
	{`{a="b"} | x="1", y="2" z="3"`, `{a="b"} | x="1" and y="2" and z="3"`},
	{`{a="b"} | x="1" and (y="2" and z="3")`, `{a="b"} | x="1" and y="2" and z="3"`},
	{`{a="b"} | x="1" or (y="2" or z="3" or u="4")`, `{a="b"} | x="1" or y="2" or z="3" or u="4"`},
	{`{a="b"} | ((x="1"))`, `{a="b"} | x="1"`},
	// "," and nothing take all that follows as their right side.
	{`{a="b"} | x="1", y="2" or z="3"`, `{a="b"} | x="1" and (y="2" or z="3")`},
	{`{a="b"} | x="1" y="2" or z="3"`, `{a="b"} | x="1" and (y="2" or z="3")`},
	{`{a="b"} | x="1" or y="2", z="3"`, `{a="b"} | x="1" or y="2" and z="3"`},
	{`{a="b"} | x="1" and y="2", z="3" or u="4"`, `{a="b"} | x="1" and y="2" and (z="3" or u="4")`},
	{`{a="b"} | __error__="" | __error__!="JSONParserErr"`, ``},
	{`{a="b"} | x="y" != "line" |= "filter"`, ``},

	// Formatting.
	{`{a="b"} | line_format "{{.x}} {{ToUpper .y}}"`, ``},
	{"{a=\"b\"} | line_format `{{.x | trunc 5}} \"q\"`", ``},
	{`{a="b"} | label_format x=y, z="{{.u}}", w=""`, ``},
	{`{a="b"} | drop x, y="z", u=~"v.*" | keep x, y!="z"`, ``},
	{`{a="b"} | drop __error__, __error_details__`, ``},
	// An operator behind a name of drop makes a matcher, never a line filter.
	{`{a="b"} | drop x != "y"`, `{a="b"} | drop x!="y"`},
	{`{a="b"} | json x != "y"`, `{a="b"} | json x != "y"`},

	// Range aggregations.
	{`count_over_time({a="b"}[5m])`, ``},
	{`COUNT_OVER_TIME ( {a="b"} [ 5m ] )`, `count_over_time({a="b"}[5m])`},
	{`rate({a="b"}[5m30s] offset 1h)`, ``},
	{`rate({a="b"}[1m] offset -90s)`, `rate({a="b"}[1m] offset -1m30s)`},
	{`rate({a="b"}[7d] offset 0)`, `rate({a="b"}[1w])`},
	{`rate({a="b"}[0s])`, ``},
	{`rate({a="b"}[1s500ms] offset 1.5s)`, ``},
	{`rate({a="b"}[90m] offset 100ms)`, `rate({a="b"}[1h30m] offset 100ms)`},
	{`rate({a="b"} |= "x" | json [1m])`, `rate({a="b"} |= "x" | json[1m])`},
	{`rate({a="b"}[1m] |= "x" | json)`, `rate({a="b"} |= "x" | json[1m])`},
	{`rate({a="b"}[1m] offset 1m |= "x")`, `rate({a="b"} |= "x"[1m] offset 1m)`},
	{`rate(({a="b"} |= "x")[1m])`, `rate({a="b"} |= "x"[1m])`},
	{`rate((({a="b"})[1m] offset 2m))`, `rate({a="b"}[1m] offset 2m)`},
	{`rate(({a="b"} |= "x" [1m]))`, `rate({a="b"} |= "x"[1m])`},
	{`bytes_over_time({a="b"}[1m])`, ``},
	{`bytes_rate({a="b"}[1m])`, ``},
	{`absent_over_time({a="b"}[1m])`, ``},
	{`absent_over_time({a="b"} | unwrap x[1m])`, ``},
	{`sum_over_time({a="b"} | json | unwrap x [1m])`, `sum_over_time({a="b"} | json | unwrap x[1m])`},
	{`sum_over_time({a="b"}[1m] | unwrap x)`, `sum_over_time({a="b"} | unwrap x[1m])`},
	{`sum_over_time({a="b"}[1m] offset 5m | json | unwrap x)`, `sum_over_time({a="b"} | json | unwrap x[1m] offset 5m)`},
	{`sum_over_time(({a="b"} | json | unwrap x)[1m])`, `sum_over_time({a="b"} | json | unwrap x[1m])`},
	{`sum_over_time(({a="b"})[1m] | unwrap x)`, `sum_over_time({a="b"} | unwrap x[1m])`},
	{`rate({a="b"} | unwrap bytes(x)[1m])`, ``},
	{`rate_counter({a="b"} | unwrap x[1m])`, ``},
	{`avg_over_time({a="b"} | unwrap duration(x) | __error__="" | y>1[1m]) by (c, d)`, ``},
	{`max_over_time({a="b"} | unwrap duration_seconds(x)[1m]) without ()`, ``},
	{`min_over_time({a="b"} | unwrap x[1m]) by ()`, ``},
	{`first_over_time({a="b"} | unwrap x[1m])`, ``},
	{`last_over_time({a="b"} | unwrap x[1m])`, ``},
	{`stddev_over_time({a="b"} | unwrap x[1m])`, ``},
	{`stdvar_over_time({a="b"} | unwrap x[1m])`, ``},
	{`quantile_over_time(0.99,{a="b"} | unwrap x[1m]) by (c)`, `quantile_over_time(0.99, {a="b"} | unwrap x[1m]) by (c)`},
	{`quantile_over_time(2, {a="b"} | unwrap x[1m])`, ``},

	// Vector aggregations.
	{`sum(rate({a="b"}[1m]))`, ``},
	{`sum by (c,d) (rate({a="b"}[1m]))`, `sum by (c, d)(rate({a="b"}[1m]))`},
	{`sum(rate({a="b"}[1m])) by (c)`, `sum by (c)(rate({a="b"}[1m]))`},
	{`SUM BY (c)(rate({a="b"}[1m]))`, `sum by (c)(rate({a="b"}[1m]))`},
	{`avg without (c)(rate({a="b"}[1m]))`, ``},
	{`sum by ()(rate({a="b"}[1m]))`, ``},
	{`topk(5,rate({a="b"}[1m])) by (c)`, `topk by (c)(5, rate({a="b"}[1m]))`},
	{`bottomk without (c) (1, rate({a="b"}[1m]))`, `bottomk without (c)(1, rate({a="b"}[1m]))`},
	{`approx_topk(3, rate({a="b"}[1m]))`, ``},
	{`sort(rate({a="b"}[1m]))`, ``},
	{`sort_desc(sum(min(max(count(stddev(stdvar(rate({a="b"}[1m]))))))))`, ``},
	{`sum(vector(1))`, ``},
	{`sort by () (vector(1))`, `sort(vector(1))`}, {`sort_desc(vector(1)) without ()`, `sort_desc(vector(1))`},
	{`label_replace(rate({a="b"}[1m]), "d", "$1", "s", "(.*)")`, ``},

	// Numbers and operators.
	{`1_000`, `1000`}, {`0x1.8p3`, `12`}, {`0X1_0P-1 + 1`, `9`}, {`{a="b"} | x>1_0.5_0e1_0`, `{a="b"} | x>105000000000`}, {`vector(1_0) + 1_000_000`, `vector(10) + 1000000`},
	{`1`, ``}, {`-1.5`, ``}, {`+2`, `2`}, {`(3)`, `3`}, {`1e3`, `1000`}, {`1e+20`, ``}, {`.5`, `0.5`}, {`1e-7`, `1e-07`},
	{`NaN`, ``}, {`-inf`, `-Inf`}, {`Inf`, `+Inf`},
	{`1 + 2 * 3 ^ 2 - 4 % 3`, `18`}, {`2 ^ 3 ^ 2`, `512`}, {`10 - 3 - 2`, `5`}, {`-2 ^ 2`, `4`}, {`(1 + 2) * 3`, `9`}, {`1-1`, `0`}, {`1 - -1`, `2`},
	{`1 / 0`, `NaN`}, {`-1 / 0`, `NaN`}, {`1 % 0`, `NaN`}, {`1e308 * 10`, `+Inf`},
	{`1 > 2`, `0`}, {`2 >= 2`, `1`}, {`1 == bool 1`, `1`}, {`1 != 1`, `0`}, {`1 < 2`, `1`}, {`1 <= 0`, `0`},
	{`vector(3)`, ``}, {`vector(-3)`, ``}, {`vector(1) + 1`, ``}, {`1 + vector(1) + 1`, ``}, {`vector(1) + (1 + 1)`, `vector(1) + 2`},
	{`vector(1) or vector(2) and vector(3) unless vector(4)`, ``},
	{`(vector(1) or vector(2)) and vector(3)`, ``},
	{`vector(1) + vector(2) * vector(3) ^ vector(4)`, ``},
	{`((vector(1) + vector(2)) * vector(3)) ^ vector(4)`, ``},
	{`vector(1) - (vector(2) - vector(3))`, ``},
	{`(vector(1) - vector(2)) - vector(3)`, `vector(1) - vector(2) - vector(3)`},
	{`vector(1) ^ (vector(2) ^ vector(3))`, `vector(1) ^ vector(2) ^ vector(3)`},
	{`(vector(1) ^ vector(2)) ^ vector(3)`, ``},
	{`vector(1) > bool vector(2) == vector(3)`, ``},
	{`vector(1) + bool vector(2)`, ``},
	{`vector(1) / on (a, b) vector(2)`, ``},
	{`vector(1) / ON(a) GROUP_LEFT vector(2)`, `vector(1) / on (a) group_left () vector(2)`},
	{`vector(1) / ignoring () group_right (c, d) vector(2)`, ``},
	{`vector(1) * on (a) group_left (rate({a="b"}[1m]))`, `vector(1) * on (a) group_left () rate({a="b"}[1m])`},
	{`vector(1) > bool on (a) vector(2)`, ``},
	{`vector(1) and on () 1 + vector(2)`, ``},
	{`rate({a="b"}[1m]) / rate({a="c"}[1m]) > 0.5`, ``},
	{`sum(rate({a="b"} != "x"[1m])) != 5`, ``},
	{`(sum(rate({a="b"}[1m])))`, `sum(rate({a="b"}[1m]))`},

	// Extensions.
	{`{a="b"} |=i "Refused" or "x" !=i "y"`, ``},
	{"{a=\"b\"}|=i`x`!=i\"\"", `{a="b"} |=i "x" !=i ""`},
	{`{a="b"} | distinct c`, ``}, {`{a="b"} | DISTINCT c,d | json`, `{a="b"} | distinct c, d | json`},
	{`{a="b", distinct="c"} | distinct="x" | distinct>5 | json distinct | drop distinct`, ``},
	{`{a="b"} | json --arrays | tags_0="x"`, ``},
	{`count_distinct_over_time(c, {a="b"} | json[5m] offset 1m) by (d)`, ``},
	{`COUNT_DISTINCT_OVER_TIME(rate, {a="b"}[5m]) without (d)`, `count_distinct_over_time(rate, {a="b"}[5m]) without (d)`},
	{`count_distinct_over_time(c, {a="b"}[5m])`, ``},
	{`{abs="a", time="b", clamp_max="c"} | round=1 | json deriv | label_format hour=minute`, ``},
	{`sum by (abs, time)(rate({a="b"}[1m]))`, ``},
	{`ABS(rate({a="b"}[1m]))`, `abs(rate({a="b"}[1m]))`},
	{`clamp(rate({a="b"}[1m]), 1, 1 + 1)`, `clamp(rate({a="b"}[1m]), 1, 2)`},
	{`round(vector(1.5))`, ``}, {`round(vector(1.5), 0.1)`, ``}, {`hour()`, ``}, {`hour(vector(0))`, ``},
	{`time() - scalar(vector(2)) * pi()`, ``}, {`time() > 5`, ``}, {`(time() + 1) * 2`, ``},
	{`histogram_quantile(0.9, sum by (le)(rate({a="b"}[1m])))`, ``},
	{`label_join(vector(1), "a", "-", "b", "c")`, ``}, {`label_join(vector(1), "a", "")`, ``},
	{`max_over_time(sum(rate({a="b"}[1m]))[1h:5m])`, ``},
	{`max_over_time((sum(rate({a="b"}[1m])))[1h:])`, `max_over_time(sum(rate({a="b"}[1m]))[1h:])`},
	{`max_over_time((vector(1) + vector(2))[1h:] offset -5m)`, ``},
	{`quantile_over_time(0.9, rate({a="b"}[1m])[ 90m : 1m ] offset 1d)`, `quantile_over_time(0.9, rate({a="b"}[1m])[1h30m:1m] offset 1d)`},
	{`predict_linear(avg_over_time({a="b"} | unwrap c[1m])[1h:1m], 3600 * 4)`, `predict_linear(avg_over_time({a="b"} | unwrap c[1m])[1h:1m], 14400)`},
	{`rate(max_over_time(rate({a="b"}[1m])[5m:])[1h:])`, ``},
	{`max_over_time(abs(vector(1))[1h:]) / on () group_left () deriv(vector(2)[1h:])`, ``},
	{`sum(abs(rate({a="b"}[1m])))`, ``}, {`vector(1) + abs(vector(2)) ^ 2`, ``},

	// The queries of our notes about a running Loki.
	{`sum by (d)(rate({a="b"} | json | c>5 [5m]))`, `sum by (d)(rate({a="b"} | json | c>5[5m]))`},
	{`sum(count_over_time({app="v2"} | json [5m]))`, `sum(count_over_time({app="v2"} | json[5m]))`},
	{`sum by(status)(count_over_time({app="v2"} | json | drop __error__, __error_details__ [5m]))`, `sum by (status)(count_over_time({app="v2"} | json | drop __error__, __error_details__[5m]))`},
	{`sum(count_over_time({app="v2"} | json | __error__="JSONParserErr" [5m]))`, `sum(count_over_time({app="v2"} | json | __error__="JSONParserErr"[5m]))`},
	{`sum_over_time({app="v2"} | json | unwrap bytes(s) [5m])`, `sum_over_time({app="v2"} | json | unwrap bytes(s)[5m])`},
	{`count_over_time({app="v2"}[5m])/0`, `count_over_time({app="v2"}[5m]) / 0`},
	{`vector(3) or sum(rate({app="v2"}[5m]))`, ``},
	{`absent_over_time({app="zz", b="c"}[5m])`, ``},
	{`sum(rate({app="v2"}[5m])) by (x)`, `sum by (x)(rate({app="v2"}[5m]))`},
	{`count by(a)(rate({app="v2"}[5m])) > 5`, `count by (a)(rate({app="v2"}[5m])) > 5`},
	{`{app="v2"} | drop app | keep nothing`, ``},
	{`{app="v2"} |~ "(?i)BROKEN"`, ``},
	{`{app="v2"} | json | status=500 or status="x"`, ``},
	{`{app="v2"} | json | label_format app="n{{.status}}"`, ``},
	{`{app="v2"} | line_format "{{.status}}-{{.nope}}"`, ``},
	{`{app="v2"} | pattern "<a>=<b> <_>"`, ``},
	{`rate({a="b"}[5m]) + bool rate({a="c"}[5m])`, ``},
	{`rate({a="b"}[5m]) + on () 1`, ``},
	{`rate({a="b"}[5m]) or on (a) group_left (b) rate({a="c"}[5m])`, ``},
	{`{a="b"} | x>20kB`, ``},
	{`{a="b"} | label_format rate=x, sum=y`, ``},
	{`{a="b"} | line_format "{{addf 0.1 0.2}} {{trunc 3 .x}} {{alignLeft 5 .y}}"`, ``},
}

func TestParseAccepts(t *testing.T) {
	for _, tc := range accepted {
		want := tc.want
		if want == "" {
			want = tc.query
		}
		e, err := Parse(tc.query)
		if err != nil {
			t.Errorf("Parse(%s): %v", tc.query, err)
			continue
		}
		if got := e.String(); got != want {
			t.Errorf("Parse(%s)\n got %s\nwant %s", tc.query, got, want)
		}
		checkRoundTrip(t, e)
	}
}

// checkRoundTrip parses every printed form of e and compares the trees.
func checkRoundTrip(t *testing.T, e Expr) {
	t.Helper()
	for _, width := range []int{-1, 0, 20, 60, 1000} {
		text := e.String()
		if width >= 0 {
			text = Pretty(e, width)
		}
		again, err := Parse(text)
		if err != nil {
			t.Errorf("printed with width %d: %v\n%s", width, err, text)
			continue
		}
		if diff := cmp.Diff(e, again, sameTree); diff != "" {
			t.Errorf("printed with width %d, the tree changes:\n%s\n%s", width, text, diff)
		}
	}
}

// The tree itself, with positions, for one query of each kind.
func TestParseTree(t *testing.T) {
	m := labels.MustNewMatcher
	logQuery := `{a="b"} |= "x" or ip("::1") | json c="d[0]" | (e>=5 or f=~"g"), h<2s | label_format i=j, k="{{.l}}" | drop m, n="o"`
	metric := `topk(3, quantile_over_time(0.5, {a="b"} | unwrap bytes(c) | d=1KiB [5m] offset 1h) by (e)) / on (f) group_right (g) vector(2)`
	tests := []struct {
		query string
		want  Expr
	}{
		{logQuery, &LogSelector{
			Matchers: []*labels.Matcher{m(labels.MatchEqual, "a", "b")},
			Stages: []Stage{
				&LineFilter{Position: 8, Op: LineContains, Operands: []LineOperand{{Position: 11, Text: "x"}, {Position: 18, Text: "::1", IP: true}}},
				&JSONParser{Position: 30, Extractions: []Extraction{{Position: 35, Label: "c", Expr: "d[0]"}}},
				&LabelFilter{Position: 46, Filter: &BoolFilter{
					Position: 62,
					Left: &BoolFilter{
						Position: 52, Or: true,
						Left:  &NumberFilter{Position: 47, Name: "e", Op: CompareGreaterEqual, Value: 5},
						Right: &StringFilter{Position: 55, Matcher: m(labels.MatchRegexp, "f", "g")},
					},
					Right: &DurationFilter{Position: 64, Name: "h", Op: CompareLess, Value: 2 * time.Second},
				}},
				&LabelFormat{Position: 71, Formats: []LabelAssignment{{Position: 84, Dst: "i", Src: "j"}, {Position: 89, Dst: "k", Template: "{{.l}}"}}},
				&DropLabels{Position: 102, Items: []LabelItem{{Position: 107, Name: "m"}, {Position: 110, Name: "n", Matcher: m(labels.MatchEqual, "n", "o")}}},
			},
		}},
		{metric, &BinaryExpr{
			Position: 91, Op: OpDiv,
			Matching: &VectorMatching{Position: 93, On: true, Labels: []string{"f"}, Group: GroupRight, Include: []string{"g"}},
			Left: &VectorAggregation{Op: OpTopk, Param: 3, Expr: &RangeAggregation{
				Position: 8, Op: OpQuantileOverTime, Param: 0.5,
				Selector: &LogSelector{Position: 32, Matchers: []*labels.Matcher{m(labels.MatchEqual, "a", "b")}},
				Range:    5 * time.Minute, Offset: time.Hour,
				Unwrap: &Unwrap{Position: 42, Label: "c", Conversion: ConvertBytes, Filters: []*LabelFilter{
					{Position: 60, Filter: &BytesFilter{Position: 60, Name: "d", Op: CompareEqual, Value: 1024}},
				}},
				Grouping: &Grouping{Position: 83, Labels: []string{"e"}},
			}},
			Right: &Vector{Position: 116, Value: 2},
		}},
	}
	for _, tc := range tests {
		got, err := Parse(tc.query)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.want, got, sameMatchers); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.query, diff)
		}
	}
}

func TestFold(t *testing.T) {
	for query, want := range map[string]float64{
		"7 % 4": 3, "-7 % 4": -3, "2 ^ 0.5": math.Sqrt2, "1 / 4": 0.25, "0 / 0": math.NaN(), "NaN == NaN": 0, "NaN != NaN": 1,
	} {
		e, err := Parse(query)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&Literal{Value: want}, e, sameTree); diff != "" {
			t.Errorf("%s: %s", query, diff)
		}
	}
}

func TestParseSelector(t *testing.T) {
	tests := []struct {
		text  string
		empty bool
		want  string // of the matchers, or of the error
	}{
		{`{a="b", c=~"d"}`, false, `{a="b", c=~"d"}`},
		{`{}`, true, `{}`},
		{`{a=~".*"}`, true, `{a=~".*"}`},
		{`{}`, false, emptyMatchers},
		{`{a=~".*", b=""}`, false, emptyMatchers},
		{`{a="b"} |= "x"`, false, `parse error at line 1, col 9: syntax error: unexpected |=, expecting $end`},
		{`rate({a="b"}[1m])`, false, `parse error at line 1, col 1: syntax error: unexpected rate, expecting {`},
		{``, true, `parse error at line 1, col 1: syntax error: unexpected $end, expecting {`},
	}
	for _, tc := range tests {
		var opts []Option
		if tc.empty {
			opts = append(opts, AllowEmptyMatchers())
		}
		ms, err := ParseSelector(tc.text, opts...)
		got := (&LogSelector{Matchers: ms}).String()
		if err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("ParseSelector(%s, empty: %t)\n got %s\nwant %s", tc.text, tc.empty, got, tc.want)
		}
	}
}

func TestParseMatchers(t *testing.T) {
	sets, err := ParseMatchers([]string{`{a="b"}`, `{}`}, AllowEmptyMatchers())
	if err != nil || len(sets) != 2 || len(sets[0]) != 1 || len(sets[1]) != 0 {
		t.Errorf("got %v, %v", sets, err)
	}
	_, err = ParseMatchers([]string{`{a="b"}`, `{c`})
	var pe *ParseError
	if !asParseError(err, &pe) || pe.Query != `{c` || pe.Col != 3 {
		t.Errorf("got %#v", err)
	}
}

// Texts at the limits end quickly, with an answer.
func TestLimits(t *testing.T) {
	repeat := func(s string, size int) string { return strings.Repeat(s, size/len(s)) }
	deep := fmt.Sprintf("query is nested too deep (limit: %d levels)", maxDepth)
	half := MaxQueryBytes / 2
	tests := []struct{ name, query, want string }{
		{"at the limit", `{a="b"} |= "` + strings.Repeat("x", MaxQueryBytes-13) + `"`, ""},
		{"too long", `{a="b"} |= "` + strings.Repeat("x", MaxQueryBytes-12) + `"`, "parse error : input size too long (131073 > 131072)"},
		{"parentheses", repeat("(", half) + "1" + repeat(")", half-1), deep},
		{"not too many parentheses", repeat("(", 400) + "1" + repeat(")", 400), ""},
		{"aggregations", repeat("sum(", half), deep},
		{"powers", repeat("vector(1)^", half) + "1", deep},
		{"log range parentheses", "rate(" + repeat("(", half), deep},
		{"label filter parentheses", `{a="b"} | ` + repeat("(", half), deep},
		{"neighbours", `{a="b"} | ` + repeat(`a="b" `, half), deep},
		{"a long sum", repeat("vector(1)+", half) + "1", ""},
		{"a long and", `{a="b"} | x="y"` + repeat(` and a="b"`, half), ""},
		{"a long or", `{a="b"} | x="y"` + repeat(` or a="b"`, half), ""},
		{"many stages", `{a="b"}` + repeat(`|="x"`, half), ""},
		{"many numbers", `{a="b"}` + repeat(`|a=1`, half), ""},
		{"many operands", `{a="b"} |= "x"` + repeat(` or "y"`, half), ""},
		{"many labels", `sum by (` + repeat(`a,`, half) + `b)(vector(1))`, ""},
		{"many brackets", repeat("[", half), "missing closing ']' in duration"},
		{"template parentheses", "{a=`b`} | line_format `{{" + repeat("(", half) + "`", "max expression depth exceeded"},
		{"regexp parentheses", "{a=`b`} |~ `" + repeat("(", half/2) + repeat(")", half/2) + "`", "expression nests too deeply"},
		{"pattern", "{a=`b`} | pattern `<x>" + repeat("<aaaa", half) + "`", ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			e, err := Parse(tc.query)
			switch {
			case err == nil && tc.want == "":
				if again, err := Parse(e.String()); err != nil || again.String() != e.String() {
					// Operators get blanks around them: the text may grow over the limit.
					if len(e.String()) <= MaxQueryBytes {
						t.Errorf("printed and parsed again: %v", err)
					}
				}
				Pretty(e, 80)
				RangeAggregations(e)
				NeededLabels(e)
				for _, s := range Selectors(e) {
					s.RequiredSubstrings()
				}
			case err == nil:
				t.Errorf("accepted, want %q", tc.want)
			case tc.want == "" || !strings.Contains(err.Error(), tc.want):
				t.Errorf("got %.300s, want %q", err, tc.want)
			case len(err.Error()) > maxMsgBytes+100:
				t.Errorf("the message has %d bytes", len(err.Error()))
			}
		})
	}
}
