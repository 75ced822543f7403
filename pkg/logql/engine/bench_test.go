package engine

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// repeatStore hands out one prepared batch of each stream again and again: the
// cost of the engine without that of a store.
type repeatStore struct {
	streams []labels.Labels
	lines   []string
	batches int
}

const repeatRows = 4096

func (s repeatStore) Select(_ context.Context, r model.SelectRequest) (model.BatchIterator, error) {
	it := &repeatIterator{s: s, r: r}
	it.b.Streams = s.streams
	it.b.StreamIndex = make([]uint32, repeatRows)
	it.b.Timestamps = make([]int64, repeatRows)
	if !r.TimesOnly && !r.NoLines {
		it.b.Lines = make([]string, repeatRows)
		for i := range it.b.Lines {
			it.b.Lines[i] = s.lines[i%len(s.lines)]
		}
	}
	return it, nil
}

type repeatIterator struct {
	s repeatStore
	r model.SelectRequest
	b model.EntryBatch
	n int
}

func (it *repeatIterator) Next(ctx context.Context) (*model.EntryBatch, error) {
	if it.n == it.s.batches {
		return nil, io.EOF
	}
	stream := uint32(it.n % len(it.s.streams))
	span := (it.r.Range.End - it.r.Range.Start) / int64(it.s.batches*repeatRows+1)
	for i := range it.b.Timestamps {
		it.b.StreamIndex[i] = stream
		it.b.Timestamps[i] = it.r.Range.Start + span*int64(it.n*repeatRows+i)
	}
	it.n++
	return &it.b, ctx.Err()
}

func (it *repeatIterator) Stats() model.SelectStats { return model.SelectStats{} }
func (it *repeatIterator) Close() error             { return nil }

func BenchmarkEngine(b *testing.B) {
	s := repeatStore{batches: 50, lines: []string{
		`{"ts":"2026-11-22T09:00:00Z","level":"info","status":200,"method":"GET","path":"/api/cart","dur":"12ms","user":{"id":"u1","plan":"free"}}`,
		`{"ts":"2026-11-22T09:00:00Z","level":"error","status":500,"method":"POST","path":"/api/pay","dur":"120ms","msg":"card \"x\" refused"}`,
	}}
	for i := range 20 {
		s.streams = append(s.streams, labels.FromStrings("app", fmt.Sprint("app", i%5), "namespace", fmt.Sprint("ns", i%3), "pod", fmt.Sprint("pod", i)))
	}
	for _, q := range []string{
		`sum by (namespace) (count_over_time({app=~".+"}[1m]))`,
		`count_over_time({app=~".+"}[1m])`,
		`sum by (app) (rate({app=~".+"} |= "error" [5m]))`,
		`sum by (status) (count_over_time({app=~".+"} | json [5m]))`,
		`{app=~".+"} |= "nothing"`,
		`{app=~".+"} | json | status > 500`,
	} {
		b.Run(q, func(b *testing.B) {
			e := New(s, Options{})
			p := Params{Query: q, Start: zero, End: zero + int64(6*time.Hour), Step: time.Minute, Limit: 1000}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Range(context.Background(), p); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(s.batches*repeatRows), "ns/line")
		})
	}
}
