package conf

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/grafana/alloy/syntax/ast"
	"github.com/grafana/alloy/syntax/diag"
	"github.com/grafana/alloy/syntax/parser"
	"github.com/grafana/alloy/syntax/token"
)

// Alloy is the component graph of an Alloy file.
type Alloy struct {
	// Components by ID ("loki.write.default"), in Order.
	Components map[string]*Component
	Order      []string
	// Undefined are references to components that are not there.
	Undefined []Reference
	// Custom says that the file declares or imports components: references to
	// unknown names may be theirs.
	Custom bool
}

// Component is a block with a label.
type Component struct {
	ID   string
	Name string // "loki.write"
	Pos  Pos
	Body ast.Body
	// Refs are the components that its arguments name, To those of forward_to.
	Refs, To []string
}

// Reference is a use of a component.
type Reference struct {
	ID, Attribute, In string
	Pos               Pos
}

func parseAlloy(text string) *Config {
	c := &Config{Alloy: &Alloy{Components: map[string]*Component{}}}
	f, err := parser.ParseFile("", []byte(text))
	if err != nil {
		var ds diag.Diagnostics
		if errors.As(err, &ds) {
			for _, d := range ds {
				c.Errors = append(c.Errors, Diagnostic{Pos: Pos{d.StartPos.Line, d.StartPos.Column}, Message: d.Message})
			}
		} else {
			c.Errors = append(c.Errors, Diagnostic{Message: err.Error()})
		}
		return c
	}
	a := c.Alloy
	for _, st := range f.Body {
		b, ok := st.(*ast.BlockStmt)
		if !ok {
			continue
		}
		name := b.GetBlockName()
		if name == "declare" || strings.HasPrefix(name, "import.") || name == "foreach" {
			a.Custom = true
		}
		if name == "declare" || name == "argument" || name == "export" || strings.HasPrefix(name, "import.") {
			continue
		}
		// Blocks without a label (logging) are no components, and read some.
		comp := &Component{ID: strings.TrimSuffix(name+"."+b.Label, "."), Name: name, Pos: posOf(b.NamePos), Body: b.Body}
		if a.Components[comp.ID] != nil {
			c.Errors = append(c.Errors, Diagnostic{Pos: comp.Pos, Message: "component " + comp.ID + " is defined twice"})
			continue
		}
		a.Components[comp.ID] = comp
		a.Order = append(a.Order, comp.ID)
	}
	for _, id := range a.Order {
		a.connect(a.Components[id])
	}
	c.fromAlloy()
	return c
}

func posOf(p token.Pos) Pos {
	if !p.Valid() {
		return Pos{}
	}
	q := p.Position()
	return Pos{q.Line, q.Column}
}

// familiar are the beginnings of components' names: a reference that begins
// otherwise is to a function, a constant or an argument.
var familiar = []string{"loki", "discovery", "local", "prometheus", "otelcol", "remote", "mimir", "pyroscope", "faro", "beyla"}

// connect finds the references of a component.
func (a *Alloy) connect(c *Component) {
	walkBody(c.Body, nil, func(path []string, attr *ast.AttributeStmt) {
		walkExpr(attr.Value, func(e ast.Expr) bool {
			names := access(e)
			if len(names) < 2 {
				return true
			}
			id := a.resolve(names)
			switch {
			case id != "":
				c.Refs = append(c.Refs, id)
				if attr.Name.Name == "forward_to" || attr.Name.Name == "receivers" || attr.Name.Name == "logs" {
					c.To = append(c.To, id)
				}
			case slices.Contains(familiar, names[0]) && len(names) >= 3:
				if names[0] == "remote" && len(names) < 4 {
					return false
				}
				a.Undefined = append(a.Undefined, Reference{ID: strings.Join(names[:len(names)-1], "."), Attribute: attr.Name.Name, In: c.ID, Pos: posOf(ast.StartPos(e))})
			}
			return false
		})
	})
}

