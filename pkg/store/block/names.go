package block

import (
	"fmt"
	"hash/crc32"

	"github.com/logstack-dev/kubectl-logstack/pkg/vfs"
)

// Names of files in a block's directory.
const (
	MetaFile      = "meta.json"
	IndexFile     = "index"
	DirectoryFile = "directory"
	ChunksFile    = "chunks"
	FilterFile    = "filter"

	// TmpSuffix marks a directory that is being written.
	TmpSuffix = vfs.TmpSuffix
)

// Formats and limits, all of format version 1.
const (
	// FormatVersion is the version of the directory's layout.
	FormatVersion = 1
	// ChunkEncoding is the version of the chunk blocks that are written.
	ChunkEncoding = 1

	chunksMagic    = "LSCF"
	directoryMagic = "LSDR"
	filterMagic    = "LSIF"
	headerSize     = 8
	crcSize        = 4

	// maxChunkBlock bounds the claimed size of one chunk block.
	maxChunkBlock = 64 << 20
	// syncEvery spreads the writing of a large block over time, so that its final
	// sync does not hold up the write-ahead log's.
	syncEvery = 32 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func header(magic string) []byte {
	return append([]byte(magic), FormatVersion, 0, 0, 0)
}

func checkHeader(path, magic string, b []byte) error {
	switch {
	case len(b) < headerSize:
		return &CorruptError{File: path, Err: fmt.Errorf("%d bytes are too short for a header", len(b))}
	case string(b[:4]) != magic:
		return &CorruptError{File: path, Err: fmt.Errorf("magic is %q, want %q", b[:4], magic)}
	case b[4] > FormatVersion:
		return &VersionError{File: path, Found: int(b[4])}
	case b[4] != FormatVersion:
		return &CorruptError{File: path, Err: fmt.Errorf("version is %d, want %d", b[4], FormatVersion)}
	}
	return nil
}

// CorruptError says which file of a block is damaged.
type CorruptError struct {
	File string
	// Offset is where, -1 for the file as a whole.
	Offset int64
	Err    error
}

// Error names the file and the damage.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("block file %s is damaged: %v", e.File, e.Err)
}

// Unwrap returns the cause.
func (e *CorruptError) Unwrap() error { return e.Err }

// VersionError says that a file was written by a newer version.
type VersionError struct {
	File  string
	Found int
}

// Error says what to do.
func (e *VersionError) Error() string {
	return fmt.Sprintf("block file %s has format version %d, this program reads up to %d: it was written by a newer version; upgrade to that version", e.File, e.Found, FormatVersion)
}
