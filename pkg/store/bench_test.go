package store

import (
	"context"
	"errors"
	"flag"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/testutil/corpus"
)

var benchLines = flag.Int("bench.lines", 400_000, "lines that the benchmarks store")

const (
	benchStreams = 200
	benchSpan    = int64(6 * time.Hour)
	benchBatch   = 1 << 20
)

// benchBatches returns batches of about 1 MiB that four clients would send: each
// client has every fourth stream, times grow.
func benchBatches(lines int) [][]*model.Batch {
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
	for i, s := range mix {
		n := max(lines*s.Weight/weight, 1)
		streams[i].times, streams[i].lines = corpus.New(uint64(i)).Fill(s.Kind, n, corpus.Start, benchSpan)
	}
	const clients = 4
	out := make([][]*model.Batch, clients)
	const slices = 400 // of time
	for c := range clients {
		b, bytes := &model.Batch{}, 0
		for k := range slices {
			end := corpus.Start + benchSpan/slices*int64(k+1)
			for i := c; i < len(streams); i += clients {
				s := &streams[i]
				n := 0
				for n < len(s.times) && (s.times[n] < end || k == slices-1) {
					n++
				}
				if n == 0 {
					continue
				}
				se := model.StreamEntries{Labels: mix[i].Labels}
				for j := range n {
					se.Entries = append(se.Entries, model.Entry{Timestamp: s.times[j], Line: s.lines[j]})
					bytes += len(s.lines[j])
				}
				b.Streams = append(b.Streams, se)
				s.times, s.lines = s.times[n:], s.lines[n:]
			}
			if bytes >= benchBatch {
				out[c] = append(out[c], b)
				b, bytes = &model.Batch{}, 0
			}
		}
		out[c] = append(out[c], b)
	}
	return out
}

