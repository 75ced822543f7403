package chunk

import "bytes"

// readNode decodes the node of n values. depth 0 is a column, 1 a part of a
// split, 2 the values of a dictionary.
func (t *table) readNode(n, depth int) node {
	nd := node{kind: t.meta.byte()}
	switch nd.kind {
	case nodeConst:
		nd.bytes = t.text.bytes(t.meta.count(t.text.left()))
	case nodeInt, nodeDigits:
		nd.vals = t.ints.decode(&t.meta, &t.data, n).v
	case nodeFixInt:
		nd.width = t.meta.count(maxFixWidth)
		nd.vals = t.ints.decode(&t.meta, &t.data, n).v
	case nodeHex, nodeHexUpper:
		nd.width = t.meta.count(maxHexWidth)
		if nd.width < 2 || nd.width%2 != 0 {
			t.meta.fail("bad width of identifiers")
		}
		t.readIDs(&nd, nd.width/2, n)
	case nodeUUID, nodeUUIDUpper:
		t.readIDs(&nd, 16, n)
	case nodeTime:
		t.readTime(&nd, n, depth)
	case nodeDict:
		if depth > 1 {
			t.meta.fail("dictionary inside a dictionary")
			break
		}
		t.readDict(&nd, n)
	case nodeSplit:
		if depth > 0 {
			t.meta.fail("split inside a node")
			break
		}
		t.readSplit(&nd, n)
	case nodeRaw:
		t.readStrings(&nd, &t.raw, n)
	case nodeText:
		nd.kind = nodeRaw
		t.readStrings(&nd, &t.text, n)
	default:
		t.meta.fail("unknown kind of node")
	}
	return nd
}

// readStrings takes n strings from a section.
func (t *table) readStrings(nd *node, from *reader, n int) {
	nd.vals = t.ints.decode(&t.meta, &t.data, n).v
	sum := uint64(0)
	for _, v := range nd.vals {
		if sum += v; v > uint64(from.left()) || sum > uint64(from.left()) {
			from.fail("ends too early")
			return
		}
	}
	nd.bytes = from.bytes(int(sum))
}

// readIDs resolves the references of an identifier column to places in its pool.
func (t *table) readIDs(nd *node, width, n int) {
	col := t.ints.decode(&t.meta, &t.data, n)
	if t.meta.err != nil || t.data.err != nil || n == 0 {
		return
	}
	var p *pool
	for i := range t.pools {
		if t.pools[i].width == width {
			p = &t.pools[i]
			break
		}
	}
	places, ok := t.ints.alloc(n)
	if p == nil || !ok {
		t.meta.fail("identifiers without a pool")
		return
	}
	for i, d := range col.v {
		if d == 0 {
			if p.next >= p.count {
				t.meta.fail("more identifiers than the pool holds")
				return
			}
			places[i] = uint64(p.next)
			p.next++
			continue
		}
		if d > uint64(p.next) {
			t.meta.fail("reference before the pool's first identifier")
			return
		}
		places[i] = uint64(p.next) - d
	}
	nd.vals, nd.bytes, nd.width = places, p.bytes, width
}

func (t *table) readTime(nd *node, n, depth int) {
	text := t.text.bytes(t.meta.count(maxLayout))
	l, ok := parseLayout(string(text))
	if !ok || depth > 1 {
		t.meta.fail("bad time layout")
		return
	}
	nd.layout = &l
	nd.vals = t.ints.decode(&t.meta, &t.data, n).v
}

