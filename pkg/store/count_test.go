package store

import (
	"context"
	"math"
	"math/big"
	"testing"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// TestCountPieces compares pieces with numbers that do not overflow.
func TestCountPieces(t *testing.T) {
	times := []int64{math.MinInt64, math.MinInt64 + 1, -1001, -1000, -1, 0, 1, 999, 1000, 1001, math.MaxInt64 - 1, math.MaxInt64}
	for _, width := range []int64{1, 2, 7, 1000, math.MaxInt64} {
		for _, from := range times {
			for _, x := range times {
				got := countStep{width, from}.piece(x)
				w := big.NewInt(width)
				k := new(big.Int).Sub(big.NewInt(x), big.NewInt(from))
				k.Div(k, w) // rounds down
				lo := k.Mul(k, w).Add(k, big.NewInt(from))
				hi := new(big.Int).Add(lo, big.NewInt(width-1))
				want := closedRange{math.MinInt64, math.MaxInt64}
				if lo.IsInt64() {
					want.lo = lo.Int64()
				}
				if hi.IsInt64() {
					want.hi = hi.Int64()
				}
				if got != want {
					t.Fatalf("piece of %d from %d in steps of %d is %v, want %v", x, from, width, got, want)
				}
			}
		}
	}
}

// TestCountUnopened counts what lies in one piece without a look into the chunk
// blocks.
func TestCountUnopened(t *testing.T) {
	d := newDeleteTest(t, 0)
	ctx := context.Background()
	count := func(req model.SelectRequest) (entries, rows int, read int64) {
		t.Helper()
		req.Unordered, req.TimesOnly = true, true
		before := d.reads()
		it, err := d.db.Select(ctx, req)
		d.must(err)
		for {
			b, err := it.Next(ctx)
			if err != nil {
				break
			}
			for i := range b.Timestamps {
				rows++
				if b.Counts == nil {
					entries++
				} else {
					entries += int(b.Counts[i])
				}
			}
		}
		if n := it.Stats().Lines; n != int64(entries) {
			t.Errorf("the statistics have %d lines, want %d", n, entries)
		}
		d.must(it.Close())
		return entries, rows, d.reads() - before
	}
	all := model.SelectRequest{Range: model.AllTime(), CountStep: math.MaxInt64 / 2}
	if entries, rows, read := count(all); entries != 300 || rows != 3 || read != 0 {
		t.Errorf("%d entries in %d rows with %d reads, want 300, 3 and none", entries, rows, read)
	}
	all.CountStep, all.CountFrom = 10e9, testStart.UnixNano()
	if entries, rows, read := count(all); entries != 300 || rows != 30 || read == 0 {
		t.Errorf("%d entries in %d rows with %d reads, want 300, 30 and some", entries, rows, read)
	}
	d.delete("7 of a", 0, 30*time.Minute) // 10 of the first block
	d.delete("", 2*time.Hour, 2*time.Hour+50*time.Second)
	all.CountStep = math.MaxInt64 / 2
	if entries, rows, read := count(all); entries != 240 || rows != 3 || read == 0 {
		t.Errorf("%d entries in %d rows with %d reads after deletes, want 240, 3 and some", entries, rows, read)
	}
	for _, x := range d.db.DeleteRequests() {
		d.must(d.db.CancelDelete(ctx, x.ID, false))
	}
	all.CountStep = 0
	if entries, rows, _ := count(all); entries != 300 || rows != 300 {
		t.Errorf("%d entries in %d rows, want 300 of each", entries, rows)
	}
}
