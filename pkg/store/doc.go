// Package store is the log database: it makes entries durable, keeps them
// compressed, and finds them by labels, time and text.
//
// [Open] gives a [DB]. [DB.Append] writes batches, [DB.Select] reads entries,
// [DB.Tail] follows them, [DB.LabelNames], [DB.LabelValues], [DB.Series] and
// [DB.Volume] answer from the indexes, [DB.Delete] and the retention remove. The
// store knows no LogQL, no HTTP and no Kubernetes: it is given label matchers, a
// range of time, a direction and byte strings that lines must contain.
//
// # How an entry travels
//
//	Append ─► commitGroup ─► wal (one sync for many writers) ─► head ─► Tail
//	                                                             │ flush
//	                                                             ▼
//	             retention ◄── blocks ◄── compaction ◄── one block per window
//
// A batch becomes one record of the write-ahead log, its marks included. Writers
// that come while a sync is running share the next one. What is durable goes to
// the active head, where readers and tails see it. When the head is large or old
// it is frozen at a segment boundary, an empty one takes its place, and the
// frozen one is written to blocks: one per window of Options.BlockRange that it
// has entries in, so that late entries land in a block of their own time. Then
// the manifest is replaced, which at once adds the blocks and makes the segments
// before the boundary superfluous.
//
// Inside a block, entries of streams that resemble each other (equal
// Options.GroupLabels) share chunk blocks of about 1 MiB of lines, cut by time
// and sorted by stream inside. Compaction merges neighbouring blocks of similar
// size, and all blocks of a window when it is over. Chunk blocks that are large
// enough and overlap no other of their group are copied as they are, so that
// most lines are encoded once.
//
// # The data directory
//
//	LOCK            locked while open; the process number, for people
//	FORMAT          "logstack-store 1": the version of this layout
//	manifest.json   which blocks exist and where the log begins; see below
//	wal/00000017    segments of the write-ahead log, see package wal
//	blocks/<id>/    blocks, see package block
//	scratch/        short-lived files of tsdb/index
//
// manifest.json has the form {"crc32c": …, "meta": …} of a block's meta.json.
// It lists the blocks' IDs, the oldest segment that is needed (walFirst), the next
// numbers for blocks, flushes and delete requests, the delete requests that have
// not been carried out, and the last few that have. Its version is 2 while a
// request with a filter waits, which older programs would not see, and otherwise
// 1. It is replaced as a whole (.tmp, sync, rename, sync of the directory), so that a flush into several blocks or a compaction happens
// at once or not at all. A block directory that it does not list is a leftover
// of a crash and removed by Open. If it cannot be read it is rebuilt from the
// blocks; only pending delete requests are lost then, which is logged. A block
// that cannot be opened is renamed to <id>.corrupt and left alone.
//
// # Who refers to what
//
//	stream reference   number of a stream in one segment of the log
//	ordinal            number of a stream in one block, sorted by labels
//	local number       number of a stream in one chunk block; the directory of
//	                   the block maps it to the ordinal
//	sequence           number of a flush; blocks carry the range they hold. Of two
//	                   blocks that overlap in time one has all smaller numbers:
//	                   its entries arrived earlier. Compaction keeps that true.
//	order              number of a part (chunk block or run of the head) in one
//	                   reader: source, then position. Ties between entries of one
//	                   stream with equal timestamps are decided by order, then row.
//
// # Order
//
// Forward is by timestamp, labels.Compare, arrival; backward is the exact
// reverse. The ordered reader (merge) keeps blocks, chunk blocks and texts in one
// heap by the first row that they may contain and opens each when that row is
// due, so that a reader that stops early has read little. The unordered reader
// (scan) hands out one decoded chunk block after the other; only chunk blocks
// that share a stream and overlap in time are merged.
//
// A reader that may stop soon (small batches) looks at a few rows of each chunk
// block and has only those lines put together that are handed out, more with every
// batch. One that looks for an identifier asks the filters of the blocks first;
// one that only counts gets a row for all entries of a stream in a piece of time,
// for many chunk blocks out of the directory.
//
// # Deleting
//
// A delete request concerns what is stored when it comes: the head is flushed, and
// the request has the number of the last flush. Readers leave its entries out from
// then on, by stream and time, and by a filter that the caller compiles: then the
// text of the chunk blocks that it may concern is read, too. Options.DeleteDelay
// later compaction writes the blocks without them; until it has begun the request
// can be cancelled. Blocks are not merged across a request that waits, so that it
// concerns all of a block or nothing. A block remembers the newest request that
// has been carried out in it, which implies all before.
//
// # Memory
//
// Options.MemoryLimit is divided: an eighth for the head at which it is flushed,
// half as much again while a flush is running, after which writers wait; an
// eighth for the decoded text that one reader keeps, a sixteenth for its row
// references, a sixteenth for text that it collects for one batch beside that.
// Readers of one SelectSplit share these. A reader that needs more chunk blocks at
// a time than fit decodes them again instead; where lines are long a batch ends
// early, but has one row at least. Encoding takes about 10 MiB, writing a label index 20 MiB,
// for a moment. The garbage collector's slack is the caller's: set GOMEMLIMIT.
//
// # What goes wrong
//
// A full disk makes Append, Flush and Delete return *DiskFullError; nothing of
// the batch is stored, and everything works again when there is space. A damaged
// chunk block, block or log segment costs its own entries: they are left out of
// answers, logged once, counted in Status and metrics, and never compacted away.
// An unfinished write at the end of the log, as a crash leaves it, was never
// acknowledged and is left out silently.
package store
