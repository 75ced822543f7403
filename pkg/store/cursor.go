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
	// bound is the last row that has been looked at, taken the number of rows that
	// earlier cursors of the part have taken.
	bound rowRef
	taken int

	// lines and meta belong to rows, from linesFrom on. They are in keptBuf when
	// the text is kept, which takes kept bytes, and otherwise in the arena.
	lines     []string
	meta      []labels.Labels
	linesFrom int
	kept      int
	keptBuf   []byte
	dead      bool // the text turned out to be damaged

	rowBytes int // estimate of the text of a row
	piece    int // number of the last piece of a batch that has rows of this cursor
}

// reader decodes parts for one iterator: it owns the decoder and the budget.
type reader struct {
	src      *sources
	backward bool
	noText   bool
	// noLines says that nobody looks at lines, only at metadata.
	noLines bool
	// step says how many entries may become one row, for a reader that only counts.
	step countStep
	// lean is the number of rows after which the reader may stop, 0 if it will read
	// all.
	lean int

	dec     *chunk.Decoder
	decoded chunk.Rows // last result of dec
	times   chunk.Rows // last result of DecodeTimes
	runBuf  []byte
	tmp     []rowRef
	keys    []int64  // of narrow
	numbers []uint32 // of rows that were chosen, sorted
	place   []uint32 // of rows among them

	keep      int // bytes of text that may still be kept
	freeBufs  [][]byte
	freeBytes int
	// arena holds text that cannot be kept, for one piece of a batch. It is never
	// larger than arenaMax, or one row if that is longer, and never grows while it
	// is in use. arenaUsed counts what belongs to the text, too.
	arena     []byte
	arenaMax  int
	arenaUsed int
	maxRows   int // row references over all cursors
	open      int // cursors
}

func newReader(src *sources, backward, noText bool, opts *Options) *reader {
	return &reader{
		src: src, backward: backward, noText: noText,
		keep: opts.residentBytes(), arenaMax: opts.arenaBytes(), maxRows: opts.cursorRows(),
	}
}

// divide makes the reader one of n that have the memory of one together.
func (r *reader) divide(n int) {
	r.keep, r.arenaMax, r.maxRows = r.keep/n, r.arenaMax/n, r.maxRows/n
}

// reuse takes over the memory of a reader that has come to its end.
func (r *reader) reuse(o *reader) {
	r.dec, r.decoded, r.times, r.runBuf, r.tmp = o.dec, o.decoded, o.times, o.runBuf, o.tmp
	r.keys, r.numbers, r.place, r.arena, r.freeBufs, r.freeBytes = o.keys, o.numbers, o.place, o.arena[:0], o.freeBufs, o.freeBytes
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
	r.release(c)
	c.rows, c.pos, c.more = c.rows[:0], 0, false
	q := wantedRows{limit: r.rowLimit(c), after: c.bound, continued: !first}
	err := r.wanted(c.p, first, &q)
	if err != nil {
		return r.src.damaged(c.p, err)
	}
	c.more, c.bound = q.cut, q.bound
	if cap(c.rows) < len(q.rows) {
		c.rows = make([]rowRef, 0, len(q.rows))
	}
	c.rows = append(c.rows, q.rows...)
	if q.text != nil && len(c.rows) > 0 {
		// The text has been decoded to look for needles: keep it if that is possible.
		r.keepText(c, *q.text, 0, len(c.rows))
	}
	if !r.noText && !r.noLines {
		c.rowBytes = c.p.rowBytes()
	}
	return nil
}

// wantedRows is what a cursor asks for, and what it gets.
type wantedRows struct {
	limit     int
	after     rowRef // only rows behind this one, if continued
	continued bool

	rows []rowRef // sorted; valid until the next call
	text *lineOf  // their text if it had to be decoded
	// cut says that there are others, behind bound.
	cut   bool
	bound rowRef
}

// rowLimit is how many rows a cursor looks at next. A reader that asks for small
// batches may stop soon: it begins with few, and goes on with more every time.
func (r *reader) rowLimit(c *cursor) int {
	limit := max(r.maxRows/(r.open+1), minCursorRows)
	switch {
	case r.lean == 0:
		return limit
	case r.src.textual(): // whose text is decoded together with them
		return min(limit, max(minCursorRows, 4*c.taken))
	default:
		return min(limit, max(min(r.lean, leanRows), 4*c.taken))
	}
}

