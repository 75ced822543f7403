package podlogs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Tokens come at their rate, and go to the largest head start first; a wait that
// is ended costs no token.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perSecond = 10
		q := newTurns(perSecond, 2)
		begin := time.Now()
		var mu sync.Mutex
		var order []string
		var wg sync.WaitGroup
		ask := func(ctx context.Context, name string, headStart time.Duration) {
			wg.Go(func() {
				if err := q.wait(ctx, headStart); err != nil {
					name = err.Error()
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, name)
			})
			synctest.Wait()
		}
		ask(t.Context(), "1", 0) // the burst
		ask(t.Context(), "2", 0)
		ended, end := context.WithCancelCause(t.Context())
		ask(t.Context(), "idle", 0)
		ask(ended, "ended", time.Hour)
		time.Sleep(time.Millisecond)
		ask(t.Context(), "later", 0)
		ask(t.Context(), "busy", time.Minute)
		end(errors.New("gone"))
		wg.Wait()
		if got := strings.Join(order, " "); got != "1 2 gone busy idle later" {
			t.Errorf("order %q", got)
		}
		if took := time.Since(begin).Round(10 * time.Millisecond); took != 300*time.Millisecond {
			t.Errorf("three tokens beyond the burst took %s", took)
		}
		q.take() // owed
		begin = time.Now()
		if err := q.wait(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin).Round(10 * time.Millisecond); took != 200*time.Millisecond {
			t.Errorf("a token after one that was taken in advance took %s", took)
		}
	})
}

// However many wait and give up, the rate is kept and nobody is forgotten.
func TestTurnsMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perSecond, n = 20, 1000
		q := newTurns(perSecond, 100)
		var mu sync.Mutex
		var given []time.Duration
		gaveUp := 0
		begin := time.Now()
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				ctx := t.Context()
				if i%3 == 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, time.Duration(i)*10*time.Millisecond)
					defer cancel()
				}
				err := q.wait(ctx, time.Duration(i%5)*time.Minute)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					gaveUp++
					return
				}
				given = append(given, time.Since(begin))
			})
		}
		wg.Wait()
		slices.Sort(given)
		for i, at := range given {
			if most := 100 + int(at.Seconds()*perSecond) + 1; i >= most {
				t.Fatalf("%d tokens after %s", i+1, at)
			}
		}
		if len(given)+gaveUp != n || gaveUp == 0 || len(q.waiting) != 0 {
			t.Errorf("%d given, %d gave up, %d wait still", len(given), gaveUp, len(q.waiting))
		}
	})
}
