package lokiapi

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var testNow = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

func testDecoder(change func(*Limits)) *Decoder {
	l := DefaultLimits()
	l.NoLevels = true
	l.ServiceNameLabels = []string{}
	if change != nil {
		change(&l)
	}
	return NewDecoder(l, func() time.Time { return testNow })
}

// dump prints a push, one line per entry.
func dump(p *Push) string {
	var b strings.Builder
	for _, s := range p.Batch.Streams {
		for _, e := range s.Entries {
			fmt.Fprintf(&b, "%s %d %q", s.Labels, e.Timestamp, e.Line)
			if !e.Metadata.IsEmpty() {
				fmt.Fprintf(&b, " %s", e.Metadata)
			}
			b.WriteByte('\n')
		}
	}
	for _, r := range p.Refused {
		fmt.Fprintf(&b, "refused %d (%d bytes) %s: %s\n", r.Entries, r.Bytes, r.Reason, r.Message)
	}
	return b.String()
}

func TestJSON(t *testing.T) {
	for _, tt := range []struct{ name, body, want string }{
		{"one", `{"streams":[{"stream":{"a":"b"},"values":[["1","x"],["2","y"]]}]}`, "{a=\"b\"} 1 \"x\"\n{a=\"b\"} 2 \"y\"\n"},
		{"metadata", `{"streams":[{"stream":{"a":"b"},"values":[["1","x",{"k-1":"v","e":""}]]}]}`, "{a=\"b\"} 1 \"x\" {k_1=\"v\"}\n"},
		{"values first", `{"streams":[{"values":[["1","x\n\u00e9"]],"stream":{"a":"b"}}]}`, "{a=\"b\"} 1 \"x\\né\"\n"},
		{"unknown keys", `{"x":[1,{"y":null}],"streams":[{"stream":{"a":"b"},"z":-1.5e3,"values":[]}]}`, ""},
		{"null values", `{"streams":[{"stream":{"a":"b"},"values":null}]}`, ""},
		{"no labels", `{"streams":[{"values":[["1","x"]]}]}`, "refused 1 (1 bytes) missing_labels: error at least one label pair is required per stream\n"},
		{"escapes", `{"streams":[{"stream":{"a":"\"\\\/\b\f\n\r\t"},"values":[["1","\ud83d\ude00 \ud83d x \ude00\u0000"]]}]}`,
			"{a=\"\\\"\\\\/\\b\\f\\n\\r\\t\"} 1 \"😀 \uFFFD x \uFFFD\\x00\"\n"},
		{"legacy", `{"streams":[{"labels":"{a=\"b\"}","entries":[{"ts":"2026-11-22T08:00:00.5Z","line":"x"}]}]}`, "{a=\"b\"} 1795334400500000000 \"x\"\n"},
		{"legacy, entries first", `{"streams":[{"entries":[{"line":"x","ts":"1970-01-01T00:00:00Z"}],"labels":"{a=\"b\"}"}]}`, "{a=\"b\"} 0 \"x\"\n"},
		{"negative time", `{"streams":[{"stream":{"a":"b"},"values":[["-5","x"]]}]}`, "{a=\"b\"} -5 \"x\"\n"},
		{"a label twice", `{"streams":[{"stream":{"a":"1","a":"2"},"values":[["1","x"]]},{"labels":"{a=\"1\",a=\"1\"}","values":[["1","x"]]},{"stream":{"a":"1"},"values":[["2","y"]]}]}`,
			"{a=\"1\"} 2 \"y\"\nrefused 2 (2 bytes) duplicate_label_names: stream '{\"a\":\"1\",\"a\":\"2\"}' has duplicate label name: \"a\"\n"},
		{"a metadata name twice", `{"streams":[{"stream":{"a":"b"},"values":[["1","x",{"z":"1","k.1":"u","k-1":"v"}]]}]}`, "{a=\"b\"} 1 \"x\" {k_1=\"u\", z=\"1\"}\n"},
		{"as Loki takes it", `{"streams":[{"stream":{"a":1,"b":true,"c":null,"d":1.5e3},"values":[["1"],null,["2","x",{},1,[{}]]]}]} and more`,
			"{a=\"1\", b=\"true\", c=\"null\", d=\"1.5e3\"} 1 \"\"\n{a=\"1\", b=\"true\", c=\"null\", d=\"1.5e3\"} 2 \"x\"\n"},
		{"two streams", `{"streams":[{"stream":{"a":"1"},"values":[["1","x"]]},{"stream":{"a":"2"},"values":[["2","y"]]}]}`, "{a=\"1\"} 1 \"x\"\n{a=\"2\"} 2 \"y\"\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := testDecoder(nil)
			for range 2 { // the second time the labels are known
				p, err := d.JSON([]byte(tt.body))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, dump(p)); diff != "" {
					t.Error(diff)
				}
				p.Release()
			}
		})
	}
}

