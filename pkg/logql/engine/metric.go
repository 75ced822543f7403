package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	prommodel "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
)

// metric answers a metric query at the steps of r.
func (r *run) metric(ctx context.Context, expr logql.MetricExpr) (*Result, error) {
	r.leaves = map[string]*leaf{}
	r.needs = logql.NeededLabels(expr)
	res, err := r.evaluate(ctx, expr)
	if err != nil {
		return nil, err
	}
	if !keepsOrder(expr) {
		slices.SortStableFunc(res.Vector, func(x, y promql.Sample) int { return labels.Compare(x.Metric, y.Metric) })
	}
	slices.SortStableFunc(res.Matrix, bySeriesLabels)
	return r.limitSeries(res)
}

// limitSeries applies Options.MaxSeries to a sorted result.
func (r *run) limitSeries(res *Result) (*Result, error) {
	limit := r.e.opts.MaxSeries
	if max(len(res.Matrix), len(res.Vector)) <= limit {
		return res, nil
	}
	err := limitErrorf("maximum number of series (%d) reached for a single query; consider reducing query cardinality by adding more specific stream selectors, reducing the time range, or aggregating results with functions like sum(), count() or topk()", limit)
	if !r.partial {
		return nil, err
	}
	res.Warnings = append(res.Warnings, err.Error()+"; the first series in the order of their labels are shown")
	res.Matrix = res.Matrix[:min(limit, len(res.Matrix))]
	res.Vector = res.Vector[:min(limit, len(res.Vector))]
	return res, nil
}

// keepsOrder says whether the outermost operation put its result in order.
func keepsOrder(expr logql.MetricExpr) bool {
	n, ok := expr.(*logql.VectorAggregation)
	if !ok {
		return false
	}
	switch n.Op {
	case logql.OpSort, logql.OpSortDesc, logql.OpTopk, logql.OpBottomk, logql.OpApproxTopk:
		return true
	}
	return false
}

// evaluate computes an expression at all steps.
func (r *run) evaluate(ctx context.Context, expr logql.MetricExpr) (*Result, error) {
	t := translator{run: r, ctx: ctx}
	text, err := t.expr(expr)
	if err != nil {
		return nil, err
	}
	// A range aggregation alone needs no further evaluation.
	if l, ok := r.leaves[text]; ok {
		return r.direct(l), nil
	}
	var q promql.Query
	at := func(k int) time.Time { return time.UnixMilli(r.steps.millis(k)).UTC() }
	if r.steps.instant {
		q, err = r.e.promql.NewInstantQuery(ctx, r, nil, text, at(0))
	} else {
		q, err = r.e.promql.NewRangeQuery(ctx, r, nil, text, at(0), at(r.steps.n-1), time.Duration(r.steps.step))
	}
	if err != nil {
		return nil, fmt.Errorf("evaluate %s: %w", text, err)
	}
	defer q.Close()
	out := q.Exec(ctx)
	if out.Err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, queryError(out.Err)
	}
	return own(out.Value)
}

// queryError tells what PromQL refuses while it evaluates, such as labels that
// match twice: it is the query's fault.
func queryError(err error) error {
	var (
		samples promql.ErrTooManySamples
		stored  promql.ErrStorage
	)
	if errors.As(err, &samples) || errors.As(err, &stored) {
		return err
	}
	return &QueryError{Msg: err.Error()}
}

// own copies a result out of memory that the promql engine uses again.
func own(v parser.Value) (*Result, error) {
	switch v := v.(type) {
	case promql.Matrix:
		m := make(promql.Matrix, len(v))
		for i, s := range v {
			m[i] = promql.Series{Metric: s.Metric, Floats: slices.Clone(s.Floats)}
		}
		return &Result{Type: ResultMatrix, Matrix: m}, nil
	case promql.Vector:
		return &Result{Type: ResultVector, Vector: slices.Clone(v)}, nil
	case promql.Scalar:
		return &Result{Type: ResultScalar, Scalar: v}, nil
	}
	return nil, &QueryError{Msg: fmt.Sprintf("the query gives a %s, which no result type fits", v.Type())}
}

// direct makes a leaf the result.
func (r *run) direct(l *leaf) *Result {
	if !r.steps.instant {
		return &Result{Type: ResultMatrix, Matrix: l.series}
	}
	res := &Result{Type: ResultVector, Vector: make(promql.Vector, 0, len(l.series))}
	for _, s := range l.series {
		res.Vector = append(res.Vector, promql.Sample{Metric: s.Metric, T: s.Floats[0].T, F: s.Floats[0].F})
	}
	return res
}

