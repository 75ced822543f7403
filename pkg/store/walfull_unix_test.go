//go:build unix

package store

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/logstack-dev/kubectl-logstack/pkg/testutil/emulate"
)

// TestDiskFullWAL lets the system refuse to make the log's file longer, in the
// middle of a write: the batch is refused as a whole, and appending works again
// when there is space.
func TestDiskFullWAL(t *testing.T) {
	// In a process of its own: the limit counts for all files of a process, the
	// log of `go test` among them.
	const alone = "LOGSTACK_TEST_FILE_LIMIT"
	if os.Getenv(alone) == "" {
		cmd := emulate.Command(os.Args[0], os.Args[0], "-test.run=^TestDiskFullWAL$")
		cmd.Env = append(os.Environ(), alone+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	dir := testDir(t)
	db, err := Open(dir, crashOptions(nil))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var limit unix.Rlimit
	must(unix.Getrlimit(unix.RLIMIT_FSIZE, &limit))
	setLimit := func(n uint64) {
		t.Helper()
		must(unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: min(n, limit.Max), Max: limit.Max}))
	}
	defer setLimit(limit.Cur)

	rows := 0
	for round := range 5 {
		must(db.Append(ctx, entriesFrom("a", rows, 100, testStart)))
		rows += 100
		st, err := os.Stat(filepath.Join(dir, walDir, segmentName(db.wal.Segment())))
		must(err)
		// Room for a part of the next record only.
		setLimit(uint64(st.Size()) + uint64(50+round*400))
		for range 3 {
			var df *DiskFullError
			if err := db.Append(ctx, entriesFrom("big", 0, 5000, testStart)); !errors.As(err, &df) {
				t.Fatalf("Append to a full disk gave %v", err)
			}
		}
		if !db.Status().DiskFull {
			t.Error("the status does not say that the disk is full")
		}
		if n := len(allRows(t, db)); n != rows {
			t.Fatalf("%d rows while the disk is full, want %d", n, rows)
		}
		setLimit(limit.Cur)
	}
	must(db.Append(ctx, entriesFrom("a", rows, 1, testStart)))
	rows++
	if db.Status().DiskFull {
		t.Error("the status says that the disk is full although it is not")
	}
	for range 2 { // the second time after a flush
		must(db.Close())
		db, err = Open(dir, crashOptions(nil))
		must(err)
		if n := len(allRows(t, db)); n != rows {
			t.Fatalf("%d rows after a restart, want %d", n, rows)
		}
		if s := db.Status(); s.WALDamage != 0 {
			t.Errorf("damage after a restart: %+v", s)
		}
		must(db.Flush(ctx))
	}
	must(db.Close())
}
