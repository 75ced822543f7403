package chunk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/prometheus/model/labels"
)

// ErrUnsorted says that rows are not in the order that Rows asks for. It is a
// mistake of the caller, not of the data.
var ErrUnsorted = errors.New("rows of a chunk block are not sorted by stream and time")

// EncoderOptions choose between speed and size. The zero value is the right one
// for compaction.
type EncoderOptions struct {
	// Level of zstd for text sections: 1 fastest, 2 default, 3 better. 0 means 2.
	Level int
	// Plain writes lines as one zstd text instead of columns: with Level 1 two
	// thirds of the CPU and twice the bytes. For blocks that compaction will read
	// soon.
	Plain bool
}

// Encoder writes chunk blocks. It is reused from block to block and used by one
// goroutine at a time. It keeps memory in proportion to the largest block it has
// seen: 9 MB for blocks of TargetRawBytes (14 MB at level 3, 6 MB plain).
type Encoder struct {
	opts  EncoderOptions
	zstd  *zstd.Encoder
	ints  intsEncoder
	parts [numSections][]byte

	cols  columnEncoder
	lines shaper

	desc, data []byte
	meta, ids  []byte
	text       []byte
	streams    []StreamRange
}

// NewEncoder returns an encoder; unknown levels count as the default.
func NewEncoder(opts EncoderOptions) *Encoder {
	return &Encoder{opts: opts}
}

// Encode appends one chunk block with all rows to dst. On an error (LimitError,
// ErrUnsorted) it returns dst as it was. Nothing of rows is kept.
func (e *Encoder) Encode(dst []byte, rows *Rows) ([]byte, error) {
	if e.zstd == nil {
		z, err := newZstdEncoder(e.opts.Level)
		if err != nil {
			return dst, err
		}
		e.zstd = z
	}
	h := header{rows: rows.Len(), flags: flagLettersWhole}
	if err := checkRows(rows, &h); err != nil {
		return dst, err
	}
	for i := range e.parts {
		e.parts[i] = trim(e.parts[i])
	}
	e.collectStreams(rows, &h)
	e.encodeStreams(h.minTime)
	e.encodeTimes(rows)
	if e.opts.Plain || !e.encodeColumns(rows, &h) {
		h.mode = modePlain
		e.encodePlain(rows)
	}
	if h.metaBytes > 0 || hasMetadata(rows.Metadata) {
		e.encodeMetadata(rows, h.metaBytes)
	}
	e.cols.release()
	dst = appendHeader(dst, &h, &e.parts)
	for _, p := range e.parts {
		dst = append(dst, p...)
	}
	return dst, nil
}

// checkRows verifies limits and lengths and sums up the sizes.
func checkRows(rows *Rows, h *header) error {
	n := rows.Len()
	if n == 0 {
		return &LimitError{What: "rows", Have: 0, Max: MaxRows}
	}
	if n > MaxRows {
		return &LimitError{What: "rows", Have: n, Max: MaxRows}
	}
	if len(rows.Stream) != n || len(rows.Lines) != n || (len(rows.Metadata) != 0 && len(rows.Metadata) != n) {
		return fmt.Errorf("rows of a chunk block have columns of different lengths: %d streams, %d times, %d lines, %d metadata",
			len(rows.Stream), n, len(rows.Lines), len(rows.Metadata))
	}
	for _, l := range rows.Lines {
		h.rawBytes += len(l)
	}
	if h.rawBytes > MaxRawBytes {
		return &LimitError{What: "line bytes", Have: h.rawBytes, Max: MaxRawBytes}
	}
	pairs := 0
	for _, m := range rows.Metadata {
		k, b := metadataSize(m)
		pairs += k
		if k > maxFields {
			return &LimitError{What: "metadata pairs in a row", Have: k, Max: maxFields}
		}
		h.metaBytes += b
	}
	if h.metaBytes > MaxMetadataBytes {
		return &LimitError{What: "metadata bytes", Have: h.metaBytes, Max: MaxMetadataBytes}
	}
	if pairs > maxPairs {
		return &LimitError{What: "metadata pairs", Have: pairs, Max: maxPairs}
	}
	h.minTime, h.maxTime = math.MaxInt64, math.MinInt64
	for i, t := range rows.Timestamps {
		h.minTime = min(h.minTime, t)
		h.maxTime = max(h.maxTime, t)
		if i > 0 && (rows.Stream[i] < rows.Stream[i-1] || rows.Stream[i] == rows.Stream[i-1] && t < rows.Timestamps[i-1]) {
			return fmt.Errorf("%w: row %d", ErrUnsorted, i)
		}
	}
	return nil
}