// resolve finds the component that an access path begins with.
func (a *Alloy) resolve(names []string) string {
	for n := len(names); n >= 2; n-- {
		if id := strings.Join(names[:n], "."); a.Components[id] != nil {
			return id
		}
	}
	return ""
}

// access is the dotted path of an expression; nil when it is none.
func access(e ast.Expr) []string {
	switch e := e.(type) {
	case *ast.IdentifierExpr:
		return []string{e.Ident.Name}
	case *ast.AccessExpr:
		if p := access(e.Value); p != nil {
			return append(p, e.Name.Name)
		}
	case *ast.IndexExpr:
		return access(e.Value)
	case *ast.ParenExpr:
		return access(e.Inner)
	}
	return nil
}

// walkBody calls f for each attribute, with the names of the blocks around it.
func walkBody(body ast.Body, path []string, f func([]string, *ast.AttributeStmt)) {
	for _, st := range body {
		switch st := st.(type) {
		case *ast.AttributeStmt:
			f(path, st)
		case *ast.BlockStmt:
			walkBody(st.Body, append(slices.Clone(path), st.GetBlockName()), f)
		}
	}
}

// walkExpr calls f for an expression and, while it returns true, its parts.
func walkExpr(e ast.Expr, f func(ast.Expr) bool) {
	if e == nil || !f(e) {
		return
	}
	switch e := e.(type) {
	case *ast.ArrayExpr:
		for _, x := range e.Elements {
			walkExpr(x, f)
		}
	case *ast.ObjectExpr:
		for _, x := range e.Fields {
			walkExpr(x.Value, f)
		}
	case *ast.AccessExpr:
		walkExpr(e.Value, f)
	case *ast.IndexExpr:
		walkExpr(e.Value, f)
		walkExpr(e.Index, f)
	case *ast.CallExpr:
		for _, x := range e.Args {
			walkExpr(x, f)
		}
	case *ast.UnaryExpr:
		walkExpr(e.Value, f)
	case *ast.BinaryExpr:
		walkExpr(e.Left, f)
		walkExpr(e.Right, f)
	case *ast.ParenExpr:
		walkExpr(e.Inner, f)
	}
}

// attr finds an attribute of a body.
func attr(body ast.Body, name string) *ast.AttributeStmt {
	for _, st := range body {
		if a, ok := st.(*ast.AttributeStmt); ok && a.Name.Name == name {
			return a
		}
	}
	return nil
}

// blocks are the blocks of a body with a name.
func blocks(body ast.Body, name string) []*ast.BlockStmt {
	var out []*ast.BlockStmt
	for _, st := range body {
		if b, ok := st.(*ast.BlockStmt); ok && b.GetBlockName() == name {
			out = append(out, b)
		}
	}
	return out
}

// text is the value of a string literal; ok is false for other expressions.
func text(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.LiteralExpr)
	if !ok {
		if p, ok := e.(*ast.ParenExpr); ok {
			return text(p.Inner)
		}
		return "", false
	}
	if l.Kind != token.STRING {
		return l.Value, true
	}
	s, err := strconv.Unquote(l.Value)
	return s, err == nil
}

// stringAttr is the literal value of an attribute; set says that it is there.
func stringAttr(body ast.Body, name string) (value string, pos Pos, set, literal bool) {
	a := attr(body, name)
	if a == nil {
		return "", Pos{}, false, false
	}
	v, ok := text(a.Value)
	return v, posOf(ast.StartPos(a.Value)), true, ok
}

func truthy(body ast.Body, name string) bool {
	v, _, set, literal := stringAttr(body, name)
	return set && (!literal || v == "true")
}

func stringList(body ast.Body, name string) (out []string, literal bool) {
	a := attr(body, name)
	if a == nil {
		return nil, true
	}
	arr, ok := a.Value.(*ast.ArrayExpr)
	if !ok {
		return nil, false
	}
	for _, e := range arr.Elements {
		v, ok := text(e)
		if !ok {
			return nil, false
		}
		out = append(out, v)
	}
	return out, true
}
