package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

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
		case errors.Is(err, os.ErrDeadlineExceeded): // which ends the request's context too
			return nil, statusErrorf(http.StatusRequestTimeout, "the body of the push did not come in time: %v", err)
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
