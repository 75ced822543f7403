package store

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/block"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/head"
)

// Flush turns the head into blocks now and returns when they are durable. It
// does nothing when the head is empty. After an error the entries are where they
// were, and it can be tried again.
func (db *DB) Flush(ctx context.Context) error {
	if err := db.check(ctx); err != nil {
		return err
	}
	return db.flush(ctx)
}

func (db *DB) flush(ctx context.Context) error {
	db.flushMu.Lock()
	defer db.flushMu.Unlock()
	for {
		more, err := db.flushOnce(ctx)
		if err != nil || !more {
			return err
		}
	}
}

// flushOnce flushes a head that an earlier attempt has frozen, or else freezes
// the active one. It says whether a frozen head was found, in which case there
// may be newer entries.
func (db *DB) flushOnce(ctx context.Context) (more bool, err error) {
	db.mu.RLock()
	more = db.frozen != nil
	closed := db.closed
	db.mu.RUnlock()
	if closed { // Close waits for flushMu, then the log is gone
		return false, ErrClosed
	}
	if !more {
		some, err := db.freeze()
		if err != nil || !some {
			db.flushEnded(err)
			return false, err
		}
	}
	start := time.Now()
	blocks, err := db.flushFrozen(ctx)
	db.flushEnded(err)
	if err != nil {
		db.metrics.flushFailures.Inc()
		db.log.Error("the head could not be flushed, its entries stay in memory and in the write-ahead log", "err", err)
		return false, err
	}
	db.metrics.flushes.Inc()
	db.lastFlush.Store(db.opts.Now().UnixNano())
	db.log.Debug("head flushed", "blocks", len(blocks), "duration", time.Since(start))
	wake(db.workKick)
	return more, nil
}

// flushEnded tells waiting writers.
func (db *DB) flushEnded(err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.flushErr = err
	if err != nil && !errors.Is(err, context.Canceled) {
		db.noteErrorLocked(err)
	}
	close(db.flushed)
	db.flushed = make(chan struct{})
}

