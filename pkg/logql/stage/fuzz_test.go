package stage

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
)

// fuzzStage runs a line through a pipeline and checks what holds for any line:
// label names are names, values are UTF-8, no name occurs twice, and the result
// does not change when the same pipeline sees the line again.
func fuzzStage(t *testing.T, p *Pipeline, line string) *LabelSet {
	t.Helper()
	b := batchOf(line, mustLabels("app", "a", "job", "j"), mustLabels("trace", "t1"))
	if _, ok := p.Row(b, 0); !ok {
		t.Fatalf("dropped %q", line)
	}
	set := p.Labels()
	seen := map[string]bool{}
	set.Flat.Range(func(l labels.Label) {
		if !isName(l.Name) || seen[l.Name] {
			t.Errorf("%q: label name %q, seen before: %v", line, l.Name, seen[l.Name])
		}
		seen[l.Name] = true
		if !utf8.ValidString(l.Value) {
			t.Errorf("%q: value %q of %s", line, l.Value, l.Name)
		}
	})
	p.Row(b, 0)
	if again := p.Labels(); again != set {
		t.Errorf("%q: %s, then %s", line, set.Flat, again.Flat)
	}
	return set
}

func mustCompile(tb testing.TB, text string) *Pipeline {
	tb.Helper()
	p, err := compile(text)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// FuzzJSON checks the json stage, and that it fails on no object that
// encoding/json reads.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":{"b":[1,"]"],"c":null},"d":"\u00e9\ud83d\ude00","e":-1.5e3,"f":true}`, `{"a":"\`, `{"a":1,}`, `{"":{"":1}}`,
		"{\"a\":\"x\xff\"}", `{"app":1,"trace":2}`, `[{"a":1}]`, `{"a":"1","a_b":2,"a":{"b":3}} x`, strings.Repeat(`{"a":`, 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		set := fuzzStage(t, mustCompile(t, "| json"), line)
		// With arrays there are the same labels and more, and errors are the same
		// and more: what is wrong inside an array shows.
		more := fuzzStage(t, mustCompile(t, "| json --arrays"), line)
		isArray := strings.HasPrefix(strings.TrimLeft(line, " \t\r\n"), "[")
		if !isArray && !more.Flat.Has(ErrorLabel) && (set.Flat.Has(ErrorLabel) || more.Flat.Len() < set.Flat.Len()) {
			t.Errorf("%q: %s, with arrays %s", line, set.Flat, more.Flat)
		}
		var object map[string]any
		if json.Unmarshal([]byte(line), &object) == nil && object != nil && depth(object) < maxJSONDepth {
			if e := set.Flat.Get(ErrorLabel); e != "" {
				t.Errorf("%q: %s %s", line, e, set.Flat.Get(ErrorDetailsLabel))
			}
			for k, v := range object {
				if s, ok := v.(string); ok && isName(k) && set.Flat.Get(k) != s && utf8.ValidString(line) && !collides(object, k) && !strings.Contains(line, `\u`) {
					t.Errorf("%q: %s is %q, want %q", line, k, set.Flat.Get(k), s)
				}
			}
		}
	})
}

// collides says whether a key may not be the only one of its name, or not be
// alone in the line.
func collides(object map[string]any, key string) bool {
	if key == "app" || key == "job" || key == "trace" || strings.HasPrefix(key, "__") || strings.HasSuffix(key, extractedSuffix) {
		return true
	}
	for k, v := range object {
		if _, nested := v.(map[string]any); nested || k != key && SanitizeName(k) == key {
			return true
		}
	}
	return false
}

func depth(v any) int {
	n := 0
	switch v := v.(type) {
	case map[string]any:
		for _, x := range v {
			n = max(n, depth(x))
		}
	case []any:
		for _, x := range v {
			n = max(n, depth(x))
		}
	}
	return n + 1
}

// FuzzJSONPath checks that no path and no line make the json stage fail in
// any other way than its error label.
func FuzzJSONPath(f *testing.F) {
	for _, s := range []string{"a.b[0]", `["k k"].x`, "[1][2]", "a"} {
		f.Add(s, `{"a":{"b":[10,{"c":"x"}]},"k k":{"x":"y"}}`)
	}
	f.Fuzz(func(t *testing.T, path, line string) {
		el, err := logql.ParseJSONPath(path)
		if err != nil {
			return
		}
		p := &Pipeline{stages: []Stage{NewJSONPaths([]JSONPath{{"x", el}, {"y", el}})}}
		p.b.hints = AllLabels()
		set := fuzzStage(t, p, line)
		if set.Flat.Get("x") != set.Flat.Get("y") {
			t.Errorf("%q of %q: %q and %q", path, line, set.Flat.Get("x"), set.Flat.Get("y"))
		}
	})
}

