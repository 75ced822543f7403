// Package corpus generates log lines for tests and benchmarks: JSON, logfmt,
// access logs of nginx and of an Istio sidecar, klog, Java and PostgreSQL, as
// pods write them. About 12 % of the bytes are random identifiers, which no
// compression can remove, and every line carries the time of its entry in the
// manner of its family. The same seed gives the same lines on every machine and
// with every Go release.
//
// [Generator] makes lines, [Mix] a set of streams in the proportions of a small
// cluster. The package is for tests only and knows nothing of the store.
package corpus

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// Kind is a family of lines.
type Kind uint8

// The families, with the average length of their lines in bytes.
const (
	JSON     Kind = iota // a service with nested request fields, 390
	Logfmt               // a Go service, 255
	Nginx                // combined access log, 265
	Istio                // Envoy's default access log, 300
	Klog                 // a Kubernetes controller, 225
	Java                 // Spring style with trace ids, 120
	Postgres             // a database server's log, 135

	NumKinds = int(Postgres) + 1
)

var kindNames = [NumKinds]string{"json", "logfmt", "nginx", "istio", "klog", "java", "postgres"}

// String is the family's name in lower case.
func (k Kind) String() string { return kindNames[k] }

// Start is the time at which a Generator's own clock begins: 2026-11-20 00:00 UTC.
const Start = int64(1795132800_000000000)

// Generator makes lines. It is used by one goroutine at a time.
type Generator struct {
	rng *rand.Rand
	now int64
	buf []byte
	seq [NumKinds]uint64
}

// New returns a generator with the given seed.
func New(seed uint64) *Generator {
	return &Generator{rng: rand.New(rand.NewPCG(seed, 0x6c6f67737461636b)), now: Start}
}

// Line returns one line of the family, without newline. The generator's clock
// advances by 100 ms on average.
func (g *Generator) Line(k Kind) string {
	g.now += g.rng.Int64N(200e6) + 1
	g.buf = g.AppendLine(g.buf[:0], k, g.now)
	return string(g.buf)
}

// Now is the time of the line that Line returned last, in nanoseconds.
func (g *Generator) Now() int64 { return g.now }

// Fill returns n lines of one family and their times, evenly spread with jitter
// from start over span nanoseconds, in time order.
func (g *Generator) Fill(k Kind, n int, start, span int64) (times []int64, lines []string) {
	times = make([]int64, n)
	lines = make([]string, n)
	step := max(span/int64(max(n, 1)), 1)
	for i := range n {
		times[i] = start + int64(i)*step + g.rng.Int64N(step)
		g.buf = g.AppendLine(g.buf[:0], k, times[i])
		lines[i] = string(g.buf)
	}
	return times, lines
}

// AppendLine appends a line of family k for an entry of time ts (nanoseconds).
func (g *Generator) AppendLine(dst []byte, k Kind, ts int64) []byte {
	g.seq[k]++
	t := time.Unix(0, ts).UTC()
	switch k {
	case JSON:
		return g.json(dst, t)
	case Logfmt:
		return g.logfmt(dst, t)
	case Nginx:
		return g.nginx(dst, t)
	case Istio:
		return g.istio(dst, t)
	case Klog:
		return g.klog(dst, t)
	case Java:
		return g.java(dst, t)
	default:
		return g.postgres(dst, t)
	}
}

