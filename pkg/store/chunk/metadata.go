package chunk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
)

// Kinds of the METADATA section.
const (
	metadataTable = 0
	metadataPlain = 1
)

func hasMetadata(m []labels.Labels) bool {
	for i := range m {
		if !m[i].IsEmpty() {
			return true
		}
	}
	return false
}

// encodeMetadata writes structured metadata.
func (e *Encoder) encodeMetadata(rows *Rows, metaBytes int) {
	if !e.encodeMetadataTable(rows, metaBytes) {
		e.encodeMetadataPlain(rows, metaBytes)
	}
}

// encodeMetadataTable writes a table, with a shape per set of names and a column per
// name. It is false when somebody sends so many names that a table would go
// beyond what a reader accepts.
func (e *Encoder) encodeMetadataTable(rows *Rows, metaBytes int) bool {
	s, c := &e.lines, &e.cols
	defer s.release()
	s.reset()
	for _, m := range rows.Metadata {
		s.text = s.text[:0]
		n := 0
		m.Range(func(l labels.Label) {
			s.text = binary.AppendUvarint(s.text, uint64(len(l.Name)))
			s.text = append(s.text, l.Name...)
			s.fields = append(s.fields, l.Value)
			n++
		})
		s.addRow(n, 0)
	}
	fields := 0
	for i := range s.shapes {
		sh := &s.shapes[i]
		if fields += sh.fields; sh.fields > maxLineFields || fields > maxNodes/4 {
			return false
		}
		r := reader{buf: []byte(sh.text)}
		sh.keys = make([]string, 0, sh.fields)
		for range sh.fields {
			sh.keys = append(sh.keys, string(r.bytes(r.count(r.left()))))
		}
	}
	c.reset(rows.Timestamps, s.rowsOf)
	s.ids = c.ints.alloc(rows.Len())
	s.deal(nil)
	e.encodeTable()
	if limit := textLimit(metaBytes); len(e.meta) > maxMetaBytes || len(c.text) > limit || len(c.raw) > limit || c.nodes > maxNodes {
		return false
	}
	var packed [5][]byte
	packed[0] = appendPacked(nil, e.zstd, e.meta)
	packed[1] = appendPacked(nil, e.zstd, c.text)
	packed[2] = appendPacked(nil, e.zstd, c.raw)
	packed[3], packed[4] = e.ids, c.data
	p := e.parts[SectionMetadata]
	p = append(p, metadataTable)
	for _, b := range packed {
		p = binary.AppendUvarint(p, uint64(len(b)))
	}
	for _, b := range packed {
		p = append(p, b...)
	}
	e.parts[SectionMetadata] = p
	return true
}

// encodeMetadataPlain writes pairs row after row as one text.
func (e *Encoder) encodeMetadataPlain(rows *Rows, metaBytes int) {
	text := make([]byte, 0, metaBytes+4*rows.Len())
	for _, m := range rows.Metadata {
		n, _ := metadataSize(m)
		text = binary.AppendUvarint(text, uint64(n))
		m.Range(func(l labels.Label) {
			text = binary.AppendUvarint(text, uint64(len(l.Name)))
			text = append(text, l.Name...)
			text = binary.AppendUvarint(text, uint64(len(l.Value)))
			text = append(text, l.Value...)
		})
	}
	p := e.parts[SectionMetadata]
	p = append(p, metadataPlain)
	e.parts[SectionMetadata] = appendPacked(p, e.zstd, text)
}

