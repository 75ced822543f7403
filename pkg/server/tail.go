package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// tailSink is one transport of a tail. Its methods are called by one goroutine.
// An error means that the client is gone.
type tailSink interface {
	// entries sends entries; dropped is the number lost before them.
	entries(list []engine.LiveEntry, dropped int) error
	// warning says that entries may be missing, and why.
	warning(text string) error
	// live says that the stored entries are through.
	live() error
	// heartbeat shows a sign of life.
	heartbeat() error
	// end sends the reason for which the tail ends, nil for an orderly end.
	end(reason error)
}

// tail is a subscription together with the stored entries it begins with.
type tail struct {
	sub     engine.LiveTail
	history []engine.LiveEntry // oldest first
	release func()             // lets go of what history refers to
	// seen counts the stored entries by hash: an entry that became durable
	// between the subscription and the query comes with both, and is left out
	// the second time.
	// It is dropped when the subscription has got past what the query could
	// see: later twins of stored entries are entries in their own right.
	seen map[uint64]int
	// seenEnd is the end of what the query could see.
	seenEnd int64
	hasher  xxhash.Digest
	buf     []byte
	// delayed holds live entries back.
	delayed *delayed
	// warnings are what the source notes.
	warnings *model.Warnings
}

// errShuttingDown ends tails when the server drains.
var errShuttingDown = errors.New("the collector is shutting down")

// openTail checks the request, subscribes, and then reads the stored entries:
// in this order nothing is lost in between. It rests on the query reading after
// the subscription, so that it must not share the answer of an equal one that
// began before. What is stored meanwhile may come with both, see tail.seen.
func (s *Server) openTail(ctx context.Context, r *http.Request, b *backend) (*tail, error) {
	p := s.params(r)
	asked, err := p.tail()
	if err != nil {
		return nil, err
	}
	ctx, warnings := model.WithWarnings(ctx)
	sub, err := b.engine.Tail(ctx, b.store, p.Get("query"))
	if err != nil {
		return nil, err
	}
	t := &tail{sub: sub, seen: map[uint64]int{}, release: func() {}, delayed: newDelayed(asked.delay), warnings: warnings}
	if asked.limit == 0 {
		return t, nil
	}
	// Clocks of nodes differ: entries a little ahead of ours are stored too.
	end := min(p.now.UnixNano(), math.MaxInt64-int64(clockSkew)) + int64(clockSkew)
	res, err := s.evaluate(ctx, b.engine.Range, engine.Params{
		Query: p.Get("query"), Start: min(asked.start, end), End: end,
		Step: time.Second, Limit: asked.limit, Direction: model.Backward,
		Alone: true,
	})
	if err != nil {
		return nil, errors.Join(err, sub.Close())
	}
	t.history, t.release = engine.InOrder(res.Streams), res.Release
	for _, text := range res.Warnings {
		model.Warn(ctx, text)
	}
	slices.Reverse(t.history)
	t.seenEnd = end
	for i := range t.history {
		t.seen[t.hash(&t.history[i])]++
	}
	return t, nil
}

// tailParams are those of a tail.
type tailParams struct {
	// start is where the stored entries begin, limit how many of them, the
	// newest, are wanted. More than a log query returns are cut to what it does.
	start int64
	limit int
	// delay is how long live entries are held back, to be sent by time.
	delay time.Duration
}

// tail reads the parameters of a tail. end is ignored, as Loki does.
func (p params) tail() (tailParams, error) {
	var out tailParams
	forever := params{maps.Clone(p.Values), p.now}
	forever.Set("end", strconv.FormatInt(math.MaxInt64, 10))
	span, err := forever.bounds()
	if err != nil {
		return out, err
	}
	out.start = span.Start
	if text := p.Get("delay_for"); text != "" {
		delay, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return out, badRequestf("could not parse 'delay_for' parameter: %q is not a number of seconds", text)
		}
		if delay > maxTailDelay {
			return out, badRequestf("delay_for can't be greater than %d", maxTailDelay)
		}
		out.delay = time.Duration(delay) * time.Second
	}
	limit, err := p.limit(defaultLimit)
	if err == nil && limit < 0 {
		err = badRequestf("limit must not be negative")
	}
	out.limit = min(limit, maxEntries)
	return out, err
}

// clockSkew is how far ahead of our clock stored entries are looked for.
const clockSkew = 10 * time.Minute

// hash identifies an entry as the client sees it.
func (t *tail) hash(e *engine.LiveEntry) uint64 {
	t.hasher.Reset()
	add := func(ls labels.Labels) {
		t.buf = ls.Bytes(t.buf[:0])
		t.buf = append(t.buf, 0xff)
		_, _ = t.hasher.Write(t.buf)
	}
	add(e.Labels)
	add(e.StructuredMetadata)
	add(e.Parsed)
	t.buf = strconv.AppendInt(t.buf[:0], e.Timestamp, 16)
	_, _ = t.hasher.Write(append(t.buf, 0xff))
	_, _ = t.hasher.WriteString(e.Line)
	return t.hasher.Sum64()
}

