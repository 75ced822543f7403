package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/s2"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// RecordType says what a record is.
type RecordType uint8

// The record types of format version 1. Numbers are never reused.
const (
	TypeBatch      RecordType = 1
	TypeCheckpoint RecordType = 2
)

const (
	encRaw    = 0
	encSnappy = 1

	recordHeader = 2
	// compressMin is the body size below which snappy is not tried.
	compressMin = 128
)

// Limits of a record.
const (
	// MaxRecordBytes bounds the body of one record, in both directions.
	MaxRecordBytes = 256 << 20
	// keepRecord is the body size from which on buffers are not kept.
	keepRecord = 8 << 20
	// snappyRatio is more than snappy can compress: 64 bytes in 3 at the best.
	snappyRatio = 24
	// maxLabels bounds the labels of one stream and the pairs of one entry.
	maxLabels = 1 << 16
)

// ErrRecord is wrapped by every error about a record that is intact (its
// checksums hold) but cannot be understood.
var ErrRecord = errors.New("wal: invalid record")

// Encoder builds one record. The zero value is ready; Reset starts a new one.
// The order of calls is Begin, then Define for every new stream, then Stream and
// Entry, then Mark, then Finish. It is not safe for concurrent use.
type Encoder struct {
	typ      RecordType
	firstRef uint32
	defs     int
	streams  int
	marks    int
	defBuf   []byte
	rowBuf   []byte
	markBuf  []byte
	body     []byte
	packed   []byte

	count   int // entries of the current stream
	countAt int // where its count will be written, in rowBuf
	prevTS  int64
}

// Begin starts a record. firstRef is the reference of the first stream that
// Define will add.
func (e *Encoder) Begin(typ RecordType, firstRef uint32) {
	e.typ, e.firstRef = typ, firstRef
	e.defs, e.streams, e.marks = 0, 0, 0
	e.defBuf, e.rowBuf, e.markBuf = e.defBuf[:0], e.rowBuf[:0], e.markBuf[:0]
	e.count, e.countAt = 0, -1
}

// Define gives the next reference to a stream.
func (e *Encoder) Define(ls labels.Labels) {
	e.defBuf = appendLabels(e.defBuf, ls)
	e.defs++
}

// countWidth is the fixed width of the number of entries, which is only known
// after they have been written: a padded varint, valid for any decoder.
const countWidth = 5

// Stream starts the entries of a stream that has a reference.
func (e *Encoder) Stream(ref uint32) {
	e.endStream()
	e.rowBuf = binary.AppendUvarint(e.rowBuf, uint64(ref))
	e.countAt = len(e.rowBuf)
	e.rowBuf = append(e.rowBuf, 0, 0, 0, 0, 0)
	e.count, e.prevTS = 0, 0
	e.streams++
}

func (e *Encoder) endStream() {
	if e.countAt < 0 {
		return
	}
	n := uint64(e.count)
	for i := range countWidth {
		b := byte(n) & 0x7f
		if i < countWidth-1 {
			b |= 0x80
		}
		e.rowBuf[e.countAt+i] = b
		n >>= 7
	}
	e.countAt = -1
}

// Entry adds an entry to the current stream.
func (e *Encoder) Entry(en *model.Entry) {
	e.rowBuf = binary.AppendVarint(e.rowBuf, en.Timestamp-e.prevTS)
	e.prevTS = en.Timestamp
	e.count++
	n := uint64(len(en.Line)) << 1
	if en.Metadata.IsEmpty() {
		e.rowBuf = binary.AppendUvarint(e.rowBuf, n)
		e.rowBuf = append(e.rowBuf, en.Line...)
		return
	}
	e.rowBuf = binary.AppendUvarint(e.rowBuf, n|1)
	e.rowBuf = append(e.rowBuf, en.Line...)
	e.rowBuf = appendLabels(e.rowBuf, en.Metadata)
}

// Mark adds a mark.
func (e *Encoder) Mark(m model.Mark) {
	e.markBuf = appendString(e.markBuf, m.Key)
	if m.Value == nil {
		e.markBuf = append(e.markBuf, 0)
	} else {
		e.markBuf = append(e.markBuf, 1)
		e.markBuf = binary.AppendUvarint(e.markBuf, uint64(len(m.Value)))
		e.markBuf = append(e.markBuf, m.Value...)
	}
	e.marks++
}

