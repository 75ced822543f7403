package store

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/chunk"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/head"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/wal"
)

// commitGroup is a number of batches that share one sync.
type commitGroup struct {
	recs    [][]byte
	bytes   int
	batches []pendingBatch
	done    chan struct{} // closed when err is known
	err     error
}

type pendingBatch struct {
	streams []pendingStream
	marks   []model.Mark
	moved   bool // model.Batch.Moved
}

type pendingStream struct {
	stream  *head.Stream
	entries []model.Entry
}

func newCommitGroup() *commitGroup { return &commitGroup{done: make(chan struct{})} }

// Append makes a batch durable and visible: all of it, or nothing when it
// returns an error. Many calls at a time share a sync of the log. It waits while
// the head is full; once the batch is on its way to the disk ctx does not
// matter any more, because the answer is near and must be true.
//
// Errors: ErrClosed, ctx's, *DiskFullError, *InvalidBatchError.
func (db *DB) Append(ctx context.Context, b *model.Batch) error {
	if err := db.check(ctx); err != nil {
		return err
	}
	if err := checkBatch(b); err != nil {
		return err
	}
	if b.Len() == 0 && len(b.Marks) == 0 {
		return nil
	}
	start := time.Now()
	g, stored, err := db.enqueue(ctx, b)
	if err != nil {
		return err
	}
	if g == nil {
		return nil
	}
	<-g.done
	if g.err == nil && stored {
		db.metrics.appended(b, time.Since(start))
	}
	return g.err
}

// checkBatch refuses what could never be read back.
func checkBatch(b *model.Batch) error {
	total := 0
	for i := range b.Streams {
		s := &b.Streams[i]
		if n := s.Labels.ByteSize(); n > maxLabelBytes {
			return &InvalidBatchError{Reason: fmt.Sprintf("a stream has %d bytes of labels, at most %d are possible", n, maxLabelBytes)}
		}
		if err := checkLabels(s.Labels); err != "" {
			return &InvalidBatchError{Stream: s.Labels.String(), Reason: err}
		}
		for j := range s.Entries {
			e := &s.Entries[j]
			md := int(e.Metadata.ByteSize())
			if len(e.Line) > chunk.MaxRawBytes || md > chunk.MaxMetadataBytes {
				return &InvalidBatchError{Stream: s.Labels.String(), Reason: fmt.Sprintf(
					"an entry has a line of %d bytes and %d bytes of metadata, at most %d and %d are possible", len(e.Line), md, chunk.MaxRawBytes, chunk.MaxMetadataBytes)}
			}
			total += len(e.Line) + md
		}
	}
	if total > maxBatchBytes {
		return &InvalidBatchError{Reason: fmt.Sprintf("it has %d bytes, at most %d are possible: send smaller batches", total, maxBatchBytes)}
	}
	for _, m := range b.Marks {
		if len(m.Key)+len(m.Value) > maxMarkBytes {
			return &InvalidBatchError{Reason: fmt.Sprintf("mark %q has %d bytes, at most %d are possible", m.Key, len(m.Value), maxMarkBytes)}
		}
	}
	return nil
}

func checkLabels(ls labels.Labels) (problem string) {
	last := ""
	ls.Range(func(l labels.Label) {
		switch {
		case l.Name == "":
			problem = "a label has no name"
		case l.Value == "":
			problem = fmt.Sprintf("label %s has an empty value", l.Name)
		case l.Name <= last:
			problem = fmt.Sprintf("label %s is not sorted or not unique", l.Name)
		}
		last = l.Name
	})
	return problem
}

