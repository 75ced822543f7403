package lokiapi

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Proto decodes a PushRequest that is no longer compressed. The result aliases
// body: the caller keeps body unchanged until it has released the push.
func (d *Decoder) Proto(body []byte) (*Push, error) {
	p := d.start()
	err := p.protoRequest(body)
	if err == nil {
		err = p.finish()
	}
	if err != nil {
		p.Release()
		return nil, err
	}
	return p, nil
}

func (p *Push) protoRequest(body []byte) error {
	w := wire{message: "PushRequest", b: body}
	for w.next() {
		if !w.is(1, protowire.BytesType) {
			continue
		}
		if err := p.countStream(); err != nil {
			return err
		}
		if err := p.protoStream(w.raw); err != nil {
			return err
		}
	}
	return w.err
}

// protoStream reads a Stream. Its labels come before its entries in what every
// known writer sends, but protobuf does not promise it: they are looked up first.
func (p *Push) protoStream(b []byte) error {
	const message = "Stream"
	var text []byte
	w := wire{message: message, b: b}
	for w.next() {
		if w.is(1, protowire.BytesType) {
			if text = w.raw; len(b) == len(w.b)+protowire.SizeTag(1)+protowire.SizeBytes(len(text)) {
				break // the first field
			}
		}
	}
	info, err := p.d.protoStreamInfo(text)
	if err != nil {
		return err
	}
	p.open(info)
	w = wire{message: message, b: b}
	for w.next() {
		if w.is(2, protowire.BytesType) {
			if err := p.protoEntry(info, w.raw); err != nil {
				return err
			}
		}
	}
	return w.err
}

func (d *Decoder) protoStreamInfo(text []byte) (*streamInfo, error) {
	if info := d.protoLabels.get(text); info != nil {
		return info, nil
	}
	key := string(text)
	ls, err := ParseLabels(key)
	if err != nil {
		return badStream(err)
	}
	info := d.newStream(ls)
	d.protoLabels.put(key, info)
	return info, nil
}

// protoEntry reads an Entry. It is the hot path of a push: no closure, no
// allocation unless the entry has metadata of its own.
func (p *Push) protoEntry(info *streamInfo, b []byte) error {
	var (
		ts       int64
		line     string
		metadata = -1 // where the pairs begin and end in b
		end      int
	)
	for at := 0; at < len(b); {
		num, v, n := quickField(b[at:])
		if n == 0 {
			w := wire{message: "Entry", b: b[at:]}
			w.next()
			num, v, n = 0, w.raw, len(b)-at-len(w.b)
			if w.num <= 3 && w.is(w.num, protowire.BytesType) {
				num = byte(w.num)
			}
			if w.err != nil {
				return w.err
			}
		}
		switch num {
		case 1:
			var err error
			if ts, err = protoTime(v); err != nil {
				return err
			}
		case 2:
			line = alias(v)
		case 3:
			if metadata < 0 {
				metadata = at
			}
			end = at + n
		}
		at += n
	}
	if metadata < 0 {
		p.meta.reset()
		return p.add(info, ts, line, "")
	}
	raw := alias(b[metadata:end])
	if p.last.is(info, raw) {
		p.meta.reset()
		p.meta.count, p.meta.bytes = p.last.count, p.last.bytes
	} else if err := p.protoMetadata(b[metadata:end]); err != nil {
		return err
	}
	return p.add(info, ts, line, raw)
}

// quickField reads a length-delimited field of less than 16 KiB, which nearly
// all are, faster than wire does; n is its whole length, 0 for other fields.
func quickField(b []byte) (num byte, v []byte, n int) {
	if len(b) < 3 || b[0] < 1<<3 || b[0] >= 0x80 || b[0]&7 != byte(protowire.BytesType) {
		return 0, nil, 0
	}
	start, size := 2, int(b[1])
	if size >= 0x80 {
		if b[2] >= 0x80 {
			return 0, nil, 0
		}
		start, size = 3, size&0x7f|int(b[2])<<7
	}
	if start+size > len(b) {
		return 0, nil, 0
	}
	return b[0] >> 3, b[start : start+size], start + size
}

// protoTime reads a Timestamp. Times outside of what nanoseconds in an int64
// can say (the years 1678 to 2262) become the nearest that can.
func protoTime(b []byte) (int64, error) {
	if len(b) > 7 && b[0] == 1<<3 { // as all writers have it: both fields, in order
		seconds, n := protowire.ConsumeVarint(b[1:])
		if n > 0 && 1+n < len(b) && b[1+n] == 2<<3 {
			nanos, m := protowire.ConsumeVarint(b[2+n:])
			if m > 0 && 2+n+m == len(b) {
				return nanoseconds(int64(seconds), int64(int32(nanos))), nil
			}
		}
	}
	var seconds, nanos int64
	w := wire{message: "Timestamp", b: b}
	for w.next() {
		switch {
		case w.is(1, protowire.VarintType):
			seconds = int64(w.v)
		case w.is(2, protowire.VarintType):
			nanos = int64(int32(w.v))
		}
	}
	return nanoseconds(seconds, nanos), w.err
}

func nanoseconds(seconds, nanos int64) int64 {
	const limit = math.MaxInt64 / 1_000_000_000
	switch {
	case seconds >= limit-3: // nanos are an int32: at most 2.2 s more or less
		return math.MaxInt64
	case seconds <= -limit+3:
		return math.MinInt64
	}
	return seconds*1_000_000_000 + nanos
}

// protoMetadata collects the LabelPairs in raw, the fields of an Entry from the
// first to the last pair.
func (p *Push) protoMetadata(raw []byte) error {
	p.meta.reset()
	w := wire{message: "Entry", b: raw}
	for w.next() {
		if !w.is(3, protowire.BytesType) {
			continue
		}
		var name, value []byte
		pair := wire{message: "LabelPair", b: w.raw}
		for pair.next() {
			switch {
			case pair.is(1, protowire.BytesType):
				name = pair.raw
			case pair.is(2, protowire.BytesType):
				value = pair.raw
			}
		}
		if pair.err != nil {
			return pair.err
		}
		p.meta.add(&p.d.limits, alias(name), alias(value))
	}
	return w.err
}
