package podlogs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/prometheus/prometheus/model/labels"
	"golang.org/x/sync/semaphore"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

const (
	smallPiece = 4 << 10
	largePiece = 64 << 10
	// entryCost is what an entry costs beyond its bytes.
	entryCost = int64(unsafe.Sizeof(model.Entry{}))
	// stallLimit is how long a follow may wait for the batcher before it is
	// closed: a stalled stream makes the API server buffer 4 MiB for it and
	// provokes the kubelet's rotation bugs.
	stallLimit = 2 * time.Second
)

var (
	errBackPressure = errors.New("the store does not keep up")
	errSessionDead  = errors.New("an earlier part of this read was not stored")
)

// appendError is a refusal of the sink.
type appendError struct{ err error }

func (e *appendError) Error() string { return "storing log lines: " + e.err.Error() }
func (e *appendError) Unwrap() error { return e.err }

// piece is a run of lines of one target, with the position behind them.
type piece struct {
	labels  labels.Labels
	entries []model.Entry
	// buf holds the bytes of the entries' lines. It never grows in place.
	buf []byte
	// marks are the position, always first, and once per process the target's labels.
	marks [2]model.Mark
	nmark int
	// pos is what the position mark says.
	pos     position
	session *session
	weight  int64
	// dead is why the piece may not be stored, set by the batcher.
	dead error
}

var (
	smallPieces = sync.Pool{New: func() any { return &piece{buf: make([]byte, 0, smallPiece)} }}
	largePieces = sync.Pool{New: func() any { return &piece{buf: make([]byte, 0, largePiece)} }}
)

// newPiece returns an empty piece with room for about want bytes.
func newPiece(want int) *piece {
	switch {
	case want <= smallPiece:
		return smallPieces.Get().(*piece)
	case want <= largePiece:
		return largePieces.Get().(*piece)
	}
	return &piece{buf: make([]byte, 0, want)}
}

func (p *piece) free() {
	clear(p.entries)
	buf, entries := p.buf[:0], p.entries[:0]
	*p = piece{buf: buf, entries: entries}
	switch cap(buf) {
	case smallPiece:
		smallPieces.Put(p)
	case largePiece:
		largePieces.Put(p)
	}
}

// fits says whether the text can be added.
func (p *piece) fits(n int) bool { return len(p.buf)+n <= cap(p.buf) }

// add copies the text and refers to the copy; the caller has asked fits.
func (p *piece) add(ts int64, text []byte, meta labels.Labels) {
	start := len(p.buf)
	p.buf = append(p.buf, text...)
	line := ""
	if len(text) > 0 {
		line = unsafe.String(&p.buf[start], len(text))
	}
	p.entries = append(p.entries, model.Entry{Timestamp: ts, Line: line, Metadata: meta})
}

func (p *piece) addMark(m model.Mark) {
	p.marks[p.nmark] = m
	p.nmark++
}

// session is one read of a target, from its committed position on. When one of
// its pieces cannot be stored, none that follow may be: a later position would
// cover lines that are not there.
type session struct {
	target *target

	mu       sync.Mutex
	inflight int
	err      error
	idle     chan struct{} // closed when inflight is 0, made on demand
	cancel   context.CancelCauseFunc
}

// failed returns why the session is dead, or nil.
func (s *session) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// fail ends the session's reads.
func (s *session) fail(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	cancel := s.cancel
	s.mu.Unlock()
	if cancel != nil {
		cancel(err)
	}
}

