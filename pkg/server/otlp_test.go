package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

func zst(w io.Writer) io.WriteCloser {
	z, err := zstd.NewWriter(w)
	if err != nil {
		panic(err)
	}
	return z
}

func lz(w io.Writer) io.WriteCloser { return lz4.NewWriter(w) }

// otlpProto is a request of one resource and these record bodies.
func otlpProto(lines ...string) []byte {
	field := func(num protowire.Number, parts ...[]byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), bytes.Join(parts, nil))
	}
	attribute := field(1, field(1, []byte("service.name")), field(2, field(1, []byte("x"))))
	var records []byte
	for _, line := range lines {
		ts := protowire.AppendFixed64(protowire.AppendTag(nil, 1, protowire.Fixed64Type), uint64(testNow.UnixNano()))
		records = append(records, field(2, ts, field(5, field(1, []byte(line))))...)
	}
	return field(1, field(1, attribute), field(2, records))
}

func otlpJSON(lines ...string) []byte {
	var records []string
	for _, line := range lines {
		records = append(records, `{"timeUnixNano":"`+at(0)+`","body":{"stringValue":"`+line+`"}}`)
	}
	return []byte(`{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"x"}}]},"scopeLogs":[{"logRecords":[` +
		strings.Join(records, ",") + `]}]}]}`)
}

// export sends an OTLP request.
func export(s *Server, body []byte, contentType, encoding string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, otlpPath, bytes.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if encoding != "" {
		r.Header.Set("Content-Encoding", encoding)
	}
	return do(s, r)
}

// message is the text of an answered google.rpc.Status.
func message(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	if ct := w.Header().Get("Content-Type"); ct != typeProtobuf {
		t.Errorf("the error is of type %q", ct)
	}
	b := w.Body.Bytes()
	num, typ, n := protowire.ConsumeTag(b)
	code, m := protowire.ConsumeVarint(b[n:])
	if num != 1 || typ != protowire.VarintType || m < 0 || code == 0 {
		t.Fatalf("no code in %q", b)
	}
	b = b[n+m:]
	num, typ, n = protowire.ConsumeTag(b)
	text, m := protowire.ConsumeString(b[n:])
	if num != 2 || typ != protowire.BytesType || n+m != len(b) {
		t.Fatalf("no message in %q", b)
	}
	return text
}

func TestOTLPEncodings(t *testing.T) {
	proto, json := otlpProto("hello error"), otlpJSON("hello error")
	zeros := make([]byte, 40<<20)
	for _, tt := range []struct {
		name, contentType, encoding string
		body                        []byte
		code                        int
		text                        string
	}{
		{"protobuf", typeProtobuf, "", proto, 204, ""},
		{"JSON", typeJSON, "", json, 204, ""},
		{"JSON with charset", "application/json; charset=utf-8", "", json, 204, ""},
		{"gzip protobuf", typeProtobuf, "gzip", compressed(t, gz, proto), 204, ""},
		{"zstd protobuf", typeProtobuf, "zstd", compressed(t, zst, proto), 204, ""},
		{"lz4 protobuf", typeProtobuf, "lz4", compressed(t, lz, proto), 204, ""},
		{"gzip JSON", typeJSON, "gzip", compressed(t, gz, json), 204, ""},
		{"zstd JSON", typeJSON, "zstd", compressed(t, zst, json), 204, ""},
		{"lz4 JSON", typeJSON, "lz4", compressed(t, lz, json), 204, ""},
		{"no type", "", "", proto, 400, `content type "" is not supported`},
		{"other type", "text/plain", "", proto, 400, `content type "text/plain" is not supported`},
		{"other encoding", typeProtobuf, "snappy", proto, 400, `Content-Encoding "snappy" not supported`},
		{"JSON as protobuf", typeProtobuf, "", json, 400, "invalid protobuf"},
		{"protobuf as JSON", typeJSON, "", proto, 400, "invalid JSON"},
		{"not gzip", typeProtobuf, "gzip", proto, 400, "not gzip"},
		{"not zstd", typeProtobuf, "zstd", proto, 400, "the zstd body is broken"},
		{"not lz4", typeProtobuf, "lz4", proto, 400, "the lz4 body is broken"},
		{"cut zstd", typeProtobuf, "zstd", compressed(t, zst, proto)[:20], 400, "the zstd body is broken"},
		{"empty", typeProtobuf, "", nil, 422, "at least one valid stream"},
		{"empty JSON object", typeJSON, "", []byte("{}"), 422, "at least one valid stream"},
		{"gzip bomb", typeProtobuf, "gzip", compressed(t, gz, zeros), 413, "too many bytes"},
		{"zstd bomb", typeProtobuf, "zstd", compressed(t, zst, zeros), 413, "too many bytes"},
		{"lz4 bomb", typeProtobuf, "lz4", compressed(t, lz, zeros), 413, "too many bytes"},
		{"JSON of many objects", typeJSON, "", append([]byte(`{"a":[`), bytes.Repeat([]byte("{},"), 1<<20)...), 413, "too many bytes once it is decoded"},
		{"deep JSON", typeJSON, "", bytes.Repeat([]byte("["), 1000), 400, "nested deeper"},
		{"large body", typeProtobuf, "", make([]byte, 17<<20), 413, "larger than 16777216 bytes"},
		{"all refused", typeJSON, "", otlpJSON(strings.Repeat("x", 256<<10+1)), 400, "max entry size"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, st := newTestServer(nil)
			w := export(s, tt.body, tt.contentType, tt.encoding)
			if w.Code != tt.code {
				t.Fatalf("answered %d %s", w.Code, w.Body)
			}
			if s.bodies.TryAcquire(2*s.opts.MaxBody) == false || s.decoded.TryAcquire(s.opts.PushMemory) == false {
				t.Error("memory of the request was not given back")
			}
			if tt.code != 204 {
				if got := message(t, w); !strings.Contains(got, tt.text) {
					t.Errorf("message %s", got)
				}
				if len(st.rows) != 0 {
					t.Errorf("stored %v", st.rows)
				}
				return
			}
			if len(st.rows) != 1 {
				t.Fatalf("stored %d rows", len(st.rows))
			}
			got := fmt.Sprintf("%s %d %s %s", st.rows[0].labels, st.rows[0].entry.Timestamp, st.rows[0].entry.Line, st.rows[0].entry.Metadata)
			if want := `{service_name="x"} ` + at(0) + ` hello error {detected_level="error"}`; got != want {
				t.Errorf("stored %s, want %s", got, want)
			}
		})
	}
}

