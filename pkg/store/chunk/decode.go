package chunk

import (
	"fmt"
	"slices"
	"sync"
	"unsafe"

	"github.com/klauspost/compress/zstd"
)

// Decoder owns the memory that decoding a block uses. It is reused from block
// to block and used by one goroutine at a time. The zero value is not usable.
type Decoder struct {
	zstd *zstd.Decoder
	ints intsDecoder
	// file holds a block read by ReadAt; packed sections are unpacked into the others.
	file            []byte
	meta, text, raw []byte
	lines           []byte
	ends, lastEnds  []int
	// value and lastValue hold the metadata values of a row and of the one before.
	value, lastValue []byte
	table            table
	// keep are the rows that the present call wants; nil is all of its range.
	keep    rowSet
	matcher matcher
	// rows are the numbers of the rows that Pick chooses from.
	rows []uint32
}

// NewDecoder returns a decoder. It keeps 3 MB after blocks of TargetRawBytes.
func NewDecoder() (*Decoder, error) {
	z, err := newZstdDecoder()
	if err != nil {
		return nil, err
	}
	return &Decoder{zstd: z}, nil
}

// decoders serve the calls that have no Decoder of their own.
var decoders sync.Pool

func getDecoder() (*Decoder, error) {
	if d, ok := decoders.Get().(*Decoder); ok {
		return d, nil
	}
	return NewDecoder()
}

func putDecoder(d *Decoder) { decoders.Put(d) }

// ownInts reads ints that have descriptor and data in the rest of r.
func (dec *Decoder) ownInts(r *reader, n int) (intCol, error) {
	desc := reader{sec: r.sec}
	desc.buf = r.bytes(r.count(r.left()))
	data := reader{sec: r.sec, buf: r.bytes(r.left())}
	if r.err != nil {
		return intCol{}, r.err
	}
	dec.ints.reset(n)
	col := dec.ints.decode(&desc, &data, n)
	desc.done()
	data.done()
	if desc.err != nil {
		return intCol{}, desc.err
	}
	return col, data.error()
}

// Decode sets dst to all rows of the block, byte for byte what was encoded.
// dst.Lines alias memory of dec until its next use.
func (b *Block) Decode(dec *Decoder, dst *Rows) error {
	return b.DecodeRange(dec, dst, 0, b.h.rows)
}

// DecodeRange is Decode for the rows fromRow <= i < toRow, for instance those
// of one stream.
func (b *Block) DecodeRange(dec *Decoder, dst *Rows, fromRow, toRow int) error {
	return b.decode(dec, dst, fromRow, toRow, &Choice{})
}

// Choice says which rows of a range are wanted. The zero value is all.
type Choice struct {
	// Needles leaves out rows that certainly lack one of them (as in
	// strings.Contains). Rows that lack some may stay in: needles are looked for in
	// shapes, dictionaries and columns before lines are put together, and only whole
	// words and identifiers can be found there.
	Needles []string
	// Any leaves out rows that certainly have none of these texts, like Needles.
	// With AnyFold they are looked for in any case, Unicode's simple folding
	// included. Empty is without effect.
	Any     []string
	AnyFold bool
	// None leaves out rows that certainly have one of these texts. Others that
	// have one may stay in.
	None []string
	// NoLines leaves Lines empty: only times and metadata are decoded. It is ignored
	// when there are needles.
	NoLines bool
	// Pick is given the numbers of the rows that are left, in ascending order, and
	// the streams and times of all rows of the block. It returns the numbers of
	// those that are wanted, in ascending order and possibly in the same memory.
	// nil wants all.
	Pick func(rows, streams []uint32, times []int64) []uint32
}

// DecodeSome is DecodeRange for some of the rows. What it costs is little for
// the rows that are left out.
func (b *Block) DecodeSome(dec *Decoder, dst *Rows, fromRow, toRow int, c *Choice) error {
	return b.decode(dec, dst, fromRow, toRow, c)
}

