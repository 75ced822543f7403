package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/vfs"
)

// deleteTest is a store with three blocks of 100 lines, one per hour, and a clock.
type deleteTest struct {
	*testing.T
	db   *DB
	dir  string
	now  time.Time
	opts Options
	mem  *vfs.Mem
	read atomic.Int64 // reads of files
}

func (d *deleteTest) reads() int64 { return d.read.Load() }

func newDeleteTest(t *testing.T, delay time.Duration) *deleteTest {
	d := &deleteTest{T: t, dir: testDir(t), now: testStart.Add(4 * time.Hour), mem: vfs.NewMem()}
	d.opts = Options{
		FS: &vfs.Fault{FS: d.mem, Inject: func(op vfs.Op, _ string) error {
			if op&vfs.OpRead != 0 {
				d.read.Add(1)
			}
			return nil
		}}, BlockRange: time.Hour, CompactionMinBlocks: 2, noBackground: true,
		DeleteDelay: delay, CompileFilter: testFilter, Now: func() time.Time { return d.now },
	}
	d.open()
	for h := range 3 {
		d.must(d.db.Append(context.Background(), entriesFrom("a", 3600*h, 100, testStart)))
	}
	d.must(d.db.Flush(context.Background()))
	t.Cleanup(func() { d.must(d.db.Close()) })
	return d
}

func (d *deleteTest) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d *deleteTest) open() {
	d.Helper()
	if d.db != nil {
		d.must(d.db.Close())
	}
	db, err := Open(d.dir, d.opts)
	d.must(err)
	d.db = db
}

var appA = []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "app", "a")}

func (d *deleteTest) delete(filter string, from, to time.Duration) string {
	d.Helper()
	id, err := d.db.Delete(context.Background(), model.DeleteRequest{
		Matchers: appA, Filter: filter, Query: `{app="a"} |= ` + filter,
		Range: model.TimeRange{Start: testStart.Add(from).UnixNano(), End: testStart.Add(to).UnixNano()},
	})
	d.must(err)
	return id
}

// state is "<id> <state> <percent>" of all requests, and the number of rows.
func (d *deleteTest) state() string {
	d.Helper()
	var b strings.Builder
	for _, s := range d.db.DeleteRequests() {
		fmt.Fprintf(&b, "%s %d %d%%, ", s.ID, s.State, s.Percent)
	}
	return fmt.Sprintf("%s%d rows", b.String(), len(allRows(d, d.db)))
}

func (d *deleteTest) want(state string) {
	d.Helper()
	if got := d.state(); got != state {
		d.Errorf("state is %q, want %q", got, state)
	}
}

func (d *deleteTest) compact() {
	d.Helper()
	_, err := d.db.compactOnce(context.Background())
	d.must(err)
}

// TestDeleteRequests follows requests from their creation to their end, over
// restarts.
func TestDeleteRequests(t *testing.T) {
	d := newDeleteTest(t, time.Hour)
	first := d.delete("7 of a", 0, 4*time.Hour) // 10 lines of each block
	d.want("00000001 0 0%, 270 rows")
	second := d.delete("", time.Hour, 4*time.Hour)
	d.want("00000001 0 0%, 00000002 0 0%, 90 rows")
	s := d.db.DeleteRequests()[0]
	if s.ID != first || s.Query != `{app="a"} |= 7 of a` || !s.Created.Equal(d.now) || s.Range.Start != testStart.UnixNano() {
		t.Errorf("status is %+v", s)
	}
	d.compact() // not due
	d.open()
	d.want("00000001 0 0%, 00000002 0 0%, 90 rows")
	d.must(d.db.CancelDelete(context.Background(), second, false))
	d.want("00000001 0 0%, 270 rows")
	d.now = d.now.Add(time.Hour)
	d.compact()
	d.want("00000001 1 33%, 270 rows")
	d.open()
	var begun *DeleteBegunError
	if err := d.db.CancelDelete(context.Background(), first, false); !errors.As(err, &begun) || begun.Processed {
		t.Errorf("cancelling what has begun gave %v", err)
	}
	d.must(d.db.CancelDelete(context.Background(), first, true))
	d.want("290 rows")
	third := d.delete("=line 99 of a", 0, time.Hour)
	d.now = d.now.Add(time.Hour)
	d.compact()
	d.want("00000003 2 0%, 289 rows")
	if err := d.db.CancelDelete(context.Background(), third, true); !errors.As(err, &begun) || !begun.Processed {
		t.Errorf("cancelling what has been carried out gave %v", err)
	}
	if err := d.db.CancelDelete(context.Background(), "nosuch", true); !errors.Is(err, ErrNoDelete) {
		t.Errorf("cancelling nothing gave %v", err)
	}
	d.open()
	d.want("00000003 2 0%, 289 rows")
}

