package server

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// TestTailParameters reads what a tail begins with.
func TestTailParameters(t *testing.T) {
	now := testNow.UnixNano()
	for text, want := range map[string]tailParams{
		"":                                {now - 3600e9, 100, 0},
		"start=5&limit=7":                 {5e9, 7, 0},
		"start=5&end=1&delay_for=5":       {5e9, 100, 5 * time.Second}, // Loki ignores the end
		"since=1m&limit=0":                {now - 60e9, 0, 0},
		"limit=5001":                      {now - 3600e9, 5000, 0},
		"start=2100-01-01T00:00:00Z":      {4102444800e9, 100, 0},
		"end=-9223372036854775808&limit=": {now - 3600e9, 100, 0},
	} {
		v, err := url.ParseQuery(text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := params{v, testNow}.tail()
		if err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
}

// listSink notes what is sent, and when, in seconds since its beginning.
type listSink struct {
	began time.Time
	sent  []string
}

func (l *listSink) note(text string) error {
	l.sent = append(l.sent, fmt.Sprintf("%gs %s", time.Since(l.began).Seconds(), text))
	return nil
}

func (l *listSink) entries(list []engine.LiveEntry, dropped int) error {
	var lines []string
	for _, e := range list {
		lines = append(lines, e.Line)
	}
	if dropped > 0 {
		lines = append(lines, fmt.Sprint("dropped ", dropped))
	}
	return l.note(strings.Join(lines, " "))
}

func (l *listSink) warning(string) error { return nil }

func (l *listSink) live() error      { return l.note("live") }
func (l *listSink) heartbeat() error { return l.note("heartbeat") }
func (l *listSink) end(err error)    { _ = l.note(fmt.Sprint("end ", err)) }

// TestTailDelay follows a tail with and without delay_for. Lines are their
// timestamps: those that come late are put where they belong.
func TestTailDelay(t *testing.T) {
	for delay, want := range map[string]string{
		"":  "0s live|1s 10|2s 30|2.5s 20|4s 40|14s heartbeat|20s 5|20s end <nil>",
		"2": "0s live|3s 10|4s 20 30|6s 40|16s heartbeat|20s 5|20s end <nil>",
	} {
		synctest.Test(t, func(t *testing.T) {
			s, st := newTestServer(nil)
			r := httptest.NewRequest("GET", "/?limit=0&delay_for="+delay+"&query="+url.QueryEscape(`{app="web"}`), nil)
			if err := r.ParseForm(); err != nil {
				t.Fatal(err)
			}
			tl, err := s.openTail(t.Context(), r, s.backend.Load())
			if err != nil {
				t.Fatal(err)
			}
			sink := &listSink{began: time.Now()}
			done := make(chan struct{})
			go func() {
				defer close(done)
				s.runTail(t.Context(), tl, sink)
			}()
			for _, e := range []struct {
				at time.Duration
				ts int64
			}{{time.Second, 10}, {2 * time.Second, 30}, {2500 * time.Millisecond, 20}, {4 * time.Second, 40}, {20 * time.Second, 5}} {
				time.Sleep(e.at - time.Since(sink.began))
				err := st.Append(context.Background(), &model.Batch{Streams: []model.StreamEntries{{
					Labels: labels.FromStrings("app", "web"), Entries: []model.Entry{{Timestamp: e.ts, Line: fmt.Sprint(e.ts)}},
				}}})
				if err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			st.closeTails() // what is held is sent before the end
			<-done
			if got := strings.Join(sink.sent, "|"); got != want {
				t.Errorf("delay_for=%s: %s\nwant %s", delay, got, want)
			}
		})
	}
}

// TestDelayedIsBounded holds no more than it may.
func TestDelayedIsBounded(t *testing.T) {
	d := newDelayed(time.Hour)
	defer d.timer.Stop()
	sent := 0
	for i := range 3 * maxHeld {
		e := engine.LiveEntry{}
		e.Timestamp = int64(i)
		sent += len(d.pass([]engine.LiveEntry{e}))
	}
	if len(d.held) != maxHeld || sent != 2*maxHeld {
		t.Errorf("%d are held, %d sent", len(d.held), sent)
	}
	if rest := d.all(); len(rest) != maxHeld || len(d.held) != 0 || rest[0].Timestamp != 2*maxHeld {
		t.Errorf("%d are left", len(rest))
	}
}
