package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/vfs"
)

// TestIdentifierFilters looks for identifiers in large chunk blocks, before and
// after compaction, and with damaged filters.
func TestIdentifierFilters(t *testing.T) {
	ctx := context.Background()
	rng := rand.New(rand.NewPCG(1, 9))
	dir, fsys := testDir(t), vfs.NewMem()
	o := crashOptions(fsys)
	db, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var ids []string
	for k := range 3 { // blocks, each with a chunk block of two apps
		for _, app := range []string{"a", "b"} {
			s := model.StreamEntries{Labels: labels.FromStrings("app", app)}
			for i := range 2000 {
				id := fmt.Sprintf("%08x-%04x-4000-8000-%012x", rng.Uint32(), rng.IntN(1<<16), rng.Uint64()>>16)
				if i%100 == 0 {
					ids = append(ids, id)
				}
				s.Entries = append(s.Entries, model.Entry{
					Timestamp: testStart.UnixNano() + int64(k*2000+i)*1e6,
					Line:      fmt.Sprintf("request %s took %dms: %0200d", id, i%77, i),
				})
			}
			if err := db.Append(ctx, &model.Batch{Streams: []model.StreamEntries{s}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	find := func(when, id string, want int, quick bool) {
		t.Helper()
		it, err := db.Select(ctx, model.SelectRequest{Range: model.AllTime(), Contains: []string{id}})
		if err != nil {
			t.Fatal(err)
		}
		rows := collect(t, it, 0, false)
		if len(rows) != want {
			t.Errorf("%s: %d rows have %s, want %d", when, len(rows), id, want)
		}
		if s := it.Stats(); quick && s.ChunkBlocks-s.ChunkBlocksSkipped > want+1 {
			t.Errorf("%s: %s was looked for in %d of %d chunk blocks", when, id, s.ChunkBlocks-s.ChunkBlocksSkipped, s.ChunkBlocks)
		}
	}
	all := func(when string, quick bool) {
		t.Helper()
		for _, id := range ids {
			find(when, id, 1, quick)
		}
		find(when, "01234567-89ab-4000-8000-0123456789ab", 0, quick)
		find(when, "0123456789abcdef0123456789abcdef", 0, quick)
	}
	all("flushed", true)
	before := db.Status().Blocks
	if err := db.maintain(ctx); err != nil {
		t.Fatal(err)
	}
	if db.Status().Blocks >= before {
		t.Fatal("nothing was compacted")
	}
	all("compacted", true)
	path := filepath.Join(db.blocks[0].Dir(), "filter")
	for at, noted := range map[int]bool{-3: true, 100: false} { // the table, and a filter
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		b, err := vfs.ReadFile(fsys, path)
		if err != nil {
			t.Fatal(err)
		}
		b[(at+len(b))%len(b)] ^= 1
		if err := vfs.WriteFile(fsys, path, b); err != nil {
			t.Fatal(err)
		}
		if db, err = Open(dir, o); err != nil {
			t.Fatal(err)
		}
		all("damaged", false)
		if n := len(db.Status().LastErrors); noted != (n > 0) {
			t.Errorf("%d errors are noted, want some: %v", n, noted)
		}
		b[(at+len(b))%len(b)] ^= 1
		if err := vfs.WriteFile(fsys, path, b); err != nil {
			t.Fatal(err)
		}
	}
}