// Empty says whether nothing has been added since Begin.
func (e *Encoder) Empty() bool { return e.defs == 0 && e.streams == 0 && e.marks == 0 }

// Size is the present size of the body, before compression.
func (e *Encoder) Size() int { return len(e.defBuf) + len(e.rowBuf) + len(e.markBuf) }

// Finish returns the record in memory of its own. It fails when the record is
// larger than MaxRecordBytes.
func (e *Encoder) Finish() ([]byte, error) {
	e.endStream()
	b := binary.AppendUvarint(e.body[:0], uint64(e.defs))
	if e.defs > 0 {
		b = binary.AppendUvarint(b, uint64(e.firstRef))
	}
	b = append(b, e.defBuf...)
	b = binary.AppendUvarint(b, uint64(e.streams))
	b = append(b, e.rowBuf...)
	b = binary.AppendUvarint(b, uint64(e.marks))
	b = append(b, e.markBuf...)
	if e.body = b; len(b) > keepRecord {
		// One huge batch must not hold memory for ever.
		defer func() { e.rowBuf, e.body, e.packed = nil, nil, nil }()
	}
	if len(b) > MaxRecordBytes {
		return nil, fmt.Errorf("wal: record of %d bytes is larger than the limit of %d", len(b), MaxRecordBytes)
	}
	if len(b) >= compressMin {
		if n := s2.MaxEncodedLen(len(b)); cap(e.packed) < n {
			e.packed = make([]byte, n)
		}
		c := s2.EncodeSnappy(e.packed[:cap(e.packed)], b)
		if len(c) < len(b) {
			rec := make([]byte, 0, recordHeader+len(c))
			rec = append(rec, byte(e.typ), encSnappy)
			return append(rec, c...), nil
		}
	}
	rec := make([]byte, 0, recordHeader+len(b))
	rec = append(rec, byte(e.typ), encRaw)
	return append(rec, b...), nil
}

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendLabels(dst []byte, ls labels.Labels) []byte {
	dst = binary.AppendUvarint(dst, uint64(ls.Len()))
	ls.Range(func(l labels.Label) {
		dst = appendString(dst, l.Name)
		dst = appendString(dst, l.Value)
	})
	return dst
}

// Definition gives a reference to a stream inside one segment.
type Definition struct {
	Ref    uint32
	Labels labels.Labels
}

// StreamRows are the entries of one stream of a record.
type StreamRows struct {
	Ref     uint32
	Entries []model.Entry
}

// Record is a decoded record. Lines and mark values alias the decoder's memory
// and are valid until its next Decode.
type Record struct {
	Type        RecordType
	Definitions []Definition
	Streams     []StreamRows
	Marks       []model.Mark

	resolved []labels.Labels // of Streams, filled while replaying
}

// Labels are those of Streams[i], known while the log is replayed.
func (r *Record) Labels(i int) labels.Labels { return r.resolved[i] }

// Decoder reads records. It is not safe for concurrent use.
type Decoder struct {
	buf []byte
	rec Record
	b   labels.ScratchBuilder
	err error
	in  []byte
}

// Decode reads one record. Its result is valid until the next call. rec is not
// kept. Errors wrap ErrRecord.
func (d *Decoder) Decode(rec []byte) (*Record, error) {
	if len(rec) < recordHeader {
		return nil, fmt.Errorf("%w: %d bytes are too short", ErrRecord, len(rec))
	}
	typ := RecordType(rec[0])
	if typ != TypeBatch && typ != TypeCheckpoint {
		return nil, fmt.Errorf("%w: unknown type %d (written by a newer version?)", ErrRecord, typ)
	}
	switch rec[1] {
	case encRaw:
		d.buf = append(d.buf[:0], rec[recordHeader:]...)
	case encSnappy:
		n, err := snappy.DecodedLen(rec[recordHeader:])
		if err != nil || n > min(MaxRecordBytes, snappyRatio*len(rec)) {
			return nil, fmt.Errorf("%w: impossible decompressed length %d: %w", ErrRecord, n, err)
		}
		if cap(d.buf) < n {
			d.buf = make([]byte, n)
		}
		out, err := snappy.Decode(d.buf[:n], rec[recordHeader:])
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRecord, err)
		}
		d.buf = out
	default:
		return nil, fmt.Errorf("%w: unknown encoding %d (written by a newer version?)", ErrRecord, rec[1])
	}
	d.in, d.err = d.buf, nil
	r := &d.rec
	r.Type = typ
	d.definitions(r)
	d.streams(r)
	d.marks(r)
	if d.err == nil && len(d.in) > 0 {
		d.fail("trailing bytes")
	}
	if d.err != nil {
		return nil, d.err
	}
	return r, nil
}

