package lokiapi

import (
	"encoding/hex"
	"errors"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/encoding/protowire"
)

// otlpLevel says to whom an attribute belongs.
type otlpLevel int

const (
	ofResource otlpLevel = iota
	ofScope
	ofRecord
)

// otlpName is what is known of an attribute by its name.
type otlpName struct {
	name   string // as a label name
	action OTLPAction
}

// attribute reads a KeyValue and puts it where it belongs: among the labels,
// into the metadata, or nowhere.
func (o *otlpPush) attribute(m *metadata, stream *[]labels.Label, level otlpLevel, b []byte) error {
	kv, err := readKeyValue(b)
	if err != nil || kv.key == "" {
		return err
	}
	known := o.lookup(level, kv.key)
	if known.action == OTLPDrop || m.refusal(&o.d.limits) != "" { // the rest changes nothing
		return nil
	}
	if known.action != OTLPLabel {
		stream = nil
	}
	return o.flatten(m, stream, known.name, kv, 0)
}

// flatten adds a value under a name; those in a map each under a longer name.
func (o *otlpPush) flatten(m *metadata, stream *[]labels.Label, name string, kv keyValue, depth int) error {
	if kv.value.kind == valueMap {
		if depth >= maxOTLPDepth {
			return valueError(errTooDeep)
		}
		w := wire{message: "KeyValueList", b: kv.value.raw}
		for w.next() {
			if !w.is(1, protowire.BytesType) {
				continue
			}
			inner, err := readKeyValue(w.raw)
			if err != nil {
				return err
			}
			if m.refusal(&o.d.limits) != "" {
				return nil
			}
			if err := o.flatten(m, stream, OTLPName(name+"_"+inner.key), inner, depth+1); err != nil {
				return err
			}
		}
		return w.err
	}
	var value string
	if kv.value.kind == valueString {
		value = alias(kv.value.raw)
	} else {
		start := len(o.text.b)
		err := o.text.text(kv.value)
		value = alias(o.text.b[start:])
		if errors.Is(err, errTooLong) {
			m.bytes += o.d.limits.MaxMetadataBytes + 1
			return nil
		} else if err != nil {
			return valueError(err)
		}
	}
	if stream == nil {
		m.put(&o.d.limits, name, value)
	} else if value != "" && len(*stream) <= 2*o.d.limits.MaxLabelNames {
		*stream = append(*stream, labels.Label{Name: name, Value: strings.ToValidUTF8(value, "\uFFFD")})
	}
	return nil
}

// lookup finds the label name and the action for an attribute.
func (o *otlpPush) lookup(level otlpLevel, key string) otlpName {
	known, ok := o.names[level][key]
	if ok {
		return known
	}
	rules := &o.d.otlp.resource
	switch level {
	case ofScope:
		rules = &o.d.otlp.scope
	case ofRecord:
		rules = &o.d.otlp.record
	}
	key = strings.Clone(key)
	known = otlpName{name: OTLPName(key), action: rules.action(key)}
	if o.names[level] == nil || len(o.names[level]) >= maxCachedNames {
		o.names[level] = map[string]otlpName{}
	}
	o.names[level][key] = known
	return known
}

// field adds a text of the record, the scope or the resource itself.
func (o *otlpPush) field(m *metadata, name string, value []byte) {
	if len(value) > 0 {
		m.put(&o.d.limits, name, alias(value))
	}
}

// number adds a number that is not 0.
func (o *otlpPush) number(m *metadata, name string, v int64) {
	if v == 0 {
		return
	}
	start := len(o.text.b)
	o.text.b = strconv.AppendInt(o.text.b, v, 10)
	m.put(&o.d.limits, name, alias(o.text.b[start:]))
}

// hex adds an id.
func (o *otlpPush) hex(m *metadata, name string, id []byte) {
	if len(id) == 0 {
		return
	}
	start := len(o.text.b)
	o.text.b = hex.AppendEncode(o.text.b, id)
	m.put(&o.d.limits, name, alias(o.text.b[start:]))
}

func validUTF8(b []byte) string { return strings.ToValidUTF8(alias(b), "\uFFFD") }

// OTLPName turns the name of an attribute into a label name as Loki does: every
// other character becomes one '_', and key_ is put in front of a leading digit.
// A name that is one already is returned as it is.
func OTLPName(s string) string {
	if isLabelName(s) || s == "" {
		return s
	}
	b := make([]byte, 0, len(s)+len("key_"))
	if c := s[0]; c >= '0' && c <= '9' {
		b = append(b, "key_"...)
	}
	for _, r := range s {
		if r < 0x80 && isNameByte(byte(r), false) {
			b = append(b, byte(r))
		} else {
			b = append(b, '_')
		}
	}
	return string(b)
}
