package engine

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sync/semaphore"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// gatedStore blocks in the first Next of every iterator until the gate opens.
type gatedStore struct {
	*revisedStore
	gate             chan struct{}
	selects, closed  atomic.Int32
	canceled, panics atomic.Int32
}

func newGatedStore() *gatedStore {
	return &gatedStore{revisedStore: &revisedStore{memoryStore: storeOf(2, 30)}, gate: make(chan struct{})}
}

func (s *gatedStore) Select(ctx context.Context, r model.SelectRequest) (model.BatchIterator, error) {
	s.selects.Add(1)
	it, err := s.revisedStore.Select(ctx, r)
	return &gatedIterator{it, s}, err
}

type gatedIterator struct {
	model.BatchIterator
	s *gatedStore
}

func (it *gatedIterator) Next(ctx context.Context) (*model.EntryBatch, error) {
	select {
	case <-it.s.gate:
	case <-ctx.Done():
		it.s.canceled.Add(1)
		return nil, ctx.Err()
	}
	if it.s.panics.Load() > 0 {
		panic("a bug")
	}
	return it.BatchIterator.Next(ctx)
}

func (it *gatedIterator) Close() error {
	it.s.closed.Add(1)
	return it.BatchIterator.Close()
}

// asked is a query that runs in a goroutine.
type asked struct {
	leave context.CancelFunc
	done  chan struct{}
	res   *Result
	err   error
	panic any
}

func ask(e *Engine, p Params) *asked {
	ctx, cancel := context.WithCancel(context.Background())
	a := &asked{leave: cancel, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		defer cancel()
		defer func() { a.panic = recover() }()
		a.res, a.err = e.Range(ctx, p)
	}()
	synctest.Wait()
	return a
}

func (a *asked) ended() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// shareQueries are one query of each kind.
var shareQueries = []string{`{app="a"}`, `sum(count_over_time({app="a"} |= "n" [1m]))`, `topk(1, rate({app="a"} | logfmt [1m]))`}

func eachQuery(t *testing.T, f func(t *testing.T, s *gatedStore, e *Engine, p Params)) {
	for _, q := range shareQueries {
		t.Run(q, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newGatedStore()
				f(t, s, New(s, Options{}), params(q))
			})
		})
	}
}

// TestAloneJoinsNobody checks that a query that must read after its call does so,
// and that others may share its answer.
func TestAloneJoinsNobody(t *testing.T) {
	eachQuery(t, func(t *testing.T, s *gatedStore, e *Engine, p Params) {
		alone := p
		alone.Alone = true
		all := []*asked{ask(e, p), ask(e, alone), ask(e, p)}
		if n := s.selects.Load(); n != 2 {
			t.Errorf("%d selects", n)
		}
		close(s.gate)
		for _, a := range all {
			if <-a.done; a.err != nil {
				t.Error(a.err)
			}
			a.res.Release()
		}
	})
}

// TestIdenticalQueriesRunOnce checks that they share one answer, however they
// are written, and that others do not.
func TestIdenticalQueriesRunOnce(t *testing.T) {
	eachQuery(t, func(t *testing.T, s *gatedStore, e *Engine, p Params) {
		first := ask(e, p)
		again := p
		again.Query = strings.ReplaceAll(p.Query, `{app="a"}`, "{ app = `a` }")
		second := ask(e, again)
		if n := s.selects.Load(); n != 1 {
			t.Fatalf("%d selects for identical queries", n)
		}
		other := p
		other.Direction = model.Backward
		third := ask(e, other)
		if n := s.selects.Load(); n != 2 {
			t.Fatalf("%d selects with another query", n)
		}
		close(s.gate)
		synctest.Wait()
		for _, a := range []*asked{first, second, third} {
			if !a.ended() || a.err != nil {
				t.Fatalf("error %v", a.err)
			}
		}
		if first.res == second.res {
			t.Error("two callers have the same struct")
		}
		if n := len(first.res.Matrix) + len(first.res.Streams); n == 0 || n != len(second.res.Matrix)+len(second.res.Streams) {
			t.Errorf("%d groups", n)
		}
		if got := testutil.ToFloat64(e.metrics.shared); got != 1 {
			t.Errorf("%v queries counted as shared", got)
		}
		if len(e.flights.m) != 0 {
			t.Error("a query that has ended is remembered")
		}
	})
}

