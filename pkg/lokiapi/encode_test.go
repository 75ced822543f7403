package lokiapi

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
)

// answers are one of each kind of result, as an encoder writes them.
func answers(categorize bool) string {
	var out bytes.Buffer
	write := func(f func(e *Encoder)) {
		e := NewEncoder(&out, categorize)
		f(e)
		if err := e.End(map[string]int{"x": 1}); err != nil {
			panic(err)
		}
	}
	a, none := labels.FromStrings("a", "<b>", "c", "\xff\""), labels.EmptyLabels()
	meta, parsed := labels.FromStrings("trace", "1"), labels.FromStrings("status", "200", "__error__", "x")
	write(func(e *Encoder) {
		e.Begin(TypeStreams, []string{"partial & \"quoted\""})
		e.Stream(a)
		e.Entry(1, "<tag> & \u2028 \x00\x7f\xff é", none, none)
		e.Entry(-2, "", meta, none)
		e.Stream(none)
		e.Entry(3, "x", none, parsed)
		e.Entry(4, "x", meta, parsed)
	})
	write(func(e *Encoder) { e.Begin(TypeStreams, nil) })
	write(func(e *Encoder) {
		e.Begin(TypeMatrix, nil)
		e.Series(a)
		e.Point(1000, 1)
		e.Point(1500, math.NaN())
		e.Point(-1005, 1e21)
		e.Series(none)
		e.Point(0, 0.1)
	})
	write(func(e *Encoder) {
		e.Begin(TypeVector, nil)
		e.Sample(a, 4000000000000, math.Inf(1))
		e.Sample(none, 1, math.Inf(-1))
	})
	write(func(e *Encoder) { e.Begin(TypeVector, nil) })
	write(func(e *Encoder) { e.Begin(TypeScalar, nil); e.Scalar(1, 2) })
	return out.String()
}

func TestEncoder(t *testing.T) {
	golden(t, "answers.jsonl", answers(false))
	golden(t, "answers_categorized.jsonl", answers(true))
}

// TestDecodeQueryResponse reads back what the encoder wrote.
func TestDecodeQueryResponse(t *testing.T) {
	var got []string
	for line := range strings.Lines(answers(true)) {
		if !json.Valid([]byte(line)) {
			t.Fatalf("not JSON: %s", line)
		}
		resp, err := DecodeQueryResponse([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		// Encoding it again gives the same text, bytes that were no UTF-8 aside.
		var out bytes.Buffer
		e := NewEncoder(&out, true)
		e.Begin(resp.ResultType, resp.Warnings)
		for _, s := range resp.Streams {
			e.Stream(s.Labels)
			for _, entry := range s.Entries {
				e.Entry(entry.Timestamp, entry.Line, entry.StructuredMetadata, entry.Parsed)
			}
		}
		for _, s := range resp.Series {
			if resp.ResultType == TypeVector {
				e.Sample(s.Labels, s.Points[0].Time, s.Points[0].Value)
				continue
			}
			e.Series(s.Labels)
			for _, p := range s.Points {
				e.Point(p.Time, p.Value)
			}
		}
		if resp.ResultType == TypeScalar {
			e.Scalar(resp.Scalar.Time, resp.Scalar.Value)
		}
		if err := e.End(json.RawMessage(resp.Stats)); err != nil {
			t.Fatal(err)
		}
		got = append(got, out.String())
	}
	want := strings.ReplaceAll(answers(true), `\ufffd`, "\ufffd")
	if diff := cmp.Diff(want, strings.Join(got, "")); diff != "" {
		t.Error(diff)
	}
}

// TestDecodeForeign reads shapes that other servers send.
func TestDecodeForeign(t *testing.T) {
	for _, tt := range []struct {
		body string
		ok   bool
	}{
		{`{"status":"success","data":{"result":[{"values":[["1","x"]],"stream":{"a":"b"}}],"resultType":"streams"}}`, true},
		{`{"data":{"resultType":"vector","result":[]},"status":"success"}`, true},
		{`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1.5,"2"]]}],"stats":{"a":[{}]}},"x":{}}`, true},
		{`{"status":"error","error":"x"}`, false},
		{`{"status":"success","data":{"resultType":"other","result":[]}}`, false},
		{`{"status":"success","data":{"resultType":"streams","result":[{"stream":{},"values":[["x","y"]]}]}}`, false},
		{`<html>`, false},
		{``, false},
	} {
		if _, err := DecodeQueryResponse([]byte(tt.body)); (err == nil) != tt.ok {
			t.Errorf("%s: error %v", tt.body, err)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "<>&\"\\", "\x00\x1f\x7f\xff", "é\u2028\u2029😀", "\xed\xa0\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		got := AppendString(nil, s)
		// The same text as encoding/json, but for its short forms of \b and \f.
		short := strings.NewReplacer(`\b`, `\u0008`, `\f`, `\u000c`)
		if a, b := string(got), string(want); a != b && !strings.ContainsAny(s, "\b\f") {
			t.Fatalf("AppendString(%q) = %s, want %s", s, a, short.Replace(b))
		}
		var back string
		if err := json.Unmarshal(got, &back); err != nil || back != strings.ToValidUTF8(s, "\uFFFD") && utf8.ValidString(s) {
			t.Fatalf("AppendString(%q) = %s reads back as %q, %v", s, got, back, err)
		}
		r := jsonReader{b: got}
		if mine := r.str(); r.err != nil || mine != back {
			t.Fatalf("own reader reads %s as %q, %v; want %q", want, mine, r.err, back)
		}
	})
}

func FuzzDecodeQueryResponse(f *testing.F) {
	for line := range strings.Lines(answers(true)) {
		f.Add([]byte(line))
	}
	f.Fuzz(func(_ *testing.T, body []byte) { _, _ = DecodeQueryResponse(body) })
}

func FuzzTailLine(f *testing.F) {
	f.Add(AppendTailEntry(nil, labels.FromStrings("a", "b"), 1, "x", labels.FromStrings("c", "d"), labels.FromStrings("e", "f")))
	f.Add([]byte(`{"event":"dropped","count":3}`))
	f.Add([]byte(`{"streams":[{"stream":{"a":"b"},"values":[["1","x"]]}],"dropped_entries":[{}]}`))
	f.Fuzz(func(_ *testing.T, line []byte) {
		_, _ = parseTailLine(append([]byte(nil), line...))
		_, _ = parseTailFrame(line, nil)
	})
}

func BenchmarkEncoder(b *testing.B) {
	ls := labels.FromStrings("app", "a", "namespace", "default", "pod", "pod-abc")
	line := `ts=2026-11-22T09:16:49.123456Z level=info caller=main.go:10 msg="request served" status=200 duration=12ms`
	b.ReportAllocs()
	for b.Loop() {
		e := NewEncoder(discard{}, true)
		e.Begin(TypeStreams, nil)
		e.Stream(ls)
		for i := range 1000 {
			e.Entry(int64(i), line, ls, labels.EmptyLabels())
		}
		if err := e.End(nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/line")
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
