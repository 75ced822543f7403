package lokiapi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"go.opentelemetry.io/collector/pdata/plog"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// OTLPPart bounds what an OTLP request holds in memory beside its body, in
// bytes, give or take one record: the attributes of a resource are repeated in
// each of its records, so what a request stands for can be many times its size.
const OTLPPart = 2 << 20

// otlpRepeats bounds the metadata that a body of n bytes may stand for: records
// of two bytes would otherwise write gigabytes. Real ones repeat their resource
// for some ten times their size.
func otlpRepeats(n int) int { return 64*n + OTLPPart }

// OTLP decodes an ExportLogsServiceRequest in protobuf and hands it to store,
// in parts of about [OTLPPart] bytes. A part aliases body and is valid until
// store returns; an error of store ends the decoding and is returned. The
// result counts all parts; its Batch is empty.
func (d *Decoder) OTLP(body []byte, store func(*model.Batch) error) (*Push, error) {
	o := otlpPush{p: d.start(), d: d, store: store, now: uint64(d.now().UnixNano()), size: len(body), left: otlpRepeats(len(body))}
	err := o.request(body)
	if err == nil {
		err = o.flush()
	}
	if err == nil && o.p.Streams == 0 {
		err = ErrNoStreams
	}
	if err != nil {
		o.p.Release()
		return nil, err
	}
	return o.p, nil
}

// OTLPJSON is OTLP for the JSON form. It needs up to as much memory as
// [OTLPJSONCost] says. The JSON is read by OpenTelemetry's own package, which
// knows its many rules (ids in hexadecimal, numbers as strings, two spellings
// of each name), and goes through protobuf from there on.
func (d *Decoder) OTLPJSON(body []byte, store func(*model.Batch) error) (*Push, error) {
	if _, err := OTLPJSONCost(body); err != nil {
		return nil, err
	}
	logs, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(body)
	if err != nil {
		return nil, &SyntaxError{Offset: -1, Msg: err.Error()}
	}
	text, err := (&plog.ProtoMarshaler{}).MarshalLogs(logs)
	if err != nil {
		return nil, fmt.Errorf("translating OTLP's JSON to protobuf: %w", err)
	}
	return d.OTLP(text, store)
}

// otlpObject is what a JSON object costs as a message in memory.
const otlpObject = 256

// OTLPJSONCost tells how many bytes of memory it takes, at the most, to decode
// a body, or that it is nested too deep for it.
func OTLPJSONCost(body []byte) (int, error) {
	cost, depth := 2*len(body), 0
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '{', '[':
			cost += otlpObject
			if depth++; depth > 4*maxOTLPDepth { // an AnyValue takes up to four
				return 0, &SyntaxError{Offset: i, Msg: fmt.Sprintf("nested deeper than %d", 4*maxOTLPDepth)}
			}
		case '}', ']':
			depth--
		case '"':
			for i++; i < len(body) && body[i] != '"'; i++ {
				if body[i] == '\\' {
					i++
				}
			}
		}
	}
	return cost, nil
}

// otlpPush walks through one request.
type otlpPush struct {
	p     *Push
	d     *Decoder
	store func(*model.Batch) error
	now   uint64
	held  int // bytes of the part
	size  int // of the body
	left  int // bytes that may come from repeating attributes

	names      [3]map[string]otlpName // by otlpLevel
	stream     []labels.Label         // of the resource
	parent     metadata               // of the resource
	shared     metadata               // of the scope and the resource
	own        []labels.Label         // labels that the record adds
	pairs      []labels.Label         // both, while they are looked up
	attributes [][]byte               // of the record, not looked into
	text       valueText              // of the values of a record
	key        []byte
	current    *streamInfo // whose span is open
	base       *streamInfo // of the resource, nil until it is needed
}

func (o *otlpPush) request(body []byte) error {
	w := wire{message: "ExportLogsServiceRequest", b: body}
	for w.next() {
		if w.is(1, protowire.BytesType) {
			if err := o.resourceLogs(w.raw); err != nil {
				return err
			}
		}
	}
	return w.err
}

// resourceLogs reads one ResourceLogs: the resource first, wherever it stands.
func (o *otlpPush) resourceLogs(b []byte) error {
	o.stream, o.base = o.stream[:0], nil
	o.parent.reset()
	o.newText()
	const message = "ResourceLogs"
	w := wire{message: message, b: b}
	for w.next() {
		if w.is(1, protowire.BytesType) {
			if err := o.resource(w.raw); err != nil {
				return err
			}
		}
	}
	w = wire{message: message, b: b}
	for w.next() {
		if w.is(2, protowire.BytesType) {
			if err := o.scopeLogs(w.raw); err != nil {
				return err
			}
		}
	}
	return w.err
}

