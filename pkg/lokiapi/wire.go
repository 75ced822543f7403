package lokiapi

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
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

// wire steps through the fields of one protobuf message. Nothing is copied:
// raw aliases the message. The first error sticks and ends the steps.
type wire struct {
	message string // its name, for errors
	b       []byte // what is left of it
	num     protowire.Number
	typ     protowire.Type
	raw     []byte // the value of a length-delimited field
	v       uint64 // the value of an integer field, as it is on the wire
	err     error
}

var errWireType = errors.New("a field has the wrong wire type")

// next goes to the next field. It is false at the end and after an error.
func (w *wire) next() bool {
	if len(w.b) == 0 || w.err != nil {
		return false
	}
	n := 1
	if c := w.b[0]; c < 0x80 && c >= 1<<3 { // numbers up to 15, all that matter here
		w.num, w.typ = protowire.Number(c>>3), protowire.Type(c&7)
	} else if w.num, w.typ, n = protowire.ConsumeTag(w.b); n < 0 {
		return w.fail(protowire.ParseError(n))
	}
	w.b = w.b[n:]
	switch w.typ {
	case protowire.BytesType:
		w.raw, n = protowire.ConsumeBytes(w.b)
	case protowire.VarintType:
		w.v, n = protowire.ConsumeVarint(w.b)
	case protowire.Fixed64Type:
		w.v, n = protowire.ConsumeFixed64(w.b)
	case protowire.Fixed32Type:
		var v uint32
		v, n = protowire.ConsumeFixed32(w.b)
		w.v = uint64(v)
	default:
		n = protowire.ConsumeFieldValue(w.num, w.typ, w.b)
	}
	if n < 0 {
		return w.fail(protowire.ParseError(n))
	}
	w.b = w.b[n:]
	return true
}

// is says whether the current field has this number; a wrong type for it is an
// error.
func (w *wire) is(num protowire.Number, typ protowire.Type) bool {
	if w.num != num {
		return false
	}
	if w.typ != typ {
		return w.fail(fmt.Errorf("%w: field %d is of type %d, not %d", errWireType, num, w.typ, typ))
	}
	return true
}

// fail keeps the first error. It is always false.
func (w *wire) fail(err error) bool {
	if w.err == nil {
		w.err = &ProtoError{Message: w.message, Err: err}
	}
	return false
}
