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
	// 73 years back is before any log; more would leave int64.
	rng, offset := min(int64(n.Range), maxSpan), max(-maxSpan, min(int64(n.Offset), maxSpan))
	if n.Op == logql.OpAbsentOverTime {
		by = &logql.Grouping{}
	}
	w := &worker{}
	if rng > 0 {
		g := newGrid(r.steps.start-offset, r.steps.step, rng, r.steps.n)
		var err error
		if w, err = r.read(ctx, n, by, g); err != nil {
			return nil, err
		}
	}
	if n.Op == logql.OpAbsentOverTime {
		return r.absent(n, w), nil
	}
	return r.collect(w), nil
}

// collect makes the series of an aggregation, sorted by labels, so that topk
// chooses the same among equals every time. Those without a point are left out.
func (r *run) collect(w *worker) *leaf {
	l := &leaf{}
	for i, ls := range w.series() {
		var ps []promql.FPoint
		w.agg.points(i, func(k int, v float64) { ps = append(ps, promql.FPoint{T: r.steps.millis(k), F: v}) })
		if len(ps) == 0 {
			continue
		}
		r.budget.Take(pointSize * cap(ps))
		l.series = append(l.series, promql.Series{Metric: ls, Floats: ps})
	}
	slices.SortFunc(l.series, bySeriesLabels)
	return l
}

func bySeriesLabels(x, y promql.Series) int { return labels.Compare(x.Metric, y.Metric) }

// absent is 1 in the windows without any sample, with the labels that the
// selector fixes: those of equality matchers whose name occurs once.
func (r *run) absent(n *logql.RangeAggregation, w *worker) *leaf {
	present := make([]bool, r.steps.n)
	if w.agg != nil {
		w.agg.points(0, func(k int, _ float64) { present[k] = true })
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
