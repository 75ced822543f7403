// Package engine evaluates LogQL over anything that can select entries.
//
// An Engine takes query text and a time range and answers with streams, a
// matrix, a vector or a scalar. It is a library: it knows no HTTP and no files.
// Entries come from a Querier in batches of columns, run through the line
// stages of package stage, and end in one of two places:
//
//   - a log query collects entries, newest or oldest first, until its limit;
//   - a range aggregation counts them into buckets, in one pass, whatever the
//     order in which streams arrive (grid.go, aggregate.go).
//
// Everything above a range aggregation, such as vector aggregations, binary
// operations, label_replace and sort, is evaluated by Prometheus's own engine:
// each range aggregation has been computed for all steps and is handed to it
// as a series with exactly these points, through a storage.Queryable. A
// look-back of one millisecond keeps a missing point missing. Where Loki
// differs from PromQL the translator (metric.go) takes care of it: a division
// by zero is NaN, and label_replace may make two series the same.
//
// The functions of PromQL that our LogQL has as an extension are left to it as
// well. A subquery is evaluated at its own steps first and handed over as
// series over time (subquery.go).
//
// The store is asked for no more than a query reads: substrings that its lines
// must have, some of which they must have, or must not have; only timestamps and
// metadata where no line is looked at, and only timestamps where the streams have
// every label that matters. A Splitter is read by several goroutines.
//
// Work is shared: identical queries that come while one waits or runs have one
// answer, and the scan ends when nobody waits for it any more (share.go). With a
// Querier that is a Reviser the points of range aggregations are kept and used
// again where nothing in their windows has changed (cache.go).
//
// testdata/*.test are scripts of queries and their answers, see
// testdata/README.md; what they say is what the engine does.
//
// What a query may hold is bounded (Options): the limits end it with a typed
// error, see LimitError, before memory does. Errors of the query text are
// *logql.ParseError, a line that a metric query cannot use is *PipelineError,
// a wrong request is *QueryError; ErrTimeout and context.Canceled say that
// time ran out or the client left.
package engine
