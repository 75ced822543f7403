package chunk

import (
	"encoding/binary"
	"slices"
	"strings"
	"unsafe"
)

// Choices of the encoder about shapes, measured on the corpus.
const (
	// Shapes of fewer lines get no columns of their own, except keyed ones.
	minShapeLines = 16
	// A shape counts as keyed with this many keyed fields, when they outnumber
	// the others two to one: its columns are shared with other shapes by key.
	minKeyedFields = 3
	// keepFields is what is kept of reused memory: 16 bytes each, twice.
	keepFields = 1 << 19
)

// encShape is a shape while a block is written.
type encShape struct {
	text   string
	fields int
	rows   int
	bytes  int
	// keys are the keys of the fields, "" for none; they are found when needed.
	keys  []string
	keyed bool
	// number in the block; pooled shapes share that of the shape without structure.
	number int
	pooled bool
	// cols are the columns of the fields.
	cols []uint32
}

// shaper finds the shapes of lines and deals their fields out to columns.
type shaper struct {
	index  map[string]int32
	shapes []encShape
	// rowShape is the shape of each row, rawShape that of lines holding 0xFF.
	rowShape []int32
	fields   []string
	text     []byte
	byKey    map[string]uint32
	cols     []encColumn
	vals     []string
	ids      []uint64
}

const rawShape = -1

func (s *shaper) reset() {
	if s.index == nil {
		s.index = make(map[string]int32)
		s.byKey = make(map[string]uint32)
	}
	clear(s.index)
	clear(s.byKey)
	s.shapes, s.rowShape, s.fields, s.cols = s.shapes[:0], s.rowShape[:0], s.fields[:0], s.cols[:0]
}

// release forgets strings of the caller; it is called after each table.
func (s *shaper) release() {
	clear(s.fields)
	clear(s.vals)
	clear(s.cols)
	clear(s.shapes)
	clear(s.index)
	clear(s.byKey)
	s.fields, s.vals, s.cols, s.shapes = s.fields[:0], s.vals[:0], s.cols[:0], s.shapes[:0]
	if cap(s.fields) > keepFields {
		s.fields, s.vals = nil, nil
	}
}

// rowsOf appends the rows that have a value in a column.
func (s *shaper) rowsOf(col int, dst []uint32) []uint32 {
	has := make([]bool, len(s.shapes))
	for i := range s.shapes {
		has[i] = !s.shapes[i].pooled && slices.Contains(s.shapes[i].cols, uint32(col))
	}
	for i, id := range s.rowShape {
		if id != rawShape && has[id] {
			dst = append(dst, uint32(i))
		}
	}
	return dst
}

// addRow notes a row of the shape in s.text with n fields.
func (s *shaper) addRow(n, bytes int) {
	id, ok := s.index[string(s.text)]
	if !ok {
		id = int32(len(s.shapes))
		text := string(s.text)
		s.index[text] = id
		s.shapes = append(s.shapes, encShape{text: text, fields: n})
	}
	s.shapes[id].rows++
	s.shapes[id].bytes += bytes
	s.rowShape = append(s.rowShape, id)
}

// readLines cuts all lines.
func (s *shaper) readLines(lines []string) {
	for _, l := range lines {
		if strings.IndexByte(l, fieldMark) >= 0 {
			s.rowShape = append(s.rowShape, rawShape)
			continue
		}
		before := len(s.fields)
		s.text, s.fields = tokenise(l, s.text[:0], s.fields)
		s.addRow(len(s.fields)-before, len(l))
	}
}

// findKeys sets the keys of a shape of lines.
func (sh *encShape) findKeys() {
	sh.keys = make([]string, 0, sh.fields)
	text := unsafe.Slice(unsafe.StringData(sh.text), len(sh.text)) // read only
	from, keyed := 0, 0
	for i := 0; i < len(sh.text); i++ {
		if sh.text[i] != fieldMark {
			continue
		}
		k := keyOf(text[from:i])
		from = i + 1
		if k != "" {
			keyed++
		}
		sh.keys = append(sh.keys, k)
	}
	sh.keyed = keyed >= minKeyedFields && 2*(sh.fields-keyed) <= keyed
}

// choose decides which shapes get columns. It is false when columns would not
// pay: most lines fit no shape.
func (s *shaper) choose(rawBytes int) bool {
	rare := 0
	for i := range s.shapes {
		sh := &s.shapes[i]
		sh.findKeys()
		if sh.rows < minShapeLines {
			rare += len(sh.text)
		}
	}
	// Guard 1: when keys themselves vary, shapes cost more than they save.
	keyedRare := rare*100 <= 35*rawBytes
	kept, fields := 0, 0
	for i := range s.shapes {
		sh := &s.shapes[i]
		sh.pooled = sh.rows < minShapeLines && !(sh.keyed && keyedRare)
		if !sh.pooled {
			kept += sh.bytes
			fields += sh.fields
		}
	}
	// Guard 2: pooled lines are better off in one text; and the reader's bounds.
	return 2*kept >= rawBytes && kept > 0 && fields <= maxNodes/4
}

