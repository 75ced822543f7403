package index

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunks"
	promindex "github.com/prometheus/prometheus/tsdb/index"
)

// Stream is one stream of a block.
type Stream struct {
	Labels labels.Labels
	// MinTime and MaxTime are its first and last timestamp in the block, in ns.
	MinTime, MaxTime int64
}

// Build returns the bytes of an index file for the streams, which must be sorted
// by labels.Compare and differ from each other; their position is their ordinal.
// tsdb/index writes to files of the operating system only, so scratch names a
// directory there that Build may make and leave empty.
func Build(ctx context.Context, scratch string, streams []Stream) (_ []byte, err error) {
	if err := os.MkdirAll(scratch, 0o750); err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	dir, err := os.MkdirTemp(scratch, "index")
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	name := filepath.Join(dir, "index")
	w, err := promindex.NewWriter(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	if err := write(w, streams); err != nil {
		return nil, errors.Join(fmt.Errorf("index: %w", err), w.Close())
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	return b, nil
}

func write(w *promindex.Writer, streams []Stream) error {
	symbols := map[string]struct{}{"": {}}
	for i := range streams {
		streams[i].Labels.Range(func(l labels.Label) {
			symbols[l.Name] = struct{}{}
			symbols[l.Value] = struct{}{}
		})
	}
	sorted := make([]string, 0, len(symbols))
	for s := range symbols {
		sorted = append(sorted, s)
	}
	slices.Sort(sorted)
	for _, s := range sorted {
		if err := w.AddSymbol(s); err != nil {
			return err
		}
	}
	for i, s := range streams {
		meta := chunks.Meta{Ref: chunks.ChunkRef(i), MinTime: s.MinTime, MaxTime: s.MaxTime}
		if err := w.AddSeries(storage.SeriesRef(i), s.Labels, meta); err != nil {
			return err
		}
	}
	return nil
}

// File reads an index file. It may be used by many goroutines.
type File struct {
	r *promindex.Reader
}

// bytesSlice gives tsdb/index access to memory, with errors instead of panics
// left to Range's callers: offsets come from sections whose checksum held.
type bytesSlice []byte

func (b bytesSlice) Len() int                    { return len(b) }
func (b bytesSlice) Range(start, end int) []byte { return b[start:end] }

// OpenFile reads the index in b, which must stay as it is until the File is not
// used any more. A damaged file gives an error, never a panic.
func OpenFile(b []byte) (_ *File, err error) {
	defer recoverTo(&err)
	r, err := promindex.NewReader(bytesSlice(b), promindex.DecodePostingsRaw)
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	return &File{r: r}, nil
}

// recoverTo turns a panic of tsdb/index over damaged bytes (an offset beyond the
// end of the file) into an error.
func recoverTo(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("index: damaged file: %v", p)
	}
}

// Selected is a stream that Select found.
type Selected struct {
	Stream
	Ordinal uint32
}

// Select calls fn for every stream that all matchers match, in the order of
// ordinals. The labels' strings alias the file.
func (f *File) Select(ctx context.Context, matchers []*labels.Matcher, fn func(Selected) error) (err error) {
	defer recoverTo(&err)
	p, err := Select(ctx, f.r, matchers)
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	var (
		b    labels.ScratchBuilder
		chks []chunks.Meta
	)
	for n := 0; p.Next(); n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := f.r.Series(p.At(), &b, &chks); err != nil {
			return fmt.Errorf("index: %w", err)
		}
		if len(chks) != 1 {
			return fmt.Errorf("index: stream %d has %d entries for its chunk blocks, want 1", p.At(), len(chks))
		}
		s := Selected{Stream: Stream{Labels: b.Labels(), MinTime: chks[0].MinTime, MaxTime: chks[0].MaxTime}, Ordinal: uint32(chks[0].Ref)}
		if err := fn(s); err != nil {
			return err
		}
	}
	if err := p.Err(); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	return nil
}

// LabelNames returns all label names, sorted.
func (f *File) LabelNames(ctx context.Context) (_ []string, err error) {
	defer recoverTo(&err)
	return f.r.LabelNames(ctx)
}

// LabelValues returns all values of a label, in memory of their own.
func (f *File) LabelValues(ctx context.Context, name string) (_ []string, err error) {
	defer recoverTo(&err)
	vals, err := f.r.LabelValues(ctx, name, nil)
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	out := make([]string, len(vals))
	for i, v := range vals {
		out[i] = string([]byte(v))
	}
	return out, nil
}
