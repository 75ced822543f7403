package stage

import "strconv"

// JSONOptions are the flags of the json stage.
type JSONOptions struct {
	// Arrays takes the elements of arrays too, with their index as a part of the
	// name: {"tags":["a",{"b":1}]} gives tags_0 and tags_1_b.
	Arrays bool
}

// jsonStage is "| json": every scalar of the object becomes a label, nested
// keys joined by underscores. Arrays and null are left out, numbers keep the
// text they have. What came before a syntax error stays extracted.
type jsonStage struct {
	opts   JSONOptions
	scan   jsonScanner
	prefix []byte // of the object at hand, with its trailing underscore
}

// NewJSON returns the json stage without expressions.
func NewJSON(o JSONOptions) Stage { return &jsonStage{opts: o} }

func (st *jsonStage) Process(_ int64, line string, b *Builder) (string, bool) {
	st.scan = jsonScanner{s: line}
	st.prefix = st.prefix[:0]
	err := errJSONObject
	switch c := st.scan.peek(); {
	case c == '{':
		st.scan.i++
		_, err = st.object(b, 1)
	case c == '[' && st.opts.Arrays:
		st.scan.i++
		_, err = st.array(b, 1)
	}
	if err != nil {
		b.SetErr(ErrJSON, err.Error())
	}
	return line, true
}

// object reads the members of an object whose "{" has been read. done says
// that all labels that anything needs are there.
func (st *jsonStage) object(b *Builder, depth int) (done bool, err error) {
	if depth > maxJSONDepth {
		return false, errJSONDepth
	}
	p := &st.scan
	for first := true; ; first = false {
		key, escaped, more, err := p.member(first)
		if err != nil || !more {
			return false, err
		}
		if done, err := st.value(b, key, escaped, depth); done || err != nil {
			return done, err
		}
	}
}

// array is object for an array whose "[" has been read.
func (st *jsonStage) array(b *Builder, depth int) (done bool, err error) {
	if depth > maxJSONDepth {
		return false, errJSONDepth
	}
	for i := 0; ; i++ {
		more, err := st.scan.element(i == 0)
		if err != nil || !more {
			return false, err
		}
		n := len(b.scratch)
		b.scratch = strconv.AppendInt(b.scratch, int64(i), 10)
		if done, err := st.value(b, b.tail(n), false, depth); done || err != nil {
			return done, err
		}
	}
}

// value reads the value of a key of the object, or of an index of the array, at
// hand.
func (st *jsonStage) value(b *Builder, key string, escaped bool, depth int) (done bool, err error) {
	p := &st.scan
	if c := p.peek(); c == '{' || c == '[' && st.opts.Arrays {
		p.i++
		n := len(st.prefix)
		st.push(b, key, escaped)
		if c == '{' {
			done, err = st.object(b, depth+1)
		} else {
			done, err = st.array(b, depth+1)
		}
		st.prefix = st.prefix[:n]
		return done, err
	}
	raw, kind, esc, err := p.value()
	if err != nil || kind == jsonNull || kind == jsonArray {
		return false, err
	}
	if len(b.scratch)+len(st.prefix) > maxJSONScratch {
		return false, errJSONNames
	}
	name := st.name(b, key, escaped)
	if name == "" {
		return false, nil
	}
	if esc {
		raw = b.unescape(raw)
	}
	return b.extract(name, raw), nil
}

// push makes key the prefix of the names inside its object.
func (st *jsonStage) push(b *Builder, key string, escaped bool) {
	if escaped {
		key = b.unescape(key)
	}
	st.prefix = appendName(st.prefix, key, len(st.prefix) == 0)
	st.prefix = append(st.prefix, '_')
}

// name is the label name of a key of the object at hand.
func (st *jsonStage) name(b *Builder, key string, escaped bool) string {
	if escaped {
		key = b.unescape(key)
	}
	if len(st.prefix) == 0 {
		return b.labelName(key)
	}
	n := len(b.scratch)
	b.scratch = append(b.scratch, st.prefix...)
	b.scratch = appendName(b.scratch, key, false)
	return b.tail(n)
}
