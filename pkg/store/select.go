package store

import (
	"context"
	"errors"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/block"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/chunk"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/head"
)

// view is what a reader sees: a consistent moment of blocks and heads. Its blocks
// are pinned until close.
type view struct {
	blocks  []*block.Block
	heads   []*head.Head // oldest first
	deletes []deletion
}

// view pins the blocks that overlap the range.
func (db *DB) view(rng closedRange) (*view, error) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if db.closed {
		return nil, ErrClosed
	}
	v := &view{deletes: db.deletes}
	for _, b := range db.blocks {
		if rng.overlaps(b.Meta.MinTime, b.Meta.MaxTime) && b.Pin() {
			v.blocks = append(v.blocks, b)
		}
	}
	v.heads = db.heads()
	return v, nil
}

// heads returns the heads, oldest first, under mu.
func (db *DB) heads() []*head.Head {
	if db.frozen != nil {
		return []*head.Head{db.frozen, db.active}
	}
	return []*head.Head{db.active}
}

func (v *view) close() error {
	var errs []error
	for _, b := range v.blocks {
		errs = append(errs, b.Unpin())
	}
	v.blocks = nil
	return errors.Join(errs...)
}

// deletesOf returns the delete requests that concern a block.
func (v *view) deletesOf(b *block.Block) []deletion {
	var out []deletion
	for i := range v.deletes {
		if v.deletes[i].concerns(&b.Meta) {
			out = append(out, v.deletes[i])
		}
	}
	return out
}

// visible cuts off what is older than the retention.
func (db *DB) visible(r model.TimeRange) (closedRange, bool) {
	c, empty := closed(r)
	if db.opts.Retention > 0 {
		c.lo = max(c.lo, db.opts.Now().Add(-db.opts.Retention).UnixNano())
	}
	return c, empty || c.lo > c.hi
}

// Select returns the entries that a request asks for. What is appended later is
// not part of the answer. The iterator must be closed. A damaged chunk block is
// left out, logged once and counted in Status; everything else is answered.
func (db *DB) Select(ctx context.Context, req model.SelectRequest) (model.BatchIterator, error) {
	v, src, err := db.open(ctx, req)
	if err != nil {
		return nil, err
	}
	r := newReader(src, req.Direction == model.Backward, req.TimesOnly, &db.opts)
	r.noLines, r.step = req.NoLines && len(src.needles) == 0, countStepOf(&req)
	var it model.BatchIterator
	if req.Unordered {
		it = newScan(r, req.BatchRows)
	} else {
		r.lean = req.BatchRows
		it = newMerge(r, req.BatchRows)
	}
	return &pinned{BatchIterator: it, v: v}, nil
}

// open finds what a request reads from. The view must be closed.
func (db *DB) open(ctx context.Context, req model.SelectRequest) (*view, *sources, error) {
	if err := db.check(ctx); err != nil {
		return nil, nil, err
	}
	rng, empty := db.visible(req.Range)
	src := newSources(rng, db)
	src.matchers = req.Matchers
	src.any, src.anyFold = req.ContainsAny, req.AnyFold
	src.none = slices.DeleteFunc(slices.Clone(req.ContainsNone), func(s string) bool { return s == "" })
	src.needles = slices.DeleteFunc(slices.Clone(req.Contains), func(s string) bool { return s == "" })
	if ids := chunk.NewIDProbe(src.needles); !ids.Empty() {
		src.probe = ids
	}
	v := &view{}
	if !empty {
		var err error
		if v, err = db.view(rng); err != nil {
			return nil, nil, err
		}
	}
	for i, b := range v.blocks {
		src.blocks = append(src.blocks, lazyBlock{blk: b, order: uint64(i), deletes: v.deletesOf(b)})
	}
	for i, h := range v.heads {
		streams, err := h.Select(ctx, req.Matchers)
		if err != nil {
			return nil, nil, errors.Join(err, v.close())
		}
		for _, s := range streams {
			src.addHeadStream(s, uint64(len(v.blocks)+i))
		}
		src.stats.Blocks++
	}
	return v, src, nil
}

