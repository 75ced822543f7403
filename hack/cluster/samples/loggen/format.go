package main

import (
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// format appends the body of one line, without its last three fields, to b.
type format struct {
	body func(b []byte, e event) []byte
	// json says how the last fields are written.
	json bool
	// after appends plain lines that follow, such as a stack trace. May be nil.
	after func(b []byte, e event) []byte
}

var formats = map[string]format{
	"json":   {body: jsonBody, json: true},
	"logfmt": {body: logfmtBody},
	"text":   {body: textBody},
	"access": {body: accessBody},
	"java":   {body: javaBody, after: javaTrace},
}

func formatNames() []string {
	var names []string
	for name := range formats {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// event is what one line tells.
type event struct {
	time   time.Time
	failed bool
	rnd    *rand.Rand
	pad    string
}

func (e event) level() string {
	if e.failed {
		return "error"
	}
	return [...]string{"info", "info", "info", "debug", "warn"}[e.rnd.IntN(5)]
}

// generator makes numbered lines. It is not safe for concurrent use.
type generator struct {
	format format
	opts   options
	seed   uint64
	seq    uint64
	buf    []byte
}

func newGenerator(o options) *generator {
	// Two replicas do not say the same.
	seed := o.seed<<32 ^ uint64(crc32.Checksum([]byte(o.id), castagnoli))
	return &generator{format: formats[o.format], opts: o, seed: seed, seq: o.start}
}

// next returns the next line with its end, and what follows it. The bytes are
// valid until the next call.
func (g *generator) next(now time.Time) []byte {
	rnd := rand.New(rand.NewPCG(g.seed, g.seq))
	e := event{time: now.UTC(), failed: rnd.Float64() < g.opts.errors, rnd: rnd}
	if g.opts.pad > 0 {
		e.pad = randomText(rnd, g.opts.pad)
	}
	b := g.format.body(g.buf[:0], e)
	b = appendFields(b, g.format.json, g.opts.id, g.seq)
	if g.format.after != nil {
		b = g.format.after(b, e)
	}
	g.seq++
	g.buf = b
	return b
}

// appendFields closes the line that b holds with its id, number and checksum.
func appendFields(b []byte, json bool, id string, seq uint64) []byte {
	if json {
		b = fmt.Appendf(b, `,"id":"%s","seq":%d`, id, seq)
		return fmt.Appendf(b, `,"crc":"%08x"}`+"\n", crc32.Checksum(b, castagnoli))
	}
	b = fmt.Appendf(b, " id=%s seq=%d", id, seq)
	return fmt.Appendf(b, " crc=%08x\n", crc32.Checksum(b, castagnoli))
}

func randomText(rnd *rand.Rand, n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[rnd.IntN(len(letters))]
	}
	return string(b)
}

func pick(rnd *rand.Rand, from ...string) string { return from[rnd.IntN(len(from))] }

func jsonBody(b []byte, e event) []byte {
	msg, status := pick(e.rnd, "order placed", "cart updated", "coupon applied", "address checked"), 200
	method, path := "POST", pick(e.rnd, "/checkout", "/cart", "/coupon", "/address")
	if e.failed {
		msg, status = pick(e.rnd, "payment service timed out", "stock reservation failed", "order rejected"), 502
	}
	b = fmt.Appendf(b, `{"ts":"%s","level":"%s","msg":"%s","service":"checkout","method":"%s","path":"%s","status":%d,"duration_ms":%d,"user":%d,"amount":%.2f,"trace_id":"%016x%016x"`,
		e.time.Format(time.RFC3339Nano), e.level(), msg, method, path, status, 3+e.rnd.IntN(400), e.rnd.IntN(5000), e.rnd.Float64()*300, e.rnd.Uint64(), e.rnd.Uint64())
	if e.pad != "" {
		b = fmt.Appendf(b, `,"pad":"%s"`, e.pad)
	}
	return b
}

func logfmtBody(b []byte, e event) []byte {
	b = fmt.Appendf(b, "ts=%s level=%s ", e.time.Format(time.RFC3339Nano), e.level())
	if e.failed {
		b = fmt.Appendf(b, "msg=%q err=%q ", pick(e.rnd, "payment declined", "capture failed"),
			pick(e.rnd, "card expired", "insufficient funds", "connect: connection refused", "context deadline exceeded"))
	} else {
		b = fmt.Appendf(b, "msg=%q ", pick(e.rnd, "payment captured", "payment authorized", "refund issued"))
	}
	b = fmt.Appendf(b, "provider=%s payment_id=pay_%08x amount=%.2f currency=%s duration=%dms",
		pick(e.rnd, "acme", "globex", "initech"), e.rnd.Uint32(), e.rnd.Float64()*300, pick(e.rnd, "EUR", "USD", "PLN"), 5+e.rnd.IntN(900))
	if e.pad != "" {
		b = append(b, " pad="+e.pad...)
	}
	return b
}

func textBody(b []byte, e event) []byte {
	msg := "job finished in " + strconv.Itoa(e.rnd.IntN(2000)) + " ms"
	if e.failed {
		msg = "job failed: " + pick(e.rnd, "no space left on device", "connection reset by peer", "permission denied")
	}
	b = fmt.Appendf(b, "%s %-5s [worker-%d] %s", e.time.Format("2006-01-02 15:04:05.000"), e.level(), e.rnd.IntN(8), msg)
	if e.pad != "" {
		b = append(b, " "+e.pad...)
	}
	return b
}

func accessBody(b []byte, e event) []byte {
	status := [...]int{200, 200, 200, 200, 204, 301, 304, 404}[e.rnd.IntN(8)]
	if e.failed {
		status = [...]int{500, 502, 503}[e.rnd.IntN(3)]
	}
	b = fmt.Appendf(b, `10.%d.%d.%d - - [%s] "%s %s HTTP/1.1" %d %d "-" "%s"`,
		e.rnd.IntN(256), e.rnd.IntN(256), 1+e.rnd.IntN(254), e.time.Format("02/Jan/2006:15:04:05 -0700"),
		pick(e.rnd, "GET", "GET", "GET", "POST", "PUT"), pick(e.rnd, "/", "/cart", "/api/v1/products?page=2", "/static/app.js", "/checkout"),
		status, e.rnd.IntN(50_000), pick(e.rnd, "Mozilla/5.0 (X11; Linux x86_64)", "curl/8.9.1", "kube-probe/1.36"))
	if e.pad != "" {
		b = append(b, " "+e.pad...)
	}
	return b
}

func javaBody(b []byte, e event) []byte {
	level, class, msg := "INFO ", "c.example.shop.CartService", "cart saved"
	if e.failed {
		level, class, msg = "ERROR", "c.example.shop.OrderController", "request failed"
	}
	b = fmt.Appendf(b, "%s %s [http-nio-8080-exec-%d] %s - %s", e.time.Format("2006-01-02T15:04:05.000Z"), level, 1+e.rnd.IntN(10), class, msg)
	if e.pad != "" {
		b = append(b, " "+e.pad...)
	}
	return b
}

// javaTrace follows an error, as a logging framework prints an exception.
func javaTrace(b []byte, e event) []byte {
	if !e.failed {
		return b
	}
	b = append(b, "java.lang.IllegalStateException: "+pick(e.rnd, "cart is empty", "order is closed", "no such customer")+"\n"...)
	for _, frame := range []string{
		"com.example.shop.OrderService.place(OrderService.java:%d)",
		"com.example.shop.OrderController.post(OrderController.java:%d)",
		"java.base/jdk.internal.reflect.DirectMethodHandleAccessor.invoke(DirectMethodHandleAccessor.java:%d)",
		"org.apache.catalina.core.StandardWrapperValve.invoke(StandardWrapperValve.java:%d)",
		"java.base/java.lang.Thread.run(Thread.java:%d)",
	} {
		b = fmt.Appendf(b, "\tat "+frame+"\n", 20+e.rnd.IntN(400))
	}
	return fmt.Appendf(b, "Caused by: java.sql.SQLTransientConnectionException: pool - Connection is not available, request timed out after %dms\n\t... %d more\n",
		30000+e.rnd.IntN(50), 5+e.rnd.IntN(40))
}