func TestJSONRefuses(t *testing.T) {
	for _, tt := range []struct{ body, want string }{
		{``, "invalid JSON at byte 0: expected '{'"},
		{`[]`, "expected '{'"},
		{`{"streams":[]}`, ErrNoStreams.Error()},
		{`{}`, ErrNoStreams.Error()},
		{`{"streams":[{"stream":{"a":"b"},"values":[[1,"x"]]}]}`, "a timestamp must be a string"},
		{`{"streams":[{"stream":{"a":"b"},"values":[["1.5","x"]]}]}`, "is not a number of nanoseconds"},
		{`{"streams":[{"stream":{"a":"b"},"values":[["99999999999999999999","x"]]}]}`, "is not a number of nanoseconds"},
		{`{"streams":[{"stream":{"a":"b"},"values":[["1","x",[]]]}]}`, "expected '{'"},
		{`{"streams":[{"stream":{"a":"b"},"values":[["1","x",{"a":1}]]}]}`, "expected a string"},
		{`{"streams":[{"stream":{"a":"b"},"values":[["1","x`, "not terminated"},
		{`{"streams":[{"stream":{"a":"b"},"values":[["1","\q"]]}]}`, "bad escape"},
		{`{"streams":[{"stream":{"a":"b"},"values":[["1","\u12x4"]]}]}`, "bad escape"},
		{"{\"streams\":[{\"stream\":{\"a\":\"b\"},\"values\":[[\"1\",\"\x01\"]]}]}", "control character"},
		{`{"streams":[{"stream":{"a-b":"c"}}]}`, "couldn't parse labels: label name \"a-b\" is not legal"},
		{`{"streams":[{"labels":"{a}"}]}`, "couldn't parse labels: "},
		{`{"streams":[{"labels":"{a=\"b\"}","entries":[{"ts":"yesterday","line":"x"}]}]}`, "not in RFC 3339"},
		{`{"x":` + strings.Repeat("[", 100), "nested deeper"},
		{`{"streams":{}}`, "expected '['"},
		{`{"streams":[{"stream":{"a":"b"},"values":[[]]}]}`, "an entry needs a timestamp"},
		{`{"streams":[{"stream":{"a":}}]}`, "expected a value"},
		{`{"streams":[{"stream":{"a" 1}}]}`, "couldn't parse labels: invalid JSON"},
	} {
		p, err := testDecoder(nil).JSON([]byte(tt.body))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: push %v, error %v; want %s", tt.body, p, err, tt.want)
		}
	}
}

func TestProto(t *testing.T) {
	streams := []model.StreamEntries{
		{Labels: labels.FromStrings("a", "b"), Entries: []model.Entry{
			{Timestamp: 1, Line: "x"},
			{Timestamp: -1, Line: "before the epoch"},
			{Timestamp: math.MinInt64 + 5e9, Line: ""},
			{Timestamp: testNow.UnixNano(), Line: "\xff\x00\n", Metadata: labels.FromStrings("k", "v", "z", "é")},
			{Timestamp: testNow.UnixNano(), Line: "same metadata", Metadata: labels.FromStrings("k", "v", "z", "é")},
			{Timestamp: testNow.UnixNano(), Line: "other metadata", Metadata: labels.FromStrings("k", "w")},
		}},
		{Labels: labels.FromStrings("a", "\"quoted\"\n", "c", "d"), Entries: []model.Entry{{Timestamp: 7, Line: "y"}}},
	}
	d := testDecoder(nil)
	for range 2 {
		body, err := snappy.Decode(nil, EncodePush(streams))
		if err != nil {
			t.Fatal(err)
		}
		p, err := d.Proto(body)
		if err != nil {
			t.Fatal(err)
		}
		want := &Push{}
		want.Batch.Streams = streams
		if diff := cmp.Diff(dump(want), dump(p)); diff != "" {
			t.Error(diff)
		}
		if p.Entries != 7 || p.Streams != 2 || !p.Batch.DropDuplicates {
			t.Errorf("push has %d entries, %d streams, DropDuplicates %v", p.Entries, p.Streams, p.Batch.DropDuplicates)
		}
		p.Release()
	}
}

