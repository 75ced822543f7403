package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/vfs"
)

// entriesFrom returns a batch of one stream with n numbered lines.
func entriesFrom(app string, first, n int, start time.Time) *model.Batch {
	s := model.StreamEntries{Labels: labels.FromStrings("app", app, "pod", app+"-0")}
	for i := first; i < first+n; i++ {
		s.Entries = append(s.Entries, model.Entry{Timestamp: start.Add(time.Duration(i) * time.Second).UnixNano(), Line: fmt.Sprintf("line %d of %s", i, app)})
	}
	return &model.Batch{Streams: []model.StreamEntries{s}}
}

var testStart = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

// allRows reads everything in forward order.
func allRows(t testing.TB, db *DB) []row {
	t.Helper()
	it, err := db.Select(context.Background(), model.SelectRequest{Range: model.AllTime(), Direction: model.Forward})
	if err != nil {
		t.Fatal(err)
	}
	return collect(t, it, 0, false)
}

// crashScript is a fixed life of a store. Each step notes what is promised after
// it has succeeded.
type crashScript struct {
	want    naive // what has been acknowledged
	maybe   *naive
	lastErr error
}

func (c *crashScript) run(db *DB) {
	ctx := context.Background()
	step := func(do func() error, promise func(*naive)) bool {
		// While the step runs, its outcome is open.
		after := naive{rows: slices.Clone(c.want.rows), marks: map[string]string{}}
		promise(&after)
		c.maybe = &after
		if c.lastErr = do(); c.lastErr != nil {
			return false
		}
		c.want, c.maybe = after, nil
		return true
	}
	add := func(b *model.Batch) bool {
		return step(func() error { return db.Append(ctx, b) }, func(n *naive) { n.append(b) })
	}
	same := func(do func() error) bool { return step(do, func(*naive) {}) }
	ms := []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "app", "b")}
	tr := model.TimeRange{Start: testStart.UnixNano(), End: testStart.Add(30 * time.Second).UnixNano()}
	flush := func() error { return db.Flush(ctx) }
	id := ""
	del := func(filter string) bool {
		return step(func() (err error) {
			id, err = db.Delete(ctx, model.DeleteRequest{Matchers: ms, Range: tr, Filter: filter})
			return err
		}, func(n *naive) { n.delete("x", ms, tr, filter) })
	}
	cancel := func() bool {
		return step(func() error { return db.CancelDelete(ctx, id, false) }, func(n *naive) { n.restore("x") })
	}
	compact := func() error {
		_, err := db.compactOnce(ctx)
		return err
	}
	// The second batch spans two blocks, so that one flush writes both.
	_ = add(entriesFrom("a", 0, 50, testStart)) &&
		add(entriesFrom("a", 3500, 200, testStart)) && same(flush) &&
		add(entriesFrom("b", 0, 100, testStart)) && add(entriesFrom("a", 20, 60, testStart)) && same(flush) &&
		same(compact) && add(entriesFrom("c", 0, 10, testStart)) &&
		del("=line 7 of b") && cancel() && del("1") && same(compact) && del("") &&
		same(compact) && same(compact) && same(compact) &&
		add(entriesFrom("d", 0, 10, testStart)) && same(flush)
}

func crashOptions(fsys vfs.FS) Options {
	return Options{FS: fsys, BlockRange: time.Hour, CompactionMinBlocks: 2, noBackground: true, CompileFilter: testFilter, Now: func() time.Time { return testStart }}
}

var errCrash = errors.New("crashed")

// TestCrashEveryWrite stops the world at every operation that changes the disk,
// takes the disk as a power cut would leave it, and opens it.
func TestCrashEveryWrite(t *testing.T) {
	t.Parallel()
	step := 1
	if testing.Short() {
		step = 7
	}
	k := 1
	for ; crashAt(t, k); k += step {
		if t.Failed() {
			t.Fatalf("after a crash at operation %d", k)
		}
	}
	if k < 50 {
		t.Fatalf("only %d operations: the script does too little", k)
	}
	t.Logf("crashed at every %d of %d operations", step, k-1)
}