// translator writes an expression as PromQL. What it cannot be asked to compute
// becomes a leaf on the way.
type translator struct {
	run *run
	ctx context.Context
}

// leafPrefix begins the metric names under which PromQL finds leaves.
const leafPrefix = "leaf:"

func (t *translator) expr(n logql.MetricExpr) (string, error) {
	switch n := n.(type) {
	case *logql.RangeAggregation:
		return t.leaf(n, n.Grouping)
	case *logql.VectorAggregation:
		return t.vectorAggregation(n)
	case *logql.BinaryExpr:
		return t.binary(n)
	case *logql.LabelReplace:
		return t.labelReplace(n)
	case *logql.Vector:
		return "vector(" + number(n.Value) + ")", nil
	case *logql.Literal:
		return number(n.Value), nil
	case *logql.Call:
		return t.call(n)
	case *logql.Subquery:
		return t.subquery(n)
	}
	return "", &QueryError{Msg: fmt.Sprintf("no evaluation for %T", n)}
}

// leaf computes a range aggregation, once for all places that write the same.
func (t *translator) leaf(n *logql.RangeAggregation, by *logql.Grouping) (string, error) {
	key := n.String()
	if by != n.Grouping {
		key = "sum" + by.String() + key
	}
	for name, l := range t.run.leaves {
		if l.key == key {
			return name, nil
		}
	}
	l, err := t.run.evalRange(t.ctx, n, by)
	if err != nil {
		return "", err
	}
	l.key = key
	return t.add(l), nil
}

// add makes l known under a new name.
func (t *translator) add(l *leaf) string {
	name := leafPrefix + strconv.Itoa(len(t.run.leaves))
	t.run.leaves[name] = l
	return name
}

func (t *translator) vectorAggregation(n *logql.VectorAggregation) (string, error) {
	if a, ok := n.Expr.(*logql.RangeAggregation); ok && n.Op == logql.OpSum && addsUp(a.Op) {
		by := n.Grouping
		if by == nil {
			by = &logql.Grouping{}
		}
		return t.leaf(a, by)
	}
	inner, err := t.expr(n.Expr)
	if err != nil {
		return "", err
	}
	switch n.Op {
	case logql.OpSort, logql.OpSortDesc:
		return n.Op.String() + "(" + inner + ")", nil
	}
	op, param := n.Op.String(), ""
	if n.Op == logql.OpApproxTopk {
		op = logql.OpTopk.String() // the exact answer is a good approximation
	}
	if n.Op.NeedsParam() {
		param = strconv.Itoa(n.Param) + ", "
	}
	return op + " " + grouping(n.Grouping) + "(" + param + inner + ")", nil
}

// addsUp says whether a sum over the series of op is op of the entries of all
// series together.
func addsUp(op logql.RangeOp) bool {
	switch op {
	case logql.OpCountOverTime, logql.OpRate, logql.OpBytesOverTime, logql.OpBytesRate, logql.OpSumOverTime:
		return true
	}
	return false
}

func grouping(g *logql.Grouping) string {
	if g == nil {
		return ""
	}
	word := "by"
	if g.Without {
		word = "without"
	}
	return word + " (" + strings.Join(g.Labels, ", ") + ") "
}

func (t *translator) binary(n *logql.BinaryExpr) (string, error) {
	left, err := t.expr(n.Left)
	if err != nil {
		return "", err
	}
	var right string
	if n.Op == logql.OpDiv {
		right, err = t.divisor(n.Right)
	} else {
		right, err = t.expr(n.Right)
	}
	if err != nil {
		return "", err
	}
	op := n.Op.String()
	scalars := logql.IsScalar(n.Left) && logql.IsScalar(n.Right)
	if (n.Bool || scalars) && n.Op.IsComparison() {
		op += " bool"
	}
	return "(" + left + " " + op + " " + t.matching(n) + right + ")", nil
}

// divisor is the right side of a division. PromQL gives ±Inf for a zero there
// and LogQL NaN, so a vector is computed first, by itself.
func (t *translator) divisor(n logql.MetricExpr) (string, error) {
	if lit, ok := n.(*logql.Literal); ok {
		if lit.Value == 0 {
			return number(math.NaN()), nil
		}
		return number(lit.Value), nil
	}
	l, err := t.compute(n)
	if err != nil {
		return "", err
	}
	l.zeroIsNaN()
	if logql.IsScalar(n) {
		return "scalar(" + t.add(l) + ")", nil
	}
	return t.add(l), nil
}