// readDict decodes the values of a dictionary to texts.
func (t *table) readDict(nd *node, n int) {
	k := t.meta.count(n)
	values := t.readNode(k, 2)
	if t.err() != nil {
		return
	}
	if values.kind == nodeTime || values.kind == nodeDict || values.kind == nodeSplit {
		t.meta.fail("bad values of a dictionary")
		return
	}
	from, fromEnds := len(t.dictBytes), len(t.dictEnds)
	single := []op{{}}
	if values.kind == nodeConst {
		single[0] = op{lit: values.bytes, node: -1}
	}
	nodes := []node{values}
	for range k {
		// Every value is used at least once, so that the lines bound them all.
		if t.dictBytes = t.appendOps(t.dictBytes, single, nodes, 0, t.foldLimit); t.failed != nil {
			return
		}
		t.dictEnds = append(t.dictEnds, uint32(len(t.dictBytes)-from))
	}
	nd.bytes = t.dictBytes[from:len(t.dictBytes):len(t.dictBytes)]
	nd.ends = t.dictEnds[fromEnds:len(t.dictEnds):len(t.dictEnds)]
	nd.vals = t.ints.decode(&t.meta, &t.data, n).v
	for _, v := range nd.vals {
		if v >= uint64(k) {
			t.meta.fail("index outside the dictionary")
			return
		}
	}
}

func (t *table) readSplit(nd *node, n int) {
	nd.count = t.meta.count(n)
	nd.skel = len(t.skeletons)
	var texts [][]byte
	for range nd.count {
		texts = append(texts, t.text.bytes(t.meta.count(t.text.left())))
	}
	none := t.meta.count(1)
	nd.vals = t.ints.decode(&t.meta, &t.data, n).v
	if t.err() != nil {
		return
	}
	rows := make([]int, nd.count+1)
	for _, v := range nd.vals {
		if v >= uint64(nd.count+none) {
			t.meta.fail("value of an unknown skeleton")
			return
		}
		rows[v]++
	}
	for i, text := range texts {
		first := len(t.kids)
		fields := bytes.Count(text, []byte{fieldMark})
		if fields > maxFields || len(t.colRows)+len(t.kids)+fields > maxNodes {
			t.meta.fail("too many nodes")
			return
		}
		for range fields {
			kid := t.readNode(rows[i], 1)
			if t.err() != nil {
				return
			}
			t.kids = append(t.kids, kid)
		}
		t.skeletons = append(t.skeletons, t.compile(text, func(f int) (*node, int32) {
			return &t.kids[first+f], int32(first + f)
		}))
	}
	if none == 1 {
		first := len(t.kids)
		kid := t.readNode(rows[nd.count], 1)
		if t.err() != nil {
			return
		}
		t.kids = append(t.kids, kid)
		t.skeletons = append(t.skeletons, t.compile([]byte{fieldMark}, func(int) (*node, int32) {
			return &t.kids[first], int32(first)
		}))
		nd.count++
	}
}

// compileShape merges constant columns into the literal text of a shape.
func (t *table) compileShape(s *shape) {
	cols := t.shapeCols[s.colFrom:s.colTo]
	s.ops = t.compile(s.text, func(f int) (*node, int32) {
		return &t.cols[cols[f]], int32(cols[f])
	})
}

// compile turns a text with field marks into ops; field gives the node of a
// field and its number.
func (t *table) compile(text []byte, field func(int) (*node, int32)) opRange {
	from := len(t.ops)
	lit := len(t.fold)
	for f := 0; ; f++ {
		i := bytes.IndexByte(text, fieldMark)
		if i < 0 {
			break
		}
		t.addFold(text[:i])
		text = text[i+1:]
		nd, no := field(f)
		if nd.kind == nodeConst {
			t.addFold(nd.bytes)
			continue
		}
		t.ops = append(t.ops, op{lit: t.fold[lit:len(t.fold):len(t.fold)], node: no})
		lit = len(t.fold)
	}
	t.addFold(text)
	if len(t.fold) > lit {
		t.ops = append(t.ops, op{lit: t.fold[lit:len(t.fold):len(t.fold)], node: -1})
	}
	return opRange{from, len(t.ops)}
}

// addFold appends literal text. Constants of shapes that have rows are part of
// some line, hence the limit.
func (t *table) addFold(b []byte) {
	if len(t.fold)+len(b) > t.foldLimit {
		t.meta.fail("texts larger than the lines")
		return
	}
	t.fold = append(t.fold, b...)
}
