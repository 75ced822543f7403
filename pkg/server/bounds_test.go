package server

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// lookups are the requests that read the index.
var lookups = []string{
	"/loki/api/v1/labels", "/loki/api/v1/label", "/loki/api/v1/label/app/values", "/loki/api/v1/series",
	"/loki/api/v1/index/stats", "/loki/api/v1/index/volume", "/loki/api/v1/index/volume_range", "/loki/api/v1/detected_labels",
}

// TestLookupsWait sees that lookups take turns with queries, give their turn
// back before they answer, and do not last.
func TestLookupsWait(t *testing.T) {
	for _, path := range lookups {
		t.Run(path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, st := newTestServer(func(o *Options) { o.MaxQueries = 1 })
				if !s.queries.TryAcquire(1) {
					t.Fatal("no turn is free")
				}
				gone, cancel := context.WithCancel(t.Context())
				cancel()
				if w := do(s, httptest.NewRequest("GET", path, nil).WithContext(gone)); w.Code != statusCanceled {
					t.Errorf("while a query runs: %d %s", w.Code, w.Body)
				}
				s.queries.Release(1)
				for range 2 {
					if w := do(s, httptest.NewRequest("GET", path, nil)); w.Code != 200 {
						t.Errorf("answered %d %s", w.Code, w.Body)
					}
				}
				st.onLookup = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
				if w := do(s, httptest.NewRequest("GET", path, nil)); w.Code != 504 || !strings.Contains(w.Body.String(), "timed out") {
					t.Errorf("a slow lookup: %d %s", w.Code, w.Body)
				}
				if !s.queries.TryAcquire(1) {
					t.Error("the turn was not given back")
				}
			})
		})
	}
}

// turnChecker fails when an answer begins while its turn lasts.
type turnChecker struct {
	*httptest.ResponseRecorder
	t *testing.T
	s *Server
}

func (c turnChecker) Write(b []byte) (int, error) {
	if !c.s.queries.TryAcquire(1) {
		c.t.Error("the answer is written during the turn")
	} else {
		c.s.queries.Release(1)
	}
	return c.ResponseRecorder.Write(b)
}

func TestLookupsAnswerAfterTheirTurn(t *testing.T) {
	s, _ := newTestServer(func(o *Options) { o.MaxQueries = 1 })
	fill(t, s)
	for _, path := range lookups {
		s.Handler().ServeHTTP(turnChecker{httptest.NewRecorder(), t, s}, httptest.NewRequest("GET", path, nil))
	}
}

func TestVolumeRangePoints(t *testing.T) {
	s, st := newTestServer(nil)
	for i := range 1000 {
		b := model.Batch{Streams: []model.StreamEntries{{Labels: labels.FromStrings("pod", fmt.Sprint(i))}}}
		for second := range 101 {
			b.Streams[0].Entries = append(b.Streams[0].Entries, model.Entry{Timestamp: testNow.UnixNano() - int64(second+1)*1e9, Line: "x"})
		}
		if err := st.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}
	const path = "/loki/api/v1/index/volume_range?query={}&since=101s&limit=1000"
	if w := do(s, httptest.NewRequest("GET", path+"&step=20s", nil)); w.Code != 200 {
		t.Errorf("a large step: %d %.200s", w.Code, w.Body)
	}
	if w := do(s, httptest.NewRequest("GET", path+"&step=1s", nil)); w.Code != 400 || !strings.Contains(w.Body.String(), "use a larger step") {
		t.Errorf("a small step: %d %.200s", w.Code, w.Body)
	}
}