// TestDeleteWaits merges blocks around a request that is not due: what it hides
// stays hidden, what came later does not disappear.
func TestDeleteWaits(t *testing.T) {
	d := newDeleteTest(t, time.Hour)
	ctx := context.Background()
	d.must(d.db.Append(ctx, entriesFrom("a", 100, 100, testStart)))
	d.must(d.db.Flush(ctx))
	id := d.delete("", 0, time.Hour)
	for range 2 { // in the deleted range, but later
		d.must(d.db.Append(ctx, entriesFrom("a", 50, 100, testStart)))
		d.must(d.db.Flush(ctx))
	}
	before := d.db.Status().Blocks
	d.must(d.db.maintain(ctx))
	d.want(id + " 0 0%, 400 rows")
	if n := d.db.Status().Blocks; n != before-2 {
		t.Errorf("%d blocks became %d, want two pairs merged", before, n)
	}
	d.now = d.now.Add(time.Hour)
	d.must(d.db.maintain(ctx))
	d.want(id + " 2 0%, 400 rows")
}

// TestDeleteCancelledMeanwhile cancels a request while compaction carries it out.
func TestDeleteCancelledMeanwhile(t *testing.T) {
	d := newDeleteTest(t, 0)
	id := d.delete("", 0, time.Hour)
	d.db.mu.RLock()
	set, deletes := slices.Clone(d.db.blocks[:1]), d.db.deletes
	d.db.mu.RUnlock()
	d.must(d.db.CancelDelete(context.Background(), id, false))
	if err := d.db.compact(context.Background(), set, deletes); !errors.Is(err, errPlanChanged) {
		t.Errorf("compaction with a cancelled request gave %v", err)
	}
	d.want("300 rows")
}

// TestDeleteUnreadable opens a store with a program that does not understand a
// filter: nothing reappears, nothing is lost.
func TestDeleteUnreadable(t *testing.T) {
	d := newDeleteTest(t, 0)
	id := d.delete("7 of a", 0, time.Hour)
	d.opts.CompileFilter = nil
	d.open()
	d.want(id + " 0 0%, 200 rows")
	for range 5 {
		d.compact()
	}
	d.want(id + " 0 0%, 200 rows")
	d.opts.CompileFilter = testFilter
	d.open()
	d.compact()
	d.want(id + " 2 0%, 290 rows")
}

// TestDeleteCounts asks for what is answered without text, while a filter hides
// rows in the middle.
func TestDeleteCounts(t *testing.T) {
	d := newDeleteTest(t, time.Hour)
	id := d.delete("7 of a", 0, 4*time.Hour)
	ctx := context.Background()
	for _, unordered := range []bool{false, true} {
		it, err := d.db.Select(ctx, model.SelectRequest{Range: model.AllTime(), TimesOnly: true, Unordered: unordered})
		d.must(err)
		if n := len(collect(t, it, 0, true)); n != 270 {
			t.Errorf("unordered %v: %d times, want 270", unordered, n)
		}
	}
	volume := func() model.StreamVolume {
		v, err := d.db.Volume(ctx, model.AllTime(), nil)
		d.must(err)
		if len(v) != 1 {
			t.Fatalf("volumes %v", v)
		}
		return v[0]
	}
	hidden := volume()
	d.must(d.db.CancelDelete(ctx, id, false))
	all := volume()
	d.delete("7 of a", 0, 4*time.Hour)
	d.now = d.now.Add(time.Hour)
	d.must(d.db.maintain(ctx))
	gone := volume()
	if all.Entries != 300 || hidden.Entries != 270 || gone.Entries != 270 || hidden.Bytes != gone.Bytes || all.Bytes <= gone.Bytes {
		t.Errorf("volumes: all %+v, hidden %+v, gone %+v", all, hidden, gone)
	}
}