func (o *otlpPush) resource(b []byte) error {
	w := wire{message: "Resource", b: b}
	for w.next() {
		switch {
		case w.is(1, protowire.BytesType):
			if err := o.attribute(&o.parent, &o.stream, ofResource, w.raw); err != nil {
				return err
			}
		case w.is(2, protowire.VarintType):
			o.number(&o.parent, "resource_dropped_attributes_count", int64(uint32(w.v)))
		}
	}
	return w.err
}

// scopeLogs reads one ScopeLogs. Of pairs with one name that of the scope counts
// before that of the resource, and both before that of a record, as in Loki.
func (o *otlpPush) scopeLogs(b []byte) error {
	const message = "ScopeLogs"
	o.shared.reset()
	w := wire{message: message, b: b}
	for w.next() {
		if w.is(1, protowire.BytesType) {
			if err := o.scope(w.raw); err != nil {
				return err
			}
		}
	}
	o.shared.pairs = append(o.shared.pairs, o.parent.pairs...)
	o.shared.count += o.parent.count
	o.shared.bytes += o.parent.bytes
	o.newText() // that of the scope outlives the records
	w = wire{message: message, b: b}
	for w.next() {
		if w.is(2, protowire.BytesType) {
			if err := o.record(w.raw); err != nil {
				return err
			}
		}
	}
	return w.err
}

// newText takes new memory for texts.
func (o *otlpPush) newText() { o.text = valueText{limit: o.d.limits.MaxMetadataBytes} }

func (o *otlpPush) scope(b []byte) error {
	w := wire{message: "InstrumentationScope", b: b}
	for w.next() {
		switch {
		case w.is(1, protowire.BytesType):
			o.field(&o.shared, "scope_name", w.raw)
		case w.is(2, protowire.BytesType):
			o.field(&o.shared, "scope_version", w.raw)
		case w.is(3, protowire.BytesType):
			if err := o.attribute(&o.shared, nil, ofScope, w.raw); err != nil {
				return err
			}
		case w.is(4, protowire.VarintType):
			o.number(&o.shared, "scope_dropped_attributes_count", int64(uint32(w.v)))
		}
	}
	return w.err
}

// record reads a LogRecord and adds the entry.
func (o *otlpPush) record(b []byte) error {
	p, m := o.p, &o.p.meta
	m.pairs = append(m.pairs[:0], o.shared.pairs...)
	m.count, m.bytes = o.shared.count, o.shared.bytes
	o.own = o.own[:0]
	o.text.b, o.text.pairs = o.text.b[:0], 0

	r := logRecord{attributes: o.attributes[:0]}
	if err := r.read(b); err != nil {
		return err
	}
	o.attributes = r.attributes
	if r.observed != 0 && r.time != 0 {
		o.number(m, "observed_timestamp", int64(min(r.observed, math.MaxInt64)))
	}
	o.number(m, severityNumberName, int64(int32(r.severity)))
	if !o.d.otlp.severityLabel {
		o.field(m, "severity_text", r.severityText)
	} else if len(r.severityText) > 0 {
		o.own = append(o.own, labels.Label{Name: "severity_text", Value: validUTF8(r.severityText)})
	}
	o.number(m, "dropped_attributes_count", int64(uint32(r.dropped)))
	o.number(m, "flags", int64(r.flags))
	o.hex(m, "trace_id", r.traceID)
	o.hex(m, "span_id", r.spanID)
	o.field(m, "event_name", r.eventName)
	for _, raw := range r.attributes {
		if err := o.attribute(m, &o.own, ofRecord, raw); err != nil {
			return err
		}
	}

	line, err := o.line(r.body)
	if err != nil {
		return err
	}
	o.open()
	before := len(p.entries)
	if err := p.add(o.current, r.timestamp(o.now), line, ""); err != nil {
		return err
	}
	if len(p.entries) > before {
		o.held += 64 + m.bytes
		if o.left -= m.bytes; o.left < 0 {
			return &TooLargeError{What: "bytes of attributes repeated in its records", Limit: otlpRepeats(o.size)}
		}
	}
	if r.body.kind != valueString {
		o.held += len(line)
	}
	if o.held >= OTLPPart {
		return o.flush()
	}
	return nil
}

// open makes sure that the stream of the record is the one that entries are
// added to.
func (o *otlpPush) open() {
	info := o.base
	if info == nil || len(o.own) > 0 {
		info = o.streamInfo()
		if len(o.own) == 0 {
			o.base = info
		}
	}
	if info != o.current || len(o.p.spans) == 0 {
		o.current = info
		o.p.open(info)
		o.p.Streams++
	}
}

