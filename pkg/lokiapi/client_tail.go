package lokiapi

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/prometheus/model/labels"
)

// TailRequest asks for live entries, after up to Limit stored ones since Start.
type TailRequest struct {
	Query string
	// Start bounds the stored entries; the zero time is one hour ago.
	Start time.Time
	// Limit is the number of stored entries to begin with, the newest ones.
	// 0 is the server's default of 100, negative asks for none.
	Limit int
}

func (r TailRequest) values() url.Values {
	v := url.Values{"query": {r.Query}}
	setTime(v, "start", r.Start)
	if r.Limit != 0 {
		v.Set("limit", strconv.Itoa(max(r.Limit, 0)))
	}
	return v
}

// EventKind tells the events of a tail apart.
type EventKind uint8

const (
	// EventEntry brings an entry.
	EventEntry EventKind = iota
	// EventLive says that stored entries end here and live ones follow. Only
	// NDJSON tails have it.
	EventLive
	// EventDropped says that the reader was too slow for Dropped entries.
	EventDropped
	// EventEnd ends an export: nothing is missing but what warnings told.
	EventEnd
	// EventWarning says that entries may be missing; Message tells why. What
	// follows is good.
	EventWarning
)

// TailEvent is one thing that a tail or export brings.
type TailEvent struct {
	Kind EventKind
	// Labels and Entry are set for EventEntry.
	Labels labels.Labels
	Entry  Entry
	// Dropped is set for EventDropped.
	Dropped int
	// Message is set for EventWarning.
	Message string
}

// TailError is the reason that the server gave for ending a tail or export.
type TailError struct{ Msg string }

func (e *TailError) Error() string { return e.Msg }

// ErrTailSilent says that nothing, not even a sign of life, arrived for longer
// than [TailSilence]: the connection is dead although nobody closed it.
var ErrTailSilent = errors.New("the tail went silent: the connection is broken, start it again")

// TailSilence is how long a tail may be quiet. The server sends an empty line
// or a ping every ten seconds.
const TailSilence = 35 * time.Second

// TailStream hands out the events of a tail. Next is used by one goroutine;
// Close may be called from any, more than once.
type TailStream struct {
	next  func() (TailEvent, error)
	close func()
	once  sync.Once
}

// Next waits for the next event. It returns io.EOF when the server ended the
// stream in order, *TailError with the server's reason, ErrTailSilent, or the
// error of the connection (the context's, when that ended it).
func (t *TailStream) Next() (TailEvent, error) { return t.next() }

// Close ends the tail.
func (t *TailStream) Close() error {
	t.once.Do(t.close)
	return nil
}

// TailNDJSON follows a query as lines of JSON, the form that passes every proxy.
func (c *Client) TailNDJSON(ctx context.Context, r TailRequest) (*TailStream, error) {
	return c.ndjson(ctx, TailPath, r.values(), TailSilence)
}

// Export streams all entries of a log query, oldest or newest first. Limit 0
// means all of them. The stream ends with EventEnd and then io.EOF; an
// io.ErrUnexpectedEOF means that something is missing.
func (c *Client) Export(ctx context.Context, r RangeRequest) (*TailStream, error) {
	return c.ndjson(ctx, ExportPath, r.values(), 0)
}

// ndjson opens a stream of lines. silence 0 waits forever.
func (c *Client) ndjson(ctx context.Context, path string, v url.Values, silence time.Duration) (*TailStream, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := c.request(ctx, http.MethodGet, path, v, nil)
	if err != nil {
		cancel(err)
		return nil, err
	}
	resp, err := c.send(req) //nolint:bodyclose // TailStream.Close closes it
	if err != nil {
		cancel(err)
		return nil, err
	}
	s := &ndjsonReader{ctx: ctx, lines: bufio.NewReaderSize(resp.Body, 64<<10)}
	if silence > 0 {
		s.silence = silence
		s.timer = time.AfterFunc(silence, func() { cancel(ErrTailSilent) })
	}
	return &TailStream{next: s.next, close: func() {
		if s.timer != nil {
			s.timer.Stop()
		}
		cancel(context.Canceled)
		resp.Body.Close() //nolint:errcheck // given up
	}}, nil
}

type ndjsonReader struct {
	ctx     context.Context
	lines   *bufio.Reader
	silence time.Duration
	timer   *time.Timer
	err     error
	ended   bool
}

