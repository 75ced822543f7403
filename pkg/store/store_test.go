package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/chunk"
)

func openTest(t testing.TB, o Options) *DB {
	t.Helper()
	db, err := Open(testDir(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestOptions reports everything that is wrong at once.
func TestOptions(t *testing.T) {
	must(t, Options{}.Validate())
	must(t, DefaultOptions().Validate())
	err := Options{Retention: -1, MaxDiskBytes: -1, MemoryLimit: 1, SegmentSize: 1, SyncInterval: time.Hour, BlockRange: 1, CompactionMinBlocks: 1, CompressionLevel: 9}.Validate()
	for _, want := range []string{"retention", "disk limit", "memory limit", "segment size", "sync interval", "block range", "compaction", "compression"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in %v", want, err)
		}
	}
	if _, err := Open(testDir(t), Options{MemoryLimit: 1}); err == nil {
		t.Error("Open took bad options")
	}
}

// TestInvalidBatches are refused, with everything else of their batch.
func TestInvalidBatches(t *testing.T) {
	db := openTest(t, crashOptions(nil))
	one := func(ls labels.Labels, line string, md labels.Labels) *model.Batch {
		return &model.Batch{Streams: []model.StreamEntries{{Labels: ls, Entries: []model.Entry{{Line: line, Metadata: md}}}}}
	}
	a := labels.FromStrings("a", "b")
	huge := strings.Repeat("x", chunk.MaxRawBytes)
	for name, b := range map[string]*model.Batch{
		"label name":  one(labels.FromStrings("", "b"), "x", labels.EmptyLabels()),
		"label value": one(labels.FromStrings("a", ""), "x", labels.EmptyLabels()),
		"many labels": one(labels.FromStrings("a", huge[:maxLabelBytes]), "x", labels.EmptyLabels()),
		"line":        one(a, huge+"x", labels.EmptyLabels()),
		"metadata":    one(a, "x", labels.FromStrings("m", huge)),
		"mark":        {Marks: []model.Mark{{Key: "k", Value: make([]byte, maxMarkBytes)}}},
		"total": {Streams: []model.StreamEntries{{Labels: a, Entries: []model.Entry{
			{Line: huge}, {Line: huge}, {Line: huge}, {Line: huge}, {Line: "x"},
		}}}},
	} {
		var ib *InvalidBatchError
		if err := db.Append(context.Background(), b); !errors.As(err, &ib) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// The longest line there can be, and entries at both ends of time.
	must(t, db.Append(context.Background(), one(a, huge, labels.EmptyLabels())))
	must(t, db.Append(context.Background(), &model.Batch{Streams: []model.StreamEntries{{Labels: a, Entries: []model.Entry{
		{Timestamp: -1 << 63, Line: "first"}, {Timestamp: 1<<63 - 2, Line: "last"},
	}}}}))
	for range 2 {
		rows := allRows(t, db)
		if len(rows) != 3 || rows[0].line != "first" || rows[1].line != huge || rows[2].line != "last" {
			t.Fatalf("%d rows", len(rows))
		}
		must(t, db.Flush(context.Background()))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := db.Append(ctx, entriesFrom("a", 0, 1, testStart)); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled Append gave %v", err)
	}
}

// TestTail follows entries as they arrive, over a flush, and loses only what a
// slow reader had no room for.
func TestTail(t *testing.T) {
	db := openTest(t, crashOptions(nil))
	ctx := context.Background()
	must(t, db.Append(ctx, entriesFrom("a", 0, 5, testStart))) // before the tail
	it, err := db.Tail(ctx, model.TailRequest{Matchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "app", "a")}, Buffer: 10})
	must(t, err)
	next := func(rows, dropped int, first string) {
		t.Helper()
		b, err := it.Next(ctx)
		must(t, err)
		if b.Len() != rows || b.Dropped != dropped || rows > 0 && b.Lines[0] != first {
			t.Fatalf("got %d rows, %d dropped, %q; want %d, %d, %q", b.Len(), b.Dropped, b.Lines, rows, dropped, first)
		}
		for _, i := range b.StreamIndex {
			if b.Streams[i].Get("app") != "a" {
				t.Fatalf("stream %s", b.Streams[i])
			}
		}
	}
	must(t, db.Append(ctx, entriesFrom("b", 0, 5, testStart)))
	must(t, db.Append(ctx, entriesFrom("a", 5, 3, testStart)))
	next(3, 0, "line 5 of a")
	must(t, db.Flush(ctx))
	must(t, db.Append(ctx, entriesFrom("a", 8, 4, testStart)))
	must(t, db.Append(ctx, entriesFrom("a", 12, 20, testStart)))
	next(10, 14, "line 8 of a")
	must(t, db.Append(ctx, entriesFrom("a", 50, 1, testStart)))
	next(1, 0, "line 50 of a")

	// Next waits, and Close of the store ends it.
	done := make(chan error)
	go func() {
		_, err := it.Next(ctx)
		done <- err
	}()
	must(t, db.Close())
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("Next after Close of the store gave %v", err)
	}
	must(t, it.Close())
	if _, err := it.Next(ctx); !errors.Is(err, io.EOF) {
		t.Errorf("Next after Close gave %v", err)
	}
	if _, err := db.Tail(ctx, model.TailRequest{}); !errors.Is(err, ErrClosed) {
		t.Errorf("Tail after Close gave %v", err)
	}
}

