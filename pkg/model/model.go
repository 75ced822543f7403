package model

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// Entry is one log line of a stream.
type Entry struct {
	// Timestamp is in nanoseconds since the Unix epoch; any int64 is legal.
	Timestamp int64
	// Line is the raw line without its newline. It holds any bytes, also
	// invalid UTF-8, NUL and newlines. It may alias a buffer that belongs to
	// whoever built the entry: a receiver that keeps it beyond the call copies it.
	Line string
	// Metadata is Loki's structured metadata: pairs that belong to the entry and
	// are not indexed. Usually empty.
	Metadata labels.Labels
}

// StreamEntries are entries of one stream in arrival order. Arrival order is
// kept among entries with equal timestamps; timestamps may go backwards.
type StreamEntries struct {
	// Labels identify the stream: sorted, unique, without empty values.
	Labels  labels.Labels
	Entries []Entry
}

// Mark is a named value that the store keeps for a writer and makes durable in
// the same WAL record as the entries of its batch, so that data and position
// cannot diverge. The store does not look inside.
type Mark struct {
	// Key names the mark. Writers prefix it with their own name and a slash
	// ("podlogs/<pod uid>/<container>").
	Key string
	// Value replaces the former value. nil deletes the mark.
	Value []byte
}

// Batch is what a writer wants to become durable at once: all of it or, after
// a crash, nothing of it. The receiver does not keep any part after it returned.
type Batch struct {
	Streams []StreamEntries
	Marks   []Mark
	// DropDuplicates asks the store to leave out entries that are identical
	// (timestamp, line and metadata) to one that the head of the same stream
	// holds already, or to an earlier one of this batch. Push requests set it,
	// because a shipper sends a batch again when the answer got lost; the pod
	// log reader does not, because its marks make repeats impossible and two
	// equal lines in one nanosecond are two lines.
	DropDuplicates bool
	// Moved says that the entries were stored elsewhere before: who follows new
	// entries has seen them there, and does not get them again.
	Moved bool
}

// Len counts the entries of all streams.
func (b *Batch) Len() int {
	n := 0
	for i := range b.Streams {
		n += len(b.Streams[i].Entries)
	}
	return n
}

// TimeRange is the half-open interval [Start, End) in nanoseconds since the
// Unix epoch.
type TimeRange struct {
	Start, End int64
}

// AllTime covers every timestamp but math.MaxInt64 itself.
func AllTime() TimeRange { return TimeRange{Start: math.MinInt64, End: math.MaxInt64} }

// Contains says whether t lies in [Start, End).
func (r TimeRange) Contains(t int64) bool { return t >= r.Start && t < r.End }

// Overlaps says whether a closed interval of timestamps [min, max] has a point in r.
func (r TimeRange) Overlaps(minTime, maxTime int64) bool {
	return maxTime >= r.Start && minTime < r.End
}

// String prints the range for error messages, in UTC.
func (r TimeRange) String() string {
	const f = time.RFC3339Nano
	return fmt.Sprintf("[%s, %s)", time.Unix(0, r.Start).UTC().Format(f), time.Unix(0, r.End).UTC().Format(f))
}

// Direction is the order in which entries are returned.
type Direction uint8

const (
	// Backward is newest first: the exact reverse of Forward, also among
	// entries of equal timestamp. It is Loki's default.
	Backward Direction = iota
	// Forward is oldest first: by timestamp, then by the stream's labels
	// (labels.Compare), then by arrival.
	Forward
)

// String returns "backward" or "forward", Loki's words.
func (d Direction) String() string {
	if d == Forward {
		return "forward"
	}
	return "backward"
}

