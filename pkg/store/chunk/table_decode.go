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
	uses, by  []int // scratch of skip
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
