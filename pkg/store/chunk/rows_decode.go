package chunk

import "slices"

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

// fewRows is the number of rows that are skipped one by one.
const fewRows = 8

// skip moves the cursors of all columns over rows from..to.
func (t *table) skip(from, to int) {
	if to-from <= fewRows {
		for _, s := range t.rowShapes[from:to] {
			sh := &t.shapes[s]
			for _, c := range t.shapeCols[sh.colFrom:sh.colTo] {
				t.skipNode(&t.cols[c], 1)
			}
		}
		return
	}
	uses, by := zeros(&t.uses, len(t.shapes)), zeros(&t.by, len(t.cols))
	for _, s := range t.rowShapes[from:to] {
		uses[s]++
	}
	for i := range t.shapes {
		if uses[i] == 0 {
			continue
		}
		s := &t.shapes[i]
		for _, c := range t.shapeCols[s.colFrom:s.colTo] {
			by[c] += uses[i]
		}
	}
	for c, k := range by {
		if k > 0 {
			t.skipNode(&t.cols[c], k)
		}
	}
}

// zeros returns n zeros in reused memory.
func zeros(buf *[]int, n int) []int {
	*buf = slices.Grow((*buf)[:0], n)[:n]
	clear(*buf)
	return *buf
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
		if k == 1 {
			r := t.skeletons[nd.skel+int(nd.vals[from])]
			t.skipOps(t.ops[r.from:r.to], t.kids)
			return
		}
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

// choose sets dec.keep to the rows that may have the texts of a choice, nil for
// all.
func (dec *Decoder) choose(c *Choice) {
	t, m := &dec.table, &dec.matcher
	var buf [16]probe
	probes := buf[:0]
	for _, n := range c.Needles {
		probes = appendProbes(probes, n)
	}
	if len(probes) > 0 {
		m.find(t, probes)
		dec.keep = m.keep
	}
	if anyOf := anyProbes(c); anyOf != nil && !(dec.keep != nil && dec.keep.empty()) {
		all := slices.Clone(dec.keep)
		m.findAny(t, anyOf)
		dec.keep = m.keep
		for i := range all {
			dec.keep[i] &= all[i]
		}
	}
	if len(c.None) > 0 && !(dec.keep != nil && dec.keep.empty()) {
		m.findNone(t, c.None, dec.keep == nil)
		dec.keep = m.keep
	}
}

// decodeColumns rebuilds lines from..to of a block in columns.
func (b *Block) decodeColumns(dec *Decoder, dst *Rows, from, to int, c *Choice) error {
	p, err := b.unpackTable(dec)
	if err != nil {
		return err
	}
	t := &dec.table
	if err := t.open(&dec.ints, p, b.h.rows, b.h.rawBytes, false); err != nil {
		return err
	}
	if b.h.flags&flagLettersWhole != 0 {
		if dec.choose(c); dec.keep != nil && dec.keep.empty() {
			return nil // the caller sees it
		}
	}
	dec.pick(c, dst, from, to)
	t.skip(0, from)
	// A row may overshoot by values of fixed size before the limit is checked.
	limit := b.h.rawBytes
	out := slices.Grow(dec.lines[:0], limit+maxFixedValue)
	ends := slices.Grow(dec.ends[:0], to-from)
	for i := from; i < to; i++ {
		if dec.keep != nil {
			k := dec.keep.next(i, to)
			t.skip(i, k)
			if i = k; i == to {
				break
			}
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
	limit := textLimit(b.h.rawBytes)
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
