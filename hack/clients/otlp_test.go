package clients

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/trace"
)

// exporter is the SDK's exporter of logs over HTTP, sending to the collector.
func (c *collector) exporter(compression otlploghttp.Compression) *otlploghttp.Exporter {
	c.t.Helper()
	e, err := otlploghttp.New(context.Background(),
		otlploghttp.WithEndpointURL(c.url+"/otlp/v1/logs"), otlploghttp.WithCompression(compression))
	if err != nil {
		c.t.Fatal(err)
	}
	return e
}

// TestOpenTelemetry logs through the OpenTelemetry SDK and looks at what
// arrives: labels of the resource, metadata of everything else.
func TestOpenTelemetry(t *testing.T) {
	c := start(t)
	for name, compression := range map[string]otlploghttp.Compression{"plain": otlploghttp.NoCompression, "gzip": otlploghttp.GzipCompression} {
		t.Run(name, func(t *testing.T) {
			c := &collector{t, c.url}
			provider := sdklog.NewLoggerProvider(
				sdklog.WithProcessor(sdklog.NewSimpleProcessor(c.exporter(compression))),
				sdklog.WithResource(resource.NewSchemaless(
					attribute.String("service.name", "shop-"+name), attribute.String("k8s.namespace.name", "prod"),
					attribute.String("host.name", "node-1"), attribute.Int("process.pid", 7),
				)))
			logger := provider.Logger("cart", log.WithInstrumentationVersion("1.2.3"), log.WithInstrumentationAttributes(attribute.String("team", "web")))

			at := time.Now().Add(-time.Minute).Truncate(time.Microsecond)
			traced := trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
				TraceID: trace.TraceID{0x5b, 0x8a, 15: 0xf2}, SpanID: trace.SpanID{0x5f, 7: 0x51}, TraceFlags: trace.FlagsSampled,
			}))
			r := record(at, "order placed")
			r.SetObservedTimestamp(at.Add(time.Second))
			r.SetSeverity(log.SeverityError)
			r.SetSeverityText("ERROR")
			r.AddAttributes(attribute.String("http.method", "POST"), attribute.Int("status", 500), attribute.Bool("retry", true), attribute.Float64("took", 0.25),
				attribute.Map("user", attribute.String("id", "u1")), attribute.Slice("tags", attribute.StringValue("a"), attribute.IntValue(2)))
			logger.Emit(traced, r)
			logger.Emit(context.Background(), record(at.Add(time.Millisecond), "level=warn no severity"))
			m := record(at.Add(2*time.Millisecond), "")
			m.SetBody(attribute.MapValue(attribute.String("event", "stock"), attribute.Int("left", 3)))
			logger.Emit(context.Background(), m)
			if err := provider.Shutdown(context.Background()); err != nil {
				t.Fatal(err)
			}

			got := c.query(`{service_name="shop-`+name+`"}`, at, at.Add(time.Minute))
			if len(got) != 3 {
				t.Fatalf("%d entries arrived: %+v", len(got), got)
			}
			sameLabels(t, "stream", got[0].stream, map[string]string{"service_name": "shop-" + name, "k8s_namespace_name": "prod"})
			common := map[string]string{
				"host_name": "node-1", "process_pid": "7", "scope_name": "cart", "scope_version": "1.2.3", "team": "web",
			}
			for i, want := range []struct {
				line     string
				metadata map[string]string
			}{
				{"order placed", map[string]string{
					"http_method": "POST", "status": "500", "retry": "true", "took": "0.25", "user_id": "u1", "tags": `["a",2]`,
					"trace_id": "5b8a00000000000000000000000000f2", "span_id": "5f00000000000051", "flags": "1",
					"severity_number": "17", "severity_text": "ERROR", "detected_level": "error",
					"observed_timestamp": strconv.FormatInt(at.Add(time.Second).UnixNano(), 10),
				}},
				{"level=warn no severity", map[string]string{"detected_level": "warn"}},
				{`{"event":"stock","left":3}`, map[string]string{"detected_level": "unknown"}},
			} {
				e := got[i]
				if e.line != want.line || e.at != at.Add(time.Duration(i)*time.Millisecond).UnixNano() {
					t.Errorf("entry %d: %d %q, want %q", i, e.at, e.line, want.line)
				}
				maps.Copy(want.metadata, common)
				// The SDK itself stamps the time at which it saw a record.
				sameLabels(t, "metadata of "+want.line, e.metadata, want.metadata, "observed_timestamp")
			}
			if got := c.query(`{service_name="shop-`+name+`"} | trace_id="5b8a00000000000000000000000000f2"`, at, at.Add(time.Minute)); len(got) != 1 {
				t.Errorf("by trace id: %d entries", len(got))
			}
		})
	}
}

