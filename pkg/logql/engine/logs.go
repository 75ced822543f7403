package engine

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/logql/stage"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// entryCost is the memory of a result entry beyond its line, in bytes.
const entryCost = 128

// firstBatchRows is the batch size for a query that can end with its first
// batch: asking for a few rows more than the limit saves decoding the rest.
const firstBatchRows = 1024

// logs answers a log query: entries in the order of the request until the limit.
func (r *run) logs(ctx context.Context, sel *logql.LogSelector, p Params) (res *Result, err error) {
	switch {
	case p.Limit <= 0:
		return nil, &QueryError{Msg: "limit must be a positive value"}
	case p.Limit > r.e.opts.MaxEntries:
		return nil, limitErrorf("max entries limit per query exceeded, limit > max_entries_limit_per_query (%d > %d)", p.Limit, r.e.opts.MaxEntries)
	case p.End < p.Start:
		return nil, &QueryError{Msg: "end timestamp must not be before or equal to start time"}
	}
	if err := r.checkMatchers(sel); err != nil {
		return nil, err
	}
	pl, err := stage.NewPipeline(sel.Stages, stage.Config{Budget: &r.budget, Now: r.e.opts.Now})
	if err != nil {
		return nil, &QueryError{Msg: err.Error()}
	}
	req := model.SelectRequest{
		Matchers:  sel.Matchers,
		Range:     model.TimeRange{Start: p.Start, End: p.End},
		Direction: p.Direction,
		Contains:  sel.RequiredSubstrings(),
	}
	req.ContainsAny, req.AnyFold = pl.AnyOf()
	req.ContainsNone = pl.NoneOf()
	if p.Skip+p.Limit < firstBatchRows {
		req.BatchRows = firstBatchRows
	}
	if pl.Empty() && p.Interval == 0 {
		req.BatchRows = min(p.Skip+p.Limit, firstBatchRows)
	}
	it, err := r.e.querier.Select(ctx, req)
	if err != nil {
		return nil, err
	}
	defer func() {
		r.stats.Add(it.Stats())
		err = errors.Join(err, it.Close())
	}()
	c := collector{run: r, pipeline: pl, params: p, groups: map[*stage.LabelSet]int{}}
	for !c.full() {
		batch, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := c.batch(ctx, batch); err != nil {
			return nil, err
		}
		if err := r.checkBudget(); err != nil {
			return nil, err
		}
	}
	r.stats.EntriesReturned = int64(c.n)
	return &Result{Type: ResultStreams, Streams: c.sorted()}, nil
}

// collector gathers the entries of a log query by label set.
type collector struct {
	run      *run
	pipeline *stage.Pipeline
	params   Params
	groups   map[*stage.LabelSet]int
	sets     []*stage.LabelSet
	streams  []StreamResult
	n        int   // entries so far
	skipped  int   // entries left out at the beginning
	last     int64 // timestamp of the last one, for the interval
}

func (c *collector) full() bool { return c.n >= c.params.Limit }

func (c *collector) batch(ctx context.Context, b *model.EntryBatch) error {
	c.pipeline.Until(ctx)
	for _, row := range c.pipeline.Select(b) {
		if c.full() {
			return nil
		}
		line, ok := c.pipeline.Row(b, row)
		if !ok {
			continue
		}
		c.run.stats.PostFilterLines++
		ts := b.Timestamps[row]
		if c.tooClose(ts) {
			continue
		}
		c.last = ts
		if c.skipped < c.params.Skip {
			c.skipped++
			continue
		}
		c.add(ts, line)
		if err := c.run.checkBudget(); err != nil { // a line can be a megabyte
			return err
		}
	}
	return c.pipeline.Err()
}

// tooClose applies the interval of the request, over all streams.
func (c *collector) tooClose(ts int64) bool {
	if c.params.Interval <= 0 || c.n+c.skipped == 0 {
		return false
	}
	if c.params.Direction == model.Backward {
		return c.last-ts < int64(c.params.Interval)
	}
	return ts-c.last < int64(c.params.Interval)
}

func (c *collector) add(ts int64, line string) {
	set := c.pipeline.Labels()
	g, ok := c.groups[set]
	if !ok {
		g = len(c.streams)
		c.groups[set] = g
		c.sets = append(c.sets, set)
		c.streams = append(c.streams, StreamResult{Labels: set.Stream, StructuredMetadata: set.Metadata, Parsed: set.Parsed})
	}
	c.streams[g].Entries = append(c.streams[g].Entries, ResultEntry{
		Timestamp:          ts,
		Line:               strings.Clone(line),
		StructuredMetadata: set.Metadata,
		Parsed:             set.Parsed,
		seq:                c.n,
	})
	c.n++
	c.run.budget.Take(entryCost + len(line))
}

// sorted returns the groups in the order of their label text.
func (c *collector) sorted() []StreamResult {
	type keyed struct {
		text string
		s    StreamResult
	}
	ks := make([]keyed, len(c.streams))
	for i, s := range c.streams {
		ks[i] = keyed{c.sets[i].Flat.String(), s}
	}
	slices.SortStableFunc(ks, func(x, y keyed) int { return strings.Compare(x.text, y.text) })
	out := make([]StreamResult, len(ks))
	for i := range ks {
		out[i] = ks[i].s
	}
	return out
}