// streamInfo looks the labels of the record up.
func (o *otlpPush) streamInfo() *streamInfo {
	o.pairs = append(append(o.pairs[:0], o.stream...), o.own...)
	pairs := o.pairs
	o.key = o.key[:0]
	for _, l := range pairs {
		o.key = binary.AppendUvarint(o.key, uint64(len(l.Name)))
		o.key = append(o.key, l.Name...)
		o.key = binary.AppendUvarint(o.key, uint64(len(l.Value)))
		o.key = append(o.key, l.Value...)
	}
	if info := o.d.otlpLabels.get(o.key); info != nil {
		return info
	}
	b := labels.NewBuilder(labels.EmptyLabels()) // the last of a name counts
	for _, l := range pairs {
		b.Set(strings.Clone(l.Name), strings.Clone(l.Value))
	}
	info := o.d.newStream(b.Labels())
	o.d.otlpLabels.put(string(o.key), info)
	return info
}

// flush hands over what was collected.
func (o *otlpPush) flush() error {
	p := o.p
	p.build()
	var err error
	if len(p.Batch.Streams) > 0 {
		err = o.store(&p.Batch)
	}
	clear(p.entries)
	clear(p.Batch.Streams)
	p.entries, p.spans, p.Batch.Streams = p.entries[:0], p.spans[:0], p.Batch.Streams[:0]
	o.current, o.held = nil, 0
	return err
}

// logRecord is a LogRecord. All of it aliases the body.
type logRecord struct {
	time, observed           uint64 // in ns, 0 if unknown
	severity, dropped, flags uint64
	severityText, eventName  []byte
	traceID, spanID          []byte
	body                     anyValue
	attributes               [][]byte // not looked into
}

func (r *logRecord) read(b []byte) (err error) {
	w := wire{message: "LogRecord", b: b}
	for w.next() {
		switch {
		case w.is(1, protowire.Fixed64Type):
			r.time = w.v
		case w.is(2, protowire.VarintType):
			r.severity = w.v
		case w.is(3, protowire.BytesType):
			r.severityText = w.raw
		case w.is(5, protowire.BytesType):
			r.body, err = readValue(w.raw)
		case w.is(6, protowire.BytesType):
			r.attributes = append(r.attributes, w.raw)
		case w.is(7, protowire.VarintType):
			r.dropped = w.v
		case w.is(8, protowire.Fixed32Type):
			r.flags = w.v
		case w.is(9, protowire.BytesType):
			r.traceID, err = readID(w.raw, 16)
		case w.is(10, protowire.BytesType):
			r.spanID, err = readID(w.raw, 8)
		case w.is(11, protowire.Fixed64Type):
			r.observed = w.v
		case w.is(12, protowire.BytesType):
			r.eventName = w.raw
		}
		if err != nil {
			return err
		}
	}
	return w.err
}

// timestamp is the time of the record, else when it was observed, else now.
func (r *logRecord) timestamp(now uint64) int64 {
	for _, t := range [...]uint64{r.time, r.observed} {
		if t != 0 {
			return int64(min(t, math.MaxInt64))
		}
	}
	return int64(now)
}

// readID reads the id of a trace or span; one of zeros is none.
func readID(b []byte, size int) ([]byte, error) {
	if len(b) != 0 && len(b) != size {
		return nil, &ProtoError{Message: "LogRecord", Err: fmt.Errorf("an id has %d bytes, not %d", len(b), size)}
	}
	for _, c := range b {
		if c != 0 {
			return b, nil
		}
	}
	return nil, nil
}

// line is the body as the text of an entry.
func (o *otlpPush) line(body anyValue) (string, error) {
	if body.kind == valueString {
		return alias(body.raw), nil
	}
	l := &o.d.limits
	t := valueText{limit: l.MaxLine}
	err := t.text(body)
	if !errors.Is(err, errTooLong) {
		return alias(t.b), valueError(err)
	}
	if l.TruncateLines {
		o.p.Truncated++
		if keep := l.MaxLine - len(l.TruncateMarker); len(t.b) <= keep { // too many pairs to be written at all
			return alias(append(t.b, l.TruncateMarker...)), nil
		}
		return truncate(alias(t.b), l.MaxLine, l.TruncateMarker), nil
	}
	// However long it is, it is refused.
	return alias(append(t.b, make([]byte, max(l.MaxLine+1-len(t.b), 0))...)), nil
}

// valueError makes an error of the body out of one of its values.
func valueError(err error) error {
	if errors.Is(err, errTooDeep) {
		return &ProtoError{Message: "AnyValue", Err: err}
	}
	return err
}
