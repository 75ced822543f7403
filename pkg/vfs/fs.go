package vfs

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
)

// File is an open file. A file made by Create is written sequentially; one
// opened by Open is only read. ReadAt may be called concurrently.
type File interface {
	io.Writer
	io.ReaderAt
	io.Closer
	// Sync makes the file's content durable. The file's name becomes durable
	// only when its directory is synced too, see FS.SyncDir.
	Sync() error
	// Size is the present length in bytes.
	Size() (int64, error)
}

// Mapping is the whole content of a file as memory.
type Mapping interface {
	io.Closer
	// Bytes must not be written to, and not be used after Close.
	Bytes() []byte
}

// DirEntry is one name in a directory.
type DirEntry struct {
	Name  string
	IsDir bool
	// Size is the file's length in bytes, 0 for a directory.
	Size int64
}

// FS is what the store needs of a filesystem. All methods may be called
// concurrently. Errors can be tested with errors.Is(err, fs.ErrNotExist) and
// the like.
type FS interface {
	// Create makes a new file, or truncates an old one, for writing.
	Create(name string) (File, error)
	// Open opens a file for reading.
	Open(name string) (File, error)
	// Map maps a file for reading. An empty file maps to no bytes.
	Map(name string) (Mapping, error)
	// Rename replaces newname by oldname in one step.
	Rename(oldname, newname string) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// RemoveAll removes a file or a directory with all it holds; a name that
	// does not exist is no error.
	RemoveAll(name string) error
	// MkdirAll makes a directory and its parents.
	MkdirAll(name string) error
	// ReadDir lists a directory, sorted by name.
	ReadDir(name string) ([]DirEntry, error)
	// SyncDir makes the names in a directory durable.
	SyncDir(name string) error
}

// ReadFile returns the content of a file.
func ReadFile(fsys FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if int64(n) != size {
		return nil, &fs.PathError{Op: "read", Path: name, Err: io.ErrUnexpectedEOF}
	}
	return b, nil
}

// WriteFile writes a new file and syncs its content, but not its directory.
func WriteFile(fsys FS, name string, data []byte) error {
	f, err := fsys.Create(name)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// TmpSuffix is appended to the name of what is being written and has not been
// renamed into place yet.
const TmpSuffix = ".tmp"

// ReplaceFile makes name hold data in one durable step: after a crash the file
// holds either its former content or data.
func ReplaceFile(fsys FS, name string, data []byte) error {
	tmp := name + TmpSuffix
	if err := WriteFile(fsys, tmp, data); err != nil {
		_ = fsys.Remove(tmp)
		return err
	}
	if err := fsys.Rename(tmp, name); err != nil {
		_ = fsys.Remove(tmp)
		return err
	}
	return fsys.SyncDir(filepath.Dir(name))
}
