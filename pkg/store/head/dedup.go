package head

import (
	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// DropDuplicates returns es without the entries that are identical (timestamp,
// line and metadata) to one that the stream holds, that is being made durable,
// or that stands earlier in es. It returns es itself when there are none, which
// is decided without looking at text as long as timestamps grow.
func (s *Stream) DropDuplicates(es []model.Entry) ([]model.Entry, error) {
	if len(es) == 0 {
		return es, nil
	}
	newest, some := s.newest()
	lo, hi, suspects := es[0].Timestamp, es[0].Timestamp, false
	last := newest
	for i := range es {
		t := es[i].Timestamp
		if some && t <= last {
			suspects = true
		}
		if !some || t > last {
			last, some = t, true
		}
		lo, hi = min(lo, t), max(hi, t)
	}
	if !suspects {
		return es, nil
	}
	c := newCandidates(es)
	c.dropPending(s)
	if err := c.dropHeld(s, lo, hi); err != nil {
		return nil, err
	}
	return c.left(), nil
}

// newest is the largest timestamp held or pending.
func (s *Stream) newest() (t int64, some bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, some = s.max, s.entries.Load() > 0
	for _, p := range s.pending {
		for i := range p {
			if !some || p[i].Timestamp > t {
				t, some = p[i].Timestamp, true
			}
		}
	}
	return t, some
}

// candidates are the entries of a batch on the way in, found by what they hold.
// The held entries are walked past them, one run at a time: a batch whose
// timestamps span the whole head then costs the memory of the batch and of one
// run, not of the head. Lines are compared in full: a hash collision must not
// lose an entry.
type candidates struct {
	es    []model.Entry
	drop  []bool
	n     int // dropped
	times map[int64]struct{}
	byKey map[entryKey][]int // first ones of equal entries
}

type entryKey struct {
	time int64
	hash uint64
}

func keyOf(t int64, line string) entryKey { return entryKey{t, xxhash.Sum64String(line)} }

// newCandidates drops what is equal to an earlier entry of the batch.
func newCandidates(es []model.Entry) *candidates {
	c := &candidates{es: es, drop: make([]bool, len(es)), times: make(map[int64]struct{}, len(es)), byKey: make(map[entryKey][]int, len(es))}
	for i := range es {
		e := &es[i]
		c.times[e.Timestamp] = struct{}{}
		k := keyOf(e.Timestamp, e.Line)
		if c.find(k, e.Line, e.Metadata) >= 0 {
			c.drop[i] = true
			c.n++
			continue
		}
		c.byKey[k] = append(c.byKey[k], i)
	}
	return c
}

// find returns the index of an equal candidate, -1 if there is none.
func (c *candidates) find(k entryKey, line string, metadata labels.Labels) int {
	for _, i := range c.byKey[k] {
		if c.es[i].Line == line && labels.Equal(c.es[i].Metadata, metadata) {
			return i
		}
	}
	return -1
}

// exists drops the candidate that is equal to an entry which is there already.
func (c *candidates) exists(t int64, line string, metadata labels.Labels) {
	if i := c.find(keyOf(t, line), line, metadata); i >= 0 && !c.drop[i] {
		c.drop[i] = true
		c.n++
	}
}

// dropPending compares with entries that are being made durable. It comes before
// dropHeld: what becomes part of a run in between is then seen twice rather than
// not at all.
func (c *candidates) dropPending(s *Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pending {
		for i := range p {
			if _, wanted := c.times[p[i].Timestamp]; wanted {
				c.exists(p[i].Timestamp, p[i].Line, p[i].Metadata)
			}
		}
	}
}

// dropHeld compares with what the stream holds between two timestamps, both
// included. Runs without a wanted timestamp are not decompressed.
func (c *candidates) dropHeld(s *Stream, lo, hi int64) error {
	var buf []byte
	for _, r := range s.Snapshot(nil) {
		if r.Max < lo || r.Min > hi {
			continue
		}
		var text []byte
		read := false
		for i, t := range r.Times {
			if _, wanted := c.times[t]; !wanted {
				continue
			}
			if !read {
				var err error
				if text, buf, err = r.Text(buf); err != nil {
					return err
				}
				read = true
			}
			var metadata labels.Labels
			if r.Meta != nil {
				metadata = r.Meta[i]
			}
			c.exists(t, r.Line(text, i), metadata)
		}
	}
	return nil
}

// left returns the entries that stay: es itself when nothing was dropped.
func (c *candidates) left() []model.Entry {
	if c.n == 0 {
		return c.es
	}
	out := make([]model.Entry, 0, len(c.es)-c.n)
	for i := range c.es {
		if !c.drop[i] {
			out = append(out, c.es[i])
		}
	}
	return out
}
