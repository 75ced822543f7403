package logql

// The names of operators as they are written, indexed by their constants.
var (
	lineFilterNames = [...]string{"|=", "!=", "|~", "!~", "|>", "!>", "|=i", "!=i"}
	compareNames    = [...]string{"=", "!=", ">", ">=", "<", "<="}
	conversionNames = [...]string{"", "bytes", "duration", "duration_seconds"}
	rangeNames      = [...]string{
		OpCountOverTime:    "count_over_time",
		OpRate:             "rate",
		OpRateCounter:      "rate_counter",
		OpBytesOverTime:    "bytes_over_time",
		OpBytesRate:        "bytes_rate",
		OpSumOverTime:      "sum_over_time",
		OpAvgOverTime:      "avg_over_time",
		OpMinOverTime:      "min_over_time",
		OpMaxOverTime:      "max_over_time",
		OpStddevOverTime:   "stddev_over_time",
		OpStdvarOverTime:   "stdvar_over_time",
		OpQuantileOverTime: "quantile_over_time",
		OpFirstOverTime:    "first_over_time",
		OpLastOverTime:     "last_over_time",
		OpAbsentOverTime:   "absent_over_time",

		OpCountDistinctOverTime: "count_distinct_over_time",
	}
	vectorNames = [...]string{
		OpSum:        "sum",
		OpAvg:        "avg",
		OpMin:        "min",
		OpMax:        "max",
		OpCount:      "count",
		OpStddev:     "stddev",
		OpStdvar:     "stdvar",
		OpTopk:       "topk",
		OpBottomk:    "bottomk",
		OpApproxTopk: "approx_topk",
		OpSort:       "sort",
		OpSortDesc:   "sort_desc",
	}
	binaryNames = [...]string{"or", "and", "unless", "==", "!=", ">", ">=", "<", "<=", "+", "-", "*", "/", "%", "^"}
)

// String returns the operator as it is written.
func (op LineFilterOp) String() string { return lineFilterNames[op] }

// String returns the operator as a label filter writes it ("=" for CompareEqual).
func (op CompareOp) String() string { return compareNames[op] }

// String returns the function's name; "" for ConvertNumber.
func (c Conversion) String() string { return conversionNames[c] }

// String returns the function's name.
func (op RangeOp) String() string { return rangeNames[op] }

// NeedsUnwrap says whether op works on values only and never on lines.
func (op RangeOp) NeedsUnwrap() bool {
	switch op {
	case OpCountOverTime, OpRate, OpBytesOverTime, OpBytesRate, OpAbsentOverTime, OpCountDistinctOverTime:
		return false
	}
	return true
}

// AllowsUnwrap says whether op can work on values.
func (op RangeOp) AllowsUnwrap() bool {
	switch op {
	case OpCountOverTime, OpBytesOverTime, OpBytesRate, OpCountDistinctOverTime:
		return false
	}
	return true
}

// AllowsGrouping says whether by and without may follow op directly.
func (op RangeOp) AllowsGrouping() bool {
	switch op {
	case OpAvgOverTime, OpMinOverTime, OpMaxOverTime, OpStddevOverTime, OpStdvarOverTime,
		OpQuantileOverTime, OpFirstOverTime, OpLastOverTime, OpCountDistinctOverTime:
		return true
	}
	return false
}

// String returns the function's name.
func (op VectorOp) String() string { return vectorNames[op] }

// NeedsParam says whether op takes a k.
func (op VectorOp) NeedsParam() bool {
	return op == OpTopk || op == OpBottomk || op == OpApproxTopk
}

// String returns the operator as it is written.
func (op BinaryOp) String() string { return binaryNames[op] }

// IsSet says whether op is and, or or unless.
func (op BinaryOp) IsSet() bool { return op <= OpUnless }

// IsComparison says whether op compares.
func (op BinaryOp) IsComparison() bool { return OpEqual <= op && op <= OpLessEqual }

// precedence is higher for operators that bind tighter.
func (op BinaryOp) precedence() int {
	switch {
	case op == OpOr:
		return 1
	case op.IsSet():
		return 2
	case op.IsComparison():
		return 3
	case op == OpAdd || op == OpSub:
		return 4
	case op == OpPow:
		return 6
	}
	return 5
}

// String returns "group_left", "group_right" or "".
func (g GroupSide) String() string {
	return [...]string{"", "group_left", "group_right"}[g]
}
