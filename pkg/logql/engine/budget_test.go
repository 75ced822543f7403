package engine

import (
	"context"
	"errors"
	"io"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// endlessStore makes entries without end and without allocating: what a query
// over it allocates is the query's.
type endlessStore struct {
	streams []labels.Labels
	pad     string // makes lines long
	meta    bool   // metadata with a value of its own for each entry
	rows    int    // of a batch; 0 means 1000
	max     int    // rows in all; the test fails when a query reads them
	t       *testing.T
}

func (s *endlessStore) Select(_ context.Context, r model.SelectRequest) (model.BatchIterator, error) {
	it := &endlessIterator{s: s, r: r}
	it.b.Streams = s.streams
	return it, nil
}

type endlessIterator struct {
	s    *endlessStore
	r    model.SelectRequest
	b    model.EntryBatch
	n    int
	text []byte
	ends []int
	sb   labels.ScratchBuilder
}

func (it *endlessIterator) Next(ctx context.Context) (*model.EntryBatch, error) {
	rows := it.s.rows
	if rows == 0 {
		rows = 1000
	}
	if it.r.BatchRows > 0 {
		rows = min(rows, it.r.BatchRows)
	}
	if it.n += rows; it.n > it.s.max {
		it.s.t.Errorf("%d rows were read and the query goes on", it.s.max)
		return nil, io.EOF
	}
	b := &it.b
	b.Reset()
	it.text, it.ends = it.text[:0], it.ends[:0]
	span := uint64(it.r.Range.End - it.r.Range.Start)
	for i := range rows {
		n := it.n - rows + i
		b.StreamIndex = append(b.StreamIndex, uint32(n%len(b.Streams)))
		b.Timestamps = append(b.Timestamps, it.r.Range.Start+int64(uint64(n)*0x9e3779b97f4a7c15%span))
		it.text = strconv.AppendInt(append(it.text, `{"id":"id-`...), int64(n), 10)
		it.text = strconv.AppendInt(append(it.text, `","v":`...), int64(n%1000), 10)
		it.text = append(append(append(it.text, `,"pad":"`...), it.s.pad...), `"}`...)
		it.ends = append(it.ends, len(it.text))
	}
	start := 0
	for _, end := range it.ends {
		b.Lines = append(b.Lines, unsafe.String(&it.text[start], end-start))
		start = end
	}
	if it.s.meta {
		for i := range rows {
			it.sb.Reset()
			it.sb.Add("trace", strconv.Itoa(it.n+i))
			b.Metadata = append(b.Metadata, it.sb.Labels())
		}
	}
	return b, ctx.Err()
}

func (it *endlessIterator) Stats() model.SelectStats { return model.SelectStats{} }
func (it *endlessIterator) Close() error             { return nil }

// manyStreams are labels of n pods.
func manyStreams(n int) (out []labels.Labels) {
	for i := range n {
		out = append(out, labels.FromStrings("app", "a", "pod", "pod-"+strconv.Itoa(i)))
	}
	return out
}

// TestMemoryIsBounded runs queries that would hold more than their budget over
// entries without end, and measures what they allocate with the collector off:
// they must end with a LimitError that says what to do, near their budget.
func TestMemoryIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("allocates a few hundred megabytes")
	}
	const budget = 8 << 20
	day := 24 * time.Hour
	plain := endlessStore{streams: manyStreams(1), max: 3_000_000}
	long := endlessStore{streams: manyStreams(1), pad: strings.Repeat("x", 250<<10), rows: 16, max: 100_000}
	pods := endlessStore{streams: manyStreams(5000), max: 3_000_000}
	crowd := endlessStore{streams: manyStreams(20_000), rows: 20_000, max: 3_000_000}
	meta := endlessStore{streams: manyStreams(10), meta: true, max: 3_000_000}
	for _, tt := range []struct {
		name  string
		s     endlessStore
		query string
		step  time.Duration
	}{
		{"lines", long, `{app="a"}`, time.Hour},
		{"lines and labels", long, `{app="a"} | json`, time.Hour},
		{"label sets of metadata", meta, `count_over_time({app="a"}[1h])`, time.Hour},
		{"label sets", plain, `count_over_time({app="a"} | json [1h])`, time.Hour},
		{"label sets of long lines", long, `count_over_time({app="a"} | json [1h])`, time.Hour},
		{"series by", plain, `sum by (id) (count_over_time({app="a"} | json [1h]))`, time.Hour},
		{"series by, many steps", plain, `sum by (id) (rate({app="a"} | json [1m]))`, 10 * time.Second},
		{"topk", plain, `topk(3, sum by (id) (bytes_over_time({app="a"} | json [1h])))`, time.Hour},
		{"many streams, many steps", pods, `max_over_time({app="a"} | json | unwrap v [1m]) by (pod)`, 10 * time.Second},
		{"as many streams in one batch", crowd, `count_over_time({app="a"}[1m])`, 10 * time.Second},
		{"streams, many steps, above", pods, `max(avg_over_time({app="a"} | json | unwrap v [1m]) by (pod))`, 10 * time.Second},
		{"samples of quantiles", plain, `quantile_over_time(0.9, {app="a"} | json | unwrap v [1h]) by ()`, time.Hour},
		{"samples of counters", plain, `sum(rate_counter({app="a"} | json | unwrap v [1h]))`, time.Hour},
		{"distinct values", plain, `count_distinct_over_time(id, {app="a"} | json [1h])`, time.Hour},
		{"both sides", plain, `count_over_time({app="a"} | json [1h]) / count_over_time({app="a"} | json [2h])`, time.Hour},
		{"first values", plain, `first_over_time({app="a"} | json | unwrap v [1h]) by (id)`, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.s
			s.t = t
			e := New(&s, Options{MaxQueryBytes: budget, ExtraWorkers: -1, Timeout: -1})
			p := Params{Query: tt.query, Start: zero, End: zero + int64(day), Step: tt.step, Limit: 5000}
			defer debug.SetGCPercent(debug.SetGCPercent(-1))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := e.Range(context.Background(), p)
			runtime.ReadMemStats(&after)
			var limit *LimitError
			if !errors.As(err, &limit) || !strings.Contains(err.Error(), "ask for") {
				t.Errorf("error %v", err)
			}
			grew := after.TotalAlloc - before.TotalAlloc
			t.Logf("%d KiB", grew>>10)
			// Growing tables are copied now and then, and a batch of the long lines is 4 MB.
			if grew > 5*budget {
				t.Errorf("allocated %d KiB with a budget of %d KiB", grew>>10, budget>>10)
			}
			runtime.GC()
		})
	}
}
