package stage

import (
	"fmt"
	"strings"
	"testing"
)

func TestJSONAccepts(t *testing.T) {
	accepts(t, `| json`, `| json a`, `| json a="b"`, `| json a="b.c[0]", d="[\"k k\"].e"`)
}

func TestJSONRefuses(t *testing.T) {
	refuses(t, `| json "a"`, `| json a="b["`, `| json a=b`, `| json a="x..y"`, `| json a="[-1]"`)
}

func TestJSONTransforms(t *testing.T) {
	bad := func(line, ls string) change {
		return change{`| json`, line, line + ` {__error__="JSONParserErr"` + ls + `}`}
	}
	same := func(line, ls string) change { return change{`| json`, line, line + " " + ls} }
	transforms(t,
		same(`{"a":"b"}`, `{a="b"}`),
		same(` {"a" : "b" , "c":1 } trailing`, `{a="b", c="1"}`),
		same(`{}`, `{}`),
		same(`{"a":{"b":{"c":"d"}},"e":"f"}`, `{a_b_c="d", e="f"}`),
		same(`{"a":[1,{"b":"]"}],"c":2}`, `{c="2"}`),
		same(`{"a":null,"b":true,"c":false,"d":-1.50e+3}`, `{b="true", c="false", d="-1.50e+3"}`),
		same(`{"a":"1\n\t\"\\\u00e9\ud83d\ude00\/"}`, `{a="1\n\t\"\\é😀/"}`),
		same(`{"a\u0062":"1","x.y":"2"," z ":"3","":"4","9":"5"}`, `{_9="5", ab="1", x_y="2", z="3"}`),
		same(`{"n":{"":"1","9":"2","n-m":"3"}}`, `{n_="1", n_9="2", n_n_m="3"}`),
		same(`{"a":1,"a":2}`, `{a="1"}`),
		same(`{"a_b":1,"a":{"b":2}}`, `{a_b="1"}`),
		same(`{"app":"x","trace":"y"}`, `{app_extracted="x", trace_extracted="y"}`),
		same(`{"a":1,}`, `{a="1"}`),
		same("{\"a\":\"x\xffy\"}", `{a="x y"}`),
		bad(``, ``), bad(`plain`, ``), bad(`[1]`, ``), bad(`"a"`, ``), bad(`null`, ``),
		bad(`{`, ``), bad(`{"a"`, ``), bad(`{"a":`, ``), bad(`{"a":1`, `, a="1"`), bad(`{"a":1 "b":2}`, `, a="1"`),
		bad(`{"a":"x`, ``), bad(`{"a":"x\`, ``), bad(`{"a":x}`, ``), bad(`{a:1}`, ``), bad(`{"a" 1}`, ``), bad(`{"a":[1}`, ``),
		change{`| json | json`, `{"a":1}`, `{"a":1} {a="1"}`},
	)
	deep := strings.Repeat(`{"a":`, maxJSONDepth+1)
	transforms(t, bad(deep, ``))
}

func TestJSONPathTransforms(t *testing.T) {
	const line = `{"a":{"b":[10,{"c":"x"}],"n":null},"k k":"q\"uote","s":"t","u\u0031":7}`
	on := func(text, ls string) change { return change{text, line, line + " " + ls} }
	transforms(t,
		on(`| json x="a.b[0]"`, `{x="10"}`),
		on(`| json x="a.b[1].c"`, `{x="x"}`),
		on(`| json x="a.b"`, `{x="[10,{\"c\":\"x\"}]"}`),
		on(`| json x="a[\"b\"][1]"`, `{x="{\"c\":\"x\"}"}`),
		on(`| json x="[\"k k\"]"`, `{x="q\"uote"}`),
		on(`| json s, x="u1"`, `{s="t", x="7"}`),
		on(`| json app="s"`, `{app_extracted="t"}`),
		change{`| json x="[1]"`, `[1,2]`, `[1,2] {x="2"}`},
		change{`| json x="a"`, `plain`, `plain {__error__="JSONParserErr"}`},
		change{`| json x="a", y="b"`, `{"b":1,"a":`, `{"b":1,"a": {__error__="JSONParserErr", y="1"}`},
		change{`| json y="b"`, `{"b":1,"a":`, `{"b":1,"a": {y="1"}`},
	)
	// What is not there is an empty label, and null is like it.
	for _, path := range []string{"nope", "a.b[2]", "a.b.c", "s.t", "a.n", "[0]"} {
		p, err := compile(`| json x="` + path + `"`)
		if err != nil {
			t.Fatal(err)
		}
		b := batchOf(line, p.b.flat(), p.b.flat())
		if _, ok := p.Row(b, 0); !ok {
			t.Fatalf("%s: dropped", path)
		}
		if v, ok := p.b.Get("x"); !ok || v != "" {
			t.Errorf("%s: %q, %v", path, v, ok)
		}
	}
}

// TestJSONNamesAreBounded checks that a line cannot take many times its length:
// the names of nested keys repeat the key around them, and expressions may all
// take the same long value.
func TestJSONNamesAreBounded(t *testing.T) {
	var nested strings.Builder
	nested.WriteString(`{"first":"1","` + strings.Repeat("p", 100<<10) + `":{`)
	for i := range 10_000 {
		fmt.Fprintf(&nested, `%.*s"k%d":1`, min(i, 1), ",", i)
	}
	nested.WriteString("}}")
	paths := "| json first"
	for i := range 200 {
		paths += fmt.Sprintf(`, p%d="long"`, i)
	}
	for text, line := range map[string]string{
		"| json": nested.String(),
		paths:    `{"first":"1","long":"` + strings.Repeat(`\\n`, 100<<10) + `"}`,
	} {
		p := mustCompile(t, text)
		if _, ok := p.Row(batchOf(line, mustLabels("app", "a"), mustLabels()), 0); !ok {
			t.Fatal("dropped")
		}
		first, _ := p.b.Get("first")
		if p.b.Err() != ErrJSON || first != "1" || cap(p.b.scratch) > 3*maxJSONScratch {
			t.Errorf("%.10s: %q, first is %q, %d MiB", text, p.b.Err(), first, cap(p.b.scratch)>>20)
		}
	}
}
