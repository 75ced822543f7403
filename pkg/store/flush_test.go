package store

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// TestEmptyStreamsFillHead fails batches of ever new streams until the head is
// full of streams without entries: a flush must make room.
func TestEmptyStreamsFillHead(t *testing.T) {
	var bad atomic.Bool
	db := openTest(t, Options{MemoryLimit: 16 << 20, noBackground: true, walHook: func(string) error {
		if bad.Load() {
			return errors.New("no space")
		}
		return nil
	}})
	e := model.Entry{Timestamp: 1, Line: "x"}
	bad.Store(true)
	for n := 0; db.active.Bytes() < db.opts.headLimit(); n++ {
		if err := db.Append(t.Context(), dedupBatch(fmt.Sprint("s", n), e)); err == nil {
			t.Fatal("no error although the log cannot be written")
		}
	}
	bad.Store(false)
	must(t, db.Flush(t.Context()))
	if n := db.active.Bytes(); n != 0 {
		t.Fatalf("the head has %d bytes after a flush", n)
	}
	must(t, db.Append(t.Context(), dedupBatch("s0", e)))
	if n := len(allRows(t, db)); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

// TestFlushAfterClose lets a Flush that has passed its first check find the
// database closed.
func TestFlushAfterClose(t *testing.T) {
	db, err := Open(testDir(t), Options{noBackground: true})
	must(t, err)
	must(t, db.Append(t.Context(), dedupBatch("a", model.Entry{Timestamp: 1, Line: "x"})))
	must(t, db.Close())
	if err := db.flush(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("error %v, want %v", err, ErrClosed)
	}
}
