package store

import (
	"context"
	"errors"
	"io"
	"slices"
	"sort"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/block"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/chunk"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/head"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/index"
)

// streamTable numbers the streams of one reader in the order in which they are
// met, and knows their order by labels.
type streamTable struct {
	byHash map[uint64][]uint32
	labels []labels.Labels
	ranks  []uint32 // position by labels.Compare; stale while dirty
	dirty  bool
}

// id returns the number of a stream.
func (t *streamTable) id(ls labels.Labels) uint32 {
	h := ls.Hash()
	for _, i := range t.byHash[h] {
		if labels.Equal(t.labels[i], ls) {
			return i
		}
	}
	if t.byHash == nil {
		t.byHash = map[uint64][]uint32{}
	}
	i := uint32(len(t.labels))
	t.byHash[h] = append(t.byHash[h], i)
	t.labels = append(t.labels, ls)
	t.dirty = true
	return i
}

// rank returns the positions of all streams by labels. The order of two streams
// never changes, only the numbers do when streams are added.
func (t *streamTable) rank() []uint32 {
	if t.dirty {
		order := make([]uint32, len(t.labels))
		for i := range order {
			order[i] = uint32(i)
		}
		slices.SortFunc(order, func(a, b uint32) int { return labels.Compare(t.labels[a], t.labels[b]) })
		t.ranks = make([]uint32, len(order))
		for r, i := range order {
			t.ranks[i] = uint32(r)
		}
		t.dirty = false
	}
	return t.ranks
}

// part is a piece of rows that is decoded as a whole: a chunk block or a run of
// the head.
type part struct {
	// order sorts parts by arrival: equal timestamps of one stream arrived in the
	// order of their parts, and within a part in the order of rows.
	order uint64
	// lo and hi bound the timestamps of the rows that are wanted; some may be
	// outside of the reader's range.
	lo, hi int64
	rows   int

	// A chunk block: locals maps its stream numbers to the reader's, plus one; 0
	// is a stream that is not wanted. Wanted rows are in [fromRow, toRow).
	// drops are deleted ranges by stream number, usually nil; filtered says that
	// some of them have a filter, whose rows are in gone as soon as they are known.
	blk            *block.Block
	chunk          block.Chunk
	locals         []uint32
	drops          [][]drop
	filtered       bool
	gone           *goneRows
	fromRow, toRow int
	whole          bool // all rows of all streams are wanted, whatever their time

	// A run of the head: all rows belong to stream id.
	run     head.Run
	id      uint32
	counted bool // in the statistics: a merge may come back to a run
}

// Orders of parts: the number of the source, then that of the part in it.
const orderShift = 32

// lazyBlock is a block whose parts have not been looked up.
type lazyBlock struct {
	blk     *block.Block
	order   uint64
	deletes []deletion
}

// sources are what a reader reads from. It is used by one goroutine.
type sources struct {
	rng      closedRange
	needles  []string
	probe    *chunk.IDProbe // of the needles, nil if filters cannot tell anything
	any      []string       // SelectRequest.ContainsAny
	anyFold  bool
	none     []string // SelectRequest.ContainsNone, without empty ones
	matchers []*labels.Matcher
	db       *DB // notes damage; nil in a rewrite of the head
	// strict makes damage an error instead of leaving out what is damaged.
	strict bool

	table  *streamTable
	parts  []*part
	blocks []lazyBlock
	stats  *model.SelectStats

	goneDec *textDecoder        // for findGone
	slab    []uint32            // memory for locals
	scratch []block.ChunkStream // for expand
}

// textual says that the text of lines has to be looked at to find rows.
func (s *sources) textual() bool { return len(s.needles) > 0 || len(s.any) > 0 }

func newSources(rng closedRange, db *DB) *sources {
	return &sources{rng: rng, db: db, table: &streamTable{}, stats: &model.SelectStats{}}
}

