package wal

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

const (
	pageSize       = 32 << 10 // wlog's, part of its format
	fragmentHeader = 7        // wlog's, part of its format

	// DefaultSegmentSize is where a segment should end, in bytes.
	DefaultSegmentSize = 16 << 20
)

// Options configure a Log. Dir is required.
type Options struct {
	// Dir holds the segments and nothing else.
	Dir string
	// First is the oldest segment that matters: older ones have been made
	// superfluous by a block and are removed at Open.
	First int
	// Logger may be nil.
	Logger *slog.Logger
	// Registerer gets wlog's metrics; nil for none.
	Registerer prometheus.Registerer
	// Hook, if not nil, is asked before each "write", "sync" and "create" and its
	// error is taken for that of the operation; for tests.
	Hook func(op string) error
}

// Log is an open write-ahead log. Commit, Cut and Close are serialised by the
// caller; Size, Segment and Truncate may be called at any time.
type Log struct {
	opts   Options
	logger *slog.Logger

	wl *wlog.WL
	// broken is set after a failed write: what the current segment holds beyond
	// good is not to be believed and is cut off before anything else happens.
	broken bool

	mu      sync.Mutex // guards the following
	segment int        // number of the current segment
	good    int64      // bytes of the current segment that are written and synced
	sizes   map[int]int64
}

// Open opens or creates the log in opts.Dir, hands every record of segment
// opts.First and later to replay in order, and begins a new segment. The record
// is valid during the call. An error of replay is returned as is.
//
// Damage does not fail Open: what can be read is replayed, and the result says
// what was lost.
func Open(opts Options, replay func(segment int, r *Record) error) (*Log, *ReplayResult, error) {
	l := &Log{opts: opts, logger: opts.Logger, sizes: map[int]int64{}}
	if l.logger == nil {
		l.logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(opts.Dir, 0o750); err != nil {
		return nil, nil, fmt.Errorf("wal: %w", err)
	}
	segs, err := l.tidy()
	if err != nil {
		return nil, nil, err
	}
	res, err := l.replay(segs, replay)
	if err != nil {
		return nil, nil, err
	}
	if err := l.openWriter(); err != nil {
		return nil, nil, err
	}
	return l, res, nil
}

// tidy removes segments before First and returns the numbers of the others.
// When none is left it makes sure that numbering goes on where it was: a number
// must never be used twice, or a block could claim to hold newer entries.
func (l *Log) tidy() ([]int, error) {
	all, err := listSegments(l.opts.Dir)
	if err != nil {
		return nil, err
	}
	var keep []int
	for _, s := range all {
		if s >= l.opts.First {
			keep = append(keep, s)
			continue
		}
		if err := os.Remove(wlog.SegmentName(l.opts.Dir, s)); err != nil {
			return nil, fmt.Errorf("wal: remove a segment whose entries are in a block: %w", err)
		}
	}
	if len(keep) > 0 {
		return keep, l.fillHoles(keep)
	}
	if l.opts.First == 0 {
		return nil, nil
	}
	// wlog continues after the last segment it finds.
	f, err := os.Create(wlog.SegmentName(l.opts.Dir, l.opts.First))
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	return []int{l.opts.First}, f.Close()
}

// fillHoles puts an empty file where a segment is missing: wlog refuses to work
// in a directory with holes. The loss is reported by replay.
func (l *Log) fillHoles(segs []int) error {
	for i := 1; i < len(segs); i++ {
		for n := segs[i-1] + 1; n < segs[i]; n++ {
			l.logger.Error("a segment of the write-ahead log is missing: its entries are lost", "segment", wlog.SegmentName(l.opts.Dir, n))
			f, err := os.Create(wlog.SegmentName(l.opts.Dir, n))
			if err != nil {
				return fmt.Errorf("wal: %w", err)
			}
			if err := f.Close(); err != nil {
				return fmt.Errorf("wal: %w", err)
			}
		}
	}
	return nil
}

func listSegments(dir string) ([]int, error) {
	ents, err := os.ReadDir(dir) // sorted by name, hence by number
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	var out []int
	for _, e := range ents {
		if n, err := strconv.Atoi(e.Name()); err == nil && n >= 0 {
			out = append(out, n)
		}
	}
	return out, nil
}

func (l *Log) hook(op string) error {
	if l.opts.Hook == nil {
		return nil
	}
	return l.opts.Hook(op)
}

// wlogSegmentSize is given to wlog, which would begin a segment by itself and
// sync the former one at its leisure: too late for Commit's promise. So wlog
// never gets there; the caller cuts, see Full.
const wlogSegmentSize = 1 << 30

// openWriter begins a segment after the last one.
func (l *Log) openWriter() error {
	if err := l.hook("create"); err != nil {
		return err
	}
	wl, err := wlog.NewSize(l.logger, l.opts.Registerer, l.opts.Dir, wlogSegmentSize, compression.None)
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	_, last, err := wlog.Segments(l.opts.Dir)
	if err != nil {
		return errors.Join(err, wl.Close())
	}
	if err := syncDir(l.opts.Dir); err != nil {
		return errors.Join(err, wl.Close())
	}
	l.wl = wl
	l.broken = false
	l.setSegment(last)
	return nil
}

func (l *Log) setSegment(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.segment != n {
		l.sizes[l.segment] = l.good
	}
	l.segment, l.good = n, 0
}

// Segment is the number of the segment that the next Commit writes to.
func (l *Log) Segment() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segment
}

