package engine_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/store"
	"github.com/logstack-dev/kubectl-logstack/pkg/testutil/corpus"
)

var (
	benchLines = flag.Int("bench.lines", 400_000, "lines in the store of BenchmarkStore")
	benchDir   = flag.String("bench.dir", "", "keep the store of BenchmarkStore in this directory, and use it again")
)

const (
	benchStreams = 200
	benchSpan    = int64(6 * time.Hour)
	// benchID is in a hundred lines, benchWord in twenty of one namespace.
	benchID   = "5f0c1b9e-7a34-4d2e-9b61-c8e2f4a7d013"
	benchWord = "quagga"
)

// benchStore returns a settled store with the lines of a small cluster, six
// hours of them, and an identifier that occurs once.
func benchStore(b *testing.B) (db *store.DB, once string) {
	dir := *benchDir
	if dir == "" {
		dir = filepath.Join(b.TempDir(), "store")
	}
	known, err := os.ReadFile(dir + ".id")
	clock := &atomic.Int64{}
	clock.Store(corpus.Start + benchSpan + int64(time.Hour))
	o := store.DefaultOptions()
	o.Retention, o.BlockRange = 0, 0
	o.Now = func() time.Time { return time.Unix(0, clock.Load()) }
	db, openErr := store.Open(dir, o)
	if openErr != nil {
		b.Fatal(openErr)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	if err == nil && *benchDir != "" {
		return db, string(known)
	}
	once = fillBench(b, db)
	clock.Add(int64(48 * time.Hour))
	if err := db.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	for still, blocks := 0, 0; still < 5; time.Sleep(time.Second) { // until compaction has come to rest
		still++
		if s := db.Status(); s.Blocks != blocks {
			still, blocks = 0, s.Blocks
		}
	}
	if err := os.WriteFile(dir+".id", []byte(once), 0o600); err != nil {
		b.Fatal(err)
	}
	return db, once
}

// fillBench stores the lines in order of time, in batches of about 1 MiB.
func fillBench(b *testing.B, db *store.DB) (once string) {
	mix := corpus.Mix(benchStreams)
	weight := 0
	for _, s := range mix {
		weight += s.Weight
	}
	type stream struct {
		times []int64
		lines []string
	}
	streams := make([]stream, len(mix))
	total := 0
	for i, s := range mix {
		n := max(*benchLines*s.Weight/weight, 1)
		streams[i].times, streams[i].lines = corpus.New(uint64(i)).Fill(s.Kind, n, corpus.Start, benchSpan)
		for j := range streams[i].lines {
			line := &streams[i].lines[j]
			if total%(*benchLines/100) == 0 {
				*line += " request=" + benchID
			}
			if s.Labels.Get("namespace") == "ns-3" && j%(max(n/4, 1)) == 1 {
				*line += " " + benchWord
			}
			if s.Kind == corpus.JSON && j == n/2 {
				_, id, _ := strings.Cut(*line, `"trace_id":"`)
				once = id[:32]
			}
			total++
		}
	}
	const pieces = 400
	for k := range pieces {
		batch := &model.Batch{}
		end := corpus.Start + benchSpan/pieces*int64(k+1)
		for i := range streams {
			s := &streams[i]
			n := 0
			for n < len(s.times) && (s.times[n] < end || k == pieces-1) {
				n++
			}
			if n == 0 {
				continue
			}
			se := model.StreamEntries{Labels: mix[i].Labels}
			for j := range n {
				se.Entries = append(se.Entries, model.Entry{Timestamp: s.times[j], Line: s.lines[j]})
			}
			batch.Streams = append(batch.Streams, se)
			s.times, s.lines = s.times[n:], s.lines[n:]
		}
		if err := db.Append(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	return once
}

// BenchmarkStore runs the questions that the project has goals for over a real
// store; ns/op is the time of one query, without the result cache.
func BenchmarkStore(b *testing.B) {
	db, once := benchStore(b)
	const all = `{namespace=~".+"}`
	const end = corpus.Start + benchSpan
	type question struct {
		name, query string
		span        time.Duration
		step        time.Duration // 0: an instant, or a log query
		limit       int
		cached      bool
	}
	day := 6 * time.Hour
	for _, q := range []question{
		{name: "id once", query: all + ` |= "` + once + `"`, limit: 1000},
		{name: "id 100 times", query: all + ` |= "` + benchID + `"`, limit: 1000},
		{name: "rare word in a namespace", query: `{namespace="ns-3"} |= "` + benchWord + `"`, limit: 1000},
		{name: "error in a namespace, 15 minutes", query: `{namespace="ns-3"} |= "error"`, span: 15 * time.Minute, limit: 1000},
		{name: "error, newest 1000", query: all + ` |= "error"`, limit: 1000},
		{name: "all, newest 1000", query: all, limit: 1000},
		{name: "one pod, newest 100", query: `{pod="json-0-1"}`, limit: 100},
		{name: "(?i) rare word, newest 1000", query: all + ` |~ "(?i)QUAGGA|xyzzyq"`, limit: 1000},
		{name: "(?i) error, newest 1000", query: all + ` |~ "(?i)error"`, limit: 1000},
		{name: "(?i) regex, count", query: `sum(count_over_time(` + all + ` |~ "(?i)timed out|REFUSED" [6h]))`},
		{name: "(?i) regex without literal, count", query: `sum(count_over_time(` + all + ` |~ "(?i)(time|tim)(d|ed) ?out" [6h]))`},
		{name: "negative filters, count", query: `sum(count_over_time(` + all + ` != "GET" != "POST" !~ "info|debug" [6h]))`},
		{name: "count by namespace, 1m", query: `sum by (namespace) (count_over_time(` + all + `[1m]))`, step: time.Minute},
		{name: "rate of error by app, 1m", query: `sum by (app) (rate(` + all + ` |= "error" [1m]))`, step: time.Minute},
		{name: "json, status, newest 1000", query: `{app=~"json.+"} | json | status >= 500`, limit: 1000},
		{name: "json, rare status, newest 1000", query: `{app=~"json.+"} | json | status = 503`, limit: 1000},
		{name: "json, count by status, 5m", query: `sum by (status) (count_over_time({app=~"json.+"} | json [5m]))`, step: 5 * time.Minute},
		{name: "logfmt, p99 by app, 5m", query: `quantile_over_time(0.99, {app=~"logfmt.+"} | logfmt | unwrap duration(duration) [5m]) by (app)`, step: 5 * time.Minute},
		{name: "top 10 pods", query: `topk(10, sum by (pod) (count_over_time(` + all + `[6h])))`},
		{name: "pattern, by method and status, 5m", query: `sum by (method, status) (count_over_time({app=~"nginx.+"} | pattern ` + "`<_> \"<method> <_> <_>\" <status> <_>`" + ` [5m]))`, step: 5 * time.Minute},
		{name: "regexp, by method and status, 5m", query: `sum by (method, status) (count_over_time({app=~"nginx.+"} | regexp ` + "`\"(?P<method>[A-Z]+) [^\"]+\" (?P<status>[0-9]+)`" + ` [5m]))`, step: 5 * time.Minute},
		{name: "bytes by app, 1m", query: `sum by (app) (bytes_over_time(` + all + `[1m]))`, step: time.Minute},
		{name: "rate of error by app, 1m, cached", query: `sum by (app) (rate(` + all + ` |= "error" [1m]))`, step: time.Minute, cached: true},
	} {
		b.Run(strings.ReplaceAll(q.name, " ", "_"), func(b *testing.B) {
			cache := int64(-1)
			if q.cached {
				cache = 0
			}
			e := engine.New(db, engine.Options{CacheBytes: cache})
			if q.span == 0 {
				q.span = day
			}
			p := engine.Params{Query: q.query, Start: end - int64(q.span), End: end, Step: q.step, Limit: max(q.limit, 1), Direction: model.Backward}
			ask := e.Range
			if q.limit == 0 && q.step == 0 {
				ask = e.Instant
			}
			p.Step = max(p.Step, time.Minute)
			if q.cached {
				if _, err := ask(context.Background(), p); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			var res *engine.Result
			for b.Loop() {
				var err error
				if res, err = ask(context.Background(), p); err != nil {
					b.Fatal(err)
				}
			}
			results := int64(len(res.Matrix) + len(res.Vector))
			b.ReportMetric(float64(results+res.Stats.EntriesReturned), "results")
			b.ReportMetric(float64(res.Stats.Lines), "lines-read")
		})
	}
}
