package vfs

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, fsys FS, dir string) []string {
	t.Helper()
	ents, err := fsys.ReadDir(dir)
	must(t, err)
	var out []string
	for _, e := range ents {
		out = append(out, e.Name)
	}
	return out
}

// TestFS runs the same operations on every implementation.
func TestFS(t *testing.T) {
	for name, fsys := range map[string]FS{
		"os": OS, "mem": NewMem(), "fault": &Fault{FS: NewMem(), Inject: func(Op, string) error { return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "b")
			must(t, fsys.MkdirAll(dir))
			must(t, fsys.MkdirAll(dir))
			file := filepath.Join(dir, "f")
			must(t, WriteFile(fsys, file, []byte("hello")))
			must(t, ReplaceFile(fsys, file, []byte("hello, world")))
			b, err := ReadFile(fsys, file)
			must(t, err)
			if string(b) != "hello, world" {
				t.Errorf("read %q", b)
			}
			f, err := fsys.Open(file)
			must(t, err)
			buf := make([]byte, 5)
			if n, err := f.ReadAt(buf, 7); n != 5 || err != nil || string(buf) != "world" {
				t.Errorf("ReadAt gave %q, %v", buf[:n], err)
			}
			if n, err := f.ReadAt(buf, 10); n != 2 || err == nil {
				t.Errorf("ReadAt beyond the end gave %d, %v", n, err)
			}
			if n, err := f.Size(); n != 12 || err != nil {
				t.Errorf("size %d, %v", n, err)
			}
			must(t, f.Close())
			m, err := fsys.Map(file)
			must(t, err)
			if string(m.Bytes()) != "hello, world" {
				t.Errorf("mapped %q", m.Bytes())
			}
			must(t, m.Close())
			must(t, WriteFile(fsys, filepath.Join(dir, "empty"), nil))
			m, err = fsys.Map(filepath.Join(dir, "empty"))
			must(t, err)
			if len(m.Bytes()) != 0 {
				t.Error("an empty file has bytes")
			}
			must(t, m.Close())
			if got := names(t, fsys, dir); !slices.Equal(got, []string{"empty", "f"}) {
				t.Errorf("names %v", got)
			}
			must(t, fsys.Rename(file, filepath.Join(dir, "g")))
			must(t, fsys.SyncDir(dir))
			for what, err := range map[string]error{
				"open":   errOf(fsys.Open(file)),
				"map":    errOf(fsys.Map(file)),
				"read":   errOf(fsys.ReadDir(file)),
				"rename": fsys.Rename(file, dir+"x"),
				"remove": fsys.Remove(file),
				"sync":   fsys.SyncDir(file),
			} {
				if !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s of a missing file gave %v", what, err)
				}
			}
			if err := fsys.Remove(filepath.Dir(dir)); err == nil {
				t.Error("a full directory was removed")
			}
			must(t, fsys.RemoveAll(filepath.Dir(dir)))
			must(t, fsys.RemoveAll(filepath.Dir(dir)))
			if _, err := fsys.ReadDir(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a removed directory gave %v", err)
			}
		})
	}
}

func errOf[T any](_ T, err error) error { return err }

// TestCrashClone shows what survives a power cut.
func TestCrashClone(t *testing.T) {
	m := NewMem()
	must(t, m.MkdirAll("/d"))
	must(t, WriteFile(m, "/d/synced", []byte("1")))
	must(t, m.SyncDir("/d"))
	must(t, WriteFile(m, "/d/no-dir-sync", []byte("2")))
	f, err := m.Create("/d/half")
	must(t, err)
	_, err = f.Write([]byte("ab"))
	must(t, err)
	must(t, f.Sync())
	must(t, m.SyncDir("/d"))
	_, err = f.Write([]byte("cd"))
	must(t, err)
	must(t, m.Rename("/d/synced", "/d/renamed"))
	must(t, m.Remove("/d/no-dir-sync"))
	must(t, WriteFile(m, "/d/new", []byte("3")))

	c := m.CrashClone(nil)
	if got := names(t, c, "/d"); !slices.Equal(got, []string{"half", "no-dir-sync", "synced"}) {
		t.Errorf("names after a crash: %v", got)
	}
	if b, err := ReadFile(c, "/d/half"); string(b) != "ab" || err != nil {
		t.Errorf("half is %q, %v", b, err)
	}
	// The clone is a disk of its own.
	must(t, WriteFile(c, "/d/synced", []byte("other")))
	if b, _ := ReadFile(m, "/d/renamed"); string(b) != "1" {
		t.Errorf("writing to the clone changed the original to %q", b)
	}
	// By chance more survives, never something else.
	seen := map[string]bool{}
	for i := range 200 {
		c := m.CrashClone(rand.New(rand.NewPCG(uint64(i), 0)))
		b, err := ReadFile(c, "/d/half")
		must(t, err)
		seen[string(b)] = true
		if b, err := ReadFile(c, "/d/renamed"); err == nil && string(b) != "1" {
			t.Fatalf("renamed is %q", b)
		}
	}
	if len(seen) != 3 || !seen["ab"] || !seen["abc"] || !seen["abcd"] {
		t.Errorf("half was %v", seen)
	}
}

// TestFault fails the second write to one file and everything after it.
func TestFault(t *testing.T) {
	fsys := &Fault{FS: NewMem(), Inject: FailNth(OpWrite|OpRename, "bad", 2, true, syscall.ENOSPC)}
	must(t, WriteFile(fsys, "/good", []byte("x")))
	must(t, WriteFile(fsys, "/bad", []byte("x")))
	for range 2 {
		if err := WriteFile(fsys, "/bad", []byte("x")); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("second write gave %v", err)
		}
	}
	if err := fsys.Rename("/good", "/bad"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("rename gave %v", err)
	}
	must(t, WriteFile(fsys, "/good", []byte("y")))
}
