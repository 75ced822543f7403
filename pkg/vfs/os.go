package vfs

import (
	"errors"
	"os"
	"runtime"

	"github.com/prometheus/prometheus/tsdb/fileutil"
)

const (
	dirPerm  = 0o750
	filePerm = 0o640
)

// OS is the operating system's filesystem.
var OS FS = osFS{}

type osFS struct{}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func (osFS) Create(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, filePerm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Open(name string) (File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// emptyMapping stands for an empty file: mmap refuses a length of zero.
type emptyMapping struct{}

func (emptyMapping) Bytes() []byte { return nil }
func (emptyMapping) Close() error  { return nil }

func (osFS) Map(name string) (Mapping, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if st.Size() == 0 {
		return emptyMapping{}, nil
	}
	return fileutil.OpenMmapFile(name)
}

func (osFS) Rename(oldname, newname string) error { return os.Rename(oldname, newname) }
func (osFS) Remove(name string) error             { return os.Remove(name) }
func (osFS) RemoveAll(name string) error          { return os.RemoveAll(name) }
func (osFS) MkdirAll(name string) error           { return os.MkdirAll(name, dirPerm) }

func (osFS) ReadDir(name string) ([]DirEntry, error) {
	list, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	out := make([]DirEntry, 0, len(list))
	for _, e := range list {
		d := DirEntry{Name: e.Name(), IsDir: e.IsDir()}
		if !d.IsDir {
			st, err := e.Info()
			if errors.Is(err, os.ErrNotExist) {
				continue // removed since the directory was read
			}
			if err != nil {
				return nil, err
			}
			d.Size = st.Size()
		}
		out = append(out, d)
	}
	return out, nil
}

func (osFS) SyncDir(name string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be synced there
	}
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		_ = d.Close()
		return err
	}
	return d.Close()
}
