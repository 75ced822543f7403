// Package stage holds the line stages of LogQL: what stands after each "|" of
// a query, and the machinery that runs them over batches of entries.
//
//	Stage      one step; one file per kind (json.go, logfmt.go, labelfilter.go, …)
//	Builder    the labels of the entry at hand, reused from line to line
//	Pipeline   the compiled steps of one query, immutable, shared
//	Runner     one run of a pipeline over batches, with its caches
//	LabelSet   an interned result: equal label sets are the same pointer
//	Extractor  the sample side: unwrap, conversions, grouping
//
// A line passes through the stages in the order of the query. Leading line
// filters run over a whole batch at a time, and a pipeline of only line
// filters never touches labels. Nothing is allocated per line: values are
// substrings of the line or of the builder's scratch memory, and become
// strings of their own only when a label set is met for the first time.
//
// An error of a stage does not end a query here: it becomes the labels
// __error__ and __error_details__ of the line. What that means for a metric
// query is the business of package engine.
//
// The package knows the syntax tree (package logql) only in compile.go.
package stage
