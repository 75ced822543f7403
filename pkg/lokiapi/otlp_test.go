package lokiapi

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// otlpBody marshals logs as protobuf.
func otlpBody(t testing.TB, logs plog.Logs) []byte {
	t.Helper()
	body, err := (&plog.ProtoMarshaler{}).MarshalLogs(logs)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// collectOTLP decodes a body and prints what came, like dump.
func collectOTLP(decode func([]byte, func(*model.Batch) error) (*Push, error), body []byte) (string, *Push, error) {
	var b strings.Builder
	p, err := decode(body, func(batch *model.Batch) error {
		b.WriteString(dump(&Push{Batch: *batch}))
		return nil
	})
	if err != nil {
		return "", nil, err
	}
	b.WriteString(dump(p))
	return b.String(), p, nil
}

// TestOTLP decodes testdata/otlp/*.json as JSON and as protobuf, with the
// defaults and, for files named so, with other settings.
func TestOTLP(t *testing.T) {
	files, err := filepath.Glob("testdata/otlp/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	changes := map[string]func(*Limits){
		"rules": func(l *Limits) {
			l.OTLP = OTLPConfig{
				SeverityTextAsLabel: true,
				ResourceAttributes: OTLPResourceConfig{Rules: []OTLPRule{
					{Action: OTLPDrop, Attributes: []string{"service.instance.id"}},
					{Action: OTLPLabel, Regex: `team\..*`},
					{Action: OTLPMetadata, Attributes: []string{"team.id"}},
				}},
				ScopeAttributes: []OTLPRule{{Action: OTLPDrop, Regex: ".*secret.*"}},
				LogAttributes:   []OTLPRule{{Action: OTLPLabel, Attributes: []string{"tenant"}}, {Action: OTLPDrop, Regex: "noise.*"}},
			}
		},
		"no-defaults": func(l *Limits) { l.OTLP.ResourceAttributes.IgnoreDefaults = true },
		"no-discovery": func(l *Limits) {
			l.ServiceNameLabels = []string{}
			l.NoLevels = true
			l.OTLP.ResourceAttributes.IgnoreDefaults = true
		},
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			logs, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(body)
			if err != nil {
				t.Fatal(err)
			}
			d := testDecoder(func(l *Limits) {
				l.NoLevels, l.ServiceNameLabels = false, nil
				if change := changes[name]; change != nil {
					change(l)
				}
			})
			fromProto, p, err := collectOTLP(d.OTLP, otlpBody(t, logs))
			if err != nil {
				t.Fatal(err)
			}
			p.Release()
			golden(t, "otlp/"+name+".golden", fromProto)
			fromJSON, _, err := collectOTLP(d.OTLPJSON, body)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(fromProto, fromJSON); diff != "" {
				t.Errorf("JSON differs from protobuf:\n%s", diff)
			}
		})
	}
}

func TestOTLPRefuses(t *testing.T) {
	field := func(num protowire.Number, parts ...[]byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), bytes.Join(parts, nil))
	}
	record := func(parts ...[]byte) []byte { return field(1, field(2, field(2, parts...))) }
	deep := func(kind protowire.Number) []byte {
		var v []byte
		for range maxOTLPDepth + 10 {
			if kind == valueArray {
				v = field(valueArray, field(1, v))
			} else {
				v = field(valueMap, field(1, field(1, []byte("k")), field(2, v)))
			}
		}
		return v
	}
	for name, tt := range map[string]struct {
		body []byte
		want string
	}{
		"nothing":              {nil, ErrNoStreams.Error()},
		"no record":            {field(1, field(2)), ErrNoStreams.Error()},
		"text":                 {[]byte("hello"), "invalid protobuf in ExportLogsServiceRequest"},
		"cut":                  {record(field(5, field(1, []byte("x"))))[:7], "invalid protobuf"},
		"wrong type":           {record(protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 5)), "wrong wire type"},
		"short trace id":       {record(field(9, []byte("abc"))), "an id has 3 bytes, not 16"},
		"short span id":        {record(field(10, []byte("abc"))), "an id has 3 bytes, not 8"},
		"deep body, arrays":    {record(field(5, deep(valueArray))), "nested deeper than 64"},
		"deep body, maps":      {record(field(5, deep(valueMap))), "nested deeper than 64"},
		"deep attribute":       {record(field(6, field(1, []byte("k")), field(2, deep(valueMap)))), "nested deeper than 64"},
		"broken attribute":     {record(field(6, []byte{0xff})), "invalid protobuf in KeyValue"},
		"broken value":         {record(field(6, field(2, []byte{0xff}))), "invalid protobuf in AnyValue"},
		"broken resource":      {field(1, field(1, []byte{0xff}), field(2, field(2))), "invalid protobuf in Resource"},
		"broken scope":         {field(1, field(2, field(1, []byte{0xff}), field(2))), "invalid protobuf in InstrumentationScope"},
		"broken map in a body": {record(field(5, field(valueMap, []byte{0xff}))), "invalid protobuf in KeyValueList"},
	} {
		_, _, err := collectOTLP(testDecoder(nil).OTLP, tt.body)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %s", name, err, tt.want)
		}
	}
	for body, want := range map[string]string{
		``:                   "invalid JSON",
		`{"resourceLogs":5}`: "invalid JSON",
		`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"zz"}]}]}]}`: "invalid JSON",
		`{"resourceLogs":[]}`:        ErrNoStreams.Error(),
		`{}`:                         ErrNoStreams.Error(),
		strings.Repeat(`{"a":`, 300): "nested deeper than 256",
		`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}}]}]}]`: "invalid JSON",
	} {
		_, _, err := collectOTLP(testDecoder(nil).OTLPJSON, []byte(body))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", cut(body), err, want)
		}
	}
}

