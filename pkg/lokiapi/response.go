package lokiapi

import (
	"bytes"
	"fmt"
	"math"
	"strconv"

	"github.com/prometheus/prometheus/model/labels"
)

// Entry is one log line of an answer.
type Entry struct {
	Timestamp int64 // nanoseconds since the epoch
	Line      string
	// StructuredMetadata and Parsed are only filled when the client asked for
	// categorised labels; otherwise they are part of the stream's labels.
	StructuredMetadata, Parsed labels.Labels
}

// Stream is a label set with its entries.
type Stream struct {
	Labels  labels.Labels
	Entries []Entry
}

// Point is a sample; the time is in milliseconds since the epoch.
type Point struct {
	Time  int64
	Value float64
}

// Series is a label set with its samples: many in a matrix, one in a vector.
type Series struct {
	Labels labels.Labels
	Points []Point
}

// QueryResponse is the answer of query and query_range. One of Streams, Series
// and Scalar is filled, as ResultType says.
type QueryResponse struct {
	Warnings   []string
	ResultType string
	Streams    []Stream
	Series     []Series // of a matrix or a vector
	Scalar     Point
	// Stats is the JSON of the statistics, nil if there were none.
	Stats []byte
}

// DecodeQueryResponse reads the answer of query or query_range. The result
// aliases body, which is changed in place and must not be used again.
func DecodeQueryResponse(body []byte) (*QueryResponse, error) {
	d := responseDecoder{r: jsonReader{b: body}}
	if d.decode(); d.r.err != nil {
		return nil, fmt.Errorf("reading the answer of a query: %w", d.r.err)
	}
	return &d.out, nil
}

type responseDecoder struct {
	r   jsonReader
	out QueryResponse
}

func (d *responseDecoder) decode() {
	r := &d.r
	status := ""
	r.object(func(key string) {
		switch key {
		case "status":
			status = r.str()
		case "warnings":
			r.array(func() { d.out.Warnings = append(d.out.Warnings, r.str()) })
		case "data":
			d.data()
		default:
			r.skip()
		}
	})
	if r.end(); r.err == nil && status != "success" {
		r.fail("status is %s, not success", quoteShort(status))
	}
}

// data reads the inner object. The result may come before its type.
func (d *responseDecoder) data() {
	r := &d.r
	result := -1
	r.object(func(key string) {
		switch key {
		case "resultType":
			d.out.ResultType = r.str()
		case "result":
			if d.out.ResultType != "" {
				d.result()
				return
			}
			r.peek()
			result = r.i
			r.skip()
		case "stats":
			d.out.Stats = bytes.Clone(r.skip())
		default:
			r.skip()
		}
	})
	if r.err == nil && result >= 0 {
		after := r.i
		r.i = result
		d.result()
		r.i = after
	}
}

func (d *responseDecoder) result() {
	r := &d.r
	switch d.out.ResultType {
	case TypeStreams:
		r.array(func() { d.out.Streams = append(d.out.Streams, d.stream()) })
	case TypeMatrix, TypeVector:
		r.array(func() { d.out.Series = append(d.out.Series, d.series()) })
	case TypeScalar:
		d.out.Scalar = r.point()
	default:
		r.fail("unknown result type %s", quoteShort(d.out.ResultType))
	}
}

func (d *responseDecoder) stream() Stream {
	var s Stream
	r := &d.r
	r.object(func(key string) {
		switch key {
		case "stream":
			s.Labels = r.labels()
		case "values":
			r.array(func() { s.Entries = append(s.Entries, r.entry()) })
		default:
			r.skip()
		}
	})
	return s
}

func (d *responseDecoder) series() Series {
	var s Series
	r := &d.r
	r.object(func(key string) {
		switch key {
		case "metric":
			s.Labels = r.labels()
		case "values":
			r.array(func() { s.Points = append(s.Points, r.point()) })
		case "value":
			s.Points = append(s.Points, r.point())
		default:
			r.skip()
		}
	})
	return s
}

// labels reads an object of strings.
func (r *jsonReader) labels() labels.Labels {
	b := labels.NewScratchBuilder(8)
	r.object(func(name string) {
		if v := r.str(); v != "" {
			b.Add(name, v)
		}
	})
	b.Sort()
	return b.Labels()
}

// entry reads ["<ns>","<line>",{"structuredMetadata":{…},"parsed":{…}}].
func (r *jsonReader) entry() Entry {
	var e Entry
	n := 0
	r.array(func() {
		switch n++; n {
		case 1:
			text := r.str()
			ts, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				r.fail("bad timestamp %s", quoteShort(text))
			}
			e.Timestamp = ts
		case 2:
			e.Line = r.str()
		case 3:
			r.object(func(key string) {
				switch key {
				case "structuredMetadata":
					e.StructuredMetadata = r.labels()
				case "parsed":
					e.Parsed = r.labels()
				default:
					r.skip()
				}
			})
		default:
			r.skip()
		}
	})
	return e
}

// point reads [<seconds>,"<value>"].
func (r *jsonReader) point() Point {
	var p Point
	n := 0
	r.array(func() {
		switch n++; n {
		case 1:
			seconds, err := strconv.ParseFloat(string(r.scalar()), 64)
			if err != nil {
				r.fail("bad time of a sample")
			}
			p.Time = int64(math.Round(seconds * 1000))
		case 2:
			v, err := strconv.ParseFloat(r.str(), 64)
			if err != nil {
				r.fail("bad value of a sample")
			}
			p.Value = v
		default:
			r.skip()
		}
	})
	return p
}
