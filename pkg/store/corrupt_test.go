package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/block"
)

// flip damages one byte. A negative offset counts from the end.
func flip(off int) func(b []byte) []byte {
	return func(b []byte) []byte {
		o := off
		if o < 0 {
			o += len(b)
		}
		b[o] ^= 0x40
		return b
	}
}

func cut(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:len(b)-n] } }

func replace(s string) func([]byte) []byte { return func([]byte) []byte { return []byte(s) } }

// The store of TestCorruption: two blocks of rows1 and rows2 entries, and rows3
// in the write-ahead log.
const rows1, rows2, rows3 = 100, 80, 30

// TestCorruption damages every kind of file. What a case says must survive has
// to be there, and nothing else may be lost.
func TestCorruption(t *testing.T) {
	tests := []struct {
		name   string
		file   string // in the data directory; * is the first block
		damage func([]byte) []byte
		rows   int    // that survive
		err    string // of Open, by type; "" is none
		noted  string // part of an error that Status reports
		bad    int64  // chunk blocks that are reported as unreadable
	}{
		{name: "nothing", file: formatFile, damage: cut(0), rows: rows1 + rows2 + rows3},
		{name: "lock file full of junk", file: lockFile, damage: replace("junk"), rows: rows1 + rows2 + rows3},
		{name: "format newer", file: formatFile, damage: replace("logstack-store 2\n"), err: "format"},
		{name: "format of somebody else", file: formatFile, damage: replace("hello"), err: "format"},
		{name: "format file lost", file: formatFile, damage: nil, rows: rows1 + rows2 + rows3},
		{name: "manifest flipped", file: manifestFile, damage: flip(30), rows: rows1 + rows2 + rows3, noted: "manifest"},
		{name: "manifest cut off", file: manifestFile, damage: cut(10), rows: rows1 + rows2 + rows3, noted: "manifest"},
		{name: "manifest empty", file: manifestFile, damage: replace(""), rows: rows1 + rows2 + rows3, noted: "manifest"},
		{name: "manifest lost", file: manifestFile, damage: nil, rows: rows1 + rows2 + rows3, noted: "missing"},
		{name: "meta flipped", file: "*/meta.json", damage: flip(50), rows: rows2 + rows3, noted: "meta.json"},
		{name: "meta lost", file: "*/meta.json", damage: nil, rows: rows2 + rows3, noted: "meta.json"},
		{name: "index header flipped", file: "*/index", damage: flip(0), rows: rows2 + rows3, noted: "index"},
		{name: "index table of contents flipped", file: "*/index", damage: flip(-10), rows: rows2 + rows3, noted: "index"},
		{name: "index symbols flipped", file: "*/index", damage: flip(16), rows: rows2 + rows3, noted: "index"},
		{name: "index cut off", file: "*/index", damage: cut(1), rows: rows2 + rows3, noted: "index"},
		{name: "index lost", file: "*/index", damage: nil, rows: rows2 + rows3, noted: "index"},
		{name: "directory flipped", file: "*/directory", damage: flip(12), rows: rows2 + rows3, noted: "directory"},
		{name: "directory of a newer version", file: "*/directory", damage: func(b []byte) []byte { b[4] = 9; return b }, err: "format"},
		{name: "directory cut off", file: "*/directory", damage: cut(5), rows: rows2 + rows3, noted: "directory"},
		{name: "directory lost", file: "*/directory", damage: nil, rows: rows2 + rows3, noted: "directory"},
		{name: "chunks header flipped", file: "*/chunks", damage: flip(1), rows: rows2 + rows3, noted: "chunks"},
		{name: "chunk block header flipped", file: "*/chunks", damage: flip(20), rows: rows2 + rows3, noted: "chunks", bad: 1},
		{name: "chunk block text flipped", file: "*/chunks", damage: flip(-3), rows: rows2 + rows3, noted: "chunks", bad: 1},
		{name: "chunks cut off", file: "*/chunks", damage: cut(100), rows: rows2 + rows3, noted: "chunks", bad: 1},
		{name: "chunks lost", file: "*/chunks", damage: nil, rows: rows2 + rows3, noted: "chunks"},
		{name: "wal torn", file: "wal/last", damage: cut(5), rows: rows1 + rows2 + 20},
		{name: "wal first record flipped", file: "wal/last", damage: flip(40), rows: rows1 + rows2, noted: ""},
		{name: "wal lost", file: "wal/last", damage: nil, rows: rows1 + rows2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := testDir(t)
			buildForDamage(t, dir)
			damageFile(t, dir, tt.file, tt.damage)
			db, err := Open(dir, crashOptions(nil))
			if tt.err == "format" {
				var fe *FormatError
				if !errors.As(err, &fe) || !strings.Contains(err.Error(), dir) {
					t.Fatalf("Open gave %v, want a FormatError that names the directory", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			for range 2 { // the second time must give the same
				if n := len(allRows(t, db)); n != tt.rows {
					t.Fatalf("%d rows, want %d; errors %v", n, tt.rows, db.Status().LastErrors)
				}
			}
			checkNoted(t, db, tt.noted, tt.bad)
			// Whatever is damaged, the store must work.
			ctx := context.Background()
			if err := errors.Join(db.Append(ctx, entriesFrom("z", 0, 7, testStart)), db.Flush(ctx), db.maintain(ctx)); err != nil {
				t.Fatal(err)
			}
			if n := len(allRows(t, db)); n != tt.rows+7 {
				t.Fatalf("%d rows after 7 more, want %d", n, tt.rows+7)
			}
		})
	}
}

func buildForDamage(t *testing.T, dir string) {
	t.Helper()
	o := crashOptions(nil)
	o.CompactionMinBlocks = 9
	db, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	err = errors.Join(
		db.Append(ctx, entriesFrom("a", 0, rows1, testStart)), db.Flush(ctx),
		db.Append(ctx, entriesFrom("b", 0, rows2, testStart)), db.Flush(ctx),
		db.Append(ctx, entriesFrom("c", 0, 20, testStart)), db.Append(ctx, entriesFrom("d", 0, 10, testStart)),
		db.Close())
	if err != nil {
		t.Fatal(err)
	}
}

// damageFile changes a file, or removes it when damage is nil.
func damageFile(t *testing.T, dir, file string, damage func([]byte) []byte) {
	t.Helper()
	path := filepath.Join(dir, file)
	first := func(pattern string) string {
		m, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(m) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		slices.Sort(m)
		if strings.HasPrefix(pattern, walDir) {
			return m[len(m)-1]
		}
		return m[0]
	}
	if f, ok := strings.CutPrefix(file, "*/"); ok {
		path = first(filepath.Join(blocksDir, "*", f))
	} else if strings.HasPrefix(file, walDir) {
		path = first(walDir + "/*")
	}
	if damage == nil {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		return
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(file, walDir) {
		b = []byte(strings.TrimRight(string(b), "\x00")) // padding of the last page
	}
	if err := os.WriteFile(path, damage(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func checkNoted(t *testing.T, db *DB, noted string, bad int64) {
	t.Helper()
	s := db.Status()
	if s.BadChunkBlocks != bad {
		t.Errorf("%d bad chunk blocks are reported, want %d", s.BadChunkBlocks, bad)
	}
	if noted == "" {
		return
	}
	if len(s.LastErrors) != 1 || !strings.Contains(s.LastErrors[0].Err.Error(), noted) {
		t.Errorf("errors are %v, want one about %s", s.LastErrors, noted)
	}
	var corrupt *block.CorruptError
	if err := s.LastErrors[0].Err; !errors.As(err, &corrupt) && !errors.Is(err, os.ErrNotExist) && noted != "missing" {
		t.Errorf("error %v has no type", err)
	}
}

// TestIndexDamage flips every byte of a label index: never a panic, never a wrong
// row, and other blocks stay readable.
func TestIndexDamage(t *testing.T) {
	dir := testDir(t)
	buildForDamage(t, dir)
	m, _ := filepath.Glob(filepath.Join(dir, blocksDir, "*", block.IndexFile))
	slices.Sort(m)
	good, err := os.ReadFile(m[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		b := slices.Clone(good)
		b[i] ^= 0xff
		if err := os.WriteFile(m[0], b, 0o600); err != nil {
			t.Fatal(err)
		}
		blk, err := block.Open(crashOptions(nil).withDefaults().FS, filepath.Dir(m[0]))
		if err != nil {
			continue
		}
		db := &DB{opts: crashOptions(nil).withDefaults()}
		db.log = db.opts.Logger
		src := newSources(everything, db)
		parts, err := src.expand(context.Background(), lazyBlock{blk: blk})
		if err != nil {
			t.Fatalf("byte %d: %v", i, err)
		}
		for _, p := range parts {
			if p.chunk.Rows > rows1 {
				t.Fatalf("byte %d: strange part %+v", i, p)
			}
		}
		if err := blk.Close(false); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLocked opens a directory twice.
func TestLocked(t *testing.T) {
	dir := testDir(t)
	db, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(dir, Options{})
	var le *LockedError
	if !errors.As(err, &le) || !errors.Is(err, ErrLocked) || le.PID != os.Getpid() || le.Dir != dir {
		t.Fatalf("second Open gave %v", err)
	}
	if err := errors.Join(db.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	if err := db.Append(context.Background(), entriesFrom("a", 0, 1, testStart)); !errors.Is(err, ErrClosed) {
		t.Fatalf("Append after Close gave %v", err)
	}
	if _, err := db.Select(context.Background(), model.SelectRequest{}); !errors.Is(err, ErrClosed) {
		t.Fatalf("Select after Close gave %v", err)
	}
	if db, err = Open(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
