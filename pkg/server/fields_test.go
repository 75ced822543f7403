package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

func TestFieldTypes(t *testing.T) {
	for _, tt := range []struct {
		values string
		want   string
	}{
		{"5", "int"},
		{"5 -7", "int"},
		{"1 0", "int"},
		{"5 1.5", "float"},
		{"1e3", "float"},
		{"true false", "boolean"},
		{"1 true", "boolean"},
		{"15ms 1h2m", "duration"},
		{"0 15ms", "duration"},
		{"5kB 3MiB", "bytes"},
		{"5 3MiB", "bytes"},
		{"15ms 5kB", "string"},
		{"5 x", "string"},
		{"NaN inf", "string"},
		{"GET", "string"},
	} {
		types := allFieldTypes
		for v := range strings.FieldsSeq(tt.values) {
			types = types.agree(v)
		}
		if got := types.name(); got != tt.want {
			t.Errorf("%s is %s, want %s", tt.values, got, tt.want)
		}
	}
}

// fillFields pushes one stream per shape of line.
func fillFields(t *testing.T, s *Server) {
	t.Helper()
	var streams []model.StreamEntries
	add := func(app string, meta labels.Labels, lines ...string) {
		st := model.StreamEntries{Labels: labels.FromStrings("app", app)}
		for i, line := range lines {
			st.Entries = append(st.Entries, model.Entry{Timestamp: testNow.UnixNano() - int64(i+1)*1e9, Line: line, Metadata: meta})
		}
		streams = append(streams, st)
	}
	level := func(l string, more ...string) labels.Labels {
		return labels.FromStrings(append([]string{"detected_level", l}, more...)...)
	}
	add("json", level("info", "trace", "t1"),
		`{"status":200,"took":"15ms","req":{"size":"3kB","x-id":"a"},"app":"inner","ok":true,"list":[1],"none":null}`,
		`{"status":500,"took":"2s","req":{"size":"10MB","x-id":"b"},"ratio":0.5,"ok":false}`,
		`{"status":200,"took":"15ms","ratio":1}`)
	add("logfmt", level("warn"),
		`level=warn msg="slow thing" status=200 took=1.5s`,
		`level=error msg="bad thing" status=abc`)
	add("both", level("unknown"), `{"status":1,"only_json":"x"}`, `status=2 only_logfmt=y`)
	add("plain", level("unknown"), `just some words`, ``, "bytes \xff\x00", `{"broken":`)
	add("access", level("info"), `GET /a 200`, `POST /b 404`)
	w := do(s, push(lokiapi.EncodePush(streams), "Content-Type", "application/x-protobuf"))
	if w.Code != http.StatusNoContent {
		t.Fatalf("push answered %d: %s", w.Code, w.Body)
	}
}

