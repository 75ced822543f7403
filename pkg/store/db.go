package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/tsdb/fileutil"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/block"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/head"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/wal"
	"github.com/logstack-dev/kubectl-logstack/pkg/vfs"
)

// DB is an open log database. All methods may be called concurrently.
//
// Locks are taken in this order: flushMu or compactMu, commitMu, appendMu,
// manifestMu, mu. None is held while a reader's code runs.
type DB struct {
	dir     string
	opts    Options
	log     *slog.Logger
	metrics *metrics
	lock    fileutil.Releaser
	wal     *wal.Log

	// flushMu is held during a flush, compactMu during a compaction or retention.
	flushMu, compactMu sync.Mutex

	// commitMu is held while the write-ahead log is written and what was written
	// is added to the head.
	commitMu sync.Mutex
	lastSync time.Time // guarded by commitMu

	appendMu sync.Mutex // guards the following: batches on their way to the log
	group    *commitGroup
	writing  *commitGroup // taken out of group and not answered yet; nil if none
	enc      wal.Encoder
	epoch    int    // counts segments; stream references belong to one
	nextRef  uint32 // the next stream reference in this epoch
	closing  bool   // no more batches are accepted
	kick     chan struct{}

	manifestMu sync.Mutex // guards the following
	manifest   *manifest
	diskFormat atomic.Int32 // version of the manifest on disk

	mu     sync.RWMutex // guards the following: what readers see
	active *head.Head
	frozen *head.Head // being flushed; nil if none
	// frozenWAL is the first segment without entries of frozen.
	frozenWAL int
	blocks    []*block.Block // sorted by MinSeq, then MinTime; never changed in place
	deletes   []deletion     // never changed in place
	closed    bool
	activated time.Time     // when active got its first entry, zero if it has none
	flushed   chan struct{} // closed and replaced when a flush ends
	flushErr  error         // of the last flush
	errs      []StatusError // the last few

	marksMu sync.RWMutex
	marks   map[string][]byte

	rewriters sync.Pool

	tails     tailSet
	revisions *revisions

	lastFlush  atomic.Int64 // time of the last flush since Open, by Options.Now, ns
	walDamage  atomic.Int64 // places of the log that could not be read
	badChunks  atomic.Int64
	background sync.WaitGroup
	stop       chan struct{}
	flushKick  chan struct{}
	workKick   chan struct{}
	closeOnce  sync.Once
	closeErr   error
}

// Open opens the database in dir, which is made if need be. It recovers what a
// crash left and starts the background work. Errors: *LockedError, *FormatError,
// what Options.Validate says, and those of the filesystem.
func Open(dir string, opts Options) (_ *DB, err error) {
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	opts = opts.withDefaults()
	db := &DB{
		dir: dir, opts: opts, log: opts.Logger,
		active: head.New(), marks: map[string][]byte{},
		flushed: make(chan struct{}), stop: make(chan struct{}),
		kick: make(chan struct{}, 1), flushKick: make(chan struct{}, 1), workKick: make(chan struct{}, 1),
		group: newCommitGroup(), epoch: 1, revisions: newRevisions(),
	}
	db.tails.init()
	if err := db.prepareDir(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(diskFull(dir, err), db.abandon())
		}
	}()
	if err := db.recover(); err != nil {
		return nil, err
	}
	db.metrics = newMetrics(opts.Registerer, db)
	db.background.Add(1)
	go db.commitLoop()
	if !opts.noBackground {
		db.background.Add(2)
		go db.flushLoop()
		go db.compactLoop()
	}
	return db, nil
}

// prepareDir makes the directories, takes the lock and checks the format.
func (db *DB) prepareDir() error {
	if err := os.MkdirAll(db.dir, 0o750); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := db.takeLock(); err != nil {
		return err
	}
	err := db.opts.FS.MkdirAll(filepath.Join(db.dir, blocksDir))
	if err == nil {
		err = db.checkFormat()
	}
	if err != nil {
		return errors.Join(diskFull(db.dir, err), db.abandon())
	}
	return nil
}

