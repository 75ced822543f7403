package store

import (
	"context"
	"io"

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
	inBatch []*cursor
	want    int // rows of the next batch
	maxWant int
	spilled bool // the last batch had text that could not be kept

	batch  model.EntryBatch // all rows that have been merged
	refs   []batchRow
	handed int              // rows of batch that have been handed out
	out    model.EntryBatch // what Next returned, a part of batch
	rows   int              // limit of out
	err    error
}

// batchRow says where the text of a row of the batch comes from.
type batchRow struct {
	cur *cursor
	idx uint32 // in the cursor's rows
}

func newMerge(r *reader, batchRows int, opts *Options) *merge {
	if batchRows <= 0 {
		batchRows = defaultBatchRows
	}
	m := &merge{reader: r, rows: batchRows, want: batchRows, maxWant: max(batchRows, opts.arenaBytes()/256)}
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
	for m.err == nil && m.handed == len(m.batch.Timestamps) {
		if m.err = ctx.Err(); m.err == nil {
			m.err = m.fill(ctx)
		}
	}
	if m.err != nil && m.handed == len(m.batch.Timestamps) {
		return nil, m.err
	}
	from := m.handed
	to := min(from+m.rows, len(m.batch.Timestamps))
	m.handed = to
	m.out = model.EntryBatch{
		Streams:     m.src.table.labels,
		StreamIndex: m.batch.StreamIndex[from:to], Timestamps: m.batch.Timestamps[from:to],
	}
	if len(m.batch.Lines) > 0 {
		m.out.Lines = m.batch.Lines[from:to]
	}
	if len(m.batch.Metadata) > 0 {
		m.out.Metadata = m.batch.Metadata[from:to]
	}
	return &m.out, nil
}

// fill merges the next rows into the batch. It may come back with none.
func (m *merge) fill(ctx context.Context) error {
	m.recycle()
	for len(m.refs) < m.want && len(m.heap) > 0 {
		if err := m.step(ctx); err != nil {
			return err
		}
	}
	if len(m.refs) == 0 {
		if len(m.heap) == 0 {
			return io.EOF
		}
		return nil
	}
	if m.noText {
		return nil
	}
	return m.texts()
}

// recycle forgets the last batch.
func (m *merge) recycle() {
	for _, c := range m.retired {
		m.release(c)
	}
	m.retired = m.retired[:0]
	m.batch.Reset()
	m.refs = m.refs[:0]
	m.handed = 0
	m.arena = m.arena[:0]
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
	if !c.inBatch && !m.noText {
		c.inBatch, c.first = true, c.pos
		m.inBatch = append(m.inBatch, c)
	}
	next := m.second()
	for {
		x := c.rows[c.pos]
		m.refs = append(m.refs, batchRow{cur: c, idx: uint32(c.pos)})
		m.batch.StreamIndex = append(m.batch.StreamIndex, x.id)
		m.batch.Timestamps = append(m.batch.Timestamps, x.ts)
		c.pos++
		if c.pos == len(c.rows) {
			return m.exhausted(top)
		}
		m.setKey(top)
		if next != nil && !m.less(top, next) {
			m.fix()
			return nil
		}
		if len(m.refs) >= m.want {
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

// texts fills the lines of the batch, part by part.
func (m *merge) texts() error {
	n := len(m.refs)
	if cap(m.batch.Lines) < n {
		m.batch.Lines = make([]string, n)
	}
	m.batch.Lines = m.batch.Lines[:n]
	type fetched struct {
		lines []string
		meta  []labels.Labels
	}
	got := make(map[*cursor]fetched, len(m.inBatch))
	withMeta, dead := false, false
	for _, c := range m.inBatch {
		c.inBatch = false
		lines, meta, err := m.fetch(c)
		if err != nil {
			if err = m.src.damaged(c.p, err); err != nil {
				return err
			}
			c.dead, dead = true, true
		}
		m.spilled = m.spilled || c.kept == 0 && !c.dead
		withMeta = withMeta || meta != nil
		got[c] = fetched{lines, meta}
	}
	m.inBatch = m.inBatch[:0]
	if withMeta {
		if cap(m.batch.Metadata) < n {
			m.batch.Metadata = make([]labels.Labels, n)
		}
		m.batch.Metadata = m.batch.Metadata[:n]
		clear(m.batch.Metadata)
	}
	var last *cursor
	var f fetched
	someMeta := false
	for i, ref := range m.refs {
		c := ref.cur
		if c.dead {
			continue
		}
		if c != last {
			last, f = c, got[c]
		}
		k := int(ref.idx) - c.first
		m.batch.Lines[i] = f.lines[k]
		if f.meta != nil {
			m.batch.Metadata[i] = f.meta[k]
			someMeta = someMeta || !f.meta[k].IsEmpty()
		}
	}
	if !someMeta {
		m.batch.Metadata = m.batch.Metadata[:0]
	}
	if dead {
		m.dropDead()
	}
	return nil
}

// dropDead removes the rows of parts whose text is damaged.
func (m *merge) dropDead() {
	k := 0
	for i, ref := range m.refs {
		if ref.cur.dead {
			continue
		}
		m.batch.StreamIndex[k], m.batch.Timestamps[k], m.batch.Lines[k] = m.batch.StreamIndex[i], m.batch.Timestamps[i], m.batch.Lines[i]
		if len(m.batch.Metadata) > 0 {
			m.batch.Metadata[k] = m.batch.Metadata[i]
		}
		k++
	}
	m.batch.StreamIndex, m.batch.Timestamps, m.batch.Lines = m.batch.StreamIndex[:k], m.batch.Timestamps[:k], m.batch.Lines[:k]
	if len(m.batch.Metadata) > 0 {
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
	m.heap, m.refs, m.retired, m.inBatch = nil, nil, nil, nil
	m.batch, m.handed = model.EntryBatch{}, 0
	return nil
}
