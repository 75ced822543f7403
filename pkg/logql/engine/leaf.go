package engine

import (
	"context"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
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
	if n.Op == logql.OpAbsentOverTime {
		by = &logql.Grouping{}
	}
	series, err := r.cached(n, by, func(at steps) ([]promql.Series, error) { return r.evalSteps(ctx, n, by, at) })
	if err != nil {
		return nil, err
	}
	return &leaf{series: series}, r.checkBudget()
}

// spanOf returns the ends of the windows of a range aggregation, as distances
// from the time of the step: 73 years back is before any log, and more would
// leave int64.
func spanOf(n *logql.RangeAggregation) (back, ahead int64) {
	ahead = max(-maxSpan, min(int64(n.Offset), maxSpan))
	return ahead + min(int64(n.Range), maxSpan), ahead
}

// evalSteps computes a range aggregation at some steps.
func (r *run) evalSteps(ctx context.Context, n *logql.RangeAggregation, by *logql.Grouping, at steps) ([]promql.Series, error) {
	back, ahead := spanOf(n)
	w := &worker{}
	if back > ahead {
		g := newGrid(at.start-ahead, at.step, back-ahead, at.n)
		var err error
		if w, err = r.read(ctx, n, by, g); err != nil {
			return nil, err
		}
	}
	if n.Op == logql.OpAbsentOverTime {
		return r.absent(n, w, at), nil
	}
	return r.collect(w, at)
}

// collect makes the series of an aggregation, sorted by labels, so that topk
// chooses the same among equals every time. Those without a point are left out.
func (r *run) collect(w *worker, at steps) ([]promql.Series, error) {
	var out []promql.Series
	ps := make([]promql.FPoint, 0, at.n)
	for i, ls := range w.series() {
		ps = ps[:0]
		w.agg.points(i, func(k int, v float64) { ps = append(ps, promql.FPoint{T: at.millis(k), F: v}) })
		if len(ps) == 0 {
			continue
		}
		r.budget.Take(pointSize * len(ps))
		if err := r.checkBudget(); err != nil {
			return nil, err
		}
		out = append(out, promql.Series{Metric: ls, Floats: slices.Clone(ps)})
	}
	slices.SortFunc(out, bySeriesLabels)
	return out, nil
}

func bySeriesLabels(x, y promql.Series) int { return labels.Compare(x.Metric, y.Metric) }

// absent is 1 in the windows without any sample, with the labels that the
// selector fixes: those of equality matchers whose name occurs once.
func (r *run) absent(n *logql.RangeAggregation, w *worker, at steps) []promql.Series {
	present := make([]bool, at.n)
	if w.agg != nil {
		w.agg.points(0, func(k int, _ float64) { present[k] = true })
	}
	var ps []promql.FPoint
	for k, p := range present {
		if !p {
			ps = append(ps, promql.FPoint{T: at.millis(k), F: 1})
		}
	}
	if len(ps) == 0 {
		return nil
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
	return []promql.Series{{Metric: b.Labels(), Floats: ps}}
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
