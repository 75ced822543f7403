// Package stage holds the line stages of LogQL: what stands after each "|" of
// a query, and the machinery that runs them over batches of entries.
//
//	Stage      one step; one file per kind (json.go, logfmt.go, labelfilter.go, …)
//	Builder    the labels of the entry at hand, reused from line to line
//	Pipeline   the compiled stages of a log query and the caches of one run
//	LabelSet   an interned result: equal label sets are the same pointer
//	Extractor  a pipeline that ends in numbers: unwrap, conversions, grouping
//	Hints      which labels anything reads, so that parsers find no others
//	Budget     the memory that label sets and samples may take
//
// A line passes through the stages in the order of the query, except that line
// filters move before stages that only deal in labels. Filters at the front run
// over a whole batch at a time, and a pipeline of only line filters never
// touches labels. Nothing is allocated per line: values are substrings of the
// line or of the builder's scratch memory, and become strings of their own only
// when a label set is met for the first time. A template with functions is the
// exception; one of text and labels alone is not.
//
// An error of a stage does not end a query here: it becomes the labels
// __error__ and __error_details__ of the line. What that means for a metric
// query is the business of package engine.
//
// Queries come from strangers, so that templates are bounded in the text they
// make and the rounds they loop (templatefuncs.go), and json in its depth.
package stage
