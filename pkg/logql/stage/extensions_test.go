package stage

import (
	"slices"
	"testing"
)

func TestDistinctAccepts(t *testing.T) {
	accepts(t, `| distinct a`, `| distinct a, b_2`, `| json | distinct a | distinct b`, `| distinct rate`, `| distinct="x"`)
}

func TestDistinctRefuses(t *testing.T) {
	refuses(t, `| distinct`, `| distinct "a"`, `| distinct a,`, `| distinct a=b`, `| distinct (a)`, `| distinct by`)
}

func TestDistinctTransforms(t *testing.T) {
	for _, c := range []struct {
		text string
		in   []string
		want []string
	}{
		{`| logfmt | distinct a`, []string{"a=1", "a=2", "a=1", "b=1", "a=", "a=3"}, []string{"a=1", "a=2", "b=1", "a=3"}},
		{`| logfmt | distinct a, b`, []string{"a=1 b=2", "a=12", "b=12", "a=1 b=2", "b=2 a=1", "a=1"}, []string{"a=1 b=2", "a=12", "b=12", "a=1"}},
		{`| distinct app`, []string{"x", "y"}, []string{"x"}},
		{`| distinct trace |= "y"`, []string{"x", "y"}, nil},
		{`|= "y" | distinct trace`, []string{"x", "y"}, []string{"y"}},
		{`| logfmt | distinct a | distinct b`, []string{"a=1 b=1", "a=2 b=1", "a=2 b=2", "a=3 b=2"}, []string{"a=1 b=1", "a=3 b=2"}},
		{`| logfmt | a > 1 | distinct a`, []string{"a=1", "a=2", "a=x", "a=x"}, []string{"a=2", "a=x"}},
	} {
		p := mustCompile(t, c.text)
		var got []string
		for _, line := range c.in {
			if runLine(p, line, mustLabels("app", "a"), mustLabels("trace", "t1")) != "dropped" {
				got = append(got, line)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s on %q:\n got %q\nwant %q", c.text, c.in, got, c.want)
		}
	}
}

// TestDistinctTakesMemory checks that what distinct remembers is counted.
func TestDistinctTakesMemory(t *testing.T) {
	budget := &Budget{Limit: 1000}
	st := NewDistinct([]string{"a"}, budget)
	var b Builder
	for i := 0; !budget.Exceeded(); i++ {
		if i > 100 {
			t.Fatal("1000 bytes hold more than 100 values")
		}
		b.Reset(nil, mustLabels("a", string(rune('a'+i))))
		if _, ok := st.Process(0, "", &b); !ok {
			t.Fatalf("value %d is taken for another", i)
		}
	}
}

func TestFoldedFilterAccepts(t *testing.T) {
	accepts(t, `|=i "x"`, `!=i "x"`, `|=i "x" or "y"`, "|=i`x`", `|=i ""`, `|= "x" !=i "y"`)
}

func TestFoldedFilterRefuses(t *testing.T) {
	refuses(t, `|=i x`, `|= i "x"`, `|=i ip("1.2.3.4")`, `|=i "x" or`, `|=ii "x"`, `|~i "x"`, `|=i "\xff"`)
}

func TestFoldedFilterTransforms(t *testing.T) {
	on := func(text, line string) change { return change{text, line, line + " {}"} }
	not := func(text, line string) change { return change{text, line, "dropped"} }
	transforms(t,
		on(`|=i "error"`, "an ERROR"), on(`|=i "ERROR"`, "an error"), not(`|=i "error"`, "erro r"),
		not(`!=i "error"`, "an ERROR"), on(`!=i "error"`, "fine"),
		on(`|=i "a" or "b"`, "B"), not(`!=i "a" or "b"`, "B"), not(`|=i "a" or "b"`, "c"),
		on(`|=i "(x.*)"`, "(X.*)"), not(`|=i "x.*"`, "xyz"),
		on(`|=i ""`, ""), not(`!=i ""`, ""),
		on(`|=i "k"`, "\u212a"), on(`|=i "s"`, "\u017f"), on(`|=i "ä"`, "Ä"), not(`|=i "ß"`, "ss"),
		on(`|=i "123"`, "0123"), not(`|=i "123"`, "12 3"),
		on(`|=i "x"`, "a\xffX"),
	)
}

func TestJSONArraysAccepts(t *testing.T) { accepts(t, `| json --arrays`, `| JSON --arrays | a_0="x"`) }

func TestJSONArraysRefuses(t *testing.T) {
	refuses(t, `| json --array`, `| json --arrays a`, `| json --arrays a="b[0]"`, `| json --strict`, `| logfmt --arrays`, `| json arrays="a["`)
}

func TestJSONArraysTransforms(t *testing.T) {
	same := func(line, ls string) change { return change{`| json --arrays`, line, line + " " + ls} }
	bad := func(line, ls string) change { return same(line, `{__error__="JSONParserErr"`+ls+`}`) }
	transforms(t,
		same(`{"a":["x",1,true,null,"y"]}`, `{a_0="x", a_1="1", a_2="true", a_4="y"}`),
		same(`{"a":[[1,[2]],{"b":[3]}]}`, `{a_0_0="1", a_0_1_0="2", a_1_b_0="3"}`),
		same(`{"a":[],"b":[{}],"c":1}`, `{c="1"}`),
		same(`["x",{"k":"v"}]`, `{_0="x", _1_k="v"}`),
		same(` [ 1 , 2 ] `, `{_0="1", _1="2"}`),
		same(`{"a_0":"first","a":["second"]}`, `{a_0="first"}`),
		same(`{"app":["x"]}`, `{app_0="x"}`),
		same(`{"a":["q\"\u0041"]}`, `{a_0="q\"A"}`),
		bad(`{"a":["x"`, `, a_0="x"`), same(`["x"`, `{_0="x", __error__="JSONParserErr"}`), same(`["x" "y"]`, `{_0="x", __error__="JSONParserErr"}`),
		bad(`[`, ``), bad(`x`, ``), bad(`"x"`, ``), bad(`[x]`, ``),
	)
}
