package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/store/block"
)

// compactLoop merges blocks and lets old ones go.
func (db *DB) compactLoop() {
	defer db.background.Done()
	ctx, cancel := db.backgroundContext()
	defer cancel()
	t := time.NewTicker(maintainEvery)
	defer t.Stop()
	for {
		select {
		case <-db.stop:
			return
		case <-db.workKick:
		case <-t.C:
		}
		if err := db.maintain(ctx); err != nil && !errors.Is(err, context.Canceled) {
			db.metrics.compactionFailures.Inc()
			db.log.Error("background work on blocks failed, it will be tried again", "err", err)
			db.noteError(err)
		}
	}
}

// maintain applies the retention and compacts until nothing is left to do.
func (db *DB) maintain(ctx context.Context) error {
	for {
		if err := db.retain(ctx); err != nil {
			return err
		}
		more, err := db.compactOnce(ctx)
		if err != nil || !more {
			return err
		}
	}
}

// compactOnce does the most useful compaction, and says whether there was one.
func (db *DB) compactOnce(ctx context.Context) (bool, error) {
	db.compactMu.Lock()
	defer db.compactMu.Unlock()
	db.mu.RLock()
	if db.closed {
		db.mu.RUnlock()
		return false, nil
	}
	blocks, deletes := db.blocks, db.deletes
	due := db.dueDeletes(deletes)
	set := db.pickCompaction(blocks, deletes, due)
	var pinned []*block.Block
	for _, b := range set {
		if b.Pin() {
			pinned = append(pinned, b)
		}
	}
	db.mu.RUnlock()
	if len(set) == 0 {
		return false, nil
	}
	start := time.Now()
	err := db.compact(ctx, pinned, upTo(deletes, due, pinned))
	for _, b := range pinned {
		err = errors.Join(err, b.Unpin())
	}
	if errors.Is(err, errPlanChanged) {
		return true, nil
	}
	if err != nil {
		return false, diskFull(db.dir, err)
	}
	db.metrics.compactions.Inc()
	db.log.Debug("blocks compacted", "blocks", len(set), "duration", time.Since(start))
	return true, nil
}

var errPlanChanged = errors.New("store: a delete request was cancelled in between")

// pickCompaction chooses blocks to write anew: those with deleted entries, else
// runs of similar size, else all blocks of a window of time that is over. The
// result is a run of neighbours by arrival among the blocks that overlap in time,
// so that arrival order is kept.
func (db *DB) pickCompaction(blocks []*block.Block, deletes []deletion, due uint64) []*block.Block {
	blocks = slices.DeleteFunc(slices.Clone(blocks), func(b *block.Block) bool {
		return slices.ContainsFunc(concerned(deletes, b), func(d deletion) bool { return d.unreadable })
	})
	for _, b := range blocks {
		if len(concerned(upTo(deletes, due, nil), b)) > 0 && b.BadChunks() == 0 {
			return []*block.Block{b}
		}
	}
	waiting := slices.DeleteFunc(slices.Clone(deletes), func(d deletion) bool { return d.ID <= due })
	n := db.opts.CompactionMinBlocks
	if n < 0 {
		return nil
	}
	size := int64(db.opts.BlockRange)
	now := db.opts.Now().UnixNano()
	for _, run := range compactableRuns(blocks, size, waiting) {
		if set := similarSize(run, n); set != nil {
			return set
		}
		w := window(run[0].Meta.MinTime, size)
		// Entries arrive late: a window is over when another quarter has passed. While
		// an old window is being filled, merging it again and again would be a waste.
		if len(run) > 1 && w.hi < now-size/4 && now-db.lastFlush.Load() >= int64(settleTime) {
			return run
		}
	}
	return nil
}

// compactableRuns returns the runs of blocks that may be merged: inside one
// window of time, neighbours by arrival, and all of them older or all of them
// younger than each waiting delete request: it has to concern all of their
// successor or none of it.
func compactableRuns(blocks []*block.Block, size int64, waiting []deletion) [][]*block.Block {
	runs := map[closedRange][][]*block.Block{} // of each window, in order of arrival
	var windows []closedRange
	broken := map[closedRange]bool{}
	for _, b := range blocks { // sorted by arrival
		w := window(b.Meta.MinTime, size)
		if !w.contains(b.Meta.MaxTime) || b.BadChunks() > 0 {
			// What cannot be read completely stays as it is until the retention takes
			// it: somebody may want to rescue it. It comes, as a wide block does,
			// between the earlier and the later ones of every window that it touches.
			for v := range runs {
				broken[v] = broken[v] || v.overlaps(b.Meta.MinTime, b.Meta.MaxTime)
			}
			continue
		}
		if _, ok := runs[w]; !ok {
			windows = append(windows, w)
			runs[w] = nil
		}
		if n := len(runs[w]); n == 0 || broken[w] || parted(last(runs[w][n-1]), b, w, waiting) {
			runs[w] = append(runs[w], []*block.Block{b})
			broken[w] = false
		} else {
			runs[w][n-1] = append(runs[w][n-1], b)
		}
	}
	var out [][]*block.Block
	for _, w := range windows {
		out = append(out, runs[w]...)
	}
	return out
}

func last(run []*block.Block) *block.Block { return run[len(run)-1] }

