package block

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strconv"
)

// Meta describes a block.
type Meta struct {
	Version int    `json:"version"`
	ID      string `json:"id"`
	// MinTime and MaxTime are the first and last timestamp, in ns.
	MinTime int64 `json:"minTime"`
	MaxTime int64 `json:"maxTime"`
	// MinSeq and MaxSeq number the flushes that the block holds. Of two blocks
	// that overlap in time, one has all smaller numbers: its entries arrived
	// earlier.
	MinSeq uint64 `json:"minSeq"`
	MaxSeq uint64 `json:"maxSeq"`
	// Level counts how often the entries have been compacted.
	Level int `json:"level"`
	// Sources are the IDs of the blocks it was compacted from.
	Sources []string `json:"sources,omitempty"`
	// WALBefore is the oldest segment that was still needed when a flush wrote
	// this block; 0 for compacted ones. It helps to rebuild a lost manifest.
	WALBefore int `json:"walBefore,omitempty"`
	// DeletesApplied is the newest delete request whose entries are gone.
	DeletesApplied uint64 `json:"deletesApplied,omitempty"`
	// Encodings are the versions of the chunk blocks inside.
	Encodings []int `json:"encodings"`
	Stats     Stats `json:"stats"`
}

// Stats count what a block holds.
type Stats struct {
	Rows    int64 `json:"rows"`
	Streams int   `json:"streams"`
	Chunks  int   `json:"chunks"`
	// RawBytes of all lines and metadata.
	RawBytes int64 `json:"rawBytes"`
	// Sizes of the files.
	IndexBytes     int64 `json:"indexBytes"`
	DirectoryBytes int64 `json:"directoryBytes"`
	ChunksBytes    int64 `json:"chunksBytes"`
	FilterBytes    int64 `json:"filterBytes,omitempty"` // 0: there is no such file
}

// DiskBytes is the size of all files but meta.json itself.
func (s Stats) DiskBytes() int64 {
	return s.IndexBytes + s.DirectoryBytes + s.ChunksBytes + s.FilterBytes
}

type metaFile struct {
	CRC  string          `json:"crc32c"`
	Meta json.RawMessage `json:"meta"`
}

// EncodeChecked returns v as JSON wrapped with its checksum, the form of
// meta.json and of the store's manifest.
func EncodeChecked(v any) ([]byte, error) {
	m, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(metaFile{CRC: fmt.Sprintf("%08x", crc32.Checksum(m, castagnoli)), Meta: m})
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// DecodeChecked reads what EncodeChecked wrote.
func DecodeChecked(path string, b []byte, v any) error {
	var f metaFile
	if err := json.Unmarshal(b, &f); err != nil {
		return &CorruptError{File: path, Offset: -1, Err: err}
	}
	want, err := strconv.ParseUint(f.CRC, 16, 32)
	if err != nil || len(f.CRC) != 8 {
		return &CorruptError{File: path, Offset: -1, Err: fmt.Errorf("bad checksum field %q", f.CRC)}
	}
	if got := crc32.Checksum(f.Meta, castagnoli); got != uint32(want) {
		return &CorruptError{File: path, Offset: -1, Err: fmt.Errorf("checksum is %08x, want %08x", got, want)}
	}
	if err := json.Unmarshal(f.Meta, v); err != nil {
		return &CorruptError{File: path, Offset: -1, Err: err}
	}
	return nil
}

// decodeMeta reads and checks meta.json.
func decodeMeta(path string, b []byte) (*Meta, error) {
	var m Meta
	if err := DecodeChecked(path, b, &m); err != nil {
		return nil, err
	}
	if m.Version > FormatVersion {
		return nil, &VersionError{File: path, Found: m.Version}
	}
	for _, e := range m.Encodings {
		if e > ChunkEncoding {
			return nil, &VersionError{File: path, Found: e}
		}
	}
	if m.Version < 1 || m.ID == "" || m.MinTime > m.MaxTime || m.MinSeq > m.MaxSeq {
		return nil, &CorruptError{File: path, Offset: -1, Err: fmt.Errorf("impossible values %+v", m)}
	}
	return &m, nil
}
