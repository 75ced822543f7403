package lokiapi

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// Decoder turns push bodies into batches. It is safe for concurrent use.
type Decoder struct {
	limits      Limits
	now         func() time.Time
	protoLabels *streamCache // by {a="b"} text
	jsonLabels  *streamCache // by the text of a JSON object
	pushes      sync.Pool
}

// NewDecoder makes a decoder. now is the clock against which timestamps are
// judged; nil means time.Now.
func NewDecoder(limits Limits, now func() time.Time) *Decoder {
	limits.ensureDefaults()
	if now == nil {
		now = time.Now
	}
	return &Decoder{
		limits: limits, now: now,
		protoLabels: newStreamCache(), jsonLabels: newStreamCache(),
	}
}

// Limits returns the limits with their defaults filled in.
func (d *Decoder) Limits() Limits { return d.limits }

// Push is one decoded request. Batch holds what passed the checks and aliases
// the body; it is valid until the body is reused or Release is called.
type Push struct {
	Batch model.Batch
	// Entries and Bytes count what was accepted: lines and metadata, in bytes.
	Entries int
	Bytes   int64
	// Streams counts the streams of the request, refused ones included.
	Streams int
	// Refused is what was left out; the rest is to be stored all the same.
	Refused []Refusal

	d                *Decoder
	minTime, maxTime int64
	entries          []model.Entry // of all streams, one after the other
	spans            []span
	builder          labels.ScratchBuilder
	// The metadata of the entry before: consecutive entries often share it.
	lastRaw      string
	lastMetadata labels.Labels
}

// span is one stream and where its entries begin in Push.entries.
type span struct {
	info  *streamInfo
	start int
}

// start takes a Push from the pool and sets the window of accepted times.
func (d *Decoder) start() *Push {
	p, _ := d.pushes.Get().(*Push)
	if p == nil {
		p = &Push{}
	}
	p.d = d
	p.minTime, p.maxTime = math.MinInt64, math.MaxInt64
	now := d.now()
	if d.limits.MaxAge > 0 {
		p.minTime = now.Add(-d.limits.MaxAge).UnixNano()
	}
	if d.limits.MaxFuture >= 0 {
		p.maxTime = now.Add(d.limits.MaxFuture).UnixNano()
	}
	return p
}

// maxPooledEntries keeps one giant request from pinning its memory forever.
const maxPooledEntries = 1 << 16

// Release gives the memory of p back for the next request. The batch must not
// be used afterwards.
func (p *Push) Release() {
	if cap(p.entries) > maxPooledEntries {
		return
	}
	clear(p.entries) // they alias a body that is about to be reused
	clear(p.spans)
	clear(p.Batch.Streams)
	*p = Push{
		d: p.d, entries: p.entries[:0], spans: p.spans[:0], builder: p.builder,
		Batch: model.Batch{Streams: p.Batch.Streams[:0]},
	}
	p.d.pushes.Put(p)
}

// finish builds the batch out of the spans.
func (p *Push) finish() error {
	if p.Streams == 0 {
		return ErrNoStreams
	}
	p.Batch.DropDuplicates = true
	for i, s := range p.spans {
		end := len(p.entries)
		if i+1 < len(p.spans) {
			end = p.spans[i+1].start
		}
		if end > s.start {
			p.Batch.Streams = append(p.Batch.Streams, model.StreamEntries{
				Labels: s.info.labels, Entries: p.entries[s.start:end:end],
			})
		}
	}
	p.Entries = len(p.entries)
	return nil
}

// open begins a stream.
func (p *Push) open(info *streamInfo) {
	p.spans = append(p.spans, span{info: info, start: len(p.entries)})
}

// countStream checks the number of streams.
func (p *Push) countStream() error {
	if p.Streams++; p.Streams > p.d.limits.MaxStreams {
		return &TooLargeError{What: "streams", Limit: p.d.limits.MaxStreams}
	}
	return nil
}

// add checks one entry of the stream and appends it.
func (p *Push) add(info *streamInfo, e model.Entry, metadataBytes int) error {
	l := &p.d.limits
	size := int64(len(e.Line) + metadataBytes)
	switch {
	case info.refused != "":
		p.refuse(info.refused, size, func() string { return info.message })
		return nil
	case len(e.Line) > l.MaxLine:
		p.refuse(ReasonLineTooLong, size, func() string {
			return fmt.Sprintf("max entry size %d bytes exceeded for stream '%s' while adding an entry with length %d bytes",
				l.MaxLine, info.labels, len(e.Line))
		})
		return nil
	case metadataBytes > l.MaxMetadataBytes:
		p.refuse(ReasonMetadataTooLarge, size, func() string {
			return fmt.Sprintf("stream '%s' has structured metadata of %d bytes; the limit is %d",
				info.labels, metadataBytes, l.MaxMetadataBytes)
		})
		return nil
	case e.Timestamp < p.minTime:
		p.refuse(ReasonTooOld, size, func() string {
			return fmt.Sprintf("entry for stream '%s' has timestamp too old: %s, oldest acceptable timestamp is: %s",
				info.labels, formatTime(e.Timestamp), formatTime(p.minTime))
		})
		return nil
	case e.Timestamp > p.maxTime:
		p.refuse(ReasonTooFarInFuture, size, func() string {
			return fmt.Sprintf("entry for stream '%s' has timestamp too new: %s",
				info.labels, formatTime(e.Timestamp))
		})
		return nil
	}
	if len(p.entries) >= l.MaxEntries {
		return &TooLargeError{What: "entries", Limit: l.MaxEntries}
	}
	if info.addLevels {
		e.Metadata = withLevel(e.Metadata, info.level, e.Line, &p.builder)
	}
	p.entries = append(p.entries, e)
	p.Bytes += size
	return nil
}

// refuse counts one entry; message is only called for the first of its reason.
func (p *Push) refuse(reason Reason, size int64, message func() string) {
	for i := range p.Refused {
		if r := &p.Refused[i]; r.Reason == reason {
			r.Entries++
			r.Bytes += size
			return
		}
	}
	p.Refused = append(p.Refused, Refusal{Reason: reason, Entries: 1, Bytes: size, Message: message()})
}

// RefusedMessage is the text for the client: the bare message for a single
// refused entry, else one line per reason with its count. It is "" when all
// was accepted.
func (p *Push) RefusedMessage() string {
	if len(p.Refused) == 1 && p.Refused[0].Entries == 1 {
		return p.Refused[0].Message
	}
	var b strings.Builder
	for i, r := range p.Refused {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%d entries refused (%s), the first: %s", r.Entries, r.Reason, r.Message)
	}
	return b.String()
}

func formatTime(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }
