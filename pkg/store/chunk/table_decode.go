package chunk

import (
	"bytes"
)

// Kinds of nodes, see the package comment.
const (
	nodeConst = iota
	nodeInt
	nodeFixInt
	nodeDigits
	nodeHex
	nodeHexUpper
	nodeUUID
	nodeUUIDUpper
	nodeTime
	nodeDict
	nodeSplit
	nodeRaw
	nodeText
)

const (
	maxFixWidth = 19
	maxHexWidth = 128
	// maxFields bounds the fields of a shape or skeleton.
	maxFields = 1 << 14
	// maxFixedValue bounds the values whose length is not checked one by one.
	maxFixedValue = maxHexWidth
	fieldMark     = 0xFF
)

// node is a decoded column or a part of one, with a cursor.
type node struct {
	kind  byte
	width int
	// next is the value that comes next.
	next int
	// vals are values, indices or lengths, one per value.
	vals []uint64
	// bytes are the constant, the pool of identifiers, the values of a
	// dictionary or the raw bytes; at is the cursor into raw bytes.
	bytes []byte
	at    int
	// ends are the ends of a dictionary's values in bytes.
	ends   []uint32
	layout *layout
	// A split has skeletons tab.skeletons[skel:skel+count]; the last one may be
	// that of values in none, a single field.
	skel, count int
}

// op is a piece of a shape or skeleton: literal bytes, then a value of a node
// (-1 for none).
type op struct {
	lit  []byte
	node int32
}

// opRange are ops of a shape or a skeleton.
type opRange struct{ from, to int }

type shape struct {
	text       []byte
	colFrom    int
	colTo      int
	rows       int
	ops        opRange
	names      []string // of metadata
	namesBytes int
}

type pool struct {
	width, count, next int
	bytes              []byte
}

// table is a decoded table: shapes, columns and cursors. Its memory is reused.
type table struct {
	ints *intsDecoder

	meta, text, raw, ids, data reader

	pools     []pool
	shapes    []shape
	shapeCols []uint32
	rowShapes []uint64
	colRows   []int
	cols      []node
	kids      []node
	skeletons []opRange
	ops       []op
	// colOps are one op per column, for metadata.
	colOps    []op
	fold      []byte
	foldLimit int
	layouts   []*layout
	dictBytes []byte
	dictEnds  []uint32
	failed    *CorruptError
}

// tableParts are the five parts of a table, unpacked.
type tableParts struct {
	meta, text, raw, ids, data []byte
}

// valueBudget is the number of integers that a table of so many rows and bytes
// can need.
func valueBudget(rows, bytes int) int { return min(2*bytes+8*rows+1024, maxValues) }

// open decodes everything but the rows' texts. bytes is the size of all values
// together, names says that shapes are names of metadata.
func (t *table) open(ints *intsDecoder, p tableParts, rows, bytes int, names bool) error {
	t.ints = ints
	ints.reset(valueBudget(rows, bytes))
	t.meta = reader{buf: p.meta, sec: SectionMeta}
	t.text = reader{buf: p.text, sec: SectionText}
	t.raw = reader{buf: p.raw, sec: SectionRaw}
	t.ids = reader{buf: p.ids, sec: SectionIDs}
	t.data = reader{buf: p.data, sec: SectionData}
	t.pools, t.shapes, t.shapeCols = t.pools[:0], t.shapes[:0], t.shapeCols[:0]
	t.colRows, t.cols, t.kids = t.colRows[:0], t.cols[:0], t.kids[:0]
	t.skeletons, t.ops, t.fold = t.skeletons[:0], t.ops[:0], t.fold[:0]
	t.layouts, t.dictBytes, t.dictEnds = t.layouts[:0], t.dictBytes[:0], t.dictEnds[:0]
	t.foldLimit = 2*bytes + len(p.text) + packedSlack
	t.failed = nil

	t.readPools()
	t.readShapes(rows, names)
	if err := t.err(); err != nil {
		return err
	}
	for _, n := range t.colRows {
		nd := t.readNode(n, 0)
		if err := t.err(); err != nil {
			return err
		}
		t.cols = append(t.cols, nd)
	}
	t.meta.done()
	t.text.done()
	t.raw.done()
	t.ids.done()
	t.data.done()
	for i := range t.pools {
		if t.pools[i].next != t.pools[i].count {
			t.meta.fail("identifiers that no column uses")
		}
	}
	if names {
		t.colOps = t.colOps[:0]
		for i := range t.cols {
			o := op{node: int32(i)}
			if nd := &t.cols[i]; nd.kind == nodeConst {
				o = op{lit: nd.bytes, node: -1}
			}
			t.colOps = append(t.colOps, o)
		}
		return t.err()
	}
	for i := range t.shapes {
		if t.shapes[i].rows > 0 {
			t.compileShape(&t.shapes[i])
		}
	}
	return t.err()
}

