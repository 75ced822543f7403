package server

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// forgetful is a store that keeps nothing.
type forgetful struct{ *memStore }

func (forgetful) Append(context.Context, *model.Batch) error { return nil }

// pushOf is the body of a push of n lines in ten streams.
func pushOf(n int) []byte {
	streams := make([]model.StreamEntries, 10)
	for i := range streams {
		streams[i].Labels = labels.FromStrings("app", fmt.Sprint("app-", i), "namespace", "default", "pod", "pod-abc", "container", "main")
		for j := range n / 10 {
			streams[i].Entries = append(streams[i].Entries, model.Entry{
				Timestamp: testNow.UnixNano() + int64(j),
				Line:      fmt.Sprintf(`ts=2026-11-22T09:16:49.123456Z level=info caller=main.go:10 msg="request served" status=200 duration=12ms id=%d`, j),
			})
		}
	}
	return lokiapi.EncodePush(streams)
}

func sendPush(s *Server, body []byte) int {
	r := httptest.NewRequest(http.MethodPost, pushPath, bytes.NewReader(body))
	r.Header.Set("Content-Type", typeProtobuf)
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w.Code
}

// BenchmarkPush is all that the server does for a push but storing it.
func BenchmarkPush(b *testing.B) {
	s, st := newTestServer(nil)
	s.SetBackend(forgetful{st}, nil)
	const lines = 10000
	body := pushOf(lines)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if code := sendPush(s, body); code != http.StatusNoContent {
			b.Fatal(code)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/lines, "ns/line")
}

// TestPushAllocations sees that nothing is allocated per line.
func TestPushAllocations(t *testing.T) {
	s, st := newTestServer(nil)
	s.SetBackend(forgetful{st}, nil)
	cost := func(lines int) float64 {
		body := pushOf(lines)
		return testing.AllocsPerRun(20, func() {
			if code := sendPush(s, body); code != http.StatusNoContent {
				t.Fatal(code)
			}
		})
	}
	if few, many := cost(100), cost(5000); many > few+100 {
		t.Errorf("%.0f allocations for 100 lines, %.0f for 5000", few, many)
	}
}
