package store

import (
	"slices"
	"strings"
	"unsafe"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/store/chunk"
)

// rowRef is a row of a part: its sort key and its place.
type rowRef struct {
	ts  int64
	id  uint32 // stream, of the reader's table
	row uint32 // in the part
}

const rowRefSize = 16

// cursor walks over the wanted rows of one part in the reader's order.
type cursor struct {
	p *part
	// rows are the next rows, sorted. more says that others follow, after the
	// last of rows.
	rows []rowRef
	pos  int
	more bool

	// lines and meta belong to rows, from linesFrom on, when the text is kept;
	// kept is its size.
	lines     []string
	meta      []labels.Labels
	linesFrom int
	kept      int
	keptBuf   []byte
	dead      bool // the text turned out to be damaged

	// used while a batch is filled: the rows [first, pos) are in it.
	first   int
	inBatch bool
}

// reader decodes parts for one iterator: it owns the decoder and the budget.
type reader struct {
	src      *sources
	backward bool
	noText   bool

	dec     *chunk.Decoder
	decoded chunk.Rows // last result of dec
	times   chunk.Rows // last result of DecodeTimes
	runBuf  []byte
	tmp     []rowRef

	keep     int // bytes of text that may still be kept
	arena    []byte
	freeBufs [][]byte
	maxRows  int // row references over all cursors
	open     int // cursors
}

func newReader(src *sources, backward, noText bool, opts *Options) *reader {
	return &reader{
		src: src, backward: backward, noText: noText,
		keep: opts.residentBytes(), maxRows: opts.cursorRows(),
	}
}

// before says whether row a of a part comes before row b in the reader's order.
// It is false for a row and itself.
func (r *reader) before(a, b rowRef) bool {
	if a.ts != b.ts {
		return (a.ts < b.ts) != r.backward
	}
	if a.id != b.id {
		rank := r.src.table.rank()
		return (rank[a.id] < rank[b.id]) != r.backward
	}
	if r.backward {
		return a.row > b.row
	}
	return a.row < b.row
}

// load fills the cursor with its next rows, at least one unless none is left.
func (r *reader) load(c *cursor) error {
	first := c.rows == nil
	after, continued := rowRef{}, false
	if !first {
		after, continued = c.rows[len(c.rows)-1], true
	}
	r.release(c)
	c.rows, c.pos, c.more = c.rows[:0], 0, false
	rows, text, err := r.wanted(c.p, first)
	if err != nil {
		return r.src.damaged(c.p, err)
	}
	if continued {
		rows = slices.DeleteFunc(rows, func(x rowRef) bool { return !r.before(after, x) })
	}
	r.sort(rows)
	limit := max(r.maxRows/(r.open+1), minCursorRows)
	if len(rows) > limit {
		rows, c.more = rows[:limit], true
	}
	if cap(c.rows) < len(rows) {
		c.rows = make([]rowRef, 0, len(rows))
	}
	c.rows = append(c.rows, rows...)
	if text != nil && len(c.rows) > 0 {
		// The text has been decoded to look for needles: keep it if that is possible.
		c.first = 0
		r.keepText(c, *text)
	}
	return nil
}

// sort sorts rows in the reader's order. Parts of a single stream are sorted
// already, one way or the other.
func (r *reader) sort(rows []rowRef) {
	if r.backward {
		slices.Reverse(rows)
	}
	for i := 1; i < len(rows); i++ {
		if r.before(rows[i], rows[i-1]) {
			slices.SortFunc(rows, func(a, b rowRef) int {
				if r.before(a, b) {
					return -1
				}
				return 1
			})
			return
		}
	}
}

// wanted returns the rows of a part that match streams, time and needles, in
// memory that is valid until the next call, and their text if it had to be
// decoded. On the first call for a part its text decides whether it is looked at
// at all.
func (r *reader) wanted(p *part, first bool) ([]rowRef, *lineOf, error) {
	needles := r.src.needles
	if p.blk == nil {
		return r.wantedRun(p)
	}
	cb, err := p.open()
	if err != nil {
		return nil, nil, err
	}
	if len(needles) > 0 {
		return r.wantedNeedles(p, cb, first)
	}
	if err := r.src.findGone(p); err != nil {
		return nil, nil, err
	}
	if err := cb.DecodeTimes(&r.times); err != nil {
		return nil, nil, err
	}
	r.tmp = p.selectRows(r.tmp[:0], r.times.Stream, r.times.Timestamps, p.fromRow, p.toRow, r.src.rng, p.gone)
	if r.noText {
		r.countDecoded(len(r.tmp), 0, 0)
	}
	return r.tmp, nil, nil
}

