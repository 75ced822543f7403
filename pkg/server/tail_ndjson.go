package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

// tailNDJSON follows a query as lines of JSON, see package lokiapi.
func (s *Server) tailNDJSON(w http.ResponseWriter, r *http.Request, b *backend) error {
	leave, err := s.enterTail()
	if err != nil {
		return err
	}
	defer leave()
	t, err := s.openTail(r.Context(), r, b)
	if err != nil {
		return err
	}
	sink := newNDJSONSink(w, s.opts.WriteTimeout)
	defer sink.done()
	if err := sink.flush(); err != nil { // the client learns that the query is fine
		return t.sub.Close()
	}
	s.runTail(r.Context(), t, sink)
	return nil
}

// ndjsonSink writes lines and flushes after each batch.
type ndjsonSink struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
	buf     []byte
}

func newNDJSONSink(w http.ResponseWriter, timeout time.Duration) *ndjsonSink {
	h := w.Header()
	h.Set("Content-Type", "application/x-ndjson; charset=UTF-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would collect lines otherwise
	return &ndjsonSink{w: w, control: http.NewResponseController(w), timeout: timeout}
}

// flush sends what is buffered within the timeout.
func (n *ndjsonSink) flush() error {
	if err := n.write(); err != nil {
		return err
	}
	return n.control.Flush()
}

// write hands the buffer to the connection without forcing it out.
func (n *ndjsonSink) write() error {
	// Not every writer has deadlines (tests); the real one does.
	_ = n.control.SetWriteDeadline(time.Now().Add(n.timeout))
	_, err := n.w.Write(n.buf)
	n.buf = n.buf[:0]
	return err
}

// done frees the connection for other requests.
func (n *ndjsonSink) done() { _ = n.control.SetWriteDeadline(time.Time{}) }

func (n *ndjsonSink) append(list []engine.LiveEntry) {
	for i := range list {
		e := &list[i]
		n.buf = lokiapi.AppendTailEntry(n.buf, e.Labels, e.Timestamp, e.Line, e.StructuredMetadata, e.Parsed)
	}
}

func (n *ndjsonSink) entries(list []engine.LiveEntry, dropped int) error {
	if dropped > 0 {
		n.buf = strconv.AppendInt(append(n.buf, `{"event":"dropped","count":`...), int64(dropped), 10)
		n.buf = append(n.buf, "}\n"...)
	}
	n.append(list)
	return n.flush()
}

// warning says that entries may be missing, and why.
func (n *ndjsonSink) warning(text string) error {
	n.buf = lokiapi.AppendString(append(n.buf, `{"event":"warning","message":`...), text)
	n.buf = append(n.buf, "}\n"...)
	return n.flush()
}

func (n *ndjsonSink) live() error {
	n.buf = append(n.buf, `{"event":"live"}`+"\n"...)
	return n.flush()
}

func (n *ndjsonSink) heartbeat() error {
	n.buf = append(n.buf, '\n')
	return n.flush()
}

func (n *ndjsonSink) end(reason error) {
	if reason == nil {
		return
	}
	n.buf = lokiapi.AppendString(append(n.buf, `{"event":"error","message":`...), reason.Error())
	n.buf = append(n.buf, "}\n"...)
	_ = n.flush() // an error means that the client is gone
}