// err is the first problem of any part.
func (t *table) err() error {
	for _, r := range [...]*reader{&t.meta, &t.text, &t.raw, &t.ids, &t.data} {
		if r.err != nil {
			return r.err
		}
	}
	if t.failed != nil {
		return t.failed
	}
	return nil
}

func (t *table) readPools() {
	n := t.meta.count(maxHexWidth)
	for range n {
		p := pool{width: t.meta.count(maxHexWidth / 2), count: t.meta.count(len(t.ids.buf))}
		if p.width == 0 {
			t.meta.fail("bad identifier pool")
			return
		}
		p.bytes = t.ids.bytes(p.width * p.count)
		t.pools = append(t.pools, p)
	}
}

func (t *table) readShapes(rows int, names bool) {
	n := t.meta.count(rows)
	newest := 0 // columns so far
	for range n {
		s := shape{text: t.text.bytes(t.meta.count(t.text.left())), colFrom: len(t.shapeCols)}
		fields := t.meta.count(maxFields)
		for range fields {
			back := t.meta.count(newest)
			if back == 0 {
				newest++
			}
			// back 0 is the new column, which is the newest now.
			t.shapeCols = append(t.shapeCols, uint32(newest-max(back, 1)))
		}
		if s.colTo = len(t.shapeCols); s.colTo > maxPairs {
			t.meta.fail("too many fields")
		}
		if t.meta.err != nil || t.text.err != nil {
			return
		}
		if names {
			t.readNames(&s, fields)
		} else if bytes.Count(s.text, []byte{fieldMark}) != fields {
			t.meta.fail("shape's fields do not match its text")
		}
		t.shapes = append(t.shapes, s)
	}
	if newest > maxNodes {
		t.meta.fail("too many nodes")
	}
	ids := t.ints.decode(&t.meta, &t.data, rows)
	if t.err() != nil {
		return
	}
	t.rowShapes = ids.v
	for _, id := range ids.v {
		if id >= uint64(len(t.shapes)) {
			t.meta.fail("row of an unknown shape")
			return
		}
		t.shapes[id].rows++
	}
	for range newest {
		t.colRows = append(t.colRows, 0)
	}
	seen := make([]int, newest) // the shape that named a column last, plus one
	for i := range t.shapes {
		s := &t.shapes[i]
		for _, c := range t.shapeCols[s.colFrom:s.colTo] {
			if seen[c] == i+1 {
				t.meta.fail("shape names a column twice")
				return
			}
			seen[c] = i + 1
			t.colRows[c] += s.rows
		}
	}
}

// readNames takes the text of a metadata shape apart.
func (t *table) readNames(s *shape, fields int) {
	r := reader{buf: s.text, sec: SectionText}
	s.names = make([]string, 0, min(fields, len(s.text)))
	for range fields {
		name := r.bytes(r.count(r.left()))
		s.names = append(s.names, string(name))
		s.namesBytes += len(name)
	}
	r.done()
	if r.err != nil {
		t.text.fail("bad names of metadata")
	}
}

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