func (db *DB) takeLock() error {
	path := filepath.Join(db.dir, lockFile)
	lock, _, err := fileutil.Flock(path)
	if err != nil {
		pid := 0
		if b, rerr := os.ReadFile(path); rerr == nil {
			pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
		}
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("store: %w", err)
		}
		return &LockedError{Dir: db.dir, PID: pid}
	}
	db.lock = lock
	// The number is for people: the lock itself is the operating system's.
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o640); err != nil {
		db.log.Warn("cannot write the process number into the lock file", "file", path, "err", err)
	}
	return nil
}

func (db *DB) checkFormat() error {
	path := filepath.Join(db.dir, formatFile)
	b, err := vfs.ReadFile(db.opts.FS, path)
	if errors.Is(err, fs.ErrNotExist) {
		return vfs.ReplaceFile(db.opts.FS, path, []byte(formatPrefix+strconv.Itoa(formatVersion)+"\n"))
	}
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	num, ok := strings.CutPrefix(strings.TrimSpace(string(b)), formatPrefix)
	n, err := strconv.Atoi(num)
	if !ok || err != nil || n < 1 {
		return &FormatError{Dir: db.dir, Supported: formatVersion}
	}
	if n > formatVersion {
		return &FormatError{Dir: db.dir, Found: n, Supported: formatVersion}
	}
	return nil
}

// recover loads manifest, blocks and write-ahead log.
func (db *DB) recover() error {
	if err := os.RemoveAll(filepath.Join(db.dir, scratchDir)); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := db.loadManifest(); err != nil {
		return err
	}
	if err := db.sweep(); err != nil {
		return err
	}
	if err := db.openBlocks(); err != nil {
		return err
	}
	db.compileFilters(db.manifest)
	db.deletes = db.manifest.Deletes
	return db.replayWAL()
}

// openBlocks opens the listed blocks. One that is damaged is set aside, so that
// the others can be used.
func (db *DB) openBlocks() error {
	var keep []string
	for _, id := range db.manifest.Blocks {
		dir := filepath.Join(db.dir, blocksDir, id)
		b, err := block.Open(db.opts.FS, dir)
		var version *block.VersionError
		if errors.As(err, &version) {
			return &FormatError{Dir: db.dir, Found: version.Found, Supported: block.FormatVersion}
		}
		if err != nil {
			db.log.Error("a block cannot be opened: it is set aside and its entries are missing from answers", "block", dir, "aside", dir+corruptSuffix, "err", err)
			db.noteError(err)
			if rerr := db.opts.FS.Rename(dir, dir+corruptSuffix); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
				return fmt.Errorf("store: %w", rerr)
			}
			continue
		}
		if b.FilterErr != nil {
			db.log.Error("the identifier filters of a block cannot be read: searches in it are slower", "block", dir, "err", b.FilterErr)
			db.noteError(b.FilterErr)
		}
		keep = append(keep, id)
		db.blocks = append(db.blocks, b)
	}
	sortBlocks(db.blocks)
	if len(keep) == len(db.manifest.Blocks) {
		return nil
	}
	m := db.manifest.clone()
	m.Blocks = keep
	if err := db.writeManifest(m); err != nil {
		return err
	}
	db.manifest = m
	return nil
}

