package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// flights lets identical queries that come while one of them waits or runs share
// its answer, as long as nothing has changed in what they read: whatever was
// stored or deleted before a query was sent is seen by it. The query runs in a goroutine of its own and is canceled when the
// last of those who wait for it has left.
type flights struct {
	mu sync.Mutex
	m  map[string]*flight
}

// flight is a query that waits or runs.
type flight struct {
	done   chan struct{} // closed when res and err are set
	res    *Result
	err    error
	cancel context.CancelFunc

	// Guarded by flights.mu:

	waiters int    // those who wait, or use the result
	release func() // of Params.Hold, nil if nothing is held
	// reading is set when reading begins; clock is that of the store then.
	reading bool
	clock   uint64
}

// panicError is a panic on its way from the goroutine of a query to that of the
// caller.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.value, e.stack) }

// recovered turns a panic into an error; for defer.
func recovered(err *error) {
	if v := recover(); v != nil {
		*err = &panicError{v, debug.Stack()}
	}
}

// shared answers a query, together with identical ones: those of the same key.
// rng is what the query reads.
func (e *Engine) shared(ctx context.Context, p Params, key string, rng model.TimeRange, query func(context.Context, *run) (*Result, error)) (*Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, explain(ctx, ctx, err)
	}
	if e.refresh != nil {
		e.refresh.Refresh(ctx)
	}
	fs := &e.flights
	fs.mu.Lock()
	f, ok := fs.m[key]
	if ok = ok && !p.Alone && e.mayJoin(f, rng); ok {
		f.waiters++
		e.metrics.shared.Inc()
	} else {
		f = e.takeOff(ctx, p, key, query)
	}
	fs.mu.Unlock()

	select {
	case <-f.done:
	case <-ctx.Done():
		fs.leave(key, f)
		return nil, explain(ctx, ctx, ctx.Err())
	}
	if f.err != nil {
		var p *panicError
		if errors.As(f.err, &p) {
			panic(p)
		}
		return nil, f.err
	}
	res := *f.res
	res.release = sync.OnceFunc(func() { fs.leave(key, f) })
	return &res, nil
}

// leave takes one from those who wait for or use the result. With the last one
// the query ends, if it runs, and its result is let go.
func (fs *flights) leave(key string, f *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f.waiters--; f.waiters > 0 {
		return
	}
	f.cancel()
	fs.forget(key, f)
	if f.release != nil {
		f.release()
		f.release = nil
	}
}

// forget makes the next query of this key run by itself, under mu.
func (fs *flights) forget(key string, f *flight) {
	if fs.m[key] == f {
		delete(fs.m, key)
	}
}

// mayJoin says whether the answer of a flight is one for a query that comes now,
// under mu.
func (e *Engine) mayJoin(f *flight, rng model.TimeRange) bool {
	if !f.reading {
		return true
	}
	return e.reviser != nil && !e.reviser.ChangedSince(f.clock, rng)
}

// takeOff starts a flight with one waiter, under mu.
func (e *Engine) takeOff(ctx context.Context, p Params, key string, query func(context.Context, *run) (*Result, error)) *flight {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &flight{done: make(chan struct{}), cancel: cancel, waiters: 1}
	fs := &e.flights
	if fs.m == nil {
		fs.m = map[string]*flight{}
	}
	fs.m[key] = f
	go func() {
		defer cancel()
		f.res, f.err = e.fly(ctx, f, p, query)
		fs.mu.Lock()
		fs.forget(key, f)
		fs.mu.Unlock()
		close(f.done)
	}()
	return f
}

// fly waits for the query's turn and runs it.
func (e *Engine) fly(ctx context.Context, f *flight, p Params, query func(context.Context, *run) (*Result, error)) (res *Result, err error) {
	defer recovered(&err)
	queued := e.opts.Now()
	if p.Turn != nil {
		done, err := p.Turn(ctx)
		if err != nil {
			return nil, err
		}
		defer done()
	}
	began := e.opts.Now()
	e.flights.mu.Lock()
	f.reading = true
	if e.reviser != nil {
		f.clock = e.reviser.Clock()
	}
	e.flights.mu.Unlock()
	if res, err = e.run(ctx, query); err != nil {
		return nil, err
	}
	res.Stats.QueueTime = began.Sub(queued)
	return res, e.hold(ctx, f, p, res)
}

// hold waits until the result may be kept.
func (e *Engine) hold(ctx context.Context, f *flight, p Params, res *Result) error {
	if p.Hold == nil {
		return nil
	}
	release, err := p.Hold(ctx, res.bytes())
	if err != nil {
		return err
	}
	e.flights.mu.Lock()
	defer e.flights.mu.Unlock()
	if f.waiters == 0 { // all have left meanwhile
		release()
		return context.Canceled
	}
	f.release = release
	return nil
}

// reads is what a metric query at these steps reads at most: where several of its
// parts look back, and through subqueries, all that they look back together.
func reads(m logql.MetricExpr, s steps) model.TimeRange {
	back, ahead := int64(0), int64(0)
	look := func(rng, offset time.Duration) {
		clamp := func(d time.Duration) int64 { return min(max(int64(d), 0), maxSpan) }
		back = min(back+clamp(rng)+clamp(offset), maxSpan)
		ahead = min(ahead+clamp(-offset), maxSpan)
	}
	logql.Walk(m, func(n logql.Node) bool {
		switch n := n.(type) {
		case *logql.RangeAggregation:
			look(n.Range, n.Offset)
		case *logql.Subquery:
			look(n.Range, n.Offset)
		}
		return true
	})
	// Windows are open at their start and closed at their end.
	return model.TimeRange{Start: s.start - back, End: s.start + int64(s.n-1)*s.step + ahead + 1}
}

// shareKey is equal for queries that have the same answer.
func shareKey(kind, query string, p Params, from, to int64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d %d %d %d %d %d %d %t %t ", kind, from, to, p.Step, p.Interval, p.Limit, p.Skip, p.Direction, p.PartialSeries, p.NoCache)
	b.WriteString(query)
	return b.String()
}
