package chunk

import (
	"bytes"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
)

// appendValue appends the next value of a column.
func (t *table) appendValue(dst []byte, nd *node, ts int64, limit int) []byte {
	if nd.kind != nodeSplit {
		return t.appendBounded(dst, nd, ts, limit)
	}
	s := int(nd.vals[nd.next])
	nd.next++
	if s == nd.count {
		return t.appendBounded(dst, &t.kids[nd.none], ts, limit)
	}
	r := t.skeletons[nd.skel+s]
	for i := r.from; i < r.to; i++ {
		o := &t.ops[i]
		if len(dst)+len(o.lit) > limit {
			t.tooLong()
			return dst
		}
		dst = append(dst, o.lit...)
		if o.node >= 0 {
			dst = t.appendBounded(dst, &t.kids[o.node], ts, limit)
		}
	}
	return dst
}

// appendBounded appends a value that is not split, if it fits.
func (t *table) appendBounded(dst []byte, nd *node, ts int64, limit int) []byte {
	i := nd.next
	nd.next++
	var v []byte
	switch nd.kind {
	case nodeDict:
		k := nd.vals[i]
		from := uint32(0)
		if k > 0 {
			from = nd.ends[k-1]
		}
		v = nd.bytes[from:nd.ends[k]]
	case nodeRaw:
		n := int(nd.vals[i])
		v = nd.bytes[nd.at : nd.at+n]
		nd.at += n
	case nodeConst:
		v = nd.bytes
	default:
		nd.next = i
		return t.appendFlat(dst, nd, ts)
	}
	if len(dst)+len(v) > limit {
		t.tooLong()
		return dst
	}
	return append(dst, v...)
}

// appendFlat appends the next value of a flat node without looking at a limit.
func (t *table) appendFlat(dst []byte, nd *node, ts int64) []byte {
	i := nd.next
	nd.next++
	switch nd.kind {
	case nodeConst:
		return append(dst, nd.bytes...)
	case nodeInt:
		return appendUint(dst, nd.vals[i])
	case nodeFixInt:
		return appendPadded(dst, nd.vals[i], nd.width)
	case nodeDigits:
		v := nd.vals[i]
		n := decimalLen(v) - 1
		return appendPadded(dst, v-pow10u[n]*(v/pow10u[n]), n)
	case nodeHex, nodeHexUpper, nodeUUID, nodeUUIDUpper:
		at := int(nd.vals[i]) * nd.width
		id := nd.bytes[at : at+nd.width]
		switch nd.kind {
		case nodeHex:
			return appendHex(dst, id, lowerHex)
		case nodeHexUpper:
			return appendHex(dst, id, upperHex)
		case nodeUUID:
			return appendUUID(dst, id, lowerHex)
		}
		return appendUUID(dst, id, upperHex)
	case nodeTime:
		out, ok := nd.layout.append(dst, nd.layout.value(unzigzag(nd.vals[i]), ts))
		if !ok && t.failed == nil {
			t.failed = &CorruptError{Section: SectionData, Offset: -1, Reason: "time outside its layout"}
		}
		return out
	case nodeRaw:
		n := int(nd.vals[i])
		v := nd.bytes[nd.at : nd.at+n]
		nd.at += n
		return append(dst, v...)
	}
	return dst
}

func (t *table) tooLong() {
	if t.failed == nil {
		t.failed = &CorruptError{Section: SectionMeta, Offset: -1, Reason: "lines are longer than the header says"}
	}
}

// skip moves the cursors of all columns over the first n rows.
func (t *table) skip(n int) {
	if n == 0 {
		return
	}
	uses := make([]int, len(t.shapes))
	for _, s := range t.rowShapes[:n] {
		uses[s]++
	}
	by := make([]int, len(t.cols))
	for i := range t.shapes {
		s := &t.shapes[i]
		for _, c := range t.shapeCols[s.colFrom:s.colTo] {
			by[c] += uses[i]
		}
	}
	for c, k := range by {
		t.skipNode(&t.cols[c], k)
	}
}

func (t *table) skipNode(nd *node, k int) {
	from := nd.next
	nd.next += k
	switch nd.kind {
	case nodeRaw:
		for _, n := range nd.vals[from:nd.next] {
			nd.at += int(n)
		}
	case nodeSplit:
		uses := make([]int, nd.count+1)
		for _, s := range nd.vals[from:nd.next] {
			uses[s]++
		}
		for s := range nd.count {
			r := t.skeletons[nd.skel+s]
			for i := r.from; i < r.to; i++ {
				if no := t.ops[i].node; no >= 0 {
					t.skipNode(&t.kids[no], uses[s])
				}
			}
		}
		if nd.none >= 0 {
			t.skipNode(&t.kids[nd.none], uses[nd.count])
		}
	}
}

