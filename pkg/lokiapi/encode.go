package lokiapi

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"
)

// Result types of a query answer.
const (
	TypeStreams = "streams"
	TypeMatrix  = "matrix"
	TypeVector  = "vector"
	TypeScalar  = "scalar"
)

// Names that occur in requests and answers.
const (
	// EncodingFlagsHeader asks for a different shape of log results.
	EncodingFlagsHeader = "X-Loki-Response-Encoding-Flags"
	// CategorizeLabels is the one encoding flag: structured metadata and parsed
	// labels come apart from the stream's labels.
	CategorizeLabels = "categorize-labels"
	// TailPath streams NDJSON, see the package comment.
	TailPath = "/logstack/v1/tail"
	// ExportPath answers a log query of any size as NDJSON.
	ExportPath = "/logstack/v1/export"
	// StatusPath answers the store's state as JSON.
	StatusPath = "/logstack/v1/status"
)

const hexDigits = "0123456789abcdef"

// jsonSafe marks the bytes that stand for themselves in a JSON string that may
// end up inside HTML: Loki escapes <, > and & too.
var jsonSafe = func() (t [utf8.RuneSelf]bool) {
	for c := range t {
		t[c] = c >= 0x20 && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' && c != 0x7f
	}
	t[0x7f] = true
	return t
}()

// AppendString appends s as a JSON string. Bytes that are not UTF-8 become
// U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if jsonSafe[c] {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(append(dst, s[start:i]...), `\ufffd`...)
		case r == '\u2028' || r == '\u2029':
			dst = append(append(dst, s[start:i]...), `\u202`...)
			dst = append(dst, hexDigits[r&15])
		default:
			i += size
			continue
		}
		i += size
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// AppendLabels appends ls as a JSON object.
func AppendLabels(dst []byte, ls labels.Labels) []byte {
	dst = append(dst, '{')
	first := true
	ls.Range(func(l labels.Label) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(AppendString(dst, l.Name), ':')
		dst = AppendString(dst, l.Value)
	})
	return append(dst, '}')
}

// AppendFloat appends v as Prometheus prints sample values, without quotes.
func AppendFloat(dst []byte, v float64) []byte {
	switch {
	case math.IsNaN(v):
		return append(dst, "NaN"...)
	case math.IsInf(v, 1):
		return append(dst, "+Inf"...)
	case math.IsInf(v, -1):
		return append(dst, "-Inf"...)
	}
	return strconv.AppendFloat(dst, v, 'f', -1, 64)
}

// appendSeconds appends milliseconds since the epoch as seconds.
func appendSeconds(dst []byte, ms int64) []byte {
	if ms < 0 {
		dst = append(dst, '-')
		ms = -ms
	}
	dst = strconv.AppendInt(dst, ms/1000, 10)
	if frac := ms % 1000; frac != 0 {
		dst = append(dst, '.', byte('0'+frac/100), byte('0'+frac/10%10), byte('0'+frac%10))
	}
	return dst
}

func appendPoint(dst []byte, ms int64, v float64) []byte {
	dst = appendSeconds(append(dst, '['), ms)
	dst = AppendFloat(append(dst, ',', '"'), v)
	return append(dst, '"', ']')
}

// Encoder writes the answer of a query piece by piece, so that a large one
// never exists in memory as a whole. Calls come in the order Begin, then for
// streams (Stream Entry…)…, for a matrix (Series Point…)…, for a vector
// Sample…, for a scalar one Scalar, and at last End. It is used by one
// goroutine.
type Encoder struct {
	w          io.Writer
	buf        []byte
	err        error
	categorize bool
	resultType string
	outer      int // elements of "result" so far
	inner      int // elements of the open stream or series
}

// flushAt is the size at which the buffer is written out.
const flushAt = 32 << 10

// NewEncoder makes an encoder. categorize is whether the client asked for
// [CategorizeLabels].
func NewEncoder(w io.Writer, categorize bool) *Encoder {
	return &Encoder{w: w, categorize: categorize, buf: make([]byte, 0, 4<<10)}
}

func (e *Encoder) flush() {
	if e.err == nil && len(e.buf) > 0 {
		_, e.err = e.w.Write(e.buf)
	}
	e.buf = e.buf[:0]
}

func (e *Encoder) flushIfFull() {
	if len(e.buf) >= flushAt {
		e.flush()
	}
}

