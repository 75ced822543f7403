package engine

import (
	"math"
	"time"

	prommodel "github.com/prometheus/common/model"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
)

// checkTimes refuses queries over more time than the options allow, and cuts
// what a log query asks for from before MaxLookback.
func (e *Engine) checkTimes(p *Params, expr logql.Expr) error {
	o := e.opts
	if o.MaxLookback > 0 {
		oldest := o.Now().Add(-o.MaxLookback).UnixNano()
		if p.End < oldest {
			return limitErrorf("this data is no longer available, it is past now - max_query_lookback (%s)", prommodel.Duration(o.MaxLookback))
		}
		if _, ok := expr.(*logql.LogSelector); ok {
			p.Start = max(p.Start, oldest)
		}
	}
	length := time.Duration(p.End - p.Start)
	if p.End >= p.Start && length < 0 {
		length = math.MaxInt64 // the ends are too far apart for an int64
	}
	if o.MaxQueryLength > 0 && length > o.MaxQueryLength {
		return limitErrorf("the query time range exceeds the limit (query length: %s, limit: %s)", prommodel.Duration(length), prommodel.Duration(o.MaxQueryLength))
	}
	if o.MaxRange <= 0 {
		return nil
	}
	var err error
	logql.Walk(expr, func(n logql.Node) bool {
		var length time.Duration
		switch n := n.(type) {
		case *logql.RangeAggregation:
			length = n.Range
		case *logql.Subquery:
			length = n.Range
		}
		if length > o.MaxRange && err == nil {
			err = limitErrorf("[interval] value exceeds limit: [%s] > [%s]", prommodel.Duration(length), prommodel.Duration(o.MaxRange))
		}
		return err == nil
	})
	return err
}
