package stage

import (
	"strings"
	"testing"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
)

func TestLineFormatAccepts(t *testing.T) {
	accepts(t, `| line_format ""`, `| line_format "{{.a}}"`, "| line_format `{{if eq .a \"b\"}}x{{else}}y{{end}}`", `| line_format "{{range $i, $e := fromJson .a}}{{$e}}{{end}}"`)
}

func TestLineFormatRefuses(t *testing.T) {
	refuses(t, `| line_format`, `| line_format "{{"`, `| line_format "{{bad .a}}"`, `| line_format "{{.a"`, `| line_format a`)
}

func TestLineFormatTransforms(t *testing.T) {
	f := func(tmpl, want string) change {
		return change{"| logfmt | drop e, j, d, n | logfmt | line_format `" + tmpl + "` | keep nothing", `n=5 d=1.5s e="" w="Hello World" j=[1,2]`, want + " {}"}
	}
	transforms(t,
		f("{{.n}}-{{.nope}}-{{.app}}-{{.trace}}", "5--a-t1"),
		f("{{__line__}}!", `n=5 d=1.5s e="" w="Hello World" j=[1,2]!`),
		f(`{{__timestamp__ | date "2006-01-02T15:04:05.000Z07:00"}}`, "2023-11-14T22:13:20.123Z"),
		f("{{__timestamp__ | unixEpoch}} {{__timestamp__ | unixEpochMillis}} {{__timestamp__ | unixEpochNanos}}", "1700000000 1700000000123 1700000000123456789"),
		f(`{{ToLower .w}} {{ToUpper .w}} {{.w | lower}} {{.w | upper}} {{title "ab cd"}}`, "hello world HELLO WORLD hello world HELLO WORLD Ab Cd"),
		f(`{{Replace .w "l" "L" 2}} {{Replace .w "l" "L" -1}} {{replace "l" "_" .w}}`, "HeLLo World HeLLo WorLd He__o Wor_d"),
		f(`[{{Trim "xax" "x"}}{{TrimLeft "xax" "x"}}{{TrimRight "xax" "x"}}{{TrimPrefix "xax" "x"}}{{TrimSuffix "xax" "x"}}{{TrimSpace " a "}}]`, "[aaxxaaxxaa]"),
		f(`[{{trim " a "}}{{trimAll "x" "xax"}}{{trimSuffix "x" "xax"}}{{trimPrefix "x" "xax"}}]`, "[aaxaax]"),
		f(`{{regexReplaceAll "(\\w+) (\\w+)" .w "${2} $1"}} {{regexReplaceAllLiteral "o" .w "$1"}}`, "World Hello Hell$1 W$1rld"),
		f(`{{count "o" .w}} {{.w | count "l+"}}`, "2 2"),
		f(`{{urlencode "a b/c"}} {{urldecode "a+b%2Fc"}}`, "a+b%2Fc a b/c"),
		f(`{{bytes "5 KB"}} {{duration .d}} {{duration_seconds "1m"}}`, "5000 1.5 60"),
		f(`{{unixToTime "19675" | unixEpoch}} {{unixToTime "1700000000" | unixEpoch}} {{unixToTime "1700000000123" | unixEpochMillis}} {{unixToTime "1700000000123456789" | unixEpochNanos}}`, "1699920000 1700000000 1700000000123 1700000000123456789"),
		f(`{{toDateInZone "2006-01-02 15:04" "Nowhere" "2023-11-14 22:13" | unixEpoch}} {{toDate "2006-01-02" "2023-11-14" | unixEpoch}}`, "1699999980 1699920000"),
		f(`{{toDateInZone "2006-01-02 15:04" "Asia/Tokyo" "2023-11-15 07:13" | unixEpoch}}`, "1699999980"),
		f(`[{{alignLeft 7 "abc"}}][{{alignRight 7 "abc"}}][{{alignLeft 2 "abc"}}][{{alignRight 2 "abc"}}][{{alignLeft 1 "äb"}}]`, "[abc    ][    abc][ab][bc][ä]"),
		f(`{{b64enc "abc"}} {{b64dec "YWJj"}} {{b64dec "%"}}`, "YWJj abc illegal base64 data at input byte 0"),
		f(`{{trunc 3 .w}} {{trunc -3 .w}} {{substr 1 3 .w}} {{repeat 3 "ab"}} {{contains "lo" .w}} {{hasPrefix "He" .w}} {{hasSuffix "x" .w}}`, "Hel rld el ababab true true false"),
		f(`{{indent 2 "a"}}{{nindent 1 "b"}}`, "  a\n b"),
		f(`{{int .n}} {{float64 "2.5"}} {{add 1 2 3}} {{sub 5 2}} {{mul 2 3 4}} {{div 7 2}} {{mod 7 2}}`, "5 2.5 6 3 24 3 1"),
		f(`{{addf 0.1 0.2}} {{subf 1 0.9}} {{mulf 1.1 3}} {{divf 1 4}} {{max 1 3 2}} {{min 3 1 2}} {{maxf 1.5 2}} {{minf 1.5 2}}`, "0.3 0.1 3.3 0.25 3 1 2 1.5"),
		f(`{{ceil 1.2}} {{floor 1.8}} {{round 1.256 2}} {{default "x" .nope}} {{default "x" .n}}`, "2 1 1.26 x 5"),
		f(`{{range fromJson .j}}<{{.}}>{{end}}`, "<1><2>"),
		f(`{{if and (eq .n "5") (not .nope)}}yes{{else}}no{{end}} {{with .d}}{{.}}{{end}} {{len .w}} {{index . "n"}} {{printf "%05d" (int .n)}} {{slice .w 0 2}}`, "yes 1.5s 11 5 00005 He"),
		f(`{{range $i := 3}}{{$i}}{{if eq $i 1}}{{break}}{{end}}{{end}}`, "01"),
	)
	fails := func(tmpl string) change {
		return change{"| line_format `" + tmpl + "`", "line", `line {__error__="TemplateFormatErr"}`}
	}
	transforms(t,
		fails(`{{divf 1 0}}`), fails(`{{div 1 0}}`), fails(`{{duration "1d"}}`), fails(`{{bytes "x"}}`), fails(`{{urldecode "%zz"}}`),
		fails(`{{regexReplaceAll "(" "a" "b"}}`), fails(`{{unixToTime "12"}}`), fails(`{{index .app 10}}`), fails(`{{substr 5 2 "abc"}}`),
		// What would make gigabytes or run for hours ends as an error of the line.
		fails(`{{repeat 1000000000 "x"}}`), fails(`{{alignLeft 1000000000 "x"}}`), fails(`{{indent 1000000000 "x"}}`),
		fails(`{{range $i := 1000000000000}}{{end}}`), fails(`{{range $i := 1000}}{{range $j := 1000}}{{end}}{{end}}`),
		fails(`{{$x := repeat 1000000 "x"}}{{$x}}{{$x}}`), fails(`{{$x := repeat 1000 "x"}}{{replace "x" $x $x}}{{replace "x" $x $x}}`),
		fails(`{{regexReplaceAll "x" (repeat 100000 "x") (repeat 100000 "y")}}`), fails(`{{printf "%s%s" (repeat 1000000 "x") (repeat 1000000 "x")}}`),
		fails(`{{repeat -1 "x"}}`),
	)
}

