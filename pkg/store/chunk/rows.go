package chunk

import (
	"github.com/prometheus/prometheus/model/labels"
)

// Limits of one chunk block, format version 1. They bound the memory of both
// sides; a reader refuses a block that claims more.
const (
	// TargetRawBytes is the size of lines at which a writer should end a block:
	// beyond it compression does not improve.
	TargetRawBytes = 1 << 20
	// MaxRows is the largest number of rows (huff0 codes up to 2^18-1 symbols).
	MaxRows = 1 << 17
	// MaxRawBytes is the largest sum of line lengths, hence of one line.
	MaxRawBytes = 16 << 20
	// MaxMetadataBytes is the largest sum of lengths of metadata names and values.
	MaxMetadataBytes = 8 << 20
	// MaxBlockBytes is the largest size of an encoded block.
	MaxBlockBytes = 48 << 20
)

const (
	// maxTextFactor bounds a packed section by the lines it was made of: shape
	// texts hold one byte per field more than their lines.
	maxTextFactor = 2
	// packedSlack is allowed on top, for constants and layouts.
	packedSlack = 64 << 10
	// maxMetaBytes bounds the decoded descriptors.
	maxMetaBytes = 8 << 20
	// maxValues bounds the integers that decoding one table may hold at once
	// (8 bytes each); budgetFor gives the bound of one block.
	maxValues = 10 << 20
	// maxColumnsRaw is the size of lines up to which they are written in columns:
	// what a table needs then fits into maxValues.
	maxColumnsRaw = 4 << 20
	// maxNodes bounds the columns of a table and the parts of its splits.
	maxNodes = 1 << 16
	// maxPairs bounds the metadata pairs of a block and the fields of all shapes.
	maxPairs = 1 << 20
)

// textLimit bounds an unpacked section of texts of a table made of so many bytes.
func textLimit(bytes int) int { return maxTextFactor*bytes + packedSlack }

// Rows are the input and output of a chunk block, column by column. Row i is
// Timestamps[i], Lines[i] and Metadata[i] of stream Stream[i].
type Rows struct {
	// Stream is a number that the owner of the block gives a stream (a reference
	// that is valid in the whole store block). It never decreases.
	Stream []uint32
	// Timestamps are nanoseconds since the Unix epoch, any int64. Within one
	// stream they never decrease; equal ones stand in arrival order.
	Timestamps []int64
	// Lines hold any bytes. Decoded lines alias memory of the Decoder.
	Lines []string
	// Metadata is empty when no row has any. Decoded labels do not alias anything.
	Metadata []labels.Labels
}

// Len is the number of rows.
func (r *Rows) Len() int { return len(r.Timestamps) }

// Reset empties the rows and keeps their memory.
func (r *Rows) Reset() {
	r.Stream = r.Stream[:0]
	r.Timestamps = r.Timestamps[:0]
	r.Lines = r.Lines[:0]
	r.Metadata = r.Metadata[:0]
}

// StreamRange are the rows of one stream inside a block.
type StreamRange struct {
	// Stream is the stream's number.
	Stream uint32
	// FirstRow and Rows say which rows of the block belong to the stream.
	FirstRow, Rows int
	// Bytes of the stream's lines and metadata (names and values), uncompressed.
	Bytes int64
	// MinTime and MaxTime are the timestamps of its first and its last row.
	MinTime, MaxTime int64
}