// TestQueryEndsWithItsLastWaiter checks who is canceled when clients leave.
func TestQueryEndsWithItsLastWaiter(t *testing.T) {
	eachQuery(t, func(t *testing.T, s *gatedStore, e *Engine, p Params) {
		first, second := ask(e, p), ask(e, p)
		first.leave()
		synctest.Wait()
		if !first.ended() || !errors.Is(first.err, context.Canceled) {
			t.Fatalf("the one who left: %v", first.err)
		}
		if second.ended() || s.canceled.Load() > 0 {
			t.Fatal("the scan ended although one waits for it")
		}
		second.leave()
		synctest.Wait()
		if !second.ended() || s.canceled.Load() != 1 || s.closed.Load() != 1 {
			t.Fatalf("the scan goes on: canceled %d, closed %d", s.canceled.Load(), s.closed.Load())
		}
		// Nothing is left for the next one to join.
		third := ask(e, p)
		close(s.gate)
		synctest.Wait()
		if !third.ended() || third.err != nil {
			t.Errorf("the next: %v", third.err)
		}
	})
}

// TestQueryWaitsForItsTurn checks that identical queries take one turn, and that
// one whose client leaves gives up its place.
func TestQueryWaitsForItsTurn(t *testing.T) {
	eachQuery(t, func(t *testing.T, s *gatedStore, e *Engine, p Params) {
		turns := semaphore.NewWeighted(1)
		var waiting atomic.Int32
		p.Turn = func(ctx context.Context) (func(), error) {
			waiting.Add(1)
			defer waiting.Add(-1)
			if err := turns.Acquire(ctx, 1); err != nil {
				return nil, err
			}
			return func() { turns.Release(1) }, nil
		}
		other := p
		other.Direction = model.Backward
		running := ask(e, p)
		queued, same := ask(e, other), ask(e, other)
		if n := waiting.Load(); n != 1 {
			t.Fatalf("%d wait for their turn", n)
		}
		queued.leave()
		same.leave()
		synctest.Wait()
		if !queued.ended() || !same.ended() || waiting.Load() != 0 {
			t.Fatal("a query waits whose client left")
		}
		queued = ask(e, other)
		time.Sleep(time.Second)
		close(s.gate)
		synctest.Wait()
		if running.err != nil || queued.err != nil {
			t.Fatal(running.err, queued.err)
		}
		if q := queued.res.Stats.QueueTime; q != time.Second {
			t.Errorf("queued for %s", q)
		}
		if !turns.TryAcquire(1) {
			t.Error("a turn was not given back")
		}
	})
}

// TestSharingIsNotStale checks that a query does not join one that began before
// something was stored.
func TestSharingIsNotStale(t *testing.T) {
	eachQuery(t, func(t *testing.T, s *gatedStore, e *Engine, p Params) {
		first := ask(e, p)
		second := ask(e, p)
		if n := s.selects.Load(); n != 1 {
			t.Fatalf("%d selects although nothing has changed", n)
		}
		s.push(s.streams[0].Labels, zero+5, "x n=1 msg=new")
		third := ask(e, p)
		if n := s.selects.Load(); n != 2 {
			t.Fatalf("%d selects after something has changed", n)
		}
		fourth := ask(e, p) // joins the younger one
		first.leave()
		second.leave()
		synctest.Wait()
		close(s.gate)
		synctest.Wait()
		if n := s.selects.Load(); n != 2 {
			t.Errorf("%d selects", n)
		}
		if third.err != nil || fourth.err != nil {
			t.Error(third.err, fourth.err)
		}
	})
}