// decodeMetadata rebuilds the structured metadata of rows from..to.
func (b *Block) decodeMetadata(dec *Decoder, dst *Rows, from, to int) error {
	packed, err := b.section(SectionMetadata)
	if err != nil || packed == nil {
		return err
	}
	inSection := func(err error) error {
		var c *CorruptError
		if errors.As(err, &c) {
			return &CorruptError{Section: SectionMetadata, Offset: c.Offset, Reason: c.Section.String() + ": " + c.Reason}
		}
		return err
	}
	switch packed[0] {
	case metadataPlain:
		return inSection(b.decodeMetadataPlain(dec, packed[1:], dst, from, to))
	case metadataTable:
	default:
		return &CorruptError{Section: SectionMetadata, Offset: 0, Reason: "unknown kind of metadata"}
	}
	p, err := dec.metadataParts(packed[1:], b.h.metaBytes)
	if err != nil {
		return inSection(err)
	}
	t := &dec.table
	if err := t.open(&dec.ints, p, b.h.rows, b.h.metaBytes, true); err != nil {
		return inSection(err)
	}
	t.skip(0, from)
	dst.Metadata = slices.Grow(dst.Metadata[:0], to-from)
	var (
		builder   = labels.NewScratchBuilder(8)
		last      labels.Labels
		lastShape = -1
		budget    = b.h.metaBytes
	)
	for i := from; i < to; i++ {
		if dec.keep != nil {
			k := dec.keep.next(i, to)
			t.skip(i, k)
			if i = k; i == to {
				break
			}
		}
		no := int(t.rowShapes[i])
		s := &t.shapes[no]
		dec.value, dec.ends = dec.value[:0], dec.ends[:0]
		for _, c := range t.shapeCols[s.colFrom:s.colTo] {
			dec.value = t.appendOps(dec.value, t.colOps[c:c+1], t.cols, dst.Timestamps[i], b.h.metaBytes)
			dec.ends = append(dec.ends, len(dec.value))
		}
		if budget -= len(dec.value) + s.namesBytes; budget < 0 {
			t.tooLong()
		}
		if t.failed != nil {
			return inSection(t.failed)
		}
		// Rows of one pod mostly repeat the row before.
		if no != lastShape || !bytes.Equal(dec.value, dec.lastValue) || !slices.Equal(dec.ends, dec.lastEnds) {
			builder.Reset()
			at := 0
			for f, name := range s.names {
				builder.Add(name, string(dec.value[at:dec.ends[f]]))
				at = dec.ends[f]
			}
			last, lastShape = builder.Labels(), no
			dec.value, dec.lastValue = dec.lastValue, dec.value
			dec.ends, dec.lastEnds = dec.lastEnds, dec.ends
		}
		dst.Metadata = append(dst.Metadata, last)
	}
	return nil
}

// decodeMetadataPlain rebuilds metadata that was written row after row.
func (b *Block) decodeMetadataPlain(dec *Decoder, packed []byte, dst *Rows, from, to int) error {
	// Three varints of at most 5 bytes for lengths, per row and per pair.
	limit := b.h.metaBytes + 5*b.h.rows + 10*maxPairs
	text, err := unpack(dec.zstd, &dec.text, packed, SectionMetadata, limit)
	if err != nil {
		return err
	}
	dst.Metadata = slices.Grow(dst.Metadata[:0], to-from)
	builder := labels.NewScratchBuilder(8)
	r := reader{buf: text, sec: SectionMetadata}
	budget := b.h.metaBytes
	for i := range b.h.rows {
		wanted := i >= from && i < to && (dec.keep == nil || dec.keep.has(i))
		builder.Reset()
		for range r.count(maxFields) {
			name := r.bytes(r.count(r.left()))
			value := r.bytes(r.count(r.left()))
			if budget -= len(name) + len(value); budget < 0 {
				r.fail("longer than the header says")
			}
			if r.err != nil {
				return r.err
			}
			if wanted {
				builder.Add(string(name), string(value))
			}
		}
		if wanted {
			dst.Metadata = append(dst.Metadata, builder.Labels())
		}
	}
	r.done()
	return r.error()
}

// metadataParts takes the METADATA section apart.
func (dec *Decoder) metadataParts(section []byte, metaBytes int) (p tableParts, err error) {
	r := reader{buf: section, sec: SectionMetadata}
	var lens [5]int
	for i := range lens {
		lens[i] = r.count(len(section))
	}
	var parts [5][]byte
	for i := range parts {
		parts[i] = r.bytes(lens[i])
	}
	r.done()
	if r.err != nil {
		return p, r.err
	}
	limit := textLimit(metaBytes)
	if p.meta, err = unpack(dec.zstd, &dec.meta, parts[0], SectionMeta, maxMetaBytes); err != nil {
		return p, err
	}
	if p.text, err = unpack(dec.zstd, &dec.text, parts[1], SectionText, limit); err != nil {
		return p, err
	}
	if p.raw, err = unpack(dec.zstd, &dec.raw, parts[2], SectionRaw, limit); err != nil {
		return p, err
	}
	p.ids, p.data = parts[3], parts[4]
	return p, nil
}
