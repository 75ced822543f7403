// Package podlogs reads the logs of all containers of a cluster through the
// Kubernetes API and hands them to a store: never twice, never lost silently.
//
// A [Collector] watches pods. Every container of a pod is a target with one
// goroutine, which reads one run (instance) of the container after the other:
//
//	plan      compares the position with the pod's status: read the present
//	          run, drain an ended one, or mark runs that are out of reach
//	catchUp   plain requests from the anchor to the end of the file
//	follow    an open stream, watched over by probes, renewed once an hour
//	poll      instead of follow, when the node has no follow to spare
//	drain     the end of a run that has ended, verified
//
// What is read goes as pieces into the batcher, which gathers those of many
// targets into one [model.Batch]: lines and the positions behind them in one
// atomic write. A position exists only together with its lines, so a crash at
// any moment neither doubles nor loses any.
//
// # Continuity
//
// The API has no offsets: sinceTime is floored to the second, streams end
// cleanly whatever broke, files are rotated away, error texts come with status
// 200. So a read is never continued on trust. It begins before the last
// committed line, the anchor, and takes only what follows it in the file. Files
// are read in their order, hence the anchor in the live file proves that
// nothing is missing, and its absence that nothing of the file is stored. In
// the second case a gap entry is written before the next line (structured
// metadata [MetaGap] and others): a place where lines may be missing. Only a
// follow that was left on the old file, until nothing could be written to it,
// proves that the live one comes right after it, see rotation.go.
//
// A line is identified by its timestamp, a hash of its text and its ordinal
// among identical lines of that timestamp. Text without a newline is stored
// only at the end of a finished run, after a second read has confirmed it.
//
// # Positions
//
// The mark "podlogs/<pod uid>/<container>" holds a position, the mark
// "podlogs/<pod uid>/<container>/labels" the labels of the target's stream, for
// the gap entry of a pod that vanished while no collector ran. Both are removed
// when the pod is gone. Integers are big-endian or unsigned varints (uv).
//
//	┌───────────┬─────────┬───────────────────┬─────────────┬──────────────────────────────────────┐
//	│ version=1 │ flags   │ len uv │ instance │ restart uv  │ if anchor: ts 8, hash 8, ordinal uv   │
//	│ 1 byte    │ 1 byte  │ short id          │             │                                      │
//	└───────────┴─────────┴───────────────────┴─────────────┴──────────────────────────────────────┘
//	flags: 1 the run has ended and is stored to its end, 2 an anchor follows,
//	       4 no run comes after this one
//	hash:  xxhash64 of the line's kept text
//
// Version 2 is written where files of the node were read, and has a place in
// them behind the anchor. Collectors that know version 1 only begin such logs
// again.
//
//	┌─────────────────┬────────┬───────────────────────────┬─────────────────────────────┐
//	│ fingerprint 8   │ off uv │ flag 32: fingerprint 8    │ seen uv; without flag 32 it │
//	│ of a file       │        │ of the file seen is in    │ counts from off             │
//	└─────────────────┴────────┴───────────────────────────┴─────────────────────────────┘
//	off:   where reading begins again, seen: lines that end before are stored
//	flags: 8 all of this follows, 16 the API shows the beginning of a line, whose
//	       end was not read, as part of the anchor or of a line before it
//
//	┌───────────┬──────────┬─────────────────────────────────────────┐
//	│ version=1 │ count uv │ count times: len uv, name, len uv, value │
//	└───────────┴──────────┴─────────────────────────────────────────┘
//
// # Lifecycle
//
// With [Options.Lifecycle], starts, ends and troubles of containers become
// entries of their own streams, see [LifecycleJob]. What a status shows beyond
// the mark "podlogs/<pod uid>/<container>/lifecycle" is stored together with
// the new mark; the pod's own mark has an empty container.
//
//	┌───────────┬─────────┬──────────────────┬────────────┬─────────────┬─────────────────┐
//	│ version=1 │ flags   │ len uv, run      │ restart uv │ started uv  │ len uv, reasons │
//	│ 1 byte    │ 1 byte  │ short id         │            │ Unix seconds│ comma separated │
//	└───────────┴─────────┴──────────────────┴────────────┴─────────────┴─────────────────┘
//	run:     the newest one stored; flags: 1 its end is stored
//	reasons: of waiting since then that are stored, or of the pod's failure
//
// # Files of nodes
//
// With [Options.NodeFiles] the files of a container are read on its node, through
// package nodefiles: to fill what would be a gap, or instead of the API.
//
//	chain        the files of a run, one after the other, whatever their names are
//	filesReader  their lines, from a position on: of the streams, or as the API
//	             shows them; the anchor is always a line as the API shows it
//	fill…        where the API marks a gap, in backfill.go
//	viaFiles     a step of a target with files, in files_mode.go
//
// # Limits
//
// Nothing on the server's side throttles log requests, so the collector admits
// its own: token buckets, a breaker per node, a cap of follows per node, full
// jitter. When the store does not keep up, streams are closed and read again
// later: a stalled stream costs the API server memory and provokes defects of
// the kubelet.
//
// # Replicas
//
// With [Options.Share] several replicas divide the pods among them. A replica
// reads the pods that it owns, by what it knows of the others, and goes on with
// one that it owns no more until the new owner asks for it ([Collector.Release]).
// The new owner asks all, takes the furthest position of the last owner, stores it
// as its own mark with a new epoch, and resumes as after a restart. Positions are
// copied once a second to the replica that comes next ([Collector.Keep]), for the
// case that the owner dies; it keeps them under "podlogs-copy/<pod uid>/<container>":
//
//	┌───────────┬────────┬─────────────────┬───────────────┬──────────┬────────────┬───────────────────┬──────────────────┐
//	│ version=1 │ flags  │ len uv │ origin │ len uv │ node │ stamp uv │ emptyAt uv │ len uv │ position │ len uv │ through │
//	│ 1 byte    │ 1 byte │ who reads it    │ the pod's     │ Unix ms  │ Unix ms    │ as above          │ as above, or ""  │
//	└───────────┴────────┴─────────────────┴───────────────┴──────────┴────────────┴───────────────────┴──────────────────┘
//	flags:   1 the run's file was first read so late that it may have been rotated
//	emptyAt: when the run's file was known to be empty, 0 if something is stored
//	through: how far this replica's own store has the target, from an earlier time
//
// A position that is shared has a few bytes before it:
//
//	┌──────────────┬────────┬──────────┬──────────┐
//	│ version=0x81 │ flags  │ epoch uv │ position │
//	└──────────────┴────────┴──────────┴──────────┘
//	flags: 1 the anchor was taken over from another replica, and the lines of its
//	       timestamp are not stored here yet
//	epoch: when the pod came to its reader, in Unix milliseconds, and more than any
//	       epoch of the pod before
//
// Two replicas may store the same lines: after a crash, when a copy was a second
// old, or when they did not reach each other. A query counts, of equal lines, as
// many as the replica holds that has most of them. Hence a replica never stores a
// line twice, however often a pod comes back to it: it resumes from its own last
// position if that is further. And it stores anew, from another's position, all
// lines of the anchor's timestamp: one of them has to hold all that are equal.
//
// Only the owner finishes a pod that is gone; the copies of a dead owner are
// finished by who takes over.
//
// The package does not know how replicas find each other, and knows nothing of the store beyond [Sink] and [MarkReader].
package podlogs