// metadataSize is the number of pairs and their bytes.
func metadataSize(m labels.Labels) (pairs, bytes int) {
	m.Range(func(l labels.Label) {
		pairs++
		bytes += len(l.Name) + len(l.Value)
	})
	return pairs, bytes
}

func (e *Encoder) collectStreams(rows *Rows, h *header) {
	e.streams = e.streams[:0]
	for i, s := range rows.Stream {
		if i == 0 || s != rows.Stream[i-1] {
			e.streams = append(e.streams, StreamRange{Stream: s, FirstRow: i, MinTime: rows.Timestamps[i]})
		}
		r := &e.streams[len(e.streams)-1]
		r.Rows++
		r.Bytes += int64(len(rows.Lines[i]))
		if h.metaBytes > 0 {
			_, b := metadataSize(rows.Metadata[i])
			r.Bytes += int64(b)
		}
		r.MaxTime = rows.Timestamps[i]
	}
}

func (e *Encoder) encodeStreams(minTime int64) {
	p := e.parts[SectionStreams]
	p = binary.AppendUvarint(p, uint64(len(e.streams)))
	prev := uint32(0)
	for i := range e.streams {
		r := &e.streams[i]
		p = binary.AppendUvarint(p, uint64(r.Stream-prev))
		p = binary.AppendUvarint(p, uint64(r.Rows))
		p = binary.AppendUvarint(p, uint64(r.Bytes))
		p = binary.AppendUvarint(p, uint64(r.MinTime)-uint64(minTime))
		p = binary.AppendUvarint(p, uint64(r.MaxTime)-uint64(r.MinTime))
		prev = r.Stream
	}
	e.parts[SectionStreams] = p
}

// encodeTimes writes time differences in the coarsest unit that fits all.
func (e *Encoder) encodeTimes(rows *Rows) {
	e.ints.reset()
	d := e.ints.alloc(rows.Len())
	unit := uint64(1e9)
	for i := range e.streams {
		r := &e.streams[i]
		prev := uint64(r.MinTime)
		for j := r.FirstRow; j < r.FirstRow+r.Rows; j++ {
			t := uint64(rows.Timestamps[j])
			d[j] = t - prev
			for d[j]%unit != 0 {
				unit /= 1000
			}
			prev = t
		}
	}
	if unit > 1 {
		for i := range d {
			d[i] /= unit
		}
	}
	p := binary.AppendUvarint(e.parts[SectionTimes], unit)
	e.parts[SectionTimes] = e.appendOwnInts(p, d)
}

// appendOwnInts writes ints with descriptor and data in one place.
func (e *Encoder) appendOwnInts(p []byte, v []uint64) []byte {
	e.desc, e.data = e.ints.encode(e.desc[:0], e.data[:0], v, false)
	p = binary.AppendUvarint(p, uint64(len(e.desc)))
	p = append(p, e.desc...)
	return append(p, e.data...)
}

// encodePlain writes the lines as one text.
func (e *Encoder) encodePlain(rows *Rows) {
	e.ints.reset()
	lens := e.ints.alloc(rows.Len())
	e.text = trim(e.text)
	for i, l := range rows.Lines {
		lens[i] = uint64(len(l))
		e.text = append(e.text, l...)
	}
	e.parts[SectionLens] = e.appendOwnInts(e.parts[SectionLens], lens)
	e.parts[SectionRaw] = appendPacked(e.parts[SectionRaw], e.zstd, e.text)
}
