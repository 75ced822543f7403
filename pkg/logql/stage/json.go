package stage

// jsonStage is "| json": every scalar of the object becomes a label, nested
// keys joined by underscores. Arrays and null are left out, numbers keep the
// text they have. What came before a syntax error stays extracted.
type jsonStage struct {
	scan   jsonScanner
	prefix []byte // of the object at hand, with its trailing underscore
}

// NewJSON returns the json stage without expressions.
func NewJSON() Stage { return &jsonStage{} }

func (st *jsonStage) Process(_ int64, line string, b *Builder) (string, bool) {
	st.scan = jsonScanner{s: line}
	st.prefix = st.prefix[:0]
	if st.scan.peek() != '{' {
		b.SetErr(ErrJSON, errJSONObject.Error())
		return line, true
	}
	st.scan.i++
	if _, err := st.object(b, 1); err != nil {
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
		if p.peek() == '{' {
			p.i++
			n := len(st.prefix)
			st.push(b, key, escaped)
			done, err := st.object(b, depth+1)
			st.prefix = st.prefix[:n]
			if done || err != nil {
				return done, err
			}
			continue
		}
		raw, kind, esc, err := p.value()
		if err != nil {
			return false, err
		}
		if kind == jsonNull || kind == jsonArray {
			continue
		}
		name := st.name(b, key, escaped)
		if name == "" {
			continue
		}
		if esc {
			raw = b.unescape(raw)
		}
		if b.extract(name, raw) {
			return true, nil
		}
	}
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
