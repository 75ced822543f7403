package store

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// TestSelectSplit checks that the parts of a split, read at the same time while
// the store goes on changing, are together what one reader gives, and count the
// same work.
func TestSelectSplit(t *testing.T) {
	t.Parallel()
	for _, seed := range []uint64{21, 22} {
		h := newHarness(t, seed)
		steps := 150
		if testing.Short() {
			steps = 50
		}
		several := 0
		for i := range steps {
			h.step(i)
			if i%5 != 0 {
				continue
			}
			req := model.SelectRequest{
				Matchers: h.matchers(), Range: h.timeRange(), Direction: model.Direction(h.IntN(2)), Unordered: true,
				TimesOnly: h.IntN(4) == 0, BatchRows: h.IntN(3) * 7,
			}
			if h.IntN(4) == 0 && !req.TimesOnly {
				req.Contains = []string{`"level":"error"`}
			}
			it, err := h.db.Select(context.Background(), req)
			h.must(err)
			want := sorted(collect(t, it, 0, req.TimesOnly))
			stats := it.Stats()
			h.must(it.Close())

			its, err := h.db.SelectSplit(context.Background(), req, 1+h.IntN(4))
			h.must(err)
			// What comes later is in none of the parts.
			h.must(h.db.Append(context.Background(), h.laterBatch()))
			if i%25 == 0 {
				h.must(h.db.Flush(context.Background()))
				h.want.inHead = 0
			}
			rows := make([][]row, len(its))
			var wg sync.WaitGroup
			for j, it := range its {
				wg.Go(func() { rows[j] = collect(t, it, 0, req.TimesOnly) })
			}
			wg.Wait()
			var got []row
			var sum model.SelectStats
			for j, it := range its {
				sum.Add(it.Stats())
				h.must(it.Close())
				h.must(it.Close())
				if len(rows[j]) > 0 && len(rows[j]) < len(want) {
					several++
				}
				got = append(got, rows[j]...)
			}
			diffRows(t, "split", sorted(got), want)
			if h.opts.readerBytes > 0 {
				// Each of them has less memory, and decodes more often.
				sum.Lines, sum.Bytes, sum.CompressedBytes = stats.Lines, stats.Bytes, stats.CompressedBytes
			}
			if sum != stats {
				t.Fatalf("seed %d: the parts count %+v, the whole %+v", seed, sum, stats)
			}
		}
		if several == 0 {
			t.Error("nothing was ever divided")
		}
	}
}

// laterBatch is a batch that the naive model knows too.
func (h *harness) laterBatch() *model.Batch {
	b := h.batch()
	h.want.append(b)
	return b
}

// sorted puts rows in an order that does not depend on how they were read.
func sorted(rows []row) []row {
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(compareInt64(a.ts, b.ts), labels.Compare(a.ls, b.ls), strings.Compare(a.line, b.line), labels.Compare(a.md, b.md))
	})
	return rows
}
