package logql

import (
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// Pos is the byte offset of a node in the query text. LineCol turns it into
// what people count in.
type Pos int

// Node is any part of the tree that has a place in the text.
type Node interface {
	// Pos is where the node begins: of an operator its keyword (the "|=" of a
	// line filter, the "sum" of an aggregation, the "+" of a binary operation),
	// of a selector its "{".
	Pos() Pos
	// String is the canonical one-line form. For an Expr it parses to an equal tree.
	String() string
}

// Expr is a whole query: a *LogSelector (a log query) or a MetricExpr. The set
// of nodes is closed: a type switch over the types of this file is complete.
//
// A tree that Parse returned is never written to again, so any number of
// goroutines may read it.
type Expr interface {
	Node
	exprNode()
}

// MetricExpr is an expression that evaluates to numbers: *RangeAggregation,
// *VectorAggregation, *BinaryExpr, *LabelReplace, *Vector, *Literal or *Call,
// and *Subquery as an argument of a *Call.
type MetricExpr interface {
	Expr
	metricNode()
}

// LogSelector is a log query, and the inside of every range aggregation:
// matchers that choose streams, then stages that each line passes in order.
//
//	{app="a", ns!="b"} |= "x" | json | status>=500
type LogSelector struct {
	Position Pos
	// Matchers are in the order of the text. At least one of them refuses the
	// empty string, unless the query was parsed with AllowEmptyMatchers.
	Matchers []*labels.Matcher
	Stages   []Stage
}

// Stage is one step after the selector: *LineFilter, *JSONParser,
// *LogfmtParser, *RegexpParser, *PatternParser, *Unpack, *Decolorize,
// *LabelFilter, *LineFormat, *LabelFormat, *DropLabels, *KeepLabels or
// *DistinctLabels.
type Stage interface {
	Node
	stageNode()
}

// LineFilterOp is what a line filter asks of the line.
type LineFilterOp uint8

// The line filter operators.
const (
	LineContains        LineFilterOp = iota // |=  substring, or ip()
	LineNotContains                         // !=
	LineMatches                             // |~  regular expression, not anchored, "." matches no newline
	LineNotMatches                          // !~
	LinePattern                             // |>  pattern of literals and <_>, see ParseLinePattern
	LineNotPattern                          // !>
	LineContainsFold                        // |=i substring in any case, an extension
	LineNotContainsFold                     // !=i
)

// Negated says whether the filter keeps the lines that do not match.
func (op LineFilterOp) Negated() bool { return op&1 == 1 }

// LineFilter keeps lines of which any operand is true or, for a negated
// operator, none: != "a" or "b" keeps lines with neither.
type LineFilter struct {
	Position Pos
	Op       LineFilterOp
	// Operands has at least one. Regular expressions, patterns and addresses
	// have been checked to compile.
	Operands []LineOperand
}

// LineOperand is one alternative of a LineFilter.
type LineOperand struct {
	Position Pos
	// Text is the unquoted string.
	Text string
	// IP says that the operand is ip("Text"); only with LineContains and
	// LineNotContains. ParseIPRange reads Text.
	IP bool
}

// Extraction is "Label = "Expr"" of a json or logfmt stage. For the short form
// (json status) Expr equals Label.
type Extraction struct {
	Position Pos
	// Label is the label to set.
	Label string
	// Expr is a path for json (see ParseJSONPath), a key for logfmt.
	Expr string
}

// JSONParser is "| json". Without Extractions it takes everything.
type JSONParser struct {
	Position Pos
	// Arrays (--arrays, an extension) takes the elements of arrays too, with
	// their index in the name: tags_0. Never together with Extractions.
	Arrays      bool
	Extractions []Extraction
}

// LogfmtParser is "| logfmt". Without Extractions it takes everything.
type LogfmtParser struct {
	Position Pos
	// Strict (--strict) stops at the first malformed pair with an error label.
	Strict bool
	// KeepEmpty (--keep-empty) keeps keys without a value.
	KeepEmpty   bool
	Extractions []Extraction
}

// RegexpParser is "| regexp "(?P<name>…)"": an unanchored RE2 expression with
// at least one named group, no name twice.
type RegexpParser struct {
	Position Pos
	Pattern  string
}

// PatternParser is "| pattern "<a> <_> <b>"". ParsePattern takes it apart.
type PatternParser struct {
	Position Pos
	Pattern  string
}

// Unpack is "| unpack".
type Unpack struct{ Position Pos }

// Decolorize is "| decolorize".
type Decolorize struct{ Position Pos }

// LabelFilter is "| status>=500 and method="GET"".
type LabelFilter struct {
	Position Pos
	Filter   Predicate
}

// Predicate is a condition on labels: *BoolFilter, *StringFilter,
// *NumberFilter, *DurationFilter, *BytesFilter or *IPFilter.
type Predicate interface {
	Node
	predicateNode()
}

// BoolFilter joins two predicates. "and", "," and mere neighbourhood are one
// operator. Both sides are evaluated left to right.
type BoolFilter struct {
	Position Pos
	// Or is false for "and".
	Or          bool
	Left, Right Predicate
}

// StringFilter compares the label's text; a missing label is "". The regular
// expression of a matcher is anchored at both ends.
type StringFilter struct {
	Position Pos
	Matcher  *labels.Matcher
}

// CompareOp compares a label's value with a literal, or two numbers.
type CompareOp uint8

// The comparison operators. Inside a label filter "=" is CompareEqual too.
const (
	CompareEqual CompareOp = iota
	CompareNotEqual
	CompareGreater
	CompareGreaterEqual
	CompareLess
	CompareLessEqual
)

// NumberFilter compares the label as a float.
type NumberFilter struct {
	Position Pos
	Name     string
	Op       CompareOp
	Value    float64
}

// DurationFilter compares the label as a Go duration.
type DurationFilter struct {
	Position Pos
	Name     string
	Op       CompareOp
	Value    time.Duration
}

// BytesFilter compares the label as a number of bytes ("5 MB", "12").
type BytesFilter struct {
	Position Pos
	Name     string
	Op       CompareOp
	Value    uint64
}

// IPFilter asks whether the label is an address inside Range.
type IPFilter struct {
	Position Pos
	Name     string
	// Negate is true for !=.
	Negate bool
	// Range is what ParseIPRange reads: an address, a prefix or "from-to".
	Range string
}

// LineFormat is "| line_format "{{.template}}"". The template has been checked
// to parse with the functions of TemplateFunctions.
type LineFormat struct {
	Position Pos
	Template string
}

// LabelFormat is "| label_format dst=src, other="{{.template}}"". No Dst occurs twice.
type LabelFormat struct {
	Position Pos
	Formats  []LabelAssignment
}

// LabelAssignment is one pair of a LabelFormat.
type LabelAssignment struct {
	Position Pos
	Dst      string
	// Src is the label that moves to Dst, or "" where Template holds.
	Src string
	// Template makes the value; only when Src is "".
	Template string
}

// LabelItem is an operand of drop and keep: a name, or a matcher that must
// match too.
type LabelItem struct {
	Position Pos
	Name     string
	// Matcher is nil for a plain name.
	Matcher *labels.Matcher
}

// DropLabels is "| drop a, b="x"".
type DropLabels struct {
	Position Pos
	Items    []LabelItem
}

// KeepLabels is "| keep a, b="x"".
type KeepLabels struct {
	Position Pos
	Items    []LabelItem
}

// DistinctLabels is "| distinct a, b", an extension: of the lines with equal
// values of these labels it keeps the first, in the direction of the query. A
// missing label is "". It is for log queries only.
type DistinctLabels struct {
	Position Pos
	Labels   []string
}

// Conversion says how unwrap turns the label's text into a number.
type Conversion uint8

// The conversions of unwrap. duration and duration_seconds are the same
// function under two names, kept apart only for printing.
const (
	ConvertNumber          Conversion = iota // a float
	ConvertBytes                             // bytes(x): "5 MB" in bytes
	ConvertDuration                          // duration(x): a Go duration in seconds
	ConvertDurationSeconds                   // duration_seconds(x)
)

// Unwrap takes the sample's value from a label: "| unwrap bytes(size)".
type Unwrap struct {
	Position   Pos
	Label      string
	Conversion Conversion
	// Filters are the label filters after unwrap; they see the error label that
	// a failed conversion sets.
	Filters []*LabelFilter
}

// RangeOp is the operation of a range aggregation.
type RangeOp uint8

// The range aggregations. NeedsUnwrap and AllowsUnwrap tell which want an unwrap.
const (
	OpCountOverTime RangeOp = iota
	OpRate
	OpRateCounter
	OpBytesOverTime
	OpBytesRate
	OpSumOverTime
	OpAvgOverTime
	OpMinOverTime
	OpMaxOverTime
	OpStddevOverTime
	OpStdvarOverTime
	OpQuantileOverTime
	OpFirstOverTime
	OpLastOverTime
	OpAbsentOverTime
	OpCountDistinctOverTime // an extension
)

// RangeAggregation turns the entries of a window into a number per label set:
//
//	quantile_over_time(0.99, {app="a"} | json | unwrap ms [5m] offset 1h) by (path)
type RangeAggregation struct {
	Position Pos
	Op       RangeOp
	// Param is the quantile of OpQuantileOverTime (any float ≥ 0), else 0.
	Param float64
	// Label is the label whose values OpCountDistinctOverTime counts, else "".
	Label    string
	Selector *LogSelector
	// Range is the length of the window, ≥ 0: the window at t is
	// (t-Offset-Range, t-Offset]. It is written before or after the stages; the
	// tree does not tell.
	Range time.Duration
	// Offset moves the window back; negative values move it forward.
	Offset time.Duration
	// Unwrap is nil where the lines themselves are counted or measured.
	Unwrap *Unwrap
	// Grouping is nil when all labels are kept. It is only there for operations
	// that allow it (avg, min, max, stddev, stdvar, quantile, first, last,
	// count_distinct).
	Grouping *Grouping
}

// Grouping is "by (a, b)" or "without (a, b)".
type Grouping struct {
	Position Pos
	Without  bool
	// Labels may be empty: "by ()" is one group, "without ()" keeps all labels.
	Labels []string
}

// VectorOp is the operation of a vector aggregation.
type VectorOp uint8

// The vector aggregations.
const (
	OpSum VectorOp = iota
	OpAvg
	OpMin
	OpMax
	OpCount
	OpStddev
	OpStdvar
	OpTopk
	OpBottomk
	OpApproxTopk
	OpSort
	OpSortDesc
)

// VectorAggregation aggregates over series: sum by (a) (…), topk(5, …).
type VectorAggregation struct {
	Position Pos
	Op       VectorOp
	// Param is k ≥ 1 of topk, bottomk and approx_topk, else 0.
	Param int
	Expr  MetricExpr
	// Grouping is nil when there is none; never set for sort and sort_desc.
	Grouping *Grouping
}

// BinaryOp is the operator of a BinaryExpr.
type BinaryOp uint8

// The binary operators.
const (
	OpOr BinaryOp = iota
	OpAnd
	OpUnless
	OpEqual
	OpNotEqual
	OpGreater
	OpGreaterEqual
	OpLess
	OpLessEqual
	OpAdd
	OpSub
	OpMul
	OpDiv
	OpMod
	OpPow
)

// BinaryExpr is Left Op Right. Two literals never meet in one: they are folded
// while parsing (with x/0 and x%0 as NaN). A set operator has no *Literal beside it.
type BinaryExpr struct {
	Position Pos
	Op       BinaryOp
	// Bool makes a comparison answer 0 or 1 instead of filtering. It is
	// accepted and without effect on other operators, as in Loki.
	Bool bool
	// Matching is nil where neither on nor ignoring was written.
	Matching    *VectorMatching
	Left, Right MetricExpr
}

// GroupSide names the side of a many-to-one match that has the many.
type GroupSide uint8

// The sides.
const (
	GroupNone GroupSide = iota
	GroupLeft
	GroupRight
)

// VectorMatching is "on (a) group_left (b)".
type VectorMatching struct {
	Position Pos
	// On is false for ignoring.
	On     bool
	Labels []string
	Group  GroupSide
	// Include are the labels in the parentheses of group_left and group_right.
	Include []string
}

// LabelReplace is label_replace(Expr, "Dst", "Replacement", "Src", "Regex").
// Regex is anchored at both ends and has been checked to compile.
type LabelReplace struct {
	Position                     Pos
	Expr                         MetricExpr
	Dst, Replacement, Src, Regex string
}

// Vector is vector(Value): one series without labels.
type Vector struct {
	Position Pos
	Value    float64
}

// Literal is a number.
type Literal struct {
	Position Pos
	Value    float64
}

func (n *LogSelector) Pos() Pos       { return n.Position } // Pos implements Node.
func (n *LineFilter) Pos() Pos        { return n.Position } // Pos implements Node.
func (n *JSONParser) Pos() Pos        { return n.Position } // Pos implements Node.
func (n *LogfmtParser) Pos() Pos      { return n.Position } // Pos implements Node.
func (n *RegexpParser) Pos() Pos      { return n.Position } // Pos implements Node.
func (n *PatternParser) Pos() Pos     { return n.Position } // Pos implements Node.
func (n *Unpack) Pos() Pos            { return n.Position } // Pos implements Node.
func (n *Decolorize) Pos() Pos        { return n.Position } // Pos implements Node.
func (n *LabelFilter) Pos() Pos       { return n.Position } // Pos implements Node.
func (n *LineFormat) Pos() Pos        { return n.Position } // Pos implements Node.
func (n *LabelFormat) Pos() Pos       { return n.Position } // Pos implements Node.
func (n *DropLabels) Pos() Pos        { return n.Position } // Pos implements Node.
func (n *KeepLabels) Pos() Pos        { return n.Position } // Pos implements Node.
func (n *DistinctLabels) Pos() Pos    { return n.Position } // Pos implements Node.
func (n *BoolFilter) Pos() Pos        { return n.Position } // Pos implements Node.
func (n *StringFilter) Pos() Pos      { return n.Position } // Pos implements Node.
func (n *NumberFilter) Pos() Pos      { return n.Position } // Pos implements Node.
func (n *DurationFilter) Pos() Pos    { return n.Position } // Pos implements Node.
func (n *BytesFilter) Pos() Pos       { return n.Position } // Pos implements Node.
func (n *IPFilter) Pos() Pos          { return n.Position } // Pos implements Node.
func (n *Unwrap) Pos() Pos            { return n.Position } // Pos implements Node.
func (n *Grouping) Pos() Pos          { return n.Position } // Pos implements Node.
func (n *RangeAggregation) Pos() Pos  { return n.Position } // Pos implements Node.
func (n *VectorAggregation) Pos() Pos { return n.Position } // Pos implements Node.
func (n *BinaryExpr) Pos() Pos        { return n.Position } // Pos implements Node.
func (n *LabelReplace) Pos() Pos      { return n.Position } // Pos implements Node.
func (n *Vector) Pos() Pos            { return n.Position } // Pos implements Node.
func (n *Literal) Pos() Pos           { return n.Position } // Pos implements Node.
func (n *Call) Pos() Pos              { return n.Position } // Pos implements Node.
func (n *Subquery) Pos() Pos          { return n.Position } // Pos implements Node.

func (*LogSelector) exprNode()       {}
func (*RangeAggregation) exprNode()  {}
func (*VectorAggregation) exprNode() {}
func (*BinaryExpr) exprNode()        {}
func (*LabelReplace) exprNode()      {}
func (*Vector) exprNode()            {}
func (*Literal) exprNode()           {}
func (*Call) exprNode()              {}
func (*Subquery) exprNode()          {}

func (*RangeAggregation) metricNode()  {}
func (*VectorAggregation) metricNode() {}
func (*BinaryExpr) metricNode()        {}
func (*LabelReplace) metricNode()      {}
func (*Vector) metricNode()            {}
func (*Literal) metricNode()           {}
func (*Call) metricNode()              {}
func (*Subquery) metricNode()          {}

func (*LineFilter) stageNode()     {}
func (*JSONParser) stageNode()     {}
func (*LogfmtParser) stageNode()   {}
func (*RegexpParser) stageNode()   {}
func (*PatternParser) stageNode()  {}
func (*Unpack) stageNode()         {}
func (*Decolorize) stageNode()     {}
func (*LabelFilter) stageNode()    {}
func (*LineFormat) stageNode()     {}
func (*LabelFormat) stageNode()    {}
func (*DropLabels) stageNode()     {}
func (*KeepLabels) stageNode()     {}
func (*DistinctLabels) stageNode() {}

func (*BoolFilter) predicateNode()     {}
func (*StringFilter) predicateNode()   {}
func (*NumberFilter) predicateNode()   {}
func (*DurationFilter) predicateNode() {}
func (*BytesFilter) predicateNode()    {}
func (*IPFilter) predicateNode()       {}

// Call is a function of PromQL, an extension: clamp_max(sum(rate({…}[5m])), 10),
// predict_linear(rate({…}[5m])[1h:5m], 3600).
type Call struct {
	Position Pos
	// Func is the name in lower case, one of CallFunctions or, when the argument
	// is a subquery, the name of a RangeOp.
	Func string
	// Args fit the function: series, single numbers (IsScalar) and, as *Subquery,
	// series over time.
	Args []MetricExpr
	// Strings are the arguments of label_join behind the first.
	Strings []string
}

// Subquery is Expr[Range:Step] offset Offset, an extension: the value of Expr at
// every multiple of Step inside the window (t-Offset-Range, t-Offset].
type Subquery struct {
	Position Pos
	// Expr gives series, not a single number.
	Expr MetricExpr
	// Range is positive.
	Range time.Duration
	// Step is 0 where none was written; the engine takes a minute then.
	Step time.Duration
	// Offset moves the window back, or forward if negative.
	Offset time.Duration
}
