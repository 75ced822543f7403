// Package model holds the nouns that every room shares: an [Entry] (one log
// line), a [Batch] (entries and marks that become durable together), a
// [SelectRequest] (what a reader wants from the store) and an [EntryBatch]
// (what it gets, many rows at a time).
//
// It knows no storage, no LogQL, no HTTP and no Kubernetes, and imports
// nothing of ours. Labels and matchers are those of
// github.com/prometheus/prometheus/model/labels: the whole ecosystem speaks
// them, and their string form keeps a label set in one allocation.
//
// Times are int64 nanoseconds since the Unix epoch everywhere below the HTTP
// layer. A [TimeRange] is half open: Start is inside, End is not.
package model
