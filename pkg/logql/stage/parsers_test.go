package stage

import "testing"

func TestRegexpAccepts(t *testing.T) {
	accepts(t, `| regexp "(?P<a>.*)"`, "| regexp `(?P<a>\\d+) (x)`", `| regexp "(?i)(?P<a>x)|(?P<b>y)"`)
}

func TestRegexpRefuses(t *testing.T) {
	refuses(t, `| regexp "x"`, `| regexp "(x)"`, `| regexp "(?P<a>x"`, `| regexp "(?P<a>x)(?P<a>y)"`, `| regexp`)
}

func TestRegexpTransforms(t *testing.T) {
	transforms(t,
		change{`| regexp "(?P<m>\\w+) (?P<p>\\S+)"`, `GET /x 200`, `GET /x 200 {m="GET", p="/x"}`},
		change{`| regexp "^(?P<m>\\d+)"`, `GET`, `GET {}`},
		change{`| regexp "(?P<app>x)"`, `x`, `x {app_extracted="x"}`},
		change{`| regexp "(?P<m>a)" | regexp "(?P<m>b)"`, `ab`, `ab {m="a"}`},
	)
}

func TestPatternAccepts(t *testing.T) {
	accepts(t, `| pattern "<a>"`, `| pattern "<_> <b>"`, `| pattern "[<a>] < <b>"`)
}

func TestPatternRefuses(t *testing.T) {
	refuses(t, `| pattern ""`, `| pattern "x"`, `| pattern "<_>"`, `| pattern "<a><b>"`, `| pattern "<a> <a>"`)
}

func TestPatternTransforms(t *testing.T) {
	transforms(t,
		change{`| pattern "<ip> - <_> [<ts>] <rest>"`, `1.2.3.4 - bob [now] GET /`, `1.2.3.4 - bob [now] GET / {ip="1.2.3.4", rest="GET /", ts="now"}`},
		change{`| pattern "<a>=<b> <_>"`, `x=1`, `x=1 {a="x", b="1"}`},
		change{`| pattern "<a>=<b> <_>"`, `xyz`, `xyz {a="xyz"}`},
		change{`| pattern "level=<a> "`, `level=x rest`, `level=x rest {a="x"}`},
		change{`| pattern "level=<a>"`, ` level=x`, ` level=x {}`},
		change{`| pattern "<app> <x>"`, `a b`, `a b {app_extracted="a", x="b"}`},
		change{`| pattern "<a> <b>"`, "x\xff y", "x\xff y {a=\"x \", b=\"y\"}"},
	)
}

func TestUnpackAccepts(t *testing.T) { accepts(t, `| unpack`) }

func TestUnpackRefuses(t *testing.T) { refuses(t, `| unpack a`, `| unpack "a"`) }

func TestUnpackTransforms(t *testing.T) {
	transforms(t,
		change{`| unpack`, `{"pod":"p","app":"b","n":1,"o":{"x":"y"},"_entry":"li\nne"}`, "li\nne {app_extracted=\"b\", pod=\"p\"}"},
		change{`| unpack`, `{"pod":"p"}`, `{"pod":"p"} {}`},
		change{`| unpack`, `plain`, `plain {__error__="JSONParserErr"}`},
		change{`| unpack`, `{"_entry":"x"`, `{"_entry":"x" {__error__="JSONParserErr"}`},
		change{`| unpack |= "inner"`, `{"_entry":"inner"}`, `inner {}`},
		change{`| unpack |= "_entry"`, `{"_entry":"inner"}`, `dropped`},
	)
}

func TestDecolorizeAccepts(t *testing.T) { accepts(t, `| decolorize`) }

func TestDecolorizeRefuses(t *testing.T) { refuses(t, `| decolorize "x"`) }

func TestDecolorizeTransforms(t *testing.T) {
	d := func(line, want string) change { return change{`| decolorize`, line, want + " {}"} }
	transforms(t,
		d("plain", "plain"),
		d("\x1b[31mred\x1b[0m", "red"),
		d("\x1b[1;38;5;196mx\x1b[m y", "x y"),
		d("\u009b31mred", "red"),
		d("\x1b]0;title\x07x\x1b]8;;u\x1b\\y", "xy"),
		d("\x1b(Bx\x1b=y", "xy"),
		d("a\x1b", "a\x1b"),
		d("\x1b[31", ""),
		d("\x1b[31\nx", "\nx"),
	)
}
