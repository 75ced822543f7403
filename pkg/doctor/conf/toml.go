package conf

import (
	"errors"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
	"go.yaml.in/yaml/v3"
)

// TOML reads a TOML text into the tree that YAML gives, with positions: keys and
// values stand where they are written, an array or a table without a bracket of
// its own where its key is. A mistake is a *TOMLError.
func TOML(text string) (*yaml.Node, error) {
	// The decoder knows the rules (keys that are set twice, tables that are no
	// tables), the parser below the places.
	var all map[string]any
	if err := toml.Unmarshal([]byte(text), &all); err != nil {
		e := &TOMLError{Message: strings.TrimPrefix(err.Error(), "toml: ")}
		var de *toml.DecodeError
		if errors.As(err, &de) {
			e.Line, e.Column = de.Position()
		}
		return nil, e
	}
	r := &tomlReader{root: newMap(Pos{1, 1})}
	r.table = r.root
	r.p.Reset([]byte(text))
	for r.p.NextExpression() {
		switch e := r.p.Expression(); e.Kind {
		case unstable.Table:
			r.table = r.descend(r.root, r.keys(e.Key()))
		case unstable.ArrayTable:
			keys := r.keys(e.Key())
			last := len(keys) - 1
			seq := r.child(r.descend(r.root, keys[:last]), keys[last], yaml.SequenceNode)
			r.table = newMap(keys[last].pos)
			seq.Content = append(seq.Content, r.table)
		case unstable.KeyValue:
			r.set(r.table, e)
		}
	}
	if err := r.p.Error(); err != nil {
		return nil, &TOMLError{Message: err.Error()}
	}
	return r.root, nil
}

// TOMLError is a mistake of syntax, with its place.
type TOMLError struct {
	Line, Column int // 0 when unknown
	Message      string
}

func (e *TOMLError) Error() string { return e.Message }

type tomlReader struct {
	p           unstable.Parser
	root, table *yaml.Node
}

type tomlKey struct {
	name string
	pos  Pos
}

func newMap(p Pos) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: p.Line, Column: p.Column}
}

// pos is where a node stands, def where the parser does not keep it.
func (r *tomlReader) pos(n *unstable.Node, def Pos) Pos {
	if n.Raw.Length == 0 {
		return def
	}
	start := r.p.Shape(n.Raw).Start
	return Pos{start.Line, start.Column}
}

// keys are the parts of a dotted key.
func (r *tomlReader) keys(it unstable.Iterator) []tomlKey {
	var out []tomlKey
	for it.Next() {
		n := it.Node()
		out = append(out, tomlKey{string(n.Data), r.pos(n, Pos{})})
	}
	return out
}

// child is the value of a key, made if it is not there.
func (r *tomlReader) child(m *yaml.Node, k tomlKey, kind yaml.Kind) *yaml.Node {
	if v := get(m, k.name); v != nil {
		return v
	}
	v := newMap(k.pos)
	if kind == yaml.SequenceNode {
		v.Kind, v.Tag = kind, "!!seq"
	}
	r.add(m, k, v)
	return v
}

func (r *tomlReader) add(m *yaml.Node, k tomlKey, v *yaml.Node) {
	m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: k.name, Line: k.pos.Line, Column: k.pos.Column}, v)
}

// descend walks down tables; of an array of tables, into the last one.
func (r *tomlReader) descend(m *yaml.Node, keys []tomlKey) *yaml.Node {
	for _, k := range keys {
		m = r.child(m, k, yaml.MappingNode)
		if m.Kind == yaml.SequenceNode && len(m.Content) > 0 {
			m = m.Content[len(m.Content)-1]
		}
	}
	return m
}

// set takes a key and its value into a table.
func (r *tomlReader) set(table *yaml.Node, e *unstable.Node) {
	keys := r.keys(e.Key())
	last := len(keys) - 1
	r.add(r.descend(table, keys[:last]), keys[last], r.value(e.Value(), keys[last].pos))
}

var tomlTags = map[unstable.Kind]string{unstable.String: "!!str", unstable.Integer: "!!int", unstable.Float: "!!float", unstable.Bool: "!!bool"}

func (r *tomlReader) value(n *unstable.Node, def Pos) *yaml.Node {
	p := r.pos(n, def)
	switch n.Kind {
	case unstable.Array:
		seq := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Line: p.Line, Column: p.Column}
		for it := n.Children(); it.Next(); {
			seq.Content = append(seq.Content, r.value(it.Node(), p))
		}
		return seq
	case unstable.InlineTable:
		m := newMap(p)
		for it := n.Children(); it.Next(); {
			r.set(m, it.Node())
		}
		return m
	}
	tag := tomlTags[n.Kind]
	if tag == "" {
		tag = "!!timestamp"
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: string(n.Data), Line: p.Line, Column: p.Column}
}
