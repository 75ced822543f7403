package logql

// Walk calls visit for n and then, where visit returned true, for what is
// inside n, in the order of the text: expressions, selectors, stages,
// predicates, unwraps and groupings.
func Walk(n Node, visit func(Node) bool) {
	if !visit(n) {
		return
	}
	switch n := n.(type) {
	case *LogSelector:
		for _, s := range n.Stages {
			Walk(s, visit)
		}
	case *LabelFilter:
		Walk(n.Filter, visit)
	case *BoolFilter:
		Walk(n.Left, visit)
		Walk(n.Right, visit)
	case *Unwrap:
		for _, f := range n.Filters {
			Walk(f, visit)
		}
	case *RangeAggregation:
		Walk(n.Selector, visit)
		if n.Unwrap != nil {
			Walk(n.Unwrap, visit)
		}
		if n.Grouping != nil {
			Walk(n.Grouping, visit)
		}
	case *VectorAggregation:
		if n.Grouping != nil {
			Walk(n.Grouping, visit)
		}
		Walk(n.Expr, visit)
	case *BinaryExpr:
		Walk(n.Left, visit)
		Walk(n.Right, visit)
	case *LabelReplace:
		Walk(n.Expr, visit)
	case *Call:
		for _, a := range n.Args {
			Walk(a, visit)
		}
	case *Subquery:
		Walk(n.Expr, visit)
	}
}

// Selectors returns the log selectors inside e in the order of the text.
func Selectors(e Expr) []*LogSelector {
	var list []*LogSelector
	Walk(e, func(n Node) bool {
		if s, ok := n.(*LogSelector); ok {
			list = append(list, s)
			return false
		}
		return true
	})
	return list
}

// RangeAggregations returns the range aggregations inside e in the order of
// the text.
func RangeAggregations(e Expr) []*RangeAggregation {
	var list []*RangeAggregation
	Walk(e, func(n Node) bool {
		if a, ok := n.(*RangeAggregation); ok {
			list = append(list, a)
			return false
		}
		_, isMetric := n.(MetricExpr)
		return isMetric
	})
	return list
}
