package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/store"
	"github.com/logstack-dev/kubectl-logstack/pkg/version"
)

// operator gathers what an operator wants to know, beside what the parts say of
// themselves.
type operator struct {
	requests *requestCounter
	gaps     *gapLog
	peers    *http.Client

	mu      sync.Mutex
	problem string // of the process as a whole
}

// setProblem replaces the problem of the process as a whole; "" is none.
func (o *operator) setProblem(s string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.problem = s
}

// problems are those that no part tells itself.
func (o *operator) problems() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.problem == "" {
		return nil
	}
	return []string{o.problem}
}

func newOperator(p *parts) *operator {
	o := &operator{requests: newRequestCounter(), gaps: newGapLog(time.Now), peers: p.secure.peerClient()}
	gauge := func(name, help string, value func() float64) {
		p.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "logstack", Name: name, Help: help}, value))
	}
	p.registry.MustRegister(o.requests.total, gapsLastDay{o.gaps})
	gauge("memory_limit_bytes", "Memory to stay below. The memory in use is process_resident_memory_bytes.", func() float64 { return float64(p.plan.total) })
	gauge("disk_used_bytes", "Size of the database.", func() float64 { return float64(p.disk().Used) })
	gauge("disk_limit_bytes", "Size at which the oldest entries are removed, or the volume is full; 0 if that is not known.", func() float64 { return float64(p.disk().Limit) })
	gauge("disk_bytes_per_day", "Size of one day's entries, on average; 0 if that is not known yet.", func() float64 { return float64(p.disk().PerDay) })
	gauge("problems", "What keeps the collector from working, such as missing rights; /logstack/v1/status names it.", func() float64 { return float64(len(p.problems())) })
	return o
}

// requestCounter counts requests to the API server.
type requestCounter struct {
	total *prometheus.CounterVec

	mu      sync.Mutex
	seconds [60]int64 // by second of the minute
	at      int64     // Unix time of the newest
	since   int64
}

func newRequestCounter() *requestCounter {
	now := time.Now().Unix()
	return &requestCounter{
		at: now, since: now,
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "logstack", Name: "apiserver_requests_total", Help: "Requests to the API server, by resource and status code; code \"error\" had no answer.",
		}, []string{"resource", "code"}),
	}
}

// watch makes the requests of all clients of rc count.
func (c *requestCounter) watch(rc *rest.Config) {
	if rc == nil {
		return
	}
	rc.Wrap(func(next http.RoundTripper) http.RoundTripper { return countingTransport{c, next} })
}

type countingTransport struct {
	c    *requestCounter
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t countingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	code := "error"
	if err == nil {
		code = strconv.Itoa(resp.StatusCode)
	}
	t.c.total.WithLabelValues(resourceOf(r.URL.Path), code).Inc()
	t.c.count(time.Now().Unix())
	return resp, err
}

// WrappedRoundTripper lets client-go close idle connections.
func (t countingTransport) WrappedRoundTripper() http.RoundTripper { return t.next }

// resourceOf names the resource of a path of the API: /api/v1/namespaces/x/pods/y/log
// is pods/log.
func resourceOf(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		parts = parts[3:]
	default:
		return "other"
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		parts = parts[2:]
	}
	if len(parts) > 2 {
		return parts[0] + "/" + parts[2]
	}
	return parts[0]
}

func (c *requestCounter) turn(now int64) {
	for n := min(now-c.at, int64(len(c.seconds))); n > 0; n-- {
		c.seconds[(now-n+1)%int64(len(c.seconds))] = 0
	}
	c.at = max(c.at, now)
}

func (c *requestCounter) count(now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn(now)
	c.seconds[c.at%int64(len(c.seconds))]++
}

// rate is requests per second over the last minute.
func (c *requestCounter) rate(now int64) float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn(now)
	sum := int64(0)
	for _, n := range c.seconds {
		sum += n
	}
	return float64(sum) / float64(min(max(c.at-c.since+1, 1), int64(len(c.seconds))))
}

