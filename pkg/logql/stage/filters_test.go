package stage

import (
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

func mustLabels(ss ...string) labels.Labels { return labels.FromStrings(ss...) }

func TestLineFilterAccepts(t *testing.T) {
	accepts(t, `|= "a"`, `!= "a"`, `|~ "a.*"`, `!~ "a" or "b"`, `|> "<_>a"`, `!> ""`, `|= ip("10.0.0.0/8")`, `!= ip("::1") or "x"`)
}

func TestLineFilterRefuses(t *testing.T) {
	refuses(t, `|~ "("`, `|= a`, `|> "<a>"`, `|= ip("x")`, `|~ ip("1.2.3.4")`, `|= "a" or`)
}

func TestLineFilterTransforms(t *testing.T) {
	on := func(line string, texts ...string) (cs []change) {
		for _, text := range texts {
			cs = append(cs, change{text, line, line + " {}"})
		}
		return cs
	}
	not := func(line string, texts ...string) (cs []change) {
		for _, text := range texts {
			cs = append(cs, change{text, line, "dropped"})
		}
		return cs
	}
	transforms(t, on("Hello world\nline 2", `|= ""`, `|= "world"`, `!= "World"`, `|~ "(?i)WORLD"`, `|~ "(?s)wor.*2"`, `|~ "^H"`,
		`|~ "world|moon"`, `|~ "(wor|moo)ld"`, `|= "moon" or "world"`, `!= "moon" or "sun"`, `!~ "^line"`, `|~ "(?m)^line"`,
		`|~ ".*world.*"`, `|~ "h?ello"`, `|~ "[wv]orld"`, `|~ "(?i:hell)o"`, `|~ ""`)...)
	transforms(t, not("Hello world\nline 2", `|= "moon"`, `!= "world"`, `!= ""`, `|~ "^world"`, `|~ "WORLD"`, `!= "moon" or "world"`,
		`!~ "(?i)HELLO"`, `|~ "moon|sun"`, `|~ "wor.*2"`)...)
	transforms(t, on("k=abc Kelvin", `|~ "(?i)KELVIN"`, `|~ "(?i)\\bK=ABC\\b"`)...)
	transforms(t, on("\u212aelvin", `|~ "(?i)kelvin"`)...)

	transforms(t, on("GET /a from 10.1.2.3:8080, ok", `|= ip("10.0.0.0/8")`, `|= ip("10.1.2.3")`, `|= ip("10.1.2.1-10.1.2.9")`, `!= ip("10.1.2.4")`)...)
	transforms(t, not("GET /a from 10.1.2.3:8080, ok", `!= ip("10.0.0.0/8")`, `|= ip("192.168.0.0/16")`)...)
	transforms(t, on("from [2001:db8::1]:80 and fe80::1.", `|= ip("2001:db8::/32")`, `|= ip("fe80::1")`)...)
	transforms(t, not("at 12:30:45.123 v1.2.3", `|= ip("0.0.0.0/0")`, `|= ip("::/0")`)...)

	transforms(t, on("GET /a 200", `|> "<_> /a <_>"`, `|> "GET<_>"`, `|> "<_>200"`, `|> "GET /a 200"`, `!> "GET"`, `!> "POST<_>"`, `|> "<_>"`,
		`|> "200"`, `|> "/a <_>"`, `!> "<_> /a"`)...)
	transforms(t, not("GET /a 200", `|> "GET"`, `|> "<_>GET<_>"`, `|> "GET /a 200<_>"`, `|> "<_> /b <_>"`, `|> ""`, `!> "<_>"`)...)
	transforms(t, on("aXbXc", `|> "<_>X<_>X<_>"`, `|> "a<_>c"`)...)
	transforms(t, not("aXb", `|> "<_>X<_>X<_>"`, `|> "aXb<_>b"`, `|> "<_>Xb<_>"`)...)
	// The first place of a literal counts, even if a later one would do.
	transforms(t, not("foofoo", `|> "<_>foo"`, `|> "foo"`, `|> "<_>foo<_>"`)...)
	transforms(t, on("", `|> ""`, `|= ""`)...)
	transforms(t, not("", `|> "<_>"`)...)
	// A filter behind a stage that changes lines sees the new ones.
	transforms(t,
		change{`| line_format "new" |= "new"`, "old", "new {}"},
		change{`| line_format "new" |= "old"`, "old", "dropped"},
		change{`| json |= "a"`, `{"a":1}`, `{"a":1} {a="1"}`})
}

// TestLineRegexpAgainstRegexp compares the rewritten forms with the expression.
func TestLineRegexpAgainstRegexp(t *testing.T) {
	lines := []string{"", "a", "abc", "ABC", "xabcx", "foo bar", "Foo Bar", "FOO", "fo", "k", "K", "\u212a", "ſ", "s", "S", "\xff", "\ufffd",
		"a\nb", "ab", "aab", "error", "ERROR: x", "Error", "errors", "warn", "é", "É", "straße", "kk", "aK\u212a"}
	for _, expr := range []string{"abc", "(?i)abc", "foo|bar", "(?i)foo|bar", "(foo|bar) (baz|Bar)", "fo+", "f.o", "a.b", ".*abc.*", "(?i)k", "(?i)s",
		"(?i)kk", "[ab]c", "(?i)[ab]c", "a?b", "(?i)a?b", "error|warn(ing)?", "(?i)(error|warn)", "\ufffd", "é", "(?i)é", "(?i)error|Foo", "^a", "b$",
		"(abc)+", "(abc){2,}", "x{0}", "(?i)str.sse", "(?-i)A", "(?i:a)B", "a|", "(|x)"} {
		re := regexp.MustCompile(expr)
		tests, err := compileLineRegexp(expr)
		if err != nil {
			t.Fatal(err)
		}
		f := LineFilter{tests: tests}
		for _, line := range lines {
			for _, l := range []string{line, "pre " + line + " post", strings.Repeat(line, 3)} {
				if got, want := f.Match(l), re.MatchString(l); got != want {
					t.Errorf("%q on %q: %v, want %v", expr, l, got, want)
				}
			}
		}
	}
}

func TestLabelFilterAccepts(t *testing.T) {
	accepts(t, `| a="b"`, `| a!="b" and c=~"d"`, `| a>1 or (b<=2s and c==3KB), d!=4`, `| a=ip("10.0.0.0/8")`, `| a>1 b<2`)
}

func TestLabelFilterRefuses(t *testing.T) {
	refuses(t, `| a`, `| a=`, `| a=~"("`, `| a>"b"`, `| a=ip("x")`, `| (a="b"`, `| a=~1`, `| "a"="b"`)
}

func TestLabelFilterTransforms(t *testing.T) {
	const line = `n=5 d=1500ms s="5 MB" ip=10.1.2.3 t=text e=`
	on := func(texts ...string) {
		t.Helper()
		for _, text := range texts {
			if p, err := compile("| logfmt " + text); err != nil {
				t.Error(err)
			} else if got := runLine(p, line, mustLabels("app", "a"), mustLabels()); strings.Contains(got, "__error__") || got == "dropped" {
				t.Errorf("%s: %s", text, got)
			}
		}
	}
	not := func(texts ...string) {
		t.Helper()
		for _, text := range texts {
			transforms(t, change{"| logfmt " + text, line, "dropped"})
		}
	}
	on(`| t="text"`, `| t!="x"`, `| t=~"te.t"`, `| t!~"te"`, `| nope=""`, `| nope!="x"`, `| app="a"`, `| e=""`,
		`| n>4`, `| n>=5`, `| n<6`, `| n<=5`, `| n==5`, `| n=5`, `| n!=4`, `| n>-1`,
		`| d>1s`, `| d<1m`, `| d=1500ms`, `| s>4MB`, `| s=5MB`, `| s<5MiB`,
		`| ip=ip("10.0.0.0/8")`, `| ip!=ip("10.1.2.4")`, `| t!=ip("10.0.0.0/8")`, `| ip=ip("10.1.2.3-10.1.2.9")`,
		`| n>4 and t="text"`, `| n>9 or t="text"`, `| n>4, t="text"`, `| n>4 t="text"`, `| (n>9 or n<6) and t="text"`)
	not(`| t=ip("10.0.0.0/8")`, `| nope!=ip("10.0.0.0/8")`, `| d>1 | __error__>0`, `| t="x"`, `| t!="text"`, `| t=~"te"`, `| nope!=""`, `| nope>1`, `| nope!=1`, `| n>5`, `| n!=5`, `| d>2s`, `| s>5MB`,
		`| ip=ip("192.168.0.0/16")`, `| ip!=ip("10.0.0.0/8")`, `| n>9 and t="text"`, `| n>9 or t="x"`)
	fails := line + ` {__error__="LabelFilterErr", d="1500ms", ip="10.1.2.3", n="5", s="5 MB", t="text"}`
	for _, text := range []string{`| t>1`, `| t!=1`, `| t>1s`, `| n>1s`, `| t>1KB`, `| d>1`, `| d>1 | t=ip("10.0.0.0/8")`} {
		transforms(t, change{"| logfmt " + text, line, fails})
	}
}
