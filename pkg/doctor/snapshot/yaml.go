package snapshot

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// source is where an object of a file stands.
type source struct {
	kind  string
	file  string
	node  *yaml.Node // the object's mapping
	lines []string   // of the file
}

// Lookup walks mappings by key and sequences by index; nil when the way ends.
func Lookup(n *yaml.Node, path ...string) *yaml.Node { return lookup(n, path) }

func lookup(n *yaml.Node, path []string) *yaml.Node {
	_, v := lookupKey(n, path)
	return v
}

// lookupKey also returns the node of the last key: findings about a key point
// at the key, not at its value. For sequence items it is the item.
func lookupKey(n *yaml.Node, path []string) (key, value *yaml.Node) {
	key, value = n, n
	for _, p := range path {
		value = resolve(value)
		if value == nil {
			return nil, nil
		}
		switch value.Kind {
		case yaml.MappingNode:
			key, value = mapGet(value, p)
		case yaml.SequenceNode:
			i, err := strconv.Atoi(p)
			if err != nil || i < 0 || i >= len(value.Content) {
				return nil, nil
			}
			value = value.Content[i]
			key = value
		default:
			return nil, nil
		}
		if value == nil {
			return nil, nil
		}
	}
	return key, resolve(value)
}

// resolve follows aliases and document nodes.
func resolve(n *yaml.Node) *yaml.Node {
	for n != nil {
		switch {
		case n.Kind == yaml.AliasNode:
			n = n.Alias
		case n.Kind == yaml.DocumentNode && len(n.Content) == 1:
			n = n.Content[0]
		default:
			return n
		}
	}
	return nil
}

// mapGet finds a key, also one that a merge key (<<) brings in.
func mapGet(m *yaml.Node, key string) (k, v *yaml.Node) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return m.Content[i], m.Content[i+1]
		}
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Tag == "!!merge" {
			merged := resolve(m.Content[i+1])
			if merged == nil {
				continue
			}
			all := []*yaml.Node{merged}
			if merged.Kind == yaml.SequenceNode {
				all = merged.Content
			}
			for _, one := range all {
				if one = resolve(one); one != nil && one.Kind == yaml.MappingNode {
					if k, v := mapGet(one, key); v != nil {
						return k, v
					}
				}
			}
		}
	}
	return nil, nil
}

// Entries calls f for each key of a mapping, in the order of the file.
func Entries(n *yaml.Node, f func(key string, keyNode, value *yaml.Node)) {
	n = resolve(n)
	if n == nil || n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Tag != "!!merge" {
			f(n.Content[i].Value, n.Content[i], resolve(n.Content[i+1]))
		}
	}
}

// IsMap says whether n is a mapping.
func IsMap(n *yaml.Node) bool { n = resolve(n); return n != nil && n.Kind == yaml.MappingNode }

// IsEmpty says whether n is absent, null, or an empty mapping or sequence.
func IsEmpty(n *yaml.Node) bool {
	n = resolve(n)
	return n == nil || n.Tag == "!!null" || (n.Kind != yaml.ScalarNode && len(n.Content) == 0)
}

// ToNode turns a decoded value into a tree without positions.
func ToNode(v any) *yaml.Node {
	var n yaml.Node
	if err := n.Encode(v); err != nil {
		return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	}
	return &n
}

// ParseYAML parses one document into its root node; an empty one is an empty mapping.
func ParseYAML(text string) (*yaml.Node, error) {
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil {
		return nil, err
	}
	if r := resolve(&n); r != nil && r.Kind != 0 && r.Tag != "!!null" {
		return r, nil
	}
	return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: 1, Column: 1}, nil
}

// Text is a configuration with its place: a file of its own, or a string
// inside of an object.
type Text struct {
	Content string
	// Ref is the place of the whole text.
	Ref Ref
	// line is added to a line of the text (counted from 1) to get the line of
	// the file; columns[i] likewise. Both 0 for live objects, whose positions
	// are those inside of the text.
	line, column int
	oneLine      bool // a quoted scalar: columns are counted from its start
	fixed        bool // a text that was put together: everything is at Ref
}

// At is the place of a line and column (both from 1) of the text.
func (t Text) At(line, column int) Ref {
	r := t.Ref
	if t.fixed {
		return r
	}
	r.Line = line + t.line
	r.Column = 0
	if column > 0 {
		r.Column = column + t.column
	}
	if t.oneLine {
		r.Line = t.Ref.Line
	}
	return r
}

// Offset is the place of a byte offset of the text.
func (t Text) Offset(off int) Ref {
	off = min(max(off, 0), len(t.Content))
	before := t.Content[:off]
	return t.At(1+strings.Count(before, "\n"), off-strings.LastIndexByte(before, '\n'))
}

// FileText is a text that is a whole file.
func FileText(file, content string) Text {
	return Text{Content: content, Ref: Ref{File: file, Line: 1, Column: 1}}
}

// scalarText is the text of a string inside of a YAML file. lines are those of
// the file: a block scalar's indentation is not in the tree.
func scalarText(n *yaml.Node, lines []string, ref Ref) Text {
	t := Text{Content: n.Value, Ref: ref}
	if ref.File == "" && ref.In == "" {
		t.Ref.Line, t.Ref.Column = 0, 0
		return t
	}
	t.Ref.Line, t.Ref.Column = n.Line, n.Column
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
		t.oneLine, t.column = true, n.Column-1
		if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
			t.column++
		}
		return t
	}
	t.line = n.Line
	for i := n.Line; i < len(lines); i++ {
		if s := strings.TrimLeft(lines[i], " "); s != "" {
			t.column = len(lines[i]) - len(s)
			break
		}
	}
	return t
}

// Strings are all strings below a path of an object, as texts with their places.
func (s *Snapshot) Strings(o metav1.Object, path ...string) []Text {
	src := s.d.sources[o]
	var root *yaml.Node
	var lines []string
	if src != nil {
		root, lines = src.node, src.lines
	} else if u, ok := o.(*unstructured.Unstructured); ok {
		root = ToNode(u.Object)
	}
	var out []Text
	var walk func(n *yaml.Node, path []string)
	walk = func(n *yaml.Node, path []string) {
		switch n = resolve(n); {
		case n == nil:
		case n.Kind == yaml.ScalarNode && n.Tag == "!!str":
			ref := s.Ref(o)
			ref.Path = strings.Join(path, ".")
			out = append(out, scalarText(n, lines, ref))
		case n.Kind == yaml.SequenceNode:
			for i, c := range n.Content {
				walk(c, append(slices.Clone(path), strconv.Itoa(i)))
			}
		default:
			Entries(n, func(key string, _, v *yaml.Node) { walk(v, append(slices.Clone(path), key)) })
		}
	}
	walk(lookup(root, path), path)
	return out
}
