package engine

import (
	"context"
	"errors"
	"io"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/logql/stage"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// pointSize is the memory of a point of a series in bytes.
const pointSize = 16

// leaf is an expression that has been computed for all steps: a range
// aggregation, or something that PromQL shall not compute itself.
type leaf struct {
	// key is the text of the range aggregation; empty for anything else.
	key    string
	series []promql.Series
}

// evalRange computes a range aggregation for all steps. by is its grouping,
// which may come from a sum around it.
func (r *run) evalRange(ctx context.Context, n *logql.RangeAggregation, by *logql.Grouping) (*leaf, error) {
	if err := r.checkMatchers(n.Selector); err != nil {
		return nil, err
	}
	// 73 years back is before any log; more would leave int64.
	rng, offset := min(int64(n.Range), maxSpan), max(-maxSpan, min(int64(n.Offset), maxSpan))
	if n.Op == logql.OpAbsentOverTime {
		by = &logql.Grouping{}
	}
	x, err := r.newExtractor(n, by)
	if err != nil {
		return nil, err
	}
	var (
		g   *grid
		agg aggregator
	)
	if rng > 0 {
		g = newGrid(r.steps.start-offset, r.steps.step, rng, r.steps.n)
		agg = newAggregator(n, g, &r.budget)
		if err := r.feed(ctx, n, x, g, agg); err != nil {
			return nil, err
		}
	}
	if n.Op == logql.OpAbsentOverTime {
		return r.absent(n, agg), nil
	}
	return r.collect(x.Series(), agg), nil
}

func (r *run) newExtractor(n *logql.RangeAggregation, by *logql.Grouping) (*stage.Extractor, error) {
	hints := stage.AllLabels()
	if need, ok := r.needs[n]; ok && !need.All {
		hints = stage.NeededLabels(need.Names)
	}
	x, err := stage.NewExtractor(n, by, stage.Config{Hints: hints, Budget: &r.budget, Now: r.e.opts.Now})
	if err != nil {
		return nil, &QueryError{Msg: err.Error()}
	}
	return x, nil
}

// errNeedMetadata says that a stream lacks a label that its entries' metadata
// may have, so that timestamps alone do not do.
var errNeedMetadata = errors.New("timestamps alone do not tell the series")

// feed runs all entries of the windows through the extractor. It tries with
// timestamps only where that can do, which spares the store the text.
func (r *run) feed(ctx context.Context, n *logql.RangeAggregation, x *stage.Extractor, g *grid, agg aggregator) error {
	req := model.SelectRequest{
		Matchers:  n.Selector.Matchers,
		Range:     g.span(),
		Direction: model.Forward,
		Unordered: true,
		Contains:  n.Selector.RequiredSubstrings(),
		TimesOnly: x.TimesSuffice(),
		NoLines:   x.NoLines(),
	}
	err := r.feedFrom(ctx, req, x, g, agg)
	if !errors.Is(err, errNeedMetadata) {
		return err
	}
	req.TimesOnly = false
	return r.feedFrom(ctx, req, x, g, agg)
}

func (r *run) feedFrom(ctx context.Context, req model.SelectRequest, x *stage.Extractor, g *grid, agg aggregator) (err error) {
	it, err := r.e.querier.Select(ctx, req)
	if err != nil {
		return err
	}
	defer func() {
		r.stats.Add(it.Stats())
		err = errors.Join(err, it.Close())
	}()
	var keep func(int64) bool
	if g.gaps() {
		keep = func(ts int64) bool { return g.bucket(ts) >= 0 }
	}
	var s stage.Samples
	streams := 0
	for {
		batch, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if req.TimesOnly {
			for ; streams < len(batch.Streams); streams++ {
				if !x.StreamSuffices(batch.Streams[streams]) {
					return errNeedMetadata
				}
			}
		}
		s.Reset()
		if err := x.Extract(batch, keep, &s); err != nil {
			return err
		}
		r.stats.PostFilterLines += int64(len(s.Series))
		agg.add(&s)
		if err := r.checkBudget(); err != nil {
			return err
		}
	}
	return nil
}

// collect makes the series of an aggregation, sorted by labels, so that topk
// chooses the same among equals every time. Those without a point are left out.
func (r *run) collect(ls []labels.Labels, agg aggregator) *leaf {
	l := &leaf{}
	for i := range ls {
		var ps []promql.FPoint
		agg.points(i, func(k int, v float64) { ps = append(ps, promql.FPoint{T: r.steps.millis(k), F: v}) })
		if len(ps) == 0 {
			continue
		}
		r.budget.Take(pointSize * cap(ps))
		l.series = append(l.series, promql.Series{Metric: ls[i], Floats: ps})
	}
	slices.SortFunc(l.series, bySeriesLabels)
	return l
}

func bySeriesLabels(x, y promql.Series) int { return labels.Compare(x.Metric, y.Metric) }

// absent is 1 in the windows without any sample, with the labels that the
// selector fixes: those of equality matchers whose name occurs once.
func (r *run) absent(n *logql.RangeAggregation, agg aggregator) *leaf {
	present := make([]bool, r.steps.n)
	if agg != nil {
		agg.points(0, func(k int, _ float64) { present[k] = true })
	}
	var ps []promql.FPoint
	for k, p := range present {
		if !p {
			ps = append(ps, promql.FPoint{T: r.steps.millis(k), F: 1})
		}
	}
	if len(ps) == 0 {
		return &leaf{}
	}
	seen := map[string]int{}
	for _, m := range n.Selector.Matchers {
		seen[m.Name]++
	}
	b := labels.NewScratchBuilder(len(seen))
	for _, m := range n.Selector.Matchers {
		if m.Type == labels.MatchEqual && seen[m.Name] == 1 && m.Value != "" {
			b.Add(m.Name, m.Value)
		}
	}
	b.Sort()
	return &leaf{series: []promql.Series{{Metric: b.Labels(), Floats: ps}}}
}

// zeroIsNaN makes a divisor of a leaf: in LogQL x/0 is NaN where PromQL has Inf.
func (l *leaf) zeroIsNaN() {
	for i := range l.series {
		for j := range l.series[i].Floats {
			if l.series[i].Floats[j].F == 0 {
				l.series[i].Floats[j].F = math.NaN()
			}
		}
	}
}