// TestErrorsAndPanicsAreShared checks that all who wait learn of a failure, in
// goroutines of their own.
func TestErrorsAndPanicsAreShared(t *testing.T) {
	eachQuery(t, func(t *testing.T, s *gatedStore, e *Engine, p Params) {
		s.panics.Store(1)
		first, second := ask(e, p), ask(e, p)
		close(s.gate)
		synctest.Wait()
		for _, a := range []*asked{first, second} {
			var pe *panicError
			if err, ok := a.panic.(error); !ok || !errors.As(err, &pe) || pe.value != "a bug" || !strings.Contains(err.Error(), "share_test.go") {
				t.Errorf("panic %v", a.panic)
			}
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := newGatedStore()
		e := New(s, Options{Timeout: time.Second})
		first, second := ask(e, params(shareQueries[0])), ask(e, params(shareQueries[0]))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !errors.Is(first.err, ErrTimeout) || !errors.Is(second.err, ErrTimeout) {
			t.Errorf("timeout: %v, %v", first.err, second.err)
		}
	})
}

// TestResultsAreHeld checks that a result is let go when all who got it said so,
// or left before it was there.
func TestResultsAreHeld(t *testing.T) {
	eachQuery(t, func(t *testing.T, s *gatedStore, e *Engine, p Params) {
		memory := semaphore.NewWeighted(1)
		size, turns := int64(0), 0
		p.Turn = func(context.Context) (func(), error) {
			turns++
			return func() { turns-- }, nil
		}
		p.Hold = func(ctx context.Context, bytes int64) (func(), error) {
			size = bytes
			if turns != 1 {
				t.Error("the turn ended before there was room for the result")
			}
			if err := memory.Acquire(ctx, 1); err != nil {
				return nil, err
			}
			return func() { memory.Release(1) }, nil
		}
		close(s.gate)
		first := ask(e, p)
		if first.err != nil || size < 16 || size > 1<<20 {
			t.Fatalf("%d bytes, %v", size, first.err)
		}
		second := ask(e, p)
		if second.ended() {
			t.Fatal("there is room for one result, and two are held")
		}
		third := ask(e, p)
		third.leave()
		first.res.Release()
		first.res.Release()
		synctest.Wait()
		if !second.ended() || second.err != nil {
			t.Fatalf("the second: %v", second.err)
		}
		fourth := ask(e, p)
		fourth.leave()
		synctest.Wait()
		if turns != 0 || !fourth.ended() {
			t.Errorf("%d turns", turns)
		}
		second.res.Release()
		if !memory.TryAcquire(1) {
			t.Error("a result was not let go")
		}
	})
}

// TestReads checks the time that a metric query depends on.
func TestReads(t *testing.T) {
	const at = 1_000_000 * int64(time.Second)
	s := steps{start: at, step: int64(time.Minute), n: 11}
	for query, want := range map[string][2]time.Duration{
		`count_over_time({a="b"}[5m])`:                           {-5 * time.Minute, 10 * time.Minute},
		`count_over_time({a="b"}[5m] offset 1h)`:                 {-65 * time.Minute, 10 * time.Minute},
		`count_over_time({a="b"}[5m] offset -1h)`:                {-5 * time.Minute, 70 * time.Minute},
		`sum(rate({a="b"}[5m])) / sum(rate({a="c"}[1m]))`:        {-6 * time.Minute, 10 * time.Minute},
		`max_over_time(sum(rate({a="b"}[5m]))[1h:1m] offset 1m)`: {-66 * time.Minute, 10 * time.Minute},
		`vector(1)`: {0, 10 * time.Minute},
	} {
		expr, err := logql.Parse(query)
		if err != nil {
			t.Fatal(err)
		}
		got := reads(expr.(logql.MetricExpr), s)
		if got.Start != at+int64(want[0]) || got.End != at+int64(want[1])+1 {
			t.Errorf("%s reads from %s to %s", query, time.Duration(got.Start-at), time.Duration(got.End-at))
		}
	}
}

// TestShareKey checks that whatever changes an answer is in the key.
func TestShareKey(t *testing.T) {
	// Start and End are aligned, the query is printed: both come apart.
	inAnotherForm := map[string]bool{"Query": true, "Start": true, "End": true, "Turn": true, "Hold": true, "Alone": true}
	base := shareKey("k", "q", Params{}, 1, 2)
	params := reflect.TypeFor[Params]()
	for i := range params.NumField() {
		f := params.Field(i)
		if inAnotherForm[f.Name] {
			continue
		}
		var p Params
		switch v := reflect.ValueOf(&p).Elem().Field(i); v.Kind() {
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Int, reflect.Int64:
			v.SetInt(7)
		case reflect.Uint8:
			v.SetUint(1)
		default:
			t.Fatalf("Params.%s is a %s: extend this test", f.Name, v.Kind())
		}
		if shareKey("k", "q", p, 1, 2) == base {
			t.Errorf("queries that differ in %s would share an answer", f.Name)
		}
	}
	for _, other := range []string{shareKey("l", "q", Params{}, 1, 2), shareKey("k", "r", Params{}, 1, 2), shareKey("k", "q", Params{}, 3, 2), shareKey("k", "q", Params{}, 1, 3)} {
		if other == base {
			t.Errorf("key %q stands for two queries", base)
		}
	}
}
