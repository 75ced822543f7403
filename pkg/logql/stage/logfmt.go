package stage

import "strconv"

// LogfmtOptions are the flags of the logfmt stage.
type LogfmtOptions struct {
	// Strict makes a malformed pair an error that ends the line.
	Strict bool
	// KeepEmpty keeps keys without a value.
	KeepEmpty bool
}

// logfmtScanner reads key=value pairs from left to right.
type logfmtScanner struct {
	s string
	i int
	// bad is the first syntax error: its place and what is wrong there.
	bad    string
	badPos int
}

// next reads a pair. Malformed ones are skipped, and the first is remembered
// in bad. ok is false at the end of the line.
func (p *logfmtScanner) next() (key, val string, escaped, ok bool) {
	for {
		for p.i < len(p.s) && p.s[p.i] <= ' ' {
			p.i++
		}
		if p.i == len(p.s) {
			return "", "", false, false
		}
		start := p.i
		for p.i < len(p.s) && p.s[p.i] > ' ' && p.s[p.i] != '=' && p.s[p.i] != '"' {
			p.i++
		}
		key = p.s[start:p.i]
		switch {
		case p.i == len(p.s) || p.s[p.i] <= ' ':
			return key, "", false, true
		case p.s[p.i] == '"':
			p.skip("unexpected '\"'")
		case key == "":
			p.skip("unexpected '='")
		default:
			p.i++
			if val, escaped, ok = p.val(); ok {
				return key, val, escaped, true
			}
		}
	}
}

// val reads what is behind "=".
func (p *logfmtScanner) val() (val string, escaped, ok bool) {
	if p.i < len(p.s) && p.s[p.i] == '"' {
		return p.quoted()
	}
	start := p.i
	for p.i < len(p.s) && p.s[p.i] > ' ' {
		switch p.s[p.i] {
		case '=':
			p.skip("unexpected '='")
			return "", false, false
		case '"':
			p.skip("unexpected '\"'")
			return "", false, false
		}
		p.i++
	}
	return p.s[start:p.i], false, true
}

// quoted reads a value in double quotes.
func (p *logfmtScanner) quoted() (val string, escaped, ok bool) {
	start := p.i
	for i := p.i + 1; i < len(p.s); i++ {
		switch p.s[i] {
		case '\\':
			escaped = true
			i++
		case '"':
			p.i = i + 1
			return p.s[start+1 : i], escaped, true
		}
	}
	p.fail(len(p.s), "unterminated quoted value")
	p.i = len(p.s)
	return "", false, false
}

// skip remembers an error at the scanner's place and goes on behind the word.
func (p *logfmtScanner) skip(what string) {
	p.fail(p.i, what)
	for p.i < len(p.s) && p.s[p.i] > ' ' {
		p.i++
	}
}

func (p *logfmtScanner) fail(pos int, what string) {
	if p.bad == "" {
		p.bad, p.badPos = what, pos+1
	}
}

func (p *logfmtScanner) details() string {
	return "logfmt syntax error at pos " + strconv.Itoa(p.badPos) + " : " + p.bad
}

// logfmtStage is "| logfmt": every pair becomes a label.
type logfmtStage struct {
	opts LogfmtOptions
}

// NewLogfmt returns the logfmt stage without expressions.
func NewLogfmt(o LogfmtOptions) Stage { return &logfmtStage{o} }

func (st *logfmtStage) Process(_ int64, line string, b *Builder) (string, bool) {
	p := logfmtScanner{s: line}
	for {
		key, val, escaped, ok := p.next()
		if st.opts.Strict && p.bad != "" {
			b.SetErr(ErrLogfmt, p.details())
			return line, true
		}
		if !ok {
			return line, true
		}
		if val == "" && !st.opts.KeepEmpty {
			continue
		}
		if escaped {
			val = b.unescape(val)
		}
		if name := b.labelName(key); name != "" && b.extract(name, val) {
			return line, true
		}
		if !st.opts.Strict && b.enough() {
			return line, true
		}
	}
}

// LogfmtKey is one extraction of a logfmt stage with expressions.
type LogfmtKey struct {
	// Label is the label to set, Key the logfmt key whose value it takes.
	Label, Key string
}

// logfmtKeyStage is "| logfmt a="k", b". As in Loki, the last of several values
// counts, a key with the name of the label itself is as good as the one asked
// for, and what is not there gives an empty label, unless the stream or the
// metadata has one of that name.
type logfmtKeyStage struct {
	opts LogfmtOptions
	keys []LogfmtKey
	vals []string
}

// NewLogfmtKeys returns the logfmt stage with expressions.
func NewLogfmtKeys(o LogfmtOptions, keys []LogfmtKey) Stage {
	return &logfmtKeyStage{opts: o, keys: keys, vals: make([]string, len(keys))}
}

func (st *logfmtKeyStage) Process(_ int64, line string, b *Builder) (string, bool) {
	clear(st.vals)
	p := logfmtScanner{s: line}
	for {
		key, val, escaped, ok := p.next()
		if st.opts.Strict && p.bad != "" {
			b.SetErr(ErrLogfmt, p.details())
			break
		}
		if !ok {
			break
		}
		if !b.watch.spend(len(st.keys)) {
			break
		}
		name := b.labelName(key)
		for i := range st.keys {
			if k := &st.keys[i]; k.Key != key && k.Key != name && k.Label != name {
				continue
			}
			if escaped {
				val, escaped = b.unescape(val), false
			}
			st.vals[i] = val
		}
	}
	for i := range st.keys {
		if st.vals[i] == "" && b.stored(st.keys[i].Label) {
			continue
		}
		if b.extractAs(st.keys[i].Label, st.vals[i], true) {
			break
		}
	}
	return line, true
}