// wantedNeedles is wanted for a chunk block whose lines have to contain the
// needles. Rows are numbered among those that DecodeContaining gives, which is
// always the same for the same range and needles.
func (r *reader) wantedNeedles(p *part, cb *chunk.Block, first bool) ([]rowRef, *lineOf, error) {
	if first {
		ok, err := cb.MayContain(r.src.needles)
		if err != nil {
			return nil, nil, err
		}
		if !ok {
			r.src.stats.ChunkBlocksSkipped++
			return nil, nil, nil
		}
	}
	if err := r.decode(p, cb, p.fromRow, p.toRow); err != nil {
		return nil, nil, err
	}
	d := &r.decoded
	r.tmp = p.selectRows(r.tmp[:0], d.Stream, d.Timestamps, 0, len(d.Timestamps), r.src.rng, nil)
	l := &lineOf{rows: d}
	if p.filtered {
		r.tmp = slices.DeleteFunc(r.tmp, func(x rowRef) bool {
			return droppedEntry(p.drops[d.Stream[x.row]], x.ts, l.line(x.row), l.meta(x.row))
		})
	}
	return keepRows(r.tmp, r.src.needles, l.line), l, nil
}

func (r *reader) wantedRun(p *part) ([]rowRef, *lineOf, error) {
	r.tmp = p.selectRunRows(r.tmp[:0], r.src.rng)
	r.countRun(p, r.tmp)
	if len(r.src.needles) == 0 || len(r.tmp) == 0 {
		return r.tmp, nil, nil
	}
	text, err := r.runText(p)
	if err != nil {
		return nil, nil, err
	}
	l := &lineOf{p: p, text: text}
	return keepRows(r.tmp, r.src.needles, l.line), l, nil
}

// countRun counts the rows of a run of the head, once.
func (r *reader) countRun(p *part, rows []rowRef) {
	if p.counted {
		return
	}
	p.counted = true
	var bytes int64
	if !r.noText {
		for _, x := range rows {
			bytes += int64(p.run.LineLen(int(x.row)))
		}
	}
	r.countDecoded(len(rows), bytes, 0)
}

// keepRows removes the rows whose line lacks a needle.
func keepRows(rows []rowRef, needles []string, line func(uint32) string) []rowRef {
	return slices.DeleteFunc(rows, func(x rowRef) bool {
		l := line(x.row)
		for _, n := range needles {
			if !strings.Contains(l, n) {
				return true
			}
		}
		return false
	})
}

// rowRange returns the smallest range [from, to) with all rows.
func rowRange(rows []rowRef) (from, to int) {
	lo, hi := rows[0].row, rows[0].row
	for _, x := range rows {
		lo, hi = min(lo, x.row), max(hi, x.row)
	}
	return int(lo), int(hi) + 1
}

func (r *reader) countDecoded(rows int, bytes, compressed int64) {
	r.src.stats.Lines += int64(rows)
	r.src.stats.Bytes += bytes
	r.src.stats.CompressedBytes += compressed
}

// decode rebuilds rows [from, to) of a chunk block in r.decoded, and only those
// that may contain the needles if there are any.
func (r *reader) decode(p *part, cb *chunk.Block, from, to int) error {
	if r.dec == nil {
		d, err := chunk.NewDecoder()
		if err != nil {
			return err
		}
		r.dec = d
	}
	var err error
	if needles := r.src.needles; len(needles) > 0 {
		err = cb.DecodeContaining(r.dec, &r.decoded, from, to, needles)
	} else {
		err = cb.DecodeRange(r.dec, &r.decoded, from, to)
	}
	if err != nil {
		return err
	}
	n := int64(0)
	for _, l := range r.decoded.Lines {
		n += int64(len(l))
	}
	r.countDecoded(len(r.decoded.Lines), n, int64(p.chunk.Size))
	return nil
}

func (r *reader) runText(p *part) ([]byte, error) {
	text, buf, err := p.run.Text(r.runBuf)
	r.runBuf = buf
	return text, err
}