func (d *Decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s at byte %d of %d", ErrRecord, what, len(d.buf)-len(d.in), len(d.buf))
	}
	d.in = nil
}

func (d *Decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.in)
	if n <= 0 {
		d.fail("bad number")
		return 0
	}
	d.in = d.in[n:]
	return v
}

func (d *Decoder) varint() int64 {
	v, n := binary.Varint(d.in)
	if n <= 0 {
		d.fail("bad number")
		return 0
	}
	d.in = d.in[n:]
	return v
}

// count reads a number of items that take at least size bytes each.
func (d *Decoder) count(size int) int {
	v := d.uvarint()
	if v > uint64(len(d.in)/size) {
		d.fail("count is larger than the record")
		return 0
	}
	return int(v)
}

func (d *Decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.in)) {
		d.fail("length is larger than the record")
		return nil
	}
	b := d.in[:n:n]
	d.in = d.in[n:]
	return b
}

// str returns a string that aliases the decoder's buffer.
func (d *Decoder) str() string {
	b := d.bytes(d.uvarint())
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// labels reads a label set into memory of its own.
func (d *Decoder) labels() labels.Labels {
	n := d.count(2)
	if n > maxLabels {
		d.fail("too many labels")
		return labels.EmptyLabels()
	}
	d.b.Reset()
	last := ""
	for i := range n {
		name := d.str()
		value := d.str()
		if d.err != nil {
			return labels.EmptyLabels()
		}
		if i > 0 && name <= last {
			d.fail("labels are not sorted")
			return labels.EmptyLabels()
		}
		last = name
		d.b.Add(name, value)
	}
	return d.b.Labels()
}

func (d *Decoder) definitions(r *Record) {
	r.Definitions = r.Definitions[:0]
	n := d.count(1)
	if n == 0 {
		return
	}
	first := d.uvarint()
	if first+uint64(n) > 1<<32 {
		d.fail("reference out of range")
		return
	}
	for i := range n {
		ls := d.labels()
		if d.err != nil {
			return
		}
		r.Definitions = append(r.Definitions, Definition{Ref: uint32(first) + uint32(i), Labels: ls})
	}
}

func (d *Decoder) streams(r *Record) {
	n := d.count(2)
	if cap(r.Streams) < n {
		r.Streams = append(r.Streams[:cap(r.Streams)], make([]StreamRows, n-cap(r.Streams))...)
	}
	r.Streams = r.Streams[:n]
	for i := range r.Streams {
		s := &r.Streams[i]
		ref := d.uvarint()
		if ref >= 1<<32 {
			d.fail("reference out of range")
		}
		s.Ref = uint32(ref)
		count := d.count(2)
		s.Entries = s.Entries[:0]
		ts := int64(0)
		for range count {
			ts += d.varint()
			l := d.uvarint()
			b := d.bytes(l >> 1)
			e := model.Entry{Timestamp: ts, Line: unsafe.String(unsafe.SliceData(b), len(b))}
			if l&1 != 0 {
				e.Metadata = d.labels()
			}
			if d.err != nil {
				r.Streams = r.Streams[:i]
				return
			}
			s.Entries = append(s.Entries, e)
		}
	}
}

func (d *Decoder) marks(r *Record) {
	r.Marks = r.Marks[:0]
	n := d.count(2)
	for range n {
		m := model.Mark{Key: d.str()}
		switch p := d.bytes(1); {
		case d.err != nil:
			return
		case p[0] == 1:
			if m.Value = d.bytes(d.uvarint()); m.Value == nil {
				m.Value = []byte{}
			}
		case p[0] != 0:
			d.fail("bad mark")
			return
		}
		r.Marks = append(r.Marks, m)
	}
}