// SelectRequest says which entries a reader wants.
type SelectRequest struct {
	// Matchers all have to match a stream's labels. A label that a stream does
	// not have counts as "". No matcher selects every stream.
	Matchers []*labels.Matcher
	Range    TimeRange
	// Direction orders the rows over all streams, see Backward and Forward.
	Direction Direction
	// Unordered frees the store from ordering rows over streams: rows of one
	// stream still come in time order of Direction, but streams may come one
	// after the other and a batch may jump back in time between streams. For
	// aggregations.
	Unordered bool
	// Contains are byte strings each of which occurs in every line that the
	// reader can use. It is a hint: the store skips what cannot match, and may
	// still return lines that lack one. It may never skip one that has all.
	Contains []string
	// ContainsAny are byte strings one of which at least occurs in every line that
	// the reader can use; with AnyFold in any case, Unicode's simple folding
	// included. None is without effect. It is a hint, like Contains.
	ContainsAny []string
	AnyFold     bool
	// ContainsNone are byte strings none of which is in a line that the reader can
	// use. It is a hint, like Contains: lines that have one may be returned.
	ContainsNone []string
	// TimesOnly says that the reader does not look at Lines and Metadata: they
	// are nil. Counting by stream then needs no decompression of text.
	TimesOnly bool
	// CountStep, in nanoseconds, says that the reader of an unordered TimesOnly
	// request only counts entries in pieces of this width, which begin at CountFrom
	// and all multiples before and behind it: the store may give one row for several
	// entries of a stream inside a piece, see EntryBatch.Counts. 0 is one row for
	// each entry. It is a hint, like Contains.
	CountStep, CountFrom int64
	// NoLines says that the reader does not look at Lines, but at Metadata: the
	// store may leave Lines nil. It is a hint, like Contains.
	NoLines bool
	// BatchRows caps the rows of one EntryBatch; 0 means the store's choice.
	// A reader with a small limit asks for small batches.
	BatchRows int
}

// EntryBatch is a run of rows, column by column: row i is Timestamps[i] and
// Lines[i] of the stream Streams[StreamIndex[i]]. All memory belongs to the
// iterator and is valid until its next Next or Close: a reader that keeps a
// line clones it.
type EntryBatch struct {
	// Streams are the streams that rows of this batch refer to. The table only
	// grows during one iteration: an index keeps its meaning from batch to batch.
	Streams     []labels.Labels
	StreamIndex []uint32
	Timestamps  []int64
	Lines       []string
	// Metadata is nil when no row of the batch has any.
	Metadata []labels.Labels
	// Counts is nil or says for how many entries each row stands; its timestamp is
	// that of one of them. Only where the request has a CountStep.
	Counts []uint32
	// Dropped counts entries that a live tail lost before this batch because
	// the reader was too slow. Always 0 in a Select.
	Dropped int
}

// Len is the number of rows.
func (b *EntryBatch) Len() int { return len(b.Timestamps) }

// Reset empties the rows and keeps the capacity and the stream table.
func (b *EntryBatch) Reset() {
	b.StreamIndex = b.StreamIndex[:0]
	b.Timestamps = b.Timestamps[:0]
	b.Lines = b.Lines[:0]
	b.Metadata = b.Metadata[:0]
	b.Counts = b.Counts[:0]
	b.Dropped = 0
}

// BatchIterator hands out rows many at a time. It is used by one goroutine.
type BatchIterator interface {
	// Next returns the next batch, never empty (a live tail may return one that
	// only reports Dropped), or io.EOF at the end. After an error or io.EOF it
	// keeps returning the same. It returns ctx.Err() when ctx ends first.
	Next(ctx context.Context) (*EntryBatch, error)
	// Stats tell what has been read so far.
	Stats() SelectStats
	// Close frees what the iterator holds (it pins files against deletion). Safe twice.
	Close() error
}

// SelectStats count the work of one Select.
type SelectStats struct {
	// Blocks is the number of store blocks that overlapped, the head included.
	Blocks int
	// ChunkBlocks is the number of chunk blocks considered; ChunkBlocksSkipped
	// of them were left out by time, stream or text without being decoded.
	ChunkBlocks, ChunkBlocksSkipped int
	// Lines and Bytes are what was decoded: rows, and bytes of their lines.
	Lines, Bytes int64
	// CompressedBytes were read from files.
	CompressedBytes int64
}

// Add sums two counts, for a query that selects more than once.
func (s *SelectStats) Add(o SelectStats) {
	s.Blocks += o.Blocks
	s.ChunkBlocks += o.ChunkBlocks
	s.ChunkBlocksSkipped += o.ChunkBlocksSkipped
	s.Lines += o.Lines
	s.Bytes += o.Bytes
	s.CompressedBytes += o.CompressedBytes
}

// TailRequest subscribes to entries as they become durable.
type TailRequest struct {
	Matchers []*labels.Matcher
	// Buffer is the number of entries kept for a slow reader before they are
	// dropped and counted; 0 means the store's choice.
	Buffer int
}

// StreamVolume is what one stream holds inside a time range. Blocks that lie
// wholly inside count exactly; at the edges it may be an estimate by time share.
type StreamVolume struct {
	Labels labels.Labels
	// Entries and Bytes (of lines and metadata, uncompressed).
	Entries, Bytes int64
	// Chunks is the number of chunk blocks that hold the stream.
	Chunks int64
}