// TestTemplateFunctionsAreComplete checks that every function that the parser
// lets pass exists.
func TestTemplateFunctionsAreComplete(t *testing.T) {
	have := (&templateState{}).funcs()
	for _, name := range logql.TemplateFunctions() {
		if have[name] == nil {
			t.Errorf("no function %s", name)
		}
	}
	for name := range have {
		if strings.HasPrefix(name, "print") || name == loopFunc {
			continue
		}
		if _, err := compile("| line_format `{{" + name + "}}`"); err != nil && strings.Contains(err.Error(), "not defined") {
			t.Errorf("the parser does not know %s", name)
		}
	}
}

func TestLabelFormatAccepts(t *testing.T) {
	accepts(t, `| label_format a=b`, `| label_format a="{{.b}}"`, `| label_format a=b, c="x", rate=d`)
}

func TestLabelFormatRefuses(t *testing.T) {
	refuses(t, `| label_format`, `| label_format a`, `| label_format a=b, a=c`, `| label_format a="{{"`, `| label_format __error__="x"`, `| label_format by="x"`)
}

func TestLabelFormatTransforms(t *testing.T) {
	f := func(text, want string) change {
		return change{"| logfmt | label_format " + text, "x=1 y=2", "x=1 y=2 " + want}
	}
	transforms(t,
		f(`z=x`, `{y="2", z="1"}`),
		f(`z="{{.x}}{{.y}}"`, `{x="1", y="2", z="12"}`),
		f(`x="{{.y}}", y="{{.x}}"`, `{x="2", y="1"}`),
		f(`x=y`, `{x="2"}`),
		f(`x=x`, `{x="1", y="2"}`),
		f(`z=nope`, `{x="1", y="2"}`),
		f(`a="{{.x}}", b=a`, `{b="1", x="1", y="2"}`),
		f(`z="{{divf 1 0}}"`, `{__error__="TemplateFormatErr", x="1", y="2"}`),
		f(`app="new"`, `{app="new", x="1", y="2"}`),
	)
}

func TestDropAccepts(t *testing.T) {
	accepts(t, `| drop a`, `| drop a, b="c", d=~"e", f!="g", h!~"i"`, `| drop __error__`)
}

func TestDropRefuses(t *testing.T) { refuses(t, `| drop`, `| drop a=b`, `| drop a=~"("`, `| drop a>1`) }

func TestDropTransforms(t *testing.T) {
	f := func(text, want string) change {
		return change{"| logfmt | drop " + text, "x=1 y=2", "x=1 y=2 " + want}
	}
	transforms(t,
		f(`x`, `{y="2"}`), f(`x, y`, `{}`), f(`nope`, `{x="1", y="2"}`),
		f(`x="1"`, `{y="2"}`), f(`x="2"`, `{x="1", y="2"}`), f(`x=~".", y!="2"`, `{y="2"}`),
		change{`| json | drop __error__`, "x", "x {}"},
	)
}

func TestKeepAccepts(t *testing.T) { accepts(t, `| keep a`, `| keep a, b="c", d=~"e"`) }

func TestKeepRefuses(t *testing.T) { refuses(t, `| keep`, `| keep a=b`, `| keep a=~"("`) }

func TestKeepTransforms(t *testing.T) {
	f := func(text, want string) change {
		return change{"| logfmt | keep " + text, "x=1 y=2", "x=1 y=2 " + want}
	}
	transforms(t,
		f(`x`, `{x="1"}`), f(`nope`, `{}`), f(`x="1", y="1"`, `{x="1"}`), f(`y=~"[12]"`, `{y="2"}`),
		change{`| json | keep nothing`, "x", `x {__error__="JSONParserErr"}`},
	)
}
