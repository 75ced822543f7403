package podlogs

import (
	"bytes"
	"io"
	"sync"

	"github.com/cespare/xxhash/v2"

	"github.com/logstack-dev/kubectl-logstack/pkg/podlogs/nodefiles"
)

const (
	// idleBuffer is what a stream without data holds. Thousands of idle follows
	// cost this much each.
	idleBuffer = 2 << 10
	// busyBuffer is borrowed from a pool while there is data to read.
	busyBuffer = 64 << 10
	// stampRoom is more than the longest timestamp prefix takes.
	stampRoom = 64
)

var busyBuffers = sync.Pool{New: func() any { b := make([]byte, busyBuffer); return &b }}

// rawLine is one line of a response. text aliases the reader's buffer and is
// valid until the next call of fill.
type rawLine struct {
	ts   int64
	text []byte
	// stamped says that the line began with a valid timestamp. Without one it
	// is the rest of a line whose head the kubelet filtered out, or an error.
	stamped bool
	// full is the length of the line before it was cut to the limit, 0 if it was not.
	full int
	// hash is of text, with a fixed seed: it goes into positions.
	hash uint64
}

// lineReader splits a response of pods/log into lines. fill blocks, scan does
// not: a caller can hold a lock while it looks at lines, and not while waiting.
type lineReader struct {
	src  io.Reader
	max  int
	buf  []byte
	pool *[]byte // set while buf is a pooled buffer
	r, w int
	// scanned is the number of bytes of buf[r:w] known to hold no newline.
	scanned int
	// cut counts the bytes that were thrown away of an overlong line whose
	// kept part is in buf[r:w].
	cut int
	// read counts all bytes of the body.
	read int64
}

func newLineReader(src io.Reader, maxLine int) *lineReader {
	return &lineReader{src: src, max: maxLine, buf: make([]byte, idleBuffer)}
}

// fill reads once from the source. It is to be called when scan has nothing
// more. It returns the source's error only when nothing was read.
func (l *lineReader) fill() error {
	l.makeRoom()
	for {
		n, err := l.src.Read(l.buf[l.w:])
		if n > 0 {
			l.w += n
			l.read += int64(n)
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// makeRoom leaves at least one free byte behind w.
func (l *lineReader) makeRoom() {
	if l.r == l.w {
		l.r, l.w, l.scanned = 0, 0, 0
		if len(l.buf) > busyBuffer {
			l.swap(make([]byte, idleBuffer), nil)
		}
	}
	if l.w < len(l.buf) {
		return
	}
	if l.r > 0 && l.r >= len(l.buf)/2 {
		copy(l.buf, l.buf[l.r:l.w])
		l.w -= l.r
		l.r = 0
		return
	}
	limit := l.max + stampRoom
	if l.w-l.r >= limit {
		// The line is too long: keep its head, drop what follows as it comes.
		l.cut += l.w - l.r - limit
		l.w = l.r + limit
		l.scanned = limit
		if l.w+idleBuffer > len(l.buf) {
			l.swap(make([]byte, limit+idleBuffer), nil)
		}
		return
	}
	if len(l.buf) < busyBuffer {
		p := busyBuffers.Get().(*[]byte)
		l.swap(*p, p)
		return
	}
	l.swap(make([]byte, min(2*len(l.buf), limit+idleBuffer)), nil)
}

// swap moves the unread bytes to another buffer and gives a pooled one back.
func (l *lineReader) swap(buf []byte, pool *[]byte) {
	n := copy(buf, l.buf[l.r:l.w])
	if l.pool != nil {
		busyBuffers.Put(l.pool)
	}
	l.buf, l.pool, l.r, l.w = buf, pool, 0, n
}

// rest frees the pooled buffer when all of it has been consumed; to be called
// before a wait that may be long.
func (l *lineReader) rest() {
	if l.r == l.w && len(l.buf) > idleBuffer {
		l.swap(make([]byte, idleBuffer), nil)
		l.scanned = 0
	}
}

// scan returns the next complete line of what has been read.
func (l *lineReader) scan(line *rawLine) bool {
	window := l.buf[l.r+l.scanned : l.w]
	i := bytes.IndexByte(window, '\n')
	if i < 0 {
		limit := l.max + stampRoom
		l.scanned = l.w - l.r
		if l.scanned > limit {
			l.cut += l.scanned - limit
			l.w = l.r + limit
			l.scanned = limit
		}
		return false
	}
	end := l.r + l.scanned + i
	raw := l.buf[l.r:end]
	cut := l.cut
	if over := len(raw) - (l.max + stampRoom); over > 0 {
		raw = raw[:l.max+stampRoom]
		cut += over
	}
	l.r = end + 1
	l.scanned, l.cut = 0, 0
	l.parse(line, raw, cut)
	return true
}

// tail returns what follows the last newline: after the end of the body this
// is half a line, the last line of a container that does not end its lines, or
// an error text.
func (l *lineReader) tail(line *rawLine) bool {
	if l.r == l.w {
		return false
	}
	raw := l.buf[l.r:l.w]
	l.parse(line, raw, l.cut)
	l.r, l.scanned, l.cut = l.w, 0, 0
	return true
}

func (l *lineReader) parse(line *rawLine, raw []byte, cut int) {
	ts, n, ok := nodefiles.ParseTimestamp(raw)
	text := raw[n:]
	full := 0
	if over := len(text) - l.max; over > 0 {
		text = text[:l.max]
		cut += over
	}
	if cut > 0 {
		full = len(text) + cut
	}
	*line = rawLine{ts: ts, text: text, stamped: ok, full: full, hash: xxhash.Sum64(text)}
}

// close gives the buffer back.
func (l *lineReader) close() {
	if l.pool != nil {
		busyBuffers.Put(l.pool)
		l.pool = nil
	}
	l.buf, l.r, l.w = nil, 0, 0
}
