package peers

import (
	"encoding/binary"
	"unsafe"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// maxLabelPairs bounds the labels of one label set.
const maxLabelPairs = 4096

// appendLabels appends a label set: the number of pairs, then each name and
// value with its length.
func appendLabels(dst []byte, ls labels.Labels) []byte {
	dst = binary.AppendUvarint(dst, uint64(ls.Len()))
	ls.Range(func(l labels.Label) {
		dst = appendString(appendString(dst, l.Name), l.Value)
	})
	return dst
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// decoder reads a payload. After an error everything is zero.
type decoder struct {
	b       []byte
	err     error
	builder labels.ScratchBuilder
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = damaged("%s", what)
	}
	d.b = nil
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("a number is cut off")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail("a number is cut off")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads a number of things, each of which takes at least size bytes of
// what is left.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.b)/size) {
		d.fail("more is announced than there is")
		return 0
	}
	return int(n)
}

// bytes returns n bytes of the payload itself.
func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail("a text is cut off")
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

// text returns a copy of a string.
func (d *decoder) text() string { return string(d.bytes(d.uvarint())) }

// labels returns a label set of its own memory.
func (d *decoder) labels() labels.Labels {
	n := d.count(2)
	if n > maxLabelPairs {
		d.fail("a label set is too large")
	}
	if d.err != nil || n == 0 {
		return labels.EmptyLabels()
	}
	d.builder.Reset()
	last := ""
	for i := range n {
		name, value := d.bytes(d.uvarint()), d.bytes(d.uvarint())
		if d.err != nil {
			return labels.EmptyLabels()
		}
		k := string(name)
		if i > 0 && k <= last {
			d.fail("labels are not sorted")
			return labels.EmptyLabels()
		}
		last = k
		d.builder.Add(k, string(value))
	}
	return d.builder.Labels()
}

// end fails if something is left.
func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.fail("something follows the end of a frame")
	}
	return d.err
}

// What a batch frame has beside streams, numbers and times.
const (
	hasLines byte = 1 << iota
	hasMetadata
	hasCounts
)

// batchEncoder turns rows into payloads of batch frames.
type batchEncoder struct {
	buf     []byte
	streams int // of the table, how many have been sent
	sets    []labels.Labels
	setOf   []uint32
}

// recentSets is how many label sets a row's metadata is compared with.
const recentSets = 16

// metadata appends the label sets that occur, then the number of each row's. A
// set may occur twice: only the last few are compared with.
func (e *batchEncoder) metadata(dst []byte, rows []labels.Labels) []byte {
	e.sets, e.setOf = e.sets[:0], e.setOf[:0]
	for _, ls := range rows {
		i := len(e.sets) - 1
		for ; i >= max(0, len(e.sets)-recentSets) && !labels.Equal(e.sets[i], ls); i-- {
		}
		if i < max(0, len(e.sets)-recentSets) {
			i = len(e.sets)
			e.sets = append(e.sets, ls)
		}
		e.setOf = append(e.setOf, uint32(i))
	}
	dst = binary.AppendUvarint(dst, uint64(len(e.sets)))
	for _, ls := range e.sets {
		dst = appendLabels(dst, ls)
	}
	for _, i := range e.setOf {
		dst = binary.AppendUvarint(dst, uint64(i))
	}
	return dst
}

// encode returns the payload for rows [from, to) of b.
func (e *batchEncoder) encode(b *model.EntryBatch, from, to int) []byte {
	what := byte(0)
	if len(b.Lines) > 0 {
		what |= hasLines
	}
	if len(b.Metadata) > 0 {
		what |= hasMetadata
	}
	if len(b.Counts) > 0 {
		what |= hasCounts
	}
	dst := e.buf[:0]
	dst = append(dst, what)
	dropped := 0
	if from == 0 {
		dropped = b.Dropped
	}
	dst = binary.AppendUvarint(dst, uint64(dropped))
	fresh := b.Streams[min(e.streams, len(b.Streams)):]
	e.streams = len(b.Streams)
	dst = binary.AppendUvarint(dst, uint64(len(fresh)))
	for _, ls := range fresh {
		dst = appendLabels(dst, ls)
	}
	dst = binary.AppendUvarint(dst, uint64(to-from))
	for _, id := range b.StreamIndex[from:to] {
		dst = binary.AppendUvarint(dst, uint64(id))
	}
	last := int64(0)
	for _, t := range b.Timestamps[from:to] {
		dst = binary.AppendVarint(dst, t-last) // wraps around, and back
		last = t
	}
	if what&hasCounts != 0 {
		for _, n := range b.Counts[from:to] {
			dst = binary.AppendUvarint(dst, uint64(n))
		}
	}
	if what&hasMetadata != 0 {
		dst = e.metadata(dst, b.Metadata[from:to])
	}
	if what&hasLines != 0 {
		for _, l := range b.Lines[from:to] {
			dst = binary.AppendUvarint(dst, uint64(len(l)))
		}
		for _, l := range b.Lines[from:to] {
			dst = append(dst, l...)
		}
	}
	e.buf = dst
	return dst
}

