package stage

import (
	"io"
	"slices"
	"text/template"
	"text/template/parse"
	"time"
)

// lineTemplate is a compiled template of line_format or label_format. Those
// made only of text and labels, such as "{{.status}} {{.msg}}", are a list of
// pieces; the others are executed.
type lineTemplate struct {
	state  *templateState
	pieces []piece // where simple
	simple bool
	tmpl   *template.Template

	vars map[string]string // labels, for execution; reused
	out  boundedWriter
}

// piece is text or the name of a label; line stands for {{__line__}}.
type piece struct {
	text, label string
	line        bool
}

// newTemplate compiles text. name is what its errors call it.
func newTemplate(name, text string, now func() time.Time) (*lineTemplate, error) {
	t := &lineTemplate{state: &templateState{now: now}}
	tmpl, err := template.New(name).Option("missingkey=zero").Funcs(t.state.funcs()).Parse(text)
	if err != nil {
		return nil, err
	}
	for _, x := range tmpl.Templates() {
		guardLoops(x.Tree.Root)
	}
	t.tmpl = tmpl
	if len(tmpl.Templates()) <= 1 && tmpl.Tree != nil {
		t.pieces, t.simple = simplePieces(tmpl.Tree.Root)
	}
	t.vars = map[string]string{}
	return t, nil
}

// simplePieces takes a template apart that has only text, {{.label}} and
// {{__line__}}.
func simplePieces(list *parse.ListNode) ([]piece, bool) {
	var ps []piece
	for _, n := range list.Nodes {
		switch n := n.(type) {
		case *parse.TextNode:
			ps = append(ps, piece{text: string(n.Text)})
		case *parse.CommentNode:
		case *parse.ActionNode:
			if len(n.Pipe.Decl) > 0 || len(n.Pipe.Cmds) != 1 || len(n.Pipe.Cmds[0].Args) != 1 {
				return nil, false
			}
			switch a := n.Pipe.Cmds[0].Args[0].(type) {
			case *parse.FieldNode:
				if len(a.Ident) != 1 {
					return nil, false
				}
				ps = append(ps, piece{label: a.Ident[0]})
			case *parse.IdentifierNode:
				if a.Ident != lineFunc {
					return nil, false
				}
				ps = append(ps, piece{line: true})
			default:
				return nil, false
			}
		default:
			return nil, false
		}
	}
	return ps, true
}

// guardLoops puts a call that counts into every {{range}} and before every
// {{template}}: a range over a large number, or a template that calls itself,
// would otherwise run for hours without making any text.
func guardLoops(n parse.Node) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return
		}
		var nodes []parse.Node
		for _, x := range n.Nodes {
			guardLoops(x)
			if x.Type() == parse.NodeTemplate {
				nodes = append(nodes, countCall())
			}
			nodes = append(nodes, x)
		}
		n.Nodes = nodes
	case *parse.IfNode:
		guardLoops(n.List)
		guardLoops(n.ElseList)
	case *parse.WithNode:
		guardLoops(n.List)
		guardLoops(n.ElseList)
	case *parse.RangeNode:
		guardLoops(n.List)
		guardLoops(n.ElseList)
		n.List.Nodes = slices.Insert(n.List.Nodes, 0, countCall())
	}
}

// countCall is the call that counts.
func countCall() parse.Node {
	call := &parse.IdentifierNode{NodeType: parse.NodeIdentifier, Ident: loopFunc}
	return &parse.ActionNode{
		NodeType: parse.NodeAction,
		Pipe: &parse.PipeNode{NodeType: parse.NodePipe, Cmds: []*parse.CommandNode{{
			NodeType: parse.NodeCommand, Args: []parse.Node{call},
		}}},
	}
}

// reads says whether the template may read a label of this name.
func (t *lineTemplate) reads(name string) bool {
	if !t.simple {
		return true
	}
	return slices.ContainsFunc(t.pieces, func(p piece) bool { return p.label == name })
}

// snapshot copies the labels of b for a later run of execute.
func (b *Builder) snapshot(vars map[string]string) {
	clear(vars)
	b.each(func(name, value string, _ Category) { vars[name] = value })
}

// run makes the text from the labels as they are. It is valid until the next
// Reset of b.
func (t *lineTemplate) run(ts int64, line string, b *Builder) (string, error) {
	if t.simple {
		n := len(b.scratch)
		for i := range t.pieces {
			var text string
			switch p := &t.pieces[i]; {
			case p.line:
				text = line
			case p.label != "":
				text, _ = b.Get(p.label)
			default:
				text = p.text
			}
			if !b.fits(n, len(text)) {
				b.scratch = b.scratch[:n]
				return "", errTemplateText
			}
			b.scratch = append(b.scratch, text...)
		}
		return b.tail(n), nil
	}
	if !b.watch.spend(pairWork * len(b.pairs)) {
		return "", b.watch.err
	}
	b.snapshot(t.vars)
	return t.execute(ts, line, b, t.vars)
}

// execute makes the text from these labels.
func (t *lineTemplate) execute(ts int64, line string, b *Builder, vars map[string]string) (string, error) {
	t.state.ts, t.state.line, t.state.loops = ts, line, 0
	t.state.watch = &b.watch
	t.out = t.out[:0]
	if err := t.tmpl.Execute(&t.out, vars); err != nil {
		return "", err
	}
	if !b.fits(len(b.scratch), len(t.out)) {
		return "", errTemplateText
	}
	return b.keep(t.out), nil
}

// fits says whether a template whose text begins at from may add n bytes: there
// are bounds for the text, and for all texts of the line, since each stage can
// double what the one before made.
func (b *Builder) fits(from, n int) bool {
	n += len(b.scratch)
	return n-from <= maxTemplateText && n <= maxTemplateScratch
}

// boundedWriter collects text up to maxTemplateText.
type boundedWriter []byte

var _ io.Writer = (*boundedWriter)(nil)

func (w *boundedWriter) Write(p []byte) (int, error) {
	if len(*w)+len(p) > maxTemplateText {
		return 0, errTemplateText
	}
	*w = append(*w, p...)
	return len(p), nil
}
