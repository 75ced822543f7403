package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"unsafe"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/block"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/chunk"
)

// rewriter writes a block out of rows in time order: it collects a chunk block's
// worth of lines of one group, sorts them by stream, encodes them.
type rewriter struct {
	db  *DB
	w   *block.Writer
	enc *chunk.Encoder
	// quick encodes chunk blocks so small that compaction will merge them soon; it
	// is used in a flush only.
	quick   *chunk.Encoder
	flushes bool
	reader  *reader // of the last merge, for its memory
	// limit is where the chunk block at hand ends, in bytes of lines and metadata.
	limit int

	// The rows that have been collected, in time order. Lines are in text.
	ids   []uint32
	times []int64
	ends  []int
	text  []byte
	meta  []labels.Labels // nil, or per row
	mbyte int

	filters chunk.IDFilterBuilder
	filter  []byte

	rows    chunk.Rows
	shares  []block.StreamShare
	encoded []byte
}

// newRewriter starts a block. Its memory is that of an earlier one, as long as the
// garbage collector leaves it: flushes come one after the other.
func (db *DB) newRewriter(id string) (*rewriter, error) {
	w, err := block.Create(db.opts.FS, filepath.Join(db.dir, blocksDir, id), filepath.Join(db.dir, scratchDir))
	if err != nil {
		return nil, err
	}
	rw, _ := db.rewriters.Get().(*rewriter)
	if rw == nil {
		rw = &rewriter{
			db:    db,
			enc:   chunk.NewEncoder(chunk.EncoderOptions{Level: db.opts.CompressionLevel}),
			quick: chunk.NewEncoder(chunk.EncoderOptions{Level: 1, Plain: true}),
		}
	}
	rw.w, rw.flushes = w, false
	return rw, nil
}

// end removes the unfinished block when *err is set, and otherwise gives the
// memory back; for defer.
func (rw *rewriter) end(err *error) {
	if *err != nil {
		*err = errors.Join(*err, rw.w.Abort())
		return
	}
	rw.w = nil
	clear(rw.shares) // labels of blocks that may be gone soon
	if rw.reader != nil {
		rw.reader.src = nil
	}
	rw.db.rewriters.Put(rw)
}

// finish completes the block. Without rows there is none, and nil is returned.
func (rw *rewriter) finish(ctx context.Context, meta block.Meta) (*block.Meta, error) {
	if rw.w.Rows() == 0 {
		return nil, rw.w.Abort()
	}
	return rw.w.Finish(ctx, meta)
}

// chunkLimit divides total bytes into chunk blocks of equal size, near the target:
// a small rest would have to be written again by the next compaction. An estimate
// that is far too small must not make many small ones.
func chunkLimit(total int64) int {
	n := max((total+chunk.TargetRawBytes/2)/chunk.TargetRawBytes, 1)
	size := max(total/n, 3*chunk.TargetRawBytes/4)
	return int(min(size+size/32+1, 2*chunk.TargetRawBytes))
}

// merge adds all rows of the sources, which belong to one group, in time order.
// total is about the number of bytes of their lines and metadata.
func (rw *rewriter) merge(ctx context.Context, src *sources, total int64) error {
	rw.limit = chunkLimit(total)
	r := newReader(src, false, false, &rw.db.opts)
	if rw.reader != nil {
		r.reuse(rw.reader)
	}
	rw.reader = r
	it := newMerge(r, 0)
	for {
		b, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := rw.add(b); err != nil {
			return err
		}
	}
	if err := rw.cut(src.table.labels); err != nil {
		return err
	}
	return it.Close()
}

// add collects a batch and writes chunk blocks as they become full.
func (rw *rewriter) add(b *model.EntryBatch) error {
	for i, line := range b.Lines {
		mb := 0
		if b.Metadata != nil {
			mb = int(b.Metadata[i].ByteSize())
		}
		if n := len(rw.ids); n > 0 && (len(rw.text)+len(line)+rw.mbyte+mb > rw.limit || n >= maxChunkRows || rw.mbyte+mb > maxChunkMetadata) {
			if err := rw.cut(b.Streams); err != nil {
				return err
			}
		}
		rw.ids = append(rw.ids, b.StreamIndex[i])
		rw.times = append(rw.times, b.Timestamps[i])
		rw.text = append(rw.text, line...)
		rw.ends = append(rw.ends, len(rw.text))
		if mb > 0 || rw.meta != nil {
			for len(rw.meta) < len(rw.ids)-1 {
				rw.meta = append(rw.meta, labels.EmptyLabels())
			}
			m := labels.EmptyLabels()
			if mb > 0 {
				m = b.Metadata[i]
			}
			rw.meta = append(rw.meta, m)
			rw.mbyte += mb
		}
	}
	return nil
}

