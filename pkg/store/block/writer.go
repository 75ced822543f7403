package block

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/store/index"
	"github.com/logstack-dev/kubectl-logstack/pkg/vfs"
)

// StreamShare is one stream of a chunk block that is being written.
type StreamShare struct {
	Labels labels.Labels
	Rows   int
	// Bytes of lines and metadata, uncompressed.
	Bytes            int64
	MinTime, MaxTime int64
}

// Writer builds a block. It is used by one goroutine. Abort must be called when
// Finish has not succeeded.
type Writer struct {
	fs      vfs.FS
	dir     string // final name
	scratch string

	filter   filterWriter
	file     vfs.File
	off      int64
	unsynced int64

	byHash  map[uint64][]int32 // into streams
	streams []index.Stream
	chunks  []Chunk
	shares  [][]ChunkStream // of each chunk; Ordinal is the index into streams until Finish
	stats   Stats
}

// Create starts a block that will be called dir. scratch is a directory of the
// operating system for the label index, see index.Build.
func Create(fsys vfs.FS, dir, scratch string) (*Writer, error) {
	tmp := dir + TmpSuffix
	if err := fsys.RemoveAll(tmp); err != nil {
		return nil, fmt.Errorf("block: %w", err)
	}
	if err := fsys.MkdirAll(tmp); err != nil {
		return nil, fmt.Errorf("block: %w", err)
	}
	f, err := fsys.Create(filepath.Join(tmp, ChunksFile))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("block: %w", err), fsys.RemoveAll(tmp))
	}
	w := &Writer{fs: fsys, dir: dir, scratch: scratch, file: f, byHash: map[uint64][]int32{}}
	if err := w.write(header(chunksMagic)); err != nil {
		return nil, errors.Join(err, w.Abort())
	}
	w.filter.path = filepath.Join(tmp, FilterFile)
	if w.filter.file, err = fsys.Create(w.filter.path); err != nil {
		return nil, errors.Join(fmt.Errorf("block: %w", err), w.Abort())
	}
	if err := w.filter.write(header(filterMagic)); err != nil {
		return nil, errors.Join(err, w.Abort())
	}
	return w, nil
}

func (w *Writer) write(b []byte) error {
	n, err := w.file.Write(b)
	w.off += int64(n)
	w.unsynced += int64(n)
	if err == nil && w.unsynced >= syncEvery {
		w.unsynced = 0
		err = w.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("block: write %s: %w", filepath.Join(w.dir, ChunksFile), err)
	}
	return nil
}

// Bytes is the size of the chunks file so far.
func (w *Writer) Bytes() int64 { return w.off }

// Rows is the number of rows so far.
func (w *Writer) Rows() int64 { return w.stats.Rows }

// Append adds an encoded chunk block whose stream i is shares[i]; shares are
// sorted by labels, which must stay as they are until Finish or Abort: they can be
// large, and are not copied. filter is the chunk block's identifier filter, empty
// for none.
func (w *Writer) Append(encoded []byte, shares []StreamShare, filter []byte) error {
	c := Chunk{No: len(w.chunks), Offset: w.off, Size: len(encoded)}
	list := make([]ChunkStream, len(shares))
	for i := range shares {
		s := &shares[i]
		if i == 0 {
			c.MinTime, c.MaxTime = s.MinTime, s.MaxTime
		}
		c.MinTime, c.MaxTime = min(c.MinTime, s.MinTime), max(c.MaxTime, s.MaxTime)
		c.Rows += s.Rows
		c.Bytes += s.Bytes
		list[i] = ChunkStream{Ordinal: w.stream(s), Rows: s.Rows, Bytes: s.Bytes, MinTime: s.MinTime, MaxTime: s.MaxTime}
	}
	if err := w.write(encoded); err != nil {
		return err
	}
	if err := w.filter.append(filter); err != nil {
		return err
	}
	w.chunks = append(w.chunks, c)
	w.shares = append(w.shares, list)
	w.stats.Rows += int64(c.Rows)
	w.stats.RawBytes += c.Bytes
	return nil
}

// stream finds or adds a stream and widens its time range.
func (w *Writer) stream(s *StreamShare) uint32 {
	h := s.Labels.Hash()
	for _, i := range w.byHash[h] {
		if o := &w.streams[i]; labels.Equal(o.Labels, s.Labels) {
			o.MinTime, o.MaxTime = min(o.MinTime, s.MinTime), max(o.MaxTime, s.MaxTime)
			return uint32(i)
		}
	}
	i := int32(len(w.streams))
	w.byHash[h] = append(w.byHash[h], i)
	w.streams = append(w.streams, index.Stream{Labels: s.Labels, MinTime: s.MinTime, MaxTime: s.MaxTime})
	return uint32(i)
}

