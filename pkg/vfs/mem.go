package vfs

import (
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Mem is a filesystem in memory. It remembers what has been synced, so that
// CrashClone can show the disk after a power cut.
type Mem struct {
	mu   sync.Mutex
	root *memNode
}

// memNode is a file or a directory. Its fields are guarded by Mem.mu.
type memNode struct {
	dir bool
	// data is a file's content; it only grows, except that Create on an
	// existing name makes a new node, as truncation would. synced is the length
	// that is durable.
	data   []byte
	synced int
	// entries are a directory's names; durable is what SyncDir saw last.
	entries, durable map[string]*memNode
}

func newMemDir() *memNode {
	return &memNode{dir: true, entries: map[string]*memNode{}, durable: map[string]*memNode{}}
}

// NewMem returns an empty filesystem.
func NewMem() *Mem { return &Mem{root: newMemDir()} }

func pathErr(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

func split(name string) []string {
	name = strings.Trim(filepath.ToSlash(filepath.Clean(name)), "/")
	if name == "" || name == "." {
		return nil
	}
	return strings.Split(name, "/")
}

// lookup returns the node of name, or nil.
func (m *Mem) lookup(name string) *memNode {
	n := m.root
	for _, p := range split(name) {
		if n == nil || !n.dir {
			return nil
		}
		n = n.entries[p]
	}
	return n
}

// parent returns the directory that holds name and the last path element.
func (m *Mem) parent(op, name string) (*memNode, string, error) {
	parts := split(name)
	if len(parts) == 0 {
		return nil, "", pathErr(op, name, fs.ErrInvalid)
	}
	n := m.root
	for _, p := range parts[:len(parts)-1] {
		n = n.entries[p]
		if n == nil || !n.dir {
			return nil, "", pathErr(op, name, fs.ErrNotExist)
		}
	}
	return n, parts[len(parts)-1], nil
}

// Create implements FS.
func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent("create", name)
	if err != nil {
		return nil, err
	}
	if old := dir.entries[base]; old != nil && old.dir {
		return nil, pathErr("create", name, fs.ErrExist)
	}
	n := &memNode{}
	dir.entries[base] = n
	return &memFile{m: m, n: n, name: name}, nil
}

// Open implements FS.
func (m *Mem) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.lookup(name)
	if n == nil || n.dir {
		return nil, pathErr("open", name, fs.ErrNotExist)
	}
	return &memFile{m: m, n: n, name: name}, nil
}

type memMapping []byte

func (b memMapping) Bytes() []byte { return b }
func (memMapping) Close() error    { return nil }

// Map implements FS.
func (m *Mem) Map(name string) (Mapping, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.lookup(name)
	if n == nil || n.dir {
		return nil, pathErr("map", name, fs.ErrNotExist)
	}
	return memMapping(n.data[:len(n.data):len(n.data)]), nil
}

// Rename implements FS.
func (m *Mem) Rename(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	od, ob, err := m.parent("rename", oldname)
	if err != nil {
		return err
	}
	n := od.entries[ob]
	if n == nil {
		return pathErr("rename", oldname, fs.ErrNotExist)
	}
	nd, nb, err := m.parent("rename", newname)
	if err != nil {
		return err
	}
	if t := nd.entries[nb]; t != nil && t.dir && len(t.entries) > 0 {
		return pathErr("rename", newname, fs.ErrExist)
	}
	delete(od.entries, ob)
	nd.entries[nb] = n
	return nil
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent("remove", name)
	if err != nil {
		return err
	}
	n := dir.entries[base]
	if n == nil {
		return pathErr("remove", name, fs.ErrNotExist)
	}
	if n.dir && len(n.entries) > 0 {
		return pathErr("remove", name, fs.ErrExist)
	}
	delete(dir.entries, base)
	return nil
}

// RemoveAll implements FS.
func (m *Mem) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent("removeall", name)
	if err != nil {
		return nil
	}
	delete(dir.entries, base)
	return nil
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.root
	for _, p := range split(name) {
		next := n.entries[p]
		if next == nil {
			next = newMemDir()
			n.entries[p] = next
		}
		if !next.dir {
			return pathErr("mkdir", name, fs.ErrExist)
		}
		n = next
	}
	return nil
}

// ReadDir implements FS.
func (m *Mem) ReadDir(name string) ([]DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.lookup(name)
	if n == nil || !n.dir {
		return nil, pathErr("readdir", name, fs.ErrNotExist)
	}
	out := make([]DirEntry, 0, len(n.entries))
	for k, e := range n.entries {
		out = append(out, DirEntry{Name: k, IsDir: e.dir, Size: int64(len(e.data))})
	}
	slices.SortFunc(out, func(a, b DirEntry) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// SyncDir implements FS. It makes the path to the directory durable too, as
// the common Linux filesystems do.
func (m *Mem) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.root
	for _, p := range split(name) {
		next := n.entries[p]
		if next == nil || !next.dir {
			return pathErr("syncdir", name, fs.ErrNotExist)
		}
		n.durable[p] = next
		n = next
	}
	n.durable = make(map[string]*memNode, len(n.entries))
	for k, e := range n.entries {
		n.durable[k] = e
	}
	return nil
}

// CrashClone returns the disk as it would look after a power cut now: synced
// bytes under synced names. With rng not nil, each unsynced change may have
// reached the disk all the same: a random prefix of the bytes, and each name
// with probability one half. The original is not changed.
func (m *Mem) CrashClone(rng *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Mem{root: crashNode(m.root, rng, map[*memNode]*memNode{})}
}

func crashNode(n *memNode, rng *rand.Rand, seen map[*memNode]*memNode) *memNode {
	if c := seen[n]; c != nil {
		return c
	}
	if !n.dir {
		keep := n.synced
		if rng != nil && len(n.data) > keep {
			keep += rng.IntN(len(n.data) - keep + 1)
		}
		c := &memNode{data: slices.Clone(n.data[:keep]), synced: keep}
		seen[n] = c
		return c
	}
	c := newMemDir()
	seen[n] = c
	names := map[string]*memNode{}
	for k, e := range n.durable {
		names[k] = e
	}
	if rng != nil {
		for _, k := range sortedKeys(n.entries, n.durable) {
			if n.entries[k] != n.durable[k] && rng.IntN(2) == 0 {
				names[k] = n.entries[k]
			}
		}
	}
	for _, k := range sortedKeys(names) {
		if names[k] == nil {
			continue // a removal that reached the disk
		}
		e := crashNode(names[k], rng, seen)
		c.entries[k], c.durable[k] = e, e
	}
	return c
}

func sortedKeys(maps ...map[string]*memNode) []string {
	var keys []string
	for _, m := range maps {
		for k := range m {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

type memFile struct {
	m    *Mem
	n    *memNode
	name string
}

func (f *memFile) Write(p []byte) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.n.data = append(f.n.data, p...)
	return len(p), nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	data := f.n.data
	f.m.mu.Unlock()
	if off < 0 {
		return 0, pathErr("readat", f.name, fs.ErrInvalid)
	}
	if off >= int64(len(data)) {
		return 0, io.EOF
	}
	n := copy(p, data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.n.synced = len(f.n.data)
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return int64(len(f.n.data)), nil
}

func (f *memFile) Close() error { return nil }
