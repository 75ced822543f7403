package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/goleak"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// storeOf has n streams of lines entries, one a second.
func storeOf(n, lines int) *memoryStore {
	s := &memoryStore{}
	for i := range n {
		ls := labels.FromStrings("app", "a", "pod", fmt.Sprintf("p%03d", i))
		for j := range lines {
			s.push(ls, model.Entry{Timestamp: zero + int64(j)*1e9, Line: fmt.Sprintf("level=info n=%d msg=hello", j)})
		}
	}
	return s
}

func params(query string) Params {
	return Params{Query: query, Start: zero, End: zero + 60e9, Step: 10 * time.Second, Limit: 100, Direction: model.Forward}
}

// TestErrorsHaveTheirTypes checks that a caller can tell errors apart.
func TestErrorsHaveTheirTypes(t *testing.T) {
	broken := errors.New("disk on fire")
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	expired, cancel2 := context.WithDeadline(context.Background(), time.Unix(0, 0))
	defer cancel2()
	is := func(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }
	parse := func(err error) bool { var e *logql.ParseError; return errors.As(err, &e) }
	query := func(err error) bool { var e *QueryError; return errors.As(err, &e) }
	limit := func(err error) bool { var e *LimitError; return errors.As(err, &e) }
	pipeline := func(err error) bool {
		var e *PipelineError
		return errors.As(err, &e) && e.Kind == "JSONParserErr" && e.Series.Get("app") == "a"
	}
	counts := `sum by (pod) (count_over_time({app="a"} |= "x" [1m]))`
	for _, c := range []struct {
		name string
		ctx  context.Context
		p    func(*Params)
		o    Options
		q    Querier
		want func(error) bool
	}{
		{name: "parse", p: func(p *Params) { p.Query = `{` }, want: parse},
		{name: "limit zero", p: func(p *Params) { p.Limit = 0 }, want: query},
		{name: "limit too large", p: func(p *Params) { p.Limit = 5001 }, want: limit},
		{name: "end before start", p: func(p *Params) { p.Start, p.End = p.End, p.Start }, want: query},
		{name: "metric end before start", p: func(p *Params) { p.Query = counts; p.Start, p.End = p.End, p.Start }, want: query},
		{name: "step zero", p: func(p *Params) { p.Query, p.Step = counts, 0 }, want: query},
		{name: "points", p: func(p *Params) { p.Query, p.Step = counts, time.Millisecond }, want: limit},
		{name: "far away", p: func(p *Params) { p.Query, p.End = counts, 1<<63-1; p.Step = 1 << 60 }, want: query},
		{name: "matchers", o: Options{MaxMatchers: 1}, p: func(p *Params) { p.Query = `{app="a", pod=~".+"}` }, want: limit},
		{name: "matchers of a metric", o: Options{MaxMatchers: 1}, p: func(p *Params) { p.Query = `rate({app="a", pod=~".+"}[1m])` }, want: limit},
		{name: "series", o: Options{MaxSeries: 2}, p: func(p *Params) { p.Query = `sum by (pod) (rate({app="a"}[1m]))` }, want: limit},
		{name: "pipeline", p: func(p *Params) { p.Query = `count_over_time({app="a"} | json [1m])` }, want: pipeline},
		{name: "memory of entries", o: Options{MaxQueryBytes: 1000}, want: limit},
		{name: "memory of buckets", o: Options{MaxQueryBytes: 3000}, p: func(p *Params) { p.Query = `rate({app="a"}[1m])`; p.Step = time.Second }, want: limit},
		{name: "memory of samples", o: Options{MaxQueryBytes: 9000}, p: func(p *Params) {
			p.Query = `sum(quantile_over_time(0.5, {app="a"} | logfmt | unwrap n [1m]) by (app))`
		}, want: limit},
		{name: "samples", o: Options{MaxSamples: 3}, p: func(p *Params) { p.Query = `max(rate({app="a"}[1m]))` }, want: limit},
		{name: "matching", p: func(p *Params) { p.Query = `rate({app="a"}[1m]) / on (app) rate({app="a"}[1m])` }, want: query},
		{name: "canceled", ctx: canceled, want: is(context.Canceled)},
		{name: "canceled metric", ctx: canceled, p: func(p *Params) { p.Query = `max(rate({app="a"}[1m]))` }, want: is(context.Canceled)},
		{name: "canceled above ranges", ctx: canceled, p: func(p *Params) { p.Query = `vector(1) + vector(1)` }, want: is(context.Canceled)},
		{name: "deadline of the caller", ctx: expired, want: is(ErrTimeout)},
		{name: "timeout", o: Options{Timeout: time.Nanosecond}, want: is(ErrTimeout)},
		{name: "timeout of a metric", o: Options{Timeout: time.Nanosecond}, p: func(p *Params) { p.Query = counts }, want: is(ErrTimeout)},
		{name: "store", q: failingStore{broken}, want: is(broken)},
		{name: "store of a metric", q: failingStore{broken}, p: func(p *Params) { p.Query = counts }, want: is(broken)},
		{name: "store while reading", q: failingStore{nil}, want: is(errRead)},
		{name: "store while reading for a metric", q: failingStore{nil}, p: func(p *Params) { p.Query = `rate({app="a"}[1m])` }, want: is(errRead)},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := params(`{app="a"}`)
			if c.p != nil {
				c.p(&p)
			}
			if c.ctx == nil {
				c.ctx = context.Background()
			}
			if c.q == nil {
				c.q = storeOf(10, 30)
			}
			_, err := New(c.q, c.o).Range(c.ctx, p)
			if err == nil || !c.want(err) {
				t.Errorf("%T: %v", err, err)
			}
		})
	}
	if _, err := New(storeOf(1, 1), Options{}).Instant(context.Background(), params(`{app="a"}`)); !errors.Is(err, ErrLogInstant) {
		t.Errorf("log query at an instant: %v", err)
	}
}