// FuzzLogfmt checks the logfmt stage in all its forms.
func FuzzLogfmt(f *testing.F) {
	for _, s := range []string{`a=b c="d e" f`, `a="\u00e9\n" =x "y"=z`, `a==b c=d"e`, "a=\xff b=\"", `app=1 trace=2 a=1 a=2`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		all := fuzzStage(t, mustCompile(t, "| logfmt --keep-empty"), line)
		strict := fuzzStage(t, mustCompile(t, "| logfmt --strict --keep-empty"), line)
		if strict.Flat.Get(ErrorLabel) == "" && strict.Flat.String() != all.Flat.String() {
			t.Errorf("%q: strict %s, lenient %s", line, strict.Flat, all.Flat)
		}
		one := fuzzStage(t, mustCompile(t, `| logfmt a="a"`), line)
		if !all.Flat.Has("a") && one.Flat.Get("a") != "" {
			t.Errorf("%q: a is %q alone and not among all", line, one.Flat.Get("a"))
		}
		fuzzStage(t, mustCompile(t, "| logfmt"), line)
	})
}

// FuzzPattern checks that the captures of the pattern stage are pieces of the
// line, and that the pattern filter finds no more than its pattern says.
func FuzzPattern(f *testing.F) {
	f.Add("<a> - <_> [<b>]", "1 - 2 [3]")
	f.Add("x<a>=<b> ", "xk=v w")
	f.Add("<_>ab<_>a", "zabaa")
	f.Fuzz(func(t *testing.T, pattern, line string) {
		if parts, err := logql.ParsePattern(pattern); err == nil {
			p := &Pipeline{stages: []Stage{NewPattern(parts)}}
			p.b.hints = AllLabels()
			set := fuzzStage(t, p, line)
			set.Parsed.Range(func(l labels.Label) {
				if utf8.ValidString(line) && !strings.Contains(line, l.Value) {
					t.Errorf("%q of %q: %s=%q is no piece of the line", pattern, line, l.Name, l.Value)
				}
			})
		}
		if parts, err := logql.ParseLinePattern(pattern); err == nil && len(line) < 200 && len(parts) < 10 {
			// It never goes back: what it finds is there, but it may find less.
			if newPatternFilter(parts).match(line) && !glob(parts, line) {
				t.Errorf("%q on %q: found", pattern, line)
			}
		}
	})
}

// glob says whether a pattern fits: captures take one byte or more, and any text
// may stand in front of a literal at the beginning.
func glob(parts []logql.PatternPart, line string) bool {
	if len(parts) == 0 {
		return line == ""
	}
	expr := ""
	for _, p := range parts {
		if p.Capture {
			expr += ".+"
		} else {
			expr += regexp.QuoteMeta(p.Literal)
		}
	}
	if !parts[0].Capture {
		expr = ".*" + expr
	}
	return regexp.MustCompile("^(?s:" + expr + ")$").MatchString(line)
}

// FuzzUnpackDecolorize checks the two stages that change lines.
func FuzzUnpackDecolorize(f *testing.F) {
	f.Add(`{"_entry":"x\u001b[31m","pod":"p"}`)
	f.Add("\x1b]0;t\x07a\x1b[1;2mb\x1b")
	f.Fuzz(func(t *testing.T, line string) {
		fuzzStage(t, mustCompile(t, "| unpack | decolorize | json | logfmt"), line)
		b := batchOf(line, mustLabels(), mustLabels())
		p := mustCompile(t, "| decolorize")
		if out, _ := p.Row(b, 0); strings.Contains(out, "\x1b[") && !strings.Contains(out, "\x1b\x1b") && strings.Count(line, "\x1b") == 1 {
			t.Errorf("%q: %q", line, out)
		}
	})
}

