package server

import (
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"sync"
	"time"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/gzip"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

// push stores entries: 204 when all of them are durable, 400 with the reasons
// when some were refused (the others are stored), as Loki does.
func (s *Server) push(w http.ResponseWriter, r *http.Request, b *backend) error {
	refused, err := s.pushBody(w, r, b)
	switch {
	case err != nil:
		s.countBadPush(r, err)
		return err
	case refused != "":
		return badRequestf("%s", refused)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// countBadPush counts requests that could not be read at all.
func (s *Server) countBadPush(r *http.Request, err error) {
	var labels *lokiapi.LabelsError
	switch code := s.statusOf(r, err); {
	case errors.As(err, &labels):
		s.metrics.refusedEntries.WithLabelValues(string(lokiapi.ReasonInvalidLabels)).Inc()
	case code == http.StatusRequestEntityTooLarge:
		s.metrics.refusedEntries.WithLabelValues(string(lokiapi.ReasonBodyTooLarge)).Inc()
	case code == http.StatusBadRequest:
		s.metrics.refusedEntries.WithLabelValues(string(lokiapi.ReasonMalformed)).Inc()
	}
}

// pushBody reads, decodes and stores one request. It returns the reasons for
// what was refused.
func (s *Server) pushBody(w http.ResponseWriter, r *http.Request, b *backend) (refused string, err error) {
	body, err := s.readBody(w, r)
	if err != nil {
		return "", err
	}
	defer body.release()
	isJSON := false
	if ct := r.Header.Get("Content-Type"); ct != "" {
		mediaType, _, err := mime.ParseMediaType(ct)
		if err != nil {
			return "", badRequestf("bad Content-Type %q: %v", ct, err)
		}
		isJSON = mediaType == "application/json"
	}
	text, err := s.decompress(r, body, isJSON)
	if err != nil {
		return "", err
	}
	decode := s.decoder.Proto
	if isJSON {
		decode = s.decoder.JSON
	}
	p, err := decode(text)
	if err != nil {
		return "", err
	}
	defer p.Release()
	if p.Entries > 0 {
		if err := b.store.Append(r.Context(), &p.Batch); err != nil {
			return "", fmt.Errorf("storing a push: %w", err)
		}
	}
	s.metrics.pushedEntries.Add(float64(p.Entries))
	s.metrics.pushedBytes.Add(float64(p.Bytes))
	for _, f := range p.Refused {
		s.metrics.refusedEntries.WithLabelValues(string(f.Reason)).Add(float64(f.Entries))
		s.metrics.refusedBytes.WithLabelValues(string(f.Reason)).Add(float64(f.Bytes))
	}
	if refused = p.RefusedMessage(); refused != "" {
		s.log.Debug("push partly refused", "from", r.RemoteAddr, "stored", p.Entries, "reasons", refused)
	}
	return refused, nil
}

// pushBuffers are the buffers of one request and what they hold of the two
// budgets. Bytes as sent and bytes decompressed have a budget each, and nobody
// who holds some of the second waits for the first: they cannot lock each other.
type pushBuffers struct {
	s          *Server
	sent, text *bytes.Buffer
	sentClaim  int64
	textClaim  int64
}

func (p *pushBuffers) release() {
	if p.sentClaim > 0 {
		p.s.bodies.Release(p.sentClaim)
	}
	if p.textClaim > 0 {
		p.s.decoded.Release(p.textClaim)
	}
	p.s.buffers.put(p.sent)
	p.s.buffers.put(p.text)
}

// claimText waits for n bytes of the budget for decompressed bodies.
func (p *pushBuffers) claimText(ctx context.Context, n int) error {
	if err := p.s.decoded.Acquire(ctx, int64(n)); err != nil {
		return err
	}
	p.textClaim = int64(n)
	return nil
}

// How a body is read. What it claims of the budget follows what has arrived,
// so that connections which only announce a body hold next to nothing.
const (
	firstClaim   = 4 << 10
	bodyPiece    = 256 << 10       // what must arrive within pieceTimeout
	pieceTimeout = 5 * time.Second // also for a claim by a body that holds some
)

// readBody reads the body as it was sent. Clients that send slowly are cut off,
// since they hold a part of the budget.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) (*pushBuffers, error) {
	limit := s.opts.MaxBody
	tooLarge := statusErrorf(http.StatusRequestEntityTooLarge,
		"the body of the push is larger than %d bytes; send smaller batches", limit)
	if r.ContentLength > limit {
		return nil, tooLarge
	}
	size := limit
	if r.ContentLength >= 0 {
		size = r.ContentLength
	}
	p := &pushBuffers{s: s, sent: s.buffers.get(), text: s.buffers.get()}
	// On an error the deadline stays: the HTTP server reads on, for what is
	// left of the body, and then sets its own.
	if err := p.readAll(w, r, http.MaxBytesReader(w, r.Body, limit), int(size)); err != nil {
		p.release()
		var withCode *httpError
		switch exceeded := new(http.MaxBytesError); {
		case errors.As(err, &exceeded):
			return nil, tooLarge
		case errors.As(err, &withCode), r.Context().Err() != nil:
			return nil, err
		}
		return nil, badRequestf("reading the body of the push: %v", err)
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	s.metrics.pushedBodies.Add(float64(p.sent.Len()))
	return p, nil
}

// readAll reads a body of at most size bytes into p.sent. Each claim doubles
// what is held.
func (p *pushBuffers) readAll(w http.ResponseWriter, r *http.Request, body io.Reader, size int) error {
	control := http.NewResponseController(w)
	end := time.Now().Add(bodyTimeout)
	// Not every writer has deadlines (tests); the real one does.
	extend := func() {
		next := time.Now().Add(pieceTimeout)
		if next.After(end) {
			next = end
		}
		_ = control.SetReadDeadline(next)
	}
	buf := p.sent.AvailableBuffer()
	due := bodyPiece // the length at which the deadline is extended
	for {
		if len(buf) >= int(p.sentClaim) && len(buf) < size || p.sentClaim == 0 {
			if err := p.claimSent(r.Context(), min(max(2*len(buf), firstClaim), max(size, 1))); err != nil {
				return err
			}
			extend() // waiting for memory is not the client's fault
		}
		room := int(p.sentClaim) + 1 // one more for the read that finds the end
		if cap(buf) < room {
			buf = append(make([]byte, 0, room), buf...)
		}
		n, err := body.Read(buf[len(buf):room])
		buf = buf[:len(buf)+n]
		if err != nil {
			*p.sent = *bytes.NewBuffer(buf)
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if len(buf) > size {
			return fmt.Errorf("more came than the %d bytes that were announced", size)
		}
		if len(buf) >= due {
			due = len(buf) + bodyPiece
			extend()
		}
	}
}

// claimSent waits until the body may hold n bytes in all. Bodies that hold a
// part wait for each other, so they do not wait for long.
func (p *pushBuffers) claimSent(ctx context.Context, n int) error {
	wait := pieceTimeout
	if p.sentClaim == 0 {
		wait = bodyTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	more := int64(n) - p.sentClaim
	if err := p.s.bodies.Acquire(ctx, more); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return statusErrorf(http.StatusServiceUnavailable, "too many pushes at once: no memory for the body became free within %s; try again", wait)
		}
		return err
	}
	p.sentClaim += more
	return nil
}

// decompress undoes Content-Encoding and, for protobuf, the snappy block inside.
func (s *Server) decompress(r *http.Request, p *pushBuffers, isJSON bool) ([]byte, error) {
	limit := s.decoder.Limits().MaxDecoded
	text := p.sent.Bytes()
	inflated := false
	switch enc := r.Header.Get("Content-Encoding"); enc {
	case "", "snappy": // a hint: protobuf is always snappy inside
	case "gzip", "deflate":
		// How much it will be is unknown: claim the most, give back soon.
		if err := p.claimText(r.Context(), limit); err != nil {
			return nil, err
		}
		var err error
		if text, err = inflate(enc, text, p.text, limit); err != nil {
			return nil, err
		}
		inflated = true
	default:
		return nil, badRequestf("Content-Encoding %q not supported", enc)
	}
	if isJSON {
		if len(text) > limit {
			return nil, &lokiapi.TooLargeError{What: "bytes", Limit: limit}
		}
		p.giveBack(len(text))
		return text, nil
	}
	size, err := snappy.DecodedLen(text)
	if err != nil {
		return nil, badRequestf("the body is not a snappy block: %v", err)
	}
	// A snappy block of n bytes cannot stand for more than 22 n or so: a
	// larger claim is a lie, and would cost memory before it is found out.
	if size > limit || size > 64*len(text)+64 {
		return nil, &lokiapi.TooLargeError{What: "bytes", Limit: limit}
	}
	if inflated {
		if p.giveBack(len(text) + size); len(text)+size > limit {
			return nil, &lokiapi.TooLargeError{What: "bytes", Limit: limit}
		}
		out, err := snappy.Decode(nil, text)
		if err != nil {
			return nil, badRequestf("the body is not a snappy block: %v", err)
		}
		return out, nil
	}
	if err := p.claimText(r.Context(), size); err != nil {
		return nil, err
	}
	p.text.Grow(size)
	out, err := snappy.Decode(p.text.AvailableBuffer()[:size], text)
	if err != nil {
		return nil, badRequestf("the body is not a snappy block: %v", err)
	}
	return out, nil
}

// giveBack shrinks the claim to n bytes.
func (p *pushBuffers) giveBack(n int) {
	if extra := p.textClaim - int64(n); extra > 0 {
		p.s.decoded.Release(extra)
		p.textClaim -= extra
	}
}

// inflate decompresses gzip or raw deflate into buf.
func inflate(encoding string, body []byte, buf *bytes.Buffer, limit int) ([]byte, error) {
	var from io.Reader
	if encoding == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, badRequestf("the body is not gzip: %v", err)
		}
		from = z
	} else {
		from = flate.NewReader(bytes.NewReader(body))
	}
	n, err := buf.ReadFrom(io.LimitReader(from, int64(limit)+1))
	switch {
	case err != nil:
		return nil, badRequestf("the %s body is broken: %v", encoding, err)
	case n > int64(limit):
		return nil, &lokiapi.TooLargeError{What: "bytes", Limit: limit}
	}
	return buf.Bytes(), nil
}

// maxPooledBuffer keeps one giant push from pinning its memory.
const maxPooledBuffer = 4 << 20

// bufferPool reuses the buffers of pushes.
type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) get() *bytes.Buffer {
	if b, ok := p.pool.Get().(*bytes.Buffer); ok {
		return b
	}
	return new(bytes.Buffer)
}

func (p *bufferPool) put(b *bytes.Buffer) {
	if b == nil || b.Cap() > maxPooledBuffer {
		return
	}
	b.Reset()
	p.pool.Put(b)
}
