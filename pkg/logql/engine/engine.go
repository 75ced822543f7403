package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"golang.org/x/sync/semaphore"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/logql/stage"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// Engine evaluates queries. It is safe for concurrent use and holds nothing
// that would have to be closed.
type Engine struct {
	querier Querier
	opts    Options
	promql  *promql.Engine
	logger  *slog.Logger
	// spare are the goroutines that queries may add to their own.
	spare   *semaphore.Weighted
	metrics *metrics
	reviser Reviser      // the querier, nil if it is none
	refresh Refresher    // the querier, nil if it is none
	cache   *resultCache // nil if there is none
	flights flights
	// sliceWidth is the constant of that name, but for tests.
	sliceWidth int64
}

// New returns an engine over q.
func New(q Querier, o Options) *Engine {
	o = o.withDefaults()
	m := newMetrics(o.Registerer)
	reviser, _ := q.(Reviser)
	refresh, _ := q.(Refresher)
	return &Engine{
		metrics:    m,
		reviser:    reviser,
		refresh:    refresh,
		cache:      newResultCache(q, o.CacheBytes, m),
		querier:    q,
		opts:       o,
		logger:     o.Logger,
		sliceWidth: sliceWidth,
		spare:      semaphore.NewWeighted(int64(max(o.ExtraWorkers, 0))),
		promql: promql.NewEngine(promql.EngineOpts{
			Logger:     o.Logger,
			MaxSamples: o.MaxSamples,
			// Timeouts come with the context; this one must never be first.
			Timeout:       24 * time.Hour,
			LookbackDelta: time.Millisecond,
			Parser:        parser.NewParser(parser.Options{}),
		}),
	}
}

// Range answers a log query, or a metric query at the steps of a range.
func (e *Engine) Range(ctx context.Context, p Params) (*Result, error) {
	expr, err := logql.Parse(p.Query)
	if err != nil {
		return nil, err
	}
	if err := e.checkTimes(&p, expr); err != nil {
		return nil, err
	}
	if sel, ok := expr.(*logql.LogSelector); ok {
		key := shareKey("logs", sel.String(), p, p.Start, p.End)
		return e.shared(ctx, p, key, model.TimeRange{Start: p.Start, End: p.End}, func(ctx context.Context, r *run) (*Result, error) {
			return r.logs(ctx, sel, p)
		})
	}
	steps, err := e.alignedSteps(p)
	if err != nil {
		return nil, err
	}
	key := shareKey("range", expr.String(), p, steps.start, int64(steps.n))
	m := expr.(logql.MetricExpr)
	return e.shared(ctx, p, key, reads(m, steps), func(ctx context.Context, r *run) (*Result, error) {
		r.steps, r.partial, r.noCache = steps, p.PartialSeries, p.NoCache
		return r.metric(ctx, m)
	})
}

// Instant answers a metric query at one time, p.End.
func (e *Engine) Instant(ctx context.Context, p Params) (*Result, error) {
	expr, err := logql.Parse(p.Query)
	if err != nil {
		return nil, err
	}
	m, ok := expr.(logql.MetricExpr)
	if !ok {
		return nil, ErrLogInstant
	}
	if p.End > maxTime || p.End < -maxTime {
		return nil, &QueryError{Msg: "the time of the query is too far from 1970"}
	}
	p.Start = p.End
	if err := e.checkTimes(&p, expr); err != nil {
		return nil, err
	}
	key := shareKey("instant", expr.String(), p, p.End, p.End)
	at := steps{start: p.End, n: 1, instant: true}
	return e.shared(ctx, p, key, reads(m, at), func(ctx context.Context, r *run) (*Result, error) {
		r.steps, r.partial = at, p.PartialSeries
		return r.metric(ctx, m)
	})
}

// steps are the points in time of a metric query, in nanoseconds.
type steps struct {
	start, step int64
	n           int
	instant     bool
}

