// Package peers lets any replica answer for all: it reads from the local store
// and from those of the other replicas, and merges what they give, so that each
// line comes once.
//
// [New] puts a [Store] around a [Local] one and a [Directory] of the others. The
// Store has all methods that the HTTP server and the query engine want. Without
// peers every call goes straight to the local store. [Store.Handler] answers the
// other replicas, from the local store only, so that requests cannot go round in
// circles. [Store.Leave] hands everything over to the others before a replica
// goes for good.
//
// It knows neither Kubernetes nor files: who the peers are is the Directory's
// business, what is stored the Local's.
//
// # Which lines are the same
//
// Replicas share the containers that they read, and each stores what it read.
// When a container changes hands, both may hold a few of its lines; after a crash,
// or while a replica hands over its entries, more. Nothing tells such a copy from
// an equal line that was written twice, but how often one replica has it: an
// answer has each (stream, timestamp, line, metadata) as often as the replica that
// holds most of it. So a line that a container wrote three times in one nanosecond
// comes three times, and not six when two replicas have read it. Lines that were
// pushed are treated alike: equal ones of one stream and nanosecond that went to
// different replicas count as one push that was sent twice.
//
// Entries of one stream and timestamp come in the order of the replica whose name
// is first; what others have beside follows behind. It is the same order from
// whichever replica answers.
//
// # How it is read
//
// A request for ordered rows is sent to all with its matchers, range, direction
// and hints; the answers are merged as they stream in. A request for unordered
// rows, which aggregations make, asks first who has what: [model.StreamSpans] of
// each replica. Where no stream is held twice at the same time, the replicas'
// rows are handed on as they come, counted in pieces where that was asked for;
// where some are, those are merged line by line. What is appended between the
// question and the reading, at a replica that had nothing of that stream, is left
// out: it is younger than the answer.
//
// Results of metric queries are kept: before a query each peer is asked in which
// spans of time something has changed since it was asked last ([Store.Refresh]).
// While one does not answer nothing is kept.
//
// # What cannot be reached
//
// A replica that does not answer costs its entries, not the answer. The answer
// then has a warning that names it and what it is known to hold, see
// [model.Warn]. What a replica holds is learned from every answer and kept as a
// mark in the local store, under peers/known/<name>; so is the fact that it left
// in order, which needs no warning. After a failure a replica is left alone for
// one second, doubling up to half a minute: a dead one does not slow down every
// query. Delete requests are refused while a replica is away.
//
// # Leaving for good
//
// A replica that is not needed any more gives its entries to the others before it
// goes ([Store.Leave], POST /logstack/v1/leave). Its collectors stop first; then
// nothing is stored there any more, and pushes are passed on. Every stream belongs
// to one of the replicas that are there, by rendezvous hashing: that is a lane.
// Lane by lane the entries are sent in order of time; the receiver stores each
// piece together with the position behind it, as a mark, and takes a piece only at
// that position. So it goes on after a crash of either side, and nothing is stored
// twice; what the receiver holds itself already is left out. Meanwhile both hold
// the lines, which answers count once. When all is done the replica counts as left:
// it is not asked any more, and its absence needs no warning. Should it come back
// with its old volume, it gives up what it handed over.
//
// # The protocol
//
// POST /logstack/v1/peer/<what>, a JSON object as body; credentials are those of
// the API, presented by [Options.Transport]. The answer is a run of frames after
// the eight bytes "LSPEER", 0, 1 (the version). The integers of the header are
// little-endian; CRC-32C is of the payload as sent.
//
//	+------+-------+----------+----------+---------------------------------+
//	| kind | flags |  length  |  CRC-32C | payload                         |
//	|  u8  |  u8   |   u32    |    u32   | flags & 1: one snappy block     |
//	+------+-------+----------+----------+---------------------------------+
//
//	B  rows, see below
//	L  a part of a list: elements one after the other
//	H  nothing; at least every 3 s, so that silence means that a replica is gone
//	X  the text of an error; the answer ends
//	E  the end; after rows, six varints of statistics
//	M  the end of a page: the last timestamp, then statistics; the asker goes on
//	   behind it, if it wants to
//	S  the head of a request that hands entries over, a JSON object; B and E follow
//
// Numbers are varints, those that can be negative zigzag. A string is its length
// and bytes, a label set the number of pairs and their strings, sorted by name.
//
//	batch  = parts dropped fresh label-set*fresh rows
//	         stream*rows                       number in the table of streams
//	         time*rows                         difference from the row before
//	         [count*rows]                      parts & 4
//	         [sets label-set*sets set*rows]    parts & 2: metadata
//	         [length*rows byte*]               parts & 1: lines
//
// Every batch adds its fresh streams to the table of the answer, which each row
// refers to. Columns, because rows of one kind pack well together and unpack
// without an allocation for each; metadata by sets, because they repeat.
//
//	select, tail              rows
//	names, values             strings
//	series                    label sets
//	volume                    label set, entries, bytes, chunks
//	extents                   label set, number of spans, min and max of each
//	ping                      nothing but the headers
//	changes, deletes, cancel  one string, a JSON object (a word for cancel)
//	delete, forget            nothing: it is done
//	ship                      the position of the lane, a JSON object
//
// Every answer has the headers Logstack-Replica (the name), Logstack-Instance (a
// random number of the process, by which a replica recognises itself),
// Logstack-State (active, leaving or left) and Logstack-Span (the timestamps of
// the first and last entry).
package peers
