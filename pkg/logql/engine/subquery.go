package engine

import (
	"strconv"
	"strings"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
)

// defaultSubqueryStep is the distance of the points of a subquery that names none.
const defaultSubqueryStep = time.Minute

const millisecond = int64(time.Millisecond)

// call writes a function of PromQL.
func (t *translator) call(n *logql.Call) (string, error) {
	var args []string
	for _, a := range n.Args {
		text, err := t.expr(a)
		if err != nil {
			return "", err
		}
		args = append(args, text)
	}
	for _, s := range n.Strings {
		args = append(args, strconv.Quote(s))
	}
	return n.Func + "(" + strings.Join(args, ", ") + ")", nil
}

// subquery evaluates its expression at all its steps that any step of the query
// looks at, and hands it to PromQL as series over time.
func (t *translator) subquery(n *logql.Subquery) (string, error) {
	r := t.run
	rng, offset := min(int64(n.Range), maxSpan)/millisecond, max(-maxSpan, min(int64(n.Offset), maxSpan))/millisecond
	step := int64(n.Step) / millisecond
	if step == 0 {
		step = defaultSubqueryStep.Milliseconds()
	}
	// The windows are open at their start.
	first := (floorDiv(r.steps.millis(0)-offset-rng, step) + 1) * step
	count := floorDiv(r.steps.millis(r.steps.n-1)-offset-first, step) + 1
	if count > int64(r.e.opts.MaxPoints) {
		return "", limitErrorf("the subquery %s needs %d points, more than %s: make its step larger, or its range or that of the query shorter",
			n, count, thousands(r.e.opts.MaxPoints))
	}
	l := &leaf{}
	if count > 0 {
		var err error
		if l, err = t.computeAt(steps{start: first * millisecond, step: step * millisecond, n: int(count)}, n.Expr); err != nil {
			return "", err
		}
	}
	// PromQL's engine has no negative offsets, so the points move instead.
	for _, s := range l.series {
		for i := range s.Floats {
			s.Floats[i].T += offset
		}
	}
	return t.add(l) + "[" + strconv.FormatInt(rng, 10) + "ms]", nil
}

// computeAt is compute at other steps.
func (t *translator) computeAt(s steps, n logql.MetricExpr) (*leaf, error) {
	r := t.run
	outer, leaves := r.steps, r.leaves
	r.steps, r.leaves = s, map[string]*leaf{}
	defer func() { r.steps, r.leaves = outer, leaves }()
	return t.compute(n)
}