// TestOTLPPartialSuccess refuses one of two records.
func TestOTLPPartialSuccess(t *testing.T) {
	long := strings.Repeat("x", 256<<10+1)
	for _, tt := range []struct {
		contentType string
		body        []byte
		want        []byte
	}{
		{typeProtobuf, otlpProto("good", long), lokiapi.OTLPPartialSuccess(1, "M")},
		{typeJSON, otlpJSON("good", long), []byte(`{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"M"}}` + "\n")},
	} {
		s, st := newTestServer(nil)
		w := export(s, tt.body, tt.contentType, "")
		const msg = `max entry size 262144 bytes exceeded for stream '{service_name="x"}' while adding an entry with length 262145 bytes`
		got := w.Body.Bytes()
		if tt.contentType == typeJSON {
			got = bytes.Replace(got, []byte(strings.ReplaceAll(msg, `"`, `\"`)), []byte("M"), 1)
		} else {
			tt.want = lokiapi.OTLPPartialSuccess(1, msg)
		}
		if w.Code != 200 || w.Header().Get("Content-Type") != tt.contentType || !bytes.Equal(got, tt.want) {
			t.Errorf("answered %d %q, want %q", w.Code, got, tt.want)
		}
		if len(st.rows) != 1 || st.rows[0].entry.Line != "good" {
			t.Errorf("stored %v", st.rows)
		}
		for name, c := range map[string]float64{
			"ours":   testutil.ToFloat64(s.metrics.refusedEntries.WithLabelValues("line_too_long")),
			"Loki's": testutil.ToFloat64(s.metrics.lokiRefusedEntries.WithLabelValues("line_too_long", "fake")),
		} {
			if c != 1 {
				t.Errorf("%s counter is %v", name, c)
			}
		}
	}
}

// TestOTLPStoreErrors are answered so that exporters try again.
func TestOTLPStoreErrors(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code int
	}{
		{errors.New("the disk is gone"), 503},
		{&httpError{code: 507, msg: "full"}, 503},
		{&httpError{code: 504, msg: "slow"}, 504},
		{&httpError{code: 429, msg: "much"}, 429},
	} {
		s, st := newTestServer(nil)
		st.appendErr = tt.err
		w := export(s, otlpProto("x"), typeProtobuf, "")
		if w.Code != tt.code || !strings.Contains(message(t, w), tt.err.Error()) {
			t.Errorf("%v is answered %d %q", tt.err, w.Code, w.Body)
		}
	}
	s, _ := newTestServer(nil)
	s.SetNotReady("replaying")
	if w := export(s, otlpProto("x"), typeProtobuf, ""); w.Code != 503 || message(t, w) != "not ready: replaying" {
		t.Errorf("answered %d %q", w.Code, w.Body)
	}
}
