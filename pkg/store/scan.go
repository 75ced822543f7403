package store

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/block"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/chunk"
)

// scan hands out rows without an order over streams: chunk block after chunk
// block, each decoded once and handed out as it is. Rows of one stream come in
// time order all the same: chunk blocks that share a stream and overlap in time
// (late entries, flushes that overlap) are merged.
type scan struct {
	*reader
	rows int // limit of a batch, 0 for none
	// share is which of the shares this scan reads; shares is 0 for all.
	share, shares uint64

	spans   []span    // what has not been looked into
	tasks   [][]*part // of the span at hand
	merging *merge    // of the task at hand, if it has several parts

	pending model.EntryBatch // rows of the task at hand that have not been handed out
	out     model.EntryBatch
	err     error
}

// span is what overlaps in time.
type span struct {
	closedRange
	blocks []lazyBlock
	parts  []*part
}

func newScan(r *reader, batchRows int) *scan {
	s := &scan{reader: r, rows: batchRows}
	var spans []span
	for _, lb := range r.src.blocks {
		spans = append(spans, span{closedRange{lb.blk.Meta.MinTime, lb.blk.Meta.MaxTime}, []lazyBlock{lb}, nil})
	}
	for _, p := range r.src.parts {
		spans = append(spans, span{closedRange{p.lo, p.hi}, nil, []*part{p}})
	}
	slices.SortFunc(spans, func(a, b span) int { return compareInt64(a.lo, b.lo) })
	for _, sp := range spans {
		if n := len(s.spans); n > 0 && s.spans[n-1].hi >= sp.lo {
			m := &s.spans[n-1]
			m.hi = max(m.hi, sp.hi)
			m.blocks = append(m.blocks, sp.blocks...)
			m.parts = append(m.parts, sp.parts...)
			continue
		}
		s.spans = append(s.spans, sp)
	}
	if r.backward {
		slices.Reverse(s.spans)
	}
	return s
}

