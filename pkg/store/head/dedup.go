package head

import (
	"strings"

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
	seen, err := s.seen(lo, hi)
	if err != nil {
		return nil, err
	}
	out := es
	dropped := false
	for i := range es {
		if !seen.add(&es[i]) {
			if !dropped {
				out = append(make([]model.Entry, 0, len(es)), es[:i]...)
				dropped = true
			}
			continue
		}
		if dropped {
			out = append(out, es[i])
		}
	}
	return out, nil
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

// seenSet finds equal entries. Lines are compared in full: a hash collision
// must not lose an entry.
type seenSet map[seenKey][]model.Entry

type seenKey struct {
	time int64
	hash uint64
}

// add returns false when an equal entry is there already.
func (m seenSet) add(e *model.Entry) bool {
	k := seenKey{e.Timestamp, xxhash.Sum64String(e.Line)}
	for _, o := range m[k] {
		if o.Line == e.Line && labels.Equal(o.Metadata, e.Metadata) {
			return false
		}
	}
	m[k] = append(m[k], *e)
	return true
}

// seen collects what the stream holds between two timestamps, both included.
func (s *Stream) seen(lo, hi int64) (seenSet, error) {
	m := seenSet{}
	// Pending entries first: what becomes part of a run in between is then seen
	// twice rather than not at all. They are cloned because their memory belongs
	// to a writer that goes on as soon as they are added.
	s.mu.Lock()
	for _, p := range s.pending {
		for i := range p {
			if t := p[i].Timestamp; t >= lo && t <= hi {
				e := model.Entry{Timestamp: t, Line: strings.Clone(p[i].Line), Metadata: cloneLabels(p[i].Metadata)}
				m.add(&e)
			}
		}
	}
	s.mu.Unlock()
	for _, r := range s.Snapshot(nil) {
		if r.Max < lo || r.Min > hi {
			continue
		}
		var text []byte
		for i, t := range r.Times {
			if t < lo || t > hi {
				continue
			}
			if text == nil {
				var err error
				if text, _, err = r.Text(nil); err != nil {
					return nil, err
				}
			}
			e := model.Entry{Timestamp: t, Line: r.Line(text, i)}
			if r.Meta != nil {
				e.Metadata = r.Meta[i]
			}
			m.add(&e)
		}
	}
	return m, nil
}