// TestOTLPLimits refuses single records and stores the others.
func TestOTLPLimits(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(plog.LogRecord)
		want   Reason
	}{
		{"fine", func(plog.LogRecord) {}, ""},
		{"long line", func(r plog.LogRecord) { r.Body().SetStr(strings.Repeat("x", 256<<10+1)) }, ReasonLineTooLong},
		{"long map", func(r plog.LogRecord) {
			r.Body().SetEmptyMap().PutStr("k", strings.Repeat("x", 256<<10))
		}, ReasonLineTooLong},
		{"map of many", func(r plog.LogRecord) {
			many := map[string]any{}
			for i := range 60000 {
				many[fmt.Sprint(i)] = 1
			}
			if err := r.Body().SetEmptyMap().FromRaw(many); err != nil {
				t.Error(err)
			}
		}, ReasonLineTooLong},
		{"future", func(r plog.LogRecord) { r.SetTimestamp(1 << 63) }, ReasonTooFarInFuture},
		{"many attributes", func(r plog.LogRecord) {
			for i := range 130 {
				r.Attributes().PutInt(fmt.Sprint("k", i), 1)
			}
		}, ReasonMetadataTooMany},
		{"nested attributes", func(r plog.LogRecord) {
			m := r.Attributes().PutEmptyMap("m")
			for i := range 130 {
				m.PutBool(fmt.Sprint("k", i), true)
			}
		}, ReasonMetadataTooMany},
		{"large attribute", func(r plog.LogRecord) { r.Attributes().PutStr("k", strings.Repeat("x", 64<<10)) }, ReasonMetadataTooLarge},
		{"large attribute of bytes", func(r plog.LogRecord) {
			r.Attributes().PutEmptyBytes("k").FromRaw(make([]byte, 50<<10))
		}, ReasonMetadataTooLarge},
		{"large attribute of an array", func(r plog.LogRecord) {
			s := r.Attributes().PutEmptySlice("k")
			for range 10 {
				s.AppendEmpty().SetStr(strings.Repeat("x", 10<<10))
			}
		}, ReasonMetadataTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			logs := plog.NewLogs()
			records := logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
			for range 2 {
				records.AppendEmpty().Body().SetStr("good")
			}
			tt.change(records.At(0))
			out, p, err := collectOTLP(testDecoder(func(l *Limits) { l.ServiceNameLabels = nil }).OTLP, otlpBody(t, logs))
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == "" {
				if p.Entries != 2 || len(p.Refused) > 0 {
					t.Error(out)
				}
			} else if p.Entries != 1 || len(p.Refused) != 1 || p.Refused[0].Reason != tt.want {
				t.Errorf("want %s: %.500s", tt.want, out)
			}
		})
	}
}