// TestOpenTelemetryBatches exports many records in batches, as services do.
func TestOpenTelemetryBatches(t *testing.T) {
	c := start(t)
	provider := sdklog.NewLoggerProvider(
		sdklog.WithProcessor(sdklog.NewBatchProcessor(c.exporter(otlploghttp.GzipCompression), sdklog.WithExportMaxBatchSize(100))),
		sdklog.WithResource(resource.NewSchemaless(attribute.String("service.name", "batches"))))
	logger := provider.Logger("")
	at := time.Now().Add(-time.Minute)
	const n = 1000
	for i := range n {
		logger.Emit(context.Background(), record(at.Add(time.Duration(i)*time.Microsecond), "line "+strconv.Itoa(i)))
	}
	if err := provider.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	got := c.query(`{service_name="batches"}`, at, at.Add(time.Minute))
	if len(got) != n {
		t.Fatalf("%d entries, want %d", len(got), n)
	}
	for i, e := range got {
		if e.line != "line "+strconv.Itoa(i) {
			t.Fatalf("entry %d: %q", i, e.line)
		}
	}
}

// TestOpenTelemetryRetries: the exporter tries again on 503 and stops on 400.
func TestOpenTelemetryRetries(t *testing.T) {
	c := start(t)
	target, err := url.Parse(c.url)
	if err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int32
	forward := httputil.NewSingleHostReverseProxy(target)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 { // as the collector answers while it starts
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	e, err := otlploghttp.New(context.Background(), otlploghttp.WithEndpointURL(proxy.URL+"/otlp/v1/logs"),
		otlploghttp.WithRetry(otlploghttp.RetryConfig{
			Enabled: true, InitialInterval: time.Millisecond, MaxInterval: 10 * time.Millisecond, MaxElapsedTime: patience,
		}))
	if err != nil {
		t.Fatal(err)
	}
	export := func(r log.Record) error {
		var exported error
		provider := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewSimpleProcessor(exporterFunc(func(ctx context.Context, rs []sdklog.Record) error {
			exported = e.Export(ctx, rs)
			return exported
		}))), sdklog.WithResource(resource.NewSchemaless(attribute.String("service.name", "again"))))
		provider.Logger("").Emit(context.Background(), r)
		return exported
	}
	at := time.Now()
	if err := export(record(at, "arrives at the second try")); err != nil || calls.Load() != 2 {
		t.Errorf("after %d calls: %v", calls.Load(), err)
	}
	if got := c.query(`{service_name="again"}`, at, at.Add(time.Second)); len(got) != 1 {
		t.Errorf("%d entries", len(got))
	}
	// What cannot ever be stored is not sent again; whether the answer is 400
	// or a partial success is the exporter's to tell.
	calls.Store(10)
	if err := export(record(at, strings.Repeat("too long ", 100_000))); calls.Load() != 11 {
		t.Errorf("%d calls: %v", calls.Load()-10, err)
	}
	if err := e.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

// exporterFunc is an exporter in place.
type exporterFunc func(context.Context, []sdklog.Record) error

func (f exporterFunc) Export(ctx context.Context, rs []sdklog.Record) error { return f(ctx, rs) }
func (f exporterFunc) Shutdown(context.Context) error                       { return nil }
func (f exporterFunc) ForceFlush(context.Context) error                     { return nil }

func record(at time.Time, line string) log.Record {
	var r log.Record
	r.SetTimestamp(at)
	r.SetBody(attribute.StringValue(line))
	return r
}