// pinned lets go of the blocks when the iterator is closed.
type pinned struct {
	model.BatchIterator
	v *view
}

// Close implements model.BatchIterator.
func (p *pinned) Close() error {
	err := p.BatchIterator.Close()
	return errors.Join(err, p.v.close())
}

// chunkDamaged notes a chunk block that cannot be read.
func (db *DB) chunkDamaged(p *part, err error) {
	if !p.blk.MarkBad(p.chunk.No, err) {
		return
	}
	db.badChunks.Add(1)
	cerr := &block.CorruptError{File: p.blk.Dir() + "/" + block.ChunksFile, Offset: p.chunk.Offset, Err: err}
	db.log.Error("a chunk block is damaged: its entries are missing from answers", "file", cerr.File, "offset", cerr.Offset, "size", p.chunk.Size,
		"entries", p.chunk.Rows, "range", model.TimeRange{Start: p.chunk.MinTime, End: p.chunk.MaxTime}.String(), "err", err)
	db.noteError(cerr)
}

// blockDamaged notes a block whose label index or directory cannot be read.
func (db *DB) blockDamaged(b *block.Block, err error) {
	const wholeBlock = -1
	if !b.MarkBad(wholeBlock, err) {
		return
	}
	db.badChunks.Add(int64(b.Meta.Stats.Chunks))
	db.log.Error("a block is damaged: some or all of its entries are missing from answers", "block", b.Dir(), "entries", b.Meta.Stats.Rows,
		"range", model.TimeRange{Start: b.Meta.MinTime, End: b.Meta.MaxTime}.String(), "err", err)
	db.noteError(err)
}

// LabelNames returns the names of all labels of streams that the matchers select
// and that have entries in the range, sorted. No matcher selects all.
func (db *DB) LabelNames(ctx context.Context, r model.TimeRange, matchers []*labels.Matcher) ([]string, error) {
	set := map[string]struct{}{}
	err := db.eachStream(ctx, r, matchers, func(ls labels.Labels) {
		ls.Range(func(l labels.Label) { set[l.Name] = struct{}{} })
	})
	return sortedSet(set), err
}

// LabelValues returns the values of a label, like LabelNames.
func (db *DB) LabelValues(ctx context.Context, name string, r model.TimeRange, matchers []*labels.Matcher) ([]string, error) {
	set := map[string]struct{}{}
	err := db.eachStream(ctx, r, matchers, func(ls labels.Labels) {
		if v := ls.Get(name); v != "" {
			set[v] = struct{}{}
		}
	})
	return sortedSet(set), err
}

