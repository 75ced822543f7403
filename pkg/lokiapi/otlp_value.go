package lokiapi

import (
	"encoding/base64"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxOTLPDepth bounds the nesting of attributes and bodies.
const maxOTLPDepth = 64

var (
	errTooDeep = errors.New("a value is nested deeper than 64")
	errTooLong = errors.New("a value is longer than a line may be")
)

// Fields of an AnyValue: which one is set tells the type.
const (
	valueString = 1
	valueBool   = 2
	valueInt    = 3
	valueDouble = 4
	valueArray  = 5
	valueMap    = 6
	valueBytes  = 7
)

// anyValue is an AnyValue of OTLP, not looked into.
type anyValue struct {
	kind protowire.Number // 0 if it holds nothing
	raw  []byte
	v    uint64
}

// readValue reads an AnyValue. Of several fields the last counts, as always in
// protobuf.
func readValue(b []byte) (a anyValue, err error) {
	w := wire{message: "AnyValue", b: b}
	for w.next() {
		switch {
		case w.is(valueString, protowire.BytesType), w.is(valueArray, protowire.BytesType),
			w.is(valueMap, protowire.BytesType), w.is(valueBytes, protowire.BytesType):
			a = anyValue{kind: w.num, raw: w.raw}
		case w.is(valueBool, protowire.VarintType), w.is(valueInt, protowire.VarintType),
			w.is(valueDouble, protowire.Fixed64Type):
			a = anyValue{kind: w.num, v: w.v}
		}
	}
	return a, w.err
}

// keyValue is a KeyValue of OTLP.
type keyValue struct {
	key   string // aliases the message
	value anyValue
}

func readKeyValue(b []byte) (kv keyValue, err error) {
	w := wire{message: "KeyValue", b: b}
	for w.next() {
		switch {
		case w.is(1, protowire.BytesType):
			kv.key = alias(w.raw)
		case w.is(2, protowire.BytesType):
			if kv.value, err = readValue(w.raw); err != nil {
				return kv, err
			}
		}
	}
	return kv, w.err
}

// valueText writes values as text to the end of b.
type valueText struct {
	b     []byte
	limit int // of the length of b
	pairs int // of maps, so far
}

// text writes strings as they are, numbers and booleans in their JSON form,
// bytes as base64, arrays and maps as JSON with sorted keys. It stops with
// errTooLong when b grows beyond limit.
func (t *valueText) text(a anyValue) error {
	switch a.kind {
	case valueString:
		t.b = append(t.b, a.raw...)
	case valueBytes:
		t.b = base64.StdEncoding.AppendEncode(t.b, a.raw)
	case valueDouble:
		t.b = appendDouble(t.b, math.Float64frombits(a.v))
	case 0:
	default:
		if err := t.json(a, 0); err != nil {
			return err
		}
	}
	if len(t.b) > t.limit {
		return errTooLong
	}
	return nil
}

func (t *valueText) json(a anyValue, depth int) error {
	switch {
	case depth > maxOTLPDepth:
		return errTooDeep
	case len(t.b) > t.limit:
		return errTooLong
	}
	switch a.kind {
	case valueString:
		t.b = appendQuoted(t.b, alias(a.raw))
	case valueBool:
		t.b = strconv.AppendBool(t.b, a.v != 0)
	case valueInt:
		t.b = strconv.AppendInt(t.b, int64(a.v), 10)
	case valueDouble:
		f := math.Float64frombits(a.v)
		if math.IsNaN(f) || math.IsInf(f, 0) { // JSON has no such numbers
			t.b = append(appendDouble(append(t.b, '"'), f), '"')
		} else {
			t.b = appendDouble(t.b, f)
		}
	case valueBytes:
		t.b = append(base64.StdEncoding.AppendEncode(append(t.b, '"'), a.raw), '"')
	case valueArray:
		return t.array(a.raw, depth)
	case valueMap:
		return t.object(a.raw, depth)
	default:
		t.b = append(t.b, "null"...)
	}
	return nil
}

func (t *valueText) array(raw []byte, depth int) error {
	t.b = append(t.b, '[')
	w := wire{message: "ArrayValue", b: raw}
	for n := 0; w.next(); {
		if !w.is(1, protowire.BytesType) {
			continue
		}
		a, err := readValue(w.raw)
		if err != nil {
			return err
		}
		if n > 0 {
			t.b = append(t.b, ',')
		}
		n++
		if err := t.json(a, depth+1); err != nil {
			return err
		}
	}
	t.b = append(t.b, ']')
	return w.err
}

// object writes the keys sorted; of a key that occurs twice the last value
// counts.
func (t *valueText) object(raw []byte, depth int) error {
	pairs, err := t.readMap(raw)
	if err != nil {
		return err
	}
	slices.SortStableFunc(pairs, func(a, b keyValue) int { return strings.Compare(a.key, b.key) })
	t.b = append(t.b, '{')
	first := true
	for i, kv := range pairs {
		if i+1 < len(pairs) && pairs[i+1].key == kv.key {
			continue
		}
		if !first {
			t.b = append(t.b, ',')
		}
		first = false
		t.b = append(appendQuoted(t.b, kv.key), ':')
		if err := t.json(kv.value, depth+1); err != nil {
			return err
		}
	}
	t.b = append(t.b, '}')
	return nil
}

// readMap reads a KeyValueList. A pair takes at least five bytes of JSON: more
// pairs than fit into the limit are too many, wherever they are nested.
func (t *valueText) readMap(raw []byte) ([]keyValue, error) {
	var pairs []keyValue
	w := wire{message: "KeyValueList", b: raw}
	for w.next() {
		if !w.is(1, protowire.BytesType) {
			continue
		}
		if t.pairs++; t.pairs > t.limit/5 {
			return nil, errTooLong
		}
		kv, err := readKeyValue(w.raw)
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, kv)
	}
	return pairs, w.err
}

// appendDouble writes a number as JavaScript and Go's JSON do.
func appendDouble(dst []byte, f float64) []byte {
	switch abs := math.Abs(f); {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	case abs == 0 || abs >= 1e-6 && abs < 1e21:
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	if n := len(dst); n >= 4 && dst[n-4] == 'e' && dst[n-3] == '-' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1] // 1e-09 is 1e-9
		dst = dst[:n-1]
	}
	return dst
}

// appendQuoted appends s as a JSON string that people will search in: unlike
// [AppendString] it leaves <, > and & alone.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '<' || c == '>' || c == '&' || c >= utf8.RuneSelf || jsonSafe[c]:
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(dst, `\ufffd`...)
			} else {
				dst = append(dst, s[i:i+size]...)
			}
			i += size
			continue
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
	}
	return append(dst, '"')
}
