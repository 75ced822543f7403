package block

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// ChunkStream is the share of one stream in a chunk block.
type ChunkStream struct {
	// Ordinal is the stream's number in the block.
	Ordinal uint32
	Rows    int
	// Bytes of lines and metadata, uncompressed.
	Bytes            int64
	MinTime, MaxTime int64
}

// Chunk is one entry of the directory.
type Chunk struct {
	// No is the chunk block's number, Offset and Size its place in the file.
	No     int
	Offset int64
	Size   int
	Rows   int
	// Bytes of lines and metadata, uncompressed.
	Bytes            int64
	MinTime, MaxTime int64

	streams  []byte // encoded
	nStreams int
}

// NumStreams is the number of streams that have rows in the chunk block.
func (c *Chunk) NumStreams() int { return c.nStreams }

var errDirectory = errors.New("impossible entry")

// varints reads numbers; after a failure it returns zeros and ok is false.
type varints struct {
	b  []byte
	ok bool
}

func (v *varints) uvarint() uint64 {
	x, n := binary.Uvarint(v.b)
	if n <= 0 {
		v.b, v.ok = nil, false
		return 0
	}
	v.b = v.b[n:]
	return x
}

func (v *varints) varint() int64 {
	x, n := binary.Varint(v.b)
	if n <= 0 {
		v.b, v.ok = nil, false
		return 0
	}
	v.b = v.b[n:]
	return x
}

// Streams appends the streams of the chunk block to dst; their position is the
// number that the chunk block's rows name them by.
func (c *Chunk) Streams(dst []ChunkStream) ([]ChunkStream, error) {
	v := varints{b: c.streams, ok: true}
	ord := uint64(0)
	for range c.nStreams {
		ord += v.uvarint()
		s := ChunkStream{Ordinal: uint32(ord), Rows: int(v.uvarint()), Bytes: int64(v.uvarint())}
		s.MinTime = c.MinTime + int64(v.uvarint())
		s.MaxTime = s.MinTime + int64(v.uvarint())
		if !v.ok || ord >= 1<<32 || s.Rows <= 0 || s.Rows > c.Rows {
			return dst, errDirectory
		}
		dst = append(dst, s)
	}
	return dst, nil
}

// appendEntry encodes one entry of the directory.
func appendEntry(dst []byte, c *Chunk, streams []ChunkStream) []byte {
	var b []byte
	b = binary.AppendUvarint(b, uint64(c.Size))
	b = binary.AppendUvarint(b, uint64(c.Rows))
	b = binary.AppendUvarint(b, uint64(c.Bytes))
	b = binary.AppendVarint(b, c.MinTime)
	b = binary.AppendUvarint(b, uint64(c.MaxTime-c.MinTime))
	b = binary.AppendUvarint(b, uint64(len(streams)))
	ord := uint32(0)
	for _, s := range streams {
		b = binary.AppendUvarint(b, uint64(s.Ordinal-ord))
		ord = s.Ordinal
		b = binary.AppendUvarint(b, uint64(s.Rows))
		b = binary.AppendUvarint(b, uint64(s.Bytes))
		b = binary.AppendUvarint(b, uint64(s.MinTime-c.MinTime))
		b = binary.AppendUvarint(b, uint64(s.MaxTime-s.MinTime))
	}
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

// directory is the encoded list of chunk blocks.
type directory []byte

// openDirectory checks header and checksum.
func openDirectory(path string, b []byte) (directory, error) {
	if err := checkHeader(path, directoryMagic, b); err != nil {
		return nil, err
	}
	if len(b) < headerSize+crcSize {
		return nil, &CorruptError{File: path, Offset: -1, Err: errors.New("too short")}
	}
	end := len(b) - crcSize
	want := binary.LittleEndian.Uint32(b[end:])
	if got := crc32.Checksum(b[:end], castagnoli); got != want {
		return nil, &CorruptError{File: path, Offset: -1, Err: fmt.Errorf("checksum is %08x, want %08x", got, want)}
	}
	return directory(b[headerSize:end]), nil
}

// each calls fn for every entry; the Chunk is valid during the call only.
func (d directory) each(fn func(*Chunk) error) error {
	b := []byte(d)
	off := int64(headerSize)
	var c Chunk
	for no := 0; len(b) > 0; no++ {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			return errDirectory
		}
		v := varints{b: b[w : w+int(n)], ok: true}
		b = b[w+int(n):]
		c = Chunk{No: no, Offset: off}
		size := v.uvarint()
		c.Size = int(size)
		c.Rows = int(v.uvarint())
		c.Bytes = int64(v.uvarint())
		c.MinTime = v.varint()
		c.MaxTime = c.MinTime + int64(v.uvarint())
		c.nStreams = int(v.uvarint())
		c.streams = v.b
		if !v.ok || size > maxChunkBlock || c.Rows <= 0 || c.MaxTime < c.MinTime || c.nStreams <= 0 || c.nStreams > c.Rows {
			return errDirectory
		}
		off += int64(c.Size)
		if err := fn(&c); err != nil {
			return err
		}
	}
	return nil
}
