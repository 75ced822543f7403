package block

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"sync/atomic"

	"github.com/logstack-dev/kubectl-logstack/pkg/vfs"
)

// filterEntry is the size of a filter's entry in the table.
const filterEntry = 4 + 4

// filterWriter writes the file of filters.
type filterWriter struct {
	file  vfs.File
	path  string
	off   int64
	some  bool
	table []byte
}

func (w *filterWriter) append(filter []byte) error {
	w.table = binary.LittleEndian.AppendUint32(w.table, uint32(len(filter)))
	w.table = binary.LittleEndian.AppendUint32(w.table, crc32.Checksum(filter, castagnoli))
	if len(filter) == 0 {
		return nil
	}
	w.some = true
	return w.write(filter)
}

func (w *filterWriter) write(b []byte) error {
	n, err := w.file.Write(b)
	w.off += int64(n)
	if err != nil {
		return fmt.Errorf("block: write %s: %w", w.path, err)
	}
	return nil
}

// finish completes the file and returns its size.
func (w *filterWriter) finish() (int64, error) {
	w.table = binary.LittleEndian.AppendUint32(w.table, crc32.Checksum(w.table, castagnoli))
	if err := w.write(w.table); err != nil {
		return 0, err
	}
	err := errors.Join(w.file.Sync(), w.file.Close())
	w.file = nil
	if err != nil {
		return 0, fmt.Errorf("block: sync %s: %w", w.path, err)
	}
	return w.off, nil
}

// filters are those of all chunk blocks of a block.
type filters struct {
	data []byte
	ends []uint32        // of filter i, behind the header
	crcs []byte          // the table
	seen []atomic.Uint32 // what is known of filter i
}

// What is known of a filter.
const (
	filterUnknown = iota
	filterGood
	filterBad
)

// openFilters checks header and table.
func openFilters(path string, b []byte, chunks int) (*filters, error) {
	if err := checkHeader(path, filterMagic, b); err != nil {
		return nil, err
	}
	end := len(b) - crcSize - filterEntry*chunks
	if end < headerSize {
		return nil, &CorruptError{File: path, Offset: -1, Err: errors.New("too short")}
	}
	table := b[end : len(b)-crcSize]
	if got, want := crc32.Checksum(table, castagnoli), binary.LittleEndian.Uint32(b[len(b)-crcSize:]); got != want {
		return nil, &CorruptError{File: path, Offset: int64(end), Err: fmt.Errorf("checksum is %08x, want %08x", got, want)}
	}
	f := &filters{data: b[headerSize:end], ends: make([]uint32, chunks), crcs: table, seen: make([]atomic.Uint32, chunks)}
	at := uint64(0)
	for i := range f.ends {
		at += uint64(binary.LittleEndian.Uint32(table[filterEntry*i:]))
		if at > uint64(len(f.data)) || at > 1<<32-1 {
			return nil, &CorruptError{File: path, Offset: int64(end), Err: errors.New("filters are larger than their file")}
		}
		f.ends[i] = uint32(at)
	}
	if at != uint64(len(f.data)) {
		return nil, &CorruptError{File: path, Offset: int64(end), Err: errors.New("filters do not fill their file")}
	}
	return f, nil
}

// get returns filter no, nil if there is none or it is damaged.
func (f *filters) get(no int) []byte {
	if no < 0 || no >= len(f.ends) {
		return nil
	}
	from := uint32(0)
	if no > 0 {
		from = f.ends[no-1]
	}
	b := f.data[from:f.ends[no]]
	switch f.seen[no].Load() {
	case filterGood:
		return b
	case filterBad:
		return nil
	}
	if crc32.Checksum(b, castagnoli) != binary.LittleEndian.Uint32(f.crcs[filterEntry*no+4:]) {
		f.seen[no].Store(filterBad)
		return nil
	}
	f.seen[no].Store(filterGood)
	return b
}

// Filter returns the identifier filter of a chunk block, see package chunk. It is
// nil when there is none; then the chunk block may hold anything. A damaged
// filter is one that is not there. The bytes are valid while the block is pinned.
func (b *Block) Filter(no int) []byte {
	if b.filters == nil {
		return nil
	}
	return b.filters.get(no)
}

// openFilter maps the filters, if there are any that can be read.
func (b *Block) openFilter() {
	if b.Meta.Stats.FilterBytes == 0 {
		return
	}
	path := filepath.Join(b.dir, FilterFile)
	m, err := b.fs.Map(path)
	if err != nil {
		b.FilterErr = fmt.Errorf("block: %w", err)
		return
	}
	b.filterMap = m
	b.filters, b.FilterErr = openFilters(path, m.Bytes(), b.Meta.Stats.Chunks)
}
