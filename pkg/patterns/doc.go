// Package patterns groups log lines by their shape: text that many lines share,
// with <_> where they differ.
//
// A [Miner] is fed with lines and answers with [Cluster]s. It follows the idea
// of Drain (He et al., "Drain: An Online Log Parsing Approach with Fixed Depth
// Tree", ICWS 2017): a line is compared with few candidates only, which a tree
// of fixed depth finds, and joins the most similar one or begins a cluster.
//
//	line      level=info msg="cannot open file /tmp/a" took=15ms
//	tokens    level=        key: part of the shape, as the signs between words are
//	          info          word
//	          msg=          key; its value is a sentence, so that
//	          cannot open file tmp/a   are what lines are compared by
//	          took=15ms     key, and a value at sight, see isValue
//	tree      shape (class, separators, keys) ─► first word ─► clusters
//	pattern   level=info msg="cannot open file /<_>" took=<_>
//
// Lines of JSON objects and of name=value are read as fields, others as text, in
// which paths are taken apart too.
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
