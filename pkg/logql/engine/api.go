package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// Querier is what the engine needs of a store. Select is called from the
// goroutine of the query; the iterator it returns is closed by the engine. What
// it notes with model.Warn becomes a warning of the answer.
type Querier interface {
	Select(ctx context.Context, r model.SelectRequest) (model.BatchIterator, error)
}

// Splitter is what a Querier implements to have one request read by several
// goroutines: n iterators over one moment that give together what Select gives,
// each used by one goroutine. The request is unordered. Rows of a stream are in
// order inside one iterator only.
type Splitter interface {
	SelectSplit(ctx context.Context, r model.SelectRequest, n int) ([]model.BatchIterator, error)
}

// Refresher is what a Reviser implements that has to look for changes: those made
// before a call of Refresh are known to ChangedSince when it returns. It is called
// for every query, before anything else.
type Refresher interface {
	Refresh(ctx context.Context)
}

// Tailer hands out entries as they become durable, for Engine.Tail.
type Tailer interface {
	Tail(ctx context.Context, r model.TailRequest) (model.BatchIterator, error)
}

// Options limit what one query may cost. The zero value of each field means
// its default.
type Options struct {
	// MaxEntries is the largest limit a log query may ask for. Default 5000.
	MaxEntries int
	// MaxSeries is the largest number of series in a metric result. Default 500.
	MaxSeries int
	// MaxPoints is the largest number of steps of a range query. Default 11000.
	MaxPoints int
	// MaxMatchers is the largest number of matchers in one selector. Default 1000.
	MaxMatchers int
	// MaxQueryLength is the longest time from Start to End. Default: no limit.
	MaxQueryLength time.Duration
	// MaxRange is the longest range of a range aggregation or subquery, as in
	// [1h]. Default: no limit.
	MaxRange time.Duration
	// MaxLookback is how far back a query may look: one that ends before is
	// refused, a log query that begins before begins there. Default: no limit.
	MaxLookback time.Duration
	// MaxQueryBytes is the memory in bytes that one query may hold for its
	// entries, buckets and label sets. Default 64 MiB.
	MaxQueryBytes int64
	// MaxSamples bounds the samples that the evaluation above the range
	// aggregations holds at once, 16 bytes each, besides MaxQueryBytes. Default:
	// what half of MaxQueryBytes takes.
	MaxSamples int
	// ExtraWorkers is the number of goroutines that all queries together may
	// add to their own. Default: one less than the processors; negative: none.
	ExtraWorkers int
	// CacheBytes bounds the memory of the cache of metric results, in bytes. There
	// is one where the Querier is a Reviser. Default 16 MiB; negative: no cache.
	CacheBytes int64
	// Timeout ends a query. Default one minute; negative means no timeout.
	Timeout time.Duration
	// Logger receives what is of interest to an operator. Default: discard.
	Logger *slog.Logger
	// Registerer takes the engine's metrics. Default: none.
	Registerer prometheus.Registerer
	// Now is the clock, for `now` in templates and execution times. Default time.Now.
	Now func() time.Time
}