// Begin writes the envelope up to the result.
func (e *Encoder) Begin(resultType string, warnings []string) {
	e.resultType = resultType
	e.buf = append(e.buf, `{"status":"success",`...)
	if len(warnings) > 0 {
		e.buf = append(e.buf, `"warnings":[`...)
		for i, w := range warnings {
			if i > 0 {
				e.buf = append(e.buf, ',')
			}
			e.buf = AppendString(e.buf, w)
		}
		e.buf = append(e.buf, `],`...)
	}
	e.buf = append(e.buf, `"data":{"resultType":"`...)
	e.buf = append(append(e.buf, resultType...), '"')
	if e.categorize && resultType == TypeStreams {
		e.buf = append(e.buf, `,"encodingFlags":["`+CategorizeLabels+`"]`...)
	}
	e.buf = append(e.buf, `,"result":`...)
	if resultType != TypeScalar {
		e.buf = append(e.buf, '[')
	}
}

// open begins an element of the result, closing the one before.
func (e *Encoder) open(name string, ls labels.Labels) {
	if e.outer > 0 {
		e.buf = append(e.buf, `]},`...)
	}
	e.outer++
	e.inner = 0
	e.buf = append(append(append(e.buf, `{"`...), name...), `":`...)
	e.buf = AppendLabels(e.buf, ls)
	e.buf = append(e.buf, `,"values":[`...)
}

func (e *Encoder) comma() {
	if e.inner > 0 {
		e.buf = append(e.buf, ',')
	}
	e.inner++
}

// Stream begins the next stream.
func (e *Encoder) Stream(ls labels.Labels) { e.open("stream", ls) }

// Entry adds an entry to the open stream. metadata and parsed are only written
// when the client asked for categorised labels.
func (e *Encoder) Entry(ts int64, line string, metadata, parsed labels.Labels) {
	e.comma()
	e.buf = AppendEntry(e.buf, ts, line, e.categorize, metadata, parsed)
	e.flushIfFull()
}

// AppendEntry appends an element of a stream's values: ["<ns>","<line>"], with
// metadata and parsed as third part if categorize is set.
func AppendEntry(dst []byte, ts int64, line string, categorize bool, metadata, parsed labels.Labels) []byte {
	dst = strconv.AppendInt(append(dst, '[', '"'), ts, 10)
	dst = AppendString(append(dst, '"', ','), line)
	if categorize {
		dst = appendCategories(append(dst, ','), metadata, parsed)
	}
	return append(dst, ']')
}

func appendCategories(dst []byte, metadata, parsed labels.Labels) []byte {
	dst = append(dst, '{')
	if !metadata.IsEmpty() {
		dst = AppendLabels(append(dst, `"structuredMetadata":`...), metadata)
	}
	if !parsed.IsEmpty() {
		if !metadata.IsEmpty() {
			dst = append(dst, ',')
		}
		dst = AppendLabels(append(dst, `"parsed":`...), parsed)
	}
	return append(dst, '}')
}

// Series begins the next series of a matrix.
func (e *Encoder) Series(ls labels.Labels) { e.open("metric", ls) }

// Point adds a sample to the open series; ms is in milliseconds.
func (e *Encoder) Point(ms int64, v float64) {
	e.comma()
	e.buf = appendPoint(e.buf, ms, v)
	e.flushIfFull()
}

// Sample adds an element to a vector.
func (e *Encoder) Sample(ls labels.Labels, ms int64, v float64) {
	e.comma()
	e.buf = AppendLabels(append(e.buf, `{"metric":`...), ls)
	e.buf = appendPoint(append(e.buf, `,"value":`...), ms, v)
	e.buf = append(e.buf, '}')
	e.flushIfFull()
}

// Scalar writes the one value of a scalar result.
func (e *Encoder) Scalar(ms int64, v float64) { e.buf = appendPoint(e.buf, ms, v) }

// End closes the answer and returns the first error of writing. stats is
// marshalled as it is.
func (e *Encoder) End(stats any) error {
	if e.outer > 0 {
		e.buf = append(e.buf, `]}`...)
	}
	if e.resultType != TypeScalar {
		e.buf = append(e.buf, ']')
	}
	text, err := json.Marshal(stats)
	if err != nil {
		return fmt.Errorf("encoding statistics: %w", err)
	}
	e.buf = append(append(append(e.buf, `,"stats":`...), text...), "}}\n"...)
	e.flush()
	return e.err
}

// AppendTailEntry appends one entry as a line of NDJSON, its newline included.
func AppendTailEntry(dst []byte, ls labels.Labels, ts int64, line string, metadata, parsed labels.Labels) []byte {
	dst = AppendLabels(append(dst, `{"labels":`...), ls)
	dst = strconv.AppendInt(append(dst, `,"timestamp":"`...), ts, 10)
	dst = AppendString(append(dst, `","line":`...), line)
	if !metadata.IsEmpty() {
		dst = AppendLabels(append(dst, `,"structuredMetadata":`...), metadata)
	}
	if !parsed.IsEmpty() {
		dst = AppendLabels(append(dst, `,"parsed":`...), parsed)
	}
	return append(dst, '}', '\n')
}