// freeze exchanges the active head for an empty one, at a segment boundary.
func (db *DB) freeze() (bool, error) {
	db.commitMu.Lock()
	defer db.commitMu.Unlock()
	db.appendMu.Lock()
	defer db.appendMu.Unlock()
	db.mu.RLock()
	empty := db.active.Entries() == 0 && len(db.group.recs) == 0
	db.mu.RUnlock()
	if empty {
		db.mu.Lock()
		defer db.mu.Unlock()
		db.dropEmptyHead()
		return false, nil
	}
	seg, err := db.cutLocked()
	if err != nil {
		return false, err
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.active.Entries() == 0 {
		db.dropEmptyHead()
		return false, nil // only marks were waiting
	}
	db.frozen, db.frozenWAL = db.active, seg
	db.active, db.activated = head.New(), time.Time{}
	db.tails.headChanged()
	return true, nil
}

// dropEmptyHead gives back the memory of streams without entries, under appendMu
// and mu: batches that could not be logged leave them behind, and enough of them
// would fill the head for ever.
func (db *DB) dropEmptyHead() {
	if db.active.Streams() == 0 {
		return
	}
	db.active, db.activated = head.New(), time.Time{}
	db.tails.headChanged()
}

// flushFrozen writes the frozen head to blocks and makes them take its place.
func (db *DB) flushFrozen(ctx context.Context) ([]*block.Block, error) {
	db.mu.RLock()
	h, walBefore := db.frozen, db.frozenWAL
	db.mu.RUnlock()
	metas, err := db.writeHead(ctx, h, walBefore)
	if err != nil {
		return nil, diskFull(db.dir, err)
	}
	blocks, err := db.publish(metas, nil, func(m *manifest) error {
		m.WALFirst = walBefore
		return nil
	}, func() { db.frozen = nil })
	if err != nil {
		return nil, diskFull(db.dir, err)
	}
	if err := db.wal.Truncate(walBefore); err != nil {
		// They are not needed and not replayed: the next Open or flush removes them.
		db.log.Warn("cannot remove old segments of the write-ahead log", "err", err)
	}
	return blocks, nil
}

// flushReplayed flushes the head in the middle of a replay: everything before
// segment seg has been read.
func (db *DB) flushReplayed(seg int) error {
	metas, err := db.writeHead(context.Background(), db.active, seg)
	if err != nil {
		return err
	}
	_, err = db.publish(metas, nil, func(m *manifest) error {
		m.WALFirst = seg
		return nil
	}, func() { db.active = head.New() })
	return err
}

// newBlockID reserves a block ID.
func (db *DB) newBlockID() string {
	db.manifestMu.Lock()
	defer db.manifestMu.Unlock()
	id := blockID(db.manifest.NextID)
	db.manifest.NextID++
	return id
}

// publish makes new blocks take the place of old ones (by ID): in the manifest,
// which is what counts after a crash, and then for readers. change adapts the
// manifest; also is called together with the exchange for readers, under mu.
func (db *DB) publish(metas []*block.Meta, old map[string]bool, change func(*manifest) error, also func()) ([]*block.Block, error) {
	var opened []*block.Block
	fail := func(err error) ([]*block.Block, error) {
		for _, b := range opened {
			err = errors.Join(err, b.Close(true))
		}
		return nil, err
	}
	for _, m := range metas {
		b, err := block.Open(db.opts.FS, filepath.Join(db.dir, blocksDir, m.ID))
		if err != nil {
			return fail(err)
		}
		opened = append(opened, b)
	}
	db.manifestMu.Lock()
	defer db.manifestMu.Unlock()
	m := db.manifest.clone()
	m.Blocks = slices.DeleteFunc(m.Blocks, func(id string) bool { return old[id] })
	for _, b := range opened {
		m.Blocks = append(m.Blocks, b.Meta.ID)
		m.NextSeq = max(m.NextSeq, b.Meta.MaxSeq+1)
	}
	if err := change(m); err != nil {
		return fail(err)
	}
	if err := db.writeManifest(m); err != nil {
		var unsure *unsureError
		if errors.As(err, &unsure) {
			// The new manifest may be the one that a crash leaves: what it lists must
			// stay. What it does not list is removed by the next start.
			for _, b := range opened {
				err = errors.Join(err, b.Close(false))
			}
			return nil, err
		}
		return fail(err)
	}
	db.manifest = m

	db.mu.Lock()
	var gone []*block.Block
	blocks := make([]*block.Block, 0, len(db.blocks)+len(opened))
	for _, b := range db.blocks {
		if old[b.Meta.ID] {
			gone = append(gone, b)
		} else {
			blocks = append(blocks, b)
		}
	}
	blocks = append(blocks, opened...)
	sortBlocks(blocks)
	deletes := db.deletes
	db.blocks, db.deletes = blocks, m.Deletes
	also()
	db.mu.Unlock()
	db.revisions.published(gone, opened, deletes, m.Deletes)
	for _, b := range gone {
		if err := b.Close(true); err != nil {
			db.log.Warn("cannot remove a block that is not needed any more, the next start will", "block", b.Dir(), "err", err)
		}
	}
	return opened, nil
}

// writeHead writes a head to one block per window of time.
func (db *DB) writeHead(ctx context.Context, h *head.Head, walBefore int) (_ []*block.Meta, err error) {
	streams, err := h.Select(ctx, nil)
	if err != nil {
		return nil, err
	}
	db.manifestMu.Lock()
	seq := db.manifest.NextSeq
	db.manifestMu.Unlock()
	var metas []*block.Meta
	defer func() {
		if err == nil {
			return
		}
		for _, m := range metas {
			err = errors.Join(err, db.opts.FS.RemoveAll(filepath.Join(db.dir, blocksDir, m.ID)))
		}
	}()
	for _, w := range flushWindows(streams, int64(db.opts.BlockRange)) {
		m, err := db.writeHeadWindow(ctx, streams, w, block.Meta{MinSeq: seq, MaxSeq: seq, WALBefore: walBefore})
		if err != nil {
			return metas, err
		}
		if m != nil {
			metas = append(metas, m)
		}
	}
	return metas, nil
}

// writeHeadWindow writes the entries of one window of time, group by group.
func (db *DB) writeHeadWindow(ctx context.Context, streams []*head.Stream, w closedRange, meta block.Meta) (_ *block.Meta, err error) {
	meta.ID = db.newBlockID()
	rw, err := db.newRewriter(meta.ID)
	if err != nil {
		return nil, err
	}
	defer rw.end(&err)
	rw.flushes = true
	groups, keys := groupStreams(streams, db.opts.GroupLabels)
	for _, k := range keys {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		src := newSources(w, nil)
		total := 0.0
		for _, s := range groups[k] {
			src.addHeadStream(s, 0)
			_, bytes, lo, hi := s.Info()
			total += float64(bytes) * shareOf(closedRange{lo, hi}, w)
		}
		if err := rw.merge(ctx, src, int64(total)); err != nil {
			return nil, err
		}
	}
	return rw.finish(ctx, meta)
}

// groupStreams sorts streams into groups that share chunk blocks.
func groupStreams(streams []*head.Stream, names []string) (map[string][]*head.Stream, []string) {
	groups := map[string][]*head.Stream{}
	var keys []string
	for _, s := range streams {
		k := groupKey(s.Labels, names)
		if _, ok := groups[k]; !ok {
			keys = append(keys, k)
		}
		groups[k] = append(groups[k], s)
	}
	slices.Sort(keys)
	return groups, keys
}

// maxGroupKey bounds what a key says in clear, so that labels of many kilobytes
// are not held once more.
const maxGroupKey = 128

// groupKey says which streams resemble each other: equal keys do. Long ones end in
// a hash; should two of these be equal by chance, the streams share chunk blocks
// and nothing else happens.
func groupKey(ls labels.Labels, names []string) string {
	var b []byte
	found := false
	var hash uint64
	for _, n := range names {
		v := ls.Get(n)
		found = found || v != ""
		b = append(append(b, v...), 0xff)
	}
	if found {
		if len(b) <= maxGroupKey {
			return string(b)
		}
		hash = xxhash.Sum64(b)
	} else {
		b, hash = b[:0], ls.Hash()
		ls.Range(func(l labels.Label) {
			if len(b) < maxGroupKey {
				b = append(append(append(append(b, l.Name...), 0xff), l.Value...), 0xff)
			}
		})
	}
	b = b[:min(len(b), maxGroupKey)]
	return string(binary.BigEndian.AppendUint64(b, hash))
}

// closedRange is the interval [lo, hi] of timestamps. Unlike model.TimeRange it
// can hold every int64.
type closedRange struct{ lo, hi int64 }

func (r closedRange) contains(t int64) bool      { return t >= r.lo && t <= r.hi }
func (r closedRange) overlaps(lo, hi int64) bool { return hi >= r.lo && lo <= r.hi }
func (r closedRange) within(o closedRange) bool  { return r.lo >= o.lo && r.hi <= o.hi }
func (r closedRange) intersect(o closedRange) closedRange {
	return closedRange{max(r.lo, o.lo), min(r.hi, o.hi)}
}

// closed turns a request's range into a closed one; empty is true if nothing is
// in it.
func closed(r model.TimeRange) (c closedRange, empty bool) {
	if r.End <= r.Start {
		return closedRange{}, true
	}
	return closedRange{r.Start, r.End - 1}, false
}

// window returns the multiple of size that t lies in. Windows at the ends of the
// int64 range are cut off.
func window(t, size int64) closedRange {
	k := t / size
	if t%size < 0 {
		k--
	}
	lo, hi := int64(math.MinInt64), int64(math.MaxInt64)
	if k >= math.MinInt64/size {
		lo = k * size
	}
	if k < math.MaxInt64/size {
		hi = (k+1)*size - 1
	}
	return closedRange{lo, hi}
}

// flushWindows returns the windows of time that hold entries, oldest first:
// multiples of size, or of 4, 16, … times size if there would be too many.
func flushWindows(streams []*head.Stream, size int64) []closedRange {
	for {
		set := map[closedRange]bool{}
		var runs []head.Run
		var last closedRange
		none := true
		for _, s := range streams {
			runs = s.Snapshot(runs[:0])
			for i := range runs {
				if w := window(runs[i].Min, size); w == window(runs[i].Max, size) {
					set[w] = true
					continue
				}
				for _, t := range runs[i].Times {
					if none || !last.contains(t) {
						last, none = window(t, size), false
						set[last] = true
					}
				}
				if len(set) > maxFlushWindows {
					break
				}
			}
		}
		if len(set) <= maxFlushWindows || size > math.MaxInt64/4 {
			out := make([]closedRange, 0, len(set))
			for w := range set {
				out = append(out, w)
			}
			slices.SortFunc(out, func(a, b closedRange) int {
				if a.lo < b.lo {
					return -1
				}
				return 1
			})
			return out
		}
		size *= 4
	}
}

// flushLoop flushes when the head is large or old.
func (db *DB) flushLoop() {
	defer db.background.Done()
	ctx, cancel := db.backgroundContext()
	defer cancel()
	t := time.NewTicker(maintainEvery)
	defer t.Stop()
	for {
		select {
		case <-db.stop:
			return
		case <-db.flushKick:
		case <-t.C:
		}
		if db.flushDue() {
			_ = db.flush(ctx) // logged and kept for Status by flush itself
		}
	}
}

// flushDue says whether the head is large or old enough, or a flush failed
// before.
func (db *DB) flushDue() bool {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if db.frozen != nil || db.active.Bytes() >= db.opts.flushBytes() {
		return true
	}
	return db.opts.FlushInterval > 0 && !db.activated.IsZero() && db.opts.Now().Sub(db.activated) >= db.opts.FlushInterval
}

// backgroundContext ends when the database is closed.
func (db *DB) backgroundContext() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	db.background.Add(1)
	go func() {
		defer db.background.Done()
		select {
		case <-db.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