// deal numbers shapes and columns and hands the fields out. lines are the
// values of pooled rows, nil if there can be none.
func (s *shaper) deal(lines []string) {
	newColumn := func() uint32 {
		s.cols = append(s.cols, encColumn{})
		return uint32(len(s.cols) - 1)
	}
	number, pooledRows := 0, 0
	for _, id := range s.rowShape {
		if id == rawShape {
			pooledRows++
		}
	}
	for i := range s.shapes {
		sh := &s.shapes[i]
		if sh.pooled {
			pooledRows += sh.rows
			continue
		}
		sh.number = number
		number++
		sh.cols = make([]uint32, 0, sh.fields)
		for f := range sh.fields {
			c, shared := uint32(0), false
			if key := sh.keys[f]; key != "" {
				// Once per row: a repeated key gets a column of its own.
				if c, shared = s.byKey[key]; !shared {
					c, shared = newColumn(), true
					s.byKey[key] = c
				} else if slices.Contains(sh.cols, c) {
					shared = false
				}
			}
			if !shared {
				c = newColumn()
			}
			s.cols[c].n += sh.rows
			sh.cols = append(sh.cols, c)
		}
	}
	if pooledRows > 0 {
		c := newColumn()
		s.cols[c].n, s.cols[c].whole = pooledRows, true
	}
	s.dealRows(lines, number)
}

// dealRows fills columns and the shape numbers of rows; pooled is the number of
// the shape of pooled rows, whose column is the last.
func (s *shaper) dealRows(lines []string, pooled int) {
	total := 0
	for i := range s.cols {
		total += s.cols[i].n
	}
	s.vals = slices.Grow(s.vals[:0], total)[:total]
	at := 0
	for i := range s.cols {
		c := &s.cols[i]
		c.vals = s.vals[at : at : at+c.n]
		at += c.n
	}
	field := 0
	for i, id := range s.rowShape {
		if id == rawShape || s.shapes[id].pooled {
			s.ids[i] = uint64(pooled)
			c := &s.cols[len(s.cols)-1]
			c.vals = append(c.vals, lines[i])
			if id != rawShape {
				field += s.shapes[id].fields
			}
			continue
		}
		sh := &s.shapes[id]
		s.ids[i] = uint64(sh.number)
		for f, v := range s.fields[field : field+sh.fields] {
			c := &s.cols[sh.cols[f]]
			c.vals = append(c.vals, v)
		}
		field += sh.fields
	}
}

// encodeColumns writes the lines as a table, or says that this does not pay.
func (e *Encoder) encodeColumns(rows *Rows, h *header) bool {
	if h.rawBytes > maxColumnsRaw {
		return false
	}
	s, c := &e.lines, &e.cols
	defer s.release()
	s.reset()
	s.readLines(rows.Lines)
	if !s.choose(h.rawBytes) {
		return false
	}
	c.reset(rows.Timestamps, s.rowsOf)
	s.ids = c.ints.alloc(rows.Len())
	s.deal(rows.Lines)
	e.encodeTable()
	if len(e.meta) > maxMetaBytes || len(c.text) > textLimit(h.rawBytes) || c.nodes > maxNodes {
		return false
	}
	e.parts[SectionMeta] = appendPacked(e.parts[SectionMeta], e.zstd, e.meta)
	e.parts[SectionText] = appendPacked(e.parts[SectionText], e.zstd, c.text)
	e.parts[SectionRaw] = appendPacked(e.parts[SectionRaw], e.zstd, c.raw)
	e.parts[SectionIDs] = append(e.parts[SectionIDs], e.ids...)
	e.parts[SectionData] = append(e.parts[SectionData], c.data...)
	return true
}

// encodeTable writes shapes and columns that deal has prepared; the parts are
// e.meta, e.cols.text, e.cols.raw, e.ids, e.cols.data.
func (e *Encoder) encodeTable() {
	s, c := &e.lines, &e.cols
	shapes := 0
	for i := range s.shapes {
		if !s.shapes[i].pooled {
			shapes++
		}
	}
	pool := len(s.cols) > 0 && s.cols[len(s.cols)-1].whole
	if pool {
		shapes++
	}
	c.meta = binary.AppendUvarint(c.meta, uint64(shapes))
	newest := uint32(0)
	for i := range s.shapes {
		sh := &s.shapes[i]
		if sh.pooled {
			continue
		}
		c.putText(sh.text)
		c.meta = binary.AppendUvarint(c.meta, uint64(sh.fields))
		for _, col := range sh.cols {
			back := uint64(0)
			if col < newest {
				back = uint64(newest - col)
			} else {
				newest++
			}
			c.meta = binary.AppendUvarint(c.meta, back)
		}
	}
	if pool {
		c.putText("\xff")
		c.meta = append(c.meta, 1, 0)
	}
	c.putInts(s.ids)
	for i := range s.cols {
		col := &s.cols[i]
		if col.whole {
			c.nodes++
			c.strings(col.vals, false)
			continue
		}
		c.column(i, col.vals)
	}
	e.meta, e.ids = c.finish(e.meta[:0], e.ids[:0])
}
