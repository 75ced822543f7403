package clients

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/grafana/loki/pkg/push"
)

// TestProtobufPush sends what Promtail and Alloy send: Loki's own generated
// types, snappy, and the compressions that may lie around it.
func TestProtobufPush(t *testing.T) {
	c := start(t)
	at := time.Now().Add(-time.Minute).Truncate(time.Second)
	for i, tc := range []struct {
		name, contentType string
		header            map[string]string
		wrap              func([]byte) []byte
	}{
		{"snappy", "application/x-protobuf", map[string]string{"Content-Encoding": "snappy"}, same},
		{"no encoding named", "application/x-protobuf", nil, same},
		{"gzip around it", "application/x-protobuf", map[string]string{"Content-Encoding": "gzip"}, gzipped},
		{"deflate around it", "application/x-protobuf", map[string]string{"Content-Encoding": "deflate"}, deflated},
		{"a tenant", "application/x-protobuf", map[string]string{"X-Scope-OrgID": "somebody"}, same},
		{"another type", "application/octet-stream", nil, same},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &collector{t, c.url}
			app := fmt.Sprintf("push%d", i)
			body := encode(t, push.PushRequest{Streams: []push.Stream{
				{Labels: `{app="` + app + `", env="dev \"x\""}`, Entries: []push.Entry{
					{Timestamp: at, Line: "first", StructuredMetadata: push.LabelsAdapter{{Name: "trace.id", Value: "t1"}}},
					{Timestamp: at.Add(time.Nanosecond), Line: "second"},
					{Timestamp: at.Add(2 * time.Nanosecond), Line: strings.Repeat("long ", 10000)},
					{Timestamp: at.Add(3 * time.Nanosecond), Line: ""},
				}},
			}})
			c.post("/loki/api/v1/push", tc.contentType, tc.wrap(body), tc.header, http.StatusNoContent)
			got := c.query(`{app="`+app+`"}`, at, at.Add(time.Second))
			if len(got) != 4 {
				t.Fatalf("%d entries came back: %+v", len(got), got)
			}
			for j, want := range []string{"first", "second", strings.Repeat("long ", 10000), ""} {
				if got[j].line != want || got[j].at != at.UnixNano()+int64(j) {
					t.Errorf("entry %d: %d %.20q, want %d %.20q", j, got[j].at, got[j].line, at.UnixNano()+int64(j), want)
				}
			}
			sameLabels(t, "stream", got[0].stream, map[string]string{"app": app, "env": `dev "x"`, "service_name": app})
			sameLabels(t, "metadata", got[0].metadata, map[string]string{"trace_id": "t1"}, "detected_level")
		})
	}
}

// TestPushRefusals looks at the status codes on which agents decide whether to
// send a batch again.
func TestPushRefusals(t *testing.T) {
	c := start(t)
	now := time.Now()
	stream := func(labels string, entries ...push.Entry) push.PushRequest {
		return push.PushRequest{Streams: []push.Stream{{Labels: labels, Entries: entries}}}
	}
	good := push.Entry{Timestamp: now, Line: "good"}
	for _, tc := range []struct {
		name string
		body []byte
		code int
		text string
	}{
		{"no streams", encode(t, push.PushRequest{}), http.StatusUnprocessableEntity, "at least one valid stream"},
		{"bad labels", encode(t, stream(`{app=}`, good)), http.StatusBadRequest, "couldn't parse labels"},
		{"no snappy", []byte("not snappy"), http.StatusBadRequest, "snappy"},
		{"snappy, but no protobuf", snappy.Encode(nil, []byte("\x0a\xff\xff")), http.StatusBadRequest, ""},
		{"empty", nil, http.StatusBadRequest, ""},
		{"in the future", encode(t, stream(`{app="f"}`, good, push.Entry{Timestamp: now.Add(time.Hour), Line: "later"})),
			http.StatusBadRequest, "too new"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &collector{t, c.url}
			text := c.post("/loki/api/v1/push", "application/x-protobuf", tc.body, nil, tc.code)
			if !strings.Contains(text, tc.text) {
				t.Errorf("answer %q lacks %q", text, tc.text)
			}
		})
	}
	// What was good in a batch with a bad entry is there.
	if got := c.query(`{app="f"}`, now.Add(-time.Second), now.Add(2*time.Hour)); len(got) != 1 || got[0].line != "good" {
		t.Errorf("of the partly bad batch there is %+v", got)
	}
}

// encode is the body of a push.
func encode(t *testing.T, req push.PushRequest) []byte {
	t.Helper()
	b, err := req.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return snappy.Encode(nil, b)
}

func same(b []byte) []byte { return b }

func gzipped(b []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	return finish(&buf, w, b)
}

func deflated(b []byte) []byte {
	var buf bytes.Buffer
	w, err := flate.NewWriter(&buf, flate.DefaultCompression)
	if err != nil {
		panic(err) // the level is a constant
	}
	return finish(&buf, w, b)
}

func finish(buf *bytes.Buffer, w io.WriteCloser, b []byte) []byte {
	if _, err := w.Write(b); err != nil {
		panic(err) // a bytes.Buffer takes everything
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return buf.Bytes()
}