// TestDeleteRefused lists requests that are not accepted.
func TestDeleteRefused(t *testing.T) {
	d := newDeleteTest(t, 0)
	for name, req := range map[string]model.DeleteRequest{
		"no matcher":  {Range: model.AllTime()},
		"empty range": {Matchers: appA, Range: model.TimeRange{Start: 5, End: 5}},
		"bad filter":  {Matchers: appA, Range: model.AllTime(), Filter: "bad"},
		"too long":    {Matchers: appA, Range: model.AllTime(), Filter: strings.Repeat("x", maxDeleteText+1)},
	} {
		var invalid *InvalidDeleteError
		if _, err := d.db.Delete(context.Background(), req); !errors.As(err, &invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	d.want("300 rows")
}

// TestManifestVersion keeps programs that know no filters away from a manifest
// that has one, and from no other.
func TestManifestVersion(t *testing.T) {
	d := newDeleteTest(t, time.Hour)
	version := func() int {
		d.db.manifestMu.Lock()
		defer d.db.manifestMu.Unlock()
		return d.db.manifest.Version
	}
	d.delete("", 0, time.Hour)
	if v := version(); v != 1 {
		t.Errorf("version %d without filters, want 1", v)
	}
	id := d.delete("x", 0, time.Hour)
	if v := version(); v != manifestVersion {
		t.Errorf("version %d with a filter, want %d", v, manifestVersion)
	}
	d.must(d.db.CancelDelete(context.Background(), id, false))
	if v := version(); v != 1 {
		t.Errorf("version %d after the last filter, want 1", v)
	}
}

// TestDeleteText deletes single lines out of a chunk block so large that
// compaction would copy it, and looks for text in what is left.
func TestDeleteText(t *testing.T) {
	d := newDeleteTest(t, time.Hour)
	ctx := context.Background()
	s := model.StreamEntries{Labels: labels.FromStrings("app", "a", "pod", "large")}
	for i := range 200 {
		s.Entries = append(s.Entries, model.Entry{Timestamp: testStart.UnixNano() + int64(i), Line: fmt.Sprintf("number %d %x", i, strings.Repeat(fmt.Sprint(i*i*i), 300))})
	}
	d.must(d.db.Append(ctx, &model.Batch{Streams: []model.StreamEntries{s}}))
	d.must(d.db.Flush(ctx))
	for _, c := range d.db.blocks[len(d.db.blocks)-1:] {
		if c.Meta.Stats.RawBytes < 2*keepChunkBytes {
			t.Fatalf("the chunk block is too small: %d bytes", c.Meta.Stats.RawBytes)
		}
	}
	d.delete("number 7", 0, time.Hour) // 7, 70 to 79
	d.delete("nowhere", 0, time.Hour)
	check := func(when string) {
		t.Helper()
		for _, unordered := range []bool{false, true} {
			it, err := d.db.Select(ctx, model.SelectRequest{Range: model.AllTime(), Contains: []string{"number"}, Unordered: unordered})
			d.must(err)
			if n := len(collect(t, it, 0, false)); n != 189 {
				t.Errorf("%s, unordered %v: %d lines, want 189", when, unordered, n)
			}
		}
	}
	check("hidden")
	d.now = d.now.Add(time.Hour)
	d.must(d.db.maintain(ctx))
	if n := d.db.Status().PendingDeletes; n > 0 {
		t.Errorf("%d requests are left", n)
	}
	check("gone")
}
