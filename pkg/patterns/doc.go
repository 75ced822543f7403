// Package patterns groups log lines by their shape: text that many lines share,
// with <_> where they differ.
//
// A [Miner] is fed with lines and answers with [Cluster]s. It follows the idea
// of Drain (He et al., "Drain: An Online Log Parsing Approach with Fixed Depth
// Tree", ICWS 2017): a line is compared with few candidates only, which a tree
// of fixed depth finds, and joins the most similar one or begins a cluster.
//
//	line      level=info msg="GET /users/42 done" took=15ms
//	tokens    level=        key: part of the shape
//	          info          word
//	          msg=" … "     key, separators: part of the shape
//	          GET users 42 done   words; 42 is a value at sight, see isValue
//	          took=15ms     key and a value at sight
//	tree      shape (class, separators, keys) ─► first word ─► clusters
//	pattern   level=info msg="GET /users/<_> done" took=<_>
//
// Words of a line and a cluster that differ become <_> of the cluster, when
// enough others are equal. Every line of a cluster matches its pattern in the
// sense of LogQL's |> filter, in which <_> stands for one byte or more.
//
// Memory is bounded by Options and does not grow with the number of lines: when
// there are too many clusters the smaller half is forgotten, as are the parts
// of long lines and all lines of an entry but the first. Lines can be given a
// weight, for a reader that only looks at a sample.
//
// The package knows no store, no query language and no HTTP. A library would
// have been welcome: of those for Go, github.com/faceair/drain is three commits
// of 2022 and splits the line into new strings each time, others have no users.
package patterns
