package wal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/wlog"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

var testLabels = labels.FromStrings("app", "a", "pod", "a-0")

// record encodes one entry. define says whether its stream's labels are in it.
func record(t testing.TB, define bool, line string) []byte {
	t.Helper()
	var e Encoder
	e.Begin(TypeBatch, 0)
	if define {
		e.Define(testLabels)
	}
	e.Stream(0)
	e.Entry(&model.Entry{Timestamp: 1, Line: line})
	rec, err := e.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// replayed opens a log and returns the lines of all entries.
func replayed(t testing.TB, o Options) (*Log, *ReplayResult, []string) {
	t.Helper()
	var lines []string
	l, res, err := Open(o, func(_ int, r *Record) error {
		for i, s := range r.Streams {
			if !labels.Equal(r.Labels(i), testLabels) {
				t.Errorf("labels are %s", r.Labels(i))
			}
			for _, e := range s.Entries {
				lines = append(lines, strings.Clone(e.Line))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return l, res, lines
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// numbered returns lines that fill about a third of a page each.
func numbered(n int) string { return fmt.Sprintf("%03d %s", n, incompressible(n, 10_000)) }

func incompressible(seed, n int) string {
	b := make([]byte, n)
	x := uint64(seed)*2862933555777941757 + 3037000493
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return string(b)
}

// TestDamage damages a log of three segments with 30 records each. Segments 0
// and 1 were closed, the last one was in use when the machine stopped.
func TestDamage(t *testing.T) {
	tests := []struct {
		name    string
		segment int
		damage  func(b []byte) []byte
		lost    []int // numbers of lines that may be missing
		torn    bool
		damages int
		refs    int // entries lost for want of a definition
	}{
		{name: "nothing", damage: func(b []byte) []byte { return b }},
		{name: "end cut off by two bytes", segment: 2, damage: func(b []byte) []byte { return b[:len(b)-2] }, lost: []int{89}, torn: true, damages: 1},
		{name: "end cut off in the middle of a record", segment: 2, damage: func(b []byte) []byte { return b[:len(b)-4000] }, lost: []int{89}, torn: true, damages: 1},
		{name: "zeros at the end", segment: 2, damage: func(b []byte) []byte { clear(b[len(b)-100:]); return b }, lost: []int{89}, torn: true, damages: 1},
		{name: "zeros behind the end", segment: 2, damage: func(b []byte) []byte { return append(b, make([]byte, 3*pageSize)...) }},
		{name: "junk behind the end", segment: 2, damage: func(b []byte) []byte { return append(b, incompressible(1, 5000)...) }, torn: true, damages: 1},
		{name: "middle of the last segment", segment: 2, damage: flipAt(5*pageSize + 100), lost: []int{74, 75, 76, 77}, damages: 1},
		{name: "middle of an older segment", segment: 1, damage: flipAt(5*pageSize + 100), lost: []int{44, 45, 46, 47}, damages: 1},
		{name: "length of a fragment", segment: 1, damage: flipAt(1), lost: []int{30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59}, damages: 1, refs: 26},
		{name: "definition in the first record", segment: 0, damage: flipAt(20), lost: seq(0, 30), damages: 1, refs: 26},
		{name: "two places", segment: 1, damage: func(b []byte) []byte { return flipAt(2 * pageSize)(flipAt(6 * pageSize)(b)) }, lost: []int{35, 36, 37, 38, 39, 49, 50, 51, 52}, damages: 2},
		{name: "cut off in the middle of an older segment", segment: 0, damage: func(b []byte) []byte { return b[:4*pageSize+5] }, lost: seq(11, 30), damages: 1},
		{name: "empty older segment", segment: 1, damage: func([]byte) []byte { return nil }, lost: seq(30, 60)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := testDir(t)
			buildLog(t, dir)
			name := wlog.SegmentName(dir, tt.segment)
			b, err := os.ReadFile(name)
			must(t, err)
			must(t, os.WriteFile(name, tt.damage(b), 0o600))

			l, res, lines := replayed(t, Options{Dir: dir})
			got := map[string]bool{}
			for _, s := range lines {
				got[s] = true
			}
			if len(got) != len(lines) {
				t.Error("a line came twice")
			}
			for i := range 90 {
				if !got[numbered(i)] && !slices.Contains(tt.lost, i) {
					t.Errorf("line %d is lost", i)
				}
			}
			if len(res.Damage) != tt.damages || res.LostRefs > tt.refs {
				t.Errorf("damage %v, %d lost references; want %d and at most %d", res.Damage, res.LostRefs, tt.damages, tt.refs)
			}
			for _, d := range res.Damage {
				if d.Torn != tt.torn || d.File != name || d.Error() == "" {
					t.Errorf("damage is %+v, want torn %v in %s", d, tt.torn, name)
				}
			}
			// What follows is kept, and the damage does not grow.
			must(t, l.Commit(record(t, true, "new")))
			must(t, l.Close())
			l, res, again := replayed(t, Options{Dir: dir})
			must(t, l.Close())
			if tt.torn && len(res.Damage) > 0 {
				t.Errorf("the unfinished write has become damage %v", res.Damage[0])
			}
			if !slices.Equal(again, append(lines, "new")) {
				t.Errorf("%d lines the second time, want %d", len(again), len(lines)+1)
			}
		})
	}
}

func seq(from, to int) []int {
	var out []int
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out
}

func flipAt(off int) func([]byte) []byte {
	return func(b []byte) []byte {
		b[off] ^= 0x55
		return b
	}
}

// buildLog writes three segments and leaves the last one as a crash does.
func buildLog(t *testing.T, dir string) {
	t.Helper()
	l, _, _ := replayed(t, Options{Dir: dir})
	for i := range 90 {
		if i > 0 && i%30 == 0 {
			_, err := l.Cut()
			must(t, err)
		}
		must(t, l.Commit(record(t, i%30 == 0, numbered(i))))
	}
	size := l.SegmentBytes()
	must(t, l.Close())
	must(t, os.Truncate(wlog.SegmentName(dir, 2), size)) // Close pads the page
}

// TestFailedWrites fails operations at each point: what was acknowledged stays,
// what failed never comes back, and the log goes on after Reopen.
func TestFailedWrites(t *testing.T) {
	errDisk := errors.New("disk")
	for _, op := range []string{"write", "sync", "create"} {
		for fail := 1; fail < 12; fail++ {
			t.Run(fmt.Sprintf("%s %d", op, fail), func(t *testing.T) {
				dir := testDir(t)
				n, armed := 0, false
				l, _, _ := replayed(t, Options{Dir: dir, Hook: func(o string) error {
					if !armed || o != op {
						return nil
					}
					if n++; n >= fail && n < fail+3 {
						return errDisk
					}
					return nil
				}})
				armed = true
				define := true
				var want []string
				for i := range 15 {
					if l.Broken() {
						if err := l.Reopen(); err != nil {
							continue
						}
						define = true
					}
					if i%4 == 3 {
						if _, err := l.Cut(); err != nil {
							continue
						}
						define = true
					}
					line := fmt.Sprintf("line %d %s", i, incompressible(i, 20_000))
					if err := l.Commit(record(t, define, line), record(t, false, line+"b")); err != nil {
						continue
					}
					define = false
					want = append(want, line, line+"b")
				}
				armed = false
				must(t, l.Close())
				l, res, got := replayed(t, Options{Dir: dir})
				must(t, l.Close())
				if !slices.Equal(got, want) {
					t.Errorf("%d lines, want %d", len(got), len(want))
				}
				if res.LostRefs > 0 || len(res.Damage) > 0 {
					t.Errorf("damage %v, %d lost references", res.Damage, res.LostRefs)
				}
			})
		}
	}
}

// TestTruncate checks numbering: a segment number is never used twice.
func TestTruncate(t *testing.T) {
	dir := testDir(t)
	l, _, _ := replayed(t, Options{Dir: dir})
	must(t, l.Commit(record(t, true, "old")))
	n, err := l.Cut()
	must(t, err)
	must(t, l.Commit(record(t, true, "kept")))
	if l.Size() == 0 || l.SegmentBytes() >= l.Size() {
		t.Errorf("size %d, current segment %d", l.Size(), l.SegmentBytes())
	}
	must(t, l.Truncate(n))
	must(t, l.Close())
	l, res, got := replayed(t, Options{Dir: dir, First: n})
	if !slices.Equal(got, []string{"kept"}) || res.Segments != 1 {
		t.Errorf("got %q from %d segments", got, res.Segments)
	}
	must(t, l.Close())
	// A block took everything and the files are gone: numbers go on.
	must(t, os.RemoveAll(dir))
	l, _, got = replayed(t, Options{Dir: dir, First: 17})
	if len(got) != 0 || l.Segment() <= 17 {
		t.Errorf("lines %q, segment %d", got, l.Segment())
	}
	must(t, l.Close())
	// A hole in the middle.
	must(t, os.WriteFile(filepath.Join(dir, "00000025"), nil, 0o600))
	l, _, _ = replayed(t, Options{Dir: dir, First: 17})
	if l.Segment() != 26 {
		t.Errorf("segment %d after a hole, want 26", l.Segment())
	}
	must(t, l.Close())
}

// TestRecord encodes and decodes everything that a record can hold.
func TestRecord(t *testing.T) {
	var e Encoder
	for _, size := range []int{0, 10, 100_000} {
		e.Begin(TypeBatch, 7)
		if !e.Empty() {
			t.Error("a new record is not empty")
		}
		e.Define(testLabels)
		e.Define(labels.FromStrings("x", strings.Repeat("y", 300)))
		e.Stream(7)
		entries := []model.Entry{
			{Timestamp: 1 << 62, Line: strings.Repeat("abc", size)},
			{Timestamp: -1 << 63, Line: ""},
			{Timestamp: 0, Line: "\x00\xff\n", Metadata: labels.FromStrings("a", "b", "c", "")},
		}
		for i := range entries {
			e.Entry(&entries[i])
		}
		e.Stream(8)
		e.Entry(&entries[0])
		marks := []model.Mark{{Key: "k", Value: []byte("v")}, {Key: "", Value: []byte{}}, {Key: "gone"}}
		for _, m := range marks {
			e.Mark(m)
		}
		rec, err := e.Finish()
		must(t, err)
		var d Decoder
		r, err := d.Decode(rec)
		must(t, err)
		if r.Type != TypeBatch || len(r.Definitions) != 2 || r.Definitions[1].Ref != 8 || !labels.Equal(r.Definitions[0].Labels, testLabels) {
			t.Errorf("definitions %+v", r.Definitions)
		}
		if len(r.Streams) != 2 || r.Streams[0].Ref != 7 || !slices.EqualFunc(r.Streams[0].Entries, entries, sameEntry) || !sameEntry(r.Streams[1].Entries[0], entries[0]) {
			t.Errorf("streams %+v", r.Streams)
		}
		if !slices.EqualFunc(r.Marks, marks, func(a, b model.Mark) bool {
			return a.Key == b.Key && bytes.Equal(a.Value, b.Value) && (a.Value == nil) == (b.Value == nil)
		}) {
			t.Errorf("marks %+v", r.Marks)
		}
	}
}

func sameEntry(a, b model.Entry) bool {
	return a.Timestamp == b.Timestamp && a.Line == b.Line && labels.Equal(a.Metadata, b.Metadata)
}

// FuzzDecode feeds junk to the record decoder, which must not panic or take much
// memory; what it accepts must survive another round.
func FuzzDecode(f *testing.F) {
	f.Add(record(f, true, "a line"))
	f.Add(record(f, false, strings.Repeat("compressible ", 100)))
	var e Encoder
	e.Begin(TypeCheckpoint, 0)
	e.Mark(model.Mark{Key: "k", Value: []byte("v")})
	rec, err := e.Finish()
	must(f, err)
	f.Add(rec)
	f.Add([]byte{1, 0, 1, 0, 1, 1, 'a'})
	f.Fuzz(func(t *testing.T, b []byte) {
		var d Decoder
		r, err := d.Decode(b)
		if err != nil {
			if !errors.Is(err, ErrRecord) {
				t.Fatalf("error %v is not ErrRecord", err)
			}
			return
		}
		var e Encoder
		first := uint32(0)
		if len(r.Definitions) > 0 {
			first = r.Definitions[0].Ref
		}
		e.Begin(r.Type, first)
		for _, def := range r.Definitions {
			e.Define(def.Labels)
		}
		for i := range r.Streams {
			e.Stream(r.Streams[i].Ref)
			for j := range r.Streams[i].Entries {
				e.Entry(&r.Streams[i].Entries[j])
			}
		}
		for _, m := range r.Marks {
			e.Mark(m)
		}
		again, err := e.Finish()
		must(t, err)
		var d2 Decoder
		r2, err := d2.Decode(again)
		must(t, err)
		if len(r2.Streams) != len(r.Streams) || len(r2.Marks) != len(r.Marks) || len(r2.Definitions) != len(r.Definitions) {
			t.Fatal("a second round gave something else")
		}
		for i := range r.Streams {
			if !slices.EqualFunc(r.Streams[i].Entries, r2.Streams[i].Entries, sameEntry) {
				t.Fatal("a second round gave other entries")
			}
		}
	})
}
