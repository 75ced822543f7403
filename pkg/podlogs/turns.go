package podlogs

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// turns is a token bucket whose tokens go to whoever matters most, not to whoever
// came first: after a restart of the API server thousands of containers want to
// be read again, and a few of them write nearly all lines. Safe for concurrent use.
type turns struct {
	perSecond float64
	burst     float64

	mu      sync.Mutex
	tokens  float64
	at      time.Time // when tokens was right
	waiting waitingTurns
	timer   *time.Timer
}

// turn is one who waits. Who came earlier by more than the difference of the
// head starts goes first, so that nobody waits for ever.
type turn struct {
	key   time.Time // of arrival, less the head start
	ready chan struct{}
	index int // in the heap, -1 after it was taken out
}

func newTurns(perSecond float64, burst int) *turns {
	return &turns{perSecond: perSecond, burst: float64(burst), tokens: float64(burst), at: time.Now()}
}

// take takes a token without waiting; those who wait do so longer.
func (q *turns) take() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.refill(time.Now())
	q.tokens--
}

// wait waits for a token, as if it had come headStart earlier.
func (q *turns) wait(ctx context.Context, headStart time.Duration) error {
	q.mu.Lock()
	now := time.Now()
	q.refill(now)
	if len(q.waiting) == 0 && q.tokens >= 1 {
		q.tokens--
		q.mu.Unlock()
		return nil
	}
	t := &turn{key: now.Add(-headStart), ready: make(chan struct{})}
	heap.Push(&q.waiting, t)
	q.arm()
	q.mu.Unlock()
	select {
	case <-t.ready:
		return nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.index >= 0 {
		heap.Remove(&q.waiting, t.index)
	} else {
		q.tokens++ // it was given one meanwhile
		q.arm()
	}
	return context.Cause(ctx)
}

// refill adds the tokens that have come since. The lock is held.
func (q *turns) refill(now time.Time) {
	q.tokens = min(q.tokens+now.Sub(q.at).Seconds()*q.perSecond, q.burst)
	q.at = now
}

// arm sets the timer to the next token, if somebody waits for it. The lock is held.
func (q *turns) arm() {
	if len(q.waiting) == 0 {
		return
	}
	// A little late rather than a rounding error too early.
	d := max(time.Duration((1-q.tokens)/q.perSecond*float64(time.Second)), 0) + time.Microsecond
	if q.timer == nil {
		q.timer = time.AfterFunc(d, q.next)
	} else {
		q.timer.Reset(d)
	}
}

// next hands out the tokens that are there.
func (q *turns) next() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.refill(time.Now())
	for len(q.waiting) > 0 && q.tokens >= 1 {
		q.tokens--
		close(heap.Pop(&q.waiting).(*turn).ready)
	}
	q.arm()
}

// waitingTurns is a heap, the first key on top.
type waitingTurns []*turn

func (w waitingTurns) Len() int           { return len(w) }
func (w waitingTurns) Less(i, j int) bool { return w[i].key.Before(w[j].key) }
func (w waitingTurns) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].index, w[j].index = i, j
}

// Push implements heap.Interface.
func (w *waitingTurns) Push(x any) {
	t := x.(*turn)
	t.index = len(*w)
	*w = append(*w, t)
}

// Pop implements heap.Interface.
func (w *waitingTurns) Pop() any {
	last := len(*w) - 1
	t := (*w)[last]
	(*w)[last], *w = nil, (*w)[:last]
	t.index = -1
	return t
}
