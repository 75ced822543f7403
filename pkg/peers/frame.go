package peers

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/golang/snappy"
)

// Kinds of frames.
const (
	frameBatch     byte = 'B' // rows of a Select or Tail
	frameList      byte = 'L' // a part of a list
	frameHeartbeat byte = 'H' // nothing, but the sender lives
	frameError     byte = 'X' // the text of an error: nothing follows
	frameMore      byte = 'M' // the limit is reached; the last timestamp, and statistics
	frameEnd       byte = 'E' // all has been sent; a Select's statistics
	frameHead      byte = 'S' // the head of a request that hands entries over
)

// Limits of frames.
const (
	// frameHeader is kind, flags, length and checksum.
	frameHeader = 1 + 1 + 4 + 4
	// maxPayload bounds a frame's payload, compressed and not: a row whose line and
	// metadata are as long as a store takes fits.
	maxPayload = 96 << 20
	// frameText is the text after which a frame ends, frameRows the rows.
	frameText = 512 << 10
	frameRows = 16 << 10
	// minCompress is the payload that is worth compressing.
	minCompress = 512

	flagSnappy byte = 1
)

// preamble begins every answer: the format's name and version.
const preamble = "LSPEER\x00\x01"

// ProtocolError says that what a peer sent makes no sense.
type ProtocolError struct{ Reason string }

func (e *ProtocolError) Error() string { return "the answer is damaged: " + e.Reason }

func damaged(format string, args ...any) error {
	return &ProtocolError{Reason: fmt.Sprintf(format, args...)}
}

// RemoteError is an error that a peer answered with.
type RemoteError struct{ Msg string }

func (e *RemoteError) Error() string { return e.Msg }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frameWriter writes frames. It is used by one goroutine at a time.
type frameWriter struct {
	w    io.Writer
	buf  []byte // header and payload as sent
	open bool   // the preamble has been written
}

// write sends one frame.
func (f *frameWriter) write(kind byte, payload []byte) error {
	if len(payload) > maxPayload {
		return fmt.Errorf("a frame of %d bytes is too large: at most %d are possible", len(payload), maxPayload)
	}
	f.buf = f.buf[:0]
	if !f.open {
		f.buf = append(f.buf, preamble...)
		f.open = true
	}
	at := len(f.buf)
	f.buf = append(f.buf, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	head := at + frameHeader
	if len(payload) >= minCompress {
		need := head + snappy.MaxEncodedLen(len(payload))
		for cap(f.buf) < need {
			f.buf = append(f.buf[:cap(f.buf)], 0)
		}
		packed := snappy.Encode(f.buf[head:need], payload)
		f.buf = f.buf[:head+len(packed)]
		f.buf[at+1] = flagSnappy
	} else {
		f.buf = append(f.buf[:head], payload...)
	}
	sent := f.buf[head:]
	binary.LittleEndian.PutUint32(f.buf[at+2:], uint32(len(sent)))
	binary.LittleEndian.PutUint32(f.buf[at+6:], crc32.Checksum(sent, castagnoli))
	_, err := f.w.Write(f.buf)
	return err
}

// frameReader reads frames. It is used by one goroutine.
type frameReader struct {
	r    io.Reader
	open bool
	head [frameHeader]byte
	sent []byte
}

// next returns the next frame. The payload is appended to dst[:0]. An answer
// that ends without frameEnd or frameError is io.ErrUnexpectedEOF.
func (f *frameReader) next(dst []byte) (kind byte, payload []byte, err error) {
	if !f.open {
		var begin [len(preamble)]byte
		if _, err := io.ReadFull(f.r, begin[:]); err != nil {
			return 0, nil, unexpected(err)
		}
		if string(begin[:]) != preamble {
			return 0, nil, damaged("it does not begin like one of this version")
		}
		f.open = true
	}
	if _, err := io.ReadFull(f.r, f.head[:]); err != nil {
		return 0, nil, unexpected(err)
	}
	kind, flags := f.head[0], f.head[1]
	n := binary.LittleEndian.Uint32(f.head[2:])
	sum := binary.LittleEndian.Uint32(f.head[6:])
	if flags&^flagSnappy != 0 || n > maxPayload {
		return 0, nil, damaged("a frame with flags %#x and %d bytes", flags, n)
	}
	if f.sent, err = readFull(f.r, f.sent[:0], int(n)); err != nil {
		return 0, nil, unexpected(err)
	}
	if crc32.Checksum(f.sent, castagnoli) != sum {
		return 0, nil, damaged("a frame's checksum is wrong")
	}
	if flags&flagSnappy == 0 {
		return kind, append(dst[:0], f.sent...), nil
	}
	size, err := snappy.DecodedLen(f.sent)
	if err != nil || size > maxPayload {
		return 0, nil, damaged("a frame that unpacks to %d bytes", size)
	}
	if payload, err = snappy.Decode(dst[:cap(dst)], f.sent); err != nil {
		return 0, nil, damaged("a frame cannot be unpacked")
	}
	return kind, payload, nil
}

// readFull appends n bytes. It believes in a length only as bytes arrive: memory
// grows with what was sent, not with what was announced.
func readFull(r io.Reader, dst []byte, n int) ([]byte, error) {
	const step = 1 << 20
	for n > 0 {
		k := min(n, step)
		at := len(dst)
		for cap(dst) < at+k {
			dst = append(dst[:cap(dst)], 0)
		}
		dst = dst[:at+k]
		if _, err := io.ReadFull(r, dst[at:]); err != nil {
			return dst, err
		}
		n -= k
	}
	return dst, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
