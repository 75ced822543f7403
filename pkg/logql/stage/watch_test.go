package stage

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
)

// endsAfter is a context that ends after its error was asked for n times.
type endsAfter struct {
	context.Context
	n, asked int
}

func (c *endsAfter) Err() error {
	if c.asked++; c.asked > c.n {
		return context.Canceled
	}
	return nil
}

// longLine is a line of the largest size.
const longLine = 256 << 10

// wideLine is a JSON object with n keys.
func wideLine(n int) string {
	var sb strings.Builder
	for i := range n {
		fmt.Fprintf(&sb, `%c"k%d":"v%[2]d"`, "{,"[min(i, 1)], i)
	}
	return sb.String() + "}"
}

// TestContextIsLookedAtByBytes checks that a batch of few but long lines is left
// soon after its context has ended, wherever the time goes.
func TestContextIsLookedAtByBytes(t *testing.T) {
	const rows = 64 // 16 MiB, less than 128 rows
	b := logBatch(rows, strings.Repeat("ab c=d ", longLine/7))
	for _, text := range []string{
		`|= "nowhere"`,
		`|~ "n[o0]where"`,
		`| logfmt`,
		`| regexp "(?P<x>z)"`,
		`| decolorize |= "nowhere"`,
		`| line_format "{{.app}}" | json`,
	} {
		ctx := &endsAfter{Context: context.Background(), n: 2}
		p := mustCompile(t, text)
		p.Until(ctx)
		seen := 0
		for _, row := range p.Select(b) {
			if _, ok := p.Row(b, row); ok {
				seen++
			}
		}
		if !errors.Is(p.Err(), context.Canceled) || seen > 16 {
			t.Errorf("%s: %d rows passed, %v", text, seen, p.Err())
		}
		if p.Until(context.Background()); p.Err() != nil || len(p.Select(b)) == 0 && !strings.Contains(text, "where") {
			t.Errorf("%s: the next batch has %v", text, p.Err())
		}
	}
	for _, q := range []string{
		`sum by (c) (count_over_time({app="api"} | logfmt | c="d" [1m]))`,
		`sum(count_over_time({app="api"} !~ "n[o0]where" [1m]))`,
		`sum(bytes_over_time({app="api"} | decolorize [1m]))`,
	} {
		ctx := &endsAfter{Context: context.Background(), n: 2}
		var out Samples
		if err := mustExtractor(t, q).Extract(ctx, b, nil, &out); !errors.Is(err, context.Canceled) || len(out.Values) > 16 {
			t.Errorf("%s: %d samples, %v", q, len(out.Values), err)
		}
	}
}

// TestContextIsLookedAtByRows checks the same of many short lines.
func TestContextIsLookedAtByRows(t *testing.T) {
	b := logBatch(2000, "short")
	for _, text := range []string{``, `| json`} {
		ctx := &endsAfter{Context: context.Background(), n: 2}
		p := mustCompile(t, text)
		p.Until(ctx)
		seen := 0
		for _, row := range p.Select(b) {
			if _, ok := p.Row(b, row); ok {
				seen++
			}
		}
		if !errors.Is(p.Err(), context.Canceled) || seen < 128 || seen > 3*128 {
			t.Errorf("%q: %d rows, %v", text, seen, p.Err())
		}
	}
	ctx := &endsAfter{Context: context.Background(), n: 2}
	var out Samples
	if err := mustExtractor(t, `count_over_time({app="api"}[1m])`).Extract(ctx, b, nil, &out); !errors.Is(err, context.Canceled) || len(out.Values) > 3*128 {
		t.Errorf("%d samples, %v", len(out.Values), err)
	}
}

// TestContextEndsInsideALine checks that a single line does not take for ever.
func TestContextEndsInsideALine(t *testing.T) {
	many := func(n int, sep, format string) string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf(format, i)
		}
		return strings.Join(list, sep)
	}
	// Hours, or at least seconds, if they run to their ends.
	large := `.*(?:[^~]?){900}[~^]`
	line := wideLine(15_000)[:longLine/2]
	for name, text := range map[string]string{
		"line filter":         `|~ "` + large + `"`,
		"negated":             `!~ "` + large + `"`,
		"filter behind":       `| decolorize !~ "` + large + `"`,
		"operands":            `|= "nowhere" or ` + many(3000, " or ", `"never%d"`),
		"regexp":              `| regexp "(?P<x>` + large + `)"`,
		"label filter":        `| pattern "<x>" | x=~"` + large + `"`,
		"drop":                `| pattern "<x>" | drop x=~"` + large + `"`,
		"keep":                `| pattern "<x>" | keep x!~"` + large + `"`,
		"json paths":          `| json ` + many(3000, ", ", `l%d="z%[1]d"`),
		"filters of a value":  `| pattern "<x>" | ` + many(3000, " or ", `x="n%d"`),
		"stages":              strings.Repeat(`| logfmt `, 500),
		"template":            "| line_format `{{range fromJson \"[1" + strings.Repeat(",1", 900) + "]\"}}{{count \"(a|b).*zz\" __line__}}{{end}}`",
		"replacements":        "| line_format `" + strings.Repeat(`{{regexReplaceAll "k[^q]*q|v" __line__ "x"}}`, 50) + "`",
		"labels of templates": `| json | label_format ` + many(500, ", ", "n%d=`{{lower .app}}{{%[1]d}}`"),
	} {
		p, err := compile(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		ctx := &endsAfter{Context: context.Background(), n: 3}
		p.Until(ctx)
		b := logBatch(1, line)
		for _, row := range p.Select(b) {
			if _, ok := p.Row(b, row); ok {
				t.Errorf("%s: the line passed", name)
			}
		}
		if !errors.Is(p.Err(), context.Canceled) {
			t.Errorf("%s: %v after %d looks", name, p.Err(), ctx.asked)
		}
	}
}

