package server

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// stalledBody sends data and then nothing, until the read deadline that was
// last set has passed. It is the writer of its request too, for that.
type stalledBody struct {
	*httptest.ResponseRecorder
	data     io.Reader
	mu       sync.Mutex
	deadline time.Time
}

func (b *stalledBody) SetReadDeadline(t time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deadline = t
	return nil
}

func (b *stalledBody) Read(p []byte) (int, error) {
	if n, _ := b.data.Read(p); n > 0 {
		return n, nil
	}
	b.mu.Lock()
	wait := time.Until(b.deadline)
	b.mu.Unlock()
	time.Sleep(wait) // in a bubble
	return 0, os.ErrDeadlineExceeded
}

// stall serves a request that announces size bytes and sends only some.
func stall(s *Server, path string, size int, data []byte) *stalledBody {
	b := &stalledBody{ResponseRecorder: httptest.NewRecorder(), data: bytes.NewReader(data)}
	r := httptest.NewRequest("POST", path, b)
	r.ContentLength = int64(size)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	s.Handler().ServeHTTP(b, r)
	return b
}

const pushPath = "/loki/api/v1/push"

func smallPush() *http.Request {
	return push(lokiapi.EncodePush([]model.StreamEntries{{Labels: labels.FromStrings("app", "x"),
		Entries: []model.Entry{{Timestamp: testNow.UnixNano(), Line: "hello"}}}}), "Content-Type", typeProtobuf)
}

// TestAnnouncedBodies sees that connections which announce large bodies and
// send nothing do not keep others from pushing, and are cut off.
func TestAnnouncedBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newTestServer(nil)
		start := time.Now()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if w := stall(s, pushPath, int(s.opts.MaxBody), nil); w.Code != 408 {
					t.Errorf("an idle push was answered %d %s", w.Code, w.Body)
				}
			})
		}
		synctest.Wait()
		if w := do(s, smallPush()); w.Code != 204 {
			t.Errorf("answered %d %s", w.Code, w.Body)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("the push waited %s", took)
		}
		wg.Wait()
		if took := time.Since(start); took != pieceTimeout {
			t.Errorf("idle pushes were cut off after %s", took)
		}
	})
}

// TestHalfReadBodies fills the budget with bodies that stopped half way: they
// are cut off, and whoever waits gets on.
func TestHalfReadBodies(t *testing.T) {
	for name, sent := range map[string]int{
		"stalled":                       40 << 10, // holds 64 KiB
		"waiting for each other's half": 32 << 10, // holds 32 KiB and wants more
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := newTestServer(func(o *Options) { o.MaxBody = 64 << 10 })
				start := time.Now()
				var wg sync.WaitGroup
				for range 8 {
					wg.Go(func() {
						if w := stall(s, pushPath, 64<<10, make([]byte, sent)); w.Code != 408 && w.Code != 503 {
							t.Errorf("answered %d %s", w.Code, w.Body)
						}
					})
				}
				synctest.Wait()
				if w := do(s, smallPush()); w.Code != 204 {
					t.Errorf("answered %d %s", w.Code, w.Body)
				}
				wg.Wait()
				if took := time.Since(start); took > bodyTimeout {
					t.Errorf("took %s", took)
				}
				if !s.bodies.TryAcquire(2 * s.opts.MaxBody) {
					t.Error("memory was not given back")
				}
			})
		})
	}
}

// TestSlowBody pushes a body of several pieces, of unknown length too, in
// small reads.
func TestSlowBody(t *testing.T) {
	line := strings.Repeat("x", 200<<10)
	body := `{"streams":[{"stream":{"app":"x"},"values":[["` + at(0) + `","` + line + `"],["` + at(0) + `","` + line + `"],["` + at(0) + `","` + line + `"]]}]}`
	for _, length := range []int64{-1, int64(len(body))} {
		synctest.Test(t, func(t *testing.T) {
			s, st := newTestServer(nil)
			r := httptest.NewRequest("POST", pushPath, &slowReader{data: []byte(body)})
			r.ContentLength = length
			r.Header.Set("Content-Type", "application/json")
			if w := do(s, r); w.Code != 204 || len(st.rows) != 3 || st.rows[2].entry.Line != line {
				t.Errorf("answered %d %s, %d rows", w.Code, w.Body, len(st.rows))
			}
			if !s.bodies.TryAcquire(2 * s.opts.MaxBody) {
				t.Error("memory was not given back")
			}
		})
	}
}

// slowReader gives 10,000 bytes every 100 ms.
type slowReader struct{ data []byte }

func (r *slowReader) Read(p []byte) (int, error) {
	if len(r.data) == 0 {
		return 0, io.EOF
	}
	time.Sleep(100 * time.Millisecond) // in a bubble
	n := copy(p[:min(len(p), 10000)], r.data)
	r.data = r.data[n:]
	return n, nil
}

// TestStalledForm cuts off a form that does not come.
func TestStalledForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newTestServer(nil)
		start := time.Now()
		w := stall(s, "/loki/api/v1/query", 100, []byte("query="))
		if w.Code != 400 || !strings.Contains(w.Body.String(), os.ErrDeadlineExceeded.Error()) {
			t.Errorf("answered %d %s", w.Code, w.Body)
		}
		if took := time.Since(start); took != bodyTimeout {
			t.Errorf("the form was cut off after %s", took)
		}
	})
}

// TestBrokenBody is answered with what went wrong.
func TestBrokenBody(t *testing.T) {
	s, _ := newTestServer(nil)
	r := httptest.NewRequest("POST", pushPath, io.MultiReader(strings.NewReader("abc"), errorReader{errors.New("the cable was cut")}))
	r.Header.Set("Content-Type", typeProtobuf)
	if w := do(s, r); w.Code != 400 || !strings.Contains(w.Body.String(), "the cable was cut") {
		t.Errorf("answered %d %s", w.Code, w.Body)
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }
