package server

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

func rangeRequest(ctx context.Context, query string, more ...string) *http.Request {
	v := url.Values{"query": {query}}
	for i := 0; i < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return httptest.NewRequest("GET", "/loki/api/v1/query_range?"+v.Encode(), nil).WithContext(ctx)
}

// TestClientLeaves sees that a scan ends when the client hangs up, and that a
// query that waits gives up its place, both over a real connection.
func TestClientLeaves(t *testing.T) {
	s, st := newTestServer(func(o *Options) { o.MaxQueries = 1 })
	fill(t, s)
	entered, ended := make(chan struct{}), make(chan struct{})
	st.onSelect = func(ctx context.Context) {
		entered <- struct{}{}
		<-ctx.Done()
		close(ended)
	}
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = s.HTTPServer()
	srv.Start()
	defer srv.Close()
	get := func(ctx context.Context, query string) chan error {
		out := make(chan error, 1)
		r, err := http.NewRequestWithContext(ctx, "GET", srv.URL+"/loki/api/v1/query_range?query="+url.QueryEscape(query), nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			res, err := srv.Client().Do(r)
			if err == nil {
				err = res.Body.Close()
			}
			out <- err
		}()
		return out
	}
	scan, hangUp := context.WithCancel(t.Context())
	scanned := get(scan, `{app="web"}`)
	<-entered
	wait, giveUp := context.WithCancel(t.Context())
	waited := get(wait, `{app="db"}`)
	until(t, "the second query waits", func() bool { return testutil.ToFloat64(s.metrics.waiting) == 1 })
	giveUp()
	<-waited
	until(t, "nobody waits", func() bool { return testutil.ToFloat64(s.metrics.waiting) == 0 })
	hangUp()
	<-scanned
	<-ended
	until(t, "nothing runs", func() bool { return testutil.ToFloat64(s.metrics.running) == 0 })
	until(t, "both are counted as 499", func() bool {
		w := do(s, httptest.NewRequest("GET", "/metrics", nil))
		return strings.Contains(w.Body.String(), `http_request_duration_seconds_count{code="499",method="GET",route="/loki/api/v1/query_range"} 2`)
	})
}

// until waits for something that another goroutine does.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("not so: %s", what)
}

// TestIdenticalRequestsShareAScan sends a query many times at once. The fake store
// does not tell what changed: all that come while the first one reads share a
// second read.
func TestIdenticalRequestsShareAScan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, st := newTestServer(func(o *Options) { o.MaxQueries = 1 })
		fill(t, s)
		selects := 0
		st.onSelect = func(context.Context) { selects++; time.Sleep(time.Second) }
		codes := make(chan int, 20)
		for range cap(codes) {
			go func() {
				w := do(s, rangeRequest(t.Context(), `{app="web"}`))
				if !strings.Contains(w.Body.String(), "same time") {
					t.Error(w.Body)
				}
				codes <- w.Code
			}()
		}
		for range cap(codes) {
			if code := <-codes; code != 200 {
				t.Errorf("status %d", code)
			}
		}
		if selects > 2 {
			t.Errorf("%d selects for %d requests", selects, cap(codes))
		}
	})
}

// TestQueueTime sees that an answer tells how long its query waited.
func TestQueueTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, st := newTestServer(func(o *Options) { o.MaxQueries = 1; o.Now = time.Now })
		st.onSelect = func(context.Context) { time.Sleep(3 * time.Second) }
		go do(s, rangeRequest(t.Context(), `{app="web"}`))
		synctest.Wait()
		w := do(s, rangeRequest(t.Context(), `{app="db"}`))
		var res struct {
			Data struct {
				Stats struct {
					Summary struct{ QueueTime, ExecTime float64 }
				}
			}
		}
		if err := json.Unmarshal(w.Body.Bytes(), &res); err != nil {
			t.Fatalf("%v: %s", err, w.Body)
		}
		if sum := res.Data.Stats.Summary; sum.QueueTime != 3 || sum.ExecTime != 3 {
			t.Errorf("queued for %v s, ran for %v s", sum.QueueTime, sum.ExecTime)
		}
	})
}

