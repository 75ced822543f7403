package server

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// testNow is the clock of all tests: 2026-11-22T09:00:00Z.
var testNow = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

// at is a number of seconds after testNow, as nanoseconds in a request.
func at(seconds int) string { return fmt.Sprint(testNow.UnixNano() + int64(seconds)*1e9) }

func newTestServer(change func(*Options)) (*Server, *memStore) {
	o := Options{Now: func() time.Time { return testNow }}
	if change != nil {
		change(&o)
	}
	s := New(o)
	st := newMemStore()
	s.SetBackend(st, engine.New(st, engine.Options{Now: o.Now}))
	return s, st
}

// fill pushes the entries that the golden requests ask about.
func fill(t *testing.T, s *Server) {
	t.Helper()
	meta := labels.FromStrings("trace", "t1")
	body := lokiapi.EncodePush([]model.StreamEntries{
		{Labels: labels.FromStrings("app", "web", "namespace", "shop", "pod", "web-0"), Entries: []model.Entry{
			{Timestamp: testNow.UnixNano() - 30e9, Line: `level=info msg="GET /a" status=200`},
			{Timestamp: testNow.UnixNano() - 20e9, Line: `level=error msg="GET <b>" status=500`, Metadata: meta},
			{Timestamp: testNow.UnixNano() - 20e9, Line: `level=info msg="same time" status=200`},
			{Timestamp: testNow.UnixNano() - 10e9, Line: `level=warn msg="slow" status=200`},
		}},
		{Labels: labels.FromStrings("app", "db", "namespace", "shop", "pod", "123"), Entries: []model.Entry{
			{Timestamp: testNow.UnixNano() - 25e9, Line: `checkpoint complete`},
			{Timestamp: testNow.UnixNano() - 20e9, Line: `{"status":"x","msg":"json"}`},
		}},
	})
	res := do(s, push(body, "Content-Type", "application/x-protobuf"))
	if res.Code != http.StatusNoContent {
		t.Fatalf("push answered %d: %s", res.Code, res.Body)
	}
}