// Finish writes the other files and renames the block into place; after that it
// is durable. It completes meta (times, stats, versions) and returns it. A block
// without rows cannot be finished.
func (w *Writer) Finish(ctx context.Context, meta Meta) (*Meta, error) {
	if len(w.chunks) == 0 {
		return nil, errors.New("BUG: block: finish of a block without rows")
	}
	tmp := w.dir + TmpSuffix
	dir := w.encodeDirectory()
	ix, err := index.Build(ctx, w.scratch, w.streams)
	if err != nil {
		return nil, err
	}
	meta.Version, meta.Encodings = FormatVersion, []int{ChunkEncoding}
	meta.MinTime, meta.MaxTime = w.chunks[0].MinTime, w.chunks[0].MaxTime
	for _, c := range w.chunks {
		meta.MinTime, meta.MaxTime = min(meta.MinTime, c.MinTime), max(meta.MaxTime, c.MaxTime)
	}
	meta.Stats = w.stats
	meta.Stats.Streams, meta.Stats.Chunks = len(w.streams), len(w.chunks)
	w.streams = nil // what follows does without the labels
	meta.Stats.IndexBytes, meta.Stats.DirectoryBytes, meta.Stats.ChunksBytes = int64(len(ix)), int64(len(dir)), w.off
	if err := w.finishFilter(&meta); err != nil {
		return nil, err
	}
	mb, err := EncodeChecked(meta)
	if err != nil {
		return nil, err
	}
	if err := w.file.Sync(); err != nil {
		return nil, fmt.Errorf("block: sync %s: %w", filepath.Join(tmp, ChunksFile), err)
	}
	if err := w.file.Close(); err != nil {
		return nil, fmt.Errorf("block: close %s: %w", filepath.Join(tmp, ChunksFile), err)
	}
	w.file = nil
	for _, f := range []struct {
		name string
		data []byte
	}{{IndexFile, ix}, {DirectoryFile, dir}, {MetaFile, mb}} {
		if err := vfs.WriteFile(w.fs, filepath.Join(tmp, f.name), f.data); err != nil {
			return nil, fmt.Errorf("block: %w", err)
		}
	}
	if err := w.fs.SyncDir(tmp); err != nil {
		return nil, fmt.Errorf("block: %w", err)
	}
	if err := w.fs.Rename(tmp, w.dir); err != nil {
		return nil, fmt.Errorf("block: %w", err)
	}
	if err := w.fs.SyncDir(filepath.Dir(w.dir)); err != nil {
		return nil, fmt.Errorf("block: %w", err)
	}
	return &meta, nil
}

// finishFilter completes the file of filters, or removes it if there are none.
func (w *Writer) finishFilter(meta *Meta) (err error) {
	if w.filter.some {
		meta.Stats.FilterBytes, err = w.filter.finish()
		return err
	}
	err = w.filter.file.Close()
	w.filter.file = nil
	if err = errors.Join(err, w.fs.Remove(w.filter.path)); err != nil {
		return fmt.Errorf("block: %w", err)
	}
	return nil
}

// encodeDirectory sorts the streams, which gives them their ordinals, and
// returns the directory file.
func (w *Writer) encodeDirectory() []byte {
	order := make([]int, len(w.streams))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return labels.Compare(w.streams[a].Labels, w.streams[b].Labels) })
	ordinal := make([]uint32, len(order))
	sorted := make([]index.Stream, len(order))
	for o, i := range order {
		ordinal[i] = uint32(o)
		sorted[o] = w.streams[i]
	}
	w.streams, w.byHash = sorted, nil
	b := header(directoryMagic)
	for i := range w.chunks {
		for j := range w.shares[i] {
			w.shares[i][j].Ordinal = ordinal[w.shares[i][j].Ordinal]
		}
		b = appendEntry(b, &w.chunks[i], w.shares[i])
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// Abort removes what has been written.
func (w *Writer) Abort() error {
	var err error
	if w.file != nil {
		err = w.file.Close()
		w.file = nil
	}
	if w.filter.file != nil {
		err = errors.Join(err, w.filter.file.Close())
		w.filter.file = nil
	}
	return errors.Join(err, w.fs.RemoveAll(w.dir+TmpSuffix))
}
