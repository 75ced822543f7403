// Package block reads and writes the store's immutable blocks: directories that
// hold the entries of a time range.
//
// Writer builds a block in a temporary directory and renames it into place.
// Block reads one: which streams it has (the label index), which chunk blocks
// hold their rows (the directory), and the chunk blocks themselves. A Block is
// pinned by readers and disappears when the last one lets go of it. The package
// does not merge, order or delete rows, and does not decide which blocks exist:
// the store's manifest does.
//
// # A block on disk
//
//	blocks/<id>/          id: 16 hexadecimal digits, never used twice
//	    meta.json         what the block is; written last
//	    index             label index, see package index
//	    directory         where the rows of each stream are
//	    chunks            all chunk blocks, one after the other
//	    filter            identifier filters of chunk blocks; may be missing
//
// While it is written the directory is called <id>.tmp; Open never looks at
// those, and the store removes what a crash left.
//
// # meta.json
//
//	{"crc32c": "<8 hex digits>", "meta": {…}}
//
// The checksum covers the bytes of the value of "meta". Its fields are those of
// Meta. "version" is the format of the whole directory (1); "encodings" lists
// the versions of chunk blocks inside.
//
// # chunks
//
//	┌─────────────┬───────────┬────────────────┬──────────────┬───
//	│ "LSCF"    4 │ version 1 │ zeros        3 │ chunk block  │ …
//	└─────────────┴───────────┴────────────────┴──────────────┴───
//
// Chunk blocks carry their own checksums, see package chunk. Their number is
// their position. The streams inside a chunk block are numbered 0, 1, …; the
// directory says which streams of the block these are, so that compaction can
// copy a chunk block without touching it.
//
// # directory
//
//	┌─────────────┬───────────┬────────────────┬─────────┬───┬───────────┐
//	│ "LSDR"    4 │ version 1 │ zeros        3 │ entry   │ … │ CRC-32C 4 │
//	└─────────────┴───────────┴────────────────┴─────────┴───┴───────────┘
//
// One entry per chunk block, in order (uv, sv: varints):
//
//	uv length of the rest of this entry, so that it can be skipped
//	uv size of the chunk block, its offset is the sum of the sizes before it
//	uv rows
//	uv bytes of all lines and metadata
//	sv first timestamp, ns
//	uv last timestamp minus first
//	uv number of streams, for each:
//	    uv ordinal minus the ordinal of the stream before it
//	    uv rows
//	    uv bytes of its lines and metadata
//	    uv its first timestamp minus the chunk block's
//	    uv its last timestamp minus its first
//
// The rows and bytes per stream answer volume questions and let counts skip the
// text. The CRC covers everything before it.
//
// # filter
//
//	┌─────────────┬───────────┬─────────┬────────┬───┬──────────────────┬────────┐
//	│ "LSIF"    4 │ version 1 │ zeros 3 │ filter │ … │ table        8 n │ CRC  4 │
//	└─────────────┴───────────┴─────────┴────────┴───┴──────────────────┴────────┘
//
// A filter tells which identifiers cannot be in a chunk block, see package chunk.
// The table has for each of the n chunk blocks, in order, the size of its filter
// (0 for none) and the CRC-32C of it, 4 bytes each, little endian; the last CRC
// is the table's. Filters only save work: a missing or damaged one is left out.
// "filterBytes" in the stats of meta.json is the size of the file, absent when
// there is none: programs that know no filters ignore it, and the file.
package block