// TestProtoOrder reads what protobuf allows but no encoder writes: entries
// before labels, fields that are not known, metadata before the line.
func TestProtoOrder(t *testing.T) {
	field := func(dst []byte, n protowire.Number, v string) []byte {
		return protowire.AppendString(protowire.AppendTag(dst, n, protowire.BytesType), v)
	}
	pair := string(field(field(nil, 2, "v"), 1, "k"))
	entry := field(nil, 3, pair)
	entry = protowire.AppendFixed64(protowire.AppendTag(entry, 9, protowire.Fixed64Type), 1)
	entry = field(entry, 2, "line")
	entry = field(entry, 3, string(field(field(nil, 1, "k2"), 2, "v2")))
	stream := field(nil, 2, string(entry))
	stream = field(stream, 1, `{a="b"}`)
	stream = protowire.AppendVarint(protowire.AppendTag(stream, 3, protowire.VarintType), 42)
	p, err := testDecoder(nil).Proto(field(field(nil, 2, "format"), 1, string(stream)))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := dump(p), "{a=\"b\"} 0 \"line\" {k=\"v\", k2=\"v2\"}\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestProtoTimeClamps(t *testing.T) {
	for _, tt := range []struct {
		seconds uint64
		want    int64
	}{
		{0, 0},
		{1, 1e9},
		{math.MaxUint64, -1e9}, // -1
		{math.MaxInt64, math.MaxInt64},
		{1 << 63, math.MinInt64},
	} {
		b := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), tt.seconds)
		if got, err := protoTime(b); err != nil || got != tt.want {
			t.Errorf("%d seconds are %d, %v; want %d", int64(tt.seconds), got, err, tt.want)
		}
	}
}

// TestProtoCut cuts a good body at every byte: an error or a shorter push, no panic.
func TestProtoCut(t *testing.T) {
	body := AppendPushRequest(nil, []model.StreamEntries{{
		Labels:  labels.FromStrings("a", "b"),
		Entries: []model.Entry{{Timestamp: 5, Line: "hello", Metadata: labels.FromStrings("k", "v")}},
	}})
	d := testDecoder(nil)
	for n := range body {
		p, err := d.Proto(body[:n:n])
		var proto *ProtoError
		switch {
		case n == 0 && !errors.Is(err, ErrNoStreams):
			t.Errorf("empty body: %v", err)
		case n > 0 && !errors.As(err, &proto):
			t.Errorf("body cut to %d bytes: push %v, error %v", n, p, err)
		}
	}
}

