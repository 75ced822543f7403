package server

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// query evaluates a metric query at one time.
func (s *Server) query(w http.ResponseWriter, r *http.Request, b *backend) error {
	p := s.params(r)
	at, err := p.timestamp("time", p.now.UnixNano())
	if err != nil {
		return err
	}
	limit, err := p.positiveLimit()
	if err != nil {
		return err
	}
	direction, err := p.direction()
	if err != nil {
		return err
	}
	return s.answer(w, r, b.engine.Instant, engine.Params{
		Query: p.Get("query"), Start: at, End: at, Limit: limit, Direction: direction, PartialSeries: partialSeries(r),
	})
}

// queryRange evaluates a log or metric query over a span of time.
func (s *Server) queryRange(w http.ResponseWriter, r *http.Request, b *backend) error {
	p, err := s.rangeParams(r)
	if err != nil {
		return err
	}
	return s.answer(w, r, b.engine.Range, p)
}

func (s *Server) rangeParams(r *http.Request) (engine.Params, error) {
	p := s.params(r)
	var out engine.Params
	bounds, err := p.bounds()
	if err != nil {
		return out, err
	}
	step, err := p.step(bounds)
	if err != nil {
		return out, err
	}
	interval, err := p.interval()
	if err != nil {
		return out, err
	}
	limit, err := p.positiveLimit()
	if err != nil {
		return out, err
	}
	direction, err := p.direction()
	return engine.Params{
		Query: p.Get("query"), Start: bounds.Start, End: bounds.End,
		Step: step, Interval: interval, Limit: limit, Direction: direction,
		PartialSeries: partialSeries(r), NoCache: noCache(r),
	}, err
}

// evaluate runs a query when it is its turn. Identical queries run as one, and
// take one turn. The result counts against Options.AnswerMemory until it is
// released, or ctx ends: the turn goes on to the next query while a client reads
// slowly, and many of them must not fill the memory.
func (s *Server) evaluate(ctx context.Context, run func(context.Context, engine.Params) (*engine.Result, error), p engine.Params) (*engine.Result, error) {
	p.Turn, p.Hold = s.turn, s.holdAnswer
	res, err := run(ctx, p)
	if err == nil {
		context.AfterFunc(ctx, res.Release)
	}
	return res, err
}

// holdFor is how long an answer waits for room before it is given up, holdOthers
// how long while other queries wait. Its query keeps its turn meanwhile: waiting
// for ever, a few clients that never read would stop all queries.
const (
	holdFor    = 10 * time.Second
	holdOthers = time.Second
)

// holdAnswer waits until there is room for an answer of that many bytes. A small
// one does not wait: the system's buffers take it, whether or not it is read.
func (s *Server) holdAnswer(ctx context.Context, bytes int64) (release func(), err error) {
	bytes = min(bytes, s.opts.AnswerMemory)
	if bytes <= s.opts.AnswerMemory/64 {
		return func() {}, nil
	}
	for waited := time.Duration(0); waited < holdFor; waited += holdOthers {
		if waited > 0 && s.waiting.Load() > 0 {
			break
		}
		part, cancel := context.WithTimeout(ctx, holdOthers)
		err = s.answers.Acquire(part, bytes)
		cancel()
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		return nil, statusErrorf(http.StatusServiceUnavailable, "no memory for this answer: others of %d bytes are not read by their clients; try again, or ask for less (limit)", s.opts.AnswerMemory)
	}
	return func() { s.answers.Release(bytes) }, nil
}

// turn waits until another query may run. The caller calls done once.
func (s *Server) turn(ctx context.Context) (done func(), err error) {
	s.metrics.waiting.Inc()
	s.waiting.Add(1)
	err = s.queries.Acquire(ctx, 1)
	s.waiting.Add(-1)
	s.metrics.waiting.Dec()
	if err != nil {
		return nil, err
	}
	s.metrics.running.Inc()
	return func() {
		s.metrics.running.Dec()
		s.queries.Release(1)
	}, nil
}

// lookupTimeout bounds what a lookup may take, as the engine bounds queries.
const lookupTimeout = time.Minute

// lookup makes h, which reads the index, wait for its turn among the queries,
// and ends it after lookupTimeout. The turn ends with the first byte of the
// answer: a client that reads slowly keeps nobody waiting.
func (s *Server) lookup(h handlerFunc) handlerFunc {
	return func(w http.ResponseWriter, r *http.Request, b *backend) error {
		done, err := s.turn(r.Context())
		if err != nil {
			return err
		}
		lw := &lookupWriter{ResponseWriter: w, done: sync.OnceFunc(done), control: http.NewResponseController(w)}
		defer lw.done()
		defer func() { _ = lw.control.SetWriteDeadline(time.Time{}) }()
		ctx, cancel := context.WithTimeout(r.Context(), lookupTimeout)
		defer cancel()
		ctx, _ = model.WithWarnings(ctx)
		err = h(lw, r.WithContext(ctx), b)
		if errors.Is(err, context.DeadlineExceeded) && r.Context().Err() == nil {
			return engine.ErrTimeout
		}
		return err
	}
}