// maxReplaced is the longest value in bytes that label_replace may make: nested
// calls could double it each time.
const maxReplaced = 64 << 10

// labelReplace does by itself what PromQL's function of that name does, except
// that two series may become one label set: Loki accepts that, and the sum
// around it adds them up.
func (t *translator) labelReplace(n *logql.LabelReplace) (string, error) {
	re, err := regexp.Compile("^(?:" + n.Regex + ")$")
	if err != nil {
		return "", &QueryError{Msg: "invalid regex in label_replace: " + err.Error()}
	}
	l, err := t.compute(n.Expr)
	if err != nil {
		return "", err
	}
	for i := range l.series {
		s := &l.series[i]
		src := s.Metric.Get(n.Src)
		m := re.FindStringSubmatchIndex(src)
		if m == nil {
			continue
		}
		value := re.ExpandString(nil, n.Replacement, src, m)
		if len(value) > maxReplaced {
			return "", limitErrorf("label_replace makes a label of %d bytes; the limit is %d", len(value), maxReplaced)
		}
		s.Metric = labels.NewBuilder(s.Metric).Set(n.Dst, string(value)).Labels()
	}
	return t.add(l), nil
}

// compute evaluates an expression by itself, as series that may be changed.
func (t *translator) compute(n logql.MetricExpr) (*leaf, error) {
	res, err := t.run.evaluate(t.ctx, n)
	if err != nil {
		return nil, err
	}
	l := &leaf{}
	for _, s := range res.Matrix {
		l.series = append(l.series, promql.Series{Metric: s.Metric, Floats: slices.Clone(s.Floats)})
	}
	for _, s := range res.Vector {
		l.series = append(l.series, promql.Series{Metric: s.Metric, Floats: []promql.FPoint{{T: s.T, F: s.F}}})
	}
	if res.Type == ResultScalar {
		l.series = append(l.series, promql.Series{Floats: []promql.FPoint{{T: res.Scalar.T, F: res.Scalar.V}}})
	}
	for _, s := range l.series {
		t.run.budget.Take(pointSize * len(s.Floats))
	}
	return l, t.run.checkBudget()
}

// matching writes on, ignoring and group modifiers, less those that Loki
// accepts without effect and PromQL refuses.
func (t *translator) matching(n *logql.BinaryExpr) string {
	m := n.Matching
	if m == nil || logql.IsScalar(n.Left) || logql.IsScalar(n.Right) {
		return ""
	}
	word := "ignoring"
	if m.On {
		word = "on"
	}
	text := word + " (" + strings.Join(m.Labels, ", ") + ") "
	if m.Group != logql.GroupNone && !n.Op.IsSet() {
		text += m.Group.String() + " (" + strings.Join(m.Include, ", ") + ") "
	}
	return text
}

// number writes a float as PromQL reads it, in parentheses for its sign.
func number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "NaN"
	case math.IsInf(v, 1):
		return "Inf"
	case math.IsInf(v, -1):
		return "(-Inf)"
	case v < 0:
		return "(" + strconv.FormatFloat(v, 'g', -1, 64) + ")"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// Querier implements storage.Queryable: PromQL reads the leaves through it.
func (r *run) Querier(_, _ int64) (storage.Querier, error) { return leafQuerier{r}, nil }

// leafQuerier serves leaves by the name of their metric.
type leafQuerier struct{ r *run }

func (q leafQuerier) Select(_ context.Context, sorted bool, _ *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	for _, m := range ms {
		if m.Name != prommodel.MetricNameLabel {
			continue
		}
		if l, ok := q.r.leaves[m.Value]; ok {
			if sorted {
				slices.SortStableFunc(l.series, bySeriesLabels)
			}
			return &leafSeries{l: l, i: -1}
		}
	}
	return storage.ErrSeriesSet(fmt.Errorf("no leaf for %v", ms))
}

func (leafQuerier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (leafQuerier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (leafQuerier) Close() error { return nil }

// leafSeries iterates over the series of a leaf.
type leafSeries struct {
	l *leaf
	i int
}

func (s *leafSeries) Next() bool                        { s.i++; return s.i < len(s.l.series) }
func (s *leafSeries) At() storage.Series                { return promql.NewStorageSeries(s.l.series[s.i]) }
func (s *leafSeries) Err() error                        { return nil }
func (s *leafSeries) Warnings() annotations.Annotations { return nil }
