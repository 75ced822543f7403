package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// fakeEntry is one line of a fakeLoki.
type fakeEntry struct {
	stream string // value of the label app
	ts     int64
	line   string
}

// fakeLoki answers as Grafana's Loki documents it, and has nothing of ours: no
// export, no NDJSON tail. It orders entries of one timestamp as it likes.
type fakeLoki struct {
	t        *testing.T
	maxLimit int
	rnd      *rand.Rand
	// answers are fixed bodies by path; a number in front is the status.
	answers map[string]string

	mu       sync.Mutex
	entries  []fakeEntry
	requests []*http.Request
	// tails are what successive tails bring before they break.
	tails [][]fakeEntry
}

func (l *fakeLoki) start() *remote {
	srv := httptest.NewServer(l)
	l.t.Cleanup(srv.Close)
	return testRemote(l.t, srv.URL)
}

// testRemote asks a URL, says nothing and does not wait.
func testRemote(t *testing.T, addr string) *remote {
	c, err := (&lokiEnv{authHeader: "Authorization"}).connect(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.HTTP.CloseIdleConnections)
	return &remote{Client: c, poll: time.Millisecond, note: func(string) {}, backoff: func(int) time.Duration { return 0 }}
}

func (l *fakeLoki) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests = append(l.requests, r)
	if body, ok := l.answers[r.Method+" "+r.URL.Path]; ok {
		code := http.StatusOK
		if first, rest, ok := strings.Cut(body, " "); ok {
			if n, err := strconv.Atoi(first); err == nil {
				code, body = n, rest
			}
		}
		if r.Method == http.MethodPost {
			w.Header().Set("X-Delete-Request-ID", "8d1c5f0a")
		}
		w.WriteHeader(code)
		fmt.Fprint(w, body) //nolint:errcheck // the client would notice
		return
	}
	switch r.URL.Path {
	case "/loki/api/v1/query_range":
		l.queryRange(w, r)
	case "/loki/api/v1/tail":
		l.tail(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (l *fakeLoki) queryRange(w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	number := func(name string) int64 {
		n, err := strconv.ParseInt(v.Get(name), 10, 64)
		if err != nil {
			l.t.Errorf("%s=%q: %v", name, v.Get(name), err)
		}
		return n
	}
	start, end, limit := number("start"), number("end"), int(number("limit"))
	if limit > l.maxLimit {
		http.Error(w, fmt.Sprintf("max entries limit per query exceeded, limit > max_entries_limit_per_query (%d > %d)", limit, l.maxLimit), http.StatusBadRequest)
		return
	}
	var found []fakeEntry
	for _, e := range l.entries {
		if e.ts >= start && e.ts < end {
			found = append(found, e)
		}
	}
	if l.rnd != nil {
		l.rnd.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
	}
	slices.SortStableFunc(found, func(x, y fakeEntry) int {
		if v.Get("direction") == "forward" {
			return int(x.ts - y.ts)
		}
		return int(y.ts - x.ts)
	})
	found = found[:min(limit, len(found))]
	_, _ = w.Write(mustJSON(map[string]any{"status": "success", "data": map[string]any{
		"resultType": "streams", "result": streamsOf(found),
		"stats": map[string]any{"summary": map[string]any{"totalBytesProcessed": 4096, "totalLinesProcessed": 100, "totalPostFilterLines": len(found), "execTime": 0.25, "queueTime": 0.125}},
	}}))
}

// streamsOf groups entries as query_range and tail do.
func streamsOf(entries []fakeEntry) []any {
	at := map[string]int{}
	var streams []any
	for _, e := range entries {
		i, ok := at[e.stream]
		if !ok {
			i = len(streams)
			at[e.stream] = i
			streams = append(streams, map[string]any{"stream": map[string]string{"app": e.stream}, "values": [][]string(nil)})
		}
		s := streams[i].(map[string]any)
		s["values"] = append(s["values"].([][]string), []string{strconv.FormatInt(e.ts, 10), e.line})
	}
	if streams == nil {
		streams = []any{}
	}
	return streams
}

func (l *fakeLoki) tail(w http.ResponseWriter, r *http.Request) {
	if len(l.tails) == 0 {
		http.Error(w, "no more tails", http.StatusBadRequest)
		return
	}
	bring := l.tails[0]
	l.tails = l.tails[1:]
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		l.t.Error(err)
		return
	}
	for _, e := range bring {
		frame := mustJSON(map[string]any{"streams": streamsOf([]fakeEntry{e})})
		if e.stream == "" { // not an entry but news of dropped ones
			frame = []byte(`{"streams":[],"dropped_entries":[{"timestamp":"1","labels":{"app":"a"}},{"timestamp":"2","labels":{"app":"a"}}]}`)
		}
		if err := conn.Write(r.Context(), websocket.MessageText, frame); err != nil {
			l.t.Error(err)
		}
	}
	_ = conn.Close(websocket.StatusInternalError, "reached tail max duration limit")
}

func mustJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// times returns n entries at the given distance, beginning at base.
func times(stream string, base time.Time, step time.Duration, n int) []fakeEntry {
	entries := make([]fakeEntry, n)
	for i := range entries {
		entries[i] = fakeEntry{stream, base.Add(time.Duration(i) * step).UnixNano(), fmt.Sprintf("%s %d", stream, i)}
	}
	return entries
}

// documentedLoki answers everything with bodies of the shapes that Loki's
// documentation has, in the time of sampleLines.
func documentedLoki(t *testing.T) string {
	base := time.Date(2026, 3, 5, 12, 0, 0, 0, time.UTC)
	l := &fakeLoki{t: t, maxLimit: 5000, entries: times("web", base, 10*time.Second, 4), answers: map[string]string{
		"GET /loki/api/v1/labels":                 `{"status":"success","data":["app","namespace"]}`,
		"GET /loki/api/v1/label/app/values":       `{"status":"success","data":["db","web"]}`,
		"GET /loki/api/v1/label/pod/values":       `{"status":"success","data":["db-0","web-0","web-1"]}`,
		"GET /loki/api/v1/label/container/values": `{"status":"success","data":["app"]}`,
		"GET /loki/api/v1/label/nope/values":      `{"status":"success"}`,
		"GET /loki/api/v1/series":                 `{"status":"success","data":[{"app":"web","namespace":"shop","pod":"web-1"},{"app":"web","namespace":"shop","pod":"web-0"},{"app":"db"}]}`,
		"GET /loki/api/v1/index/stats":            `{"streams":2,"chunks":17,"bytes":1234567,"entries":8901}`,
		"GET /loki/api/v1/index/volume": `{"status":"success","data":{"resultType":"vector","result":[` +
			`{"metric":{"namespace":"shop"},"value":[1772712060,"9000000"]},{"metric":{"namespace":"dev"},"value":[1772712060,"1200000"]},{"metric":{},"value":[1772712060,"17"]}],"stats":{}}}`,
		"GET /loki/api/v1/index/volume_range": `{"status":"success","data":{"resultType":"matrix","result":[` +
			`{"metric":{"namespace":"shop"},"values":[[1772712000,"1048576"],[1772712060,"3145728"],[1772712120,"2097152"]]},` +
			`{"metric":{"namespace":"dev"},"values":[[1772712060,"524288"]]}],"stats":{}}}`,
		"GET /loki/api/v1/patterns": `{"status":"success","data":[` +
			`{"pattern":"GET <_> 200","level":"info","samples":[[1772712000,5],[1772712020,30],[1772712050,10]]},` +
			`{"pattern":"connection to <_> lost","level":"error","samples":[[1772712010,1]]},` +
			`{"pattern":"ping <_>","samples":[[1772712000,40],[1772712010,40],[1772712020,40],[1772712030,40],[1772712040,40],[1772712050,1000]]}]}`,
		"GET /loki/api/v1/detected_fields": `{"fields":[{"label":"status","type":"int","cardinality":3,"parsers":["json"],"jsonPath":["http","status"]},` +
			`{"label":"took","type":"duration","cardinality":41,"parsers":["logfmt"]},{"label":"trace_id","type":"string","cardinality":900,"parsers":null}],"limit":1000}`,
		"GET /loki/api/v1/detected_field/status/values": `{"values":["200","404","500"],"limit":1000}`,
		"GET /loki/api/v1/query":                        `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1772712060,"42"]}],"stats":{}}}`,
		"GET /loki/api/v1/delete":                       `[{"request_id":"5f7ef3c1","start_time":1772668800,"end_time":1772712000.5,"query":"{app=\"web\"} |= \"password\"","status":"42% Complete","created_at":1772712345.678,"user_id":"fake"}]`,
		"POST /loki/api/v1/delete":                      "204 ",
		"DELETE /loki/api/v1/delete":                    "204 ",
	}}
	srv := httptest.NewServer(l)
	t.Cleanup(srv.Close)
	return srv.URL
}
