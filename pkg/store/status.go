package store

import (
	"errors"
	"time"
)

// StatusError is an error that was noted.
type StatusError struct {
	Time time.Time
	Err  error
}

// Status describes the store for /metrics and for people.
type Status struct {
	Dir string
	// Format is the version of what is on disk: programs whose FormatVersion is
	// lower refuse it.
	Format int
	// HeadEntries, HeadStreams and HeadBytes count what is in memory, a head that
	// is being flushed included. HeadBytes is an estimate.
	HeadEntries, HeadStreams, HeadBytes int64
	// Blocks, and the entries, raw bytes and file bytes in them.
	Blocks                             int
	BlockEntries, RawBytes, BlockBytes int64
	// WALBytes is the size of the write-ahead log.
	WALBytes int64
	// OldestTime and NewestTime are timestamps in ns; both 0 when there are no
	// entries.
	OldestTime, NewestTime int64
	// PendingDeletes are delete requests whose space has not been given back.
	PendingDeletes int
	// DiskFull says that the last write failed for lack of space.
	DiskFull bool
	// BadChunkBlocks and WALDamage count places that could not be read.
	BadChunkBlocks, WALDamage int64
	// LastErrors are the most recent errors, oldest first.
	LastErrors []StatusError
}

// DiskBytes is the size of all files.
func (s Status) DiskBytes() int64 { return s.BlockBytes + s.WALBytes }

// Status returns the present state. It may be called after Close.
func (db *DB) Status() Status {
	db.commitMu.Lock()
	broken := db.wal.Broken()
	db.commitMu.Unlock()
	db.mu.RLock()
	defer db.mu.RUnlock()
	s := Status{
		Dir: db.dir, Format: int(db.diskFormat.Load()), Blocks: len(db.blocks), WALBytes: db.wal.Size(), PendingDeletes: len(db.deletes),
		BadChunkBlocks: db.badChunks.Load(), WALDamage: db.walDamage.Load(),
		LastErrors: append([]StatusError(nil), db.errs...),
	}
	if n := len(db.errs); n > 0 && (broken || db.flushErr != nil) {
		var full *DiskFullError
		s.DiskFull = errors.As(db.errs[n-1].Err, &full)
	}
	some := false
	widen := func(lo, hi int64) {
		if !some {
			s.OldestTime, s.NewestTime, some = lo, hi, true
		}
		s.OldestTime, s.NewestTime = min(s.OldestTime, lo), max(s.NewestTime, hi)
	}
	for _, b := range db.blocks {
		s.BlockEntries += b.Meta.Stats.Rows
		s.RawBytes += b.Meta.Stats.RawBytes
		s.BlockBytes += b.DiskBytes()
		widen(b.Meta.MinTime, b.Meta.MaxTime)
	}
	heads := db.heads()
	for _, h := range heads {
		s.HeadEntries += h.Entries()
		s.HeadStreams += int64(h.Streams())
		s.HeadBytes += h.Bytes()
		if lo, hi, ok := h.Bounds(); ok {
			widen(lo, hi)
		}
	}
	return s
}