// addHeadStream adds the runs of a stream that have rows in the range.
func (s *sources) addHeadStream(st *head.Stream, order uint64) {
	runs := st.Snapshot(nil)
	id, known := uint32(0), false
	for i, r := range runs {
		if !s.rng.overlaps(r.Min, r.Max) {
			continue
		}
		if !known {
			id, known = s.table.id(st.Labels), true
		}
		s.parts = append(s.parts, &part{
			order: order<<orderShift | uint64(i), lo: r.Min, hi: r.Max, rows: r.Len(), run: r, id: id,
		})
	}
}

// ids returns a slice of n zeros.
func (s *sources) ids(n int) []uint32 {
	if n > len(s.slab) {
		s.slab = make([]uint32, max(n, 4096))
	}
	out := s.slab[:n:n]
	s.slab = s.slab[n:]
	return out
}

// expand looks up the parts of a block. A block whose label index or directory is
// damaged is noted and left out, unless the reader is strict.
func (s *sources) expand(ctx context.Context, lb lazyBlock) ([]*part, error) {
	parts, err := s.partsOf(ctx, lb)
	if err == nil || s.strict || ctx.Err() != nil {
		return parts, err
	}
	s.db.blockDamaged(lb.blk, err)
	return nil, nil
}

func (s *sources) partsOf(ctx context.Context, lb lazyBlock) ([]*part, error) {
	byOrdinal := make([]uint32, lb.blk.Meta.Stats.Streams)
	var drops map[uint32][]drop
	some := false
	err := lb.blk.Streams(ctx, s.matchers, func(st index.Selected) error {
		if !s.rng.overlaps(st.MinTime, st.MaxTime) || int(st.Ordinal) >= len(byOrdinal) {
			return nil
		}
		if d := dropsOf(st, lb.deletes); len(d) > 0 {
			if drops == nil {
				drops = map[uint32][]drop{}
			}
			drops[st.Ordinal] = d
		}
		byOrdinal[st.Ordinal] = s.table.id(st.Labels) + 1
		some = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.stats.Blocks++
	s.stats.ChunkBlocks += lb.blk.Meta.Stats.Chunks
	var parts []*part
	if some {
		err = lb.blk.Chunks(func(c *block.Chunk) error {
			if !s.rng.overlaps(c.MinTime, c.MaxTime) || s.probe != nil && !s.probe.MayContain(lb.blk.Filter(c.No)) || lb.blk.Bad(c.No) {
				return nil
			}
			p, err := s.chunkPart(lb, c, byOrdinal, drops)
			if p != nil {
				parts = append(parts, p)
			}
			return err
		})
	}
	s.stats.ChunkBlocksSkipped += lb.blk.Meta.Stats.Chunks - len(parts)
	return parts, err
}

// streams calls fn for the wanted streams of a block, out of the label index.
func (s *sources) streams(ctx context.Context, b *block.Block, deletes []deletion, fn func(labels.Labels)) error {
	err := b.Streams(ctx, s.matchers, func(st index.Selected) error {
		r := closedRange{st.MinTime, st.MaxTime}
		if s.rng.overlaps(r.lo, r.hi) && !covered(dropsOf(st, deletes), r) {
			fn(st.Labels)
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		s.db.blockDamaged(b, err)
		return nil
	}
	return err
}

// chunkPart returns nil when the chunk block has no wanted row.
func (s *sources) chunkPart(lb lazyBlock, c *block.Chunk, byOrdinal []uint32, drops map[uint32][]drop) (*part, error) {
	streams, err := c.Streams(s.scratch[:0])
	s.scratch = streams
	if err != nil {
		return nil, &block.CorruptError{File: lb.blk.Dir(), Offset: -1, Err: err}
	}
	var p *part
	row := 0
	for i, st := range streams {
		from := row
		row += st.Rows
		if int(st.Ordinal) >= len(byOrdinal) {
			return nil, &block.CorruptError{File: lb.blk.Dir(), Offset: -1, Err: errors.New("directory names a stream that does not exist")}
		}
		id := byOrdinal[st.Ordinal]
		if id == 0 || !s.rng.overlaps(st.MinTime, st.MaxTime) {
			continue
		}
		d := drops[st.Ordinal]
		if covered(d, closedRange{st.MinTime, st.MaxTime}) {
			continue
		}
		if p == nil {
			p = &part{
				order: lb.order<<orderShift | uint64(c.No), lo: st.MinTime, hi: st.MaxTime,
				blk: lb.blk, chunk: *c, locals: s.ids(len(streams)), fromRow: from, whole: true,
			}
		}
		if len(d) > 0 {
			if p.drops == nil {
				p.drops = make([][]drop, len(streams))
			}
			p.drops[i] = d
		}
		for k := range d {
			p.filtered = p.filtered || d[k].filter != nil
			p.whole = p.whole && d[k].filter != nil
		}
		p.lo, p.hi = min(p.lo, st.MinTime), max(p.hi, st.MaxTime)
		p.rows += st.Rows
		p.toRow = row
		p.locals[i] = id
	}
	if p != nil {
		p.whole = p.whole && p.rows == p.chunk.Rows
	}
	return p, nil
}

// dropsOf returns what delete requests take from a stream.
func dropsOf(st index.Selected, deletes []deletion) []drop {
	var out []drop
	for i := range deletes {
		d := &deletes[i]
		r, empty := closed(d.timeRange())
		if empty || !r.overlaps(st.MinTime, st.MaxTime) || !index.Matches(st.Labels, d.parsed) {
			continue
		}
		x := drop{closedRange: r}
		if d.filter != nil {
			x.filter = &boundFilter{EntryFilter: d.filter, labels: st.Labels}
		}
		out = append(out, x)
	}
	return out
}

// rowBytes estimates the text of a row, by the mean of all of the part.
func (p *part) rowBytes() int {
	if p.blk == nil {
		return p.run.RawBytes()/max(p.run.Len(), 1) + stringSize
	}
	return int(p.chunk.Bytes)/max(p.chunk.Rows, 1) + stringSize
}

// open opens the chunk block of a part.
func (p *part) open() (*chunk.Block, error) {
	return chunk.Open(p.blk.ReaderAt(), p.chunk.Offset, p.chunk.Size)
}

// damaged decides what an error of a chunk block means. Damage is noted, logged
// once and answered with nil: the part is left out and everything else stays
// readable. Other errors (a disk that does not answer) come back.
func (s *sources) damaged(p *part, err error) error {
	var corrupt *chunk.CorruptError
	if !errors.As(err, &corrupt) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	if s.db != nil {
		s.db.chunkDamaged(p, err)
	}
	if s.strict {
		return err
	}
	return nil
}

// selectRows appends the rows of a part that are wanted, out of rows [from, to) of
// decoded columns of streams and times, in the order of rows. It knows nothing of
// filters but gone, by row of the chunk block; nil for none.
func (p *part) selectRows(dst []rowRef, streams []uint32, times []int64, from, to int, rng closedRange, gone *goneRows) []rowRef {
	for i := from; i < to && i < len(times); i++ {
		l := streams[i]
		if int(l) >= len(p.locals) {
			break
		}
		id := p.locals[l]
		t := times[i]
		if id == 0 || t < rng.lo || t > rng.hi {
			continue
		}
		if p.drops != nil && dropped(p.drops[l], t) || gone != nil && gone.has(i) {
			continue
		}
		dst = append(dst, rowRef{ts: t, id: id - 1, row: uint32(i)})
	}
	return dst
}

// selectAmong is selectRows for rows out of a list, without regard to filters.
func (p *part) selectAmong(dst []rowRef, rows, streams []uint32, times []int64, rng closedRange) []rowRef {
	for _, i := range rows {
		dst = p.selectRows(dst, streams, times, int(i), int(i)+1, rng, nil)
	}
	return dst
}

// selectRunRows is selectRows for a run of the head.
func (p *part) selectRunRows(dst []rowRef, rng closedRange) []rowRef {
	times := p.run.Times
	from, to := 0, len(times)
	if !p.run.Unsorted {
		from = sort.Search(len(times), func(i int) bool { return times[i] >= rng.lo })
		to = sort.Search(len(times), func(i int) bool { return times[i] > rng.hi })
	}
	for i := from; i < to; i++ {
		if t := times[i]; t >= rng.lo && t <= rng.hi {
			dst = append(dst, rowRef{ts: t, id: p.id, row: uint32(i)})
		}
	}
	return dst
}
