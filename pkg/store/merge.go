package store

import (
	"context"
	"io"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// item is something in the merge's heap: a block that has not been looked into,
// a part that has not been opened, or a cursor. Its key bounds the rows behind it.
type item struct {
	kind  uint8
	ts    int64
	id    uint32
	row   uint32
	order uint64

	lazy lazyBlock
	part *part
	cur  *cursor
}

// Kinds of items. What is not open yet comes first among equal timestamps: it
// may hold a row that comes before all the others.
const (
	itemBlock uint8 = iota
	itemPart
	itemCursor
)

// merge hands out the rows of all sources in order: by timestamp, labels, and
// arrival, or the exact reverse. Blocks, chunk blocks and texts are opened when
// the first row of theirs is due, so that a reader that stops early has read
// little.
type merge struct {
	*reader
	heap    []*item
	retired []*cursor // their text is part of the last batch
	want    int       // rows of the next batch
	maxWant int
	spilled bool // the last batch had text that could not be kept

	// batch are all rows that have been merged. Their text comes in pieces, as much
	// as may be held at a time: the rows before ready have theirs or had it, those
	// before handed have been handed out.
	batch         model.EntryBatch
	refs          []batchRow
	handed, ready int
	hasMeta       bool             // a row of the piece at hand has metadata
	piece         int              // its number
	bytes         int              // estimate of the text of all rows
	out           model.EntryBatch // what Next returned, a part of batch
	rows          int              // limit of out
	err           error
}

// batchRow says where the text of a row of the batch comes from.
type batchRow struct {
	cur *cursor
	idx uint32 // in the cursor's rows
}

func newMerge(r *reader, batchRows int) *merge {
	if batchRows <= 0 {
		batchRows = defaultBatchRows
	}
	m := &merge{reader: r, rows: batchRows, want: batchRows, maxWant: max(batchRows, r.arenaMax/512)}
	for _, lb := range r.src.blocks {
		it := &item{kind: itemBlock, ts: lb.blk.Meta.MinTime, lazy: lb}
		if r.backward {
			it.ts = lb.blk.Meta.MaxTime
		}
		m.push(it)
	}
	for _, p := range r.src.parts {
		m.pushPart(p)
	}
	return m
}

func (m *merge) pushPart(p *part) {
	it := &item{kind: itemPart, ts: p.lo, part: p}
	if m.backward {
		it.ts = p.hi
	}
	m.push(it)
}

// less says whether a is due before b.
func (m *merge) less(a, b *item) bool {
	if a.ts != b.ts {
		return (a.ts < b.ts) != m.backward
	}
	if a.kind != itemCursor || b.kind != itemCursor {
		return a.kind < b.kind
	}
	if a.id != b.id {
		rank := m.src.table.rank()
		return (rank[a.id] < rank[b.id]) != m.backward
	}
	if a.order != b.order {
		return (a.order < b.order) != m.backward
	}
	return (a.row < b.row) != m.backward
}

func (m *merge) push(it *item) {
	m.heap = append(m.heap, it)
	i := len(m.heap) - 1
	for i > 0 {
		p := (i - 1) / 2
		if !m.less(m.heap[i], m.heap[p]) {
			return
		}
		m.heap[i], m.heap[p] = m.heap[p], m.heap[i]
		i = p
	}
}

// fix restores the heap after the key of its top has grown.
func (m *merge) fix() {
	i := 0
	for {
		c := 2*i + 1
		if c >= len(m.heap) {
			return
		}
		if c+1 < len(m.heap) && m.less(m.heap[c+1], m.heap[c]) {
			c++
		}
		if !m.less(m.heap[c], m.heap[i]) {
			return
		}
		m.heap[i], m.heap[c] = m.heap[c], m.heap[i]
		i = c
	}
}

func (m *merge) pop() {
	n := len(m.heap) - 1
	m.heap[0] = m.heap[n]
	m.heap[n] = nil
	m.heap = m.heap[:n]
	m.fix()
}

// second is the item that is due after the top, nil if there is none.
func (m *merge) second() *item {
	switch len(m.heap) {
	case 0, 1:
		return nil
	case 2:
		return m.heap[1]
	}
	if m.less(m.heap[2], m.heap[1]) {
		return m.heap[2]
	}
	return m.heap[1]
}

// Next implements model.BatchIterator.
func (m *merge) Next(ctx context.Context) (*model.EntryBatch, error) {
	for m.err == nil && m.handed == m.ready {
		if m.err = ctx.Err(); m.err == nil {
			m.err = m.fill(ctx)
		}
	}
	if m.err != nil && m.handed == m.ready {
		return nil, m.err
	}
	from := m.handed
	to := min(from+m.rows, m.ready)
	m.handed = to
	m.out = model.EntryBatch{
		Streams:     m.src.table.labels,
		StreamIndex: m.batch.StreamIndex[from:to], Timestamps: m.batch.Timestamps[from:to],
	}
	if len(m.batch.Lines) > 0 {
		m.out.Lines = m.batch.Lines[from:to]
	}
	if m.hasMeta {
		m.out.Metadata = m.batch.Metadata[from:to]
	}
	return &m.out, nil
}

// fill gets the text of more rows of the batch, or merges the next rows into it
// when there are none. It may come back with nothing.
func (m *merge) fill(ctx context.Context) error {
	if m.ready < len(m.refs) {
		return m.texts()
	}
	m.recycle()
	for !m.full() && len(m.heap) > 0 {
		if err := m.step(ctx); err != nil {
			return err
		}
	}
	switch {
	case len(m.refs) > 0 && m.noText:
		m.ready = len(m.refs)
		return nil
	case len(m.refs) > 0:
		return m.texts()
	case len(m.heap) == 0:
		return io.EOF
	}
	return nil
}

// full says that the batch has rows enough, or so many long ones that looking
// further ahead is of no use.
func (m *merge) full() bool {
	return len(m.refs) >= m.want || m.bytes >= m.arenaMax
}

// recycle forgets the last batch.
func (m *merge) recycle() {
	for _, c := range m.retired {
		m.release(c)
	}
	m.retired = m.retired[:0]
	m.batch.Reset()
	m.refs = m.refs[:0]
	m.handed, m.ready, m.bytes = 0, 0, 0
	if m.spilled {
		// Every batch decodes the same chunk blocks again: make it worth it.
		m.want = min(4*m.want, m.maxWant)
	}
	m.spilled = false
}

// step does what the top of the heap asks for.
func (m *merge) step(ctx context.Context) error {
	top := m.heap[0]
	switch top.kind {
	case itemBlock:
		m.pop()
		parts, err := m.src.expand(ctx, top.lazy)
		if err != nil {
			return err
		}
		for _, p := range parts {
			m.pushPart(p)
		}
		return nil
	case itemPart:
		if err := ctx.Err(); err != nil {
			return err
		}
		c := &cursor{p: top.part}
		m.open++
		if err := m.load(c); err != nil {
			return err
		}
		if len(c.rows) == 0 {
			m.open--
			m.pop()
			return nil
		}
		top.kind, top.cur, top.order = itemCursor, c, c.p.order
		m.setKey(top)
		m.fix()
		return nil
	}
	return m.take(top)
}

func (m *merge) setKey(it *item) {
	x := it.cur.rows[it.cur.pos]
	it.ts, it.id, it.row = x.ts, x.id, x.row
}

// take moves rows of the top cursor to the batch as long as it stays the top.
func (m *merge) take(top *item) error {
	c := top.cur
	next := m.second()
	for {
		x := c.rows[c.pos]
		m.refs = append(m.refs, batchRow{cur: c, idx: uint32(c.pos)})
		m.batch.StreamIndex = append(m.batch.StreamIndex, x.id)
		m.batch.Timestamps = append(m.batch.Timestamps, x.ts)
		m.bytes += c.rowBytes
		c.pos++
		if c.pos == len(c.rows) {
			return m.exhausted(top)
		}
		m.setKey(top)
		if next != nil && !m.less(top, next) {
			m.fix()
			return nil
		}
		if m.full() {
			return nil
		}
	}
}

// exhausted ends a cursor. When its part has more rows, a new cursor goes on
// behind the last one: the old one's rows are in the batch.
func (m *merge) exhausted(top *item) error {
	c := top.cur
	m.retired = append(m.retired, c)
	if !c.more {
		m.open--
		m.pop()
		return nil
	}
	n := &cursor{p: c.p, rows: []rowRef{}, bound: c.bound, taken: c.taken + len(c.rows)}
	if err := m.load(n); err != nil {
		return err
	}
	if len(n.rows) == 0 {
		m.open--
		m.pop()
		return nil
	}
	top.cur = n
	m.setKey(top)
	m.fix()
	return nil
}

// texts fills the lines of the next rows of the batch: as many as there is memory
// for, at least one.
func (m *merge) texts() error {
	from, n := m.ready, len(m.refs)
	expect := int(int64(m.bytes) * int64(n-from) / int64(n))
	if from > 0 { // it was less than necessary
		expect = max(expect, 2*cap(m.arena))
	}
	m.arena, m.arenaUsed, m.hasMeta = m.arena[:0], 0, false
	m.piece++
	m.batch.Lines = slices.Grow(m.batch.Lines[:0], n)[:n]
	m.batch.Metadata = m.batch.Metadata[:0]
	i, dead := from, false
	for ; i < n; i++ {
		c := m.refs[i].cur
		if c.piece != m.piece {
			c.piece = m.piece
			if err := m.begin(c, int(m.refs[i].idx), expect+expect/8); err != nil {
				return err
			}
		}
		if c.dead {
			dead = true
			continue
		}
		k := int(m.refs[i].idx) - c.linesFrom
		if k >= len(c.lines) {
			break // the arena is full
		}
		m.batch.Lines[i] = c.lines[k]
		if c.meta != nil {
			m.setMeta(i, c.meta[k])
		}
	}
	m.ready = i
	if dead {
		m.dropDead(from)
	}
	return nil
}

// begin gets the text of a cursor's rows from first on, for a piece of the batch.
func (m *merge) begin(c *cursor, first, expect int) error {
	if c.dead {
		return nil
	}
	if err := m.fetch(c, first, expect); err != nil {
		if err = m.src.damaged(c.p, err); err != nil {
			return err
		}
		c.dead = true
		return nil
	}
	m.spilled = m.spilled || c.kept == 0
	return nil
}

// setMeta sets the metadata of row i, of which most batches have none.
func (m *merge) setMeta(i int, ls labels.Labels) {
	if !m.hasMeta {
		if ls.IsEmpty() {
			return
		}
		n := len(m.refs)
		m.batch.Metadata = slices.Grow(m.batch.Metadata[:0], n)[:n]
		clear(m.batch.Metadata)
		m.hasMeta = true
	}
	m.batch.Metadata[i] = ls
}

// dropDead removes the rows from the given one on that belong to parts whose text
// is damaged.
func (m *merge) dropDead(from int) {
	k, ready := from, m.ready
	for i := from; i < len(m.refs); i++ {
		if m.refs[i].cur.dead {
			if i < ready {
				m.ready--
			}
			continue
		}
		m.refs[k] = m.refs[i]
		m.batch.StreamIndex[k], m.batch.Timestamps[k], m.batch.Lines[k] = m.batch.StreamIndex[i], m.batch.Timestamps[i], m.batch.Lines[i]
		if m.hasMeta {
			m.batch.Metadata[k] = m.batch.Metadata[i]
		}
		k++
	}
	m.refs = m.refs[:k]
	m.batch.StreamIndex, m.batch.Timestamps, m.batch.Lines = m.batch.StreamIndex[:k], m.batch.Timestamps[:k], m.batch.Lines[:k]
	if m.hasMeta {
		m.batch.Metadata = m.batch.Metadata[:k]
	}
}

// Stats implements model.BatchIterator.
func (m *merge) Stats() model.SelectStats { return *m.src.stats }

// Close implements model.BatchIterator.
func (m *merge) Close() error {
	if m.err == nil {
		m.err = io.EOF
	}
	m.heap, m.refs, m.retired = nil, nil, nil
	m.batch, m.handed, m.ready = model.EntryBatch{}, 0, 0
	return nil
}
