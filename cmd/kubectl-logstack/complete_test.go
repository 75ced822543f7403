package main

import (
	"bytes"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// testVocabulary answers like a small cluster and notes what it was asked.
type testVocabulary struct{ asked []string }

func (v *testVocabulary) labels(selector string) []string {
	v.asked = append(v.asked, "labels "+selector)
	return []string{"app", "namespace", "node"}
}

func (v *testVocabulary) values(name, selector string) []string {
	v.asked = append(v.asked, name+" "+selector)
	return []string{"default", "dev", `it's "x"`, "shop"}
}

func (v *testVocabulary) fields(query string) []string {
	v.asked = append(v.asked, "fields of "+query)
	return []string{"duration", "status"}
}

// TestCompleteLogQL completes queries at every kind of place. The candidates
// are shown without the text before the cursor that they have in common.
func TestCompleteLogQL(t *testing.T) {
	for _, tc := range []struct {
		text  string
		want  string // candidates behind what was typed, separated by ; (at most five)
		asked string
	}{
		{``, `{;sum by (;sum(;topk(10, ;avg by (`, ""},
		{`su`, `m by (;m(;m_over_time(`, ""},
		{`{`, `app=";namespace=";node="`, "labels "},
		{`{n`, `amespace=";ode="`, "labels "},
		{`{namespace`, `="`, "labels "},
		{`{namespace `, `=";!=";=~";!~"`, ""},
		{`{namespace!`, `=";~"`, ""},
		{`{namespace="`, `default";dev";it's \"x\"";shop"`, "namespace "},
		{`{namespace="de`, `fault";v"`, "namespace "},
		{`{namespace="de` + "", `fault";v"`, "namespace "},
		{`{namespace=`, `"default";"dev";"it's \"x\"";"shop"`, "namespace "},
		{"{namespace=~`de", "fault`;v`", "namespace "},
		{`{namespace="dev"`, `};, `, ""},
		{`{namespace="dev", `, `app=";namespace=";node="`, `labels {namespace="dev"}`},
		{`{namespace="dev", app!="sh`, `op"`, `app {namespace="dev"}`},
		{`{namespace="a,b{", app="sh`, `op"`, `app {namespace="a,b{"}`},
		{`{namespace=~"(", app="sh`, `op"`, `app `},
		{`{app="shop"}`, ` |= "; != "; |~ "; !~ "; | json`, ""},
		{`{app="shop"} | `, `json;logfmt;pattern ";regexp ";unpack`, ""},
		{`{app="shop"} | js`, `on`, `fields of {app="shop"}`},
		{`{app="shop"} | json | st`, `atus=`, `fields of {app="shop"} | json`},
		{`{app="shop"} |= "na`, ``, ""},
		{`{app="shop"} |= "{na`, ``, ""},
		{`{app="shop"} | status=`, ``, ""},
		{`rate(`, `{`, ""},
		{`sum(ra`, `te(`, ""},
		{`rate({app="sh`, `op"`, "app "},
		{`sum by (`, `app);namespace);node)`, "labels "},
		{`sum by (app, na`, `mespace)`, "labels "},
		{`sum by (app) (rate({app="x"}[5m])) / sum without (no`, `de)`, "labels "},
		{`rate({app="x"} [`, ``, ""},
		{`# {app="`, ``, ""},
		{"# why\n{app=\"sh", `op"`, "app "},
		// Fish hands over the open quote.
		{`'{namespace="de`, `fault";v"`, "namespace "},
		{`"{namespace=\"de`, `fault";v"`, "namespace "},
		{`'{na`, `mespace="`, "labels "},
	} {
		v := &testVocabulary{}
		got := completeLogQL(tc.text, v)
		typed := openQuote(tc.text)
		for i := range got {
			rest, ok := strings.CutPrefix(got[i], typed)
			if !ok {
				t.Errorf("%q: candidate %q does not begin with it", tc.text, got[i])
			}
			got[i] = rest
		}
		if joined := strings.Join(got[:min(5, len(got))], ";"); joined != tc.want {
			t.Errorf("%q: got %s, want %s", tc.text, joined, tc.want)
		}
		if asked := strings.Join(v.asked, "; "); asked != tc.asked {
			t.Errorf("%q: asked %q, want %q", tc.text, asked, tc.asked)
		}
	}
}

// TestCompletePrefixes completes every beginning of queries, with and without
// some bytes in the middle changed: candidates always go on with what was typed.
func TestCompletePrefixes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for _, query := range []string{
		`sum by (app, pod) (rate({namespace="shop", app=~"a|b"} |= "x\"y" | json | status >= 500 [5m])) / on (app) group_left (node) vector(1)`,
		"{a=`b`,c!~\"d{,}\"} # comment {\n | logfmt | line_format `{{.x}} {{.y | lower}}` | drop a, b",
		`topk(3, sum without (pod) (count_over_time({app="web"} !> "<_> ok <_>" | unwrap duration(d) [1h:1m] offset 5m))) > bool 2`,
	} {
		for n := range len(query) + 1 {
			for mutations := range 20 {
				text := []byte(query[:n])
				for range min(mutations, n) {
					text[rnd.IntN(n)] = "{}()[]\"`'\\|,= \xff\x00a"[rnd.IntN(16)]
				}
				for _, c := range completeLogQL(string(text), &testVocabulary{}) {
					if !strings.HasPrefix(c, openQuote(string(text))) {
						t.Errorf("%q: candidate %q", text, c)
					}
				}
			}
		}
	}
}

