package logql

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParsePattern(t *testing.T) {
	lit := func(s string) PatternPart { return PatternPart{Literal: s} }
	capture := func(s string) PatternPart { return PatternPart{Capture: true, Name: s} }
	tests := []struct {
		text  string
		parts []PatternPart
		err   string
	}{
		{"<a>", []PatternPart{capture("a")}, ""},
		{"<ip> - <_> [<t_1>]", []PatternPart{capture("ip"), lit(" - "), capture(""), lit(" ["), capture("t_1"), lit("]")}, ""},
		{"< <a> <1> <b-c> <d", []PatternPart{lit("< "), capture("a"), lit(" <1> <b-c> <d")}, ""},
		{"<<a>>", []PatternPart{lit("<"), capture("a"), lit(">")}, ""},
		{"<ä> <b>", []PatternPart{lit("<ä> "), capture("b")}, ""},
		{"", nil, "empty pattern"},
		{"x <_>", nil, "at least one named capture is required, such as <status>"},
		{"<a><_>", nil, "captures side by side at byte 3: put text between them"},
		{"<a> <b> <a>", nil, "duplicate capture name <a>"},
	}
	for _, tc := range tests {
		parts, err := ParsePattern(tc.text)
		if diff := cmp.Diff(tc.parts, parts); diff != "" || errText(err) != tc.err {
			t.Errorf("ParsePattern(%q): %v, want %q\n%s", tc.text, err, tc.err, diff)
		}
	}
	if parts, err := ParseLinePattern(""); parts != nil || err != nil {
		t.Errorf("the empty line pattern: %v, %v", parts, err)
	}
}

