package peers

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// maxAhead is how many parts are opened at peers ahead of their turn: those work
// while others are read.
const maxAhead = 8

// partQueue are the parts that chains share: each is read by one of them.
type partQueue struct {
	mu     sync.Mutex
	parts  []part
	chains int // that have not been closed
}

func (q *partQueue) take() (part, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.parts) == 0 {
		return part{}, false
	}
	first := q.parts[0]
	q.parts = q.parts[1:]
	return first, true
}

// leave closes with the last chain what nobody has read.
func (q *partQueue) leave() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.chains--; q.chains > 0 {
		return nil
	}
	var errs []error
	for _, p := range q.parts {
		if p.ahead != nil {
			errs = append(errs, p.ahead.Close())
		}
	}
	q.parts = nil
	return errors.Join(errs...)
}

// chains divides the parts of a plan among n readers: the local ones first, each
// in n pieces, while the peers prepare theirs.
func (p *plan) chains(ctx context.Context, n int) []model.BatchIterator {
	q := &partQueue{chains: n}
	var later []part
	for _, pt := range p.parts {
		switch {
		case pt.from == nil:
			later = append(later, pt)
		case pt.from.peer != nil:
			if len(later) < maxAhead {
				pt.ahead = p.s.selectFrom(ctx, pt.from.peer, pt.req)
			}
			later = append(later, pt)
		case n == 1:
			q.parts = append(q.parts, pt)
		default:
			q.parts = append(q.parts, p.s.splitLocal(ctx, pt, n)...)
		}
	}
	q.parts = append(q.parts, later...)
	out := make([]model.BatchIterator, n)
	for i := range out {
		out[i] = &chain{q: q}
	}
	return out
}

// splitLocal divides a part of the local store into n.
func (s *Store) splitLocal(ctx context.Context, pt part, n int) []part {
	split := sync.OnceValues(func() ([]model.BatchIterator, error) { return s.local.SelectSplit(ctx, pt.req, n) })
	out := make([]part, n)
	for i := range out {
		out[i] = pt
		out[i].open = func(context.Context) (model.BatchIterator, error) {
			its, err := split()
			if err != nil {
				return nil, err
			}
			return its[i], nil
		}
	}
	return out
}

// chain hands out the rows of parts, one part after the other.
type chain struct {
	q      *partQueue
	closed bool
	table  streamTable
	it     model.BatchIterator
	keep   func(labels.Labels) bool
	trans  translation
	kept   []bool // by stream of the part
	out    model.EntryBatch
	stats  model.SelectStats
	err    error
}

// Next implements model.BatchIterator.
func (c *chain) Next(ctx context.Context) (*model.EntryBatch, error) {
	for c.err == nil {
		if c.it == nil {
			p, ok := c.q.take()
			if !ok {
				c.err = io.EOF
				break
			}
			if c.it = p.ahead; c.it == nil {
				if c.it, c.err = p.open(ctx); c.err != nil {
					c.it = nil
					break
				}
			}
			c.keep, c.trans, c.kept = p.keep, translation{}, nil
		}
		b, err := c.it.Next(ctx)
		if errors.Is(err, io.EOF) {
			c.stats.Add(c.it.Stats())
			err = c.it.Close()
			c.it, c.err = nil, err
			continue
		}
		if err != nil {
			c.err = err
			break
		}
		if out := c.pass(b); out != nil {
			return out, nil
		}
	}
	return nil, c.err
}

// pass translates a batch, and leaves out streams that are not wanted.
func (c *chain) pass(b *model.EntryBatch) *model.EntryBatch {
	all := true
	for i := len(c.kept); i < len(b.Streams); i++ {
		c.kept = append(c.kept, c.keep(b.Streams[i]))
	}
	c.trans.grow(&c.table, b.Streams)
	c.out.Reset()
	out := &c.out
	for _, id := range b.StreamIndex {
		all = all && c.kept[id]
		out.StreamIndex = append(out.StreamIndex, c.trans.ids[id])
	}
	if all {
		whole := *b
		whole.StreamIndex, whole.Streams = out.StreamIndex, c.table.labels
		return &whole
	}
	out.StreamIndex = out.StreamIndex[:0]
	for i, id := range b.StreamIndex {
		if !c.kept[id] {
			continue
		}
		out.StreamIndex = append(out.StreamIndex, c.trans.ids[id])
		out.Timestamps = append(out.Timestamps, b.Timestamps[i])
		if len(b.Lines) > 0 {
			out.Lines = append(out.Lines, b.Lines[i])
		}
		if len(b.Metadata) > 0 {
			out.Metadata = append(out.Metadata, b.Metadata[i])
		}
		if len(b.Counts) > 0 {
			out.Counts = append(out.Counts, b.Counts[i])
		}
	}
	if len(out.Timestamps) == 0 {
		return nil
	}
	res := *out
	res.Streams = c.table.labels
	if len(b.Lines) == 0 {
		res.Lines = nil
	}
	if len(b.Metadata) == 0 {
		res.Metadata = nil
	}
	if len(b.Counts) == 0 {
		res.Counts = nil
	}
	return &res
}

// Stats implements model.BatchIterator.
func (c *chain) Stats() model.SelectStats {
	sum := c.stats
	if c.it != nil {
		sum.Add(c.it.Stats())
	}
	return sum
}

// Close implements model.BatchIterator.
func (c *chain) Close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	if c.err == nil {
		c.err = io.EOF
	}
	var err error
	if c.it != nil {
		c.stats.Add(c.it.Stats())
		err = c.it.Close()
		c.it = nil
	}
	return errors.Join(err, c.q.leave())
}
