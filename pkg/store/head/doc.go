// Package head keeps the newest entries in memory until they become a block.
//
// A Head maps label sets to Streams and indexes their labels (tsdb/index's
// MemPostings). A Stream holds its entries in arrival order, in runs: the last
// run is open and grows, full runs are compressed with snappy. Timestamps stay
// uncompressed, so that counting, filters by time and looking for duplicates
// need no text. Nothing is ever changed in place: a Stream's Snapshot is a few
// slice headers and stays valid while entries are added, and after the head has
// become a block.
//
// The package does not decide when a head is full and knows no files: the store
// logs entries first, then adds them here.
//
// # A run in memory
//
//	times  int64 per entry, ns
//	ends   uint32 per entry: end of its line in the text
//	text   the lines one after the other, raw (open) or snappy (sealed)
//	meta   structured metadata per entry, nil when no entry of the run has any
package head
