package block

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/store/index"
	"github.com/logstack-dev/kubectl-logstack/pkg/vfs"
)

// Block is an open block. All methods may be called concurrently, between a
// successful Pin and its Unpin.
type Block struct {
	Meta Meta
	// FilterErr says why the identifier filters cannot be used, though there are
	// some: searches are slower then.
	FilterErr error

	fs     vfs.FS
	dir    string
	ix     *index.File
	ixMap  vfs.Mapping
	dirMap vfs.Mapping
	chunks directory
	file   vfs.File

	filterMap vfs.Mapping
	filters   *filters // nil: none

	mu     sync.Mutex // guards the following
	pins   int
	closed bool // Close was called: no new pins
	remove bool // remove the directory when the last pin is gone
	bad    map[int]error
}

// Open opens the block in dir and checks everything but the chunk blocks, which
// are checked when they are read. Damage gives a *CorruptError, a newer format a
// *VersionError.
func Open(fsys vfs.FS, dir string) (_ *Block, err error) {
	b := &Block{fs: fsys, dir: dir, bad: map[int]error{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.release())
		}
	}()
	path := filepath.Join(dir, MetaFile)
	mb, err := vfs.ReadFile(fsys, path)
	if err != nil {
		return nil, fmt.Errorf("block: %w", err)
	}
	m, err := decodeMeta(path, mb)
	if err != nil {
		return nil, err
	}
	b.Meta = *m
	if err := b.openDirectory(); err != nil {
		return nil, err
	}
	if err := b.openIndex(); err != nil {
		return nil, err
	}
	b.openFilter()
	return b, b.openChunks()
}

func (b *Block) openDirectory() error {
	path := filepath.Join(b.dir, DirectoryFile)
	var err error
	if b.dirMap, err = b.fs.Map(path); err != nil {
		return fmt.Errorf("block: %w", err)
	}
	if b.chunks, err = openDirectory(path, b.dirMap.Bytes()); err != nil {
		return err
	}
	n, end, rows := 0, int64(headerSize), int64(0)
	err = b.chunks.each(func(c *Chunk) error {
		n++
		end = c.Offset + int64(c.Size)
		rows += int64(c.Rows)
		return nil
	})
	if err != nil {
		return &CorruptError{File: path, Offset: -1, Err: err}
	}
	if s := b.Meta.Stats; n != s.Chunks || end != s.ChunksBytes || rows != s.Rows {
		return &CorruptError{File: path, Offset: -1, Err: errors.New("does not belong to this block's meta.json")}
	}
	return nil
}

func (b *Block) openIndex() error {
	path := filepath.Join(b.dir, IndexFile)
	var err error
	if b.ixMap, err = b.fs.Map(path); err != nil {
		return fmt.Errorf("block: %w", err)
	}
	if int64(len(b.ixMap.Bytes())) != b.Meta.Stats.IndexBytes {
		return &CorruptError{File: path, Offset: -1, Err: fmt.Errorf("has %d bytes, want %d", len(b.ixMap.Bytes()), b.Meta.Stats.IndexBytes)}
	}
	if b.ix, err = index.OpenFile(b.ixMap.Bytes()); err != nil {
		return &CorruptError{File: path, Offset: -1, Err: err}
	}
	return nil
}

func (b *Block) openChunks() error {
	path := filepath.Join(b.dir, ChunksFile)
	var err error
	if b.file, err = b.fs.Open(path); err != nil {
		return fmt.Errorf("block: %w", err)
	}
	var h [headerSize]byte
	if _, err := b.file.ReadAt(h[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("block: %w", err)
	}
	if err := checkHeader(path, chunksMagic, h[:]); err != nil {
		return err
	}
	// A file that is too short costs the chunk blocks that are cut off, which is
	// noticed when they are read; the others stay readable.
	return nil
}

// Dir is the block's directory.
func (b *Block) Dir() string { return b.dir }

// DiskBytes is the size of the block's files.
func (b *Block) DiskBytes() int64 { return b.Meta.Stats.DiskBytes() }

// Pin keeps the block's files open until Unpin. It returns false when the block
// has been closed.
func (b *Block) Pin() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.pins++
	return true
}

// Unpin ends a Pin; the last one after Close releases the files.
func (b *Block) Unpin() error {
	b.mu.Lock()
	b.pins--
	last := b.pins == 0 && b.closed
	b.mu.Unlock()
	if last {
		return b.release()
	}
	return nil
}

// Close releases the files as soon as nobody has pinned the block any more, and
// with remove also deletes the directory then.
func (b *Block) Close(remove bool) error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed, b.remove = true, remove
	last := b.pins == 0
	b.mu.Unlock()
	if last {
		return b.release()
	}
	return nil
}

func (b *Block) release() error {
	var errs []error
	if b.file != nil {
		errs = append(errs, b.file.Close())
	}
	if b.ixMap != nil {
		errs = append(errs, b.ixMap.Close())
	}
	if b.dirMap != nil {
		errs = append(errs, b.dirMap.Close())
	}
	if b.filterMap != nil {
		errs = append(errs, b.filterMap.Close())
	}
	if b.remove {
		errs = append(errs, b.fs.RemoveAll(b.dir))
	}
	return errors.Join(errs...)
}

// Chunks calls fn for every chunk block, in order. The Chunk is valid during the
// call; a copy of it stays valid while the block is pinned.
func (b *Block) Chunks(fn func(*Chunk) error) error {
	err := b.chunks.each(fn)
	if errors.Is(err, errDirectory) {
		return b.corrupt(DirectoryFile, err)
	}
	return err
}

func (b *Block) corrupt(file string, err error) error {
	return &CorruptError{File: filepath.Join(b.dir, file), Offset: -1, Err: err}
}

// Streams calls fn for every stream that all matchers match, sorted by labels.
// The labels alias the index file: they are valid while the block is pinned.
func (b *Block) Streams(ctx context.Context, matchers []*labels.Matcher, fn func(index.Selected) error) error {
	return b.ix.Select(ctx, matchers, fn)
}

// LabelNames returns all label names of the block, sorted.
func (b *Block) LabelNames(ctx context.Context) ([]string, error) { return b.ix.LabelNames(ctx) }

// LabelValues returns all values of a label in the block.
func (b *Block) LabelValues(ctx context.Context, name string) ([]string, error) {
	return b.ix.LabelValues(ctx, name)
}

// ReaderAt gives access to the chunks file.
func (b *Block) ReaderAt() io.ReaderAt { return b.file }

// MarkBad notes that a chunk block cannot be read, and says whether that is new.
// Readers leave it out from then on.
func (b *Block) MarkBad(no int, err error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, known := b.bad[no]
	if !known {
		b.bad[no] = err
	}
	return !known
}

// Bad says whether MarkBad was called for a chunk block.
func (b *Block) Bad(no int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, bad := b.bad[no]
	return bad
}

// BadChunks is the number of chunk blocks that turned out unreadable.
func (b *Block) BadChunks() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.bad)
}