// withDefaults fills in the documented defaults.
func (o Options) withDefaults() Options {
	setInt := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	setInt(&o.MaxEntries, 5000)
	setInt(&o.MaxSeries, 500)
	setInt(&o.MaxPoints, 11000)
	setInt(&o.MaxMatchers, 1000)
	if o.MaxQueryBytes <= 0 {
		o.MaxQueryBytes = 64 << 20
	}
	setInt(&o.MaxSamples, int(o.MaxQueryBytes/2/pointSize))
	if o.ExtraWorkers == 0 {
		o.ExtraWorkers = runtime.GOMAXPROCS(0) - 1
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 16 << 20
	}
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Params are one request.
type Params struct {
	// Query is LogQL text.
	Query string
	// Start and End are nanoseconds since the Unix epoch. A log query returns
	// entries of [Start, End). A metric range query is evaluated from Start,
	// aligned down to a multiple of Step, to End, aligned up. Instant evaluates
	// at End and ignores Start.
	Start, End int64
	// Step is the distance of the points of a metric range query. It is cut to
	// whole milliseconds and must be at least one.
	Step time.Duration
	// Interval thins out a log query: an entry is returned only when it is at
	// least so far from the one returned before. 0 returns all.
	Interval time.Duration
	// Limit is the largest number of entries of a log query. It must be
	// positive and at most Options.MaxEntries.
	Limit int
	// Skip leaves out that many entries at the beginning of a log query's
	// answer, without keeping them in memory: a page goes on where the one
	// before ended, however many entries share a timestamp.
	Skip int
	// Direction is the order of entries.
	Direction model.Direction
	// PartialSeries asks for a warning and the first Options.MaxSeries series
	// where there are more, instead of a LimitError.
	PartialSeries bool
	// NoCache evaluates everything, and keeps nothing.
	NoCache bool
	// Alone keeps the query from sharing the answer of one that waits or runs
	// already: it reads everything after the call.
	Alone bool
	// Turn, if set, is called before the query reads anything and returns when it
	// may; done is called at its end. Of identical queries that run as one, that
	// of the first is called. The context ends when nobody waits for the answer.
	Turn func(context.Context) (done func(), err error)
	// Hold, if set, is called before done with the memory of the result in bytes,
	// and returns when that may be kept; release is called when all who asked
	// have called Result.Release or left. Otherwise it is like Turn.
	Hold func(ctx context.Context, bytes int64) (release func(), err error)
}

// ResultType says which field of a Result is filled.
type ResultType string

// The result types have the names that Loki's HTTP API uses.
const (
	ResultStreams ResultType = "streams"
	ResultMatrix  ResultType = "matrix"
	ResultVector  ResultType = "vector"
	ResultScalar  ResultType = "scalar"
)

// Result is the answer to a query. The struct is the caller's; what it refers to
// may be shared with others who asked the same at the same time, and must not be
// changed.
type Result struct {
	Type ResultType
	// Streams are sorted by their whole label set (see StreamResult.Flat).
	Streams []StreamResult
	// Matrix is sorted by labels; a step without a value is absent.
	Matrix promql.Matrix
	// Vector is sorted by labels, or by value when the query ends in sort,
	// sort_desc, topk or bottomk.
	Vector   promql.Vector
	Scalar   promql.Scalar
	Warnings []string
	Stats    Stats

	release func()
}

// Release says that the result is not used any more, see Params.Hold. Safe twice.
func (r *Result) Release() {
	if r.release != nil {
		r.release()
	}
}

// bytes is about the memory that the result takes.
func (r *Result) bytes() int64 {
	n := int64(0)
	for i := range r.Streams {
		s := &r.Streams[i]
		n += entryCost + int64(s.Labels.ByteSize()+s.StructuredMetadata.ByteSize()+s.Parsed.ByteSize())
		for j := range s.Entries {
			n += entryCost + int64(len(s.Entries[j].Line))
		}
	}
	for i := range r.Matrix {
		n += entryCost + int64(r.Matrix[i].Metric.ByteSize()) + pointSize*int64(len(r.Matrix[i].Floats))
	}
	for i := range r.Vector {
		n += entryCost + int64(r.Vector[i].Metric.ByteSize())
	}
	return n
}

// StreamResult are the entries that share one whole label set: stream labels,
// structured metadata and parsed labels together.
type StreamResult struct {
	// Labels are the stream's own labels, less what drop, keep and
	// label_format took away.
	Labels labels.Labels
	// StructuredMetadata and Parsed are the other two parts of the label set;
	// every entry repeats them.
	StructuredMetadata, Parsed labels.Labels
	// Entries are in the direction of the query.
	Entries []ResultEntry
}

// ResultEntry is one line of a log query's answer.
type ResultEntry struct {
	// Timestamp is in nanoseconds since the Unix epoch.
	Timestamp int64
	// Line is what the pipeline made of it.
	Line string
	// StructuredMetadata are pairs stored with the entry; Parsed are labels
	// that the pipeline made, __error__ included.
	StructuredMetadata, Parsed labels.Labels

	// seq is the entry's place in the merged answer: it restores the order
	// when groups are merged.
	seq int
}

// Stats tell what a query cost.
type Stats struct {
	model.SelectStats
	// PostFilterLines are the lines that passed the pipeline.
	PostFilterLines int64
	// EntriesReturned are the entries of a log query's answer.
	EntriesReturned int64
	// CacheHits and CacheMisses are steps of range aggregations: those whose
	// points were known, and those that could have been.
	CacheHits, CacheMisses int64
	// ExecTime is how long the query ran, QueueTime how long it waited for its
	// turn.
	ExecTime, QueueTime time.Duration
}

// add sums the work of two parts of a query.
func (s *Stats) add(o Stats) {
	s.SelectStats.Add(o.SelectStats)
	s.PostFilterLines += o.PostFilterLines
}

// LiveTail hands out new entries after the pipeline. It is used by one
// goroutine, except Close.
type LiveTail interface {
	// Next waits for entries and returns them in the order in which they
	// became durable. It returns ctx.Err() when ctx ends, io.EOF when the
	// source ended. The batch is the caller's.
	Next(ctx context.Context) (*LiveBatch, error)
	// Close ends the subscription. Safe twice.
	Close() error
}

// LiveBatch is a run of live entries.
type LiveBatch struct {
	// Entries are in arrival order.
	Entries []LiveEntry
	// Dropped counts entries lost before this batch because the reader was
	// too slow. A batch may report only that.
	Dropped int
}

// LiveEntry is an entry and the stream labels it came with.
type LiveEntry struct {
	// Labels are the stream's own labels after the pipeline.
	Labels labels.Labels
	ResultEntry
}

// ErrTimeout says that a query took longer than Options.Timeout.
var ErrTimeout = errors.New("request timed out, decrease the duration of the request or add more label matchers (prefer exact match over regex match) to reduce the amount of data processed")

// ErrLogInstant says that a log query was sent to Instant.
var ErrLogInstant = &QueryError{Msg: "log queries are not supported as an instant query type, please change your query to a range query type"}

// QueryError says that a request cannot be answered as it was asked: bad
// parameters or a construct that cannot be evaluated. It is the client's to mend.
type QueryError struct{ Msg string }

func (e *QueryError) Error() string { return e.Msg }

// LimitError says that a query would exceed a limit. It is the client's to mend.
type LimitError struct{ Msg string }

func (e *LimitError) Error() string { return e.Msg }

func limitErrorf(format string, args ...any) error {
	return &LimitError{Msg: fmt.Sprintf(format, args...)}
}

// PipelineError says that a metric query met a line on which a stage failed.
type PipelineError struct {
	// Kind is the value of __error__, such as JSONParserErr.
	Kind string
	// Series is the label set of the failed line.
	Series labels.Labels
}

func (e *PipelineError) Error() string {
	return fmt.Sprintf("pipeline error: '%s' for series: '%s'.\n"+
		"Use a label filter to leave such lines out (| __error__!=%q), or drop the label to count them anyway (| drop __error__).",
		e.Kind, e.Series, e.Kind)
}
