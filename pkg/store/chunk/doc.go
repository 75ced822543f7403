// Package chunk encodes log entries as chunk blocks, the unit in which the
// store compresses, checks and reads lines.
//
// A chunk block holds up to about [TargetRawBytes] of lines of one stream, or
// of several streams that resemble each other (one app, one container). Lines
// are taken apart: what repeats (keys, words, punctuation) becomes a shape that
// is written once, and what varies becomes typed columns: integers, hexadecimal
// identifiers, timestamps, dictionaries. Reading a block gives back every byte
// of every line. The format is self-describing: the reader only puts text and
// values side by side, so that any encoder which writes what is drawn here is
// exact, and the encoder may grow without a change of format.
//
// [Encoder] writes a block from [Rows]. [Open] and [OpenBytes] give a [Block],
// which reads and checks each section alone: counting needs the stream table,
// time filters the times, a text search the texts, and only [Block.Decode]
// needs everything. [Decoder] owns the memory that decoding uses. A damaged
// block gives a [*CorruptError], never a panic or an allocation out of bounds.
//
// The package knows nothing of labels of streams (only numbers), of files, of
// LogQL or of what a block is stored in; it starts no goroutines.
//
// # Block
//
// Little endian; "uv" is an unsigned varint (encoding/binary), "zz" a zigzag
// signed one. The section table gives lengths; sections follow one another in
// its order, so that offsets are sums. Every section has its own CRC-32C
// (Castagnoli) so that it can be read and trusted alone.
//
//	+--------+--------+------+-------+----------+-------+-----------+-----------+
//	| "LSCB" | version| mode | flags | sections | rows  | raw bytes | meta bytes|
//	| 4      | 1 (=1) | 1    | 1     | 1        | 4     | 4         | 4         |
//	+--------+--------+------+-------+----------+-------+-----------+-----------+
//	| min time 8 | max time 8 | sections x { kind 1 | length 4 | crc 4 } | crc 4 |
//	+------------+------------+-----------------------------------------+-------+
//	| section bytes ...                                                         |
//	+---------------------------------------------------------------------------+
//
//	mode       0 columns, 1 plain
//	flags      bit 0: letters whole (see Search)
//	raw bytes  of all lines; meta bytes: of all names and values of structured
//	           metadata; both bound what a reader has to allocate
//	last crc   of everything before it
//
// The sections by kind, in this order; a section without content is left out.
//
//	1 STREAMS   uv count, per stream: uv number (the first as is, then the
//	            difference, >= 1), uv rows, uv bytes (lines and metadata),
//	            uv min time - block's min, uv max time - min time
//	2 TIMES     uv unit (ns), ints: per row the time since the row before in the
//	            same stream (since the stream's min time for its first), / unit
//	3 LENS      plain mode: ints of line lengths
//	4 META      packed: pools, shapes, column descriptors
//	5 TEXT      packed: the strings that columns and shapes refer to
//	6 RAW       packed: the bytes of raw columns; in plain mode of all lines
//	7 IDS       the identifier pools, not compressed, so that the packed form of
//	            an identifier can be searched with a plain substring search
//	8 DATA      bit-packed integers and byte planes
//	9 METADATA  structured metadata: a table of its own (see below)
//
// Packed is u8 codec (0 stored, 1 zstd frame), uv decoded length, bytes.
// Sections with descriptors and data of their own (TIMES, LENS) hold
// uv descriptor length, descriptor, data.
//
// # Table
//
// META, TEXT, RAW, IDS and DATA together are a table: rows of strings by shape.
//
//	META = uv pools, per pool: uv width (bytes of an identifier), uv count
//	       uv shapes, per shape: uv text length, uv fields, per field: uv back
//	       ints: the shape of each row
//	       per column, in order of first mention: node
//
// A shape's text is taken from TEXT; each byte 0xFF in it is a place where a
// value of a column stands (a line that holds 0xFF itself uses the shape that is
// a single field). A field names its column: back 0 is the next new column, 1 the
// newest one so far, 2 the one before that; a shape names a column once. The number of values of a column is
// not stored: it is the number of rows whose shapes mention it.
//
// METADATA is a table, too. There a shape's text is a sequence of names, each
// uv length and bytes; each name has one field; a row without metadata has a
// shape without names. Its parts follow one another. If a sender uses so many
// names that a table would be too large, pairs are written row after row.
//
//	METADATA = u8 0, 5 x uv length (of META, TEXT, RAW, IDS, DATA), the parts
//	         | u8 1, packed: per row: uv pairs, per pair: uv length, name, uv
//	           length, value
//
// # Node
//
// A node says how the values of a column are written. Descriptors stand in
// META, strings are taken in order from TEXT, data from DATA, RAW and IDS, depth
// first, so that no offsets are needed. n is the number of values.
//
//	 0 const    uv length; string in TEXT
//	 1 int      ints; canonical decimal
//	 2 fixint   u8 width 1..19; ints; decimal with leading zeros up to width
//	 3 digits   ints; decimal of "1" + digits: leading zeros of any width
//	 4 hex      u8 width in digits, even, 2..128; ids; lower case
//	 5 HEX      the same, upper case
//	 6 uuid     ids of 16 bytes; 8-4-4-4-12 lower case
//	 7 UUID     the same, upper case
//	 8 time     uv layout length, layout in TEXT; ints: zigzag of (value in units
//	            of the layout - entry time in the same units, rounded down)
//	 9 dict     uv count; node over count values (a flat one); ints: indices
//	10 split    uv skeletons, per skeleton: uv text length (text in TEXT);
//	            u8 1 if some values are in none; ints: skeleton of each value
//	            (count of skeletons = none); per skeleton a node (a flat one) per
//	            0xFF of its text; node (flat) of the values in no skeleton
//	11 raw      ints: lengths; bytes in RAW
//	12 text     ints: lengths; bytes in TEXT
//
// A flat node is any but dict and split; a dict inside a split is allowed, and
// its values are flat. ids are ints: 0 takes the next identifier of the pool of
// that width, d > 0 the one d places before it.
//
// A layout is text with %Y (4 digits) %m %d %b (Jan..Dec) %H %M %S, %s (seconds
// since 1970), %1..%9 (digits of the fraction of a second; its unit is the unit
// of the value, else the second) and %%. Without a date the value counts within
// the day. Zones are part of the text: the difference to the entry's time, which
// is UTC, is in the value.
//
// # Ints
//
//	u8 kind | packing << 4, then
//	0 const      uv value, and nothing else
//	1 ref        uv back: the same as the ints that many before in this table
//	2 plain      uv min                  value = min + r
//	3 delta      uv first, zz min delta  value = former + min delta + r
//	4 zigzag     uv first                value = former + unzigzag(r)
//	5 dict       uv count (1..256), uv values as differences    value = values[r]
//
// followed for 2 to 5 by u8 bits b of r (0..64, 0: all r are 0, no data), then
// by packing 0: n x b bits, low bits first; packing 1: (b+7)/8 byte planes,
// lowest first. n counts the residuals r: n values have n-1 differences in kinds
// 3 and 4. Arithmetic is modulo 2^64. Nothing at all is written if there are no
// values. A plane's descriptor is u8:
//
//	0 same       u8 byte
//	1 raw        n bytes in DATA
//	2 huff0 1X   uv length; table and stream in DATA
//	3 huff0 4X   uv length; table and four streams in DATA
//	4 FSE        uv length; in DATA
//
// # Search
//
// [Block.MayContain] leaves a block out when a needle cannot be in it. Blocks
// with the flag "letters whole" promise what makes that exact:
//
//   - a maximal run of 4 or more ASCII letters of which at least one is not a
//     hexadecimal digit stands undivided in TEXT or RAW;
//   - a maximal run of ASCII letters and digits that changes between letters and
//     digits at least twice stands undivided in TEXT or RAW or, if it is
//     hexadecimal in one case, packed in IDS; not so a run whose only letter is
//     a T, which may belong to a time.
//
// A needle is cut into such runs, and each is searched where it can be.
// [Block.DecodeSome] applies the same promise to each value of each column.
//
// # Identifier filter
//
// Beside the block, in a file of package block, there may be a filter that tells
// without reading any of the block which identifiers cannot be in it: see
// [IDFilterBuilder] and [IDProbe]; idfilter.go has its drawing.
package chunk
