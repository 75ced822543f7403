package stage

import "testing"

func TestLogfmtAccepts(t *testing.T) {
	accepts(t, `| logfmt`, `| logfmt --strict`, `| logfmt --keep-empty --strict`, `| logfmt a, b="c"`, `| logfmt --strict a="b"`)
}

func TestLogfmtRefuses(t *testing.T) {
	refuses(t, `| logfmt --lenient`, `| logfmt a="b.c"`, `| logfmt "a"`, `| logfmt a=`)
}

func TestLogfmtTransforms(t *testing.T) {
	same := func(line, ls string) change { return change{`| logfmt`, line, line + " " + ls} }
	transforms(t,
		same(`a=b c=d`, `{a="b", c="d"}`),
		same("  a=b \t\n c=d  ", `{a="b", c="d"}`),
		same(``, `{}`),
		same(`a="b c" d="e\"f\n\u0041"`, `{a="b c", d="e\"f\nA"}`),
		same(`bare a= b="" c=d`, `{c="d"}`),
		same(`a=1 a=2`, `{a="1"}`),
		same(`a-b=1 1x=2 ü=3`, `{_="3", _1x="2", a_b="1"}`),
		same(`app=x trace=y`, `{app_extracted="x", trace_extracted="y"}`),
		same(`=1 a=b=c "q"=1 d=e"f g=h`, `{g="h"}`),
		same(`a=1 b="unclosed c=2`, `{a="1"}`),
		same("a=x\xffy", `{a="x y"}`),
		change{`| logfmt --strict`, `a=1 b=x=y c=2`, `a=1 b=x=y c=2 {__error__="LogfmtParserErr", a="1"}`},
		change{`| logfmt --strict`, `a=1 c=2`, `a=1 c=2 {a="1", c="2"}`},
		change{`| logfmt x="b", c`, `a=1 b="2\t" c=3`, `a=1 b="2\t" c=3 {c="3", x="2\t"}`},
		change{`| logfmt x="a_b"`, `a-b=1`, `a-b=1 {x="1"}`},
		change{`| logfmt x="a", y="a"`, `a=1 a=2`, `a=1 a=2 {x="2", y="2"}`},
		change{`| logfmt x="a"`, `a=1 x=2`, `a=1 x=2 {x="2"}`},
		change{`| logfmt app="a"`, `a=1`, `a=1 {app_extracted="1"}`},
		change{`| logfmt app="a", trace`, `b=1`, `b=1 {}`},
		change{`| logfmt --strict x="c"`, `a==1 c=2`, `a==1 c=2 {__error__="LogfmtParserErr"}`},
	)
}

func TestLogfmtEmptyValues(t *testing.T) {
	for text, want := range map[string]string{
		`| logfmt --keep-empty`:  `{app="a", bare="", e=""}`,
		`| logfmt x="e", y="no"`: `{app="a", x="", y=""}`,
	} {
		p, err := compile(text)
		if err != nil {
			t.Fatal(err)
		}
		b := batchOf(`bare e=`, mustLabels("app", "a"), mustLabels())
		p.Row(b, 0)
		if got := p.Labels().Flat.String(); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestLogfmtErrorTellsThePlace(t *testing.T) {
	p := logfmtScanner{s: `a=1 b=2 c=x=y`}
	for {
		if _, _, _, ok := p.next(); !ok {
			break
		}
	}
	if got, want := p.details(), "logfmt syntax error at pos 12 : unexpected '='"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