var (
	methods  = []string{"GET", "GET", "GET", "GET", "POST", "PUT", "DELETE"}
	paths    = []string{"/api/v1/payments/%d", "/api/v1/orders/%d", "/api/v2/cart", "/healthz", "/api/v1/users/%d/profile", "/static/app.js", "/checkout", "/api/v1/search?q=%d&page=2"}
	statuses = []int{200, 200, 200, 200, 200, 200, 201, 204, 304, 404, 500, 503}
	agents   = []string{"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0 Safari/537.36", "curl/8.9.1", "kube-probe/1.36", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile/15E148", "Go-http-client/2.0"}
	messages = []string{"request completed", "payment authorised", "order created", "cache miss, loading from database", "retrying upstream call", "session refreshed", "request failed: upstream timed out", "connection reset by peer"}
	levels   = []string{"info", "info", "info", "info", "info", "debug", "warn", "error"}
	callers  = []string{"server/handler.go:112", "payment/client.go:87", "order/service.go:241", "cache/redis.go:55", "session/store.go:30"}
	kinds    = []string{"Deployment", "ReplicaSet", "Pod", "Service", "ConfigMap"}
	objects  = []string{"shop/frontend", "shop/checkout", "payments/api", "monitoring/agent", "kube-system/coredns", "batch/nightly-report"}
	classes  = []string{"c.e.orders.OrderService", "c.e.orders.KafkaListener", "o.s.web.servlet.DispatcherServlet", "c.e.ledger.LedgerWriter", "o.h.engine.jdbc.spi.SqlExceptionHelper"}
	javaMsgs = []string{"Order %d accepted for customer %d", "Committed offset %d in %d ms", "Completed initialization in %d ms, %d beans", "Ledger entry %d written to segment %d", "could not execute statement; retry %d of %d"}
	threads  = []string{"http-nio-8080-exec-%d", "kafka-listener-%d", "scheduling-%d"}
	tables   = []string{"orders", "customers", "payments", "ledger_entries", "sessions"}
)

func pick[T any](g *Generator, s []T) T { return s[g.rng.IntN(len(s))] }

const hexDigits = "0123456789abcdef"

func (g *Generator) hex(dst []byte, n int) []byte {
	for range n {
		dst = append(dst, hexDigits[g.rng.IntN(16)])
	}
	return dst
}

func (g *Generator) uuid(dst []byte) []byte {
	for i, n := range [...]int{8, 4, 4, 4, 12} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = g.hex(dst, n)
	}
	return dst
}

func (g *Generator) ip(dst []byte) []byte {
	return fmt.Appendf(dst, "10.%d.%d.%d", g.rng.IntN(4), g.rng.IntN(32), 1+g.rng.IntN(250))
}

func (g *Generator) path(dst []byte) []byte {
	p := pick(g, paths)
	for i := 0; i < len(p); i++ {
		if p[i] == '%' {
			dst = strconv.AppendInt(dst, int64(g.rng.IntN(100000)), 10)
			i++
			continue
		}
		dst = append(dst, p[i])
	}
	return dst
}

// millis is a latency with three decimals, small ones being frequent.
func (g *Generator) millis(dst []byte) []byte {
	v := g.rng.IntN(1 << (6 + g.rng.IntN(12)))
	return fmt.Appendf(dst, "%d.%03d", v/1000, v%1000)
}

func (g *Generator) json(dst []byte, t time.Time) []byte {
	dst = append(dst, `{"ts":"`...)
	dst = t.AppendFormat(dst, "2006-01-02T15:04:05.000Z07:00")
	dst = append(append(append(dst, `","level":"`...), pick(g, levels)...), `","logger":"http","caller":"`...)
	dst = append(append(append(append(dst, pick(g, callers)...), `","msg":"`...), pick(g, messages)...), `","trace_id":"`...)
	dst = append(g.hex(dst, 32), `","span_id":"`...)
	dst = append(g.hex(dst, 16), `","request":{"method":"`...)
	dst = append(append(append(dst, pick(g, methods)...), `","path":"`...), g.path(nil)...)
	dst = append(g.ip(append(dst, `","remote":"`...)), `"},"status":`...)
	dst = strconv.AppendInt(dst, int64(pick(g, statuses)), 10)
	dst = g.millis(append(dst, `,"duration_ms":`...))
	dst = strconv.AppendInt(append(dst, `,"bytes":`...), int64(g.rng.IntN(50000)), 10)
	dst = strconv.AppendInt(append(dst, `,"user":"u-`...), int64(1000000+g.rng.IntN(9000000)), 10)
	if g.rng.IntN(3) == 0 {
		dst = strconv.AppendInt(append(dst, `","retry":"`...), int64(g.rng.IntN(4)), 10)
	}
	return append(dst, `"}`...)
}