// TestPartialSeriesForWhom sees who gets a part of the series and a warning
// where others get an error.
func TestPartialSeriesForWhom(t *testing.T) {
	s, st := newTestServer(nil)
	s.SetBackend(st, engine.New(st, engine.Options{MaxSeries: 1}))
	fill(t, s)
	for _, tt := range []struct {
		tags, param string
		partial     bool
	}{
		{},
		{tags: "Source=grafana-lokiexplore-app", partial: true},
		{tags: "x=y, source=Grafana-LokiExplore-App", partial: true},
		{tags: "Source=logvolhist", partial: true},
		{tags: "Source=logsample,Team=a", partial: true},
		{tags: "Source=datasample", partial: true},
		{tags: "Source=infinitescroll", partial: true},
		{tags: "Source=my-alerts"},
		{tags: "Note=logvolhist"},
		{param: "true", partial: true},
		{param: "false", tags: "Source=logvolhist"},
		{param: "maybe", tags: "Source=logvolhist", partial: true},
	} {
		for _, path := range []string{"query", "query_range"} {
			v := url.Values{"query": {`count_over_time({namespace="shop"}[1m])`}, "step": {"10"}}
			if tt.param != "" {
				v.Set("partial", tt.param)
			}
			r := httptest.NewRequest("GET", "/loki/api/v1/"+path+"?"+v.Encode(), nil)
			if tt.tags != "" {
				r.Header.Set("X-Query-Tags", tt.tags)
			}
			w := do(s, r)
			switch {
			case tt.partial && (w.Code != 200 || !strings.Contains(w.Body.String(), `"warnings":["maximum number of series (1) reached`)):
				t.Errorf("%+v: %s answered %d %.200s", tt, path, w.Code, w.Body)
			case !tt.partial && w.Code != 400:
				t.Errorf("%+v: %s answered %d %.200s", tt, path, w.Code, w.Body)
			}
		}
	}
}

// paramsEngine remembers what it was asked.
type paramsEngine struct {
	Engine
	asked engine.Params
}

func (e *paramsEngine) Range(_ context.Context, p engine.Params) (*engine.Result, error) {
	e.asked = p
	return &engine.Result{Type: engine.ResultMatrix}, nil
}

func TestCacheControl(t *testing.T) {
	s, st := newTestServer(nil)
	e := &paramsEngine{}
	s.SetBackend(st, e)
	for header, want := range map[string]bool{"": false, "no-cache": true, "max-age=0, No-Cache": true, "no-store": true, "max-age=5": false, "x-no-cache": false} {
		r := rangeRequest(t.Context(), `rate({a="b"}[1m])`)
		if header != "" {
			r.Header.Set("Cache-Control", header)
		}
		if do(s, r); e.asked.NoCache != want {
			t.Errorf("Cache-Control: %s: %v", header, e.asked.NoCache)
		}
	}
}

// slowWriter blocks in its first write until it may go on.
type slowWriter struct {
	*httptest.ResponseRecorder
	goOn chan struct{}
}

func (w slowWriter) Write(b []byte) (int, error) {
	<-w.goOn
	return w.ResponseRecorder.Write(b)
}

// TestDeadReadersStopNobody checks that clients that never read cost others a
// while, not their answers: small ones come at once, large ones are refused.
func TestDeadReadersStopNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newTestServer(func(o *Options) { o.MaxQueries = 1; o.AnswerMemory = 2000 })
		fill(t, s)
		never := make(chan struct{})
		go s.Handler().ServeHTTP(slowWriter{httptest.NewRecorder(), never}, rangeRequest(t.Context(), `{namespace="shop"}`))
		synctest.Wait()
		began := time.Now()
		w := do(s, rangeRequest(t.Context(), `{namespace="shop"}`, "limit", "50"))
		if w.Code != 503 || !strings.Contains(w.Body.String(), "not read by their clients") || time.Since(began) != holdFor {
			t.Errorf("after %s: %d %s", time.Since(began), w.Code, w.Body)
		}
		// A large answer that keeps others waiting is given up sooner.
		large := make(chan int)
		go func() { large <- do(s, rangeRequest(t.Context(), `{namespace="shop"}`, "limit", "60")).Code }()
		synctest.Wait()
		began = time.Now()
		if w := do(s, rangeRequest(t.Context(), `{namespace="none"}`)); w.Code != 200 || time.Since(began) != holdOthers {
			t.Errorf("after %s: %d %s", time.Since(began), w.Code, w.Body)
		}
		if code := <-large; code != 503 {
			t.Errorf("the large answer in front of it: %d", code)
		}
		began = time.Now()
		if w := do(s, rangeRequest(t.Context(), `{namespace="none"}`, "limit", "70")); w.Code != 200 || time.Since(began) != 0 {
			t.Errorf("after %s: %d %s", time.Since(began), w.Code, w.Body)
		}
		close(never)
	})
}

// TestSlowReadersAreBounded sees that results which clients do not read are
// bounded in memory, and that the next query waits for them.
func TestSlowReadersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newTestServer(func(o *Options) { o.MaxQueries = 1; o.AnswerMemory = 2000 })
		fill(t, s)
		goOn := make(chan struct{})
		go s.Handler().ServeHTTP(slowWriter{httptest.NewRecorder(), goOn}, rangeRequest(t.Context(), `{namespace="shop"}`))
		synctest.Wait()
		if s.queries.TryAcquire(1) {
			s.queries.Release(1)
		} else {
			t.Error("a client that reads slowly has a turn")
		}
		done := make(chan int)
		go func() { done <- do(s, rangeRequest(t.Context(), `{namespace="shop"}`, "limit", "50")).Code }()
		gone, leave := context.WithCancel(t.Context())
		left := make(chan int)
		go func() { left <- do(s, rangeRequest(gone, `{namespace="shop"}`, "limit", "60")).Code }()
		synctest.Wait()
		select {
		case code := <-done:
			t.Errorf("the next query was answered %d although there is no room", code)
		default:
		}
		leave()
		if code := <-left; code != statusCanceled {
			t.Errorf("who left was answered %d", code)
		}
		close(goOn)
		if code := <-done; code != 200 {
			t.Errorf("the next query was answered %d", code)
		}
		synctest.Wait()
		if !s.answers.TryAcquire(2000) {
			t.Error("an answer was not let go")
		}
	})
}