func sortBlocks(bs []*block.Block) {
	slices.SortFunc(bs, func(a, b *block.Block) int {
		if a.Meta.MinSeq != b.Meta.MinSeq {
			if a.Meta.MinSeq < b.Meta.MinSeq {
				return -1
			}
			return 1
		}
		if a.Meta.MinTime != b.Meta.MinTime {
			if a.Meta.MinTime < b.Meta.MinTime {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Meta.ID, b.Meta.ID)
	})
}

// replayWAL fills the head from the log and opens the log for writing.
func (db *DB) replayWAL() error {
	current := -1
	l, res, err := wal.Open(wal.Options{
		Dir: filepath.Join(db.dir, walDir), First: db.manifest.WALFirst,
		Logger: db.log, Registerer: db.opts.Registerer, Hook: db.opts.walHook,
	}, func(seg int, r *wal.Record) error {
		if seg != current && db.active.Bytes() > db.opts.headLimit() {
			// More than fits: every segment stands for itself, so that what has been
			// read can become a block.
			if err := db.flushReplayed(seg); err != nil {
				return err
			}
		}
		current = seg
		db.applyRecord(r)
		return nil
	})
	if err != nil {
		return err
	}
	db.wal = l
	for _, d := range res.Damage {
		if !d.Torn {
			db.walDamage.Add(1)
			db.noteError(d)
		}
	}
	if db.active.Entries() > 0 {
		db.activated = db.opts.Now()
	}
	db.log.Info("write-ahead log replayed", "segments", res.Segments, "records", res.Records, "entries", res.Entries)
	if len(db.marks) == 0 {
		return nil
	}
	return l.Commit(db.checkpoint()...)
}

func (db *DB) applyRecord(r *wal.Record) {
	for i := range r.Streams {
		db.active.Stream(r.Labels(i)).Add(r.Streams[i].Entries)
	}
	db.applyMarks(r.Marks)
}

// applyMarks stores copies.
func (db *DB) applyMarks(marks []model.Mark) {
	if len(marks) == 0 {
		return
	}
	db.marksMu.Lock()
	defer db.marksMu.Unlock()
	for _, m := range marks {
		if m.Value == nil {
			delete(db.marks, m.Key)
			continue
		}
		db.marks[strings.Clone(m.Key)] = append([]byte{}, m.Value...)
	}
}

// checkpoint returns records that hold all marks.
func (db *DB) checkpoint() [][]byte {
	db.marksMu.RLock()
	defer db.marksMu.RUnlock()
	if len(db.marks) == 0 {
		return nil
	}
	var recs [][]byte
	var enc wal.Encoder
	enc.Begin(wal.TypeCheckpoint, 0)
	flush := func() {
		// A checkpoint record is far below the size limit: it cannot fail.
		if rec, err := enc.Finish(); err == nil {
			recs = append(recs, rec)
		}
		enc.Begin(wal.TypeCheckpoint, 0)
	}
	for k, v := range db.marks {
		enc.Mark(model.Mark{Key: k, Value: v})
		if enc.Size() >= checkpointBytes {
			flush()
		}
	}
	if !enc.Empty() {
		flush()
	}
	return recs
}

// Marks returns copies of the marks whose key begins with prefix.
func (db *DB) Marks(prefix string) map[string][]byte {
	db.marksMu.RLock()
	defer db.marksMu.RUnlock()
	out := map[string][]byte{}
	for k, v := range db.marks {
		if strings.HasPrefix(k, prefix) {
			out[k] = slices.Clone(v)
		}
	}
	return out
}

// noteError keeps an error for Status.
func (db *DB) noteError(err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.noteErrorLocked(err)
}

func (db *DB) noteErrorLocked(err error) {
	const keep = 10
	db.errs = append(db.errs, StatusError{Time: db.opts.Now(), Err: err})
	if len(db.errs) > keep {
		db.errs = slices.Clone(db.errs[len(db.errs)-keep:])
	}
}

// Close ends the background work and closes all files. What has been appended is
// in the write-ahead log and comes back at the next Open. Tails end; iterators
// of Select stay usable and must be closed by their owners. Safe twice.
func (db *DB) Close() error {
	db.closeOnce.Do(func() {
		db.appendMu.Lock()
		db.closing = true
		db.appendMu.Unlock()
		db.mu.Lock()
		db.closed = true
		db.mu.Unlock()
		close(db.stop)
		db.background.Wait()
		db.tails.close()
		// A Flush that still runs uses the log and the blocks.
		db.flushMu.Lock()
		defer db.flushMu.Unlock()
		db.commitMu.Lock()
		defer db.commitMu.Unlock()
		db.closeErr = db.abandon()
	})
	return db.closeErr
}

// abandon closes whatever is open.
func (db *DB) abandon() error {
	var errs []error
	if db.wal != nil {
		errs = append(errs, db.wal.Close())
	}
	db.mu.Lock()
	blocks := db.blocks
	db.blocks = nil
	db.mu.Unlock()
	for _, b := range blocks {
		errs = append(errs, b.Close(false))
	}
	if db.metrics != nil {
		db.metrics.unregister(db.opts.Registerer)
	}
	if db.lock != nil {
		errs = append(errs, db.lock.Release())
	}
	return errors.Join(errs...)
}

// check returns the error for a method that must not run.
func (db *DB) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	db.mu.RLock()
	defer db.mu.RUnlock()
	if db.closed {
		return ErrClosed
	}
	return nil
}
