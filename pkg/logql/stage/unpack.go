package stage

// packedEntry is the key under which promtail's and Alloy's pack stage puts
// the line.
const packedEntry = "_entry"

// unpackStage is "| unpack", the reverse of pack: the object's strings become
// labels and its _entry the line. An object without _entry was not packed and
// passes as it is.
type unpackStage struct {
	quiet      bool // nothing needs labels, and so nothing is an error
	keys, vals []string
}

// NewUnpack returns the unpack stage.
func NewUnpack() Stage { return &unpackStage{} }

func (st *unpackStage) Process(_ int64, line string, b *Builder) (string, bool) {
	if line == "" { // as in Loki, no error
		return line, true
	}
	st.keys, st.vals = st.keys[:0], st.vals[:0]
	p := jsonScanner{s: line}
	if p.peek() != '{' {
		return st.fail(line, errJSONObject, b)
	}
	p.i++
	entry, packed := "", false
	for first := true; ; first = false {
		key, keyEscaped, more, err := p.member(first)
		if err == nil && !more {
			break
		}
		var (
			raw     string
			kind    jsonKind
			escaped bool
		)
		if err == nil {
			raw, kind, escaped, err = p.value()
		}
		if err != nil {
			return st.fail(line, err, b)
		}
		if kind != jsonString {
			continue
		}
		if escaped {
			raw = b.unescape(raw)
		}
		if keyEscaped {
			key = b.unescape(key)
		}
		if key == packedEntry {
			entry, packed = raw, true
			continue
		}
		st.keys, st.vals = append(st.keys, key), append(st.vals, raw)
	}
	if !packed {
		return line, true
	}
	for i, key := range st.keys {
		if name := b.labelName(key); name != "" {
			b.extract(name, st.vals[i])
		}
	}
	return entry, true
}

func (st *unpackStage) fail(line string, err error, b *Builder) (string, bool) {
	if !st.quiet {
		b.SetErr(ErrJSON, err.Error())
	}
	return line, true
}