func push(body []byte, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/loki/api/v1/push", bytes.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func do(s *Server, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

// exactTimes hides the only parts of answers that differ from run to run.
var exactTimes = regexp.MustCompile(`"(execTime|queueTime|bytesProcessedPerSecond|linesProcessedPerSecond)":[0-9.e+-]+`)

// TestRequests sends a list of requests and compares the answers with a golden
// file: method, path and parameters, a blank, the status, the body.
func TestRequests(t *testing.T) {
	s, _ := newTestServer(nil)
	fill(t, s)
	const v1 = "/loki/api/v1"
	type params map[string]string
	categorized := "categorize-labels"
	var out strings.Builder
	for _, tt := range []struct {
		path   string
		params params
		flags  string
	}{
		{v1 + "/query_range", params{"query": `{app="web"}`}, ""},
		{v1 + "/query_range", params{"query": `{app="web"}`}, categorized},
		{v1 + "/query_range", params{"query": `{app="web"} | logfmt`}, ""},
		{v1 + "/query_range", params{"query": `{app="web"} | logfmt | status>=500`}, "other," + categorized},
		{v1 + "/query_range", params{"query": `{namespace="shop"}`, "limit": "3"}, ""},
		{v1 + "/query_range", params{"query": `{namespace="shop"}`, "direction": "FORWARD", "limit": "2"}, ""},
		{v1 + "/query_range", params{"query": `{app="web"}`, "start": at(-20), "end": at(-10)}, ""},
		{v1 + "/query_range", params{"query": `{app="web"}`, "since": "15s"}, ""},
		{v1 + "/query_range", params{"query": `{app="nothing"}`}, ""},
		{v1 + "/query_range", params{"query": `sum by (app) (count_over_time({namespace="shop"}[10s]))`, "start": at(-30), "end": at(0), "step": "10000ms"}, ""},
		{v1 + "/query_range", params{"query": `1+1`, "start": at(-30), "end": at(0), "step": "15"}, ""},
		{v1 + "/query", params{"query": `sum by (app) (count_over_time({namespace="shop"}[1m]))`}, ""},
		{v1 + "/query", params{"query": `vector(1)+vector(1)`, "time": "4000000000", "direction": "backward"}, ""},
		{v1 + "/query", params{"query": `1+1`}, ""},
		{v1 + "/query", params{"query": `{app="web"}`}, ""},
		{v1 + "/query", params{"query": ``}, ""},
		{v1 + "/query", params{"query": `sum(`}, ""},
		{v1 + "/query", params{"query": `sum by (status)(count_over_time({app="db"} | json [1m]))`}, ""},
		{v1 + "/query_range", params{"query": `{}`}, ""},
		{v1 + "/query_range", params{"query": `{app="web"`}, ""},
		{v1 + "/query_range", params{"query": `{app="web"}`, "start": at(0), "end": at(-1)}, ""},
		{v1 + "/query_range", params{"query": `{app="web"}`, "step": "0"}, ""},
		{v1 + "/query_range", params{"query": `{app="web"}`, "step": "1ms"}, ""},
		{v1 + "/query_range", params{"query": `{app="web"}`, "step": "1.5s"}, ""},
		{v1 + "/query_range", params{"query": `{app="web"}`, "limit": "0"}, ""},
		{v1 + "/query_range", params{"query": `{app="web"}`, "limit": "x"}, ""},
		{v1 + "/query_range", params{"query": `{app="web"}`, "limit": "5001"}, ""},
		{v1 + "/query_range", params{"query": `{app="web"}`, "direction": "up"}, ""},
		{v1 + "/query_range", params{"query": `{app="web"}`, "start": "yesterday"}, ""},
		{v1 + "/query_range", params{"query": `{app="web"}`, "since": "1 hour"}, ""},
		{v1 + "/query_range", params{"query": `{app="web"}`, "interval": "-1s"}, ""},
		{v1 + "/labels", nil, ""},
		{v1 + "/label", params{"query": `{app="db"}`}, ""},
		{v1 + "/labels", params{"query": `{}`}, ""},
		{v1 + "/labels", params{"end": at(-3600)}, ""},
		{v1 + "/label/app/values", nil, ""},
		{v1 + "/label/app/values", params{"query": `{app="db"}`}, ""},
		{v1 + "/label/n%2Fx/values", nil, ""},
		{v1 + "/series", nil, ""},
		{v1 + "/series", params{"match[]": `{}`}, ""},
		{v1 + "/series", params{"match": `{app=~"w.*"}`}, ""},
		{v1 + "/series", params{"match[]": `{app="web"} |= "x"`}, ""},
		{v1 + "/series", params{"match[]": `{app="none"}`}, ""},
		{v1 + "/index/stats", params{"query": `{namespace="shop"}`}, ""},
		{v1 + "/index/volume", params{"query": `{}`}, ""},
		{v1 + "/index/volume", params{"query": `{namespace="shop"}`, "targetLabels": "app"}, ""},
		{v1 + "/index/volume", params{"query": `{namespace="shop"}`, "targetLabels": "app", "limit": "1"}, ""},
		{v1 + "/index/volume", params{"query": `{namespace=~".+"}`, "aggregateBy": "labels"}, ""},
		{v1 + "/index/volume", params{"query": `{}`, "aggregateBy": "x"}, ""},
		{v1 + "/index/volume_range", params{"query": `{namespace="shop"}`, "start": at(-40), "end": at(0), "step": "15"}, ""},
		{v1 + "/index/volume_range", params{"query": `{namespace="shop"}`, "start": at(-40), "end": at(0), "step": "60"}, ""},
		{v1 + "/detected_labels", params{"query": ""}, ""},
		{v1 + "/format_query", params{"query": `sum by(app)(rate({app="web"}|json|status>5[5m]))`}, ""},
		{v1 + "/format_query", params{"query": `sum(`}, ""},
		{"/logstack/v1/export", params{"query": `{namespace="shop"}`, "direction": "forward"}, ""},
		{"/logstack/v1/export", params{"query": `{namespace="shop"}`, "limit": "2"}, ""},
		{"/logstack/v1/export", params{"query": `count_over_time({namespace="shop"}[1m])`}, ""},
		{"/logstack/v1/export", params{"query": `{`}, ""},
		{"/ready", nil, ""},
		{"/services", nil, ""},
		{"/config", nil, ""},
		{"/nothing", nil, ""},
		{v1 + "/tail", params{"query": `{app="web"}`, "delay_for": "6"}, ""},
		{v1 + "/tail", params{"query": `rate({app="web"}[1m])`}, ""},
		{v1 + "/tail", params{"query": `{app="web"}`, "limit": "-1"}, ""},
		{v1 + "/tail", params{"query": `{app="web"}`, "delay_for": "x"}, ""},
		{v1 + "/tail", params{"query": `{app="web"}`, "start": "x"}, ""},
		{v1 + "/tail", params{"query": `{app="web"}`, "since": "1 hour"}, ""},
		{v1 + "/patterns", params{"query": `{app="web"}`, "step": "1m"}, ""},
		{v1 + "/detected_fields", params{"query": `{app="web"}`}, ""},
		{v1 + "/detected_field/status/values", params{"query": `{namespace="shop"}`}, ""},
		{v1 + "/index/shards", params{"query": `{namespace="shop"}`, "targetBytesPerShard": "1"}, ""},
		{v1 + "/label/__stream_shard__/values", params{"query": `{app="web"}`}, ""},
		{"/api/prom/label", nil, ""},
		{"/api/prom/label/app/values", nil, ""},
		{"/api/prom/label/none/values", nil, ""},
		{"/api/prom/rules", nil, ""},
		{"/api/prom/rules/test", nil, ""},
		{"/api/prom/rules/test/test", nil, ""},
		{v1 + "/rules", nil, ""},
		{v1 + "/rules/a%2Fb/c%2Fd", nil, ""},
		{"/prometheus/api/v1/rules", nil, ""},
		{"/prometheus/api/v1/rules", params{"type": "alert", "file[]": "x"}, ""},
		{"/prometheus/api/v1/rules", params{"type": "x"}, ""},
		{"/prometheus/api/v1/alerts", nil, ""},
		{"/config/tenant/v1/limits", nil, ""},
		{v1 + "/drilldown-limits", nil, ""},
		{"/log_level", nil, ""},
	} {
		v := url.Values{}
		for k, x := range tt.params {
			v.Set(k, x)
		}
		target := tt.path
		if len(v) > 0 {
			target += "?" + v.Encode()
		}
		r := httptest.NewRequest(http.MethodGet, target, nil)
		if tt.flags != "" {
			r.Header.Set(lokiapi.EncodingFlagsHeader, tt.flags)
		}
		w := do(s, r)
		fmt.Fprintf(&out, "%s %v %s\n%d %s\n%s\n", tt.path, tt.params, tt.flags, w.Code, w.Header().Get("Content-Type"),
			strings.TrimRight(exactTimes.ReplaceAllString(w.Body.String(), `"$1":0`), "\n")+"\n")
	}
	golden(t, "requests.txt", out.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}

// TestPostForm asks by a form, as Grafana does for long queries.
func TestPostForm(t *testing.T) {
	s, _ := newTestServer(nil)
	fill(t, s)
	r := httptest.NewRequest(http.MethodPost, "/loki/api/v1/query_range?limit=1", strings.NewReader(url.Values{"query": {`{app="db"}`}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := do(s, r)
	if w.Code != 200 || !strings.Contains(w.Body.String(), "json") || strings.Contains(w.Body.String(), "checkpoint") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	r = httptest.NewRequest(http.MethodPost, "/loki/api/v1/query_range", strings.NewReader("query="+strings.Repeat("x", maxFormBytes)))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if w := do(s, r); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a large form was answered %d %s", w.Code, w.Body)
	}
}

func compressed(t *testing.T, with func(io.Writer) io.WriteCloser, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := with(&b)
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gz(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }

func deflate(w io.Writer) io.WriteCloser {
	f, err := flate.NewWriter(w, 1)
	if err != nil {
		panic(err)
	}
	return f
}

func TestPushEncodings(t *testing.T) {
	streams := []model.StreamEntries{{Labels: labels.FromStrings("app", "x"), Entries: []model.Entry{{Timestamp: testNow.UnixNano(), Line: "hello error"}}}}
	proto := lokiapi.EncodePush(streams)
	jsonBody := []byte(`{"streams":[{"stream":{"app":"x"},"values":[["` + at(0) + `","hello error"]]}]}`)
	bomb := compressed(t, gz, make([]byte, 40<<20))
	lie := []byte{0xff, 0xff, 0xff, 0x07, 0, 0} // says that it is 16 MiB
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x07, 0, 0}
	for _, tt := range []struct {
		name, contentType, encoding string
		body                        []byte
		code                        int
		text                        string
	}{
		{"protobuf", "application/x-protobuf", "", proto, 204, ""},
		{"protobuf with a hint", "application/x-protobuf", "snappy", proto, 204, ""},
		{"any other type is protobuf", "text/plain", "", proto, 204, ""},
		{"no type", "", "", proto, 400, "mime: no media type"},
		{"a type with odd parameters", `Application/JSON ; Charset="utf-8"; x=y`, "", jsonBody, 204, ""},
		{"zstd is not for pushes", "application/json", "zstd", jsonBody, 400, `Content-Encoding "zstd" not supported`},
		{"gzip outside of snappy", "application/x-protobuf", "gzip", compressed(t, gz, proto), 204, ""},
		{"JSON", "application/json", "", jsonBody, 204, ""},
		{"JSON with charset", "application/json; charset=utf-8", "", jsonBody, 204, ""},
		{"gzip JSON", "application/json", "gzip", compressed(t, gz, jsonBody), 204, ""},
		{"deflate JSON", "application/json", "deflate", compressed(t, deflate, jsonBody), 204, ""},
		{"unknown encoding", "application/json", "br", jsonBody, 400, `Content-Encoding "br" not supported`},
		{"bad type", "/;", "", proto, 400, "bad Content-Type"},
		{"JSON as protobuf", "application/x-protobuf", "", jsonBody, 400, "not a snappy block"},
		{"protobuf as JSON", "application/json", "", proto, 400, "invalid JSON"},
		{"not gzip", "application/json", "gzip", jsonBody, 400, "not gzip"},
		{"cut gzip", "application/json", "gzip", compressed(t, gz, jsonBody)[:20], 400, "the gzip body is broken"},
		{"cut snappy", typeProtobuf, "", proto[:len(proto)-3], 400, "not a snappy block"},
		{"uncompressed protobuf", typeProtobuf, "", lokiapi.AppendPushRequest(nil, streams), 400, ""},
		{"empty", typeProtobuf, "", nil, 400, "not a snappy block"},
		{"empty JSON", "application/json", "", nil, 400, "invalid JSON"},
		{"no streams", "application/json", "", []byte(`{"streams":[]}`), 422, "at least one valid stream"},
		{"no streams in protobuf", typeProtobuf, "", snappy.Encode(nil, nil), 422, "at least one valid stream"},
		{"bad labels", "application/json", "", []byte(`{"streams":[{"labels":"{a","entries":[]}]}`), 400, "couldn't parse labels: "},
		{"gzip bomb", "application/json", "gzip", bomb, 413, "too many bytes"},
		{"snappy that lies", typeProtobuf, "", lie, 413, "too many bytes"},
		{"snappy of 2 GiB", typeProtobuf, "", huge, 413, "too many bytes"},
		{"large body", typeProtobuf, "", make([]byte, 17<<20), 413, "larger than 16777216 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, st := newTestServer(nil)
			var header []string
			if tt.contentType != "" {
				header = append(header, "Content-Type", tt.contentType)
			}
			if tt.encoding != "" {
				header = append(header, "Content-Encoding", tt.encoding)
			}
			w := do(s, push(tt.body, header...))
			if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.text) {
				t.Fatalf("answered %d %s", w.Code, w.Body)
			}
			if s.bodies.TryAcquire(2*s.opts.MaxBody) == false || s.decoded.TryAcquire(s.opts.PushMemory) == false {
				t.Error("memory of the push was not given back")
			}
			if tt.code != 204 {
				if len(st.rows) != 0 {
					t.Errorf("stored %v", st.rows)
				}
				return
			}
			if len(st.rows) != 1 {
				t.Fatalf("stored %d rows", len(st.rows))
			}
			got := fmt.Sprintf("%s %d %s %s", st.rows[0].labels, st.rows[0].entry.Timestamp, st.rows[0].entry.Line, st.rows[0].entry.Metadata)
			if want := `{app="x", service_name="x"} ` + at(0) + ` hello error {detected_level="error"}`; got != want {
				t.Errorf("stored %s, want %s", got, want)
			}
		})
	}
}

func TestPartialPush(t *testing.T) {
	s, st := newTestServer(nil)
	body := `{"streams":[{"stream":{"app":"x"},"values":[["` + at(0) + `","good"],["` + at(3600) + `","ahead"]]}]}`
	w := do(s, push([]byte(body), "Content-Type", "application/json"))
	if w.Code != 400 || !strings.Contains(w.Body.String(), "has timestamp too new") {
		t.Errorf("answered %d %s", w.Code, w.Body)
	}
	if len(st.rows) != 1 || st.rows[0].entry.Line != "good" {
		t.Errorf("stored %v", st.rows)
	}
	if n := testutil.ToFloat64(s.metrics.refusedEntries.WithLabelValues("too_far_in_future")); n != 1 {
		t.Errorf("%v refused entries are counted", n)
	}
	if n := testutil.ToFloat64(s.metrics.pushedEntries); n != 1 {
		t.Errorf("%v stored entries are counted", n)
	}
}

func TestStoreErrors(t *testing.T) {
	full := errors.New("the disk is full")
	s, st := newTestServer(func(o *Options) {
		o.StatusCode = func(err error) int {
			if errors.Is(err, full) {
				return http.StatusInsufficientStorage
			}
			return 0
		}
	})
	jsonBody := []byte(`{"streams":[{"stream":{"app":"x"},"values":[["1","x"]]}]}`)
	for err, code := range map[error]int{full: 507, errors.New("other"): 500, context.DeadlineExceeded: 504} {
		st.appendErr = err
		w := do(s, push(jsonBody, "Content-Type", "application/json"))
		if w.Code != code || !strings.Contains(w.Body.String(), err.Error()) {
			t.Errorf("%v was answered %d %s", err, w.Code, w.Body)
		}
	}
	st.appendErr, st.selectErr = nil, errors.New("block is damaged")
	w := do(s, httptest.NewRequest("GET", `/loki/api/v1/query_range?query={app="x"}`, nil))
	if w.Code != 500 || !strings.Contains(w.Body.String(), "block is damaged") {
		t.Errorf("answered %d %s", w.Code, w.Body)
	}
}

func TestNotReady(t *testing.T) {
	s := New(Options{})
	for _, path := range []string{"/ready", "/loki/api/v1/labels", `/loki/api/v1/query_range?query={a="b"}`, lokiapi.TailPath} {
		if w := do(s, httptest.NewRequest("GET", path, nil)); w.Code != 503 || !strings.Contains(w.Body.String(), "not ready: starting") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	s.SetNotReady("opening the data directory")
	if w := do(s, push(nil)); w.Code != 503 || !strings.Contains(w.Body.String(), "opening the data directory") {
		t.Errorf("push: %d %s", w.Code, w.Body)
	}
	for _, path := range []string{"/metrics", "/config", "/services", lokiapi.StatusPath, "/loki/api/v1/status/buildinfo"} {
		if w := do(s, httptest.NewRequest("GET", path, nil)); w.Code != 200 {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if w := do(s, httptest.NewRequest("GET", "/debug/pprof/", nil)); w.Code != 404 {
		t.Errorf("profiles are served without being asked for: %d", w.Code)
	}
	if w := do(New(Options{Pprof: true}), httptest.NewRequest("GET", "/debug/pprof/cmdline", nil)); w.Code != 200 {
		t.Errorf("profiles are not served: %d", w.Code)
	}
	st := newMemStore()
	s.SetBackend(st, engine.New(st, engine.Options{}))
	if w := do(s, httptest.NewRequest("GET", "/ready", nil)); w.Code != 200 || w.Body.String() != "ready\n" {
		t.Errorf("ready: %d %s", w.Code, w.Body)
	}
	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w := do(s, httptest.NewRequest("GET", "/ready", nil)); w.Code != 503 || !strings.Contains(w.Body.String(), "shutting down") {
		t.Errorf("ready while draining: %d %s", w.Code, w.Body)
	}
}

func TestPanic(t *testing.T) {
	var log bytes.Buffer
	s, st := newTestServer(func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	st.onSelect = func(context.Context) { panic("boom") }
	w := do(s, httptest.NewRequest("GET", `/loki/api/v1/query_range?query={app="x"}`, nil))
	if w.Code != 500 || !strings.Contains(w.Body.String(), "internal error") && !strings.Contains(w.Body.String(), "boom") {
		t.Errorf("answered %d %s", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "boom") {
		t.Errorf("the log does not tell: %s", log.String())
	}
}

// TestQueriesWait runs one query at a time: the second waits for the first and
// gives up when its client does.
func TestQueriesWait(t *testing.T) {
	s, st := newTestServer(func(o *Options) { o.MaxQueries = 1 })
	fill(t, s)
	entered, proceed := make(chan struct{}), make(chan struct{})
	st.onSelect = func(context.Context) { entered <- struct{}{}; <-proceed }
	query := func(ctx context.Context, limit int) *httptest.ResponseRecorder { // identical ones would not wait for each other
		return do(s, httptest.NewRequest("GET", fmt.Sprintf(`/loki/api/v1/query_range?query={app="web"}&limit=%d`, limit), nil).WithContext(ctx))
	}
	answers := make(chan *httptest.ResponseRecorder, 2)
	go func() { answers <- query(t.Context(), 1) }()
	<-entered
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if w := query(gone, 2); w.Code != statusCanceled || !strings.Contains(w.Body.String(), "the request was cancelled by the client") {
		t.Errorf("a cancelled query was answered %d %s", w.Code, w.Body)
	}
	go func() { answers <- query(t.Context(), 3) }()
	close(proceed)
	<-entered
	for range 2 {
		if w := <-answers; w.Code != 200 {
			t.Errorf("answered %d %s", w.Code, w.Body)
		}
	}
}

func TestGzipAnswer(t *testing.T) {
	s, _ := newTestServer(nil)
	for range 20 {
		fill(t, s)
	}
	r := httptest.NewRequest("GET", `/loki/api/v1/query_range?query={app="web"}`, nil)
	r.Header.Set("Accept-Encoding", "gzip")
	w := do(s, r)
	if w.Header().Get("Content-Encoding") != "gzip" {
		t.Fatalf("not compressed: %v", w.Header())
	}
	z, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(z)
	if err != nil || !bytes.Contains(body, []byte("same time")) {
		t.Errorf("%v, %s", err, body)
	}
}

func TestTimestamp(t *testing.T) {
	for text, want := range map[string]int64{
		"":                          7,
		"1":                         1e9,
		"-1":                        -1e9,
		"1600000000":                1600000000e9,
		"9999999999":                1<<63 - 1,
		"16000000000":               16000000000,
		"1600000000000000001":       1600000000000000001,
		"1.5":                       1.5e9,
		"1600000000.1239":           1600000000124e6,
		"1e10.0":                    0,
		"2026-11-22T09:00:00Z":      testNow.UnixNano(),
		"2026-11-22T09:00:00.123Z":  testNow.UnixNano() + 123e6,
		"2026-11-22T10:00:00+01:00": testNow.UnixNano(),
		"x":                         0,
		"99999999999999999999":      0,
		"NaN.":                      0,
		"1e300.":                    0,
	} {
		got, err := params{url.Values{"t": {text}}, testNow}.timestamp("t", 7)
		if want == 0 {
			if err == nil {
				t.Errorf("%q was read as %d", text, got)
			}
			continue
		}
		if err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestBoundsDoNotOverflow(t *testing.T) {
	p := params{url.Values{"start": {"-9223372036854775808"}, "end": {"9223372036854775807"}}, testNow}
	r, err := p.bounds()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.step(r); err != nil {
		t.Errorf("step: %v", err)
	}
	if r, err := p.metadataBounds(); err != nil || r.End != 1<<63-1 {
		t.Errorf("%v, %v", r, err)
	}
}

func FuzzParams(f *testing.F) {
	f.Add("1.5", "2026-11-22T09:00:00Z", "15000ms", "1h")
	f.Add("-1", "1600000000000000001", "0.5", "1y")
	f.Fuzz(func(t *testing.T, start, end, step, since string) {
		p := params{url.Values{"start": {start}, "end": {end}, "step": {step}, "since": {since}}, testNow}
		r, err := p.bounds()
		if err != nil {
			return
		}
		if r.Start > r.End {
			t.Fatalf("range %d to %d", r.Start, r.End)
		}
		if d, err := p.step(r); err == nil && (d <= 0 || span(r)/uint64(d) > maxPoints) {
			t.Fatalf("step %v for %s", d, r)
		}
	})
}