// manyStreams pushes enough that every answer is worth compressing.
func manyStreams(t *testing.T, s *Server, lines int) {
	t.Helper()
	var streams []model.StreamEntries
	for i := range 200 {
		st := model.StreamEntries{Labels: labels.FromStrings("app", fmt.Sprintf("application-%03d", i), "namespace", "shop")}
		for j := range lines {
			st.Entries = append(st.Entries, model.Entry{Timestamp: testNow.UnixNano() - int64(1+i+j)*1e9, Line: fmt.Sprintf("level=info line=%d-%d", i, j)})
		}
		streams = append(streams, st)
	}
	if w := do(s, push(lokiapi.EncodePush(streams), "Content-Type", "application/x-protobuf")); w.Code != 204 {
		t.Fatalf("push answered %d: %s", w.Code, w.Body)
	}
}

// TestGzip sees that every large answer is compressed for who accepts it, and
// says the same.
func TestGzip(t *testing.T) {
	s, _ := newTestServer(nil)
	manyStreams(t, s, 3)
	const v1 = "/loki/api/v1"
	sel := url.QueryEscape(`{namespace="shop"}`)
	for _, path := range []string{
		v1 + "/query_range?query=" + sel, v1 + "/query?query=" + url.QueryEscape(`count_over_time({namespace="shop"}[1h])`),
		v1 + "/label/app/values", v1 + "/series", v1 + "/index/volume?limit=1000&targetLabels=app&query=" + sel, v1 + "/index/volume_range?limit=1000&targetLabels=app&query=" + sel,
		lokiapi.ExportPath + "?query=" + sel,
	} {
		answer := func(encoding string) (*httptest.ResponseRecorder, string) {
			r := httptest.NewRequest("GET", path, nil)
			r.Header.Set("Accept-Encoding", encoding)
			w := do(s, r)
			var body io.Reader = w.Body
			if w.Header().Get("Content-Encoding") == "gzip" {
				z, err := gzip.NewReader(w.Body)
				if err != nil {
					t.Fatalf("%s: %v", path, err)
				}
				body = z
			}
			text, err := io.ReadAll(body)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			return w, exactTimes.ReplaceAllString(string(text), "")
		}
		plain, want := answer("identity")
		packed, got := answer("gzip")
		if plain.Code != 200 || len(want) < 2000 {
			t.Errorf("%s: %d, %d bytes: nothing worth compressing", path, plain.Code, len(want))
		}
		if packed.Header().Get("Content-Encoding") != "gzip" || plain.Header().Get("Content-Encoding") != "" {
			t.Errorf("%s: encodings %q and %q", path, packed.Header(), plain.Header())
		}
		if !strings.Contains(packed.Header().Get("Vary"), "Accept-Encoding") {
			t.Errorf("%s: a proxy would not know that encodings differ: %q", path, packed.Header())
		}
		if got != want {
			t.Errorf("%s: compressed and plain answers differ", path)
		}
	}
}

// TestGzipStreams sees that a compressed export arrives while it is being made,
// and that a tail is not compressed.
func TestGzipStreams(t *testing.T) {
	s, st := newTestServer(nil)
	manyStreams(t, s, 20)
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	get := func(path string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+path+"?query="+url.QueryEscape(`{namespace="shop"}`), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", "gzip")
		res, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	selects, proceed := 0, make(chan struct{})
	st.onSelect = func(context.Context) {
		if selects++; selects == 3 {
			<-proceed
		}
	}
	res := get(lokiapi.ExportPath)
	defer res.Body.Close()
	if res.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("not compressed: %v", res.Header)
	}
	z, err := gzip.NewReader(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(z)
	n := 0
	for n < 1000 { // of the first two pages, while the third is not there yet
		line, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		n += bytes.Count(line, []byte("\n"))
	}
	close(proceed)
	rest, err := io.ReadAll(lines)
	if err != nil || n+bytes.Count(rest, []byte("\n")) != 4000+1 || !bytes.HasSuffix(rest, []byte("{\"event\":\"end\"}\n")) {
		t.Errorf("%d lines, %v", n+bytes.Count(rest, []byte("\n")), err)
	}

	st.onSelect = nil
	tail := get(lokiapi.TailPath)
	if tail.StatusCode != 200 || tail.Header.Get("Content-Encoding") != "" {
		t.Errorf("a tail: %d %v", tail.StatusCode, tail.Header)
	}
	if err := tail.Body.Close(); err != nil {
		t.Error(err)
	}
	until(t, "the tail has ended", func() bool { return st.tailCount() == 0 })
}
