// Package wal is the store's write-ahead log: records of entries and marks in
// the segment files of Prometheus's wlog, written and synced in groups.
//
// Log owns the directory: Open replays what is there, Commit makes records
// durable, Cut begins a new segment, Truncate removes old ones. Encoder and
// Decode translate batches to records and back. The package does not know what
// a head or a block is, and does not decide when to cut or truncate.
//
// # Files
//
// Segments are named 00000000, 00000001, … without holes. Each is a sequence of
// 32 KiB pages of fragments, as wlog writes them:
//
//	┌────────────────┬──────────────┬──────────────┬─────────────────┐
//	│ type │ flags 1 │ length 2 BE  │ CRC-32C 4 BE │ bytes           │ …
//	└────────────────┴──────────────┴──────────────┴─────────────────┘
//
// A record never crosses a segment, and nothing in a segment refers to another
// one: stream references start anew with every segment. So a damaged segment
// costs what was damaged and what follows in it, and nothing else.
//
// # Record
//
// wlog's own compression is off; a record says itself whether it is compressed,
// so that compression happens before the log's lock and the size is known.
//
//	┌─────────┬──────────────────────┬────────────────────────┐
//	│ type 1  │ 0 raw │ 1 snappy   1 │ body                   │
//	└─────────┴──────────────────────┴────────────────────────┘
//	type: 1 batch, 2 checkpoint
//
// Body of both (uv = unsigned varint, sv = signed varint, str = uv length, bytes):
//
//	uv number of stream definitions
//	    uv first reference          they count up from there
//	    per definition: uv number of labels, per label: str name, str value
//	uv number of streams
//	    uv reference
//	    uv number of entries
//	    per entry: sv timestamp minus the previous one of this stream (from 0)
//	               uv line length × 2 + 1 if metadata follows
//	               line
//	               [uv number of pairs, per pair: str name, str value]
//	uv number of marks
//	    per mark: str key
//	              0 (deleted) │ 1 str value
//
// The first reference is left out when there are no definitions. A checkpoint
// has no streams; its marks are all marks at the start of its segment, so that
// older segments can go. One batch is one record: after a crash all of it is
// there or nothing.
package wal
