package store

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/logstack-dev/kubectl-logstack/pkg/store/block"
)

// everything is the range of all timestamps.
var everything = closedRange{math.MinInt64, math.MaxInt64}

// retain removes the blocks that are older than the retention, and the oldest
// ones while the files are larger than the disk limit.
func (db *DB) retain(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	db.compactMu.Lock()
	defer db.compactMu.Unlock()
	db.mu.RLock()
	blocks := slices.Clone(db.blocks)
	db.mu.RUnlock()
	old := map[string]bool{}
	if db.opts.Retention > 0 {
		limit := db.opts.Now().Add(-db.opts.Retention).UnixNano()
		for _, b := range blocks {
			if b.Meta.MaxTime < limit {
				old[b.Meta.ID] = true
			}
		}
	}
	if db.opts.MaxDiskBytes > 0 {
		db.oldestBeyond(blocks, old)
	}
	if len(old) == 0 {
		return nil
	}
	_, err := db.publish(nil, old, func(m *manifest) error {
		db.forgetDeletes(m, nil)
		return nil
	}, func() {})
	if err != nil {
		return fmt.Errorf("store: remove old blocks: %w", err)
	}
	db.metrics.blocksRetained.Add(float64(len(old)))
	db.log.Info("old blocks removed", "blocks", len(old))
	return nil
}

// oldestBeyond adds the oldest blocks to old until the rest fits the disk limit.
func (db *DB) oldestBeyond(blocks []*block.Block, old map[string]bool) {
	slices.SortFunc(blocks, func(a, b *block.Block) int { return compareInt64(a.Meta.MaxTime, b.Meta.MaxTime) })
	total := db.wal.Size()
	for _, b := range blocks {
		if !old[b.Meta.ID] {
			total += b.DiskBytes()
		}
	}
	for _, b := range blocks {
		if total <= db.opts.MaxDiskBytes {
			return
		}
		if !old[b.Meta.ID] {
			old[b.Meta.ID] = true
			total -= b.DiskBytes()
		}
	}
}