func (g *Generator) logfmt(dst []byte, t time.Time) []byte {
	dst = t.AppendFormat(append(dst, "ts="...), "2006-01-02T15:04:05.000000Z07:00")
	dst = append(append(append(append(dst, " level="...), pick(g, levels)...), " caller="...), pick(g, callers)...)
	dst = append(append(append(dst, ` msg="`...), pick(g, messages)...), `" method=`...)
	dst = append(append(append(append(dst, pick(g, methods)...), " path="...), g.path(nil)...), " status="...)
	dst = strconv.AppendInt(dst, int64(pick(g, statuses)), 10)
	dst = append(g.millis(append(dst, " duration="...)), "ms trace_id="...)
	dst = append(g.hex(dst, 32), " user=u-"...)
	dst = strconv.AppendInt(dst, int64(1000000+g.rng.IntN(9000000)), 10)
	return strconv.AppendInt(append(dst, " size="...), int64(g.rng.IntN(1<<16)), 10)
}

func (g *Generator) nginx(dst []byte, t time.Time) []byte {
	dst = append(g.ip(dst), " - - ["...)
	dst = t.AppendFormat(dst, "02/Jan/2006:15:04:05 -0700")
	dst = append(append(append(dst, `] "`...), pick(g, methods)...), ' ')
	dst = append(g.path(dst), ` HTTP/1.1" `...)
	dst = strconv.AppendInt(dst, int64(pick(g, statuses)), 10)
	dst = strconv.AppendInt(append(dst, ' '), int64(g.rng.IntN(50000)), 10)
	dst = append(append(append(dst, ` "https://shop.example.com/" "`...), pick(g, agents)...), `" `...)
	dst = fmt.Appendf(dst, "%d.%03d [shop-frontend-80] ", g.rng.IntN(2), g.rng.IntN(1000))
	return g.hex(dst, 32)
}

func (g *Generator) istio(dst []byte, t time.Time) []byte {
	dst = t.AppendFormat(append(dst, '['), "2006-01-02T15:04:05.000Z07:00")
	dst = append(append(append(dst, `] "`...), pick(g, methods)...), ' ')
	dst = append(g.path(dst), ` HTTP/1.1" `...)
	dst = strconv.AppendInt(dst, int64(pick(g, statuses)), 10)
	ms := g.rng.IntN(900)
	dst = fmt.Appendf(dst, ` - via_upstream - "-" %d %d %d %d "-" "`, g.rng.IntN(3000), g.rng.IntN(40000), ms, max(ms-1, 0))
	dst = append(append(dst, pick(g, agents)...), `" "`...)
	dst = append(g.uuid(dst), `" "checkout.shop" "10.1.4.17:8080" inbound|8080|| 127.0.0.6:`...)
	dst = append(strconv.AppendInt(dst, int64(30000+g.rng.IntN(30000)), 10), " 10.1.4.17:8080 "...)
	dst = strconv.AppendInt(append(g.ip(dst), ':'), int64(30000+g.rng.IntN(30000)), 10)
	return append(dst, " outbound_.8080_._.checkout.shop.svc.cluster.local default"...)
}

func (g *Generator) klog(dst []byte, t time.Time) []byte {
	dst = t.AppendFormat(append(dst, "IIIIWE"[g.rng.IntN(6)]), "0102 15:04:05.000000")
	obj := pick(g, objects)
	switch g.rng.IntN(3) {
	case 0:
		dst = append(dst, `       1 controller.go:231] "Reconciling" controller="deployment" controllerGroup="apps" controllerKind="`...)
		dst = append(append(append(append(dst, pick(g, kinds)...), `" object="`...), obj...), `" reconcileID="`...)
		dst = append(g.uuid(dst), `" resourceVersion=`...)
		return strconv.AppendUint(dst, 48_000_000+g.seq[Klog]*3, 10)
	case 1:
		dst = append(dst, `       1 trace.go:236] Trace[`...)
		dst = strconv.AppendInt(dst, int64(g.rng.IntN(1<<30)), 10)
		dst = append(dst, `]: "Update" accept:application/vnd.kubernetes.protobuf,audit-id:`...)
		dst = append(g.uuid(dst), `,client:10.0.0.12,protocol:HTTP/2.0,resource:leases,scope:resource (total time: `...)
		return append(strconv.AppendInt(dst, int64(500+g.rng.IntN(900)), 10), "ms):"...)
	default:
		dst = append(dst, `       1 event.go:389] "Event occurred" object="`...)
		dst = append(append(append(dst, obj...), `" fieldPath="" kind="`...), pick(g, kinds)...)
		dst = append(dst, `" apiVersion="apps/v1" type="Normal" reason="ScalingReplicaSet" message="Scaled up replica set to `...)
		return append(strconv.AppendInt(dst, int64(g.rng.IntN(12)), 10), '"')
	}
}

