package vfs

import (
	"strings"
	"sync"
)

// Op is a kind of operation, for fault injection. Kinds can be combined.
type Op uint16

// The operations that Fault can fail.
const (
	OpCreate Op = 1 << iota
	OpOpen
	OpMap
	OpRename
	OpRemove
	OpMkdir
	OpReadDir
	OpSyncDir
	OpWrite
	OpRead
	OpSync

	// OpMutate are all operations that change the disk.
	OpMutate = OpCreate | OpRename | OpRemove | OpMkdir | OpSyncDir | OpWrite | OpSync
)

// Fault wraps an FS and asks Inject before every operation. Inject must be set
// before use and may be called concurrently.
type Fault struct {
	FS
	// Inject returns the error that the operation shall fail with, or nil. A
	// write that fails has written nothing.
	Inject func(op Op, path string) error
}

// FailNth returns an Inject function that fails the n-th (from 1) operation of
// the given kinds whose path contains substr, and all later ones when sticky.
func FailNth(ops Op, substr string, n int, sticky bool, err error) func(Op, string) error {
	var mu sync.Mutex
	seen := 0
	return func(op Op, path string) error {
		if op&ops == 0 || !strings.Contains(path, substr) {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		seen++
		if seen == n || (sticky && seen > n) {
			return pathErr("injected", path, err)
		}
		return nil
	}
}

func (f *Fault) file(file File, err error, name string) (File, error) {
	if err != nil {
		return nil, err
	}
	return &faultFile{File: file, f: f, name: name}, nil
}

// Create implements FS.
func (f *Fault) Create(name string) (File, error) {
	if err := f.Inject(OpCreate, name); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(name)
	return f.file(file, err, name)
}

// Open implements FS.
func (f *Fault) Open(name string) (File, error) {
	if err := f.Inject(OpOpen, name); err != nil {
		return nil, err
	}
	file, err := f.FS.Open(name)
	return f.file(file, err, name)
}

// Map implements FS.
func (f *Fault) Map(name string) (Mapping, error) {
	if err := f.Inject(OpMap, name); err != nil {
		return nil, err
	}
	return f.FS.Map(name)
}

// Rename implements FS. The path that Inject sees is the new name.
func (f *Fault) Rename(oldname, newname string) error {
	if err := f.Inject(OpRename, newname); err != nil {
		return err
	}
	return f.FS.Rename(oldname, newname)
}

// Remove implements FS.
func (f *Fault) Remove(name string) error {
	if err := f.Inject(OpRemove, name); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

// RemoveAll implements FS.
func (f *Fault) RemoveAll(name string) error {
	if err := f.Inject(OpRemove, name); err != nil {
		return err
	}
	return f.FS.RemoveAll(name)
}

// MkdirAll implements FS.
func (f *Fault) MkdirAll(name string) error {
	if err := f.Inject(OpMkdir, name); err != nil {
		return err
	}
	return f.FS.MkdirAll(name)
}

// ReadDir implements FS.
func (f *Fault) ReadDir(name string) ([]DirEntry, error) {
	if err := f.Inject(OpReadDir, name); err != nil {
		return nil, err
	}
	return f.FS.ReadDir(name)
}

// SyncDir implements FS.
func (f *Fault) SyncDir(name string) error {
	if err := f.Inject(OpSyncDir, name); err != nil {
		return err
	}
	return f.FS.SyncDir(name)
}

type faultFile struct {
	File
	f    *Fault
	name string
}

func (f *faultFile) Write(p []byte) (int, error) {
	if err := f.f.Inject(OpWrite, f.name); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *faultFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.f.Inject(OpRead, f.name); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultFile) Sync() error {
	if err := f.f.Inject(OpSync, f.name); err != nil {
		return err
	}
	return f.File.Sync()
}
