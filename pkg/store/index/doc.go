// Package index answers label questions for the store: which streams a set of
// matchers selects, and how the label index of a block is written and read.
//
// Both the head (index.MemPostings) and blocks (the index file) use Prometheus's
// tsdb/index; this package adds the translation of matchers to postings (the
// same semantics as Prometheus: a label that a stream does not have counts as
// ""), and Write, which builds an index file for a block.
//
// # References
//
// Who addresses what inside a block:
//
//	ordinal      0, 1, 2, … the streams of a block sorted by labels.Compare;
//	             valid in one block. The chunk directory uses it.
//	series ref   offset/16 of the stream's entry in the index file; postings
//	             hold it. Only this package and its callers' loops see it.
//	chunk meta   each series has exactly one: its Ref is the stream's ordinal,
//	             its times are the stream's first and last timestamp in the block.
//
// So the index file says which streams exist and when, and the chunk directory
// (package block) says where their rows are.
//
// The index file's format is version 2 of tsdb/index, documented by Prometheus
// in tsdb/docs/format/index.md; every section carries a CRC-32C.
package index
