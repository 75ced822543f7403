package chunk

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// Block reads one chunk block, section by section. It keeps the header, the
// stream table and the sections that were asked for (compressed), and is used
// by one goroutine at a time. Opening is cheap; nothing has to be closed.
type Block struct {
	src  io.ReaderAt
	base int64
	size int
	// data is the whole block when it was opened from memory.
	data    []byte
	h       *header
	loaded  [numSections][]byte
	streams []StreamRange
}

// openRead is how much Open reads at first: header, stream table and often the
// times of a small block.
const openRead = 512

// OpenBytes reads the header of a block in memory. b stays in use, unchanged.
func OpenBytes(b []byte) (*Block, error) {
	if len(b) > MaxBlockBytes {
		return nil, &CorruptError{Section: SectionHeader, Offset: -1, Reason: "block is too large"}
	}
	h, err := parseHeader(b, len(b))
	if err != nil {
		return nil, err
	}
	return &Block{data: b, size: len(b), h: h}, nil
}

// Open reads the header of the block of size bytes at offset off. r is read
// again whenever a section is needed.
func Open(r io.ReaderAt, off int64, size int) (*Block, error) {
	if size < 0 || size > MaxBlockBytes {
		return nil, &CorruptError{Section: SectionHeader, Offset: -1, Reason: fmt.Sprintf("block of %d bytes", size)}
	}
	buf := make([]byte, min(size, openRead))
	if err := readFull(r, buf, off, SectionHeader); err != nil {
		return nil, err
	}
	h, err := parseHeader(buf, size)
	if err != nil {
		return nil, err
	}
	b := &Block{src: r, base: off, size: size, h: h}
	for s := range numSections {
		if end := h.offset[s] + h.length[s]; h.present[s] && end <= len(buf) {
			if err := b.keep(Section(s), buf[h.offset[s]:end:end]); err != nil {
				return nil, err
			}
		}
	}
	return b, nil
}

// readFull reads exactly len(buf) bytes; an early end is damage, not an I/O error.
func readFull(r io.ReaderAt, buf []byte, off int64, s Section) error {
	n, err := r.ReadAt(buf, off)
	if n == len(buf) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &CorruptError{Section: s, Offset: n, Reason: "file ends inside the block"}
	}
	return fmt.Errorf("read chunk block at offset %d (%s): %w", off, s, err)
}

// keep checks a section and remembers it.
func (b *Block) keep(s Section, p []byte) error {
	if crc32.Checksum(p, castagnoli) != b.h.crc[s] {
		return &CorruptError{Section: s, Offset: -1, Reason: "checksum does not match"}
	}
	b.loaded[s] = p
	return nil
}

// section returns a checked section, nil when the block has none.
func (b *Block) section(s Section) ([]byte, error) {
	if !b.h.present[s] || b.loaded[s] != nil {
		return b.loaded[s], nil
	}
	off, n := b.h.offset[s], b.h.length[s]
	var p []byte
	if b.data != nil {
		p = b.data[off : off+n : off+n]
	} else {
		p = make([]byte, n)
		if err := readFull(b.src, p, b.base+int64(off), s); err != nil {
			return nil, err
		}
	}
	if err := b.keep(s, p); err != nil {
		return nil, err
	}
	return p, nil
}

// NumRows is the number of rows, at least 1.
func (b *Block) NumRows() int { return b.h.rows }

// MinTime is the smallest timestamp of the block in nanoseconds.
func (b *Block) MinTime() int64 { return b.h.minTime }

// MaxTime is the largest timestamp of the block in nanoseconds.
func (b *Block) MaxTime() int64 { return b.h.maxTime }

// RawBytes is the sum of the lengths of all lines.
func (b *Block) RawBytes() int { return b.h.rawBytes }

// MetadataBytes is the sum of the lengths of all metadata names and values.
func (b *Block) MetadataBytes() int { return b.h.metaBytes }

// Size is the encoded size of the block in bytes.
func (b *Block) Size() int { return b.size }

// Streams lists the streams of the block in order of their numbers, which is
// the order of the rows. It reads the stream table only. The slice belongs to
// the Block.
func (b *Block) Streams() ([]StreamRange, error) {
	if b.streams != nil {
		return b.streams, nil
	}
	p, err := b.section(SectionStreams)
	if err != nil {
		return nil, err
	}
	r := reader{buf: p, sec: SectionStreams}
	n := r.count(b.h.rows)
	// Five varints of at least a byte each: the claim cannot exceed the section.
	if n > len(p)/5 {
		r.fail("more streams than fit")
	}
	if r.err != nil {
		return nil, r.err
	}
	streams := make([]StreamRange, 0, n)
	row, number, sum := 0, uint64(0), int64(0)
	for i := range n {
		d := r.uvarint()
		number += d
		s := StreamRange{Stream: uint32(number), FirstRow: row}
		s.Rows = r.count(b.h.rows - row)
		s.Bytes = int64(r.count(MaxRawBytes + MaxMetadataBytes))
		first, span := r.uvarint(), r.uvarint()
		s.MinTime = int64(uint64(b.h.minTime) + first)
		s.MaxTime = int64(uint64(s.MinTime) + span)
		if i > 0 && d == 0 || d > 1<<32 || number > 1<<32-1 || s.Rows == 0 ||
			s.MinTime < b.h.minTime || s.MaxTime < s.MinTime || s.MaxTime > b.h.maxTime {
			r.fail("stream out of range")
			break
		}
		row += s.Rows
		sum += s.Bytes
		streams = append(streams, s)
	}
	r.done()
	if r.err == nil && (row != b.h.rows || sum != int64(b.h.rawBytes+b.h.metaBytes)) {
		r.fail("streams do not add up to the block")
	}
	if r.err != nil {
		return nil, r.err
	}
	b.streams = streams
	return streams, nil
}

// DecodeTimes sets dst.Stream and dst.Timestamps to those of all rows and
// empties the other columns. It reads no text.
func (b *Block) DecodeTimes(dst *Rows) error {
	d, err := getDecoder()
	if err != nil {
		return err
	}
	defer putDecoder(d)
	dst.Reset()
	return b.decodeTimes(d, dst)
}

func (b *Block) decodeTimes(d *Decoder, dst *Rows) error {
	streams, err := b.Streams()
	if err != nil {
		return err
	}
	p, err := b.section(SectionTimes)
	if err != nil {
		return err
	}
	r := reader{buf: p, sec: SectionTimes}
	unit := r.uvarint()
	col, err := d.ownInts(&r, b.h.rows)
	if err != nil {
		return err
	}
	dst.Stream = slices.Grow(dst.Stream[:0], b.h.rows)[:b.h.rows]
	dst.Timestamps = slices.Grow(dst.Timestamps[:0], b.h.rows)[:b.h.rows]
	for i := range streams {
		s := &streams[i]
		t := s.MinTime
		end := s.FirstRow + s.Rows
		deltas := col.v[s.FirstRow:end]
		times := dst.Timestamps[s.FirstRow:end]
		numbers := dst.Stream[s.FirstRow:end]
		for j, d := range deltas {
			next := int64(uint64(t) + d*unit)
			if next < t {
				return &CorruptError{Section: SectionTimes, Offset: -1, Reason: "times are not in order"}
			}
			t = next
			times[j] = t
			numbers[j] = s.Stream
		}
		if t != s.MaxTime {
			return &CorruptError{Section: SectionTimes, Offset: -1, Reason: "times do not match the stream table"}
		}
	}
	return nil
}
