package store

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/head"
)

// dedupBatch is a batch of one stream whose duplicates are dropped.
func dedupBatch(app string, es ...model.Entry) *model.Batch {
	return &model.Batch{DropDuplicates: true, Streams: []model.StreamEntries{{Labels: labels.FromStrings("app", app), Entries: es}}}
}

// heldSync is a hook for the log that stops one sync until it is let go with a
// result.
type heldSync struct {
	armed  atomic.Bool
	inside chan struct{}
	result chan error
}

func newHeldSync() *heldSync {
	return &heldSync{inside: make(chan struct{}), result: make(chan error)}
}

func (h *heldSync) hook(op string) error {
	if op == "sync" && h.armed.CompareAndSwap(true, false) {
		close(h.inside)
		return <-h.result
	}
	return nil
}

var errNoSync = errors.New("cannot sync")

// appendHeld begins an Append whose sync is held.
func appendHeld(db *DB, h *heldSync, b *model.Batch) <-chan error {
	h.armed.Store(true)
	answer := make(chan error, 1)
	go func() { answer <- db.Append(context.Background(), b) }()
	<-h.inside
	return answer
}

// TestDuplicateWaits pushes a batch again while the first one is being synced:
// the second must wait for the sync and get its result.
func TestDuplicateWaits(t *testing.T) {
	e := model.Entry{Timestamp: 1, Line: "x"}
	for _, result := range []error{nil, errNoSync} {
		for _, more := range []bool{false, true} { // something waits behind
			t.Run(fmt.Sprintf("%v,%v", result, more), func(t *testing.T) {
				h := newHeldSync()
				db := openTest(t, Options{noBackground: true, walHook: h.hook})
				first := appendHeld(db, h, dedupBatch("a", e))
				var behind *commitGroup
				var err error
				if more {
					if behind, _, err = db.enqueue(t.Context(), dedupBatch("b", e)); err != nil || behind == nil {
						t.Fatal(behind, err)
					}
				}
				g, stored, err := db.enqueue(t.Context(), dedupBatch("a", e))
				if err != nil || stored || g == nil {
					t.Errorf("the second Append gets group %v, stored %v, error %v; want a group to wait for", g, stored, err)
				} else if more && g != behind {
					t.Error("the second Append waits for another group than the last")
				}
				h.result <- result
				if err := <-first; !errors.Is(err, result) {
					t.Errorf("first: %v", err)
				}
				if g != nil {
					if <-g.done; !errors.Is(g.err, result) {
						t.Errorf("second: %v, want %v", g.err, result)
					}
				}
				// What failed counts no more, what is there does.
				must(t, db.Append(t.Context(), dedupBatch("a", e)))
				want := 1
				if more && result == nil {
					want = 2
				}
				if n := db.active.Entries(); n != int64(want) {
					t.Errorf("%d entries, want %d", n, want)
				}
				// All is durable: nothing to wait for.
				if g, _, err := db.enqueue(t.Context(), dedupBatch("a", e)); g != nil || err != nil {
					t.Errorf("a duplicate of a durable entry waits for %v, %v", g, err)
				}
			})
		}
	}
}

// TestFailureIsAtomic looks at the moment in which a failed group has been taken
// away: nobody may get the lock of the append path before the failed entries are
// forgotten.
func TestFailureIsAtomic(t *testing.T) {
	db := openTest(t, Options{noBackground: true})
	s := db.active.Stream(labels.FromStrings("app", "a"))
	es := []model.Entry{{Timestamp: 1, Line: "x"}}
	for range 200 {
		g := newCommitGroup()
		g.recs, g.batches = [][]byte{nil}, []pendingBatch{{streams: []pendingStream{{s, es}}}}
		db.appendMu.Lock()
		s.Announce(es)
		db.writing = g
		db.appendMu.Unlock()
		go db.failGroup(g, errNoSync)
		for gone := false; !gone; {
			db.appendMu.Lock()
			gone = db.writing == nil
			if left, err := s.DropDuplicates(es); gone && (err != nil || len(left) == 0) {
				t.Fatalf("a failed entry still counts as present: %v", err)
			}
			db.appendMu.Unlock()
		}
		<-g.done
	}
}

// TestRefusedBatchForgetsItself refuses a batch while another one of the same
// stream is being synced: it must take back its own entries, not the other's.
func TestRefusedBatchForgetsItself(t *testing.T) {
	h := newHeldSync()
	db := openTest(t, Options{noBackground: true, walHook: h.hook})
	one, two := model.Entry{Timestamp: 1, Line: "one"}, model.Entry{Timestamp: 2, Line: "two"}
	long := model.Entry{Timestamp: 1, Line: strings.Repeat("x", 100_000)} // seals a run
	must(t, db.Append(t.Context(), dedupBatch("old", long)))
	damageRun(t, db.active.Stream(labels.FromStrings("app", "old")))

	first := appendHeld(db, h, dedupBatch("a", one))
	refused := dedupBatch("a", two)
	refused.Streams = append(refused.Streams, dedupBatch("old", long).Streams...)
	if _, _, err := db.enqueue(t.Context(), refused); err == nil {
		t.Error("no error although what is held cannot be read")
	}
	again, stored, err := db.enqueue(t.Context(), dedupBatch("a", one, two))
	if err != nil || again == nil || !stored {
		t.Errorf("%v %v %v", again, stored, err)
	} else if got := again.batches[0].streams[0].entries; len(got) != 1 || got[0].Line != "two" {
		t.Errorf("entries %v are taken for new, want only the one that was refused", got)
	}
	h.result <- nil
	must(t, <-first)
	if again != nil {
		<-again.done
		must(t, again.err)
	}
}

// TestDamagedRunWhileAppending makes the search for duplicates fail: what the
// batch defined must be defined again, because its record is never written.
func TestDamagedRunWhileAppending(t *testing.T) {
	dir := testDir(t)
	db, err := Open(dir, Options{noBackground: true})
	must(t, err)
	var es []model.Entry
	for i := range 100 {
		es = append(es, model.Entry{Timestamp: int64(i), Line: strings.Repeat("x", 4000)})
	}
	must(t, db.Append(t.Context(), dedupBatch("old", es...)))
	damageRun(t, db.active.Stream(labels.FromStrings("app", "old")))

	one := model.Entry{Timestamp: 1, Line: "one"}
	b := dedupBatch("new", one)
	b.Streams = append(b.Streams, dedupBatch("old", es[0]).Streams...)
	if err := db.Append(t.Context(), b); err == nil {
		t.Fatal("no error although what is held cannot be read")
	}
	must(t, db.Append(t.Context(), dedupBatch("new", one)))
	must(t, db.Close())

	db, err = Open(dir, Options{noBackground: true})
	must(t, err)
	defer func() { must(t, db.Close()) }()
	streams, err := db.active.Select(t.Context(), []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "app", "new")})
	must(t, err)
	if len(streams) != 1 || streams[0].Entries() != 1 {
		t.Errorf("%d streams came back, want the one that was acknowledged", len(streams))
	}
}

// damageRun makes the first sealed run of a stream undecodable.
func damageRun(t *testing.T, s *head.Stream) {
	t.Helper()
	run := s.Snapshot(nil)[0]
	packed := reflect.ValueOf(&run).Elem().FieldByName("packed").Bytes()
	if len(packed) == 0 {
		t.Fatal("the run is not sealed")
	}
	for i := range packed {
		packed[i] = 0xff
	}
}