var errRead = errors.New("read failed")

// failingStore fails to select, or with nil in the middle of reading.
type failingStore struct{ err error }

func (s failingStore) Select(ctx context.Context, r model.SelectRequest) (model.BatchIterator, error) {
	if s.err != nil {
		return nil, s.err
	}
	it, err := storeOf(1, 10).Select(ctx, r)
	return &failingIterator{BatchIterator: it}, err
}

type failingIterator struct {
	model.BatchIterator
	n int
}

func (it *failingIterator) Next(ctx context.Context) (*model.EntryBatch, error) {
	if it.n++; it.n > 2 {
		return nil, errRead
	}
	return it.BatchIterator.Next(ctx)
}

// TestPartialSeries checks that a caller who asks for it gets some of too many.
func TestPartialSeries(t *testing.T) {
	e := New(storeOf(10, 5), Options{MaxSeries: 3})
	p := params(`rate({app="a"}[1m])`)
	p.PartialSeries = true
	for _, f := range []func(context.Context, Params) (*Result, error){e.Range, e.Instant} {
		res, err := f(context.Background(), p)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(res.Matrix) + len(res.Vector); n != 3 || len(res.Warnings) != 1 {
			t.Errorf("%d series, warnings %q", n, res.Warnings)
		}
	}
	// What is inside may be many, as long as the answer is not.
	p.Query, p.PartialSeries = `topk(2, rate({app="a"}[1m]))`, false
	if res, err := e.Instant(context.Background(), p); err != nil || len(res.Vector) != 2 {
		t.Errorf("topk: %v %v", res, err)
	}
}