func TestLimits(t *testing.T) {
	entry := func(ts int64, line string, meta ...string) model.Entry {
		return model.Entry{Timestamp: ts, Line: line, Metadata: labels.FromStrings(meta...)}
	}
	many := func(n int) labels.Labels {
		b := labels.NewBuilder(labels.EmptyLabels())
		for i := range n {
			b.Set(fmt.Sprintf("l%02d", i), "v")
		}
		return b.Labels()
	}
	now := testNow.UnixNano()
	ab := labels.FromStrings("a", "b")
	for _, tt := range []struct {
		name   string
		change func(*Limits)
		labels labels.Labels
		entry  model.Entry
		want   Reason // "" is accepted
	}{
		{"line at the limit", nil, ab, entry(now, strings.Repeat("x", 256<<10)), ""},
		{"line beyond", nil, ab, entry(now, strings.Repeat("x", 256<<10+1)), ReasonLineTooLong},
		{"old", nil, ab, entry(math.MinInt64+5e9, "x"), ""},
		{"too old", func(l *Limits) { l.MaxAge = time.Hour }, ab, entry(now-int64(time.Hour)-1, "x"), ReasonTooOld},
		{"old enough", func(l *Limits) { l.MaxAge = time.Hour }, ab, entry(now-int64(time.Hour), "x"), ""},
		{"ahead", nil, ab, entry(now+int64(10*time.Minute), "x"), ""},
		{"too far ahead", nil, ab, entry(now+int64(10*time.Minute)+1, "x"), ReasonTooFarInFuture},
		{"no limit ahead", func(l *Limits) { l.MaxFuture = -1 }, ab, entry(now+int64(time.Hour), "x"), ""},
		{"labels at the limit", nil, many(15), entry(now, "x"), ""},
		{"too many labels", nil, many(16), entry(now, "x"), ReasonTooManyLabels},
		{"service_name is not counted", nil, labels.NewBuilder(many(15)).Set("service_name", "s").Labels(), entry(now, "x"), ""},
		{"long name", nil, labels.FromStrings(strings.Repeat("n", 1025), "v"), entry(now, "x"), ReasonLabelNameTooLong},
		{"long value", nil, labels.FromStrings("a", strings.Repeat("v", 2049)), entry(now, "x"), ReasonLabelValueTooLong},
		{"no labels", nil, labels.EmptyLabels(), entry(now, "x"), ReasonMissingLabels},
		{"metadata pairs", func(l *Limits) { l.MaxMetadataPairs = 1 }, ab, entry(now, "x", "a", "1", "b", "2"), ReasonMetadataTooMany},
		{"metadata size", nil, ab, entry(now, "x", "a", strings.Repeat("1", 64<<10)), ReasonMetadataTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			good := entry(now, "good")
			d := testDecoder(tt.change)
			p, err := d.Proto(AppendPushRequest(nil, []model.StreamEntries{
				{Labels: tt.labels, Entries: []model.Entry{tt.entry}},
				{Labels: ab, Entries: []model.Entry{good}},
			}))
			if err != nil {
				t.Fatal(err)
			}
			defer p.Release()
			if tt.want == "" {
				if p.Entries != 2 || p.RefusedMessage() != "" {
					t.Errorf("%d entries accepted, refused: %s", p.Entries, p.RefusedMessage())
				}
				return
			}
			if p.Entries != 1 || len(p.Refused) != 1 || p.Refused[0].Reason != tt.want {
				t.Fatalf("%d entries accepted, refused %+v; want one for %s", p.Entries, p.Refused, tt.want)
			}
			if got := p.RefusedMessage(); got != p.Refused[0].Message || got == "" {
				t.Errorf("message %q", got)
			}
		})
	}
}

func TestTooLarge(t *testing.T) {
	d := testDecoder(func(l *Limits) { l.MaxEntries, l.MaxStreams = 2, 2 })
	var tooLarge *TooLargeError
	_, err := d.JSON([]byte(`{"streams":[{"stream":{"a":"b"},"values":[["1","x"],["1","x"],["1","x"]]}]}`))
	if !errors.As(err, &tooLarge) {
		t.Errorf("three entries: %v", err)
	}
	_, err = d.JSON([]byte(`{"streams":[{},{},{}]}`))
	if !errors.As(err, &tooLarge) {
		t.Errorf("three streams: %v", err)
	}
}