// cutRows says how many rows from on go into one frame: at least one.
func cutRows(b *model.EntryBatch, from int) (to int) {
	last := min(len(b.Timestamps), from+frameRows)
	if len(b.Lines) == 0 && len(b.Metadata) == 0 {
		return last
	}
	text := 0
	for to = from; to < last; to++ {
		if len(b.Lines) > 0 {
			text += len(b.Lines[to])
		}
		if len(b.Metadata) > 0 {
			text += int(b.Metadata[to].ByteSize())
		}
		if text > frameText && to > from {
			return to
		}
	}
	return to
}

// batchTable is the stream table of one iteration, on the receiving side.
type batchTable struct {
	streams []labels.Labels
	base    int                      // where those of the answer at hand begin
	sets    []labels.Labels          // of metadata, in the frame at hand
	known   map[string]labels.Labels // sets of former frames, by their encoded form
}

// maxKnownSets bounds the label sets of metadata that are remembered.
const maxKnownSets = 4096

// metadata reads the label sets of a frame and gives each row its own.
func (t *batchTable) metadata(d *decoder, b *model.EntryBatch, rows int) {
	t.sets = t.sets[:0]
	for n := d.count(1); n > 0 && d.err == nil; n-- {
		t.sets = append(t.sets, t.set(d))
	}
	for range rows {
		i := d.uvarint()
		if i >= uint64(len(t.sets)) {
			d.fail("a row has no metadata")
			return
		}
		b.Metadata = append(b.Metadata, t.sets[i])
	}
}

// set returns a label set, the one that it was before if it is known.
func (t *batchTable) set(d *decoder) labels.Labels {
	start := d.b
	for n := d.count(2); n > 0 && d.err == nil; n-- {
		d.bytes(d.uvarint())
		d.bytes(d.uvarint())
	}
	if d.err != nil {
		return labels.EmptyLabels()
	}
	raw := start[:len(start)-len(d.b)]
	if ls, ok := t.known[string(raw)]; ok {
		return ls
	}
	d.b = start
	ls := d.labels()
	if len(t.known) >= maxKnownSets || t.known == nil {
		t.known = map[string]labels.Labels{}
	}
	if d.err == nil {
		t.known[string(raw)] = ls
	}
	return ls
}

// decodeBatch reads a payload into b, whose columns are used again; lines are
// parts of the payload. The table grows.
func (t *batchTable) decodeBatch(payload []byte, b *model.EntryBatch) error {
	b.Reset()
	d := decoder{b: payload}
	var what byte
	if x := d.bytes(1); len(x) == 1 {
		what = x[0]
	}
	if what&^(hasLines|hasMetadata|hasCounts) != 0 {
		d.fail("a batch has unknown parts")
	}
	b.Dropped = int(min(d.uvarint(), 1<<30))
	for n := d.count(1); n > 0 && d.err == nil; n-- {
		t.streams = append(t.streams, d.labels())
	}
	rows := d.count(2)
	d.columns(t, b, rows)
	if what&hasCounts != 0 && d.err == nil {
		for range rows {
			n := d.uvarint()
			if n > 1<<32-1 {
				d.fail("a count is too large")
			}
			b.Counts = append(b.Counts, uint32(n))
		}
	}
	if what&hasMetadata != 0 && d.err == nil {
		t.metadata(&d, b, rows)
	}
	if what&hasLines != 0 && d.err == nil {
		d.lines(b, rows)
	}
	b.Streams = t.streams
	if what&hasMetadata == 0 {
		b.Metadata = nil
	}
	if what&hasCounts == 0 {
		b.Counts = nil
	}
	if what&hasLines == 0 {
		b.Lines = nil
	}
	return d.end()
}

// columns reads the numbers of streams and the times.
func (d *decoder) columns(t *batchTable, b *model.EntryBatch, rows int) {
	for range rows {
		id := d.uvarint()
		if id >= uint64(len(t.streams)-t.base) {
			d.fail("a row has no stream")
			return
		}
		id += uint64(t.base)
		b.StreamIndex = append(b.StreamIndex, uint32(id))
	}
	last := int64(0)
	for range rows {
		last += d.varint()
		b.Timestamps = append(b.Timestamps, last)
	}
}

// lines reads the lines: their lengths, then their text, which is not copied.
func (d *decoder) lines(b *model.EntryBatch, rows int) {
	lengths := d.b
	for range rows {
		d.uvarint()
	}
	if d.err != nil {
		return
	}
	text := d.b
	for range rows {
		n, k := binary.Uvarint(lengths)
		lengths = lengths[k:]
		if n > uint64(len(text)) {
			d.fail("a line is cut off")
			return
		}
		b.Lines = append(b.Lines, unsafe.String(unsafe.SliceData(text), int(n)))
		text = text[n:]
	}
	d.b = text
}

// appendStats appends what a Select has cost.
func appendStats(dst []byte, s model.SelectStats) []byte {
	for _, n := range [...]int64{int64(s.Blocks), int64(s.ChunkBlocks), int64(s.ChunkBlocksSkipped), s.Lines, s.Bytes, s.CompressedBytes} {
		dst = binary.AppendVarint(dst, n)
	}
	return dst
}

func decodeStats(payload []byte) (s model.SelectStats, err error) {
	d := decoder{b: payload}
	s.Blocks, s.ChunkBlocks, s.ChunkBlocksSkipped = int(d.varint()), int(d.varint()), int(d.varint())
	s.Lines, s.Bytes, s.CompressedBytes = d.varint(), d.varint(), d.varint()
	return s, d.end()
}