// TestDetectedFields prints each answer as one line per field: name, type,
// cardinality, parsers, path.
func TestDetectedFields(t *testing.T) {
	s, _ := newTestServer(nil)
	fillFields(t, s)
	for _, tt := range []struct {
		query, params string
		want          string
	}{
		{`{app="json"}`, "", `
app_extracted string 1 ["json"] ["app"]
detected_level string 1 null null
ok boolean 2 ["json"] ["ok"]
ratio float 2 ["json"] ["ratio"]
req_size bytes 2 ["json"] ["req","size"]
req_x_id string 2 ["json"] ["req","x-id"]
status int 2 ["json"] ["status"]
took duration 2 ["json"] ["took"]
trace string 1 null null`},
		{`{app="json"}`, "line_limit=1", `
app_extracted string 1 ["json"] ["app"]
detected_level string 1 null null
ok boolean 1 ["json"] ["ok"]
req_size bytes 1 ["json"] ["req","size"]
req_x_id string 1 ["json"] ["req","x-id"]
status int 1 ["json"] ["status"]
took duration 1 ["json"] ["took"]
trace string 1 null null`},
		{`{app="json"}`, "limit=2", `
detected_level string 1 null null
trace string 1 null null`},
		{`{app="json"} | json | status >= 500`, "", `
detected_level string 1 null null
ok boolean 1 ["json"] ["ok"]
ratio float 1 ["json"] ["ratio"]
req_size bytes 1 ["json"] ["req","size"]
req_x_id string 1 ["json"] ["req","x-id"]
status int 1 ["json"] ["status"]
took duration 1 ["json"] ["took"]
trace string 1 null null`},
		{`{app="json"} | json size="req.size", first="list[0]"`, "line_limit=1", `
app_extracted string 1 ["json"] ["app"]
detected_level string 1 null null
first int 1 ["json"] ["list","0"]
ok boolean 1 ["json"] ["ok"]
req_size bytes 1 ["json"] ["req","size"]
req_x_id string 1 ["json"] ["req","x-id"]
size bytes 1 ["json"] ["req","size"]
status int 1 ["json"] ["status"]
took duration 1 ["json"] ["took"]
trace string 1 null null`},
		// What the parser of the query leaves out is seen nevertheless.
		{`{app="json"} | logfmt`, "line_limit=1", `
app_extracted string 1 ["json"] ["app"]
detected_level string 1 null null
ok boolean 1 ["json"] ["ok"]
req_size bytes 1 ["json"] ["req","size"]
req_x_id string 1 ["json"] ["req","x-id"]
status int 1 ["json"] ["status"]
took duration 1 ["json"] ["took"]
trace string 1 null null`},
		{`{app="logfmt"}`, "", `
detected_level string 1 null null
level string 2 ["logfmt"] null
msg string 2 ["logfmt"] null
status string 2 ["logfmt"] null
took duration 1 ["logfmt"] null`},
		{`{app="both"}`, "", `
detected_level string 1 null null
only_json string 1 ["json"] ["only_json"]
only_logfmt string 1 ["logfmt"] null
status int 2 ["json","logfmt"] ["status"]`},
		{`{app="both"} | json | logfmt | drop __error__, __error_details__`, "", `
detected_level string 1 null null
only_json string 1 ["json"] ["only_json"]
only_logfmt string 1 ["logfmt"] null
status int 2 ["json","logfmt"] ["status"]`},
		{`{app="plain"}`, "", `
detected_level string 1 null null`},
		{`{app="access"} | regexp "(?P<method>\\w+) (?P<path>\\S+) (?P<status>\\d+)"`, "", `
detected_level string 1 null null
method string 2 ["regexp"] null
path string 2 ["regexp"] null
status int 2 ["regexp"] null`},
		{`{app="access"} | label_format verb="x"`, "", `
detected_level string 1 null null
verb string 1 [] null`},
		{`{app="none"}`, "", ``},
	} {
		w := do(s, httptest.NewRequest("GET", "/loki/api/v1/detected_fields?"+tt.params+"&query="+url.QueryEscape(tt.query), nil))
		var answer lokiapi.DetectedFieldsAnswer
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 {
			t.Errorf("%s: %d %s", tt.query, w.Code, w.Body)
			continue
		}
		var got strings.Builder
		for _, f := range answer.Fields {
			parsers, _ := json.Marshal(f.Parsers)
			path, _ := json.Marshal(f.JSONPath)
			fmt.Fprintf(&got, "\n%s %s %d %s %s", f.Label, f.Type, f.Cardinality, parsers, path)
		}
		if got.String() != tt.want {
			t.Errorf("%s %s: %s\nwant %s", tt.query, tt.params, got.String(), tt.want)
		}
	}
}

