package lokiapi

import (
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

func TestParseLabels(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{`{}`, `{}`},
		{` { } `, `{}`},
		{`{a="b"}`, `{a="b"}`},
		{`{b="2",a="1"}`, `{a="1", b="2"}`},
		{`{ a = "1" , b = "2" , }`, `{a="1", b="2"}`},
		{`{a=""}`, `{}`},
		{`{a="",b="x"}`, `{b="x"}`},
		{`{a="q\"u\\o\nte"}`, `{a="q\"u\\o\nte"}`},
		{`{a="\u00e9\x41\101"}`, `{a="éAA"}`},
		{"{a=`raw\\n`}", `{a="raw\\n"}`},
		{`{a='it\'s'}`, `{a="it's"}`},
		{`{a="ünï"}`, `{a="ünï"}`},
		{`{a="x,y}"}`, `{a="x,y}"}`},
		{"{a=\"\xff\"}", "{a=\"\uFFFD\"}"},
		{``, `{}`},
		{` `, `{}`},
		{`{"a"="b", c="d"}`, `{a="b", c="d"}`},
		{`foo{a="b"}`, `{__name__="foo", a="b"}`},
	} {
		got, err := ParseLabels(tt.text)
		if err != nil || got.String() != tt.want {
			t.Errorf("ParseLabels(%s) = %s, %v; want %s", tt.text, got, err, tt.want)
		}
	}
}

func TestParseLabelsRefuses(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{`a`, "expected '{' at byte 1"},
		{`a="b"`, "expected '{' at byte 1"},
		{`foo{__name__="bar"}`, `label name "__name__" occurs twice`},
		{`{"a-b"="c"}`, `label name "a-b" is not legal`},
		{`{""="c"}`, `label name "" is not legal`},
		{`{"a`, "value is not terminated"},
		{`{`, "expected a label name"},
		{`{a}`, `expected '=' after label name "a"`},
		{`{a=b}`, "expected a quoted value"},
		{`{a="b`, "value is not terminated"},
		{`{a="b\"}`, "value is not terminated"},
		{`{a="b" c="d"}`, "expected ',' or '}'"},
		{`{a="b"} x`, "unexpected text after '}'"},
		{`{a="b",a="c"}`, `label name "a" occurs twice`},
		{`{1a="b"}`, "expected a label name"},
		{`{a-b="c"}`, `expected '=' after label name "a"`},
		{`{a=~"b"}`, "expected a quoted value"},
		{`{a="\q"}`, "bad escape sequence"},
		{`{,}`, "expected a label name"},
	} {
		_, err := ParseLabels(tt.text)
		if err == nil || !strings.HasPrefix(err.Error(), "couldn't parse labels: ") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("ParseLabels(%s): error %v; want %s", tt.text, err, tt.want)
		}
	}
}

func TestSanitizeName(t *testing.T) {
	for in, want := range map[string]string{
		"a": "a", "a-b": "a_b", "1x": "_1x", "ünï": "_n_", "a.b": "a_b", "": "", "_": "_", "日本": "__", "\xff": "_",
	} {
		if got := SanitizeName(in); got != want {
			t.Errorf("SanitizeName(%q) = %q, want %q", in, got, want)
		}
	}
}

// FuzzParseLabels checks that what is accepted survives printing and parsing.
func FuzzParseLabels(f *testing.F) {
	for _, s := range []string{`{}`, `{a="b"}`, `{a="\u00e9", b='x',}`, "{a=`x`}", `{a="`, "{a=\"\\xff\xfe\"}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ls, err := ParseLabels(s)
		if err != nil {
			return
		}
		again, err := ParseLabels(ls.String())
		if err != nil || !labels.Equal(ls, again) {
			t.Fatalf("%q parsed to %s, and that to %s, %v", s, ls, again, err)
		}
		ls.Range(func(l labels.Label) {
			if !isLabelName(l.Name) || l.Value == "" {
				t.Fatalf("%q has the label %q=%q", s, l.Name, l.Value)
			}
		})
	})
}
