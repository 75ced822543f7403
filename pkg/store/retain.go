package store

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
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

// Delete removes the entries of the streams that all matchers match, inside the
// range, that are in the store now. No reader sees them any more when it
// returns; their space is given back by compaction. At least one matcher is
// needed. Entries that arrive later are not concerned.
func (db *DB) Delete(ctx context.Context, matchers []*labels.Matcher, r model.TimeRange) error {
	if err := db.check(ctx); err != nil {
		return err
	}
	if len(matchers) == 0 {
		return &InvalidBatchError{Reason: "a delete request needs at least one matcher"}
	}
	if _, empty := closed(r); empty {
		return nil
	}
	// What is in memory has to become a block: only blocks have a number that
	// tells what was there before.
	if err := db.flush(ctx); err != nil {
		return err
	}
	d := deletion{Time: db.opts.Now().UTC(), Start: r.Start, End: r.End, parsed: slices.Clone(matchers)}
	for _, m := range matchers {
		d.Matchers = append(d.Matchers, deleteMatcher{Type: m.Type.String(), Name: strings.Clone(m.Name), Value: strings.Clone(m.Value)})
	}
	_, err := db.publish(nil, nil, func(m *manifest) error {
		d.ID = m.NextDeleteID
		d.MaxSeq = m.NextSeq - 1
		m.NextDeleteID++
		m.Deletes = append(m.Deletes, d)
		db.forgetDeletes(m, nil)
		return nil
	}, func() {})
	if err != nil {
		return err
	}
	wake(db.workKick)
	return nil
}