// millis is the time of step k in milliseconds since the epoch.
func (s steps) millis(k int) int64 {
	return floorDiv(s.start+int64(k)*s.step, int64(time.Millisecond))
}

// alignedSteps lays the steps on multiples of the step since the epoch: the
// start moves down, the end up. So Loki does when it splits queries by time,
// and so the same panel asks for the same points at every refresh.
func (e *Engine) alignedSteps(p Params) (steps, error) {
	step := int64(p.Step.Truncate(time.Millisecond))
	switch {
	case step <= 0:
		return steps{}, &QueryError{Msg: "zero or negative query resolution step widths are not accepted. Try a positive integer"}
	case p.End < p.Start:
		return steps{}, &QueryError{Msg: "end timestamp must not be before or equal to start time"}
	case p.Start < -maxTime || p.End > maxTime || step > maxSpan:
		return steps{}, &QueryError{Msg: "the time range of the query is too far from 1970"}
	case (p.End-p.Start)/step > int64(e.opts.MaxPoints):
		return steps{}, limitErrorf("exceeded maximum resolution of %s points per time series. Try increasing the value of the step parameter", thousands(e.opts.MaxPoints))
	}
	start := floorDiv(p.Start, step) * step
	end := -floorDiv(-p.End, step) * step
	return steps{start: start, step: step, n: int((end-start)/step) + 1}, nil
}

// thousands prints n with commas, as Loki's message has it.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}

// run is the evaluation of one query.
type run struct {
	e     *Engine
	steps steps
	// partial is Params.PartialSeries, noCache Params.NoCache.
	partial, noCache bool
	budget           stage.Budget
	stats            Stats
	// leaves are what the PromQL text refers to, by the name of the metric.
	leaves map[string]*leaf
	needs  map[*logql.RangeAggregation]logql.LabelNeeds
}

// run calls f with a time limit, and translates what ended it.
func (e *Engine) run(ctx context.Context, f func(context.Context, *run) (*Result, error)) (*Result, error) {
	begin := e.opts.Now()
	r := &run{e: e}
	r.budget.Limit = e.opts.MaxQueryBytes
	limited := ctx
	if e.opts.Timeout > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, e.opts.Timeout)
		defer cancel()
	}
	limited, warnings := model.WithWarnings(limited)
	res, err := f(limited, r)
	if err != nil {
		return nil, explain(ctx, limited, err)
	}
	res.Warnings = append(res.Warnings, warnings.List()...)
	res.Stats = r.stats
	res.Stats.ExecTime = e.opts.Now().Sub(begin)
	return res, nil
}

// explain turns an error into one of those that the package documents.
func explain(ctx, limited context.Context, err error) error {
	var (
		failure *stage.Failure
		samples promql.ErrTooManySamples
		storage promql.ErrStorage
	)
	switch {
	case errors.As(err, &failure):
		return &PipelineError{Kind: failure.Kind, Series: failure.Labels}
	case ctx.Err() != nil:
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return ErrTimeout
		}
		return ctx.Err()
	case limited.Err() != nil:
		return ErrTimeout
	case errors.As(err, &samples):
		return limitErrorf("the query needs too many samples at once: ask for a shorter range or a larger step, or aggregate to fewer series")
	case errors.As(err, &storage):
		return storage.Err
	}
	return err
}

// checkBudget ends a query that holds too much.
func (r *run) checkBudget() error {
	if r.budget.Exceeded() {
		return limitErrorf("the query needs more than %d MiB of memory: ask for a shorter range, a smaller limit, a larger step or fewer series (sum by (…)), or drop labels that differ from line to line", r.e.opts.MaxQueryBytes>>20)
	}
	return nil
}

// checkMatchers refuses selectors with too many matchers.
func (r *run) checkMatchers(sel *logql.LogSelector) error {
	if n := len(sel.Matchers); n > r.e.opts.MaxMatchers {
		return limitErrorf("max streams matchers per query exceeded, matchers-count > limit (%d > %d)", n, r.e.opts.MaxMatchers)
	}
	return nil
}
