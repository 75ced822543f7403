package engine

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"golang.org/x/sync/errgroup"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/logql/stage"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

const (
	// sliceWidth is where a range in time is cut to be read by several
	// goroutines: at midnights, where stores cut their blocks too. A cut inside
	// a block would have it decoded twice.
	sliceWidth = int64(24 * time.Hour)
	// maxSlices bounds the slices of one range.
	maxSlices = 64
	// maxExtraWorkers bounds the goroutines that one query adds to its own: each
	// has buckets of its own.
	maxExtraWorkers = 3
)

// errNeedMetadata says that a stream lacks a label that its entries' metadata
// may have, so that timestamps alone do not do.
var errNeedMetadata = errors.New("timestamps alone do not tell the series")

// worker reads entries and aggregates them, in one goroutine.
type worker struct {
	x     *stage.Extractor
	agg   aggregator
	stats Stats
}

// series are the label sets of the aggregator's series.
func (w *worker) series() []labels.Labels {
	if w.x == nil {
		return nil
	}
	return w.x.Series()
}

func (r *run) newWorker(n *logql.RangeAggregation, by *logql.Grouping, g *grid) (*worker, error) {
	hints := stage.AllLabels()
	if need, ok := r.needs[n]; ok && !need.All {
		hints = stage.NeededLabels(need.Names)
	}
	x, err := stage.NewExtractor(n, by, stage.Config{Hints: hints, Budget: &r.budget, Now: r.e.opts.Now})
	if err != nil {
		return nil, &QueryError{Msg: err.Error()}
	}
	return &worker{x: x, agg: newAggregator(n, g, &r.budget)}, nil
}

// read aggregates all entries of the windows of g. It tries with timestamps
// only where that can do, which spares the store the text.
func (r *run) read(ctx context.Context, n *logql.RangeAggregation, by *logql.Grouping, g *grid) (*worker, error) {
	w, err := r.readAll(ctx, n, by, g, true)
	if errors.Is(err, errNeedMetadata) {
		return r.readAll(ctx, n, by, g, false)
	}
	return w, err
}

// readAll shares what has to be read among as many goroutines as the engine can
// spare.
func (r *run) readAll(ctx context.Context, n *logql.RangeAggregation, by *logql.Grouping, g *grid, timesOnly bool) (*worker, error) {
	ranges := cut(g.span(), r.e.sliceWidth)
	splitter, canSplit := r.e.querier.(Splitter)
	// Of equal timestamps these take what comes first or last: one reader tells.
	canSplit = canSplit && n.Op != logql.OpFirstOverTime && n.Op != logql.OpLastOverTime && n.Op != logql.OpRateCounter
	wanted := min(maxExtraWorkers, len(ranges)-1)
	if canSplit {
		wanted = maxExtraWorkers
	}
	extra := 0
	for extra < wanted && r.e.spare.TryAcquire(1) {
		extra++
	}
	defer func() { r.e.spare.Release(int64(extra)) }()
	workers := make([]*worker, 1+extra)
	for i := range workers {
		var err error
		if workers[i], err = r.newWorker(n, by, g); err != nil {
			return nil, err
		}
	}
	x := workers[0].x
	req := model.SelectRequest{
		Matchers:  n.Selector.Matchers,
		Range:     g.span(),
		Direction: model.Forward,
		Unordered: true,
		Contains:  n.Selector.RequiredSubstrings(),
		TimesOnly: timesOnly && x.TimesSuffice(),
		NoLines:   x.NoLines(),
	}
	if c, ok := workers[0].agg.(*counter); ok && req.TimesOnly && len(n.Selector.Stages) == 0 {
		// Counts of streams: several entries may come as one row.
		req.CountStep, req.CountFrom = c.g.pieces()
	}
	req.ContainsAny, req.AnyFold = x.AnyOf()
	req.ContainsNone = x.NoneOf()
	var err error
	if canSplit && extra > 0 {
		err = r.readSplit(ctx, splitter, req, workers, g)
	} else {
		if extra == 0 {
			ranges = []model.TimeRange{g.span()}
		}
		err = r.readSlices(ctx, ranges, req, workers, g)
	}
	for _, w := range workers {
		r.stats.add(w.stats)
	}
	if err != nil {
		return nil, err
	}
	return merged(workers), r.checkBudget()
}

