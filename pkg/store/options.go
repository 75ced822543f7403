package store

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/wal"
	"github.com/logstack-dev/kubectl-logstack/pkg/vfs"
)

// Options configure a DB. The zero value of every field is usable and documented
// as what it means; DefaultOptions spells the defaults out.
type Options struct {
	// FS holds everything but the write-ahead log; nil means vfs.OS.
	FS vfs.FS
	// Logger gets what an operator should know; nil discards it.
	Logger *slog.Logger
	// Registerer gets the store's metrics; nil for none.
	Registerer prometheus.Registerer
	// Now is the clock for retention and compaction; nil means time.Now.
	Now func() time.Time

	// Retention is the age at which entries disappear, by their timestamp.
	// 0 keeps them for ever.
	Retention time.Duration
	// MaxDiskBytes is the size of all files beyond which the oldest blocks are
	// removed. 0 is no limit.
	MaxDiskBytes int64
	// MemoryLimit is what the store may use, in bytes; it divides it among head,
	// compression and readers. 0 means 256 MiB, the least is 16 MiB.
	MemoryLimit int64

	// SegmentSize is where a segment of the write-ahead log ends, in bytes.
	// 0 means 16 MiB, the least is 64 KiB.
	SegmentSize int
	// SyncInterval is the shortest time between two syncs of the write-ahead log;
	// writers wait for their sync. 0 syncs as soon as somebody waits. SD cards
	// live longer with 200 ms.
	SyncInterval time.Duration
	// FlushInterval is the age at which the head becomes a block even when it is
	// small. 0 means 30 minutes; negative is never.
	FlushInterval time.Duration
	// BlockRange is the time that one block covers at most: blocks do not cross
	// its multiples. 0 means a day, or a tenth of Retention if that is shorter.
	BlockRange time.Duration
	// CompactionMinBlocks is the number of neighbouring blocks of similar size that
	// are merged. 0 means 4, the least is 2; negative turns merging off.
	CompactionMinBlocks int
	// GroupLabels say which streams resemble each other: those with the same
	// values of these labels share chunk blocks. A stream that has none of them
	// is alone. nil means namespace, app, container.
	GroupLabels []string
	// DeleteDelay is how long compaction leaves a delete request alone, so that it
	// can be cancelled. Readers do not see the entries in the meantime. 0 is not at
	// all.
	DeleteDelay time.Duration
	// CompileFilter understands the filters of delete requests; nil refuses requests
	// that have one. It must understand what it understood before: requests outlive
	// the process.
	CompileFilter func(text string) (*model.EntryFilter, error)
	// CompressionLevel is zstd's for text inside chunk blocks, 1 to 3; 0 means 2.
	CompressionLevel int

	// walHook fails operations of the write-ahead log in tests.
	walHook func(op string) error
	// readerBytes replaces what a reader may keep, in tests of small budgets.
	readerBytes int
	// noBackground leaves flushing and compaction to the tests.
	noBackground bool
}

// Defaults of Options.
const (
	DefaultMemoryLimit         = 256 << 20
	DefaultFlushInterval       = 30 * time.Minute
	DefaultBlockRange          = 24 * time.Hour
	DefaultCompactionMinBlocks = 4

	minMemoryLimit = 16 << 20
	minSegmentSize = 64 << 10
	minBlockRange  = time.Minute
)

// DefaultOptions returns options with every default spelled out.
func DefaultOptions() Options { return Options{}.withDefaults() }

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MemoryLimit == 0 {
		o.MemoryLimit = DefaultMemoryLimit
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = wal.DefaultSegmentSize
	}
	if o.FlushInterval == 0 {
		o.FlushInterval = DefaultFlushInterval
	}
	if o.BlockRange == 0 {
		o.BlockRange = DefaultBlockRange
		if o.Retention > 0 {
			o.BlockRange = max(min(o.BlockRange, o.Retention/10), minBlockRange)
		}
	}
	if o.CompactionMinBlocks == 0 {
		o.CompactionMinBlocks = DefaultCompactionMinBlocks
	}
	if o.GroupLabels == nil {
		o.GroupLabels = []string{"namespace", "app", "container"}
	}
	if o.CompressionLevel == 0 {
		o.CompressionLevel = 2
	}
	return o
}

// Validate reports everything that is wrong, at once.
func (o Options) Validate() error {
	o = o.withDefaults()
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(o.Retention >= 0, "retention %v is negative: use 0 to keep everything", o.Retention)
	check(o.MaxDiskBytes >= 0, "disk limit of %d bytes is negative: use 0 for no limit", o.MaxDiskBytes)
	check(o.MemoryLimit >= minMemoryLimit, "memory limit of %d bytes is too small: the store needs at least %d", o.MemoryLimit, minMemoryLimit)
	check(o.SegmentSize >= minSegmentSize && o.SegmentSize <= 512<<20, "segment size of %d bytes is out of range: use %d to %d", o.SegmentSize, minSegmentSize, 512<<20)
	check(o.SyncInterval >= 0 && o.SyncInterval <= 10*time.Second, "sync interval %v is out of range: use 0 to 10s", o.SyncInterval)
	check(o.BlockRange >= minBlockRange, "block range %v is too short: use at least %v", o.BlockRange, minBlockRange)
	check(o.DeleteDelay >= 0, "delete delay %v is negative: use 0 to carry out delete requests at once", o.DeleteDelay)
	check(o.CompactionMinBlocks != 1, "compaction of 1 block at a time never ends: use at least 2, or a negative number to turn it off")
	check(o.CompressionLevel >= 1 && o.CompressionLevel <= 3, "compression level %d is out of range: use 1 to 3", o.CompressionLevel)
	return errors.Join(errs...)
}

// The shares of MemoryLimit. Together with the garbage collector's slack they
// stay below it: see doc.go.

// flushBytes is the size at which the head is frozen and flushed.
func (o *Options) flushBytes() int64 { return o.MemoryLimit / 8 }

// headLimit is the size at which writers wait for a flush to end. A frozen head
// may exist beside it.
func (o *Options) headLimit() int64 { return o.flushBytes() * 3 / 2 }

// residentBytes is the text of decoded chunk blocks that one reader keeps.
func (o *Options) residentBytes() int {
	if o.readerBytes > 0 {
		return o.readerBytes
	}
	return int(o.MemoryLimit / 8)
}

// arenaBytes is the text that one reader collects at a time when it reads from
// more chunk blocks than it can keep.
func (o *Options) arenaBytes() int {
	if o.readerBytes > 0 {
		return o.readerBytes / 2
	}
	return int(o.MemoryLimit / 16)
}

// cursorRows is the number of row references that one reader keeps, over all
// chunk blocks it reads from at a time.
func (o *Options) cursorRows() int {
	if o.readerBytes > 0 {
		return o.readerBytes / rowRefSize
	}
	return int(max(o.MemoryLimit/16/rowRefSize, 1<<14))
}