// appendLine appends the line of a row of shape s.
func (t *table) appendLine(dst []byte, s *shape, ts int64, limit int) []byte {
	for i := s.ops.from; i < s.ops.to; i++ {
		o := &t.ops[i]
		if len(dst)+len(o.lit) > limit {
			t.tooLong()
			return dst
		}
		dst = append(dst, o.lit...)
		if o.node >= 0 {
			dst = t.appendValue(dst, &t.cols[o.node], ts, limit)
		}
	}
	return dst
}

// decodeColumns rebuilds lines from..to of a block in columns.
func (b *Block) decodeColumns(dec *Decoder, dst *Rows, from, to int) error {
	p, err := b.unpackTable(dec)
	if err != nil {
		return err
	}
	t := &dec.table
	if err := t.open(&dec.ints, p, b.h.rows, b.h.rawBytes, false); err != nil {
		return err
	}
	t.skip(from)
	// A row may overshoot by values of fixed size before the limit is checked.
	limit := b.h.rawBytes
	out := slices.Grow(dec.lines[:0], limit+maxFixedValue)
	ends := slices.Grow(dec.ends[:0], to-from)
	for i := from; i < to; i++ {
		out = t.appendLine(out, &t.shapes[t.rowShapes[i]], dst.Timestamps[i], limit)
		if len(out) > limit {
			t.tooLong()
		}
		if t.failed != nil {
			return t.failed
		}
		ends = append(ends, len(out))
	}
	if from == 0 && to == b.h.rows && len(out) != limit {
		return &CorruptError{Section: SectionMeta, Offset: -1, Reason: "lines are shorter than the header says"}
	}
	dec.lines, dec.ends = out, ends
	dst.Lines = slices.Grow(dst.Lines[:0], to-from)
	at := 0
	for _, end := range ends {
		dst.Lines = append(dst.Lines, aliasString(out[at:end]))
		at = end
	}
	return nil
}

// unpackTable gives the parts of the lines' table.
func (b *Block) unpackTable(dec *Decoder) (p tableParts, err error) {
	limit := maxTextFactor*b.h.rawBytes + packedSlack
	for _, s := range []struct {
		sec   Section
		buf   *[]byte
		out   *[]byte
		limit int
	}{
		{SectionMeta, &dec.meta, &p.meta, maxMetaBytes},
		{SectionText, &dec.text, &p.text, limit},
		{SectionRaw, &dec.raw, &p.raw, b.h.rawBytes},
	} {
		packed, err := b.section(s.sec)
		if err != nil {
			return p, err
		}
		if *s.out, err = unpack(dec.zstd, s.buf, packed, s.sec, s.limit); err != nil {
			return p, err
		}
	}
	if p.ids, err = b.section(SectionIDs); err != nil {
		return p, err
	}
	p.data, err = b.section(SectionData)
	return p, err
}

// decodeMetadata rebuilds the structured metadata of rows from..to.
func (b *Block) decodeMetadata(dec *Decoder, dst *Rows, from, to int) error {
	packed, err := b.section(SectionMetadata)
	if err != nil || packed == nil {
		return err
	}
	inSection := func(err error) error {
		if c, ok := err.(*CorruptError); ok {
			return &CorruptError{Section: SectionMetadata, Offset: c.Offset, Reason: c.Section.String() + ": " + c.Reason}
		}
		return err
	}
	p, err := dec.metadataParts(packed, b.h.metaBytes)
	if err != nil {
		return inSection(err)
	}
	t := &dec.table
	if err := t.open(&dec.ints, p, b.h.rows, b.h.metaBytes, true); err != nil {
		return inSection(err)
	}
	t.skip(from)
	dst.Metadata = slices.Grow(dst.Metadata[:0], to-from)
	var (
		builder   = labels.NewScratchBuilder(8)
		last      labels.Labels
		lastShape = -1
		budget    = b.h.metaBytes
	)
	for i := from; i < to; i++ {
		no := int(t.rowShapes[i])
		s := &t.shapes[no]
		dec.value, dec.ends = dec.value[:0], dec.ends[:0]
		for _, c := range t.shapeCols[s.colFrom:s.colTo] {
			dec.value = t.appendValue(dec.value, &t.cols[c], dst.Timestamps[i], b.h.metaBytes)
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

// metadataParts takes the METADATA section apart.
func (d *Decoder) metadataParts(section []byte, metaBytes int) (p tableParts, err error) {
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
	limit := maxTextFactor*metaBytes + packedSlack
	if p.meta, err = unpack(d.zstd, &d.meta, parts[0], SectionMeta, maxMetaBytes); err != nil {
		return p, err
	}
	if p.text, err = unpack(d.zstd, &d.text, parts[1], SectionText, limit); err != nil {
		return p, err
	}
	if p.raw, err = unpack(d.zstd, &d.raw, parts[2], SectionRaw, limit); err != nil {
		return p, err
	}
	p.ids, p.data = parts[3], parts[4]
	return p, nil
}
