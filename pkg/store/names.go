package store

import (
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/store/chunk"
)

// Names inside the data directory.
const (
	lockFile     = "LOCK"
	formatFile   = "FORMAT"
	manifestFile = "manifest.json"
	walDir       = "wal"
	blocksDir    = "blocks"
	scratchDir   = "scratch"
	// corruptSuffix is appended to the name of a block that cannot be opened.
	corruptSuffix = ".corrupt"
)

// formatVersion is the version of the data directory as a whole. It changes when
// an older program must not touch it.
const (
	formatVersion = 1
	// manifestVersion is the newest version of the manifest. A program that knows
	// version 1 only would take all entries of a selector for a delete request with
	// a filter: the manifest has version 2 as long as there is one.
	manifestVersion = 2
	formatPrefix    = "logstack-store "
)

// FormatVersion is the newest format of a data directory that this program reads
// and may write; [Status] says which one a directory has now.
const FormatVersion = manifestVersion

// Limits, all of format version 1.
const (
	// maxBatchBytes bounds lines and metadata of one Append.
	maxBatchBytes = 64 << 20
	// maxPendingBytes is what may wait for the log at a time, over all writers.
	maxPendingBytes = 64 << 20
	// maxLabelBytes bounds the label set of one stream.
	maxLabelBytes = 64 << 10
	// maxMarkBytes bounds key and value of one mark.
	maxMarkBytes = 1 << 20
	// maxDeleteText bounds filter and query of one delete request,
	// maxPendingDeletes the requests that have not been carried out: every reader
	// looks at them.
	maxDeleteText     = 128 << 10
	maxPendingDeletes = 1000
	// maxProcessedDeletes is how many delete requests are remembered after they
	// have been carried out.
	maxProcessedDeletes = 100
	// checkpointBytes is where a checkpoint begins another record.
	checkpointBytes = 1 << 20
	// maxFlushWindows bounds the blocks that one flush makes; entries spread over
	// more time get wider blocks.
	maxFlushWindows = 16
	// maxChunkMetadata ends a chunk block that has much structured metadata.
	maxChunkMetadata = 2 << 20
	// maxChunkRows ends a chunk block of very short lines.
	maxChunkRows = 1 << 16

	// keepChunkBytes is the size of lines from which on compaction copies a chunk
	// block as it is.
	keepChunkBytes = chunk.TargetRawBytes / 4
	// minCursorRows is the least number of rows that a reader looks ahead in a
	// chunk block: fewer would make it read the times again too often.
	minCursorRows = 64

	// leanRows is how many rows of a chunk block a reader that may stop soon looks at
	// first.
	leanRows = 256

	defaultBatchRows  = 4096
	defaultTailBuffer = 16 << 10
	maxTailBytes      = 8 << 20

	// settleTime is how long nothing must have been flushed before all blocks of a
	// window of time that is over are merged.
	settleTime = 5 * time.Minute
	// maintainEvery is how often the background looks for work unasked.
	maintainEvery = 30 * time.Second
)
