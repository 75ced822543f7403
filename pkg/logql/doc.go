// Package logql turns LogQL text into a syntax tree and back.
//
// Parse reads a query and returns an Expr: a *LogSelector for a log query or a
// MetricExpr for a metric query. ParseSelector and ParseMatchers read the
// stream selectors of the series and volume endpoints. What is wrong with a
// text comes back as a *ParseError with the place and, on request, a drawing of
// it. Every accepted tree has been validated: regular expressions compile,
// templates parse, aggregations fit their arguments.
//
// String prints a tree on one line, Pretty over several; both parse to an equal
// tree again. RequiredSubstrings and NeededLabels tell the engine what it may
// leave out. The small languages inside strings are read by ParsePattern,
// ParseLinePattern, ParseJSONPath and ParseIPRange.
//
// The language is Loki's, with its positions and error texts where users know
// them, and a few constructs more, all of which Loki refuses
// (docs/logql-extensions.md):
//
//	|=i "x"  !=i "x"                        text in any case (LineContainsFold)
//	| distinct a, b                         the first line of each (DistinctLabels)
//	| json --arrays                         elements of arrays (JSONParser.Arrays)
//	count_distinct_over_time(a, {…}[5m])    values of a label (OpCountDistinctOverTime)
//	clamp_max(…, 10), time(), …             functions of PromQL (Call, CallFunctions)
//	max_over_time(…[1h:5m])                 subqueries, for such functions (Subquery)
//
// The package has never heard of files or HTTP: running a line through
// stages is the business of logql/stage, evaluation that of logql/engine.
package logql