// TestRequests checks what the engine asks the store for.
func TestRequests(t *testing.T) {
	for _, c := range []struct {
		query string
		want  func(model.SelectRequest) bool
	}{
		{`{app="a"} |= "hello" |~ "n=\\d+ msg"`, func(r model.SelectRequest) bool {
			return slices.Equal(r.Contains, []string{"hello", "n=", " msg"}) && !r.Unordered && !r.TimesOnly && r.BatchRows == firstBatchRows
		}},
		{`{app="a"}`, func(r model.SelectRequest) bool { return r.BatchRows == 100 && r.Direction == model.Forward }},
		{`{app="a"} | line_format "x" |= "x"`, func(r model.SelectRequest) bool { return len(r.Contains) == 0 }},
		{`sum(count_over_time({app="a"}[1m]))`, func(r model.SelectRequest) bool { return r.TimesOnly && r.Unordered }},
		{`sum by (pod) (rate({app="a"}[1m]))`, func(r model.SelectRequest) bool { return r.TimesOnly }},
		{`sum(count_over_time({app="a"} | json [1m]))`, func(r model.SelectRequest) bool { return r.TimesOnly }},
		{`sum(count_over_time({app="a"}[1m]))`, func(r model.SelectRequest) bool { return r.CountStep > 0 }},
		{`sum(count_over_time({app="a"} | json [1m]))`, func(r model.SelectRequest) bool { return r.CountStep == 0 }},
		{`absent_over_time({app="a"}[1m])`, func(r model.SelectRequest) bool { return r.TimesOnly }},
		{`count_over_time({app="a"}[1m])`, func(r model.SelectRequest) bool { return !r.TimesOnly && r.NoLines }},
		{`sum without (pod) (rate({app="a"}[1m]))`, func(r model.SelectRequest) bool { return !r.TimesOnly && r.NoLines }},
		{`sum(bytes_rate({app="a"}[1m]))`, func(r model.SelectRequest) bool { return !r.TimesOnly && !r.NoLines }},
		{`sum by (pod) (rate({app="a"} | drop __error__ | pod!="x" [1m]))`, func(r model.SelectRequest) bool { return r.TimesOnly }},
		{`sum by (pod) (rate({app="a"} | label_format pod="{{.pod}}x" [1m]))`, func(r model.SelectRequest) bool { return r.TimesOnly }},
		{`sum by (pod) (rate({app="a"} | label_format pod="{{__line__}}x" [1m]))`, func(r model.SelectRequest) bool { return !r.TimesOnly && !r.NoLines }},
		{`sum(rate({app="a"} | label_format x="{{.}}" | x!="" [1m]))`, func(r model.SelectRequest) bool { return !r.TimesOnly && r.NoLines }},
		{`sum by (pod) (rate({app="a"} | json [1m]))`, func(r model.SelectRequest) bool { return !r.NoLines }},
		{`sum(rate({app="a"} |= "x" [1m]))`, func(r model.SelectRequest) bool { return !r.TimesOnly && r.Contains[0] == "x" }},
		{`sum(rate({app="a"}[30s] offset 10s))`, func(r model.SelectRequest) bool {
			return r.Range.Start == zero-40e9+1 && r.Range.End == zero+50e9+1
		}},
	} {
		s := storeOf(2, 3)
		_, err := New(s, Options{}).Range(context.Background(), params(c.query))
		if _, failed := errors.AsType[*PipelineError](err); err != nil && !failed {
			t.Errorf("%s: %v", c.query, err)
		}
		if len(s.requests) != 1 || !c.want(s.requests[0]) {
			t.Errorf("%s: %+v", c.query, s.requests)
		}
	}
	// The same range aggregation is computed once.
	s := storeOf(2, 3)
	if _, err := New(s, Options{}).Range(context.Background(), params(`rate({app="a"}[1m]) / rate({app="a"}[1m]) > rate({app="a"}[2m])`)); err != nil || len(s.requests) != 2 {
		t.Errorf("%d requests, %v", len(s.requests), err)
	}
}