func sortedSet(set map[string]struct{}) []string {
	out := make([]string, 0, len(set))
	for s := range set {
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// Series returns the label sets of streams, like LabelNames, sorted by
// labels.Compare.
func (db *DB) Series(ctx context.Context, r model.TimeRange, matchers []*labels.Matcher) ([]labels.Labels, error) {
	var t streamTable
	if err := db.eachStream(ctx, r, matchers, func(ls labels.Labels) { t.id(ls) }); err != nil {
		return nil, err
	}
	slices.SortFunc(t.labels, labels.Compare)
	return t.labels, nil
}

// Volume returns what each stream holds in the range, sorted by labels.Compare.
// It reads indexes only: at the edges of the range, and where entries have been
// deleted, it is an estimate by share of time. Where single entries have been
// deleted by a filter it reads the text around them and counts.
func (db *DB) Volume(ctx context.Context, r model.TimeRange, matchers []*labels.Matcher) ([]model.StreamVolume, error) {
	var t streamTable
	var vols []model.StreamVolume
	add := func(ls labels.Labels, entries, bytes, chunks int64, lo, hi int64, rng closedRange) {
		id := t.id(ls)
		if int(id) == len(vols) {
			vols = append(vols, model.StreamVolume{Labels: ls})
		}
		share := shareOf(closedRange{lo, hi}, rng)
		v := &vols[id]
		v.Entries += int64(float64(entries)*share + 0.5)
		v.Bytes += int64(float64(bytes)*share + 0.5)
		v.Chunks += chunks
	}
	err := db.eachSource(ctx, r, func(v *view, rng closedRange) error {
		for i, b := range v.blocks {
			src := newSources(rng, db)
			src.matchers = matchers
			if err := src.volumes(ctx, lazyBlock{blk: b, order: uint64(i), deletes: v.deletesOf(b)}, add); err != nil {
				return err
			}
		}
		for _, h := range v.heads {
			streams, err := h.Select(ctx, matchers)
			if err != nil {
				return err
			}
			for _, s := range streams {
				n, bytes, lo, hi := s.Info()
				if rng.overlaps(lo, hi) {
					add(s.Labels, n, bytes, 0, lo, hi, rng)
				}
			}
		}
		return nil
	})
	slices.SortFunc(vols, func(a, b model.StreamVolume) int { return labels.Compare(a.Labels, b.Labels) })
	return vols, err
}

// volumes calls add for every stream of every wanted chunk block.
func (s *sources) volumes(ctx context.Context, lb lazyBlock, add func(ls labels.Labels, entries, bytes, chunks int64, lo, hi int64, rng closedRange)) error {
	parts, err := s.expand(ctx, lb)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if err := s.findGone(p); err != nil {
			if err = s.damaged(p, err); err != nil {
				return err
			}
			continue
		}
		streams, err := p.chunk.Streams(s.scratch[:0])
		s.scratch = streams
		if err != nil {
			return err
		}
		for i, st := range streams {
			if p.locals[i] == 0 {
				continue
			}
			kept := 1.0
			if p.drops != nil {
				for k := range p.drops[i] {
					if d := &p.drops[i][k]; d.filter == nil {
						kept -= shareOf(closedRange{st.MinTime, st.MaxTime}, d.closedRange)
					}
				}
				kept = max(kept, 0)
			}
			rows, bytes := int64(float64(st.Rows)*kept), int64(float64(st.Bytes)*kept)
			if p.gone != nil {
				rows, bytes = max(rows-p.gone.rows[i], 0), max(bytes-p.gone.bytes[i], 0)
			}
			if rows > 0 {
				add(s.table.labels[p.locals[i]-1], rows, bytes, 1, st.MinTime, st.MaxTime, s.rng)
			}
		}
	}
	return nil
}

// shareOf is the share of r that lies in rng, assuming an even spread.
func shareOf(r, rng closedRange) float64 {
	if r.within(rng) {
		return 1
	}
	if !r.overlaps(rng.lo, rng.hi) {
		return 0
	}
	x := r.intersect(rng)
	// As floats: the difference of two int64 may not fit into one.
	return (float64(x.hi) - float64(x.lo) + 1) / (float64(r.hi) - float64(r.lo) + 1)
}

// eachSource calls fn with a view of the range, unless the range is empty.
func (db *DB) eachSource(ctx context.Context, r model.TimeRange, fn func(*view, closedRange) error) error {
	if err := db.check(ctx); err != nil {
		return err
	}
	rng, empty := db.visible(r)
	if empty {
		return nil
	}
	v, err := db.view(rng)
	if err != nil {
		return err
	}
	return errors.Join(fn(v, rng), v.close())
}

// eachStream calls fn for every stream with entries in the range, possibly
// several times. A stream counts when its first and last entry of a block
// enclose a part of the range.
func (db *DB) eachStream(ctx context.Context, r model.TimeRange, matchers []*labels.Matcher, fn func(labels.Labels)) error {
	return db.eachSource(ctx, r, func(v *view, rng closedRange) error {
		for _, b := range v.blocks {
			src := newSources(rng, db)
			src.matchers = matchers
			if err := src.streams(ctx, b, v.deletesOf(b), fn); err != nil {
				return err
			}
		}
		for _, h := range v.heads {
			streams, err := h.Select(ctx, matchers)
			if err != nil {
				return err
			}
			for _, s := range streams {
				if _, _, lo, hi := s.Info(); rng.overlaps(lo, hi) {
					fn(s.Labels)
				}
			}
		}
		return nil
	})
}
