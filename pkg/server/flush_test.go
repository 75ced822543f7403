package server

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, st := newTestServer(nil)
		if w := do(s, httptest.NewRequest("POST", "/flush", nil)); w.Code != 204 || st.flushes != 1 {
			t.Errorf("answered %d %s", w.Code, w.Body)
		}
		st.appendErr = errors.New("no space")
		if w := do(s, httptest.NewRequest("POST", "/flush", nil)); w.Code != 500 || !strings.Contains(w.Body.String(), "no space") {
			t.Errorf("answered %d %s", w.Code, w.Body)
		}
		if w := do(s, httptest.NewRequest("GET", "/flush", nil)); w.Code != 405 {
			t.Errorf("GET was answered %d", w.Code)
		}
	})
}

// TestFlushesMerge asks for many flushes: those that wait at the same time
// share one, each begins after it was asked for, and they keep their distance.
func TestFlushesMerge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, st := newTestServer(nil)
		start := time.Now()
		flush := func() {
			before := st.flushCount()
			if w := do(s, httptest.NewRequest("POST", "/flush", nil)); w.Code != 204 {
				t.Errorf("answered %d %s", w.Code, w.Body)
			}
			if st.flushCount() == before {
				t.Error("no flush followed the call")
			}
		}
		flush()
		if time.Since(start) != 0 {
			t.Error("the first flush waited")
		}
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(flush)
		}
		wg.Wait()
		if n, took := st.flushCount(), time.Since(start); n != 2 || took != flushInterval {
			t.Errorf("%d flushes in %s", n, took)
		}
		time.Sleep(time.Hour) // in a bubble
		start = time.Now()
		flush()
		if time.Since(start) != 0 {
			t.Error("a flush waited for no reason")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if w := do(s, httptest.NewRequest("POST", "/flush", nil).WithContext(ctx)); w.Code != statusCanceled || time.Since(start) != time.Second {
			t.Errorf("answered %d %s after %s", w.Code, w.Body, time.Since(start))
		}
	})
}
