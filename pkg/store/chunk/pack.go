package chunk

import (
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// Codecs of packed sections.
const (
	codecStored = 0
	codecZstd   = 1
)

// keepBytes and keepInts are what reused buffers keep at most from one block to
// the next, so that one huge line does not hold memory for ever.
const (
	keepBytes = 4 * TargetRawBytes
	keepInts  = 1 << 20
)

// trim empties a reused buffer and gives an oversized one away.
func trim(b []byte) []byte {
	if cap(b) > keepBytes {
		return nil
	}
	return b[:0]
}

// zstdWindow bounds what compressing and decompressing keep: more than a block
// of TargetRawBytes has nothing to refer to.
const zstdWindow = 1 << 20

func newZstdEncoder(level int) (*zstd.Encoder, error) {
	l := zstd.SpeedDefault
	switch level {
	case 1:
		l = zstd.SpeedFastest
	case 3:
		l = zstd.SpeedBetterCompression
	}
	// The frame checksum would repeat the section's CRC. Entropy coding of texts
	// without matches takes a quarter off base64, which is stored otherwise.
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(l), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(zstdWindow), zstd.WithAllLitEntropyCompression(true))
	if err != nil {
		return nil, fmt.Errorf("set up zstd: %w", err)
	}
	return z, nil
}

// appendPacked writes a packed section, or nothing for empty content.
func appendPacked(dst []byte, z *zstd.Encoder, content []byte) []byte {
	if len(content) == 0 {
		return dst
	}
	start := len(dst)
	dst = append(dst, codecZstd)
	dst = binary.AppendUvarint(dst, uint64(len(content)))
	body := len(dst)
	dst = z.EncodeAll(content, dst)
	if len(dst)-body >= len(content) {
		dst = append(dst[:body], content...)
		dst[start] = codecStored
	}
	return dst
}

func newZstdDecoder() (*zstd.Decoder, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(maxTextFactor*MaxRawBytes+packedSlack))
	if err != nil {
		return nil, fmt.Errorf("set up zstd: %w", err)
	}
	return z, nil
}

// unpack returns the content of a packed section of at most limit bytes. It
// uses buf's memory, which is replaced when it is too small, or aliases src.
func unpack(z *zstd.Decoder, buf *[]byte, src []byte, sec Section, limit int) ([]byte, error) {
	if len(src) == 0 {
		return nil, nil
	}
	r := reader{buf: src, sec: sec}
	codec := r.byte()
	n := r.count(limit)
	body := r.bytes(r.left())
	if r.err != nil {
		return nil, r.err
	}
	switch codec {
	case codecStored:
		if len(body) != n {
			return nil, &CorruptError{Section: sec, Offset: 0, Reason: "length does not match"}
		}
		return body, nil
	case codecZstd:
		if cap(*buf) < n {
			*buf = make([]byte, 0, n+n/8)
		}
		out, err := z.DecodeAll(body, (*buf)[:0:n])
		if err != nil || len(out) != n {
			return nil, &CorruptError{Section: sec, Offset: -1, Reason: "cannot be decompressed"}
		}
		return out, nil
	}
	return nil, &CorruptError{Section: sec, Offset: 0, Reason: "unknown codec"}
}