// finish counts one piece as answered.
func (s *session) finish(p *piece, err error) {
	if err == nil {
		s.target.commit(p.pos)
	} else {
		s.fail(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inflight--
	if s.inflight == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// wait returns when every piece of the session is stored or refused.
func (s *session) wait() error {
	s.mu.Lock()
	for s.inflight > 0 {
		if s.idle == nil {
			s.idle = make(chan struct{})
		}
		idle := s.idle
		s.mu.Unlock()
		<-idle
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	return s.err
}

// batcher puts pieces of many targets into one batch, so that a thousand slow
// targets cost one synced write and not a thousand.
type batcher struct {
	sink     Sink
	maxBytes int64
	interval time.Duration
	metrics  *metrics
	log      *limitedLog
	lag      *lagWindow
	onGap    func(namespace string, reason GapReason)

	room *semaphore.Weighted
	size int64 // of room

	mu      sync.Mutex
	pending []*piece
	bytes   int64
	wake    chan struct{} // holds one token when pending is not empty
	full    chan struct{} // holds one token when a batch's worth is pending

	// The parts of a batch, kept for the next one.
	batch  model.Batch
	places map[*target]place
}

// place says where in the batch a target's entries and its position are.
type place struct {
	stream, mark int
	owned        bool
}

func newBatcher(o *Options, m *metrics, log *limitedLog) *batcher {
	size := 4 * int64(o.FlushBytes)
	return &batcher{
		sink: o.Sink, maxBytes: int64(o.FlushBytes), interval: o.FlushInterval, metrics: m, log: log,
		lag: newLagWindow(time.Now()), onGap: o.OnGap,
		room: semaphore.NewWeighted(size), size: size,
		wake: make(chan struct{}, 1), full: make(chan struct{}, 1),
		places: make(map[*target]place),
	}
}

// submit hands over a piece. It waits for room, at most patience; a piece that
// was not taken stays the caller's to free.
func (b *batcher) submit(ctx context.Context, p *piece, patience time.Duration) error {
	p.weight = min(int64(len(p.buf))+int64(len(p.entries))*entryCost+256, b.size)
	if !b.room.TryAcquire(p.weight) {
		timeout, cancel := context.WithTimeout(ctx, patience)
		err := b.room.Acquire(timeout, p.weight)
		cancel()
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			b.metrics.backPressure.Inc()
			return errBackPressure
		}
	}
	s := p.session
	s.mu.Lock()
	if s.err != nil {
		err := s.err
		s.mu.Unlock()
		b.room.Release(p.weight)
		return fmt.Errorf("%w: %w", errSessionDead, err)
	}
	s.inflight++
	s.mu.Unlock()

	b.mu.Lock()
	b.pending = append(b.pending, p)
	b.bytes += p.weight
	isFull := b.bytes >= b.maxBytes
	b.mu.Unlock()
	notify(b.wake)
	if isFull {
		notify(b.full)
	}
	return nil
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run stores what is submitted until stop is closed and nothing is pending. All
// submitters must have ended by then.
func (b *batcher) run(ctx context.Context, stop <-chan struct{}) {
	var spare []*piece
	for stopping := false; ; {
		if !stopping {
			select {
			case <-b.wake:
				stopping = b.gather(stop)
			case <-stop:
				stopping = true
			}
		}
		b.mu.Lock()
		pieces := b.pending
		b.pending, b.bytes = spare[:0], 0
		b.mu.Unlock()
		if len(pieces) == 0 {
			spare = pieces
			if stopping {
				return
			}
			continue
		}
		b.store(ctx, pieces)
		clear(pieces)
		spare = pieces
	}
}

// gather waits until the batch is full or old enough.
func (b *batcher) gather(stop <-chan struct{}) (stopping bool) {
	t := time.NewTimer(b.interval)
	defer t.Stop()
	select {
	case <-t.C:
	case <-b.full:
	case <-stop:
		return true
	}
	return false
}

// store appends one batch and answers its pieces.
func (b *batcher) store(ctx context.Context, pieces []*piece) {
	live := 0
	for _, p := range pieces {
		if p.dead = p.session.failed(); p.dead == nil {
			b.collect(p)
			live++
		}
	}
	var err error
	if live > 0 {
		start := time.Now()
		err = b.sink.Append(ctx, &b.batch)
		b.metrics.appendSeconds.Observe(time.Since(start).Seconds())
		if err != nil {
			err = &appendError{err}
			b.metrics.appendFailures.Inc()
			b.log.warn("append", "log lines could not be stored; reading goes on from the last stored line", "err", err)
		}
	}
	for _, p := range pieces {
		result := p.dead
		if result == nil {
			result = err
		}
		if result == nil {
			b.metrics.stored(p)
			b.durable(p)
		}
		p.session.finish(p, result)
		b.room.Release(p.weight)
		p.free()
	}
	b.reset()
}

// collect adds a piece to the batch: entries of one target in one run, and only
// the newest position. The entries stay the piece's until the batch is stored.
func (b *batcher) collect(p *piece) {
	at, has := b.places[p.session.target]
	if !has {
		at = place{stream: -1, mark: -1}
	}
	if len(p.entries) > 0 {
		if at.stream >= 0 && labels.Equal(b.batch.Streams[at.stream].Labels, p.labels) {
			s := &b.batch.Streams[at.stream]
			if !at.owned { // still the first piece's own slice
				s.Entries, at.owned = slices.Clone(s.Entries), true
			}
			s.Entries = append(s.Entries, p.entries...)
		} else {
			at.stream, at.owned = len(b.batch.Streams), false
			b.batch.Streams = append(b.batch.Streams, model.StreamEntries{Labels: p.labels, Entries: p.entries})
		}
	}
	for i, m := range p.marks[:p.nmark] {
		if i == 0 && at.mark >= 0 {
			b.batch.Marks[at.mark] = m
			continue
		}
		if i == 0 {
			at.mark = len(b.batch.Marks)
		}
		b.batch.Marks = append(b.batch.Marks, m)
	}
	b.places[p.session.target] = at
}

// reset forgets the batch and keeps a reasonable part of its memory.
func (b *batcher) reset() {
	const keep = 4096
	clear(b.batch.Streams)
	clear(b.batch.Marks)
	b.batch.Streams, b.batch.Marks = b.batch.Streams[:0], b.batch.Marks[:0]
	if cap(b.batch.Streams) > keep {
		b.batch.Streams = nil
	}
	if len(b.places) > keep {
		b.places = make(map[*target]place)
	}
	clear(b.places)
}
