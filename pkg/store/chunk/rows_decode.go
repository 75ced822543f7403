package chunk

import (
	"bytes"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
)

// appendOps appends literal texts and the next values of nodes. It is where
// decoding spends its time. At the start of an op dst is at most limit long, and
// what is appended unchecked is at most maxFixedValue.
func (t *table) appendOps(dst []byte, ops []op, nodes []node, ts int64, limit int) []byte {
	for k := range ops {
		o := &ops[k]
		if len(dst)+len(o.lit) > limit {
			t.tooLong()
			return dst
		}
		dst = append(dst, o.lit...)
		if o.node < 0 {
			continue
		}
		nd := &nodes[o.node]
		i := nd.next
		nd.next++
		x := nd.vals[i]
		switch nd.kind {
		case nodeInt:
			dst = appendUint(dst, x)
		case nodeFixInt:
			dst = appendPadded(dst, x, nd.width)
		case nodeDigits:
			n := decimalLen(x) - 1
			dst = appendPadded(dst, x, n)
		case nodeHex:
			dst = appendHex(dst, nd.bytes[int(x)*nd.width:int(x+1)*nd.width], &lowerHex)
		case nodeHexUpper:
			dst = appendHex(dst, nd.bytes[int(x)*nd.width:int(x+1)*nd.width], &upperHex)
		case nodeUUID:
			dst = appendUUID(dst, nd.bytes[int(x)*nd.width:], &lowerHex)
		case nodeUUIDUpper:
			dst = appendUUID(dst, nd.bytes[int(x)*nd.width:], &upperHex)
		case nodeTime:
			var ok bool
			if dst, ok = nd.layout.append(dst, nd.layout.value(unzigzag(x), ts)); !ok {
				t.fail(SectionData, "time outside its layout")
				return dst
			}
		case nodeDict:
			from := uint32(0)
			if x > 0 {
				from = nd.ends[x-1]
			}
			v := nd.bytes[from:nd.ends[x]]
			if len(dst)+len(v) > limit {
				t.tooLong()
				return dst
			}
			dst = append(dst, v...)
		case nodeRaw:
			v := nd.bytes[nd.at : nd.at+int(x)]
			nd.at += int(x)
			if len(dst)+len(v) > limit {
				t.tooLong()
				return dst
			}
			dst = append(dst, v...)
		case nodeSplit:
			r := t.skeletons[nd.skel+int(x)]
			dst = t.appendOps(dst, t.ops[r.from:r.to], t.kids, ts, limit)
		}
	}
	return dst
}

// fail remembers the first problem found while rows are put together.
func (t *table) fail(s Section, reason string) {
	if t.failed == nil {
		t.failed = &CorruptError{Section: s, Offset: -1, Reason: reason}
	}
}

func (t *table) tooLong() {
	t.fail(SectionMeta, "lines are longer than the header says")
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
		uses := make([]int, nd.count)
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
	}
}

// appendLine appends the line of a row of shape s.
func (t *table) appendLine(dst []byte, s *shape, ts int64, limit int) []byte {
	return t.appendOps(dst, t.ops[s.ops.from:s.ops.to], t.cols, ts, limit)
}

// decodeColumns rebuilds lines from..to of a block in columns.
func (b *Block) decodeColumns(dec *Decoder, dst *Rows, from, to int, needles []string) error {
	p, err := b.unpackTable(dec)
	if err != nil {
		return err
	}
	t := &dec.table
	if err := t.open(&dec.ints, p, b.h.rows, b.h.rawBytes, false); err != nil {
		return err
	}
	if b.h.flags&flagLettersWhole != 0 {
		var buf [16]probe
		probes := buf[:0]
		for _, n := range needles {
			probes = appendProbes(probes, n)
		}
		if len(probes) > 0 {
			dec.matcher.find(t, probes)
			if dec.keep = dec.matcher.keep; dec.keep.count() == 0 {
				return nil // the caller sees it
			}
		}
	}
	t.skip(from)
	// A row may overshoot by values of fixed size before the limit is checked.
	limit := b.h.rawBytes
	out := slices.Grow(dec.lines[:0], limit+maxFixedValue)
	ends := slices.Grow(dec.ends[:0], to-from)
	for i := from; i < to; i++ {
		if dec.keep != nil && !dec.keep.has(i) {
			s := &t.shapes[t.rowShapes[i]]
			t.skipOps(t.ops[s.ops.from:s.ops.to], t.cols)
			continue
		}
		out = t.appendLine(out, &t.shapes[t.rowShapes[i]], dst.Timestamps[i], limit)
		if len(out) > limit {
			t.tooLong()
		}
		if t.failed != nil {
			return t.failed
		}
		ends = append(ends, len(out))
	}
	if dec.keep == nil && from == 0 && to == b.h.rows && len(out) != limit {
		return &CorruptError{Section: SectionMeta, Offset: -1, Reason: "lines are shorter than the header says"}
	}
	dec.lines, dec.ends = out, ends
	dst.Lines = slices.Grow(dst.Lines[:0], len(ends))
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
		if dec.keep != nil && !dec.keep.has(i) {
			for _, c := range t.shapeCols[s.colFrom:s.colTo] {
				t.skipOps(t.colOps[c:c+1], t.cols)
			}
			continue
		}
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
