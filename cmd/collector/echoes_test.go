package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// sinkFunc is a sink that is a function.
type sinkFunc func(*model.Batch) error

func (f sinkFunc) Append(_ context.Context, b *model.Batch) error { return f(b) }

// TestEchoes follows a line through the sink: what is not asked for costs
// nothing, what the store refuses is read and not stored.
func TestEchoes(t *testing.T) {
	clock := time.Date(2026, 3, 5, 12, 0, 0, 0, time.UTC)
	e := newEchoes()
	e.now = func() time.Time { clock = clock.Add(time.Millisecond); return clock }
	refuse := errors.New("full")
	sink := e.sink(sinkFunc(func(*model.Batch) error { return refuse }))
	line := func(s string) *model.Batch {
		return &model.Batch{Streams: []model.StreamEntries{{Entries: []model.Entry{{Line: "other"}, {Timestamp: clock.UnixNano(), Line: s}}}}}
	}
	var asked []string
	h := e.watch(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = append(asked, r.URL.Path) }))
	get := func(url string) { h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, url, nil)) }
	get("/ready?token=doctor-1")
	get(lokiapi.EchoPath + "?token=NOT%20PLAIN")
	if len(e.traces()) != 0 || len(asked) != 2 {
		t.Fatalf("%v %v", e.traces(), asked)
	}
	get(lokiapi.EchoPath + "?token=doctor-1")
	if err := sink.Append(t.Context(), line("level=INFO msg=echo token=doctor-1")); !errors.Is(err, refuse) {
		t.Fatal(err)
	}
	if got := e.traces()[0]; got.Written.IsZero() || got.Read.IsZero() || !got.Stored.IsZero() || e.waiting.Load() != 1 {
		t.Errorf("after a refusal: %+v, %d waiting", got, e.waiting.Load())
	}
	refuse = nil
	if err := sink.Append(t.Context(), line("msg=echo token=doctor-2")); err != nil || e.waiting.Load() != 1 {
		t.Errorf("another line counts: %v", err)
	}
	if err := sink.Append(t.Context(), line("msg=echo token=doctor-1")); err != nil {
		t.Fatal(err)
	}
	got := e.traces()[0]
	if !got.Asked.Before(got.Written) || !got.Written.Before(got.Read) || !got.Read.Before(got.Stored) || e.waiting.Load() != 0 {
		t.Errorf("%+v, %d waiting", got, e.waiting.Load())
	}
	stored := got.Stored
	if err := sink.Append(t.Context(), line("query |= doctor-1 echo")); err != nil || !e.traces()[0].Stored.Equal(stored) {
		t.Error("a later line with the token moves the times")
	}
}

// TestEchoesAreBounded: of callers that ask again and again, the last ones are
// followed, and for a time only.
func TestEchoesAreBounded(t *testing.T) {
	clock := time.Date(2026, 3, 5, 12, 0, 0, 0, time.UTC)
	e := newEchoes()
	e.now = func() time.Time { return clock }
	for range 100 {
		e.begin("doctor-" + strings.Repeat("x", 5))
	}
	if len(e.list) != maxEchoes || e.waiting.Load() != maxEchoes {
		t.Errorf("%d are kept, %d waiting", len(e.list), e.waiting.Load())
	}
	clock = clock.Add(echoExpiry)
	if err := e.sink(sinkFunc(func(*model.Batch) error { return nil })).Append(t.Context(), &model.Batch{}); err != nil || e.waiting.Load() != 0 {
		t.Errorf("%v, %d waiting", err, e.waiting.Load())
	}
}