// release gives back the text that a cursor keeps.
func (r *reader) release(c *cursor) {
	if c.keptBuf != nil {
		r.freeBufs = append(r.freeBufs, c.keptBuf)
	}
	r.keep += c.kept
	c.lines, c.meta, c.kept, c.keptBuf = nil, nil, 0, nil
}

// lineOf gives access to the rows of a part that has just been decoded.
type lineOf struct {
	from int
	rows *chunk.Rows
	p    *part
	text []byte
}

func (l lineOf) line(row uint32) string {
	if l.rows != nil {
		return l.rows.Lines[int(row)-l.from]
	}
	return l.p.run.Line(l.text, int(row))
}

func (l lineOf) meta(row uint32) labels.Labels {
	switch {
	case l.rows != nil && len(l.rows.Metadata) > 0:
		return l.rows.Metadata[int(row)-l.from]
	case l.rows == nil && l.p.run.Meta != nil:
		return l.p.run.Meta[row]
	}
	return labels.EmptyLabels()
}

func (l lineOf) hasMeta() bool {
	if l.rows != nil {
		return len(l.rows.Metadata) > 0
	}
	return l.p.run.Meta != nil
}

// text decodes the lines of the cursor's rows from c.first on.
func (r *reader) text(c *cursor) (lineOf, error) {
	if c.p.blk == nil {
		t, err := r.runText(c.p)
		return lineOf{p: c.p, text: t}, err
	}
	cb, err := c.p.open()
	if err != nil {
		return lineOf{}, err
	}
	from, to := rowRange(c.rows[c.first:])
	if len(r.src.needles) > 0 {
		from, to = c.p.fromRow, c.p.toRow
	}
	if err := r.decode(c.p, cb, from, to); err != nil {
		return lineOf{}, err
	}
	if len(r.src.needles) > 0 {
		from = 0 // rows are numbered among those that were decoded
	}
	return lineOf{from: from, rows: &r.decoded}, nil
}

// keepText copies the lines of all rows of the cursor from c.first on, if the
// budget allows it.
func (r *reader) keepText(c *cursor, l lineOf) bool {
	size := 0
	for _, x := range c.rows[c.first:] {
		size += len(l.line(x.row))
	}
	cost := size + 16*(len(c.rows)-c.first)
	if cost > r.keep {
		return false
	}
	r.keep -= cost
	c.kept = cost
	c.keptBuf = r.copyLines(c, l, r.buffer(size), len(c.rows))
	return true
}

// fetch makes the lines of the cursor's rows [c.first, c.pos) available and
// returns them with their metadata (nil if there is none). It keeps the lines of
// all its rows while the budget allows, so that they are decoded once.
func (r *reader) fetch(c *cursor) ([]string, []labels.Labels, error) {
	if c.lines == nil {
		l, err := r.text(c)
		if err != nil {
			return nil, nil, err
		}
		if !r.keepText(c, l) {
			r.arena = r.copyLines(c, l, r.arena, c.pos)
		}
	}
	from, to := c.first-c.linesFrom, c.pos-c.linesFrom
	lines := c.lines[from:to]
	var meta []labels.Labels
	if c.meta != nil {
		meta = c.meta[from:to]
	}
	if c.kept == 0 {
		c.lines, c.meta = nil, nil // they are in the arena, for this batch only
	}
	return lines, meta, nil
}

// copyLines copies the lines of rows [c.first, to) behind buf.
func (r *reader) copyLines(c *cursor, l lineOf, buf []byte, to int) []byte {
	c.linesFrom = c.first
	c.lines = make([]string, 0, to-c.first)
	for _, x := range c.rows[c.first:to] {
		s := l.line(x.row)
		start := len(buf)
		buf = append(buf, s...)
		b := buf[start:]
		c.lines = append(c.lines, unsafe.String(unsafe.SliceData(b), len(b)))
	}
	if l.hasMeta() {
		c.meta = make([]labels.Labels, 0, to-c.first)
		for _, x := range c.rows[c.first:to] {
			c.meta = append(c.meta, l.meta(x.row))
		}
	}
	return buf
}

// buffer returns an empty buffer with room for n bytes.
func (r *reader) buffer(n int) []byte {
	for i, b := range r.freeBufs {
		if cap(b) >= n {
			r.freeBufs = slices.Delete(r.freeBufs, i, i+1)
			return b[:0]
		}
	}
	if k := len(r.freeBufs); k > 8 {
		r.freeBufs = r.freeBufs[:k-1]
	}
	return make([]byte, 0, max(n, 4<<10))
}