func TestDetectedFieldsBody(t *testing.T) {
	s, _ := newTestServer(nil)
	fillFields(t, s)
	for _, tt := range []struct {
		path, params string
		code         int
		body         string
	}{
		{"fields", `query={app="none"}`, 200, `{"fields":[],"limit":1000}`},
		{"fields", `query={app="both"}&line_limit=1&field_limit=7`, 200, `{"fields":[` +
			`{"label":"detected_level","type":"string","cardinality":1,"parsers":null},` +
			`{"label":"only_json","type":"string","cardinality":1,"parsers":["json"],"jsonPath":["only_json"]},` +
			`{"label":"status","type":"int","cardinality":1,"parsers":["json"],"jsonPath":["status"]}],"limit":7}`},
		{"fields", `query={app="both"}&line_limit=99999`, 200, ""},
		{"fields", `query={app="both"}&line_limit=0`, 400, "line_limit must be a positive value"},
		{"fields", `query={app="both"}&limit=x`, 400, `could not parse 'limit' parameter: "x" is not a number`},
		{"fields", `query=rate({app="both"}[1m])`, 400, "only log queries are supported here, not metric queries"},
		{"fields", `query=`, 400, ""},
		{"fields", `query={}`, 400, ""},
		{"fields", `query={app="both"}&start=2&end=1`, 400, "end timestamp must not be before or equal to start time"},
		{"field/status/values", `query={app="both"}`, 200, `{"values":["1","2"],"limit":1000}`},
		{"field/status/values", `query={app="both"}&limit=1`, 200, `{"values":["1"],"limit":1}`},
		{"field/trace/values", `query={app="json"}`, 200, `{"values":["t1"],"limit":1000}`},
		{"field/none/values", `query={app="json"}`, 200, `{"values":[],"limit":1000}`},
		{"field/a%2Fb/values", `query={app="json"}`, 200, `{"values":[],"limit":1000}`},
		{"field/status/values", `query={app="both`, 400, ""},
	} {
		for _, method := range []string{"GET", "POST"} {
			r := httptest.NewRequest(method, "/loki/api/v1/detected_"+tt.path, nil)
			v, err := url.ParseQuery(tt.params)
			if err != nil {
				t.Fatal(err)
			}
			if method == "GET" {
				r.URL.RawQuery = v.Encode()
			} else {
				r = httptest.NewRequest(method, "/loki/api/v1/detected_"+tt.path, strings.NewReader(v.Encode()))
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			w := do(s, r)
			body := strings.TrimRight(w.Body.String(), "\n")
			if w.Code != tt.code || tt.body != "" && body != tt.body {
				t.Errorf("%s %s %s: %d %s\nwant %d %s", method, tt.path, tt.params, w.Code, body, tt.code, tt.body)
			}
		}
	}
}

// TestDetectedFieldsPaths has a field whose path cannot be found in any line: it
// is not looked for in all of them.
func TestDetectedFieldsPaths(t *testing.T) {
	query, err := logql.Parse(`{app="x"} | json | label_format made="up"`)
	if err != nil {
		t.Fatal(err)
	}
	d, err := newFieldDetector(query.(*logql.LogSelector), 10)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 * maxPathLines {
		e := engine.LiveEntry{ResultEntry: engine.ResultEntry{Line: `{"a":1}`, Parsed: labels.FromStrings("a", "1", "made", "up")}}
		if err := d.add(&e); err != nil {
			t.Fatal(err)
		}
	}
	if d.pathLines != maxPathLines {
		t.Errorf("%d lines were searched", d.pathLines)
	}
	if got, want := fmt.Sprint(d.fields()), `[{a int 1 [json] [a]} {made string 1 [json] []}]`; got != want {
		t.Errorf("found %s, want %s", got, want)
	}
}

func TestJSONPaths(t *testing.T) {
	got := jsonPaths(`{"a":{"b":{"c":1,"d":2},"e f":"x"},"1":null,"g":[{"h":1}]}`)
	if want := `map[_1:[1] a_b_c:[a b c] a_b_d:[a b d] a_e_f:[a e f] g:[g]]`; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	for _, line := range []string{"", "x", "[1]", `{"a":`, strings.Repeat(`{"a":`, 9000) + "1" + strings.Repeat("}", 9000)} {
		if got := jsonPaths(line); len(got) != 0 {
			t.Errorf("%.20s: %v", line, got)
		}
	}
}

// TestDetectedFieldsOfLongLines asks for more than the memory of a query holds,
// and than is looked at.
func TestDetectedFieldsOfLongLines(t *testing.T) {
	s, st := newTestServer(nil)
	var entries []model.Entry
	for i := range 500 {
		entries = append(entries, model.Entry{
			Timestamp: testNow.UnixNano() - int64(i+1),
			Line:      fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, strings.Repeat("x", 250_000)),
		})
	}
	if err := st.Append(t.Context(), &model.Batch{Streams: []model.StreamEntries{{Labels: labels.FromStrings("app", "long"), Entries: entries}}}); err != nil {
		t.Fatal(err)
	}
	w := do(s, httptest.NewRequest("GET", `/loki/api/v1/detected_fields?line_limit=500&query={app="long"}`, nil))
	if w.Code != 200 || !strings.Contains(w.Body.String(), `{"label":"n","type":"int","cardinality":34,`) {
		t.Errorf("answered %d %s", w.Code, w.Body)
	}
}
