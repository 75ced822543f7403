package lokiapi

import (
	"fmt"
	"math"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// ProtoError says where a protobuf body is broken.
type ProtoError struct {
	Message string // the message being read: "PushRequest", "Stream", …
	Err     error
}

func (e *ProtoError) Error() string {
	return fmt.Sprintf("invalid protobuf in %s: %v", e.Message, e.Err)
}

func (e *ProtoError) Unwrap() error { return e.Err }

// Proto decodes a PushRequest that is no longer compressed. The result aliases
// body: the caller keeps body unchanged until it has released the push.
func (d *Decoder) Proto(body []byte) (*Push, error) {
	p := d.start()
	err := fields(body, "PushRequest", func(num protowire.Number, b []byte) error {
		if num != 1 {
			return nil
		}
		if err := p.countStream(); err != nil {
			return err
		}
		return p.protoStream(b)
	}, nil)
	if err == nil {
		err = p.finish()
	}
	if err != nil {
		p.Release()
		return nil, err
	}
	return p, nil
}

// fields walks the fields of one message. onBytes gets the length-delimited
// ones, onVarint (which may be nil) the integers; all others are skipped.
func fields(b []byte, message string, onBytes func(protowire.Number, []byte) error, onVarint func(protowire.Number, uint64)) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return &ProtoError{Message: message, Err: protowire.ParseError(n)}
		}
		b = b[n:]
		switch typ {
		case protowire.BytesType:
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return &ProtoError{Message: message, Err: protowire.ParseError(n)}
			}
			b = b[n:]
			if err := onBytes(num, v); err != nil {
				return err
			}
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return &ProtoError{Message: message, Err: protowire.ParseError(n)}
			}
			b = b[n:]
			if onVarint != nil {
				onVarint(num, v)
			}
		default:
			n := protowire.ConsumeFieldValue(num, typ, b)
			if n < 0 {
				return &ProtoError{Message: message, Err: protowire.ParseError(n)}
			}
			b = b[n:]
		}
	}
	return nil
}

// protoStream reads a Stream. Its labels come before its entries in what every
// known writer sends, but protobuf does not promise it: they are looked up first.
func (p *Push) protoStream(b []byte) error {
	var text []byte
	if num, typ, n := protowire.ConsumeTag(b); n > 0 && num == 1 && typ == protowire.BytesType {
		v, m := protowire.ConsumeBytes(b[n:])
		if m < 0 {
			return &ProtoError{Message: "Stream", Err: protowire.ParseError(m)}
		}
		text, b = v, b[n+m:]
	} else if err := fields(b, "Stream", func(num protowire.Number, v []byte) error {
		if num == 1 {
			text = v
		}
		return nil
	}, nil); err != nil {
		return err
	}
	info, err := p.d.protoStreamInfo(text)
	if err != nil {
		return err
	}
	p.open(info)
	return fields(b, "Stream", func(num protowire.Number, v []byte) error {
		if num != 2 {
			return nil
		}
		return p.protoEntry(info, v)
	}, nil)
}

func (d *Decoder) protoStreamInfo(text []byte) (*streamInfo, error) {
	if info := d.protoLabels.get(text); info != nil {
		return info, nil
	}
	key := string(text)
	ls, err := ParseLabels(key)
	if err != nil {
		return nil, err
	}
	info := d.limits.newStream(ls)
	d.protoLabels.put(key, info)
	return info, nil
}

// protoEntry reads an Entry. It is the hot path of a push: no closure, no
// allocation unless the entry has metadata of its own.
func (p *Push) protoEntry(info *streamInfo, b []byte) error {
	var e model.Entry
	whole := b
	metaFrom, metaTo := -1, 0 // where the metadata fields lie in whole
	for len(b) > 0 {
		at := len(whole) - len(b)
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return &ProtoError{Message: "Entry", Err: protowire.ParseError(n)}
		}
		b = b[n:]
		if typ != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
				return &ProtoError{Message: "Entry", Err: protowire.ParseError(n)}
			}
			b = b[n:]
			continue
		}
		v, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return &ProtoError{Message: "Entry", Err: protowire.ParseError(n)}
		}
		b = b[n:]
		switch num {
		case 1:
			ts, err := protoTime(v)
			if err != nil {
				return err
			}
			e.Timestamp = ts
		case 2:
			e.Line = alias(v)
		case 3:
			if metaFrom < 0 {
				metaFrom = at
			}
			metaTo = len(whole) - len(b)
		}
	}
	if metaFrom < 0 {
		return p.add(info, e, 0)
	}
	return p.protoMetadata(info, e, whole[metaFrom:metaTo])
}

