package lokiapi

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// Decoder turns push bodies into batches. It is safe for concurrent use.
type Decoder struct {
	limits      Limits
	levels      *Levels
	otlp        *otlpRules
	now         func() time.Time
	protoLabels *streamCache // by {a="b"} text
	jsonLabels  *streamCache // by the text of a JSON object
	otlpLabels  *streamCache // by the pairs, as otlpPush.key writes them
	pushes      sync.Pool
}

// NewDecoder makes a decoder. now is the clock against which timestamps are
// judged; nil means time.Now. Limits.OTLP must be valid, see
// [OTLPConfig.Validate]: it panics otherwise.
func NewDecoder(limits Limits, now func() time.Time) *Decoder {
	limits.ensureDefaults()
	if now == nil {
		now = time.Now
	}
	return &Decoder{
		limits: limits, now: now,
		levels: NewLevels(limits.LevelFields), otlp: limits.OTLP.mustCompile(),
		protoLabels: newStreamCache(), jsonLabels: newStreamCache(), otlpLabels: newStreamCache(),
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
	// Truncated counts the lines that were cut, see [Limits].TruncateLines.
	Truncated int
	// Refused is what was left out; the rest is to be stored all the same.
	Refused []Refusal

	d                *Decoder
	minTime, maxTime int64
	entries          []model.Entry // of all streams, one after the other
	spans            []span
	meta             metadata
	last             lastMetadata
}

// lastMetadata is the metadata of the entry before: consecutive entries often
// share it.
type lastMetadata struct {
	raw          string // as it was pushed, "" if there is nothing to share
	info         *streamInfo
	labels       labels.Labels
	count, bytes int   // see metadata
	level        Level // what the line said
	fromLine     bool  // whether that mattered
}

func (l *lastMetadata) is(info *streamInfo, raw string) bool {
	return raw != "" && raw == l.raw && info == l.info
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
	clear(p.meta.pairs[:cap(p.meta.pairs)])
	p.meta.reset()
	*p = Push{
		d: p.d, entries: p.entries[:0], spans: p.spans[:0], meta: p.meta,
		Batch: model.Batch{Streams: p.Batch.Streams[:0]},
	}
	p.d.pushes.Put(p)
}

// finish builds the batch out of the spans.
func (p *Push) finish() error {
	if p.Streams == 0 {
		return ErrNoStreams
	}
	p.build()
	return nil
}

// build makes the entries so far the batch.
func (p *Push) build() {
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
	p.Entries += len(p.entries)
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

// add checks one entry of the stream and appends it. Its metadata is in p.meta;
// raw is that as it was pushed, if entries with the same raw have the same.
func (p *Push) add(info *streamInfo, ts int64, line, raw string) error {
	l := &p.d.limits
	size := int64(len(line) + p.meta.bytes)
	if len(line) > l.MaxLine && l.TruncateLines && info.refused == "" {
		line = truncate(line, l.MaxLine, l.TruncateMarker)
		p.Truncated++
	}
	if reason := p.check(info, ts, line); reason != "" {
		p.refuse(reason, size, func() string { return p.explain(reason, info, ts, line) })
		return nil
	}
	if len(p.entries) >= l.MaxEntries {
		return &TooLargeError{What: "entries", Limit: l.MaxEntries}
	}
	e := model.Entry{Timestamp: ts, Line: line}
	if p.meta.count == 0 {
		e.Metadata = info.metadataOf(p.d.levels, line)
	} else {
		e.Metadata = p.metadataOf(info, line, raw)
	}
	p.entries = append(p.entries, e)
	p.Bytes += size
	return nil
}

// check finds the reason to refuse an entry, "" if there is none.
func (p *Push) check(info *streamInfo, ts int64, line string) Reason {
	switch {
	case info.refused != "":
		return info.refused
	case len(line) > p.d.limits.MaxLine:
		return ReasonLineTooLong
	case ts < p.minTime:
		return ReasonTooOld
	case ts > p.maxTime:
		return ReasonTooFarInFuture
	}
	return p.meta.refusal(&p.d.limits)
}

// explain says in words what check found.
func (p *Push) explain(reason Reason, info *streamInfo, ts int64, line string) string {
	stream := shortLabels(info.labels)
	switch reason {
	case info.refused:
		return info.message
	case ReasonLineTooLong:
		return fmt.Sprintf("max entry size %d bytes exceeded for stream '%s' while adding an entry with length %d bytes",
			p.d.limits.MaxLine, stream, len(line))
	case ReasonTooOld:
		return fmt.Sprintf("entry for stream '%s' has timestamp too old: %s, oldest acceptable timestamp is: %s",
			stream, formatTime(ts), formatTime(p.minTime))
	case ReasonTooFarInFuture:
		return fmt.Sprintf("entry for stream '%s' has timestamp too new: %s", stream, formatTime(ts))
	}
	return p.meta.message(reason, &p.d.limits, stream)
}

// truncate cuts a line to n bytes, the marker at its end included, between two
// characters.
func truncate(line string, n int, marker string) string {
	n = max(n-len(marker), 0)
	for i := 0; i < utf8.UTFMax-1 && n > 0 && !utf8.RuneStart(line[n]); i++ {
		n--
	}
	return line[:n] + marker
}

// metadataOf makes the metadata of an entry out of what was collected for it,
// or out of that of the entry before.
func (p *Push) metadataOf(info *streamInfo, line, raw string) labels.Labels {
	levels, last := p.d.levels, &p.last
	if last.is(info, raw) {
		if !last.fromLine {
			return last.labels
		}
		level := levels.Detect(line)
		if level != last.level {
			last.level = level
			p.meta.pairs = p.meta.pairs[:0]
			last.labels.Range(func(l labels.Label) {
				if l.Name == LevelName {
					l.Value = level.String()
				}
				p.meta.pairs = append(p.meta.pairs, l)
			})
			last.labels = p.meta.labels()
		}
		return last.labels
	}
	next := lastMetadata{raw: raw, info: info, count: p.meta.count, bytes: p.meta.bytes}
	if info.addLevels {
		next.level, next.fromLine = p.meta.addLevel(levels, info.level, line)
	}
	next.labels = p.meta.labels()
	if raw != "" {
		*last = next
	}
	return next.labels
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
