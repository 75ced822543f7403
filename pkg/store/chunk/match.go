package chunk

import (
	"math/bits"
	"slices"
	"strings"
)

// rowSet is a set of rows of a block.
type rowSet []uint64

func (s rowSet) has(i int) bool { return s[i>>6]&(1<<(i&63)) != 0 }
func (s rowSet) add(i int)      { s[i>>6] |= 1 << (i & 63) }

func (s rowSet) empty() bool {
	for _, w := range s {
		if w != 0 {
			return false
		}
	}
	return true
}

// next is the first row of the set from i on, or to if there is none before.
func (s rowSet) next(i, to int) int {
	for i < to {
		if w := s[i>>6] >> (i & 63); w != 0 {
			return min(i+bits.TrailingZeros64(w), to)
		}
		i = (i>>6 + 1) << 6
	}
	return to
}

// matcher finds the rows of a table that may hold all probes.
type matcher struct {
	keep, hits, union rowSet
	// vals say which values of a column hold a probe, kids those of its parts.
	vals, kids []bool
	entries    []bool
	shapes     []bool
}

// clear makes m.keep an empty set.
func (m *matcher) clear(rows int) {
	words := (rows + 63) / 64
	m.keep = slices.Grow(m.keep[:0], words)[:words]
	clear(m.keep)
}

// all makes m.keep the set of all rows.
func (m *matcher) all(rows int) {
	m.clear(rows)
	for i := range m.keep {
		m.keep[i] = ^uint64(0)
	}
	if tail := rows & 63; tail != 0 {
		m.keep[len(m.keep)-1] = 1<<tail - 1
	}
}

// noHits makes m.hits an empty set, as large as m.keep.
func (m *matcher) noHits() {
	m.hits = slices.Grow(m.hits[:0], len(m.keep))[:len(m.keep)]
	clear(m.hits)
}

// findNone takes the rows that certainly hold one of the texts out of m.keep, or
// out of all rows. A text that is in a piece of literal text or in a value is in
// the line, whatever stands around it.
func (m *matcher) findNone(t *table, texts []string, all bool) {
	if all {
		m.all(len(t.rowShapes))
	}
	m.noHits()
	for _, text := range texts {
		m.probe(t, probe{text: text})
	}
	for i := range m.keep {
		m.keep[i] &^= m.hits[i]
	}
}

// find sets m.keep to the rows that may hold all probes.
func (m *matcher) find(t *table, probes []probe) {
	m.all(len(t.rowShapes))
	for _, p := range probes {
		m.noHits()
		m.probe(t, p)
		left := uint64(0)
		for i := range m.keep {
			m.keep[i] &= m.hits[i]
			left |= m.keep[i]
		}
		if left == 0 {
			return
		}
	}
}

// probe adds the rows that may hold p to m.hits.
func (m *matcher) probe(t *table, p probe) {
	m.shapes = slices.Grow(m.shapes[:0], len(t.shapes))[:len(t.shapes)]
	for i := range t.shapes {
		s := &t.shapes[i]
		m.shapes[i] = s.rows > 0 && opsContain(t.ops[s.ops.from:s.ops.to], &p)
	}
	for i, s := range t.rowShapes {
		if m.shapes[s] {
			m.hits.add(i)
		}
	}
	for c := range t.cols {
		n := t.colRows[c]
		m.vals = slices.Grow(m.vals[:0], n)[:n]
		clear(m.vals)
		if !m.node(t, &t.cols[c], p, m.vals) {
			continue
		}
		for i := range t.shapes {
			s := &t.shapes[i]
			m.shapes[i] = slices.Contains(t.shapeCols[s.colFrom:s.colTo], uint32(c))
		}
		k := 0
		for i, s := range t.rowShapes {
			if !m.shapes[s] {
				continue
			}
			if m.vals[k] {
				m.hits.add(i)
			}
			k++
		}
	}
}

