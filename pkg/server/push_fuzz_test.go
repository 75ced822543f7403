package server

import (
	"bytes"
	"net/http/httptest"
	"slices"
	"testing"
)

// FuzzPush sends bodies to both push paths in every form and encoding: the
// answer is one of a few, and the memory is given back.
func FuzzPush(f *testing.F) {
	types := []string{typeProtobuf, typeJSON}
	encodings := []string{"", "gzip", "deflate", "zstd", "lz4", "snappy"}
	json := otlpJSON("hello")
	for i, body := range [][]byte{otlpProto("hello"), json, []byte(`{"streams":[{"stream":{"a":"b"},"values":[["1","x"]]}]}`), {0x28, 0xb5, 0x2f, 0xfd}, {0x1f, 0x8b, 8}} {
		f.Add(body, i, i, i%2 == 0)
	}
	f.Fuzz(func(t *testing.T, body []byte, kind, encoding int, otlp bool) {
		s, _ := newTestServer(func(o *Options) {
			o.Limits.MaxDecoded = 1 << 20
			o.PushMemory = 4 << 20
		})
		path := pushPath
		if otlp {
			path = otlpPath
		}
		r := httptest.NewRequest("POST", path, bytes.NewReader(body))
		r.Header.Set("Content-Type", types[uint(kind)%uint(len(types))])
		if enc := encodings[uint(encoding)%uint(len(encodings))]; enc != "" {
			r.Header.Set("Content-Encoding", enc)
		}
		if w := do(s, r); !slices.Contains([]int{200, 204, 400, 413, 422}, w.Code) {
			t.Errorf("answered %d %s", w.Code, w.Body)
		}
		if !s.bodies.TryAcquire(2*s.opts.MaxBody) || !s.decoded.TryAcquire(s.opts.PushMemory) {
			t.Error("memory was not given back")
		}
	})
}
