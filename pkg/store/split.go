package store

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// SelectSplit is Select of an unordered request for n readers: each iterator
// gives a part of the rows, all together give what Select gives, from one moment.
// Each may be used by a goroutine of its own, and all must be closed. Rows of a
// stream are in order inside one iterator, not from one to the next.
func (db *DB) SelectSplit(ctx context.Context, req model.SelectRequest, n int) ([]model.BatchIterator, error) {
	v, src, err := db.open(ctx, req)
	if err != nil {
		return nil, err
	}
	shared := &sharedView{v: v}
	shared.left.Store(int64(n))
	out := make([]model.BatchIterator, n)
	for i := range out {
		own := src
		if i > 0 {
			own = src.clone()
		}
		r := newReader(own, req.Direction == model.Backward, req.TimesOnly, &db.opts)
		r.noLines, r.step = req.NoLines && len(own.needles) == 0, countStepOf(&req)
		r.divide(n)
		s := newScan(r, req.BatchRows)
		s.share, s.shares = uint64(i), uint64(n)
		out[i] = &splitIterator{BatchIterator: s, shared: shared}
	}
	return out, nil
}

// sharedView is closed with the last of its iterators.
type sharedView struct {
	v    *view
	left atomic.Int64
}

type splitIterator struct {
	model.BatchIterator
	shared *sharedView
	closed bool
}

// Close implements model.BatchIterator.
func (s *splitIterator) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	err := s.BatchIterator.Close()
	if s.shared.left.Add(-1) == 0 {
		err = errors.Join(err, s.shared.v.close())
	}
	return err
}

// clone returns the same sources for another goroutine, before anything has been
// read. What is read from them is counted anew.
func (s *sources) clone() *sources {
	c := *s
	c.table = s.table.clone()
	c.stats = &model.SelectStats{}
	c.parts = make([]*part, len(s.parts))
	for i, p := range s.parts {
		own := *p
		c.parts[i] = &own
	}
	return &c
}

func (t *streamTable) clone() *streamTable {
	c := &streamTable{labels: slices.Clone(t.labels), dirty: true, byHash: make(map[uint64][]uint32, len(t.byHash))}
	for h, ids := range t.byHash {
		c.byHash[h] = slices.Clone(ids)
	}
	return c
}

// ownTasks leaves only the tasks of this scan's share. Every scan of a split
// makes the same tasks; which share one belongs to follows from where its first
// part is stored, so that it does not matter if one scan meets damage that
// another has not seen.
func (s *scan) ownTasks(tasks [][]*part) [][]*part {
	return slices.DeleteFunc(tasks, func(t []*part) bool {
		p := t[0]
		return (p.order+p.order>>orderShift+uint64(p.id))%s.shares != s.share
	})
}
