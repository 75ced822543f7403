package store

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/head"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/index"
)

// tailSet are the live subscriptions.
type tailSet struct {
	n atomic.Int32 // how many, so that writers without tails pay nothing

	mu     sync.Mutex // guards the following
	tails  map[*tail]struct{}
	closed bool
}

func (ts *tailSet) init() { ts.tails = map[*tail]struct{}{} }

// Tail returns the entries that become durable from now on, stream by stream as
// they arrive. Next waits for entries. A reader that falls behind by more than
// its buffer loses entries, which EntryBatch.Dropped counts. Close the iterator
// to end the subscription; Close of the DB ends it too.
func (db *DB) Tail(ctx context.Context, req model.TailRequest) (model.BatchIterator, error) {
	if err := db.check(ctx); err != nil {
		return nil, err
	}
	t := &tail{set: &db.tails, matchers: req.Matchers, limit: req.Buffer, wake: make(chan struct{}, 1), streams: map[*head.Stream]int64{}}
	if t.limit <= 0 {
		t.limit = defaultTailBuffer
	}
	db.tails.mu.Lock()
	defer db.tails.mu.Unlock()
	if db.tails.closed {
		return nil, ErrClosed
	}
	db.tails.tails[t] = struct{}{}
	db.tails.n.Add(1)
	return t, nil
}

// publish gives new entries to all tails, in the order in which they became
// durable.
func (ts *tailSet) publish(streams []pendingStream) {
	if ts.n.Load() == 0 {
		return
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for t := range ts.tails {
		t.push(streams)
	}
}

// headChanged makes tails forget the streams of the former head.
func (ts *tailSet) headChanged() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for t := range ts.tails {
		t.mu.Lock()
		clear(t.streams)
		t.mu.Unlock()
	}
}

// close ends all tails.
func (ts *tailSet) close() {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.closed = true
	for t := range ts.tails {
		t.end()
		delete(ts.tails, t)
	}
	ts.n.Store(0)
}

func (ts *tailSet) remove(t *tail) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if _, ok := ts.tails[t]; ok {
		delete(ts.tails, t)
		ts.n.Add(-1)
	}
}

// tail is one subscription. It is also its iterator.
type tail struct {
	set      *tailSet
	matchers []*labels.Matcher
	limit    int
	wake     chan struct{}

	mu      sync.Mutex             // guards the following
	streams map[*head.Stream]int64 // number in table, -1: does not match
	table   streamTable
	queue   tailRows
	ended   bool

	out model.EntryBatch // of the reader
	got tailRows         // of the reader: the queue it took last
	err error            // of the reader
	sum model.SelectStats
}

// tailRows are rows that wait for the reader. Lines are in text.
type tailRows struct {
	ids     []uint32
	times   []int64
	ends    []int
	text    []byte
	meta    []labels.Labels // nil, or per row
	dropped int
}

func (r *tailRows) reset() {
	r.ids, r.times, r.ends, r.text, r.meta, r.dropped = r.ids[:0], r.times[:0], r.ends[:0], r.text[:0], nil, 0
}

// push copies the entries that match into the queue.
func (t *tail) push(streams []pendingStream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}
	some := false
	for _, s := range streams {
		id, ok := t.streams[s.stream]
		if !ok {
			id = -1
			if index.Matches(s.stream.Labels, t.matchers) {
				id = int64(t.table.id(s.stream.Labels))
			}
			t.streams[s.stream] = id
		}
		if id < 0 {
			continue
		}
		some = true
		for i := range s.entries {
			t.queue.add(uint32(id), &s.entries[i], t.limit)
		}
	}
	if some {
		wake(t.wake)
	}
}

func (r *tailRows) add(id uint32, e *model.Entry, limit int) {
	if len(r.ids) >= limit || len(r.text)+len(e.Line) > maxTailBytes && len(r.ids) > 0 {
		r.dropped++
		return
	}
	r.ids = append(r.ids, id)
	r.times = append(r.times, e.Timestamp)
	r.text = append(r.text, e.Line...)
	r.ends = append(r.ends, len(r.text))
	if r.meta != nil || !e.Metadata.IsEmpty() {
		for len(r.meta) < len(r.ids)-1 {
			r.meta = append(r.meta, labels.EmptyLabels())
		}
		r.meta = append(r.meta, e.Metadata.Copy())
	}
}

// end wakes the reader for good.
func (t *tail) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	wake(t.wake)
}

// Next implements model.BatchIterator. At the end of the database it returns
// ErrClosed, after Close io.EOF.
func (t *tail) Next(ctx context.Context) (*model.EntryBatch, error) {
	for t.err == nil {
		if t.err = ctx.Err(); t.err != nil {
			break
		}
		if b := t.take(); b != nil {
			return b, nil
		}
		t.mu.Lock()
		ended := t.ended
		t.mu.Unlock()
		if ended {
			t.err = ErrClosed
			break
		}
		select {
		case <-t.wake:
		case <-ctx.Done():
		}
	}
	return nil, t.err
}

// take returns what is in the queue, nil if that is nothing.
func (t *tail) take() *model.EntryBatch {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue.ids) == 0 && t.queue.dropped == 0 {
		return nil
	}
	t.got, t.queue = t.queue, t.got
	t.queue.reset()
	g := &t.got
	t.out = model.EntryBatch{
		Streams: t.table.labels, StreamIndex: g.ids, Timestamps: g.times,
		Lines: t.out.Lines[:0], Metadata: g.meta, Dropped: g.dropped,
	}
	start := 0
	for _, end := range g.ends {
		b := g.text[start:end]
		start = end
		t.out.Lines = append(t.out.Lines, unsafe.String(unsafe.SliceData(b), len(b)))
	}
	for len(g.meta) > 0 && len(t.out.Metadata) < len(g.ids) {
		t.out.Metadata = append(t.out.Metadata, labels.EmptyLabels())
	}
	t.sum.Lines += int64(len(g.ids))
	t.sum.Bytes += int64(len(g.text))
	return &t.out
}

// Stats implements model.BatchIterator.
func (t *tail) Stats() model.SelectStats { return t.sum }

// Close implements model.BatchIterator.
func (t *tail) Close() error {
	t.set.remove(t)
	t.end()
	t.err = io.EOF
	return nil
}
