package nodefiles

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/cespare/xxhash/v2"
)

// Stream tells what a container wrote to.
type Stream uint8

// The two streams of a container.
const (
	Stdout Stream = iota
	Stderr
)

// String is the name as the record has it.
func (s Stream) String() string {
	if s == Stderr {
		return "stderr"
	}
	return "stdout"
}

const (
	// headerRoom is more than time, stream and tag of a record take. A tag may
	// have parts behind a colon that nobody uses yet.
	headerRoom = 128
	bufferSize = 64 << 10
	// HeadBytes is how much of a file's beginning [Fingerprint] needs at most.
	HeadBytes = 256
)

// ErrFormat says that a file does not consist of CRI records. Runtimes behind
// cri-dockerd write JSON.
var ErrFormat = errors.New("the file does not consist of CRI log records")

// Record is one record of a CRI log file. Text aliases the reader's buffer and
// is valid until the next call of Next.
type Record struct {
	Time    int64 // nanoseconds since the epoch
	Stream  Stream
	Partial bool
	Text    []byte
	// Full is the length of the text before it was cut to the limit, 0 if it was not.
	Full int
	// Off is where the record begins in the file, End where the next one does.
	Off, End int64
}

// parseRecord reads one record without its newline.
func parseRecord(b []byte, rec *Record) bool {
	ns, n, ok := ParseTimestamp(b)
	if !ok {
		return false
	}
	b = b[n:]
	switch {
	case bytes.HasPrefix(b, []byte("stdout ")):
		rec.Stream = Stdout
	case bytes.HasPrefix(b, []byte("stderr ")):
		rec.Stream = Stderr
	default:
		return false
	}
	b = b[len("stdout "):]
	i := bytes.IndexByte(b, ' ')
	if i < 0 {
		return false
	}
	tag, _, _ := bytes.Cut(b[:i], []byte(":"))
	rec.Partial = len(tag) == 1 && tag[0] == 'P'
	rec.Time, rec.Text = ns, b[i+1:]
	return true
}

// Fingerprint identifies a file by its first bytes, of which head holds the
// first [HeadBytes] or all there are. It is never 0; ok is false while the first
// record is not whole, and for what is no CRI log.
func Fingerprint(head []byte) (id uint64, ok bool) {
	head = head[:min(len(head), HeadBytes)]
	if i := bytes.IndexByte(head, '\n'); i >= 0 {
		head = head[:i]
	} else if len(head) < HeadBytes {
		return 0, false
	}
	var rec Record
	if !parseRecord(head, &rec) {
		return 0, false
	}
	return max(xxhash.Sum64(head), 1), true
}

var buffers = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

// Reader splits a file, or its part from some record on, into records. It is
// for one goroutine.
type Reader struct {
	src  io.Reader
	max  int
	buf  []byte
	pool *[]byte // set while buf is a pooled buffer
	r, w int
	// scanned is the number of bytes of buf[r:w] known to hold no newline.
	scanned int
	// cut counts the bytes thrown away of an overlong record whose beginning is
	// in buf[r:w].
	cut  int
	off  int64 // of buf[r] in the file
	good int64 // records so far
	bad  int64 // lines that are no records
	err  error
}

// NewReader reads records from src, whose first byte is at the given offset of
// the file. Texts longer than maxText are cut. Close gives back its buffer.
func NewReader(src io.Reader, offset int64, maxText int) *Reader {
	p := buffers.Get().(*[]byte)
	return &Reader{src: src, max: maxText, buf: *p, pool: p, off: offset}
}

// Next reads the next whole record. What is no record is left out, as the
// kubelet does, and counted; a file that begins with such a line is refused with
// ErrFormat. At the end of the source it returns io.EOF: what follows the last
// newline is not a record yet, see Rest.
func (r *Reader) Next(rec *Record) error {
	for {
		if i := bytes.IndexByte(r.buf[r.r+r.scanned:r.w], '\n'); i >= 0 {
			if r.take(rec, r.r+r.scanned+i) {
				return nil
			}
			if r.good == 0 && rec.Off == 0 {
				return ErrFormat
			}
			continue
		}
		r.scanned = r.w - r.r
		if r.err != nil {
			return r.err
		}
		r.makeRoom()
		n, err := r.src.Read(r.buf[r.w:])
		r.w += n
		r.err = err
	}
}

// take parses buf[r:end] and goes behind the newline at end.
func (r *Reader) take(rec *Record, end int) bool {
	line := r.buf[r.r:end]
	rec.Off = r.off
	r.off += int64(len(line) + r.cut + 1)
	rec.End = r.off
	ok := r.parse(rec, line)
	r.r, r.scanned, r.cut = end+1, 0, 0
	if !ok {
		r.bad++
		return false
	}
	r.good++
	return true
}

func (r *Reader) parse(rec *Record, line []byte) bool {
	if !parseRecord(line, rec) {
		return false
	}
	rec.Full = 0
	cut := r.cut
	if over := len(rec.Text) - r.max; over > 0 {
		rec.Text, cut = rec.Text[:r.max], cut+over
	}
	if cut > 0 {
		rec.Full = len(rec.Text) + cut
	}
	return true
}

// makeRoom leaves free bytes behind w.
func (r *Reader) makeRoom() {
	if r.r == r.w {
		r.r, r.w = 0, 0
	}
	if r.w < len(r.buf) {
		return
	}
	if r.r > 0 {
		copy(r.buf, r.buf[r.r:r.w])
		r.w -= r.r
		r.r = 0
		return
	}
	limit := r.max + headerRoom
	if r.w > limit { // keep the beginning, drop what follows as it comes
		r.cut += r.w - limit
		r.w, r.scanned = limit, limit
		return
	}
	grown := make([]byte, min(2*len(r.buf), limit+bufferSize))
	copy(grown, r.buf[:r.w])
	r.release()
	r.buf = grown
}

// Rest reads what follows the last newline as a record, once Next has returned
// io.EOF. In a file that will not grow it is the record that a crash cut short.
func (r *Reader) Rest(rec *Record) bool {
	if r.r == r.w {
		return false
	}
	line := r.buf[r.r:r.w]
	rec.Off = r.off
	rec.End = r.off + int64(len(line)+r.cut)
	ok := r.parse(rec, line)
	r.r = r.w
	return ok
}

// Offset is where the first record not yet returned begins.
func (r *Reader) Offset() int64 { return r.off }

// Bad is the number of lines that were no records.
func (r *Reader) Bad() int64 { return r.bad }

// Close gives the buffer back; records returned before are not valid any more.
func (r *Reader) Close() {
	r.release()
	r.buf, r.r, r.w, r.err = nil, 0, 0, io.ErrClosedPipe
}

func (r *Reader) release() {
	if r.pool != nil {
		buffers.Put(r.pool)
		r.pool = nil
	}
}
