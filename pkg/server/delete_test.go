package server

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// deletingStore notes delete requests.
type deletingStore struct {
	*memStore
	requests []model.DeleteStatus
	last     model.DeleteRequest
	forced   bool
}

func (s *deletingStore) Delete(_ context.Context, req model.DeleteRequest) (string, error) {
	s.last = req
	id := fmt.Sprintf("%08x", len(s.requests)+1)
	s.requests = append(s.requests, model.DeleteStatus{ID: id, Query: req.Query, Range: req.Range, Created: testNow})
	return id, nil
}

func (s *deletingStore) DeleteRequests() []model.DeleteStatus { return s.requests }

func (s *deletingStore) CancelDelete(_ context.Context, id string, force bool) error {
	s.forced = force
	for i := range s.requests {
		if s.requests[i].ID == id {
			s.requests = append(s.requests[:i], s.requests[i+1:]...)
			return nil
		}
	}
	return statusErrorf(http.StatusNotFound, "no such request")
}

// TestDelete sends requests to the deletion API, in order.
func TestDelete(t *testing.T) {
	st := &deletingStore{memStore: newMemStore()}
	s := New(Options{Now: func() time.Time { return testNow }})
	s.SetBackend(st, engine.New(st, engine.Options{}))
	const day = 24 * time.Hour
	second := func(d time.Duration) string { return fmt.Sprint(testNow.Add(d).Unix()) }
	web := `{app="web"}`
	for _, tt := range []struct {
		name   string
		method string
		params map[string]string
		code   int
		body   string // or what the store was asked
	}{
		{"nothing yet", "GET", nil, 200, `[]`},
		{"seconds", "POST", map[string]string{"query": web, "start": second(-day), "end": second(-time.Hour)}, 204, `1795251600000000000 1795334400000000001 "" {app="web"}`},
		{"end is now", "PUT", map[string]string{"query": web, "start": "1795251600.5"}, 204, `1795251600500000000 1795338000000000001 "" {app="web"}`},
		{"RFC 3339", "POST", map[string]string{"query": `{app="web"} |= "a"`, "start": "2026-11-21T09:00:00Z", "max_interval": "1h"}, 204, `1795251600000000000 1795338000000000001 "{app=\"web\"} |= \"a\"" {app="web"} |= "a"`},
		{"label filter", "POST", map[string]string{"query": `{app="web"}  | trace = "x"`, "start": "0"}, 204, `0 1795338000000000001 "{app=\"web\"} | trace=\"x\"" {app="web"}  | trace = "x"`},
		{"no query", "POST", map[string]string{"start": "0"}, 400, "query is not set"},
		{"no start", "POST", map[string]string{"query": web}, 400, "start time not set"},
		{"metric query", "POST", map[string]string{"query": `rate({app="web"}[1m])`, "start": "0"}, 400, "not a metric query"},
		{"parser", "POST", map[string]string{"query": `{app="web"} | json | a="b"`, "start": "0"}, 400, "may have line filters and label filters only, not | json"},
		{"formatter", "POST", map[string]string{"query": `{app="web"} | line_format "x"`, "start": "0"}, 400, "only, not | line_format"},
		{"bad query", "POST", map[string]string{"query": `{app=`, "start": "0"}, 400, "parse error"},
		{"empty selector", "POST", map[string]string{"query": `{}`, "start": "0"}, 400, "at least one"},
		{"nanoseconds", "POST", map[string]string{"query": web, "start": at(-60)}, 400, "takes seconds"},
		{"not a time", "POST", map[string]string{"query": web, "start": "yesterday"}, 400, "neither seconds"},
		{"future", "POST", map[string]string{"query": web, "start": "0", "end": second(time.Hour)}, 400, "in the future"},
		{"upside down", "POST", map[string]string{"query": web, "start": second(-time.Hour), "end": second(-day)}, 400, "greater than end"},
		{"bad interval", "POST", map[string]string{"query": web, "start": "0", "max_interval": "x"}, 400, "max_interval"},
		{"list", "GET", map[string]string{"start": second(-time.Minute)}, 200, `[{"request_id":"00000002","start_time":1795251600.500,"end_time":1795338000,"query":"{app=\"web\"}","status":"received","created_at":1795338000,"user_id":""},` +
			`{"request_id":"00000003","start_time":1795251600,"end_time":1795338000,"query":"{app=\"web\"} |= \"a\"","status":"received","created_at":1795338000,"user_id":""},` +
			`{"request_id":"00000004","start_time":0,"end_time":1795338000,"query":"{app=\"web\"}  | trace = \"x\"","status":"received","created_at":1795338000,"user_id":""}]`},
		{"cancel nothing", "DELETE", nil, 400, "request_id is not set"},
		{"cancel the unknown", "DELETE", map[string]string{"request_id": "x"}, 404, "no such"},
		{"bad force", "DELETE", map[string]string{"request_id": "00000001", "force": "maybe"}, 400, "force"},
		{"cancel", "DELETE", map[string]string{"request_id": "00000001", "force": "true"}, 204, ""},
		{"one less", "GET", map[string]string{"end": "1795251600"}, 200, `[{"request_id":"00000003"`},
	} {
		v := url.Values{}
		for k, x := range tt.params {
			v.Set(k, x)
		}
		r := httptest.NewRequest(tt.method, "/loki/api/v1/delete?"+v.Encode(), nil)
		if tt.method == http.MethodPut { // as a form
			r = httptest.NewRequest(tt.method, "/loki/api/v1/delete", strings.NewReader(v.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		before := len(st.requests)
		res := do(s, r)
		got := strings.TrimSpace(res.Body.String())
		if len(st.requests) > before {
			if id := res.Header().Get(lokiapi.DeleteIDHeader); id != st.requests[before].ID {
				t.Errorf("%s: header has ID %q", tt.name, id)
			}
			got = fmt.Sprintf("%d %d %q %s", st.last.Range.Start, st.last.Range.End, st.last.Filter, st.last.Query)
		}
		if res.Code != tt.code || !strings.Contains(got, tt.body) {
			t.Errorf("%s: answered %d %s\nwant %d %s", tt.name, res.Code, got, tt.code, tt.body)
		}
	}
	if !st.forced {
		t.Error("force did not arrive")
	}
	if res := do(s, httptest.NewRequest(http.MethodPatch, "/loki/api/v1/delete", nil)); res.Code != http.StatusMethodNotAllowed {
		t.Errorf("PATCH answered %d", res.Code)
	}
}

func TestDeleteStatus(t *testing.T) {
	for want, s := range map[string]model.DeleteStatus{
		"received":     {},
		"33% Complete": {State: model.DeleteBegun, Percent: 33},
		"processed":    {State: model.DeleteProcessed},
	} {
		if got := deleteStatus(s); got != want {
			t.Errorf("%+v is %q, want %q", s, got, want)
		}
	}
}

// TestDeleteNotPossible asks a store that cannot delete.
func TestDeleteNotPossible(t *testing.T) {
	s, _ := newTestServer(nil)
	if res := do(s, httptest.NewRequest(http.MethodGet, "/loki/api/v1/delete", nil)); res.Code != http.StatusNotFound {
		t.Errorf("answered %d: %s", res.Code, res.Body)
	}
}

// TestCompileDeleteFilter runs filters over single entries.
func TestCompileDeleteFilter(t *testing.T) {
	stream := labels.FromStrings("app", "web", "pod", "web-0")
	for _, tt := range []struct {
		query, line, meta string
		want              bool
	}{
		{`{app="web"} |= "secret"`, "a secret b", "", true},
		{`{app="web"} |= "secret"`, "nothing", "", false},
		{`{app="web"} |= "secret" != "b"`, "a secret b", "", false},
		{`{app="web"} |~ "s.cret"`, "a sxcret b", "", true},
		{`{app="web"} |> "<_> secret <_>"`, "a secret b", "", true},
		{`{app="web"} | trace="x"`, "", "x", true},
		{`{app="web"} | trace="x"`, "", "y", false},
		{`{app="web"} | pod="web-0"`, "", "", true},
		{`{app="web"} | trace=""`, "", "", true},
		{`{app="web"} | trace > 5`, "", "7", true},
		{`{app="web"} | trace > 5`, "", "3", false},
		{`{app="web"} | trace > 5`, "", "no number", false}, // would pass in a query
		{`{app="web"} |= "a" | trace="x" |= "b"`, "a b", "x", true},
	} {
		f, err := CompileDeleteFilter(tt.query)
		if err != nil {
			t.Errorf("%s: %v", tt.query, err)
			continue
		}
		var meta labels.Labels
		if tt.meta != "" {
			meta = labels.FromStrings("trace", tt.meta)
		}
		match := f.Stream(stream)
		for range 2 { // nothing of one entry remains for the next
			if got := match(1, tt.line, meta); got != tt.want {
				t.Errorf("%s of %q %q is %v, want %v", tt.query, tt.line, tt.meta, got, tt.want)
			}
		}
		for _, c := range f.Contains {
			if tt.want && !strings.Contains(tt.line, c) {
				t.Errorf("%s needs %q, which %q has not", tt.query, c, tt.line)
			}
		}
	}
	for _, bad := range []string{"", "{", `{app="a"} | json`, `rate({app="a"}[1m])`} {
		if _, err := CompileDeleteFilter(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