// lookupWriter ends the turn of a lookup when the answer begins.
type lookupWriter struct {
	http.ResponseWriter
	done    func()
	control *http.ResponseController
	begun   bool
}

func (w *lookupWriter) begin() {
	if w.begun {
		return
	}
	w.begun = true
	w.done()
	_ = w.control.SetWriteDeadline(time.Now().Add(answerTimeout))
}

func (w *lookupWriter) WriteHeader(code int) {
	w.begin()
	w.ResponseWriter.WriteHeader(code)
}

func (w *lookupWriter) Write(b []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(b)
}

// answer evaluates a query and writes its result.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, run func(context.Context, engine.Params) (*engine.Result, error), p engine.Params) error {
	res, err := s.evaluate(r.Context(), run, p)
	if err != nil {
		return err
	}
	defer res.Release()
	w.Header().Set("Content-Type", jsonType)
	pw := &progressWriter{ResponseWriter: w, control: http.NewResponseController(w), last: time.Now().Add(answerTimeout)}
	defer func() { _ = pw.control.SetWriteDeadline(time.Time{}) }()
	// The status is sent; an error of writing means that the client is gone.
	if err := writeResult(lokiapi.NewEncoder(pw, categorize(r)), res, categorize(r)); err != nil {
		s.log.Debug("writing the answer of a query", "error", err)
	}
	return nil
}

// answerTimeout bounds the writing of one answer to a client that reads slowly,
// answerPieceTimeout that of a piece of it: who reads nothing at all holds the memory
// of the answer no longer than that.
const (
	answerTimeout      = 2 * time.Minute
	answerPieceTimeout = 10 * time.Second
)

// progressWriter gives every piece of an answer its time, up to that of the whole.
type progressWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	last    time.Time
}

func (w *progressWriter) Write(b []byte) (int, error) {
	deadline := time.Now().Add(answerPieceTimeout)
	if deadline.After(w.last) {
		deadline = w.last
	}
	_ = w.control.SetWriteDeadline(deadline)
	return w.ResponseWriter.Write(b)
}

const jsonType = "application/json; charset=UTF-8"

// writeResult encodes a result.
func writeResult(e *lokiapi.Encoder, res *engine.Result, categorize bool) error {
	e.Begin(string(res.Type), res.Warnings)
	switch res.Type {
	case engine.ResultStreams:
		writeStreams(e, res, categorize)
	case engine.ResultMatrix:
		for _, series := range res.Matrix {
			e.Series(series.Metric)
			for _, p := range series.Floats {
				e.Point(p.T, p.F)
			}
		}
	case engine.ResultVector:
		for _, sample := range res.Vector {
			e.Sample(sample.Metric, sample.T, sample.F)
		}
	case engine.ResultScalar:
		e.Scalar(res.Scalar.T, res.Scalar.V)
	}
	return e.End(newStats(res))
}

// queryStats is the part of Loki's statistics that its clients show.
type queryStats struct {
	Summary struct {
		BytesPerSecond  int64   `json:"bytesProcessedPerSecond"`
		LinesPerSecond  int64   `json:"linesProcessedPerSecond"`
		Bytes           int64   `json:"totalBytesProcessed"`
		Lines           int64   `json:"totalLinesProcessed"`
		ExecTime        float64 `json:"execTime"`
		QueueTime       float64 `json:"queueTime"`
		EntriesReturned int64   `json:"totalEntriesReturned"`
		PostFilterLines int64   `json:"totalPostFilterLines"`
	} `json:"summary"`
	Querier struct {
		Store struct {
			ChunksRef        int `json:"totalChunksRef"`
			ChunksDownloaded int `json:"totalChunksDownloaded"`
			Chunk            struct {
				DecompressedBytes int64 `json:"decompressedBytes"`
				DecompressedLines int64 `json:"decompressedLines"`
				CompressedBytes   int64 `json:"compressedBytes"`
				PostFilterLines   int64 `json:"postFilterLines"`
			} `json:"chunk"`
		} `json:"store"`
	} `json:"querier"`
}

func newStats(res *engine.Result) *queryStats {
	var out queryStats
	in := &res.Stats
	sum := &out.Summary
	sum.Bytes, sum.Lines = in.Bytes, in.Lines
	sum.ExecTime, sum.QueueTime = in.ExecTime.Seconds(), in.QueueTime.Seconds()
	if sum.ExecTime > 0 {
		sum.BytesPerSecond = int64(float64(in.Bytes) / sum.ExecTime)
		sum.LinesPerSecond = int64(float64(in.Lines) / sum.ExecTime)
	}
	sum.EntriesReturned, sum.PostFilterLines = in.EntriesReturned, in.PostFilterLines
	st := &out.Querier.Store
	st.ChunksRef, st.ChunksDownloaded = in.ChunkBlocks, in.ChunkBlocks-in.ChunkBlocksSkipped
	st.Chunk.DecompressedBytes, st.Chunk.DecompressedLines = in.Bytes, in.Lines
	st.Chunk.CompressedBytes, st.Chunk.PostFilterLines = in.CompressedBytes, in.PostFilterLines
	return &out
}
