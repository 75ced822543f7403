package chunk

import (
	"bytes"
	"strings"
)

// contains says whether the probe's text is in b.
func (p *probe) contains(b []byte) bool { return p.index(b) >= 0 }

// index is the first place of the probe's text in b, or -1.
func (p *probe) index(b []byte) int {
	if !p.fold {
		return bytes.Index(b, []byte(p.text))
	}
	// By its rarest letter, in either case.
	end := len(b) - (len(p.text) - p.rare) + 1 // past the last place of that letter
	if p.rare >= end {
		return -1
	}
	c := p.text[p.rare]
	lo, up := nextByte(b, c, p.rare, end), nextByte(b, c-'a'+'A', p.rare, end)
	for {
		at := min(lo, up)
		if at >= end {
			return -1
		}
		if start := at - p.rare; equalFold(b[start:start+len(p.text)], p.text) {
			return start
		}
		if at == lo {
			lo = nextByte(b, c, at+1, end)
		} else {
			up = nextByte(b, c-'a'+'A', at+1, end)
		}
	}
}

// nextByte is the place of c in b[from:end], or end.
func nextByte(b []byte, c byte, from, end int) int {
	if i := bytes.IndexByte(b[from:end], c); i >= 0 {
		return from + i
	}
	return end
}

// equalFold compares b with letters in lower case, of the same length.
func equalFold(b []byte, lower string) bool {
	for i := range len(lower) {
		if b[i]|0x20 != lower[i] {
			return false
		}
	}
	return true
}

// appendFoldProbes is appendProbes for a needle in any case: only words serve.
// Two letters that are not ASCII, the Kelvin sign and the long s, are k and s in
// another case, so that a word is cut at these.
func appendFoldProbes(dst []probe, needle string) []probe {
	const common = "etaoinrlcdhumpfgbwyvzxqj"
	for _, p := range appendWords(nil, strings.ToLower(needle)) {
		for _, word := range strings.FieldsFunc(p.text, func(r rune) bool { return r == 'k' || r == 's' }) {
			if len(word) < minWord || strings.Trim(word, "abcdef") == "" { // may be packed as an identifier
				continue
			}
			f := probe{text: word, fold: true}
			for i := range len(word) {
				if strings.IndexByte(common, word[i]) > strings.IndexByte(common, word[f.rare]) {
					f.rare = i
				}
			}
			dst = append(dst, f)
		}
	}
	return dst
}

// anyProbes returns the probes of each needle of c.Any; nil if one has none, so
// that any row may hold it.
func anyProbes(c *Choice) [][]probe {
	var out [][]probe
	for _, n := range c.Any {
		var probes []probe
		if c.AnyFold {
			probes = appendFoldProbes(nil, n)
		} else {
			probes = appendProbes(nil, n)
		}
		if len(probes) == 0 {
			return nil
		}
		out = append(out, probes)
	}
	return out
}

// findAny sets m.keep to the rows that may hold all probes of one of the needles.
func (m *matcher) findAny(t *table, needles [][]probe) {
	m.union = append(m.union[:0], make(rowSet, (len(t.rowShapes)+63)/64)...)
	for _, probes := range needles {
		m.find(t, probes)
		for i := range m.union {
			m.union[i] |= m.keep[i]
		}
	}
	m.keep, m.union = m.union, m.keep
}
