package engine

import (
	"context"
	"strings"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/logql/stage"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// Tail subscribes to new entries and runs a log query's pipeline over them. The
// subscription lives until Close or the end of ctx.
func (e *Engine) Tail(ctx context.Context, t Tailer, query string) (LiveTail, error) {
	expr, err := logql.Parse(query)
	if err != nil {
		return nil, err
	}
	sel, ok := expr.(*logql.LogSelector)
	if !ok {
		return nil, &QueryError{Msg: "only log queries can be tailed: a metric query has no entries"}
	}
	it, err := t.Tail(ctx, model.TailRequest{Matchers: sel.Matchers})
	if err != nil {
		return nil, err
	}
	lt := &liveTail{e: e, stages: sel.Stages, it: it}
	if err := lt.renew(); err != nil {
		_ = it.Close()
		return nil, err
	}
	return lt, nil
}

// liveTail runs a pipeline over a subscription.
type liveTail struct {
	e      *Engine
	stages []logql.Stage
	it     model.BatchIterator
	p      *stage.Pipeline
	budget *stage.Budget
}

// maxTailCache bounds the label sets that a tail remembers: it may run for
// days over labels that never repeat.
const maxTailCache = 4 << 20

// renew compiles the pipeline and so forgets its caches.
func (t *liveTail) renew() error {
	t.budget = &stage.Budget{Limit: maxTailCache}
	p, err := stage.NewPipeline(t.stages, stage.Config{Budget: t.budget, Now: t.e.opts.Now})
	if err != nil {
		return &QueryError{Msg: err.Error()}
	}
	t.p = p
	return nil
}

// Next implements LiveTail.
func (t *liveTail) Next(ctx context.Context) (*LiveBatch, error) {
	for {
		batch, err := t.it.Next(ctx)
		if err != nil {
			return nil, err
		}
		if t.budget.Exceeded() {
			if err := t.renew(); err != nil {
				return nil, err
			}
		}
		out := &LiveBatch{Dropped: batch.Dropped}
		t.p.Until(ctx)
		for _, row := range t.p.Select(batch) {
			line, ok := t.p.Row(batch, row)
			if !ok {
				continue
			}
			set := t.p.Labels()
			out.Entries = append(out.Entries, LiveEntry{
				Labels: set.Stream,
				ResultEntry: ResultEntry{
					Timestamp:          batch.Timestamps[row],
					Line:               strings.Clone(line),
					StructuredMetadata: set.Metadata,
					Parsed:             set.Parsed,
				},
			})
		}
		if err := t.p.Err(); err != nil {
			return nil, err
		}
		if len(out.Entries) > 0 || out.Dropped > 0 {
			return out, nil
		}
	}
}

// Close implements LiveTail.
func (t *liveTail) Close() error { return t.it.Close() }