// FuzzRegexp checks that the groups of the regexp stage are pieces of the line.
func FuzzRegexp(f *testing.F) {
	f.Add(`(?P<m>\w+) (?P<p>\S+)`, "GET /x 200")
	f.Add(`(?P<a>x)|(?P<b>y*)`, "y")
	f.Add(`(?i)(?s)(?P<a>.*?)Z$`, "a\nz")
	f.Fuzz(func(t *testing.T, expr, line string) {
		if len(expr) > 200 || len(line) > 1000 {
			return
		}
		st, err := NewRegexp(expr)
		if err != nil {
			return
		}
		p := &Pipeline{stages: []Stage{st}}
		p.b.hints = AllLabels()
		fuzzStage(t, p, line).Parsed.Range(func(l labels.Label) {
			if utf8.ValidString(line) && !strings.Contains(line, l.Value) {
				t.Errorf("%q of %q: %s=%q is no piece of the line", expr, line, l.Name, l.Value)
			}
		})
	})
}

// FuzzTemplate runs any template over any line: it ends, within its bounds, with
// a text or with an error label.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"{{.app}} {{.nope}}", "{{ToUpper __line__ | trunc 3}}", `{{range $i := 5}}{{$i}}{{end}}`, `{{ printf "%5d" (int .trace) }}`,
		`{{ __timestamp__ | date "2006" }}`, `{{ $x := fromJson __line__ }}{{ index $x "a" }}`, `{{ regexReplaceAll "a+" __line__ "b" }}`,
		`{{ alignRight 5 .app }}{{ b64enc __line__ | b64dec }}`, `{{ addf 0.1 .trace }}`, `{{define "x"}}{{.}}{{end}}{{template "x" .app}}`,
		`{{ bytes __line__ }}{{ duration __line__ }}`, `{{ urlencode __line__ | urldecode }}`, `{{ substr 1 3 __line__ }}{{ repeat 3 __line__ }}`} {
		f.Add(s, `{"a":"1"}`)
	}
	f.Fuzz(func(t *testing.T, text, line string) {
		// What takes time, but not for ever, is no finding.
		if len(text) > 200 || len(line) > 200 || strings.Contains(text, "now") {
			return
		}
		st, err := NewLineFormat(text, nil)
		if err != nil {
			return
		}
		p := &Pipeline{stages: []Stage{st}}
		p.b.hints = AllLabels()
		b := batchOf(line, mustLabels("app", "a"), mustLabels("trace", "1"))
		out, ok := p.Row(b, 0)
		if !ok || len(out) > maxTemplateText {
			t.Fatalf("%q: %v, %d bytes", text, ok, len(out))
		}
		if e := p.Labels().Flat.Get(ErrorLabel); e != "" && (e != ErrTemplateFormat || out != line) {
			t.Errorf("%q on %q: %s and %q", text, line, e, out)
		}
	})
}

// FuzzLabelFilter checks the conversions of label filters: a filter and its
// opposite never both drop or keep a value, unless it is none of their kind.
func FuzzLabelFilter(f *testing.F) {
	for _, v := range []string{"5", "-1e3", "NaN", "1h30m", "250ms", "5 MB", "1KiB", "10.1.2.3", "::1", "", "x", "1d", "0x10", "+Inf", "\xff"} {
		f.Add(v)
	}
	pairs := [][2]string{
		{`| v>5`, `| v<=5`}, {`| v>=5`, `| v<5`}, {`| v==5`, `| v!=5`},
		{`| v>1s`, `| v<=1s`}, {`| v==1m`, `| v!=1m`}, {`| v>1KB`, `| v<=1KB`}, {`| v==5MB`, `| v!=5MB`},
		{`| v=ip("10.0.0.0/8")`, `| v!=ip("10.0.0.0/8")`}, {`| v="x"`, `| v!="x"`}, {`| v=~"a.*|5"`, `| v!~"a.*|5"`},
	}
	f.Fuzz(func(t *testing.T, v string) {
		for _, pair := range pairs {
			var kept [2]bool
			var failed [2]string
			for i, text := range pair {
				p := mustCompile(t, text)
				b := batchOf("line", mustLabels("app", "a"), mustLabels("v", v))
				if v == "" {
					b = batchOf("line", mustLabels("app", "a"), mustLabels())
				}
				if _, kept[i] = p.Row(b, 0); kept[i] {
					failed[i] = p.Labels().Flat.Get(ErrorLabel)
				}
			}
			missing := v == "" && !strings.Contains(pair[0], `"`)
			missing = missing || v == "" && strings.Contains(pair[0], "ip(")
			nan := strings.EqualFold(strings.TrimLeft(v, "+-"), "nan")
			switch {
			case failed[0] != failed[1] || failed[0] != "" && failed[0] != ErrLabelFilter:
				t.Errorf("%q: %s fails with %q, %s with %q", v, pair[0], failed[0], pair[1], failed[1])
			case failed[0] != "" || missing:
				if kept[0] != kept[1] || kept[0] == missing {
					t.Errorf("%q: %s keeps %v, %s keeps %v", v, pair[0], kept[0], pair[1], kept[1])
				}
			case kept[0] == kept[1] && !nan:
				t.Errorf("%q: %s keeps %v, %s keeps %v", v, pair[0], kept[0], pair[1], kept[1])
			}
		}
	})
}