// TestWatchedRegexp checks that an expression that is read rune by rune finds
// what it finds otherwise.
func TestWatchedRegexp(t *testing.T) {
	texts := []string{"", "a", "abcabc", "xaby\nab", "foo bar", "é\xffß\x80", strings.Repeat("ab", 50) + "\n"}
	for _, expr := range []string{
		`a`, `^a`, `c$`, `(?m)^ab$`, `\bbar\b`, `(?P<x>a.)(?P<y>c)?`, `(?s)x.*b`, `(?i)FOO`, `.`, `^(?s:.*b)$`, `\B`, `[^a]+$`, `(a|ab)(c|bcd)?`, `^(?s:é.ß.)$`, ``,
	} {
		r, err := compileRegexp(expr)
		if err != nil {
			t.Fatal(err)
		}
		r.short = -1
		for _, s := range texts {
			var w watch
			if got, want := r.match(s, &w), regexp.MustCompile(expr).MatchString(s); got != want {
				t.Errorf("%s matches %q: %v", expr, s, got)
			}
			if got, want := r.find(s, &w), regexp.MustCompile(expr).FindStringSubmatchIndex(s); !slices.Equal(got, want) {
				t.Errorf("%s in %q: %v, want %v", expr, s, got, want)
			}
		}
	}
}

// TestManyNames checks that drop, keep and the hints of a metric query mean the
// same when they look names up in a map.
func TestManyNames(t *testing.T) {
	more := ""
	for i := range 20 {
		more += fmt.Sprintf(", other%d", i)
	}
	const line = `{"a":"1","b":"2","c":"3","d":"4","app":"x"}`
	for _, items := range []string{
		`a`, `a, b`, `a="1"`, `a="2"`, `a="2", a="1"`, `a="2", a`, `a=~"1|2", b!="2", nix=""`, `app, a`, `app="a"`, `app_extracted`, `trace`, `__error__`, `__error_details__, a`,
	} {
		for _, op := range []string{"drop", "keep"} {
			for _, in := range []string{line, line[:len(line)-4]} {
				few, many := mustCompile(t, `| json | `+op+" "+items), mustCompile(t, `| json | `+op+" "+items+more)
				stream, meta := labels.FromStrings("app", "a", "job", "j"), labels.FromStrings("trace", "t1")
				if got, want := runLine(many, in, stream, meta), runLine(few, in, stream, meta); got != want {
					t.Errorf("%s %s: %s, want %s", op, items, got, want)
				}
			}
		}
	}
	names := []string{"a", "b_extracted", ErrorLabel, "a"}
	few := NeededLabels(names)
	for i := range 20 {
		names = append(names, fmt.Sprint("other", i))
	}
	many := NeededLabels(names)
	for _, n := range []string{"a", "b", "b_extracted", "c", ErrorLabel, "_extracted", ""} {
		if few.needs(n) != many.needs(n) || few.mayNeed(n) != many.mayNeed(n) {
			t.Errorf("%q: needed %t, %t", n, many.needs(n), many.mayNeed(n))
		}
	}
	if few.parserNames != 2 || many.parserNames != 22 {
		t.Errorf("%d and %d names of parsers", few.parserNames, many.parserNames)
	}
}

// TestNamesTimesLabels checks that a line with thousands of labels and a stage
// with thousands of names are not multiplied: each label is looked up once.
func TestNamesTimesLabels(t *testing.T) {
	items := make([]logql.LabelItem, 10_000)
	for i := range items {
		items[i].Name = fmt.Sprint("k", i)
	}
	keep, drop := NewKeep(items).(*keepStage), NewDrop(items).(*dropStage)
	if len(keep.byName) != len(items) || len(keep.byName["k7"]) != 1 {
		t.Errorf("keep looks through %d of %d items", len(keep.items), len(keep.byName))
	}
	if len(drop.names) != len(items) || len(drop.items) != 0 {
		t.Errorf("drop looks through %d items", len(drop.items))
	}
}