func (s *ndjsonReader) next() (TailEvent, error) {
	for s.err == nil {
		line, err := s.lines.ReadBytes('\n')
		if err != nil {
			s.err = s.readError(err)
			break
		}
		if s.timer != nil {
			s.timer.Reset(s.silence)
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		ev, err := parseTailLine(line)
		if err != nil {
			s.err = err
			break
		}
		s.ended = ev.Kind == EventEnd
		return ev, nil
	}
	return TailEvent{}, s.err
}

// readError finds out why reading stopped.
func (s *ndjsonReader) readError(err error) error {
	if cause := context.Cause(s.ctx); cause != nil {
		return cause
	}
	if errors.Is(err, io.EOF) && !s.ended && s.timer == nil {
		return fmt.Errorf("the export broke off: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// parseTailLine reads one line of NDJSON, which it owns.
func parseTailLine(line []byte) (TailEvent, error) {
	var ev TailEvent
	var event, message string
	r := jsonReader{b: line}
	r.object(func(key string) {
		switch key {
		case "labels":
			ev.Labels = r.labels()
		case "timestamp":
			text := r.str()
			ts, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				r.fail("bad timestamp %s", quoteShort(text))
			}
			ev.Entry.Timestamp = ts
		case "line":
			ev.Entry.Line = r.str()
		case "structuredMetadata":
			ev.Entry.StructuredMetadata = r.labels()
		case "parsed":
			ev.Entry.Parsed = r.labels()
		case "event":
			event = r.str()
		case "message":
			message = r.str()
		case "count":
			n, err := strconv.Atoi(string(r.scalar()))
			if err != nil {
				r.fail("bad count")
			}
			ev.Dropped = n
		default:
			r.skip()
		}
	})
	if r.err != nil {
		return ev, fmt.Errorf("reading a line of the tail: %w", r.err)
	}
	switch event {
	case "":
	case "live":
		ev.Kind = EventLive
	case "dropped":
		ev.Kind = EventDropped
	case "end":
		ev.Kind = EventEnd
	case "warning":
		ev.Kind, ev.Message = EventWarning, message
	case "error":
		return ev, &TailError{Msg: message}
	default:
		return TailEvent{}, &TailError{Msg: "the server sent an event that this version does not know: " + event}
	}
	return ev, nil
}

// TailWebSocket follows a query through Loki's own protocol, for a foreign Loki.
func (c *Client) TailWebSocket(ctx context.Context, r TailRequest) (*TailStream, error) {
	header := http.Header{EncodingFlagsHeader: {CategorizeLabels}}
	for k, vs := range c.Header {
		header[k] = vs
	}
	u := c.url("/loki/api/v1/tail", r.values())
	conn, resp, err := websocket.Dial(ctx, u, &websocket.DialOptions{HTTPClient: c.http(), HTTPHeader: header})
	if err != nil {
		if resp != nil && resp.StatusCode >= 300 && resp.Request != nil {
			return nil, statusError(resp.Request.URL, resp)
		}
		return nil, fmt.Errorf("opening a tail: %w", err)
	}
	conn.SetReadLimit(math.MaxInt32)
	s := &webSocketReader{ctx: ctx, conn: conn}
	return &TailStream{next: s.next, close: func() { conn.CloseNow() }}, nil //nolint:errcheck // given up
}

type webSocketReader struct {
	ctx     context.Context
	conn    *websocket.Conn
	pending []TailEvent
	err     error
}

func (s *webSocketReader) next() (TailEvent, error) {
	for s.err == nil && len(s.pending) == 0 {
		_, frame, err := s.conn.Read(s.ctx)
		switch status := websocket.CloseStatus(err); {
		case err == nil:
			s.pending, s.err = parseTailFrame(frame, s.pending[:0])
		case s.ctx.Err() != nil:
			s.err = s.ctx.Err()
		case status == websocket.StatusNormalClosure || status == websocket.StatusGoingAway:
			s.err = io.EOF
		case status != -1:
			var ce websocket.CloseError
			errors.As(err, &ce)
			s.err = &TailError{Msg: ce.Reason}
		default:
			s.err = err
		}
	}
	if len(s.pending) == 0 {
		return TailEvent{}, s.err
	}
	ev := s.pending[0]
	s.pending = s.pending[1:]
	return ev, nil
}

// parseTailFrame reads a frame of Loki's tail, which it owns.
func parseTailFrame(frame []byte, events []TailEvent) ([]TailEvent, error) {
	d := responseDecoder{r: jsonReader{b: frame}}
	r := &d.r
	r.object(func(key string) {
		switch key {
		case "streams":
			r.array(func() {
				s := d.stream()
				for _, e := range s.Entries {
					events = append(events, TailEvent{Labels: s.Labels, Entry: e})
				}
			})
		case "dropped_entries":
			n := 0
			r.array(func() {
				r.skip()
				n++
			})
			if n > 0 {
				events = append(events, TailEvent{Kind: EventDropped, Dropped: n})
			}
		default:
			r.skip()
		}
	})
	if r.err != nil {
		return nil, fmt.Errorf("reading a frame of the tail: %w", r.err)
	}
	return events, nil
}