// FuzzLineFilter compares substring, folded and regular expression filters with
// what they mean.
func FuzzLineFilter(f *testing.F) {
	for _, s := range [][2]string{{"error", "an ERROR"}, {"k", "\u212a"}, {"ß", "SS"}, {"a.b", "A.B"}, {"", ""}, {"s", "\u017f"}, {"É", "é"}, {"x\ny", "X\nY"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, text, line string) {
		if !utf8.ValidString(text) || len(text) > 100 {
			return
		}
		for op, want := range map[logql.LineFilterOp]bool{
			logql.LineContains:     strings.Contains(line, text),
			logql.LineContainsFold: regexp.MustCompile("(?i)" + regexp.QuoteMeta(text)).MatchString(line),
		} {
			for _, op := range []logql.LineFilterOp{op, op + 1} {
				lf, err := NewLineFilter(&logql.LineFilter{Op: op, Operands: []logql.LineOperand{{Text: text}}})
				if err != nil {
					t.Fatal(err)
				}
				if got := lf.Match(line); got != (want != op.Negated()) {
					t.Errorf("%s %q on %q: %v", op, text, line, got)
				}
				if rows := lf.Filter([]string{line}, []uint32{0}); (len(rows) == 1) != (want != op.Negated()) {
					t.Errorf("%s %q on %q, as a batch: %v", op, text, line, rows)
				}
			}
		}
		// The hint for the store may never cost a line.
		sel := &logql.LogSelector{Stages: []logql.Stage{&logql.LineFilter{Op: logql.LineContainsFold, Operands: []logql.LineOperand{{Text: text}}}}}
		if !regexp.MustCompile("(?i)" + regexp.QuoteMeta(text)).MatchString(line) {
			return
		}
		for _, needle := range sel.RequiredSubstrings() {
			if !strings.Contains(line, needle) {
				t.Errorf("|=i %q lets %q pass, which has no %q", text, line, needle)
			}
		}
	})
}

// FuzzLabelStages checks the stages that only deal in labels.
func FuzzLabelStages(f *testing.F) {
	f.Add("a", "b", "x=1 y=2")
	f.Add("app", "trace", "app=1 trace=2")
	f.Add("__error__", "x", "x=\"")
	f.Fuzz(func(t *testing.T, a, b, line string) {
		if !isName(a) || !isName(b) || a == b {
			return
		}
		for _, text := range []string{
			"| logfmt | drop " + a + ", " + b, "| logfmt | keep " + a + ", " + b, "| logfmt | label_format " + a + "=" + b,
			"| logfmt | label_format " + a + `="{{.` + b + `}}", ` + b + `="{{.` + a + `}}"`, "| logfmt | drop " + a + `=~"1.*"`, "| logfmt | keep " + b + `!="1"`,
		} {
			p, err := compile(text)
			if err != nil {
				continue // a keyword
			}
			set := fuzzStage(t, p, line)
			if strings.HasPrefix(text, "| logfmt | drop "+a+", ") && (set.Flat.Has(a) || set.Flat.Has(b)) {
				t.Errorf("%s on %q leaves %s", text, line, set.Flat)
			}
			if strings.HasPrefix(text, "| logfmt | keep "+a+", ") {
				set.Flat.Range(func(l labels.Label) {
					if l.Name != a && l.Name != b && !strings.HasPrefix(l.Name, "__") {
						t.Errorf("%s on %q leaves %s", text, line, l.Name)
					}
				})
			}
		}
	})
}