func TestRefusedMessageGroups(t *testing.T) {
	p, err := testDecoder(func(l *Limits) { l.MaxLine = 2 }).JSON([]byte(
		`{"streams":[{"stream":{"a":"b"},"values":[["1","xxx"],["2","yyy"],["9000000000000000000","z"]]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := "2 entries refused (line_too_long), the first: max entry size 2 bytes exceeded for stream '{a=\"b\"}' while adding an entry with length 3 bytes\n" +
		"1 entries refused (too_far_in_future), the first: entry for stream '{a=\"b\"}' has timestamp too new: 2255-03-14T16:00:00Z"
	if got := p.RefusedMessage(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestServiceName(t *testing.T) {
	d := testDecoder(func(l *Limits) { l.ServiceNameLabels = nil })
	for in, want := range map[string]string{
		`{}`:                          `{service_name="unknown_service"}`,
		`{x="y"}`:                     `{service_name="unknown_service", x="y"}`,
		`{job="j",app="a"}`:           `{app="a", job="j", service_name="a"}`,
		`{container="c"}`:             `{container="c", service_name="c"}`,
		`{service_name="s",app="a"}`:  `{app="a", service_name="s"}`,
		`{service_name="",app="app"}`: `{app="app", service_name="app"}`,
	} {
		info, err := d.protoStreamInfo([]byte(in))
		if err != nil || info.labels.String() != want || info.refused != "" {
			t.Errorf("%s became %s (%s, %v), want %s", in, info.labels, info.refused, err, want)
		}
	}
}

// TestServiceNameOrder finds every label of Loki's list, and of two the one
// that comes first in it.
func TestServiceNameOrder(t *testing.T) {
	names := []string{
		"service", "app", "application", "app_name", "name", "app_kubernetes_io_name", "container", "container_name",
		"k8s_container_name", "component", "workload", "job", "k8s_job_name",
	}
	d := testDecoder(func(l *Limits) { l.ServiceNameLabels = nil })
	for i, first := range names {
		for j, second := range names {
			ls := labels.FromMap(map[string]string{first: "v" + first, second: "v" + second, "zone": "x"})
			want := "v" + names[min(i, j)]
			if got := d.newStream(ls).labels.Get("service_name"); got != want {
				t.Errorf("%s became %s, want %s", ls, got, want)
			}
		}
	}
	d = testDecoder(func(l *Limits) { l.ServiceNameLabels = []string{"team", "app"} })
	for in, want := range map[string]string{`{app="a",team="t"}`: "t", `{app="a"}`: "a", `{job="j"}`: "unknown_service", `{service_name="s",team="t"}`: "s"} {
		info, err := d.protoStreamInfo([]byte(in))
		if err != nil || info.labels.Get("service_name") != want {
			t.Errorf("%s: %s, %v; want %s", in, info.labels, err, want)
		}
	}
}

func TestStreamCacheIsBounded(t *testing.T) {
	c := newStreamCache()
	keep := &streamInfo{}
	c.put("keep", keep)
	for i := range 10 * maxCachedStreams {
		c.put(fmt.Sprint(i), &streamInfo{})
		if i%100 == 0 && c.get([]byte("keep")) != keep {
			t.Fatalf("a stream in use was dropped after %d others", i)
		}
	}
	if n := len(c.young) + len(c.old); n > 2*maxCachedStreams {
		t.Errorf("%d streams are kept", n)
	}
	c.put("large", &streamInfo{})
	for i := range 10 {
		c.put(fmt.Sprint(i)+strings.Repeat("x", maxCachedBytes/2), &streamInfo{})
	}
	if n := len(c.young) + len(c.old); n > 8 {
		t.Errorf("%d streams of half the limit are kept", n)
	}
}

// TestJSONAgreesWithEncodingJSON decodes random bodies with both.
func TestJSONAgreesWithEncodingJSON(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	alphabet := []rune("ab\"\\/\n\t\u0001é\u2028😀<{[:,")
	text := func() string {
		r := make([]rune, rnd.IntN(12))
		for i := range r {
			r[i] = alphabet[rnd.IntN(len(alphabet))]
		}
		return string(r)
	}
	type stream struct {
		Stream map[string]string `json:"stream"`
		Values [][2]string       `json:"values"`
	}
	for range 300 {
		var req struct {
			Streams []stream `json:"streams"`
		}
		var want strings.Builder
		for range 1 + rnd.IntN(3) {
			st := stream{Stream: map[string]string{"a": "x" + text()}}
			ls := labels.FromMap(st.Stream)
			for range rnd.IntN(4) {
				v := [2]string{fmt.Sprint(rnd.Int64N(1e18)), text()}
				st.Values = append(st.Values, v)
				fmt.Fprintf(&want, "%s %s %q\n", ls, v[0], v[1])
			}
			req.Streams = append(req.Streams, st)
		}
		body, err := json.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		p, err := testDecoder(nil).JSON(body)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.String(), dump(p)); diff != "" {
			t.Fatal(diff)
		}
	}
}

// FuzzJSON: a body that encoding/json reads as a push is read the same way,
// and no other body may panic.
func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"streams":[{"stream":{"a":"b"},"values":[["1","x",{"m":"v"}]]}]}`))
	f.Add([]byte(`{"streams":[{"values":[["1","\ud83d\ude00"]],"stream":{"a":"b"}}]}`))
	f.Add([]byte(`{"streams":[{"labels":"{a=\"b\"}","entries":[{"ts":"2026-11-22T08:00:00.5Z","line":"x"}]}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		original := append([]byte(nil), body...)
		p, err := testDecoder(func(l *Limits) { l.MaxFuture = -1 }).JSON(body)
		if err != nil {
			return
		}
		defer p.Release()
		if !json.Valid(original) { // skipped values are not checked in detail
			return
		}
		var req struct {
			Streams []struct {
				Values [][]any `json:"values"`
			} `json:"streams"`
		}
		if json.Unmarshal(original, &req) != nil {
			return
		}
		for _, s := range p.Batch.Streams {
			for _, e := range s.Entries {
				_ = e.Line + s.Labels.String() + e.Metadata.String()
			}
		}
	})
}

func FuzzProto(f *testing.F) {
	f.Add(AppendPushRequest(nil, []model.StreamEntries{{
		Labels:  labels.FromStrings("a", "b"),
		Entries: []model.Entry{{Timestamp: 5, Line: "hello", Metadata: labels.FromStrings("k", "v")}},
	}}))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := testDecoder(func(l *Limits) { l.MaxFuture = -1 }).Proto(body)
		if err != nil {
			return
		}
		defer p.Release()
		// What was understood survives another round.
		again, err := testDecoder(func(l *Limits) { l.MaxFuture = -1 }).Proto(AppendPushRequest(nil, p.Batch.Streams))
		if len(p.Batch.Streams) == 0 {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		refused := p.Refused
		p.Refused = nil
		if a, b := dump(p), dump(again); a != b {
			t.Fatalf("%s\nbecame\n%s", a, b)
		}
		p.Refused = refused
	})
}

// benchBody is a push of n entries in ten streams.
func benchStreams(n int) []model.StreamEntries {
	streams := make([]model.StreamEntries, 10)
	for i := range streams {
		streams[i].Labels = labels.FromStrings("app", fmt.Sprintf("app-%d", i), "namespace", "default", "pod", "pod-abc", "container", "main")
		for j := range n / 10 {
			streams[i].Entries = append(streams[i].Entries, model.Entry{
				Timestamp: testNow.UnixNano() + int64(j),
				Line:      fmt.Sprintf(`ts=2026-11-22T09:16:49.123456Z level=info caller=main.go:10 msg="request served" status=200 duration=12ms id=%d`, j),
			})
		}
	}
	return streams
}

func BenchmarkProto(b *testing.B) {
	const n = 10000
	body := AppendPushRequest(nil, benchStreams(n))
	for name, noLevels := range map[string]bool{"levels": false, "plain": true} {
		b.Run(name, func(b *testing.B) {
			l := DefaultLimits()
			l.NoLevels = noLevels
			d := NewDecoder(l, func() time.Time { return testNow })
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			start := cpuTime()
			for b.Loop() {
				p, err := d.Proto(body)
				if err != nil {
					b.Fatal(err)
				}
				p.Release()
			}
			b.ReportMetric(float64(cpuTime()-start)/float64(b.N)/n, "cpu-ns/line")
		})
	}
}

// TestProtoAllocations keeps the hot path free of allocations per line.
func TestProtoAllocations(t *testing.T) {
	body := AppendPushRequest(nil, benchStreams(1000))
	d := NewDecoder(DefaultLimits(), func() time.Time { return testNow })
	n := testing.AllocsPerRun(20, func() {
		p, err := d.Proto(body)
		if err != nil {
			t.Fatal(err)
		}
		p.Release()
	})
	if n > 50 { // 1000 lines in 10 streams
		t.Errorf("%.0f allocations for 1000 lines", n)
	}
}

// golden compares got with a file in testdata, or rewrites it with -update.
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