func TestParseJSONPath(t *testing.T) {
	key := func(s string) PathElement { return PathElement{Key: s} }
	index := func(i int) PathElement { return PathElement{Index: i, IsIndex: true} }
	tests := []struct {
		text string
		path []PathElement
		err  string
	}{
		{"a", []PathElement{key("a")}, ""},
		{"a.b-c[0][12].d", []PathElement{key("a"), key("b-c"), index(0), index(12), key("d")}, ""},
		{`["k k"].z["\"]"]`, []PathElement{key("k k"), key("z"), key(`"]`)}, ""},
		{"[3]", []PathElement{index(3)}, ""},
		{"", nil, "empty path"},
		{".a", nil, "at byte 0: a key is missing"},
		{"a.", nil, "at byte 1: a key is missing"},
		{"a b", nil, "at byte 1: unexpected ' ', expecting . or ["},
		{"a[", nil, "at byte 1: missing closing ']'"},
		{"a[x]", nil, `at byte 1: "x" is neither an index nor a quoted key`},
		{"a[-1]", nil, `at byte 1: "-1" is neither an index nor a quoted key`},
		{"a[99999999999]", nil, `at byte 1: "99999999999" is neither an index nor a quoted key`},
		{`a["x]`, nil, "at byte 1: the quoted key does not end"},
		{`a["x"`, nil, "at byte 1: missing closing ']'"},
		{`a[0]b`, nil, "at byte 4: unexpected 'b', expecting . or ["},
	}
	for _, tc := range tests {
		path, err := ParseJSONPath(tc.text)
		if diff := cmp.Diff(tc.path, path); diff != "" || errText(err) != tc.err {
			t.Errorf("ParseJSONPath(%q): %v, want %q\n%s", tc.text, err, tc.err, diff)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestIPRange(t *testing.T) {
	tests := []struct {
		text    string
		inside  string
		outside string
	}{
		{"10.1.2.3", "10.1.2.3 ::ffff:10.1.2.3", "10.1.2.4 ::1"},
		{"10.0.0.0/8", "10.0.0.0 10.255.255.255", "9.255.255.255 11.0.0.0 ::a00:1"},
		{"10.1.2.3/31", "10.1.2.2 10.1.2.3", "10.1.2.4"},
		{"0.0.0.0/0", "0.0.0.0 255.255.255.255", "::1"},
		{"10.0.0.1-10.0.0.9", "10.0.0.1 10.0.0.9", "10.0.0.0 10.0.0.10"},
		{" 10.0.0.1 - 10.0.0.1 ", "10.0.0.1", "10.0.0.2"},
		{"::1", "::1", "::2 0.0.0.1"},
		{"fe80::1%eth0", "fe80::1 fe80::1%eth1", "fe80::2"},
		{"fd00::/8", "fd00:: fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe00:: fc00::"},
		{"::ffff:10.0.0.0/104", "10.0.0.1 10.255.255.255", "11.0.0.0 ::1"},
	}
	for _, tc := range tests {
		r, err := ParseIPRange(tc.text)
		if err != nil {
			t.Errorf("ParseIPRange(%s): %v", tc.text, err)
			continue
		}
		for _, in := range strings.Fields(tc.inside) {
			if !r.Contains(netip.MustParseAddr(in)) {
				t.Errorf("%s does not contain %s", tc.text, in)
			}
		}
		for _, out := range strings.Fields(tc.outside) {
			if r.Contains(netip.MustParseAddr(out)) {
				t.Errorf("%s contains %s", tc.text, out)
			}
		}
	}
	for _, bad := range []string{"", "x", "1.2.3", "1.2.3.4/33", "1.2.3.4-", "1.2.3.4-::1", "1.2.3.4-1.2.3.3", "a/8"} {
		if r, err := ParseIPRange(bad); err == nil {
			t.Errorf("ParseIPRange(%q) = %v", bad, r)
		}
	}
}

// What the literals print is what they were, down to the last bit.
func TestLiteralsRoundTrip(t *testing.T) {
	for _, d := range []time.Duration{0, 1, 999, time.Microsecond, 1500 * time.Microsecond, time.Millisecond, 90 * time.Second,
		25 * time.Hour, 7 * 24 * time.Hour, 365 * 24 * time.Hour, 1<<63 - 1, time.Hour + 1} {
		text := formatDuration(d)
		if got, err := parseDuration(text); got != d || err != nil {
			t.Errorf("%d prints %s, which is %d, %v", d, text, got, err)
		}
		if toks := lex(text); len(toks) != 2 || toks[0].kind != tDuration {
			t.Errorf("%s is not one token: %v", text, toks)
		}
	}
	for _, n := range []uint64{0, 1, 999, 1000, 1024, 1536, 1e6, 1 << 20, 5e9, 1 << 50, 3e15, 1<<53 + 2, 1 << 63} {
		text := formatBytes(n)
		if got, ok := parseBytes(text); got != n || !ok {
			t.Errorf("%d prints %s, which is %d, %t", n, text, got, ok)
		}
		if toks := lex(text); len(toks) != 2 || toks[0].kind != tBytes {
			t.Errorf("%s is not one token: %v", text, toks)
		}
	}
	for _, v := range []float64{0, 1, 0.1, 1e-6, 1e-7, 1e15, 123456789.125, 1.7976931348623157e308, 5e-324} {
		text := formatNumber(v)
		if toks := lex(text); len(toks) != 2 || toks[0].kind != tNumber || toks[0].number != v {
			t.Errorf("%g prints %s, which is %v", v, text, toks)
		}
	}
}

func TestParseBytesRefuses(t *testing.T) {
	for _, bad := range []string{"20kb", "20", "1EiB", "1EB", "1ZB", "1BB", "1KK", "20000PiB"} {
		if n, ok := parseBytes(bad); ok {
			t.Errorf("%s is taken for %d bytes", bad, n)
		}
	}
}

// text/template knows the built-in functions that parseTemplate allows.
func TestTemplateBuiltins(t *testing.T) {
	for name := range templateBuiltins {
		if _, err := template.New("").Parse("{{" + name + " 1}}"); err != nil {
			t.Errorf("%s is no function of text/template: %v", name, err)
		}
	}
	names := TemplateFunctions()
	if !slices.IsSorted(names) || !slices.Contains(names, "unixToTime") {
		t.Errorf("TemplateFunctions: %v", names)
	}
}

func TestSuggestions(t *testing.T) {
	for word, want := range map[string]string{
		"count_overtime": "count_over_time", "raet": "rate", "ratee": "rate", "sumn": "sum", "toppk": "topk",
		"quantile_over_tme": "quantile_over_time", "cuont": "count", "avarage_over_time": "",
		"rate": "", "x": "", "status": "", "zzzzzzzz": "", strings.Repeat("a", 10000): "",
	} {
		if got := nearest(word, functionNames); got != want {
			t.Errorf("nearest to %.30s is %q, want %q", word, got, want)
		}
	}
}

func TestWalk(t *testing.T) {
	e, err := Parse(`sum by (a) (rate({a="b"} |= "c" | (d=1 or e=2) [1m])) / label_replace(avg_over_time({f="g"} | unwrap h | i=1 [1m]) by (j), "k", "l", "m", "n") + vector(1)`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	Walk(e, func(n Node) bool {
		got = append(got, strings.TrimPrefix(fmt.Sprintf("%T", n), "*logql."))
		return true
	})
	want := strings.Fields(`BinaryExpr BinaryExpr VectorAggregation Grouping RangeAggregation LogSelector LineFilter LabelFilter BoolFilter NumberFilter NumberFilter
		LabelReplace RangeAggregation LogSelector Unwrap LabelFilter NumberFilter Grouping Vector`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := len(Selectors(e)); n != 2 {
		t.Errorf("%d selectors", n)
	}
	if n := len(RangeAggregations(e)); n != 2 {
		t.Errorf("%d range aggregations", n)
	}
	var visited int
	Walk(e, func(Node) bool { visited++; return false })
	if visited != 1 {
		t.Errorf("visit returned false, and %d nodes were visited", visited)
	}
}