// readSplit gives each worker a part of one request.
func (r *run) readSplit(ctx context.Context, q Splitter, req model.SelectRequest, workers []*worker, g *grid) error {
	its, err := q.SelectSplit(ctx, req, len(workers))
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for i, w := range workers {
		group.Go(func() (err error) {
			defer recovered(&err)
			return r.readFrom(ctx, its[i], req.TimesOnly, w, g)
		})
	}
	return group.Wait()
}

// readSlices has the workers read one range of time after the other.
func (r *run) readSlices(ctx context.Context, ranges []model.TimeRange, req model.SelectRequest, workers []*worker, g *grid) error {
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for _, w := range workers {
		group.Go(func() (err error) {
			defer recovered(&err)
			for i := next.Add(1) - 1; i < int64(len(ranges)); i = next.Add(1) - 1 {
				req := req
				req.Range = ranges[i]
				it, err := r.e.querier.Select(ctx, req)
				if err != nil {
					return err
				}
				if err := r.readFrom(ctx, it, req.TimesOnly, w, g); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// cut divides a range at multiples of width, or of more where it is very long.
// One shorter than two widths is not worth it.
func cut(span model.TimeRange, width int64) []model.TimeRange {
	if span.End-span.Start < 2*width {
		return []model.TimeRange{span}
	}
	if n := (span.End - span.Start) / width; n >= maxSlices {
		width *= n/maxSlices + 1
	}
	var out []model.TimeRange
	for start := span.Start; start < span.End; {
		end := min((floorDiv(start, width)+1)*width, span.End)
		out = append(out, model.TimeRange{Start: start, End: end})
		start = end
	}
	return out
}

// readFrom aggregates everything that an iterator gives, and closes it.
func (r *run) readFrom(ctx context.Context, it model.BatchIterator, timesOnly bool, w *worker, g *grid) (err error) {
	defer func() {
		w.stats.Add(it.Stats())
		err = errors.Join(err, it.Close())
	}()
	var keep func(int64) bool
	if g.gaps() {
		keep = func(ts int64) bool { return g.bucket(ts) >= 0 }
	}
	w.x.Restart()
	var s stage.Samples
	streams := 0
	for {
		batch, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if timesOnly {
			for ; streams < len(batch.Streams); streams++ {
				if !w.x.StreamSuffices(batch.Streams[streams]) {
					return errNeedMetadata
				}
			}
		}
		s.Reset()
		if err := w.x.Extract(ctx, batch, keep, &s); err != nil {
			return err
		}
		if batch.Counts != nil {
			// There are no stages: each row has become a sample.
			for i := range s.Values {
				s.Values[i] = float64(batch.Counts[i])
				w.stats.PostFilterLines += int64(batch.Counts[i])
			}
			w.agg.(*counter).addCounts(&s)
		} else {
			w.stats.PostFilterLines += int64(len(s.Series))
			w.agg.add(&s)
		}
		if err := r.checkBudget(); err != nil {
			return err
		}
	}
}

// merged puts what all workers have into one.
func merged(workers []*worker) *worker {
	first := workers[0]
	if len(workers) == 1 {
		return first
	}
	at := map[string]int{}
	for i, ls := range first.series() {
		at[string(ls.Bytes(nil))] = i
	}
	for _, w := range workers[1:] {
		to := make([]int, len(w.series()))
		for i, ls := range w.series() {
			key := string(ls.Bytes(nil))
			j, ok := at[key]
			if !ok {
				j = first.x.AddSeries(ls)
				at[key] = j
			}
			to[i] = j
		}
		first.agg.merge(w.agg, to)
	}
	return first
}