// TestOTLPTruncates cuts the text of a body of any kind.
func TestOTLPTruncates(t *testing.T) {
	for name, change := range map[string]func(pcommon.Value){
		"text":  func(v pcommon.Value) { v.SetStr(strings.Repeat("x", 200)) },
		"array": func(v pcommon.Value) { v.SetEmptySlice().AppendEmpty().SetStr(strings.Repeat("x", 200)) },
		"map": func(v pcommon.Value) {
			m := v.SetEmptyMap()
			for i := range 50 {
				m.PutInt(fmt.Sprint("key", i), 1)
			}
		},
	} {
		logs := plog.NewLogs()
		change(logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().Body())
		d := testDecoder(func(l *Limits) {
			l.ServiceNameLabels, l.MaxLine, l.TruncateLines, l.TruncateMarker = nil, 100, true, "..."
		})
		_, err := d.OTLP(otlpBody(t, logs), func(b *model.Batch) error {
			if line := b.Streams[0].Entries[0].Line; len(line) > 100 || !strings.HasSuffix(line, "...") || strings.Contains(line, "\x00") {
				t.Errorf("%s: %q", name, line)
			}
			return nil
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOTLPParts repeats large attributes in many records: they come in parts,
// each of a bounded size, and an error ends it.
func TestOTLPParts(t *testing.T) {
	logs := plog.NewLogs()
	rl := logs.ResourceLogs().AppendEmpty()
	rl.Resource().Attributes().PutStr("large", strings.Repeat("x", 60<<10))
	records := rl.ScopeLogs().AppendEmpty().LogRecords()
	const total = 1000
	for i := range total {
		records.AppendEmpty().Body().SetStr(fmt.Sprint("line ", i, strings.Repeat(".", 1000)))
	}
	body := otlpBody(t, logs)
	d := testDecoder(func(l *Limits) { l.ServiceNameLabels = nil })
	parts, next := 0, 0
	p, err := d.OTLP(body, func(b *model.Batch) error {
		parts++
		size := 0
		for _, s := range b.Streams {
			for _, e := range s.Entries {
				if want := fmt.Sprint("line ", next); !strings.HasPrefix(e.Line, want) {
					t.Fatalf("entry %q, want %q", e.Line, want)
				}
				next++
				size += len(e.Metadata.Get("large"))
			}
		}
		if size > OTLPPart+64<<10 {
			t.Errorf("a part of %d bytes", size)
		}
		return nil
	})
	if err != nil || p.Entries != total || next != total || parts < 20 {
		t.Fatalf("%d parts with %d entries, error %v", parts, next, err)
	}
	for range 100_000 {
		records.AppendEmpty()
	}
	var tooLarge *TooLargeError
	stored := 0
	_, err = d.OTLP(otlpBody(t, logs), func(b *model.Batch) error {
		for _, s := range b.Streams {
			stored += len(s.Entries)
		}
		return nil
	})
	if !errors.As(err, &tooLarge) || stored > 10_000 {
		t.Errorf("%d records of nothing are stored, error %v", stored, err)
	}
	full := errors.New("full")
	if _, err := d.OTLP(body, func(*model.Batch) error { return full }); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
}

func TestOTLPName(t *testing.T) {
	for in, want := range map[string]string{
		"a": "a", "a.b": "a_b", "1x": "key_1x", "http.x.y": "http_x_y", "ünï": "_n_", "_a": "_a", "a..b": "a__b", "": "", "9": "key_9", "\xff": "_",
	} {
		if got := OTLPName(in); got != want {
			t.Errorf("OTLPName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestOTLPConfigValidate(t *testing.T) {
	c := OTLPConfig{
		ResourceAttributes: OTLPResourceConfig{Rules: []OTLPRule{{Action: "keep", Attributes: []string{"a"}}, {Action: OTLPDrop}}},
		ScopeAttributes:    []OTLPRule{{Action: OTLPLabel, Attributes: []string{"a"}}},
		LogAttributes:      []OTLPRule{{Action: OTLPDrop, Regex: "("}, {Action: OTLPDrop, Regex: "a", Attributes: []string{"b"}}},
	}
	want := `resource_attributes.attributes_config[0]: unknown action "keep": use index_label, structured_metadata or drop
resource_attributes.attributes_config[1]: give either attributes or regex
scope_attributes[0]: attributes of a scope cannot become labels: use structured_metadata or drop
log_attributes[0]: error parsing regexp: missing closing ): ` + "`^(?:()$`" + `
log_attributes[1]: give either attributes or regex`
	if err := c.Validate(); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	if err := (&OTLPConfig{}).Validate(); err != nil {
		t.Error(err)
	}
}

// pdataText is what OpenTelemetry's own package makes of a request, in a form
// that collected entries can be compared with: lines and their metadata.
func pdataText(logs plog.Logs) []string {
	var out []string
	for _, rl := range logs.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, r := range sl.LogRecords().All() {
				b := labels.NewBuilder(labels.EmptyLabels())
				set := func(name, value string) {
					if value = strings.ToValidUTF8(value, ""); value != "" && value != "0" && b.Get(name) == "" {
						b.Set(name, value)
					}
				}
				set("scope_name", sl.Scope().Name())
				set("scope_version", sl.Scope().Version())
				pdataAttributes(b, "", sl.Scope().Attributes())
				pdataAttributes(b, "", rl.Resource().Attributes())
				set("severity_text", r.SeverityText())
				set("severity_number", fmt.Sprint(int32(r.SeverityNumber())))
				set("flags", fmt.Sprint(uint32(r.Flags())))
				set("trace_id", r.TraceID().String())
				set("span_id", r.SpanID().String())
				set("event_name", r.EventName())
				pdataAttributes(b, "", r.Attributes())
				out = append(out, fmt.Sprintf("%q %s", r.Body().AsString(), b.Labels()))
			}
		}
	}
	return out
}

func pdataAttributes(b *labels.Builder, prefix string, m pcommon.Map) {
	for k, v := range m.All() {
		if k == "" && prefix == "" {
			continue
		}
		name := OTLPName(prefix + k)
		if v.Type() == pcommon.ValueTypeMap {
			pdataAttributes(b, name+"_", v.Map())
		} else if text := strings.ToValidUTF8(v.AsString(), ""); text != "" && b.Get(name) == "" {
			b.Set(name, text)
		}
	}
}

// FuzzOTLP decodes any bytes: no panic, a known error, and lines and metadata
// as OpenTelemetry's package reads them.
func FuzzOTLP(f *testing.F) {
	files, err := filepath.Glob("testdata/otlp/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		logs, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(otlpBody(f, logs))
	}
	d := testDecoder(func(l *Limits) {
		l.ServiceNameLabels, l.MaxFuture = nil, -1
		l.OTLP.ResourceAttributes.IgnoreDefaults = true
		l.MaxMetadataPairs = 1 << 20
	})
	f.Fuzz(func(t *testing.T, body []byte) {
		var got []string
		p, err := d.OTLP(body, func(b *model.Batch) error {
			for _, s := range b.Streams {
				for _, e := range s.Entries {
					mb := labels.NewBuilder(e.Metadata)
					mb.Del("observed_timestamp", "dropped_attributes_count", "scope_dropped_attributes_count", "resource_dropped_attributes_count")
					got = append(got, fmt.Sprintf("%q %s", e.Line, mb.Labels()))
				}
			}
			return nil
		})
		if err != nil {
			var proto *ProtoError
			if !errors.As(err, &proto) && !errors.Is(err, ErrNoStreams) {
				t.Fatalf("error %v", err)
			}
			return
		}
		p.Release()
		logs, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(body)
		if err != nil || !utf8.Valid(body) || bytes.Contains(body, []byte("dropped_attributes")) || bytes.Contains(body, []byte("observed")) {
			return // the two differ in what they forgive
		}
		if diff := cmp.Diff(pdataText(logs), got); diff != "" && len(p.Refused) == 0 {
			t.Errorf("differs from pdata: %s", diff)
		}
	})
}

func FuzzOTLPJSON(f *testing.F) {
	files, err := filepath.Glob("testdata/otlp/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	d := testDecoder(nil)
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := d.OTLPJSON(body, func(*model.Batch) error { return nil })
		if err != nil {
			var proto *ProtoError
			var syntax *SyntaxError
			if !errors.As(err, &proto) && !errors.As(err, &syntax) && !errors.Is(err, ErrNoStreams) {
				t.Fatalf("error %v", err)
			}
			return
		}
		p.Release()
	})
}

func BenchmarkOTLP(b *testing.B) {
	logs := plog.NewLogs()
	rl := logs.ResourceLogs().AppendEmpty()
	for _, k := range []string{"service.name", "k8s.namespace.name", "k8s.pod.name", "k8s.node.name", "host.arch", "process.pid"} {
		rl.Resource().Attributes().PutStr(k, "value-of-"+k)
	}
	sl := rl.ScopeLogs().AppendEmpty()
	sl.Scope().SetName("github.com/example/logger")
	const records = 1000
	for i := range records {
		r := sl.LogRecords().AppendEmpty()
		r.SetTimestamp(pcommon.Timestamp(testNow.UnixNano()))
		r.SetSeverityNumber(9)
		r.SetSeverityText("INFO")
		r.Body().SetStr("request served by the handler of things and other things")
		r.Attributes().PutStr("http.method", "GET")
		r.Attributes().PutInt("http.status_code", int64(200+i%4))
		r.SetTraceID([16]byte{1, byte(i), 3})
	}
	body := otlpBody(b, logs)
	d := testDecoder(func(l *Limits) { l.NoLevels, l.ServiceNameLabels = false, nil })
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	start := cpuTime()
	for b.Loop() {
		p, err := d.OTLP(body, func(*model.Batch) error { return nil })
		if err != nil || p.Entries != records {
			b.Fatal(err)
		}
		p.Release()
	}
	b.ReportMetric(float64(cpuTime()-start)/float64(b.N)/records, "cpu-ns/line")
}
