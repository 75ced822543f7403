package chunk

import "encoding/binary"

// reader takes values from the bytes of one section. The first problem sticks
// in err and moves the reader to its end; every later call returns zero values,
// so that callers check err once per step and loops end.
type reader struct {
	buf []byte
	off int
	sec Section
	err *CorruptError
}

func (r *reader) fail(reason string) {
	if r.err == nil {
		r.err = &CorruptError{Section: r.sec, Offset: r.off, Reason: reason}
	}
	r.off = len(r.buf)
}

func (r *reader) left() int { return len(r.buf) - r.off }

func (r *reader) byte() byte {
	if r.off >= len(r.buf) {
		r.fail("ends too early")
		return 0
	}
	b := r.buf[r.off]
	r.off++
	return b
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.buf[r.off:])
	if n <= 0 {
		r.fail("bad varint")
		return 0
	}
	r.off += n
	return v
}

// count reads a varint that may be limit at most.
func (r *reader) count(limit int) int {
	v := r.uvarint()
	if v > uint64(limit) {
		r.fail("number out of range")
		return 0
	}
	return int(v)
}

// bytes returns the next n bytes, aliasing the section.
func (r *reader) bytes(n int) []byte {
	if n < 0 || n > r.left() {
		r.fail("ends too early")
		return nil
	}
	b := r.buf[r.off : r.off+n : r.off+n]
	r.off += n
	return b
}

// done complains about bytes that nobody asked for.
func (r *reader) done() {
	if r.err == nil && r.off != len(r.buf) {
		r.fail("has bytes too many")
	}
}

// error returns err as an error, nil when there is none.
func (r *reader) error() error {
	if r.err == nil {
		return nil
	}
	return r.err
}

func zigzag(v int64) uint64   { return uint64(v)<<1 ^ uint64(v>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }
