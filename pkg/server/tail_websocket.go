package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

// tailWebSocket is Loki's own tail. Errors of the request are answered before
// the protocol is switched, as plain text.
func (s *Server) tailWebSocket(w http.ResponseWriter, r *http.Request, b *backend) error {
	leave, err := s.enterTail()
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	t, err := s.openTail(ctx, r, b)
	if err != nil {
		return err
	}
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		// Grafana's browser side connects through a proxy with an Origin of its
		// own; Loki checks none either. There is no cookie to be abused.
		InsecureSkipVerify: true,
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil { // Accept has answered
		s.log.Debug("refused a WebSocket", "error", err)
		return t.sub.Close()
	}
	ctx, gone := discardMessages(ctx, conn)
	defer func() {
		_ = conn.CloseNow() // closed in order before, or given up
		<-gone
	}()
	s.runTail(ctx, t, &webSocketSink{
		ctx: ctx, conn: conn, timeout: s.opts.WriteTimeout, now: s.opts.Now, categorize: categorize(r),
	})
	return nil
}

// discardMessages reads what the client sends, control frames above all: that
// is how the end is noticed. Messages are ignored, as in Loki, unless they are
// too long. (Conn.CloseRead would close the connection for one, and hold the
// tail for 20 s until it has.) The context ends with the connection, and gone
// is closed when nothing is read any more.
func discardMessages(ctx context.Context, conn *websocket.Conn) (open context.Context, gone <-chan struct{}) {
	open, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		for {
			_, r, err := conn.Reader(open)
			if err == nil {
				_, err = io.Copy(io.Discard, r)
			}
			if err != nil {
				return
			}
		}
	}()
	return open, done
}

// webSocketSink writes frames as Loki does.
type webSocketSink struct {
	ctx        context.Context
	conn       *websocket.Conn
	timeout    time.Duration
	now        func() time.Time
	categorize bool
	buf        []byte
}

// maxDroppedDetails is how many lost entries a frame names at most.
const maxDroppedDetails = 1000

func (s *webSocketSink) entries(list []engine.LiveEntry, dropped int) error {
	buf := s.buf[:0]
	buf = append(buf, `{"streams":[`...)
	for i := range list {
		e := &list[i]
		if i > 0 {
			buf = append(buf, ',')
		}
		ls := e.Labels
		if !s.categorize {
			ls = flatten(e)
		}
		buf = lokiapi.AppendLabels(append(buf, `{"stream":`...), ls)
		buf = append(buf, `,"values":[`...)
		buf = lokiapi.AppendEntry(buf, e.Timestamp, e.Line, s.categorize, e.StructuredMetadata, e.Parsed)
		buf = append(buf, `]}`...)
	}
	buf = append(buf, ']')
	if dropped > 0 {
		// Loki names each lost entry. What was lost is not known any more, only
		// how many: clients count them.
		now := strconv.FormatInt(s.now().UnixNano(), 10)
		buf = append(buf, `,"dropped_entries":[`...)
		for i := range min(dropped, maxDroppedDetails) {
			if i > 0 {
				buf = append(buf, ',')
			}
			buf = append(append(append(buf, `{"timestamp":"`...), now...), `","labels":`...)
			buf = append(lokiapi.AppendLabels(buf, labels.EmptyLabels()), '}')
		}
		buf = append(buf, ']')
	}
	if s.categorize {
		buf = append(buf, `,"encodingFlags":["`+lokiapi.CategorizeLabels+`"]`...)
	}
	buf = append(buf, '}')
	s.buf = buf
	ctx, cancel := context.WithTimeout(s.ctx, s.timeout)
	defer cancel()
	return s.conn.Write(ctx, websocket.MessageText, s.buf)
}

// warning has no counterpart in Loki's protocol.
func (s *webSocketSink) warning(string) error { return nil }

// live has no counterpart in Loki's protocol.
func (s *webSocketSink) live() error { return nil }

func (s *webSocketSink) heartbeat() error {
	ctx, cancel := context.WithTimeout(s.ctx, s.timeout)
	defer cancel()
	return s.conn.Ping(ctx)
}

func (s *webSocketSink) end(reason error) {
	// The peer's answer is not waited for longer than the library does.
	switch {
	case reason == nil:
		_ = s.conn.Close(websocket.StatusNormalClosure, "")
	case errors.Is(reason, errShuttingDown):
		_ = s.conn.Close(websocket.StatusGoingAway, reason.Error())
	default:
		_ = s.conn.Close(websocket.StatusInternalError, cut(reason.Error(), 100))
	}
}