// parted says whether a delete request that touches the window came in between two
// blocks.
func parted(a, b *block.Block, w closedRange, waiting []deletion) bool {
	return slices.ContainsFunc(waiting, func(d deletion) bool {
		return a.Meta.MaxSeq <= d.MaxSeq && b.Meta.MaxSeq > d.MaxSeq && d.timeRange().Overlaps(w.lo, w.hi)
	})
}

// similarSize returns n or more neighbours none of which is larger than four
// times the smallest, or nil.
func similarSize(run []*block.Block, n int) []*block.Block {
	for i := range run {
		lo, hi := run[i].DiskBytes(), run[i].DiskBytes()
		j := i + 1
		for ; j < len(run); j++ {
			s := run[j].DiskBytes()
			if max(hi, s) > 4*min(lo, s) {
				break
			}
			lo, hi = min(lo, s), max(hi, s)
		}
		if j-i >= n {
			return run[i:j]
		}
	}
	return nil
}

// compact writes the blocks into one, carries out the delete requests, and makes
// it take their place.
func (db *DB) compact(ctx context.Context, set []*block.Block, deletes []deletion) (err error) {
	meta := block.Meta{ID: db.newBlockID(), MinSeq: set[0].Meta.MinSeq}
	old := map[string]bool{}
	for _, b := range set {
		old[b.Meta.ID] = true
		meta.Sources = append(meta.Sources, b.Meta.ID)
		meta.MaxSeq = max(meta.MaxSeq, b.Meta.MaxSeq)
		meta.Level = max(meta.Level, b.Meta.Level+1)
	}
	for i := range deletes {
		meta.DeletesApplied = max(meta.DeletesApplied, deletes[i].ID)
	}
	for _, b := range set {
		meta.DeletesApplied = max(meta.DeletesApplied, b.Meta.DeletesApplied)
	}
	rw, err := db.newRewriter(meta.ID)
	if err != nil {
		return err
	}
	defer rw.end(&err)
	if err := db.rewriteBlocks(ctx, rw, set, deletes); err != nil {
		return err
	}
	m, err := rw.finish(ctx, meta)
	if err != nil {
		return err
	}
	var metas []*block.Meta
	if m != nil {
		metas = append(metas, m)
	}
	return db.replaceBlocks(metas, old, set, deletes)
}

// replaceBlocks publishes the result of a compaction, unless one of the delete
// requests that it has carried out has been cancelled. One that came in since
// concerns the new block as it concerned the old ones.
func (db *DB) replaceBlocks(metas []*block.Meta, old map[string]bool, set []*block.Block, deletes []deletion) error {
	_, err := db.publish(metas, old, func(m *manifest) error {
		for i := range deletes {
			if !slices.ContainsFunc(set, func(b *block.Block) bool { return deletes[i].concerns(&b.Meta) }) {
				continue
			}
			k := slices.IndexFunc(m.Deletes, func(d deletion) bool { return d.ID == deletes[i].ID })
			if k < 0 {
				return errPlanChanged
			}
			m.Deletes[k].Begun = true
		}
		db.forgetDeletes(m, metas)
		return nil
	}, func() {})
	return err
}

// rewriteBlocks copies the entries of the blocks, group by group, oldest first.
// A chunk block that is large enough and overlaps no other of its group is copied
// as it is; the others are merged.
func (db *DB) rewriteBlocks(ctx context.Context, rw *rewriter, set []*block.Block, deletes []deletion) error {
	src := newSources(everything, db)
	src.strict = true
	groups := map[string][]*part{}
	var keys []string
	for i, b := range set {
		parts, err := src.expand(ctx, lazyBlock{blk: b, order: uint64(i), deletes: concerned(deletes, b)})
		if err != nil {
			return err
		}
		for _, p := range parts {
			k := groupKey(src.table.labels[p.firstStream()], db.opts.GroupLabels)
			if _, ok := groups[k]; !ok {
				keys = append(keys, k)
			}
			groups[k] = append(groups[k], p)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		if err := db.rewriteGroup(ctx, rw, src, groups[k]); err != nil {
			return err
		}
	}
	return nil
}

func (p *part) firstStream() uint32 {
	for _, l := range p.locals {
		if l != 0 {
			return l - 1
		}
	}
	panic("BUG: store: a part without streams")
}

// rewriteGroup writes the parts of one group in time order.
func (db *DB) rewriteGroup(ctx context.Context, rw *rewriter, src *sources, parts []*part) error {
	var mixed []*part
	flush := func() error {
		if len(mixed) == 0 {
			return nil
		}
		sub := *src
		sub.parts, sub.blocks = mixed, nil
		total := int64(0)
		for _, p := range mixed {
			total += p.chunk.Bytes
		}
		mixed = nil
		return rw.merge(ctx, &sub, total)
	}
	for _, task := range tasksOf(parts) {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := task[0]
		if p.filtered && p.whole {
			if err := src.findGone(p); err != nil {
				return src.damaged(p, err)
			}
			p.whole = !p.gone.some
		}
		if len(task) > 1 || !p.whole || p.chunk.Bytes < keepChunkBytes {
			mixed = append(mixed, task...)
			continue
		}
		if err := flush(); err != nil {
			return err
		}
		if err := rw.copyChunk(p, src); err != nil {
			return err
		}
	}
	return flush()
}