// protoTime reads a Timestamp. Times outside of what nanoseconds in an int64
// can say (the years 1678 to 2262) become the nearest that can.
func protoTime(b []byte) (int64, error) {
	var seconds, nanos int64
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return 0, &ProtoError{Message: "Timestamp", Err: protowire.ParseError(n)}
		}
		b = b[n:]
		if typ != protowire.VarintType {
			if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
				return 0, &ProtoError{Message: "Timestamp", Err: protowire.ParseError(n)}
			}
			b = b[n:]
			continue
		}
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return 0, &ProtoError{Message: "Timestamp", Err: protowire.ParseError(n)}
		}
		b = b[n:]
		switch num {
		case 1:
			seconds = int64(v)
		case 2:
			nanos = int64(int32(v))
		}
	}
	const limit = math.MaxInt64 / 1_000_000_000
	switch {
	case seconds >= limit-3: // nanos are an int32: at most 2.2 s more or less
		return math.MaxInt64, nil
	case seconds <= -limit+3:
		return math.MinInt64, nil
	}
	return seconds*1_000_000_000 + nanos, nil
}

// protoMetadata reads the LabelPairs in raw, the fields from the first to the
// last pair, and adds the entry.
func (p *Push) protoMetadata(info *streamInfo, e model.Entry, raw []byte) error {
	if p.lastRaw != "" && alias(raw) == p.lastRaw {
		e.Metadata = p.lastMetadata
		return p.add(info, e, metadataSize(e.Metadata))
	}
	p.builder.Reset()
	m := metadataBuilder{push: p}
	err := fields(raw, "Entry", func(num protowire.Number, v []byte) error {
		if num != 3 {
			return nil
		}
		var name, value []byte
		err := fields(v, "LabelPair", func(num protowire.Number, v []byte) error {
			switch num {
			case 1:
				name = v
			case 2:
				value = v
			}
			return nil
		}, nil)
		m.add(alias(name), alias(value))
		return err
	}, nil)
	if err != nil {
		return err
	}
	ls, ok := m.labels(info, e.Line)
	if !ok {
		return nil
	}
	e.Metadata = ls
	p.lastRaw, p.lastMetadata = alias(raw), ls
	return p.add(info, e, metadataSize(ls))
}

// metadataBuilder collects the structured metadata of one entry in the
// push's builder.
type metadataBuilder struct {
	push  *Push
	pairs int
	bytes int
}

func (m *metadataBuilder) add(name, value string) {
	m.pairs++
	m.bytes += len(name) + len(value)
	l := &m.push.d.limits
	if m.pairs > l.MaxMetadataPairs || m.bytes > l.MaxMetadataBytes {
		return
	}
	if name = SanitizeName(name); name == "" || value == "" {
		return
	}
	m.push.builder.Add(name, strings.ToValidUTF8(value, ""))
}

// labels returns what was collected; ok is false if the entry had to be refused.
func (m *metadataBuilder) labels(info *streamInfo, line string) (ls labels.Labels, ok bool) {
	l := &m.push.d.limits
	size := int64(m.bytes + len(line))
	switch {
	case m.pairs > l.MaxMetadataPairs:
		m.push.refuse(ReasonMetadataTooMany, size, func() string {
			return fmt.Sprintf("stream '%s' has an entry with %d structured metadata pairs; the limit is %d",
				info.labels, m.pairs, l.MaxMetadataPairs)
		})
		return ls, false
	case m.bytes > l.MaxMetadataBytes:
		m.push.refuse(ReasonMetadataTooLarge, size, func() string {
			return fmt.Sprintf("stream '%s' has an entry with structured metadata of %d bytes; the limit is %d",
				info.labels, m.bytes, l.MaxMetadataBytes)
		})
		return ls, false
	}
	m.push.builder.Sort()
	ls = m.push.builder.Labels()
	if _, twice := ls.HasDuplicateLabelNames(); twice {
		ls = lastOfEach(ls)
	}
	return ls, true
}

// lastOfEach resolves names that occur more than once.
func lastOfEach(ls labels.Labels) labels.Labels {
	b := labels.NewBuilder(labels.EmptyLabels())
	ls.Range(func(l labels.Label) { b.Set(l.Name, l.Value) })
	return b.Labels()
}

func metadataSize(ls labels.Labels) int {
	n := 0
	ls.Range(func(l labels.Label) { n += len(l.Name) + len(l.Value) })
	return n
}
