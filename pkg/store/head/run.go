package head

import (
	"fmt"
	"slices"
	"sync"
	"unsafe"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/s2"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// Run is a piece of a stream in arrival order. A copy of it is a snapshot: its
// slices are only ever appended to behind what the copy sees.
type Run struct {
	// Times are the timestamps in arrival order.
	Times []int64
	// Min and Max are the smallest and largest of Times.
	Min, Max int64
	// Unsorted says that Times go backwards somewhere.
	Unsorted bool
	// Meta is nil or has a label set per entry.
	Meta []labels.Labels

	ends   []uint32
	text   []byte // raw while open
	packed []byte // snappy once sealed
	rawLen int
}

// add appends one entry to an open run. full asks for room for a whole run at
// once, because the stream is known to be a busy one.
func (r *Run) add(e *model.Entry, full bool) {
	if len(r.Times) == 0 {
		r.Min, r.Max = e.Timestamp, e.Timestamp
		if full {
			r.text = *textBuffers.Get().(*[]byte)
			r.Times, r.ends = make([]int64, 0, runRoom), make([]uint32, 0, runRoom)
		}
	} else if e.Timestamp < r.Times[len(r.Times)-1] {
		r.Unsorted = true
	}
	r.Min, r.Max = min(r.Min, e.Timestamp), max(r.Max, e.Timestamp)
	r.Times = append(r.Times, e.Timestamp)
	r.text = append(r.text, e.Line...)
	r.ends = append(r.ends, uint32(len(r.text)))
	r.rawLen = len(r.text)
	if r.Meta != nil || !e.Metadata.IsEmpty() {
		for len(r.Meta) < len(r.Times)-1 {
			r.Meta = append(r.Meta, labels.EmptyLabels())
		}
		r.Meta = append(r.Meta, cloneLabels(e.Metadata))
	}
}

// textBuffers hold the text of open runs of busy streams.
var textBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, runBytes+runBytes/8)
	return &b
}}

// reuseText gives the text of a run back that nobody sees any more.
func reuseText(b []byte) {
	if cap(b) == runBytes+runBytes/8 {
		b = b[:0]
		textBuffers.Put(&b)
	}
}

// packBuffers are used while a run is compressed.
var packBuffers = sync.Pool{New: func() any { return new([]byte) }}

// pack seals a run: compressed text and slices of the exact size.
func (r *Run) pack() {
	p := packBuffers.Get().(*[]byte)
	defer packBuffers.Put(p)
	if n := snappy.MaxEncodedLen(len(r.text)); cap(*p) < n {
		*p = make([]byte, n)
	}
	buf := s2.EncodeSnappy((*p)[:cap(*p)], r.text)
	if len(buf) < len(r.text) {
		r.packed = slices.Clone(buf)
		r.text = nil
	} else {
		r.text = slices.Clone(r.text)
	}
	r.Times = slices.Clone(r.Times)
	r.ends = slices.Clone(r.ends)
}

// memory estimates what the run occupies.
func (r *Run) memory() int64 {
	n := int64(cap(r.text) + cap(r.packed) + 8*cap(r.Times) + 4*cap(r.ends) + 16*cap(r.Meta))
	if r.packed != nil || r.text == nil {
		for i := range r.Meta {
			n += int64(r.Meta[i].ByteSize())
		}
	}
	return n
}

// Len is the number of entries.
func (r *Run) Len() int { return len(r.Times) }

// RawBytes is the sum of the lengths of all lines.
func (r *Run) RawBytes() int { return r.rawLen }

// LineLen is the length of line i.
func (r *Run) LineLen(i int) int {
	if i == 0 {
		return int(r.ends[0])
	}
	return int(r.ends[i] - r.ends[i-1])
}

// Text returns all lines one after the other, for Line. It decompresses into buf
// when it has to, and returns the buffer to use the next time.
func (r *Run) Text(buf []byte) (text, newBuf []byte, err error) {
	if r.packed == nil {
		return r.text, buf, nil
	}
	if cap(buf) < r.rawLen {
		buf = make([]byte, r.rawLen)
	}
	out, err := snappy.Decode(buf[:r.rawLen], r.packed)
	if err != nil || len(out) != r.rawLen {
		return nil, buf, fmt.Errorf("BUG: head: sealed run does not decompress to %d bytes: %w", r.rawLen, err)
	}
	return out, buf, nil
}

// Line returns line i out of what Text returned, aliasing it.
func (r *Run) Line(text []byte, i int) string {
	start := uint32(0)
	if i > 0 {
		start = r.ends[i-1]
	}
	b := text[start:r.ends[i]]
	return unsafe.String(unsafe.SliceData(b), len(b))
}
