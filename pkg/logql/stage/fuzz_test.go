package stage

import (
	"encoding/json"
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
		if one.Flat.Get("a") != all.Flat.Get("a") {
			t.Errorf("%q: a is %q alone and %q among all", line, one.Flat.Get("a"), all.Flat.Get("a"))
		}
		fuzzStage(t, mustCompile(t, "| logfmt"), line)
	})
}

// FuzzPattern checks that the captures of the pattern stage are pieces of the
// line, and the pattern filter against its definition.
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
			if got, want := newPatternFilter(parts).match(line), glob(parts, line); got != want {
				t.Errorf("%q on %q: %v, want %v", pattern, line, got, want)
			}
		}
	})
}

// glob is the definition of a pattern filter: captures take one byte or more.
func glob(parts []logql.PatternPart, line string) bool {
	if len(parts) == 0 {
		return line == ""
	}
	if !parts[0].Capture {
		rest, ok := strings.CutPrefix(line, parts[0].Literal)
		return ok && glob(parts[1:], rest)
	}
	for n := 1; n <= len(line); n++ {
		if glob(parts[1:], line[n:]) {
			return true
		}
	}
	return false
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