// crashAt runs the script with a crash at the k-th operation, and says whether
// there was one.
func crashAt(t *testing.T, k int) bool {
	t.Helper()
	dir := testDir(t)
	mem := vfs.NewMem()
	rng := rand.New(rand.NewPCG(uint64(k), 3))
	var ops atomic.Int64
	var clones []*vfs.Mem
	walCopy := filepath.Join(testDir(t), "copy")
	fsys := &vfs.Fault{FS: mem, Inject: func(op vfs.Op, path string) error {
		if op&vfs.OpMutate == 0 {
			return nil
		}
		switch n := ops.Add(1); {
		case n == int64(k):
			// As little as possible has reached the disk, or as much as chance wants.
			clones = append(clones, mem.CrashClone(nil), mem.CrashClone(rng))
			if err := os.CopyFS(walCopy, os.DirFS(dir)); err != nil {
				t.Error(err)
			}
			return errCrash
		case n > int64(k):
			return errCrash
		}
		return nil
	}}
	var script crashScript
	script.want.marks = map[string]string{}
	db, err := Open(dir, crashOptions(fsys))
	if err == nil {
		script.run(db)
		err = errors.Join(script.lastErr, db.Close())
	}
	if clones == nil {
		if err != nil {
			t.Fatal(err)
		}
		return false
	}
	for i, c := range clones {
		checkCrashed(t, fmt.Sprintf("operation %d, clone %d", k, i), dir, walCopy, c, &script, i == 0 && k%3 == 0)
	}
	return true
}