// cut writes the collected rows as one chunk block.
func (rw *rewriter) cut(table []labels.Labels) error {
	if len(rw.ids) == 0 {
		return nil
	}
	rw.arrange(table)
	enc := rw.enc
	rw.filter = rw.filter[:0]
	if rw.flushes && len(rw.text)+rw.mbyte < keepChunkBytes {
		enc = rw.quick
	} else {
		rw.filter = rw.filters.Append(rw.filter, rw.rows.Lines)
	}
	var err error
	if rw.encoded, err = enc.Encode(rw.encoded[:0], &rw.rows); err != nil {
		return fmt.Errorf("store: encode a chunk block: %w", err)
	}
	if err := rw.w.Append(rw.encoded, rw.shares, rw.filter); err != nil {
		return err
	}
	rw.ids, rw.times, rw.ends, rw.text = rw.ids[:0], rw.times[:0], rw.ends[:0], rw.text[:0]
	rw.meta, rw.mbyte = nil, 0
	rw.rows.Reset()
	return nil
}

// arrange sorts the collected rows by stream, keeping their order inside one, and
// fills rows and shares.
func (rw *rewriter) arrange(table []labels.Labels) {
	count := map[uint32]int{}
	for _, id := range rw.ids {
		count[id]++
	}
	streams := make([]uint32, 0, len(count))
	for id := range count {
		streams = append(streams, id)
	}
	slices.SortFunc(streams, func(a, b uint32) int { return labels.Compare(table[a], table[b]) })
	next := make(map[uint32]int, len(streams)) // row of the stream's next entry
	local := make(map[uint32]uint32, len(streams))
	rw.shares = rw.shares[:0]
	row := 0
	for i, id := range streams {
		next[id], local[id] = row, uint32(i)
		row += count[id]
		rw.shares = append(rw.shares, block.StreamShare{Labels: table[id]})
	}
	n := len(rw.ids)
	r := &rw.rows
	r.Stream, r.Timestamps, r.Lines = slices.Grow(r.Stream[:0], n)[:n], slices.Grow(r.Timestamps[:0], n)[:n], slices.Grow(r.Lines[:0], n)[:n]
	r.Metadata = nil
	if rw.meta != nil {
		r.Metadata = make([]labels.Labels, n)
	}
	start := 0
	for i, id := range rw.ids {
		k := next[id]
		next[id] = k + 1
		l := local[id]
		line := rw.text[start:rw.ends[i]]
		start = rw.ends[i]
		t := rw.times[i]
		r.Stream[k], r.Timestamps[k] = l, t
		r.Lines[k] = unsafe.String(unsafe.SliceData(line), len(line))
		s := &rw.shares[l]
		if s.Rows == 0 {
			s.MinTime = t
		}
		s.MaxTime = t
		s.Rows++
		s.Bytes += int64(len(line))
		if rw.meta != nil {
			r.Metadata[k] = rw.meta[i]
			s.Bytes += metadataBytes(rw.meta[i])
		}
	}
}

// metadataBytes is the size of names and values.
func metadataBytes(ls labels.Labels) int64 {
	n := int64(0)
	if !ls.IsEmpty() {
		ls.Range(func(l labels.Label) { n += int64(len(l.Name) + len(l.Value)) })
	}
	return n
}

// copyChunk adds a chunk block as it is, after checking that it can be read.
func (rw *rewriter) copyChunk(p *part, src *sources) error {
	if cap(rw.encoded) < p.chunk.Size {
		rw.encoded = make([]byte, p.chunk.Size)
	}
	buf := rw.encoded[:p.chunk.Size]
	if _, err := p.blk.ReaderAt().ReadAt(buf, p.chunk.Offset); err != nil && !(errors.Is(err, io.EOF) && p.chunk.Size == 0) {
		return src.damaged(p, err)
	}
	cb, err := chunk.OpenBytes(buf)
	if err != nil {
		return src.damaged(p, err)
	}
	if cb.NumRows() != p.chunk.Rows {
		return src.damaged(p, &chunk.CorruptError{Section: chunk.SectionHeader, Offset: -1, Reason: "is not the chunk block that the directory describes"})
	}
	streams, err := p.chunk.Streams(nil)
	if err != nil {
		return err
	}
	rw.shares = rw.shares[:0]
	for i, s := range streams {
		rw.shares = append(rw.shares, block.StreamShare{
			Labels: src.table.labels[p.locals[i]-1], Rows: s.Rows, Bytes: s.Bytes, MinTime: s.MinTime, MaxTime: s.MaxTime,
		})
	}
	return rw.w.Append(buf, rw.shares, p.blk.Filter(p.chunk.No))
}
