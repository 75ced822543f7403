package conf

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestTOML: every form of a key and a value, with its place.
func TestTOML(t *testing.T) {
	const text = `# a comment
top = "x"

[sources.k8s]
type = "kubernetes_logs"
"odd.key" = 'literal'

[sinks.loki]
inputs = ["k8s",
  "other"]
labels = { app = "{{ x }}", "pod-*" = "y" }
encoding.codec = "json"
n = 3
on = true
f = 1.5
at = 2026-01-02T03:04:05Z
long = """
two
lines"""

[[list]]
a = 1
[list.deep]
b = 2
[[list]]
a = 3
`
	n, err := TOML(text)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"top": "x@2:7", "sources/k8s/type": "kubernetes_logs@5:8", "sources/k8s/odd.key": "literal@6:13", "sinks/loki/inputs/1": "other@10:3",
		"sinks/loki/labels/app": "{{ x }}@11:18", "sinks/loki/labels/pod-*": "y@11:39", "sinks/loki/encoding/codec": "json@12:18", "sinks/loki/n": "3@13:5",
		"sinks/loki/on": "true@14:6", "sinks/loki/f": "1.5@15:5", "sinks/loki/at": "2026-01-02T03:04:05Z@16:6", "sinks/loki/long": "two\nlines@17:8",
		"list/0/deep/b": "2@24:5", "list/1/a": "3@26:5",
	} {
		v := n
		for p := range strings.SplitSeq(path, "/") {
			if v != nil && v.Kind == yaml.SequenceNode {
				v = v.Content[int(p[0]-'0')]
				continue
			}
			v = get(v, p)
		}
		if v == nil {
			t.Errorf("%s is not there", path)
		} else if got := fmt.Sprintf("%s@%d:%d", v.Value, v.Line, v.Column); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if k := get(n, "sinks").Content[0]; k.Value != "loki" || k.Line != 8 || k.Column != 8 {
		t.Errorf("the key loki is at %d:%d", k.Line, k.Column)
	}
}

func TestTOMLErrors(t *testing.T) {
	for text, line := range map[string]int{"a = 1\na = 2\n": 2, "a = \n": 1, "[x\n": 1, "ok = 1\n[x]\nb = {a = 1\n\n": 3, "a = 1\n[a]\n": 2} {
		_, err := TOML(text)
		var te *TOMLError
		if !errors.As(err, &te) || te.Line < line || te.Message == "" {
			t.Errorf("%q: %v (line %+v)", text, err, te)
		}
	}
}

// FuzzTOML: what the decoder takes can be read, and never panics.
func FuzzTOML(f *testing.F) {
	f.Add("[sinks.loki]\ntype = \"loki\"\nlabels = {a = 1}\n[[x]]\na.b = [1, [2]]\n")
	f.Add("\"\" = ''\n[a.\"\"]\nx = 1979-05-27\n")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := TOML(text)
		if err == nil && n.Kind != yaml.MappingNode {
			t.Error("no mapping")
		}
		Parse("vector", text)
	})
}

// TestOverlap: two patterns overlap when some text matches both.
func TestOverlap(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"kube.*", "kube.var.log.x", true}, {"*", "tail.0", true}, {"app.*", "kube.*", false}, {"*.log", "kube.*", true}, {"a*c", "*b*", true},
		{"a", "a", true}, {"a", "ab", false}, {"", "*", true}, {"", "a", false}, {"kube.*.x", "kube.*.y", false}, {"**", "", true},
	} {
		if overlap(tc.a, tc.b) != tc.want || overlap(tc.b, tc.a) != tc.want {
			t.Errorf("%q and %q: %t", tc.a, tc.b, !tc.want)
		}
	}
	if !overlap(strings.Repeat("*a", 100), strings.Repeat("*b", 100)+"*a") {
		t.Error("many stars")
	}
}