func compareInt64(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// begin prepares the tasks of a span.
func (s *scan) begin(ctx context.Context, sp span) error {
	parts := sp.parts
	before := *s.src.stats
	for _, lb := range sp.blocks {
		ps, err := s.src.expand(ctx, lb)
		if err != nil {
			return err
		}
		parts = append(parts, ps...)
	}
	s.tasks = tasksOf(parts)
	if s.shares > 0 {
		s.tasks = s.ownTasks(s.tasks)
		if s.share > 0 { // the first scan counts them
			*s.src.stats = before
		}
	}
	if s.backward {
		slices.Reverse(s.tasks)
	}
	return nil
}

// streamsOf calls fn for the wanted streams of a part, with the times of their
// first and last row.
func (p *part) streamsOf(scratch []block.ChunkStream, fn func(id uint32, r closedRange)) []block.ChunkStream {
	if p.blk == nil {
		fn(p.id, closedRange{p.run.Min, p.run.Max})
		return scratch
	}
	// It has been read without an error when the part was made.
	scratch, _ = p.chunk.Streams(scratch[:0])
	for i, st := range scratch {
		if l := p.locals[i]; l != 0 {
			fn(l-1, closedRange{st.MinTime, st.MaxTime})
		}
	}
	return scratch
}

// cluster is a number of parts that have to be merged.
type cluster struct {
	parts []*part
	into  *cluster // what it has been joined with
}

// root follows the joins.
func (c *cluster) root() *cluster {
	for c.into != nil {
		c = c.into
	}
	return c
}

// tasksOf divides parts into tasks, sorted by time: of parts in different tasks
// that share a stream, all of that stream's rows in the earlier task come first.
func tasksOf(parts []*part) [][]*part {
	// By their ends: where the streams of a group run apart, what was flushed first
	// may begin later than what was flushed next, but it ends earlier.
	slices.SortFunc(parts, func(a, b *part) int {
		if c := compareInt64(a.hi, b.hi); c != 0 {
			return c
		}
		if a.order < b.order {
			return -1
		}
		return 1
	})
	clusters := make([]*cluster, len(parts))
	for i, p := range parts {
		clusters[i] = &cluster{parts: []*part{p}}
	}
	// Two clusters that are joined take the place of the later one, where they may be
	// too late for others: repeat until nothing changes.
	for joinNeighbours(clusters) {
		clusters = slices.DeleteFunc(clusters, func(c *cluster) bool { return c.into != nil })
	}
	out := make([][]*part, len(clusters))
	for i, c := range clusters {
		out[i] = c.parts
	}
	return out
}

// lastRows is where the rows of a stream end so far.
type lastRows struct {
	of    *cluster
	hi    int64
	order uint64 // of the part with the last row
}

// joinNeighbours joins clusters that share a stream whose rows in the earlier one
// do not all come first, and says whether there were any. Clusters are sorted by
// their end.
func joinNeighbours(clusters []*cluster) bool {
	joined := false
	last := map[uint32]lastRows{}
	var scratch []block.ChunkStream
	for _, c := range clusters {
		parts := c.parts
		for _, p := range parts {
			scratch = p.streamsOf(scratch, func(id uint32, r closedRange) {
				l, known := last[id]
				if !known {
					return
				}
				// Rows at the same time do, if arrival agrees.
				if o := l.of.root(); o != c && (l.hi > r.lo || l.hi == r.lo && l.order > p.order) {
					c.parts = append(c.parts, o.parts...)
					o.into = c
					joined = true
				}
			})
		}
		// Only now: a part must not hide what came before from the next one.
		for _, p := range parts {
			scratch = p.streamsOf(scratch, func(id uint32, r closedRange) {
				if l, known := last[id]; !known || r.hi > l.hi || r.hi == l.hi && p.order > l.order {
					last[id] = lastRows{c, r.hi, p.order}
				}
			})
		}
	}
	return joined
}

// Next implements model.BatchIterator.
func (s *scan) Next(ctx context.Context) (*model.EntryBatch, error) {
	for s.err == nil {
		if s.err = ctx.Err(); s.err != nil {
			break
		}
		if b := s.handOut(); b != nil {
			return b, nil
		}
		if s.merging != nil {
			b, err := s.merging.Next(ctx)
			if err == nil {
				return b, nil
			}
			if !errors.Is(err, io.EOF) {
				s.err = err
				break
			}
			s.reuse(s.merging.reader)
			s.merging = nil
			continue
		}
		s.err = s.advance(ctx)
	}
	return nil, s.err
}

// advance starts the next task.
func (s *scan) advance(ctx context.Context) error {
	if len(s.tasks) == 0 {
		if len(s.spans) == 0 {
			return io.EOF
		}
		sp := s.spans[0]
		s.spans = s.spans[1:]
		return s.begin(ctx, sp)
	}
	t := s.tasks[0]
	s.tasks = s.tasks[1:]
	if len(t) == 1 && (t[0].blk != nil || !t[0].run.Unsorted) {
		return s.single(t[0])
	}
	sub := *s.src
	sub.parts, sub.blocks = t, nil
	r := *s.reader
	r.src = &sub
	s.merging = newMerge(&r, s.rows)
	return nil
}

// single reads one part that nothing else has to be merged with.
func (s *scan) single(p *part) error {
	s.pending.Reset()
	var err error
	if p.blk == nil {
		err = s.singleRun(p)
	} else {
		err = s.singleChunk(p)
	}
	if err != nil {
		s.pending.Reset()
		return s.src.damaged(p, err)
	}
	if s.backward {
		slices.Reverse(s.pending.StreamIndex)
		slices.Reverse(s.pending.Timestamps)
		slices.Reverse(s.pending.Lines)
		slices.Reverse(s.pending.Metadata)
		slices.Reverse(s.pending.Counts)
	}
	return nil
}

func (s *scan) singleRun(p *part) error {
	rows, _, err := s.runRows(p)
	if err != nil || len(rows) == 0 {
		return err
	}
	if s.step.width > 0 {
		s.countRows(rows)
		return nil
	}
	var text []byte
	if !s.noText && !s.noLines {
		if text, err = s.runText(p); err != nil {
			return err
		}
	}
	b := &s.pending
	for _, x := range rows {
		b.StreamIndex = append(b.StreamIndex, x.id)
		b.Timestamps = append(b.Timestamps, x.ts)
		if s.noText {
			continue
		}
		if !s.noLines {
			b.Lines = append(b.Lines, p.run.Line(text, int(x.row)))
		}
		if p.run.Meta != nil {
			b.Metadata = append(b.Metadata, p.run.Meta[x.row])
		}
	}
	return nil
}

func (s *scan) singleChunk(p *part) error {
	if s.step.width > 0 {
		if ok, err := s.countDirectory(p); ok || err != nil {
			return err
		}
	}
	cb, err := p.open()
	if err != nil {
		return err
	}
	if needles := s.src.needles; len(needles) > 0 {
		ok, err := cb.MayContain(needles)
		if err != nil {
			return err
		}
		if !ok {
			s.src.stats.ChunkBlocksSkipped++
			return nil
		}
	}
	b := &s.pending
	if s.noText {
		if err := s.src.findGone(p); err != nil {
			return err
		}
		if err := cb.DecodeTimes(&s.times); err != nil {
			return err
		}
		if s.step.width > 0 {
			s.countTimes(p)
			return nil
		}
		s.tmp = p.selectRows(s.tmp[:0], s.times.Stream, s.times.Timestamps, p.fromRow, p.toRow, s.src.rng, p.gone)
		for _, x := range s.tmp {
			b.StreamIndex = append(b.StreamIndex, x.id)
			b.Timestamps = append(b.Timestamps, x.ts)
		}
		s.countDecoded(len(s.tmp), 0, 0)
		return nil
	}
	if s.noLines {
		if err := s.src.findGone(p); err != nil {
			return err
		}
	}
	if err := s.decode(p, cb, p.fromRow, p.toRow, &chunk.Choice{Needles: s.src.needles, Any: s.src.any, AnyFold: s.src.anyFold, None: s.src.none}); err != nil {
		return err
	}
	return s.takeDecoded(p)
}

// takeDecoded moves the wanted rows of the decoded chunk block to pending. Lines
// stay in the decoder's memory.
func (s *scan) takeDecoded(p *part) error {
	b, d := &s.pending, &s.decoded
	withMeta := len(d.Metadata) > 0
	for i, t := range d.Timestamps {
		l := d.Stream[i]
		if int(l) >= len(p.locals) {
			return &chunk.CorruptError{Section: chunk.SectionStreams, Offset: -1, Reason: "names a stream that the directory does not know"}
		}
		id := p.locals[l]
		if id == 0 || !s.src.rng.contains(t) {
			continue
		}
		if p.drops != nil && s.noLines {
			if dropped(p.drops[l], t) || p.gone != nil && p.gone.has(p.fromRow+i) {
				continue
			}
		} else if p.drops != nil {
			md := labels.EmptyLabels()
			if withMeta {
				md = d.Metadata[i]
			}
			if droppedEntry(p.drops[l], t, d.Lines[i], md) {
				continue
			}
		}
		b.StreamIndex = append(b.StreamIndex, id-1)
		b.Timestamps = append(b.Timestamps, t)
		if !s.noLines {
			b.Lines = append(b.Lines, d.Lines[i])
		}
		if withMeta {
			b.Metadata = append(b.Metadata, d.Metadata[i])
		}
	}
	return nil
}

// handOut returns the next piece of pending, nil if there is none.
func (s *scan) handOut() *model.EntryBatch {
	n := len(s.pending.Timestamps)
	if n == 0 {
		return nil
	}
	k := n
	if s.rows > 0 {
		k = min(n, s.rows)
	}
	p := &s.pending
	s.out = model.EntryBatch{Streams: s.src.table.labels, StreamIndex: p.StreamIndex[:k], Timestamps: p.Timestamps[:k]}
	rest := model.EntryBatch{StreamIndex: p.StreamIndex[k:], Timestamps: p.Timestamps[k:]}
	if len(p.Lines) > 0 {
		s.out.Lines, rest.Lines = p.Lines[:k], p.Lines[k:]
	}
	if len(p.Metadata) > 0 {
		s.out.Metadata, rest.Metadata = p.Metadata[:k], p.Metadata[k:]
	}
	if len(p.Counts) > 0 {
		s.out.Counts, rest.Counts = p.Counts[:k], p.Counts[k:]
	}
	if k == n { // keep the memory of the columns
		rest = model.EntryBatch{StreamIndex: p.StreamIndex[:0], Timestamps: p.Timestamps[:0], Lines: p.Lines[:0], Metadata: p.Metadata[:0], Counts: p.Counts[:0]}
	}
	s.pending = rest
	return &s.out
}

// Stats implements model.BatchIterator.
func (s *scan) Stats() model.SelectStats { return *s.src.stats }

// Close implements model.BatchIterator.
func (s *scan) Close() error {
	if s.err == nil {
		s.err = io.EOF
	}
	s.merging, s.tasks, s.spans = nil, nil, nil
	s.pending = model.EntryBatch{}
	return nil
}