// checkCrashed opens what a crash left and compares it with what was promised.
func checkCrashed(t *testing.T, what, from, walCopy string, mem *vfs.Mem, script *crashScript, alive bool) {
	t.Helper()
	dir := filepath.Join(testDir(t), "again")
	if err := os.CopyFS(dir, os.DirFS(walCopy)); err != nil {
		t.Fatal(err)
	}
	// The blocks lie in memory under the former directory's name.
	if err := errors.Join(mem.MkdirAll(filepath.Dir(dir)), mem.Rename(from, dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	db, err := Open(dir, crashOptions(mem))
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	got := allRows(t, db)
	want := script.want.selectRows(nil, model.AllTime())
	if !slices.EqualFunc(got, want, sameRow) {
		if script.maybe == nil || !slices.EqualFunc(got, script.maybe.selectRows(nil, model.AllTime()), sameRow) {
			t.Errorf("%s: %d rows, want %d; the step in between ended with %v", what, len(got), len(want), script.lastErr)
		}
	}
	if s := db.Status(); len(s.LastErrors) > 0 {
		t.Errorf("%s: errors %v", what, s.LastErrors)
	}
	if alive {
		checkAlive(t, what, db, len(got))
	}
	if err := db.Close(); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// checkAlive writes, flushes, compacts and reads.
func checkAlive(t *testing.T, what string, db *DB, rows int) {
	t.Helper()
	ctx := context.Background()
	if err := errors.Join(db.Append(ctx, entriesFrom("e", 0, 5, testStart)), db.Flush(ctx), db.maintain(ctx)); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if n := len(allRows(t, db)); n != rows+5 {
		t.Errorf("%s: %d rows after 5 more, want %d", what, n, rows+5)
	}
}

// enospc fails all writes whose path contains substr while on is set.
func enospc(substr string, on *atomic.Bool) *vfs.Fault {
	always := vfs.FailNth(vfs.OpWrite|vfs.OpSync, substr, 1, true, syscall.ENOSPC)
	return &vfs.Fault{FS: vfs.OS, Inject: func(op vfs.Op, path string) error {
		if !on.Load() {
			return nil
		}
		return always(op, path)
	}}
}

// TestDiskFullBlocks fills the disk under flushes, compactions and the manifest.
func TestDiskFullBlocks(t *testing.T) {
	for _, file := range []string{"chunks", "index", "directory", "meta.json", "manifest.json"} {
		t.Run(file, func(t *testing.T) {
			var full atomic.Bool
			ctx := context.Background()
			db, err := Open(testDir(t), crashOptions(enospc(file, &full)))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			check := func(err error) {
				t.Helper()
				var df *DiskFullError
				if !errors.As(err, &df) || !db.Status().DiskFull && len(db.Status().LastErrors) == 0 {
					t.Fatalf("got %v (status %+v), want a DiskFullError", err, db.Status())
				}
			}
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			must(db.Append(ctx, entriesFrom("a", 0, 100, testStart)))
			full.Store(true)
			check(db.Flush(ctx))
			must(db.Append(ctx, entriesFrom("a", 100, 100, testStart)))
			check(db.Flush(ctx))
			if n := len(allRows(t, db)); n != 200 {
				t.Fatalf("%d rows while the disk is full, want 200", n)
			}
			full.Store(false)
			must(db.Flush(ctx)) // both heads
			if s := db.Status(); s.HeadEntries != 0 || s.DiskFull {
				t.Fatalf("after a flush with space: %+v", s)
			}
			must(db.Append(ctx, entriesFrom("a", 200, 100, testStart)))
			must(db.Flush(ctx))
			full.Store(true)
			check(db.maintain(ctx))
			if n := len(allRows(t, db)); n != 300 {
				t.Fatalf("%d rows after a failed compaction, want 300", n)
			}
			full.Store(false)
			must(db.maintain(ctx))
			if s := db.Status(); s.Blocks != 1 || s.BlockEntries != 300 {
				t.Fatalf("after compaction: %+v", s)
			}
			ents, err := os.ReadDir(filepath.Join(db.dir, blocksDir))
			must(err)
			if len(ents) != 1 {
				t.Fatalf("failed attempts left %v", ents)
			}
		})
	}
}

func segmentName(n int) string { return fmt.Sprintf("%08d", n) }

// TestAppendFailure fails the log at every kind of operation under several
// writers: each writer learns the truth about its batch.
func TestAppendFailure(t *testing.T) {
	for _, op := range []string{"write", "sync", "create"} {
		t.Run(op, func(t *testing.T) {
			dir := testDir(t)
			var n atomic.Int64
			o := crashOptions(nil)
			o.SegmentSize = minSegmentSize
			o.walHook = func(got string) error {
				if got == op && n.Add(1)%5 == 4 {
					return syscall.ENOSPC
				}
				return nil
			}
			db, err := Open(dir, o)
			if err != nil {
				t.Fatal(err)
			}
			ctx := context.Background()
			var mu sync.Mutex
			stored := map[string]bool{}
			failures := 0
			var wg sync.WaitGroup
			for w := range 4 {
				wg.Go(func() {
					for i := range 30 {
						b := entriesFrom(fmt.Sprintf("w%d", w), i*20, 20, testStart)
						b.Marks = []model.Mark{{Key: fmt.Sprintf("w%d", w), Value: fmt.Appendf(nil, "%d", i)}}
						err := db.Append(ctx, b)
						mu.Lock()
						if err == nil {
							for _, e := range b.Streams[0].Entries {
								stored[e.Line] = true
							}
						} else {
							failures++
						}
						mu.Unlock()
						if i == 15 && w == 0 {
							_ = db.Flush(ctx) // may fail too
						}
					}
				})
			}
			wg.Wait()
			if op != "create" && failures == 0 {
				t.Error("nothing failed")
			}
			check := func() {
				t.Helper()
				rows := allRows(t, db)
				for _, r := range rows {
					if !stored[r.line] {
						t.Fatalf("line %q is there although its Append failed", r.line)
					}
				}
				if len(rows) != len(stored) {
					t.Fatalf("%d rows, want %d", len(rows), len(stored))
				}
			}
			check()
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if db, err = Open(dir, crashOptions(nil)); err != nil {
				t.Fatal(err)
			}
			check()
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
