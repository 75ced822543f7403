package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/logstack-dev/kubectl-logstack/pkg/store/block"
	"github.com/logstack-dev/kubectl-logstack/pkg/vfs"
)

// manifest says which blocks exist and how far the write-ahead log is covered by
// them. It is replaced as a whole, so that a flush into several blocks, or a
// compaction, happens at once or not at all.
type manifest struct {
	Version int `json:"version"`
	// Blocks are the IDs of all blocks that exist; a directory that is not listed
	// is a leftover.
	Blocks []string `json:"blocks"`
	// WALFirst is the oldest segment with entries that are in no block.
	WALFirst int `json:"walFirst"`
	// NextID and NextSeq number blocks and flushes.
	NextID  uint64 `json:"nextID"`
	NextSeq uint64 `json:"nextSeq"`
	// Deletes are the delete requests whose entries are not all gone yet,
	// Processed the last few of the others.
	Deletes      []deletion `json:"deletes,omitempty"`
	Processed    []deletion `json:"processed,omitempty"`
	NextDeleteID uint64     `json:"nextDeleteID"`
}

func (m *manifest) clone() *manifest {
	c := *m
	c.Blocks = slices.Clone(m.Blocks)
	c.Deletes = slices.Clone(m.Deletes)
	c.Processed = slices.Clone(m.Processed)
	return &c
}

func blockID(n uint64) string { return fmt.Sprintf("%016x", n) }

func isBlockID(name string) bool {
	_, err := strconv.ParseUint(name, 16, 64)
	return err == nil && len(name) == 16
}

// decodeManifest reads what writeManifest wrote.
func decodeManifest(path string, b []byte) (*manifest, error) {
	var m manifest
	if err := block.DecodeChecked(path, b, &m); err != nil {
		return nil, err
	}
	if m.Version > manifestVersion {
		return nil, &FormatError{Dir: filepath.Dir(path), Found: m.Version, Supported: manifestVersion}
	}
	for _, id := range m.Blocks {
		if !isBlockID(id) {
			return nil, &block.CorruptError{File: path, Offset: -1, Err: fmt.Errorf("bad block ID %q", id)}
		}
	}
	for i := range m.Deletes {
		if err := m.Deletes[i].parse(); err != nil {
			return nil, &block.CorruptError{File: path, Offset: -1, Err: err}
		}
	}
	if m.Version < 1 || m.WALFirst < 0 {
		return nil, &block.CorruptError{File: path, Offset: -1, Err: errors.New("impossible values")}
	}
	return &m, nil
}

// loadManifest reads the manifest, or makes one for a new directory, or rebuilds
// a damaged one from the blocks.
func (db *DB) loadManifest() error {
	path := filepath.Join(db.dir, manifestFile)
	b, err := vfs.ReadFile(db.opts.FS, path)
	if errors.Is(err, fs.ErrNotExist) {
		found, err := db.blockDirs()
		if err != nil {
			return err
		}
		if len(found) > 0 {
			return db.rebuildManifest(found, errors.New("it is missing although there are blocks"))
		}
		db.manifest = &manifest{Version: formatVersion, NextID: 1, NextSeq: 1, NextDeleteID: 1}
		return db.writeManifest(db.manifest)
	}
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	m, err := decodeManifest(path, b)
	var corrupt *block.CorruptError
	if errors.As(err, &corrupt) {
		found, derr := db.blockDirs()
		if derr != nil {
			return errors.Join(err, derr)
		}
		return db.rebuildManifest(found, err)
	}
	if err != nil {
		return err
	}
	db.manifest = m
	db.diskFormat.Store(int32(m.Version))
	return nil
}

// unsureError says that the manifest on disk may be the old one or the new one.
type unsureError struct{ err error }

func (e *unsureError) Error() string {
	return e.err.Error() + " (it may or may not have been replaced)"
}

func (e *unsureError) Unwrap() error { return e.err }

// writeManifest replaces the manifest. After an *unsureError nobody knows which
// of the two a crash would leave.
func (db *DB) writeManifest(m *manifest) error {
	m.Version = 1
	if slices.ContainsFunc(m.Deletes, func(d deletion) bool { return d.Filter != "" }) {
		m.Version = manifestVersion
	}
	b, err := block.EncodeChecked(m)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	fsys, path := db.opts.FS, filepath.Join(db.dir, manifestFile)
	if err := vfs.WriteFile(fsys, path+vfs.TmpSuffix, b); err != nil {
		_ = fsys.Remove(path + vfs.TmpSuffix)
		return diskFull(db.dir, fmt.Errorf("store: write %s: %w", manifestFile, err))
	}
	err = fsys.Rename(path+vfs.TmpSuffix, path)
	if err == nil {
		err = fsys.SyncDir(db.dir)
	}
	if err != nil {
		return diskFull(db.dir, &unsureError{fmt.Errorf("store: replace %s: %w", manifestFile, err)})
	}
	db.diskFormat.Store(int32(m.Version))
	return nil
}

// blockDirs lists the directories that look like finished blocks.
func (db *DB) blockDirs() ([]string, error) {
	ents, err := db.opts.FS.ReadDir(filepath.Join(db.dir, blocksDir))
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	var out []string
	for _, e := range ents {
		if e.IsDir && isBlockID(e.Name) {
			out = append(out, e.Name)
		}
	}
	return out, nil
}

// rebuildManifest makes a manifest out of the blocks' own metadata. Blocks that
// another one was compacted from are left out. Pending delete requests are lost,
// which is logged.
func (db *DB) rebuildManifest(dirs []string, cause error) error {
	db.log.Error("the manifest cannot be read and is rebuilt from the blocks; delete requests that had not been carried out are lost, repeat them", "err", cause)
	db.noteError(cause)
	m := &manifest{Version: formatVersion, NextID: 1, NextSeq: 1, NextDeleteID: 1}
	sources := map[string]bool{}
	for _, id := range dirs {
		n, _ := strconv.ParseUint(id, 16, 64)
		m.NextID = max(m.NextID, n+1)
		b, err := block.Open(db.opts.FS, filepath.Join(db.dir, blocksDir, id))
		if err != nil {
			continue // set aside when blocks are opened
		}
		m.NextSeq = max(m.NextSeq, b.Meta.MaxSeq+1)
		m.NextDeleteID = max(m.NextDeleteID, b.Meta.DeletesApplied+1)
		m.WALFirst = max(m.WALFirst, b.Meta.WALBefore)
		for _, s := range b.Meta.Sources {
			sources[s] = true
		}
		if err := b.Close(false); err != nil {
			return err
		}
	}
	for _, id := range dirs {
		if !sources[id] {
			m.Blocks = append(m.Blocks, id)
		}
	}
	db.manifest = m
	return db.writeManifest(m)
}

// sweep removes what a crash left: unfinished and unlisted blocks, scratch files.
func (db *DB) sweep() error {
	dir := filepath.Join(db.dir, blocksDir)
	ents, err := db.opts.FS.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	for _, e := range ents {
		listed := slices.Contains(db.manifest.Blocks, e.Name)
		if listed || strings.HasSuffix(e.Name, corruptSuffix) {
			continue
		}
		if !isBlockID(strings.TrimSuffix(e.Name, block.TmpSuffix)) {
			continue // not ours
		}
		db.log.Info("removing an unfinished block", "block", e.Name)
		if err := db.opts.FS.RemoveAll(filepath.Join(dir, e.Name)); err != nil {
			return fmt.Errorf("store: %w", err)
		}
	}
	return nil
}
