package stage

import "github.com/logstack-dev/kubectl-logstack/pkg/logql"

// JSONPath is one extraction of a json stage with expressions.
type JSONPath struct {
	// Label is the label to set.
	Label string
	// Path leads to the value.
	Path []logql.PathElement
}

// jsonPathStage is "| json a="x.y[0]", b": it takes single values out of the
// object. A path that leads nowhere gives an empty label, unless there is one of
// that name already; an object or array gives its JSON text.
type jsonPathStage struct {
	paths []JSONPath
}

// NewJSONPaths returns the json stage with expressions.
func NewJSONPaths(paths []JSONPath) Stage { return &jsonPathStage{paths} }

func (st *jsonPathStage) Process(_ int64, line string, b *Builder) (string, bool) {
	if line == "" { // as in Loki, no error
		return line, true
	}
	p := jsonScanner{s: line}
	switch p.peek() {
	case '{', '[', '"':
	default:
		b.SetErr(ErrJSON, "")
		return line, true
	}
	start := p.i
	for i := range st.paths {
		x := &st.paths[i]
		if !b.mayWant(x.Label) {
			continue
		}
		if !b.watch.spend(len(line)) {
			break
		}
		if len(b.scratch) > maxJSONScratch {
			b.SetErr(ErrJSON, errJSONNames.Error())
			break
		}
		p.i = start
		raw, escaped, err := p.lookup(x.Path, b)
		if err != nil {
			b.SetErr(ErrJSON, "")
			raw = ""
		}
		if escaped {
			raw = b.unescape(raw)
		}
		if _, ok := b.Get(x.Label); ok && raw == "" {
			continue
		}
		if b.extractAs(x.Label, raw, true) {
			break
		}
	}
	return line, true
}

// mayWant says whether a value extracted as name has a reader, under this name
// or the one it gets when the stream has a label of the same name.
func (b *Builder) mayWant(name string) bool {
	return b.wants(name) || b.hints.needs(name+extractedSuffix)
}

// lookup reads the value that path leads to; what is not there is "", also where
// the line is malformed on the way.
func (p *jsonScanner) lookup(path []logql.PathElement, b *Builder) (raw string, escaped bool, err error) {
	for _, el := range path {
		var found bool
		if el.IsIndex {
			found, err = p.enterArray(el.Index)
		} else {
			found, err = p.enterObject(el.Key, b)
		}
		if !found || err != nil {
			return "", false, nil //nolint:nilerr // what is malformed on the way is not there, see above
		}
	}
	raw, kind, escaped, err := p.value()
	if kind == jsonNull {
		raw = ""
	}
	return raw, escaped, err
}

// enterObject goes to the value of a key, if the scanner is at an object that
// has it.
func (p *jsonScanner) enterObject(want string, b *Builder) (bool, error) {
	if p.peek() != '{' {
		return false, nil
	}
	p.i++
	for first := true; ; first = false {
		key, escaped, more, err := p.member(first)
		if err != nil || !more {
			return false, err
		}
		if escaped {
			key = b.unescape(key)
		}
		if key == want {
			return true, nil
		}
		if _, _, _, err := p.value(); err != nil {
			return false, err
		}
	}
}

// enterArray goes to the n-th element, if the scanner is at an array that has it.
func (p *jsonScanner) enterArray(n int) (bool, error) {
	if p.peek() != '[' {
		return false, nil
	}
	p.i++
	for i := 0; ; i++ {
		more, err := p.element(i == 0)
		if err != nil || !more {
			return false, err
		}
		if i == n {
			return true, nil
		}
		if _, _, _, err := p.value(); err != nil {
			return false, err
		}
	}
}