// SegmentBytes is the size of the current segment.
func (l *Log) SegmentBytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.good
}

// Size is the size of all segments.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.good
	for _, s := range l.sizes {
		n += s
	}
	return n
}

// Broken says that a write failed and Reopen has to be called.
func (l *Log) Broken() bool { return l.broken }

// Commit writes the records and syncs. When it returns nil all of them are
// durable. When it fails none of them is, also after a crash, as soon as Reopen
// has succeeded; until then every Commit fails.
func (l *Log) Commit(recs ...[]byte) error {
	if l.broken {
		return errBroken
	}
	if err := l.write(recs); err != nil {
		l.broken = true
		return fmt.Errorf("wal: write segment %s: %w", wlog.SegmentName(l.opts.Dir, l.Segment()), err)
	}
	return nil
}

var errBroken = errors.New("wal: an earlier write failed and the log has not been reopened")

func (l *Log) write(recs [][]byte) error {
	if err := l.hook("write"); err != nil {
		return err
	}
	if err := l.wl.Log(recs...); err != nil {
		return err
	}
	if err := l.hook("sync"); err != nil {
		return err
	}
	if err := l.wl.Sync(); err != nil {
		return err
	}
	st, err := os.Stat(wlog.SegmentName(l.opts.Dir, l.Segment()))
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.good = st.Size()
	l.mu.Unlock()
	return nil
}

// Reopen recovers from a failed Commit or Cut: it cuts off what was not
// committed and begins a new segment. It can be tried again and again.
func (l *Log) Reopen() error {
	name := wlog.SegmentName(l.opts.Dir, l.Segment())
	if l.wl != nil {
		// Make room for the page that Close pads, then cut it off too. wlog's Close
		// can be called again when it failed.
		if err := truncate(name, l.SegmentBytes()); err != nil {
			return fmt.Errorf("wal: %w", err)
		}
		if err := l.hook("write"); err != nil {
			return err
		}
		if err := l.wl.Close(); err != nil {
			return fmt.Errorf("wal: close %s: %w", name, err)
		}
		l.wl = nil
	}
	if err := truncate(name, l.SegmentBytes()); err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	// A Cut may have failed after it made the next file: nothing is in it.
	return l.openWriter()
}

// truncate cuts a file to size and syncs it.
func truncate(name string, size int64) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if err := f.Truncate(size); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// Cut begins a new segment and returns its number. Everything in the former
// ones is durable.
func (l *Log) Cut() (int, error) {
	if l.broken {
		return 0, errBroken
	}
	if err := l.cut(); err != nil {
		l.broken = true
		return 0, fmt.Errorf("wal: begin a segment in %s: %w", l.opts.Dir, err)
	}
	return l.Segment(), nil
}

func (l *Log) cut() error {
	if err := l.hook("create"); err != nil {
		return err
	}
	n, err := l.wl.NextSegmentSync()
	if err != nil {
		return err
	}
	if err := syncDir(l.opts.Dir); err != nil {
		return err
	}
	l.setSegment(n)
	return nil
}

// Truncate removes all segments before the given one.
func (l *Log) Truncate(before int) error {
	segs, err := listSegments(l.opts.Dir)
	if err != nil {
		return err
	}
	for _, s := range segs {
		if s >= before {
			break
		}
		if err := os.Remove(wlog.SegmentName(l.opts.Dir, s)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("wal: %w", err)
		}
		l.mu.Lock()
		delete(l.sizes, s)
		l.mu.Unlock()
	}
	return nil
}

// Close closes the log. Everything committed stays.
func (l *Log) Close() error {
	if l.broken {
		name := wlog.SegmentName(l.opts.Dir, l.Segment())
		if err := truncate(name, l.SegmentBytes()); err != nil {
			return fmt.Errorf("wal: %w", err)
		}
		if l.wl == nil {
			return nil
		}
		err := l.wl.Close()
		return errors.Join(err, truncate(name, l.SegmentBytes()))
	}
	if l.wl == nil {
		return nil
	}
	err := l.wl.Close()
	l.wl = nil
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(filepath.Clean(dir))
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return errors.Join(err, d.Close())
	}
	return d.Close()
}

// toNextPage returns the number of bytes that are left until the next page begins.
func toNextPage(off int64) int64 {
	if r := off % pageSize; r != 0 {
		return pageSize - r
	}
	return 0
}