func benchAppend(b *testing.B, db *DB, clients [][]*model.Batch) (lines int, bytes int64) {
	var wg sync.WaitGroup
	for _, batches := range clients {
		for _, batch := range batches {
			lines += batch.Len()
			for _, s := range batch.Streams {
				for _, e := range s.Entries {
					bytes += int64(len(e.Line))
				}
			}
		}
		wg.Go(func() {
			for _, batch := range batches {
				if err := db.Append(context.Background(), batch); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return lines, bytes
}

// settle flushes and compacts until nothing is left to do.
func settle(b testing.TB, db *DB) {
	ctx := context.Background()
	err := db.Flush(ctx)
	benchClock.Add(int64(time.Hour))
	if err := errors.Join(err, db.maintain(ctx)); err != nil {
		b.Fatal(err)
	}
}

// benchClock is two days after the corpus, so that its windows of time are over.
var benchClock atomic.Int64

func benchOptions() Options {
	benchClock.Store(corpus.Start + benchSpan + int64(48*time.Hour))
	return Options{Now: func() time.Time { return time.Unix(0, benchClock.Load()) }}
}

// BenchmarkAppend stores the corpus, with four writers, until it has settled.
func BenchmarkAppend(b *testing.B) {
	clients := benchBatches(*benchLines)
	b.ReportAllocs()
	for b.Loop() {
		db, err := Open(testDir(b), benchOptions())
		if err != nil {
			b.Fatal(err)
		}
		start, cpu := time.Now(), cpuTime()
		lines, bytes := benchAppend(b, db, clients)
		b.ReportMetric(float64(lines)/time.Since(start).Seconds(), "lines/s")
		settle(b, db)
		s := db.Status()
		b.ReportMetric(float64(s.DiskBytes())/float64(lines), "disk-B/line")
		b.ReportMetric(float64(bytes)/float64(lines), "raw-B/line")
		b.ReportMetric(float64(4*s.Blocks), "files")
		b.ReportMetric((cpuTime()-cpu).Seconds()/float64(lines)*1e6, "cpu-s/Mline")
		b.ReportMetric(time.Since(start).Seconds()/float64(lines)*1e6, "s/Mline")
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSelect asks questions of a settled store.
func BenchmarkSelect(b *testing.B) {
	db, err := Open(testDir(b), benchOptions())
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	clients := benchBatches(*benchLines)
	benchAppend(b, db, clients)
	settle(b, db)
	all := model.TimeRange{Start: corpus.Start, End: corpus.Start + 2*benchSpan}
	pod := clients[0][0].Streams[0].Labels
	eq := func(name, value string) []*labels.Matcher {
		return []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, name, value)}
	}
	id := someID(clients[1][0])
	questions := []struct {
		name  string
		req   model.SelectRequest
		limit int
		skip  func(line string) bool
	}{
		{name: "one pod, newest 100", req: model.SelectRequest{Matchers: eq("pod", pod.Get("pod")), Range: all, BatchRows: 100}, limit: 100},
		{name: "one pod, all", req: model.SelectRequest{Matchers: eq("pod", pod.Get("pod")), Range: all}},
		{name: "all streams, newest 1000", req: model.SelectRequest{Range: all, BatchRows: 1000}, limit: 1000},
		{name: "needle, identifier", req: model.SelectRequest{Range: all, Contains: []string{id}}},
		{name: "needle, absent word", req: model.SelectRequest{Range: all, Contains: []string{"zzyzxabsent"}}},
		{name: "needle, error, newest 1000", req: model.SelectRequest{Range: all, Contains: []string{"error"}, BatchRows: 1000}, limit: 1000},
		{name: "scan, unordered", req: model.SelectRequest{Range: all, Unordered: true, Direction: model.Forward}},
		{name: "scan, ordered", req: model.SelectRequest{Range: all, Direction: model.Forward}},
		{name: "counts, step 1m", req: model.SelectRequest{Range: all, Unordered: true, Direction: model.Forward, TimesOnly: true, CountStep: int64(time.Minute)}},
		{name: "counts, whole range", req: model.SelectRequest{Range: all, Unordered: true, Direction: model.Forward, TimesOnly: true, CountStep: int64(48 * time.Hour)}},
		{name: "times, unordered", req: model.SelectRequest{Range: all, Unordered: true, Direction: model.Forward, TimesOnly: true}},
	}
	for _, q := range questions {
		b.Run(strings.ReplaceAll(q.name, ", ", "/"), func(b *testing.B) {
			b.ReportAllocs()
			rows := 0
			cpu, start := cpuTime(), time.Now()
			n := 0
			for b.Loop() {
				n++
				it, err := db.Select(context.Background(), q.req)
				if err != nil {
					b.Fatal(err)
				}
				rows = 0
				for q.limit == 0 || rows < q.limit {
					batch, err := it.Next(context.Background())
					if errors.Is(err, io.EOF) {
						break
					}
					if err != nil {
						b.Fatal(err)
					}
					rows += batch.Len()
				}
				if err := it.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(rows), "rows")
			b.ReportMetric(float64(cpuTime()-cpu)/1e6/float64(n), "cpu-ms/op")
			b.ReportMetric(time.Since(start).Seconds()*1e3/float64(n), "ms/op")
		})
	}
	b.Run("volume", func(b *testing.B) {
		for b.Loop() {
			if _, err := db.Volume(context.Background(), all, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("label values", func(b *testing.B) {
		for b.Loop() {
			if _, err := db.LabelValues(context.Background(), "pod", all, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// someID finds a long hexadecimal identifier in a batch.
func someID(b *model.Batch) string {
	for _, s := range b.Streams {
		for _, e := range s.Entries {
			n := 0
			for i := range len(e.Line) {
				c := e.Line[i]
				if c >= '0' && c <= '9' || c >= 'a' && c <= 'f' {
					if n++; n == 32 {
						return e.Line[i-31 : i+1]
					}
				} else {
					n = 0
				}
			}
		}
	}
	return "nothing found"
}
