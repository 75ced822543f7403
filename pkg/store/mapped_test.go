package store

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/block"
	"github.com/logstack-dev/kubectl-logstack/pkg/vfs"
)

// mapsFS notes which files are mapped.
type mapsFS struct {
	vfs.FS
	mapped []string
}

func (m *mapsFS) Map(name string) (vfs.Mapping, error) {
	m.mapped = append(m.mapped, filepath.Base(name))
	return m.FS.Map(name)
}

// TestChunksAreNotMapped: what grows with the lines is read and never mapped. A
// 32-bit machine has addresses for two or three gigabytes, and a volume of ten.
func TestChunksAreNotMapped(t *testing.T) {
	fsys := &mapsFS{FS: vfs.OS}
	db := openTest(t, Options{FS: fsys, noBackground: true})
	for round := range 3 {
		b := &model.Batch{Streams: []model.StreamEntries{{Labels: labels.FromStrings("app", "a")}}}
		for i := range 200 {
			b.Streams[0].Entries = append(b.Streams[0].Entries, model.Entry{
				Timestamp: 1e18 + int64(round*200+i), Line: fmt.Sprintf("request %032x %s", i*7919, strings.Repeat("x", i)),
			})
		}
		must(t, db.Append(context.Background(), b))
		must(t, db.Flush(context.Background()))
	}
	if _, err := db.compactOnce(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := len(allRows(t, db)); got != 600 {
		t.Fatalf("%d rows, want 600", got)
	}
	if len(fsys.mapped) == 0 {
		t.Fatal("no file was mapped: does this test still see what the store does?")
	}
	for _, name := range fsys.mapped {
		if !slices.Contains([]string{block.IndexFile, block.DirectoryFile, block.FilterFile}, name) {
			t.Errorf("%s is mapped", name)
		}
	}
}