func opsContain(ops []op, p *probe) bool {
	for i := range ops {
		if p.contains(ops[i].lit) {
			return true
		}
	}
	return false
}

// node marks the values of nd that may hold p and says whether there are any.
func (m *matcher) node(t *table, nd *node, p probe, hit []bool) (found bool) {
	switch nd.kind {
	case nodeHex, nodeHexUpper, nodeUUID, nodeUUIDUpper:
		if !p.hex {
			return false
		}
		if len(p.text) < minPackedNeedle {
			for i := range hit {
				hit[i] = true
			}
			return len(hit) > 0
		}
		if !containsPacked(nd.bytes, p.text) {
			return false
		}
		for i := range hit {
			at := int(nd.vals[i]) * nd.width
			hit[i] = containsPacked(nd.bytes[at:at+nd.width], p.text)
			found = found || hit[i]
		}
	case nodeDict:
		if !p.contains(nd.bytes) {
			return false
		}
		m.entries = slices.Grow(m.entries[:0], len(nd.ends))[:len(nd.ends)]
		from := uint32(0)
		for i, end := range nd.ends {
			m.entries[i] = p.contains(nd.bytes[from:end])
			from = end
		}
		for i, x := range nd.vals {
			hit[i] = m.entries[x]
			found = found || hit[i]
		}
	case nodeRaw:
		return markRaw(nd, &p, hit)
	case nodeSplit:
		return m.split(t, nd, p, hit)
	}
	return found
}

// markRaw finds all occurrences at once and looks up whose they are.
func markRaw(nd *node, p *probe, hit []bool) (found bool) {
	i, end := 0, 0 // value i-1 ends at end
	for at := 0; ; {
		k := p.index(nd.bytes[at:])
		if k < 0 {
			return found
		}
		at += k
		for end <= at {
			end += int(nd.vals[i])
			i++
		}
		// Else it crosses into the next value.
		if at+len(p.text) <= end {
			hit[i-1], found = true, true
			at = end
		} else {
			at++
		}
	}
}

// split marks values by their skeletons and then by their parts.
func (m *matcher) split(t *table, nd *node, p probe, hit []bool) (found bool) {
	for s := range nd.count {
		r := t.skeletons[nd.skel+s]
		ops := t.ops[r.from:r.to]
		if opsContain(ops, &p) {
			for i, x := range nd.vals {
				if int(x) == s {
					hit[i], found = true, true
				}
			}
			continue
		}
		for k := range ops {
			if ops[k].node < 0 {
				continue
			}
			kid := &t.kids[ops[k].node]
			n := len(kid.vals)
			m.kids = slices.Grow(m.kids[:0], n)[:n]
			clear(m.kids)
			if !m.node(t, kid, p, m.kids) {
				continue
			}
			v := 0
			for i, x := range nd.vals {
				if int(x) == s {
					hit[i] = hit[i] || m.kids[v]
					found = found || m.kids[v]
					v++
				}
			}
		}
	}
	return found
}

// skipOps moves the cursors of a row's values.
func (t *table) skipOps(ops []op, nodes []node) {
	for k := range ops {
		if ops[k].node < 0 {
			continue
		}
		nd := &nodes[ops[k].node]
		x := nd.vals[nd.next]
		nd.next++
		switch nd.kind {
		case nodeRaw:
			nd.at += int(x)
		case nodeSplit:
			r := t.skeletons[nd.skel+int(x)]
			t.skipOps(t.ops[r.from:r.to], t.kids)
		}
	}
}

// containsAll is the exact test for plain blocks.
func containsAll(line string, needles []string) bool {
	for _, n := range needles {
		if !strings.Contains(line, n) {
			return false
		}
	}
	return true
}

// filterRows keeps the rows of s, which begin with row from, that are in keep.
func filterRows[T any](s []T, keep rowSet, from int) []T {
	n := 0
	for i := range s {
		if keep.has(from + i) {
			s[n] = s[i]
			n++
		}
	}
	return s[:n]
}