// TestTailContext ends a waiting Next.
func TestTailContext(t *testing.T) {
	db := openTest(t, crashOptions(nil))
	it, err := db.Tail(context.Background(), model.TailRequest{})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := it.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	must(t, it.Close())
	if n := db.tails.n.Load(); n != 0 {
		t.Errorf("%d tails are left", n)
	}
}

// TestRetention removes by age and by size, and hides what is too old at once.
func TestRetention(t *testing.T) {
	now := testStart.Add(10 * time.Hour)
	o := crashOptions(nil)
	o.CompactionMinBlocks = -1
	o.Retention = 24 * time.Hour
	o.Now = func() time.Time { return now }
	db := openTest(t, o)
	ctx := context.Background()
	for h := range 5 {
		must(t, db.Append(ctx, entriesFrom("a", h*3600, 100, testStart)))
		must(t, db.Flush(ctx))
	}
	if s := db.Status(); s.Blocks != 5 || s.OldestTime != testStart.UnixNano() {
		t.Fatalf("status %+v", s)
	}
	now = testStart.Add(24*time.Hour + 2*time.Hour + 50*time.Second)
	if n := len(allRows(t, db)); n != 250 {
		t.Errorf("%d rows are visible, want 250", n)
	}
	must(t, db.retain(ctx))
	if s := db.Status(); s.Blocks != 3 || s.BlockEntries != 300 {
		t.Errorf("status after retention %+v", s)
	}
	db.opts.MaxDiskBytes = db.Status().DiskBytes() - 1
	it, err := db.Select(ctx, model.SelectRequest{Range: model.AllTime()})
	must(t, err)
	must(t, db.retain(ctx))
	if s := db.Status(); s.Blocks != 2 || s.OldestTime != testStart.Add(3*time.Hour).UnixNano() {
		t.Errorf("status after the disk limit %+v", s)
	}
	if n := len(collect(t, it, 0, false)); n != 250 {
		t.Errorf("a reader that had begun got %d rows, want 250", n)
	}
	ents, err := db.opts.withDefaults().FS.ReadDir(db.dir + "/" + blocksDir)
	if err != nil || len(ents) != 2 {
		t.Errorf("directories %v, %v", ents, err)
	}
}

// TestReplayMoreThanMemory opens a log that holds more than the head may.
func TestReplayMoreThanMemory(t *testing.T) {
	dir := testDir(t)
	o := crashOptions(nil)
	o.SegmentSize = 1 << 20
	db, err := Open(dir, o)
	must(t, err)
	ctx := context.Background()
	const batches, size = 120, 400
	rng := newRand(9)
	for i := range batches {
		b := entriesFrom("a", i*size, size, testStart)
		for j := range b.Streams[0].Entries {
			e := &b.Streams[0].Entries[j]
			for range 5 {
				e.Line += fmt.Sprintf("%016x", rng.Uint64())
			}
		}
		b.Marks = []model.Mark{{Key: fmt.Sprint(i % 10), Value: fmt.Append(nil, i)}}
		must(t, db.Append(ctx, b))
	}
	want := allRows(t, db)
	t.Logf("%d bytes in the head", db.Status().HeadBytes)
	must(t, db.Close())
	o.MemoryLimit = minMemoryLimit
	for range 2 {
		db, err = Open(dir, o)
		must(t, err)
		if s := db.Status(); s.Blocks == 0 || s.HeadBytes > 2*o.headLimit() {
			t.Errorf("status %+v", s)
		}
		diffRows(t, "after a replay in pieces", allRows(t, db), want)
		if m := db.Marks(""); len(m) != 10 || string(m["3"]) != "113" {
			t.Errorf("marks %q", m)
		}
		must(t, db.Close())
	}
}

// TestBackPressure fills the head faster than it is flushed.
func TestBackPressure(t *testing.T) {
	o := crashOptions(nil)
	o.MemoryLimit = minMemoryLimit
	db := openTest(t, o)
	ctx := context.Background()
	i := 0
	for ; db.Status().HeadBytes < o.headLimit(); i++ {
		b := entriesFrom(fmt.Sprint("s", i), 0, 200, testStart)
		must(t, db.Append(ctx, b))
	}
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if err := db.Append(short, entriesFrom("late", 0, 1, testStart)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Append to a full head gave %v", err)
	}
	done := make(chan error)
	go func() { done <- db.Append(ctx, entriesFrom("late", 0, 1, testStart)) }()
	must(t, db.Flush(ctx))
	must(t, <-done)
	if n := len(allRows(t, db)); n != 200*i+1 {
		t.Errorf("%d rows, want %d", n, 200*i+1)
	}
}