// unseen leaves out the entries that were sent as stored ones.
func (t *tail) unseen(list []engine.LiveEntry) []engine.LiveEntry {
	if len(t.seen) == 0 {
		return list
	}
	return slices.DeleteFunc(list, func(e engine.LiveEntry) bool {
		if e.Timestamp >= t.seenEnd {
			t.seen = nil
		}
		if len(t.seen) == 0 {
			return false
		}
		h := t.hash(&e)
		n, ok := t.seen[h]
		switch {
		case !ok:
			return false
		case n == 1:
			delete(t.seen, h)
		default:
			t.seen[h] = n - 1
		}
		return true
	})
}

// maxFrame is how many entries are sent at once.
const maxFrame = 100

// runTail sends stored and then live entries to the sink until the client is
// gone, the source ends or the server drains. It closes the tail.
func (s *Server) runTail(ctx context.Context, t *tail, sink tailSink) {
	s.metrics.tails.Inc()
	defer s.metrics.tails.Dec()
	ctx, cancel := context.WithCancel(ctx)
	batches := make(chan *engine.LiveBatch)
	failed := make(chan error, 1)
	pumped := make(chan struct{})
	go func() {
		defer close(pumped)
		for {
			b, err := t.sub.Next(ctx)
			if err != nil {
				failed <- err
				return
			}
			select {
			case batches <- b:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() {
		cancel()
		<-pumped
		if err := t.sub.Close(); err != nil {
			s.log.Warn("closing a tail", "error", err)
		}
	}()
	if t.warn(sink) != nil || sendFrames(sink, t.history, 0) != nil || sink.live() != nil {
		return
	}
	t.history = nil
	t.release()
	s.tailLoop(ctx, t, sink, batches, failed)
}

func (s *Server) tailLoop(ctx context.Context, t *tail, sink tailSink, batches <-chan *engine.LiveBatch, failed <-chan error) {
	heartbeat := time.NewTimer(s.opts.Heartbeat)
	defer heartbeat.Stop()
	defer t.delayed.timer.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-s.drain.Done():
			if sendFrames(sink, t.delayed.all(), 0) == nil {
				sink.end(errShuttingDown)
			}
			return
		case err := <-failed:
			if errors.Is(err, io.EOF) {
				err = nil
			}
			if sendFrames(sink, t.delayed.all(), 0) == nil {
				sink.end(err)
			}
			return
		case b := <-batches:
			s.metrics.tailDropped.Add(float64(b.Dropped))
			err = sendFrames(sink, t.delayed.pass(t.unseen(b.Entries)), b.Dropped)
		case <-t.delayed.timer.C:
			err = sendFrames(sink, t.delayed.due(), 0)
		case <-heartbeat.C:
			// Nothing came for that long: all that became durable before the
			// query was answered is through.
			t.seen = nil
			err = sink.heartbeat()
		}
		if err == nil {
			err = t.warn(sink)
		}
		if err != nil {
			s.log.Debug("a tail's client is gone", "error", err)
			return
		}
		heartbeat.Reset(s.opts.Heartbeat)
	}
}

// warn sends what has been noted since the last time.
func (t *tail) warn(sink tailSink) error {
	for _, text := range t.warnings.Take() {
		if err := sink.warning(text); err != nil {
			return err
		}
	}
	return nil
}

// sendFrames sends entries in pieces.
func sendFrames(sink tailSink, list []engine.LiveEntry, dropped int) error {
	for len(list) > 0 || dropped > 0 {
		n := min(len(list), maxFrame)
		if err := sink.entries(list[:n], dropped); err != nil {
			return err
		}
		list, dropped = list[n:], 0
	}
	return nil
}

// enterTail counts the tail against the limit. The caller calls leave.
func (s *Server) enterTail() (leave func(), err error) {
	s.tailMu.Lock()
	defer s.tailMu.Unlock()
	if s.drain.Err() != nil {
		return nil, &errNotReady{errShuttingDown.Error()}
	}
	s.tailing.Add(1)
	leave = func() {
		s.tails.Add(-1)
		s.tailing.Done()
	}
	if n := s.tails.Add(1); n > int64(s.opts.MaxTails) {
		leave()
		return nil, &engine.LimitError{Msg: fmt.Sprintf("max concurrent tail requests limit exceeded, count > limit (%d > %d)", n, s.opts.MaxTails)}
	}
	return leave, nil
}