// decode reads the chosen rows of from..to.
func (b *Block) decode(dec *Decoder, dst *Rows, from, to int, c *Choice) error {
	if from < 0 || to > b.h.rows || from > to {
		return fmt.Errorf("chunk block has %d rows, asked for rows %d to %d", b.h.rows, from, to)
	}
	dst.Reset()
	whole, noLines := b, c.NoLines && len(c.Needles) == 0
	if !noLines {
		var err error
		if whole, err = b.load(dec); err != nil {
			return err
		}
	}
	if err := whole.decodeTimes(dec, dst); err != nil {
		return err
	}
	dec.keep = nil
	dec.meta, dec.text, dec.raw, dec.lines = trim(dec.meta), trim(dec.text), trim(dec.raw), trim(dec.lines)
	lines := whole.decodeColumns
	if whole.h.mode == modePlain {
		lines = whole.decodePlain
	}
	if noLines {
		dec.pick(c, dst, from, to)
	} else if err := lines(dec, dst, from, to, c); err != nil {
		return err
	}
	if dec.keep != nil && dec.keep.empty() {
		dst.Reset()
		return nil
	}
	if err := whole.decodeMetadata(dec, dst, from, to); err != nil {
		return err
	}
	dst.Stream = sliceRows(dst.Stream, from, to)
	dst.Timestamps = sliceRows(dst.Timestamps, from, to)
	if dec.keep != nil {
		dst.Stream = filterRows(dst.Stream, dec.keep, from)
		dst.Timestamps = filterRows(dst.Timestamps, dec.keep, from)
	}
	return nil
}

// pick reduces dec.keep, nil for all, to the rows that are chosen.
func (dec *Decoder) pick(c *Choice, dst *Rows, from, to int) {
	if c.Pick == nil {
		return
	}
	rows := dec.rows[:0]
	for i := from; i < to; i++ {
		if dec.keep == nil || dec.keep.has(i) {
			rows = append(rows, uint32(i))
		}
	}
	dec.rows = rows
	dec.matcher.clear(len(dst.Timestamps))
	dec.keep = dec.matcher.keep
	for _, i := range c.Pick(rows, dst.Stream, dst.Timestamps) {
		dec.keep.add(int(i))
	}
}

// sliceRows moves the wanted rows to the front, so that dst keeps its memory.
func sliceRows[T any](s []T, from, to int) []T {
	return s[:copy(s, s[from:to])]
}

// load returns b itself or, when it would have to read section by section, a
// copy of it that is read at once into memory of the decoder.
func (b *Block) load(dec *Decoder) (*Block, error) {
	if b.data != nil {
		return b, nil
	}
	dec.file = slices.Grow(trim(dec.file), b.size)[:b.size]
	if err := readFull(b.src, dec.file, b.base, SectionHeader); err != nil {
		return nil, err
	}
	return &Block{data: dec.file, size: b.size, h: b.h, streams: b.streams}, nil
}

func (b *Block) decodePlain(dec *Decoder, dst *Rows, from, to int, c *Choice) error {
	p, err := b.section(SectionLens)
	if err != nil {
		return err
	}
	r := reader{buf: p, sec: SectionLens}
	lens, err := dec.ownInts(&r, b.h.rows)
	if err != nil {
		return err
	}
	if p, err = b.section(SectionRaw); err != nil {
		return err
	}
	text, err := unpack(dec.zstd, &dec.lines, p, SectionRaw, b.h.rawBytes)
	if err != nil {
		return err
	}
	if len(text) > 0 && p[0] == codecStored {
		// Lines alias the decoder's memory, never the block's.
		dec.lines = append(dec.lines[:0], text...)
		text = dec.lines
	}
	dst.Lines = slices.Grow(dst.Lines[:0], to-from)
	at := 0
	for i, n := range lens.v {
		if n > uint64(len(text)-at) {
			return &CorruptError{Section: SectionLens, Offset: -1, Reason: "lines are longer than their text"}
		}
		if i >= from && i < to {
			dst.Lines = append(dst.Lines, aliasString(text[at:at+int(n)]))
		}
		at += int(n)
	}
	if at != len(text) || at != b.h.rawBytes {
		return &CorruptError{Section: SectionLens, Offset: -1, Reason: "lines do not fill their text"}
	}
	if len(c.Needles) > 0 {
		dec.matcher.clear(b.h.rows)
		dec.keep = dec.matcher.keep
		for i, l := range dst.Lines {
			if containsAll(l, c.Needles) {
				dec.keep.add(from + i)
			}
		}
	}
	dec.pick(c, dst, from, to)
	if dec.keep != nil {
		dst.Lines = filterRows(dst.Lines, dec.keep, from)
	}
	return nil
}

// aliasString makes a string of b without copying; b must not change while the
// string is used.
func aliasString(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b))
}