// TestConcurrent runs everything at once; the race detector looks on.
func TestConcurrent(t *testing.T) {
	reg := prometheus.NewRegistry()
	o := Options{MemoryLimit: minMemoryLimit, SegmentSize: minSegmentSize, BlockRange: time.Hour, CompactionMinBlocks: 2, Registerer: reg}
	db := openTest(t, o)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var writers, others sync.WaitGroup
	const perWriter = 40
	for w := range 4 {
		writers.Go(func() {
			for i := range perWriter {
				if err := db.Append(ctx, entriesFrom(fmt.Sprint("w", w), i*25, 25, testStart)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	background := func(fn func() error) {
		others.Go(func() {
			for ctx.Err() == nil {
				if err := fn(); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	tail, err := db.Tail(ctx, model.TailRequest{Buffer: 1 << 20})
	must(t, err)
	tailed := 0
	others.Go(func() {
		for tailed < 4*perWriter*25 {
			b, err := tail.Next(ctx)
			if err != nil {
				return
			}
			tailed += b.Len() + b.Dropped
		}
	})
	background(func() error { return db.Flush(ctx) })
	background(func() error { return db.maintain(ctx) })
	for _, unordered := range []bool{false, true} {
		background(func() error {
			it, err := db.Select(ctx, model.SelectRequest{Range: model.AllTime(), Unordered: unordered, Direction: model.Forward})
			if err != nil {
				return err
			}
			defer it.Close()
			last := map[string]int{}
			for {
				b, err := it.Next(ctx)
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err != nil {
					return err
				}
				for i, l := range b.Lines {
					var n int
					app := b.Streams[b.StreamIndex[i]].Get("app")
					if _, err := fmt.Sscanf(l, "line %d", &n); err != nil || n != last[app] {
						return fmt.Errorf("%s: %q comes after %d lines: %w", app, l, last[app], err)
					}
					last[app]++
				}
			}
		})
	}
	background(func() error {
		_, err := db.Volume(ctx, model.AllTime(), nil)
		return errors.Join(err, db.Append(ctx, &model.Batch{Marks: []model.Mark{{Key: "m"}}}))
	})
	writers.Wait()
	cancel()
	others.Wait()
	must(t, tail.Close())
	if n := len(allRows(t, db)); n != 4*perWriter*25 {
		t.Errorf("%d rows, want %d", n, 4*perWriter*25)
	}
	if n, err := testutil.GatherAndCount(reg); n < 20 || err != nil {
		t.Errorf("%d metrics, %v", n, err)
	}
	if probs, err := testutil.GatherAndLint(reg); err != nil {
		t.Errorf("metrics: %v, %v", probs, err)
	}
}

// TestTasks checks the division of overlapping parts: every part once, and two
// tasks that share a stream stand in the order of time.
func TestTasks(t *testing.T) {
	r := &random{Rand: newRand(5)}
	for range 300 {
		var parts []*part
		for i := range 1 + r.IntN(30) {
			lo := r.Int64N(100)
			p := &part{order: uint64(r.IntN(50))<<orderShift | uint64(i), lo: lo, hi: lo + r.Int64N(1+r.Int64N(20)), id: uint32(r.IntN(5))}
			p.run.Min, p.run.Max = p.lo, p.hi
			parts = append(parts, p)
		}
		tasks := tasksOf(slices.Clone(parts))
		n := 0
		for i, a := range tasks {
			n += len(a)
			for _, b := range tasks[i+1:] {
				for _, pa := range a {
					for _, pb := range b {
						if pa.id == pb.id && (pa.hi > pb.lo || pa.hi == pb.lo && pa.order > pb.order) {
							t.Fatalf("%+v comes before %+v", pa, pb)
						}
					}
				}
			}
		}
		if n != len(parts) {
			t.Fatalf("%d parts in tasks, want %d", n, len(parts))
		}
	}
}

// TestWindow checks windows at the ends of time and around zero.
func TestWindow(t *testing.T) {
	for _, size := range []int64{1, 7, int64(time.Hour), 1 << 62} {
		for _, ts := range []int64{-1 << 63, -1<<63 + 1, -8, -7, -1, 0, 1, 6, 7, 1<<63 - 2, 1<<63 - 1} {
			w := window(ts, size)
			if !w.contains(ts) || window(w.lo, size) != w || window(w.hi, size) != w {
				t.Errorf("window of %d by %d is %v", ts, size, w)
			}
		}
	}
}

// TestStatsOfTheHead: what a query read from the head is counted, once.
func TestStatsOfTheHead(t *testing.T) {
	db := openTest(t, Options{})
	b := &model.Batch{Streams: []model.StreamEntries{{Labels: labels.FromStrings("a", "b"), Entries: []model.Entry{{Timestamp: 1, Line: "one"}, {Timestamp: 2, Line: "three"}}}}}
	if err := db.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for _, unordered := range []bool{false, true} {
		it, err := db.Select(t.Context(), model.SelectRequest{Range: model.AllTime(), Unordered: unordered})
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = it.Next(t.Context())
		}
		if st := it.Stats(); st.Lines != 2 || st.Bytes != 8 {
			t.Errorf("unordered %v: %d lines, %d bytes; want 2 and 8", unordered, st.Lines, st.Bytes)
		}
		it.Close()
	}
}