// enqueue encodes the batch into the current group and returns the group whose
// result is the batch's. When nothing is left after dropping duplicates stored
// is false, and the group is the one that all of them are durable with: nil if
// they are already.
func (db *DB) enqueue(ctx context.Context, b *model.Batch) (g *commitGroup, stored bool, err error) {
	for {
		if err := db.waitRoom(ctx); err != nil {
			return nil, false, err
		}
		db.appendMu.Lock()
		if db.closing {
			db.appendMu.Unlock()
			return nil, false, ErrClosed
		}
		g = db.group
		if g.bytes < maxPendingBytes {
			stored, err = db.encode(g, b)
			if !stored && err == nil {
				g = db.lastGroup()
			}
			db.appendMu.Unlock()
			if err != nil {
				return nil, false, err
			}
			if stored {
				wake(db.kick)
			}
			return g, stored, nil
		}
		db.appendMu.Unlock()
		select { // the group is large enough: wait for the next one
		case <-g.done:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

// lastGroup is the youngest group on its way to the log, nil if there is none,
// under appendMu. When it is durable everything announced before is, because a
// group that fails takes the one behind it along.
func (db *DB) lastGroup() *commitGroup {
	if len(db.group.recs) > 0 {
		return db.group
	}
	return db.writing
}

// encode adds the batch's record to the group, under appendMu. It returns false
// when there is nothing to store.
func (db *DB) encode(g *commitGroup, b *model.Batch) (bool, error) {
	db.mu.RLock()
	h := db.active // cannot be exchanged while appendMu is held
	db.mu.RUnlock()

	var p pendingBatch
	db.enc.Begin(wal.TypeBatch, db.nextRef)
	// refuse takes back what has been done. The definitions will not be in the
	// log: names must be written again.
	refuse := func() {
		for _, s := range p.streams {
			s.stream.Withdraw()
		}
		db.newEpoch()
	}
	for i := range b.Streams {
		in := &b.Streams[i]
		if len(in.Entries) == 0 {
			continue
		}
		s := h.Stream(in.Labels)
		entries := in.Entries
		if b.DropDuplicates {
			var err error
			if entries, err = s.DropDuplicates(entries); err != nil {
				refuse()
				return false, fmt.Errorf("store: %w", err)
			}
			db.metrics.duplicates.Add(float64(len(in.Entries) - len(entries)))
			if len(entries) == 0 {
				continue
			}
		}
		if s.WALSegment != db.epoch {
			s.WALSegment, s.WALRef = db.epoch, db.nextRef
			db.nextRef++
			db.enc.Define(s.Labels)
		}
		db.enc.Stream(s.WALRef)
		for j := range entries {
			db.enc.Entry(&entries[j])
		}
		s.Announce(entries)
		p.streams = append(p.streams, pendingStream{s, entries})
	}
	for _, m := range b.Marks {
		db.enc.Mark(m)
	}
	p.marks, p.moved = b.Marks, b.Moved
	if db.enc.Empty() {
		return false, nil
	}
	rec, err := db.enc.Finish()
	if err != nil {
		refuse()
		return false, &InvalidBatchError{Reason: err.Error()}
	}
	g.recs = append(g.recs, rec)
	g.bytes += len(rec)
	g.batches = append(g.batches, p)
	return true, nil
}

// newEpoch makes all stream references invalid, under appendMu. It need not come
// with a new segment: a definition replaces an earlier one of the same number.
func (db *DB) newEpoch() {
	db.epoch++
	db.nextRef = 0
}

// fail answers the writers of a group with an error, under appendMu.
func (g *commitGroup) fail(err error) {
	for _, b := range g.batches {
		for _, s := range b.streams {
			s.stream.Forget()
		}
	}
	g.err = err
	close(g.done)
}

// wake sends a signal that is not lost and never blocks.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// commitLoop writes groups to the log, one after the other.
func (db *DB) commitLoop() {
	defer db.background.Done()
	for {
		select {
		case <-db.kick:
			db.commitMu.Lock()
			db.pace()
			db.commit()
			db.commitMu.Unlock()
		case <-db.stop:
			db.commitMu.Lock()
			db.commit() // what was accepted before Close
			db.commitMu.Unlock()
			return
		}
	}
}

// pace waits until SyncInterval has passed since the last sync.
func (db *DB) pace() {
	wait := db.opts.SyncInterval - time.Since(db.lastSync)
	if db.opts.SyncInterval == 0 || wait <= 0 {
		return
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-db.stop:
	}
}

// commit takes the current group through the log into the head, under commitMu.
func (db *DB) commit() {
	db.appendMu.Lock()
	g := db.group
	if len(g.recs) == 0 {
		db.appendMu.Unlock()
		return
	}
	db.group, db.writing = newCommitGroup(), g
	db.appendMu.Unlock()

	err := db.commitGroup(g)
	if err == nil && db.wal.SegmentBytes() >= int64(db.opts.SegmentSize) {
		// The group is safe; whether a new segment can be had is the next one's
		// problem.
		if err := db.cutSegment(); err != nil {
			db.log.Error("cannot begin a new segment of the write-ahead log", "err", err)
		}
	}
}

// commitGroup writes one group and answers its writers, under commitMu.
func (db *DB) commitGroup(g *commitGroup) error {
	if err := db.writeGroup(g); err != nil {
		err = diskFull(db.dir, err)
		db.metrics.appendFailures.Inc()
		db.noteError(err)
		db.failGroup(g, err)
		return err
	}
	db.apply(g)
	db.appendMu.Lock()
	db.writing = nil
	db.appendMu.Unlock()
	close(g.done)
	return nil
}

// failGroup answers the writers of the group that could not be written, and of
// the one that waits behind it: it may refer to definitions that are lost, and
// have lost duplicates to entries that are. Nothing is encoded in between, so
// that no batch is compared with entries that have failed.
func (db *DB) failGroup(g *commitGroup, err error) {
	db.appendMu.Lock()
	defer db.appendMu.Unlock()
	db.newEpoch()
	waiting := db.group
	db.group, db.writing = newCommitGroup(), nil
	g.fail(err)
	waiting.fail(err)
}

func (db *DB) writeGroup(g *commitGroup) error {
	if db.wal.Broken() {
		// The epoch changed when it broke: this group defines all it refers to.
		if err := db.reopenWAL(); err != nil {
			return err
		}
	}
	err := db.wal.Commit(g.recs...)
	db.lastSync = time.Now()
	return err
}

// reopenWAL gets the log going again after an error. The new segment begins with
// all marks, like every segment.
func (db *DB) reopenWAL() error {
	if err := db.wal.Reopen(); err != nil {
		return err
	}
	if recs := db.checkpoint(); len(recs) > 0 {
		return db.wal.Commit(recs...)
	}
	return nil
}

// apply adds what is durable to the head and to live tails.
func (db *DB) apply(g *commitGroup) {
	for _, b := range g.batches {
		for _, s := range b.streams {
			s.stream.Add(s.entries)
		}
		db.applyMarks(b.marks)
		if !b.moved {
			db.tails.publish(b.streams)
		}
	}
	db.revisions.appended(g.batches)
	db.mu.Lock()
	if db.activated.IsZero() && db.active.Entries() > 0 {
		db.activated = db.opts.Now()
	}
	full := db.active.Bytes() >= db.opts.flushBytes()
	db.mu.Unlock()
	if full {
		wake(db.flushKick)
	}
}

// cutSegment begins a new segment, under commitMu.
func (db *DB) cutSegment() error {
	db.appendMu.Lock()
	defer db.appendMu.Unlock()
	_, err := db.cutLocked()
	return err
}

// cutLocked commits what is waiting and begins a new segment with all marks,
// under commitMu and appendMu. It returns the segment's number.
func (db *DB) cutLocked() (int, error) {
	if g := db.group; len(g.recs) > 0 {
		db.group = newCommitGroup()
		if err := db.writeGroup(g); err != nil {
			err = diskFull(db.dir, err)
			db.newEpoch()
			g.fail(err)
			return 0, err
		}
		db.apply(g)
		close(g.done)
	}
	db.newEpoch()
	if db.wal.Broken() {
		if err := db.reopenWAL(); err != nil {
			return 0, diskFull(db.dir, err)
		}
		return db.wal.Segment(), nil
	}
	n, err := db.wal.Cut()
	if err != nil {
		return 0, diskFull(db.dir, err)
	}
	if recs := db.checkpoint(); len(recs) > 0 {
		if err := db.wal.Commit(recs...); err != nil {
			return 0, diskFull(db.dir, err)
		}
	}
	return n, nil
}

// waitRoom waits while the head is full. It gives up at once when the flush that
// would make room cannot write.
func (db *DB) waitRoom(ctx context.Context) error {
	for {
		db.mu.RLock()
		full := db.active.Bytes() >= db.opts.headLimit()
		flushed, failed, closed := db.flushed, db.flushErr, db.closed
		db.mu.RUnlock()
		switch {
		case closed:
			return ErrClosed
		case !full:
			return nil
		case failed != nil:
			wake(db.flushKick)
			return fmt.Errorf("store: the head is full and cannot be flushed: %w", failed)
		}
		wake(db.flushKick)
		select {
		case <-flushed:
		case <-ctx.Done():
			return ctx.Err()
		case <-db.stop:
			return ErrClosed
		}
	}
}