func (g *Generator) java(dst []byte, t time.Time) []byte {
	dst = t.AppendFormat(dst, "2006-01-02 15:04:05,000")
	dst = append(append(append(dst, "  "...), []string{"INFO ", "INFO ", "INFO ", "WARN ", "ERROR"}[g.rng.IntN(5)]...), " ["...)
	dst = fmt.Appendf(dst, pick(g, threads), g.rng.IntN(16))
	dst = append(g.hex(append(dst, "] ["...), 16), "] "...)
	dst = append(append(dst, pick(g, classes)...), " - "...)
	return fmt.Appendf(dst, pick(g, javaMsgs), g.rng.IntN(1<<20), g.rng.IntN(1<<14))
}

func (g *Generator) postgres(dst []byte, t time.Time) []byte {
	dst = t.AppendFormat(dst, "2006-01-02 15:04:05.000")
	dst = strconv.AppendInt(append(dst, " UTC ["...), int64(2000+g.rng.IntN(60)), 10)
	table := pick(g, tables)
	switch g.rng.IntN(4) {
	case 0:
		dst = g.millis(append(dst, "] LOG:  duration: "...))
		return fmt.Appendf(dst, " ms  statement: SELECT * FROM %s WHERE id = %d", table, g.rng.IntN(1<<22))
	case 1:
		return fmt.Appendf(dst, "] LOG:  checkpoint complete: wrote %d buffers (%d.%d%%); 0 WAL file(s) added, 0 removed, %d recycled; write=%d.%03d s, sync=0.%03d s",
			g.rng.IntN(9000), g.rng.IntN(30), g.rng.IntN(10), g.rng.IntN(9), g.rng.IntN(200), g.rng.IntN(1000), g.rng.IntN(1000))
	case 2:
		return fmt.Appendf(dst, `] ERROR:  duplicate key value violates unique constraint "%s_pkey" DETAIL:  Key (id)=(%d) already exists.`, table, g.rng.IntN(1<<22))
	default:
		return fmt.Appendf(dst, `] LOG:  automatic vacuum of table "shop.public.%s": index scans: %d, pages: 0 removed, %d remain`, table, g.rng.IntN(3), g.rng.IntN(1<<16))
	}
}

// Stream is one stream of a Mix.
type Stream struct {
	Kind Kind
	// Labels as the pod log collector gives them: app, container, namespace, pod, ...
	Labels labels.Labels
	// Weight is the stream's share of all lines, relative to the other streams.
	Weight int
}

// Mix returns n streams (200 make a small cluster): half of the lines are JSON
// and logfmt, a quarter access logs. The weights of streams differ by two
// orders of magnitude. Streams of one app follow each other, three pods each.
func Mix(n int) []Stream {
	order := []Kind{JSON, Logfmt, Nginx, JSON, Istio, Klog, Logfmt, Java, JSON, Postgres}
	out := make([]Stream, n)
	for i := range out {
		app := i / 3
		k := order[app%len(order)]
		name := fmt.Sprintf("%s-%d", k, app)
		out[i] = Stream{
			Kind:   k,
			Weight: 1 + 400/(1+app%17*3),
			Labels: labels.FromStrings("app", name, "container", "main", "instance", fmt.Sprintf("ns-%d/%s-%d:main", app%12, name, i%3),
				"job", "kubernetes-pods", "namespace", fmt.Sprintf("ns-%d", app%12), "node", fmt.Sprintf("node-%d", i%5),
				"pod", fmt.Sprintf("%s-%d", name, i%3), "service_name", name),
		}
	}
	return out
}