// operatorStatus is the part "operator" of /logstack/v1/status. The lock of
// parts is not held.
func (p *parts) operatorStatus() lokiapi.OperatorStatus {
	out := lokiapi.OperatorStatus{
		Gaps:     p.operator.gaps.lastDay(),
		Requests: p.operator.requests.rate(time.Now().Unix()),
		Memory:   lokiapi.MemoryStatus{Used: usedMemory(), Limit: p.plan.total},
		Disk:     p.disk(),
		Problems: p.operator.problems(),
	}
	p.mu.Lock()
	pods := p.podlogs
	p.mu.Unlock()
	if pods != nil {
		l := pods.Lag()
		out.Lag = &lokiapi.LagStatus{P50: l.P50.Seconds(), P99: l.P99.Seconds(), Lines: l.Lines, Window: l.Window.Seconds()}
	}
	return out
}

// problems are those of all parts.
func (p *parts) problems() []string {
	p.mu.Lock()
	pods, events := p.podlogs, p.events
	p.mu.Unlock()
	out := p.operator.problems()
	if pods != nil {
		out = append(out, pods.Status().Problems...)
	}
	if events != nil {
		out = append(out, events.Status().Problems...)
	}
	return out
}

// usedMemory is what the kernel counts for this process, else what Go does.
func usedMemory() int64 {
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := bytes.Fields(b); len(fields) > 1 {
			if pages, err := strconv.ParseInt(string(fields[1]), 10, 64); err == nil {
				return pages * int64(os.Getpagesize())
			}
		}
	}
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64() - s[1].Value.Uint64())
}

// disk tells how full the database is and will be.
func (p *parts) disk() lokiapi.DiskStatus {
	p.mu.Lock()
	db := p.db
	p.mu.Unlock()
	if db == nil {
		return lokiapi.DiskStatus{}
	}
	return diskStatus(db.Status(), p.cfg.maxDisk, freeBytes(p.cfg.dataDir), p.cfg.retention)
}

// minSpan is the age of the oldest entry from which on a rate makes sense.
const minSpan = time.Hour

// diskStatus computes when the limit is reached. free is what the volume has
// left, -1 if that is not known; 0 for maxDisk or retention is none.
func diskStatus(s store.Status, maxDisk, free int64, retention time.Duration) lokiapi.DiskStatus {
	d := lokiapi.DiskStatus{Used: s.DiskBytes(), Limit: maxDisk}
	if free >= 0 && (d.Limit == 0 || d.Used+free < d.Limit) {
		d.Limit = d.Used + free
	}
	span := time.Duration(s.NewestTime - s.OldestTime)
	if retention > 0 {
		span = min(span, retention) // entries with wrong times are no measure
	}
	if span < minSpan {
		return d
	}
	const day = float64(24 * time.Hour)
	perDay := float64(d.Used) / (float64(span) / day)
	d.PerDay = int64(perDay)
	if d.Limit == 0 || perDay < 1 || retention > 0 && perDay*float64(retention)/day <= float64(d.Limit) {
		return d
	}
	left := max(float64(d.Limit-d.Used), 0) / perDay
	d.DaysLeft = &left
	return d
}

// ownStatus is what other replicas' StatusPath answers, of this one.
func (p *parts) ownStatus() (json.RawMessage, error) {
	st := p.status()
	st["version"] = version.Version
	b, err := json.Marshal(st)
	if err != nil {
		return nil, fmt.Errorf("encoding the status: %w", err)
	}
	return b, nil
}

// keepGaps stores the gaps of the last day from time to time until ctx ends, so
// that they outlive the process.
func (p *parts) keepGaps(ctx context.Context) {
	p.operator.gaps.load(p.db.Marks(gapsMark)[gapsMark])
	tick := time.NewTicker(gapsInterval)
	defer tick.Stop()
	for {
		last := false
		select {
		case <-ctx.Done():
			last = true
		case <-tick.C:
		}
		if err := p.operator.gaps.save(context.WithoutCancel(ctx), p.db); err != nil {
			p.log.Debug("the numbers of gaps could not be stored", "error", err)
		}
		if last {
			return
		}
	}
}