// narrow leaves the first rows behind q.after, sorted, and at most q.limit.
func (r *reader) narrow(rows []rowRef, q *wantedRows) []rowRef {
	if q.continued {
		rows = slices.DeleteFunc(rows, func(x rowRef) bool { return !r.before(q.after, x) })
	}
	if q.cut = len(rows) > q.limit; q.cut {
		r.keys = r.keys[:0]
		for _, x := range rows {
			r.keys = append(r.keys, r.timeKey(x.ts))
		}
		last := nth(r.keys, q.limit-1)
		rows = slices.DeleteFunc(rows, func(x rowRef) bool { return r.timeKey(x.ts) > last })
	}
	r.sort(rows)
	if q.cut {
		rows = rows[:q.limit]
		q.bound = rows[q.limit-1]
	}
	return rows
}

// timeKey grows in the order of the reader.
func (r *reader) timeKey(ts int64) int64 {
	if r.backward {
		return ^ts
	}
	return ts
}

// nth returns the value that would be v[n] if v were sorted; it changes the order
// of v.
func nth(v []int64, n int) int64 {
	for lo, hi := 0, len(v)-1; lo < hi; {
		pivot := v[lo+(hi-lo)/2]
		i, j := lo, hi
		for i <= j {
			for v[i] < pivot {
				i++
			}
			for v[j] > pivot {
				j--
			}
			if i <= j {
				v[i], v[j] = v[j], v[i]
				i++
				j--
			}
		}
		switch {
		case n <= j:
			hi = j
		case n >= i:
			lo = i
		default:
			return v[n]
		}
	}
	return v[n]
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

// wanted finds the next rows of a part that match streams, time and needles. On
// the first call for a part its text decides whether it is looked at at all.
func (r *reader) wanted(p *part, first bool, q *wantedRows) error {
	if p.blk == nil {
		rows, text, err := r.runRows(p)
		q.rows, q.text = r.narrow(rows, q), text
		return err
	}
	cb, err := p.open()
	if err != nil {
		return err
	}
	if r.src.textual() {
		return r.wantedNeedles(p, cb, first, q)
	}
	if err := r.src.findGone(p); err != nil {
		return err
	}
	if err := cb.DecodeTimes(&r.times); err != nil {
		return err
	}
	r.tmp = p.selectRows(r.tmp[:0], r.times.Stream, r.times.Timestamps, p.fromRow, p.toRow, r.src.rng, p.gone)
	if r.noText && !q.continued {
		r.countDecoded(len(r.tmp), 0, 0)
	}
	q.rows = r.narrow(r.tmp, q)
	return nil
}

// wantedNeedles is wanted for a chunk block whose lines have to contain the
// needles, or one of several texts.
func (r *reader) wantedNeedles(p *part, cb *chunk.Block, first bool, q *wantedRows) error {
	if first && len(r.src.needles) > 0 {
		ok, err := cb.MayContain(r.src.needles)
		if err != nil {
			return err
		}
		if !ok {
			r.src.stats.ChunkBlocksSkipped++
			return nil
		}
	}
	for {
		c := chunk.Choice{Needles: r.src.needles, Any: r.src.any, AnyFold: r.src.anyFold, None: r.src.none, Pick: func(rows, streams []uint32, times []int64) []uint32 {
			r.tmp = r.narrow(p.selectAmong(r.tmp[:0], rows, streams, times, r.src.rng), q)
			return r.rowNumbers(r.tmp)
		}}
		// Pick is not asked when there is nothing to choose from.
		q.rows, q.cut, r.tmp, r.numbers = nil, false, r.tmp[:0], r.numbers[:0]
		if err := r.decode(p, cb, p.fromRow, p.toRow, &c); err != nil {
			return err
		}
		l := &lineOf{rows: &r.decoded, place: r.places(r.numbers, p.chunk.Rows)}
		q.rows = keepRows(r.tmp, r.src.needles, l.line)
		if p.filtered {
			q.rows = slices.DeleteFunc(q.rows, func(x rowRef) bool {
				return droppedEntry(p.drops[l.stream(x.row)], x.ts, l.line(x.row), l.meta(x.row))
			})
		}
		if q.text = l; len(q.rows) > 0 || !q.cut {
			return nil
		}
		// What could be in these rows was not: look at more of them.
		q.after, q.continued = q.bound, true
		q.limit *= 4
	}
}

// rowNumbers returns the rows' numbers, sorted, in memory of r.numbers.
func (r *reader) rowNumbers(rows []rowRef) []uint32 {
	r.numbers = r.numbers[:0]
	for _, x := range rows {
		r.numbers = append(r.numbers, x.row)
	}
	slices.Sort(r.numbers)
	return r.numbers
}

// places returns a table in which the numbers have their position.
func (r *reader) places(numbers []uint32, rows int) []uint32 {
	r.place = slices.Grow(r.place[:0], rows)[:rows]
	for i, n := range numbers {
		r.place[n] = uint32(i)
	}
	return r.place
}

// runRows returns the rows of a run of the head that match time and needles, in
// their own order, and their text if it had to be decompressed.
func (r *reader) runRows(p *part) ([]rowRef, *lineOf, error) {
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

// decode rebuilds the chosen ones of rows [from, to) of a chunk block in r.decoded.
func (r *reader) decode(p *part, cb *chunk.Block, from, to int, c *chunk.Choice) error {
	if r.dec == nil {
		d, err := chunk.NewDecoder()
		if err != nil {
			return err
		}
		r.dec = d
	}
	c.NoLines = r.noLines
	if err := cb.DecodeSome(r.dec, &r.decoded, from, to, c); err != nil {
		return err
	}
	n := int64(0)
	for _, l := range r.decoded.Lines {
		n += int64(len(l))
	}
	r.countDecoded(len(r.decoded.Timestamps), n, int64(p.chunk.Size))
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
		r.freeBytes += cap(c.keptBuf)
	}
	r.keep += c.kept
	c.lines, c.meta, c.kept, c.keptBuf = nil, nil, 0, nil
}

// lineOf gives access to the rows of a part that has just been decoded.
type lineOf struct {
	// rows of a chunk block: from row from on, or with their positions in place.
	rows  *chunk.Rows
	from  int
	place []uint32
	// text of a run.
	p    *part
	text []byte
	// none says that there are no lines.
	none bool
}

func (l lineOf) at(row uint32) int {
	if l.place != nil {
		return int(l.place[row])
	}
	return int(row) - l.from
}

func (l lineOf) stream(row uint32) uint32 { return l.rows.Stream[l.at(row)] }

func (l lineOf) line(row uint32) string {
	switch {
	case l.none:
		return ""
	case l.rows != nil:
		return l.rows.Lines[l.at(row)]
	}
	return l.p.run.Line(l.text, int(row))
}

func (l lineOf) meta(row uint32) labels.Labels {
	switch {
	case l.rows != nil && len(l.rows.Metadata) > 0:
		return l.rows.Metadata[l.at(row)]
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

// text decodes the lines of the cursor's rows [first, to).
func (r *reader) text(c *cursor, first, to int) (lineOf, error) {
	if c.p.blk == nil && r.noLines {
		return lineOf{p: c.p, none: true}, nil
	}
	if c.p.blk == nil {
		t, err := r.runText(c.p)
		return lineOf{p: c.p, text: t}, err
	}
	cb, err := c.p.open()
	if err != nil {
		return lineOf{}, err
	}
	rows := c.rows[first:to]
	lo, hi := rowRange(rows)
	if 2*len(rows) >= hi-lo {
		err := r.decode(c.p, cb, lo, hi, &chunk.Choice{})
		return lineOf{from: lo, rows: &r.decoded, none: r.noLines}, err
	}
	pick := func([]uint32, []uint32, []int64) []uint32 { return r.rowNumbers(rows) }
	if err := r.decode(c.p, cb, lo, hi, &chunk.Choice{Pick: pick}); err != nil {
		return lineOf{}, err
	}
	return lineOf{rows: &r.decoded, place: r.places(r.numbers, c.p.chunk.Rows), none: r.noLines}, nil
}

// rowCost is what a copy of a row's text takes.
func (l lineOf) rowCost(row uint32) int {
	n := len(l.line(row)) + stringSize
	if l.hasMeta() {
		n += int(l.meta(row).ByteSize()) + stringSize
	}
	return n
}

const stringSize = 16

// keepText copies the lines of the cursor's rows [first, to), if the budget allows
// it.
func (r *reader) keepText(c *cursor, l lineOf, first, to int) bool {
	size, cost := 0, 0
	for _, x := range c.rows[first:to] {
		size += len(l.line(x.row))
		if cost += l.rowCost(x.row); cost > r.keep {
			return false
		}
	}
	buf := r.buffer(size, r.keep-(cost-size))
	c.kept = cost - size + cap(buf)
	r.keep -= c.kept
	c.keptBuf = copyLines(c, l, buf, first, to)
	return true
}

// spill copies the lines of the cursor's rows [first, to) into the arena, as far
// as there is room. An empty arena has room for one row at least. expect is how
// much text this piece of the batch is expected to have.
func (r *reader) spill(c *cursor, l lineOf, first, to, expect int) {
	if r.arenaUsed == 0 {
		n := max(min(max(expect, minArena), r.arenaMax), l.rowCost(c.rows[first].row))
		if cap(r.arena) < n || cap(r.arena) > max(n, r.arenaMax) {
			r.arena = make([]byte, 0, n)
		}
	}
	end := first
	for ; end < to; end++ {
		cost := l.rowCost(c.rows[end].row)
		if r.arenaUsed+cost > cap(r.arena) {
			break
		}
		r.arenaUsed += cost
	}
	r.arena = copyLines(c, l, r.arena, first, end)
}

// fetch makes the lines of the cursor's rows from first on available, up to pos
// or as far as the arena has room. It keeps the lines of its other rows, too,
// while the budget allows, so that they are decoded once; a reader that may stop
// soon begins with few of them.
func (r *reader) fetch(c *cursor, first, expect int) error {
	if c.kept > 0 && c.pos <= c.linesFrom+len(c.lines) {
		return nil
	}
	r.release(c)
	to := len(c.rows)
	if r.lean > 0 {
		to = min(to, c.pos+2*(c.taken+first))
	}
	keep := (to-first)*c.rowBytes <= r.keep
	if !keep {
		to = c.pos
	}
	l, err := r.text(c, first, to)
	if err != nil {
		return err
	}
	if !keep || !r.keepText(c, l, first, to) {
		r.spill(c, l, first, c.pos, expect)
	}
	return nil
}

// copyLines copies the lines of rows [first, to) behind buf, which has room for
// them.
func copyLines(c *cursor, l lineOf, buf []byte, first, to int) []byte {
	c.linesFrom = first
	c.lines = make([]string, 0, to-first)
	for _, x := range c.rows[first:to] {
		s := l.line(x.row)
		start := len(buf)
		buf = append(buf, s...)
		b := buf[start:]
		c.lines = append(c.lines, unsafe.String(unsafe.SliceData(b), len(b)))
	}
	if l.hasMeta() {
		c.meta = make([]labels.Labels, 0, to-first)
		for _, x := range c.rows[first:to] {
			c.meta = append(c.meta, l.meta(x.row))
		}
	}
	return buf
}

// buffer returns an empty buffer with room for n bytes and no more than most.
// Buffers that are not in use count as kept: together with it they stay below
// most, too.
func (r *reader) buffer(n, most int) []byte {
	for i, b := range r.freeBufs {
		if c := cap(b); c >= n && c <= most && c <= 2*n+minBuffer {
			r.freeBufs = slices.Delete(r.freeBufs, i, i+1)
			r.freeBytes -= c
			return b[:0]
		}
	}
	size := min(max(n, minBuffer), most)
	for k := len(r.freeBufs) - 1; k >= 0 && (k >= 8 || r.freeBytes > most-size); k-- {
		r.freeBytes -= cap(r.freeBufs[k])
		r.freeBufs[k] = nil
		r.freeBufs = r.freeBufs[:k]
	}
	return make([]byte, 0, size)
}

const (
	minBuffer = 4 << 10
	minArena  = 64 << 10
)