func FuzzCompleteLogQL(f *testing.F) {
	for _, s := range []string{`{a="b`, `sum by (a, `, "{a=`\x00", `'{a="b"} | json | c`, `}}))]]`, `{,`, `{"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, c := range completeLogQL(text, &testVocabulary{}) {
			if !strings.HasPrefix(c, openQuote(text)) {
				t.Errorf("%q: candidate %q", text, c)
			}
		}
	})
}

// TestSplitLine cuts lines as bash does.
func TestSplitLine(t *testing.T) {
	for _, tc := range []struct {
		line string
		want []string
		open byte
	}{
		{``, []string{""}, 0},
		{`kubectl logstack q`, []string{"kubectl", "logstack", "q"}, 0},
		{`kubectl logstack `, []string{"kubectl", "logstack", ""}, 0},
		{`k query '{a="b c`, []string{"k", "query", `{a="b c`}, '\''},
		{`k query "{a=\"b \$`, []string{"k", "query", `{a="b $`}, '"'},
		{`k query "{a=\n`, []string{"k", "query", `{a=\n`}, '"'},
		{`k query \{a=\"b\ c`, []string{"k", "query", `{a="b c`}, 0},
		{`k ''`, []string{"k", ""}, 0},
		{`cat x | k '{' ab'c d`, []string{"k", "{", "abc d"}, '\''},
		{`x; y && k $(k l`, []string{"k", "l"}, 0},
		{`k '' `, []string{"k", "", ""}, 0},
	} {
		got, open := splitLine(tc.line)
		if d := cmp.Diff(tc.want, got); d != "" || open != tc.open {
			t.Errorf("%s: %q, quote %q", tc.line, got, open)
		}
	}
}

// TestCompleteBash asks as the script for bash does: word is what readline is
// going to replace.
func TestCompleteBash(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	loki := documentedLoki(t)
	for _, tc := range []struct{ line, word, want string }{
		{`kubectl logstack lab`, `lab`, "space labels"},
		{`kubectl-logstack lab`, `lab`, "space labels"},
		{`kubectl-logstack query --li`, `--li`, "space --limit"},
		{`kubectl-logstack query -o js`, `js`, "space jsonl|json"},
		{`kubectl logstack query --addr LOKI '{na`, `{na`, `nospace {namespace="|{namespace="…`},
		{`kubectl logstack query --addr LOKI '{app="`, `{app="`, `nospace {app="db"|{app="web"`},
		{`kubectl logstack query --addr=LOKI '{app="d`, `{app="d`, `nospace {app="db"|{app="db"…`},
		{`kubectl logstack query --addr LOKI "{app=\"d`, `{app=\"d`, `nospace {app=\"db\"|{app=\"db\"…`},
		{`kubectl logstack query --addr LOKI {na`, `{na`, `nospace '{namespace="`},
		{`kubectl logstack query --addr LOKI {app=`, ``, ""}, // readline has cut the word already
		{`kubectl logstack labels --addr LOKI --match='{na`, `{na`, `nospace {namespace="|{namespace="…`},
		{`kubectl logstack labels --addr LOKI n`, `n`, `space namespace`},
		{`kubectl logstack volume --addr LOKI --by app,n`, `app,n`, `nospace app,namespace`},
		{`kubectl logstack fields --addr LOKI '{app="web"}' t`, `t`, `space took|trace_id`},
		{`kubectl logstack delete cancel --addr LOKI `, ``, `space 5f7ef3c1`},
		{`kubectl logstack logs -n shop --addr LOKI d`, `d`, `nospace db-0|deploy/|ds/`},
		{`kubectl logstack logs -A --addr LOKI web`, `web`, `space web-0|web-1`},
		{`kubectl logstack logs -A --addr LOKI deploy/w`, `deploy/w`, ``},
		{`kubectl logstack logs --addr LOKI -c a`, `a`, `space app`},
		{`kubectl logstack query --addr http://127.0.0.1:1 '{na`, `{na`, ""},
		{`kubectl logstack query '{a="b"}' x`, `x`, ""},
		{`kubectl`, `kubectl`, ""},
	} {
		var out, errOut bytes.Buffer
		line := strings.ReplaceAll(tc.line, "LOKI", loki)
		code := run([]string{"__completeBash", "--", tc.word, line}, genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut})
		got := strings.ReplaceAll(strings.Replace(strings.TrimSpace(out.String()), "\n", " ", 1), "\n", "|")
		if code != 0 || errOut.Len() > 0 || got != tc.want {
			t.Errorf("%s: code %d, got %s, want %s, stderr %s", tc.line, code, got, tc.want, &errOut)
		}
	}
}

// TestCompletionScripts sees that every shell gets one, and that ours call what
// there is.
func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		var out bytes.Buffer
		if code := run([]string{"completion", shell}, genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &out}); code != 0 || !strings.Contains(out.String(), "__complete") {
			t.Errorf("%s: code %d, %.100s", shell, code, &out)
		}
	}
}

func TestAsCompletion(t *testing.T) {
	for program, want := range map[string][]string{
		"/usr/bin/kubectl_complete-logstack": {"__complete", "query", ""},
		"kubectl_complete-logstack.exe":      {"__complete", "query", ""},
		"/usr/bin/kubectl-logstack":          {"query", ""},
	} {
		if got := asCompletion(program, []string{"query", ""}); !slices.Equal(got, want) {
			t.Errorf("%s: %q", program, got)
		}
	}
}
