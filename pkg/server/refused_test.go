package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
)

// TestRefusedCounted asks in vain, for every reason.
func TestRefusedCounted(t *testing.T) {
	s, st := newTestServer(nil)
	fill(t, s)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		reason, route string
		code          int
		params        string
		before        func()
	}{
		{reasonQuery, "/loki/api/v1/query_range", 400, "query={", nil},
		{reasonQuery, "/loki/api/v1/query", 400, `query={app="web"}`, nil},
		{reasonQuery, "/loki/api/v1/labels", 400, "query={}", nil},
		{reasonQuery, "/loki/api/v1/format_query", 400, "query={", nil},
		{reasonQuery, "/loki/api/v1/tail", 400, `query=rate({app="web"}[1m])`, nil},
		{reasonParameter, "/loki/api/v1/index/stats", 400, "start=x", nil},
		{reasonParameter, "/loki/api/v1/patterns", 400, `query={app="web"}&step=0`, nil},
		{reasonLimit, "/loki/api/v1/query_range", 400, `query={app="web"}&limit=5001`, nil},
		{reasonPipeline, "/loki/api/v1/query", 400, `query=sum by (x) (count_over_time({app="db"} | json [1m]))`, nil},
		{reasonOther, "/api/prom/rules", 404, "", nil},
		{reasonParameter, "/prometheus/api/v1/rules", 400, "type=x", nil},
		{reasonTimeout, "/loki/api/v1/series", 504, "", func() {
			st.onLookup = func(context.Context) error { return engine.ErrTimeout }
		}},
		{reasonCancelled, "/loki/api/v1/detected_labels", 499, "", func() {
			st.onLookup = func(context.Context) error { return context.Canceled }
		}},
		{reasonInternal, "/loki/api/v1/index/volume", 500, "", func() {
			st.onLookup = func(context.Context) error { return errTest }
		}},
		{reasonCancelled, "/loki/api/v1/detected_fields", 499, `query={app="web"}`, func() {}},
		{reasonNotReady, "/loki/api/v1/label/{name}/values", 503, "", func() { s.SetNotReady("closing") }},
	} {
		if tt.before != nil {
			tt.before()
		}
		count := func() float64 { return testutil.ToFloat64(s.metrics.refused.WithLabelValues(tt.route, tt.reason)) }
		was := count()
		v, err := url.ParseQuery(strings.ReplaceAll(tt.params, ";", "%3B"))
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("GET", strings.ReplaceAll(tt.route, "{name}", "app")+"?"+v.Encode(), nil)
		if tt.code == statusCanceled {
			r = r.WithContext(gone)
		}
		w := do(s, r)
		if w.Code != tt.code || count() != was+1 {
			t.Errorf("%s?%s was answered %d %s; counted %v as %s", tt.route, tt.params, w.Code, w.Body, count()-was, tt.reason)
		}
	}
	for _, path := range []string{"/loki/api/v1/query", "/ready"} {
		if n := testutil.ToFloat64(s.metrics.refused.WithLabelValues(path, reasonLimit)); n != 0 {
			t.Errorf("%s is counted %v times", path, n)
		}
	}
}

// TestRulesReadOnly tries to write rules.
func TestRulesReadOnly(t *testing.T) {
	s := New(Options{})
	for _, tt := range []struct{ method, path, text string }{
		{"POST", "/api/prom/rules/ns", "SetRuleGroup unsupported in rule local store"},
		{"POST", "/loki/api/v1/rules/a%2Fb", "SetRuleGroup unsupported in rule local store"},
		{"DELETE", "/loki/api/v1/rules/ns", "DeleteNamespace unsupported in rule local store"},
		{"DELETE", "/api/prom/rules/ns/g", "DeleteRuleGroup unsupported in rule local store"},
	} {
		w := do(s, httptest.NewRequest(tt.method, tt.path, strings.NewReader("name: x\n")))
		if w.Code != 400 || !strings.HasPrefix(w.Body.String(), tt.text) {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, w.Code, w.Body)
		}
	}
}

func TestLogLevel(t *testing.T) {
	var level slog.LevelVar
	s := New(Options{LogLevel: &level})
	set := func(text string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "/log_level", strings.NewReader("log_level="+text))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return do(s, r)
	}
	if w := set("debug"); w.Code != 200 || level.Level() != slog.LevelDebug {
		t.Errorf("%d %s, level %s", w.Code, w.Body, level.Level())
	}
	if w := set("loud"); w.Code != 400 || level.Level() != slog.LevelDebug {
		t.Errorf("%d %s, level %s", w.Code, w.Body, level.Level())
	}
	if w := do(s, httptest.NewRequest("GET", "/log_level", nil)); !strings.Contains(w.Body.String(), `"Current log level is debug"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

var errTest = errors.New("the block is damaged")