// TestTimesOnlyFallsBack checks that a label that some stream lacks is still
// found in the metadata of its entries, and that nothing is counted twice when
// that stream shows up late.
func TestTimesOnlyFallsBack(t *testing.T) {
	for _, parallel := range []bool{false, true} {
		s := storeOf(1, 3)
		s.growTable = true
		s.push(labels.FromStrings("app", "a"), model.Entry{Timestamp: zero + 40e9, Line: "x", Metadata: labels.FromStrings("pod", "meta")})
		e := New(s, Options{ExtraWorkers: 1})
		if parallel {
			e.sliceWidth = int64(10 * time.Second)
		}
		res, err := e.Instant(context.Background(), params(`sum by (pod) (count_over_time({app="a"}[5m]))`))
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Vector) != 2 || res.Vector[0].Metric.Get("pod") != "meta" || res.Vector[0].F != 1 || res.Vector[1].F != 3 {
			t.Errorf("%v", res.Vector)
		}
		if !parallel && (len(s.requests) != 2 || !s.requests[0].TimesOnly || s.requests[1].TimesOnly) {
			t.Errorf("%+v", s.requests)
		}
	}
}

// TestLimitStopsReading checks that a log query reads no more than it needs.
func TestLimitStopsReading(t *testing.T) {
	p := params(`{app="a"}`)
	p.Limit, p.Direction = 4, model.Backward
	res, err := New(storeOf(1, 50), Options{}).Range(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	es := res.Streams[0].Entries
	if len(es) != 4 || es[0].Line != "level=info n=49 msg=hello" || es[3].Line != "level=info n=46 msg=hello" {
		t.Errorf("%v", es)
	}
	if res.Stats.Lines > 6 || res.Stats.EntriesReturned != 4 || res.Stats.PostFilterLines != 4 {
		t.Errorf("%+v", res.Stats)
	}
}

// TestInterval checks that entries are thinned out over all streams.
func TestInterval(t *testing.T) {
	for dir, want := range map[model.Direction][]int64{model.Forward: {0, 3, 6, 9}, model.Backward: {9, 6, 3, 0}} {
		p := params(`{app="a"}`)
		p.Interval, p.Direction = 3*time.Second, dir
		res, err := New(storeOf(3, 10), Options{}).Range(context.Background(), p)
		if err != nil {
			t.Fatal(err)
		}
		var got []int64
		for _, e := range InOrder(res.Streams) {
			got = append(got, (e.Timestamp-zero)/1e9)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", dir, got, want)
		}
	}
}

// TestSkip goes through an answer page by page, by its beginning that is left
// out, and finds every entry once.
func TestSkip(t *testing.T) {
	st := storeOf(3, 40)
	for _, query := range []string{`{app="a"}`, `{app="a"} | logfmt | n >= 10`} {
		for _, d := range []model.Direction{model.Forward, model.Backward} {
			for _, interval := range []time.Duration{0, 2 * time.Second} {
				p := params(query)
				p.Direction, p.Interval, p.Limit = d, interval, 1000
				e := New(st, Options{})
				whole, err := e.Range(t.Context(), p)
				if err != nil {
					t.Fatal(err)
				}
				var pages []LiveEntry
				for p.Limit = 7; ; p.Skip += 7 {
					res, err := e.Range(t.Context(), p)
					if err != nil {
						t.Fatal(err)
					}
					page := InOrder(res.Streams)
					pages = append(pages, page...)
					if len(page) < p.Limit {
						break
					}
				}
				same := func(x, y LiveEntry) bool {
					return x.Timestamp == y.Timestamp && x.Line == y.Line && labels.Equal(x.Labels, y.Labels)
				}
				if want := InOrder(whole.Streams); len(want) == 0 || !slices.EqualFunc(want, pages, same) {
					t.Errorf("%s %s %s: %d entries in pages, %d in one", query, d, interval, len(pages), len(want))
				}
			}
		}
	}
}

// TestMerge checks the two ways in which an answer is grouped.
func TestMerge(t *testing.T) {
	s := &memoryStore{}
	s.push(labels.FromStrings("app", "a"),
		model.Entry{Timestamp: zero, Line: "k=1"},
		model.Entry{Timestamp: zero + 1, Line: "k=2"},
		model.Entry{Timestamp: zero + 2, Line: "k=1"},
		model.Entry{Timestamp: zero + 3, Line: "", Metadata: labels.FromStrings("k", "1")})
	res, err := New(s, Options{}).Range(context.Background(), params(`{app="a"} | logfmt`))
	if err != nil {
		t.Fatal(err)
	}
	show := func(streams []StreamResult) string {
		var b strings.Builder
		for _, s := range streams {
			fmt.Fprint(&b, s.Labels)
			for _, e := range s.Entries {
				fmt.Fprint(&b, " ", e.Timestamp-zero)
			}
			b.WriteString("; ")
		}
		return b.String()
	}
	if got, want := show(MergeByStream(res.Streams)), `{app="a"} 0 1 2 3; `; got != want {
		t.Errorf("by stream: %s, want %s", got, want)
	}
	if got, want := show(MergeFlat(res.Streams)), `{app="a", k="1"} 0 2 3; {app="a", k="2"} 1; `; got != want {
		t.Errorf("flat: %s, want %s", got, want)
	}
}

// liveSource is a Tailer that hands out what a store has, with a loss.
type liveSource struct {
	it  model.BatchIterator
	req model.TailRequest
}

func (s *liveSource) Tail(_ context.Context, r model.TailRequest) (model.BatchIterator, error) {
	s.req = r
	return s, nil
}

func (s *liveSource) Next(ctx context.Context) (*model.EntryBatch, error) {
	b, err := s.it.Next(ctx)
	if err == nil {
		b.Dropped = 7
	}
	return b, err
}
func (s *liveSource) Stats() model.SelectStats { return s.it.Stats() }
func (s *liveSource) Close() error             { return s.it.Close() }

func TestTail(t *testing.T) {
	e := New(nil, Options{})
	for query, ok := range map[string]bool{`{`: false, `rate({app="a"}[1m])`: false, `{app="a"} | json`: true} {
		lt, err := e.Tail(context.Background(), &liveSource{it: &memoryIterator{}}, query)
		if (err == nil) != ok {
			t.Errorf("%s: %v", query, err)
		}
		if lt != nil {
			_ = lt.Close()
		}
	}
	it, _ := storeOf(1, 5).Select(context.Background(), model.SelectRequest{Range: model.AllTime(), Direction: model.Forward})
	src := &liveSource{it: it}
	lt, err := e.Tail(context.Background(), src, `{app="a", pod!="x"} | logfmt n | n > 2 | line_format "{{.n}}"`)
	if err != nil {
		t.Fatal(err)
	}
	if len(src.req.Matchers) != 2 {
		t.Errorf("%+v", src.req)
	}
	var got []string
	dropped := 0
	for {
		b, err := lt.Next(context.Background())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		dropped += b.Dropped
		for _, x := range b.Entries {
			got = append(got, fmt.Sprint(x.Labels, x.Parsed, x.Line))
		}
	}
	want := []string{`{app="a", pod="p000"} {n="3"}3`, `{app="a", pod="p000"} {n="4"}4`}
	if !slices.Equal(got, want) || dropped != 14 {
		t.Errorf("%q, %d dropped", got, dropped)
	}
	if err := lt.Close(); err != nil || !it.(*memoryIterator).closed {
		t.Errorf("close: %v", err)
	}
}

// TestTailForgets checks that a tail over labels that never repeat does not
// grow without end.
func TestTailForgets(t *testing.T) {
	s := &memoryStore{rows: 100}
	for i := range 30_000 {
		s.push(labels.FromStrings("app", "a"), model.Entry{Timestamp: zero + int64(i), Line: fmt.Sprintf("id=%d", i)})
	}
	it, _ := s.Select(context.Background(), model.SelectRequest{Range: model.AllTime(), Direction: model.Forward})
	lt, err := New(nil, Options{}).Tail(context.Background(), &liveSource{it: it}, `{app="a"} | logfmt`)
	if err != nil {
		t.Fatal(err)
	}
	n, most := 0, int64(0)
	for {
		b, err := lt.Next(context.Background())
		if err != nil {
			break
		}
		n += len(b.Entries)
		most = max(most, lt.(*liveTail).budget.Used())
	}
	if n != 30_000 || most > 2*maxTailCache || most < maxTailCache/2 {
		t.Errorf("%d entries, %d bytes", n, most)
	}
}
