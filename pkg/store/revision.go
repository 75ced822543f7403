package store

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/block"
)

// revisions remember when what was last changed, so that whoever keeps an answer
// can tell whether it is still right. Changes are numbered; a piece of time has
// the number of its last change.
//
// Appends are noted by minute, hour and day: a question about a range looks at
// few of them. A level that has become too large is emptied, and pieces that are
// not found there count as changed when the coarser piece around them did. So
// the memory is bounded, and a wrong answer can only be "changed". Removals are
// rare and noted as ranges.
type revisions struct {
	mu     sync.RWMutex
	clock  uint64
	base   uint64 // everything counts as changed at that time
	levels [3]revisionLevel
	gone   []goneRange
}

// revisionLevel has the number of the last append for each piece of width ns
// since the epoch.
type revisionLevel struct {
	width   int64
	last    map[int64]uint64
	emptied bool
}

// goneRange is a range in which something was removed.
type goneRange struct {
	closedRange
	clock uint64
}

const (
	// maxRevisions bounds the pieces of a level: eleven days of minutes, about
	// 600 KiB.
	maxRevisions = 16 << 10
	// maxGone bounds the ranges of removals.
	maxGone = 64
)

func newRevisions() *revisions {
	r := &revisions{}
	// A clock that another DB gave out must not look like one of this one.
	r.clock = rand.Uint64() >> 1
	r.base = r.clock
	for i, w := range [...]time.Duration{time.Minute, time.Hour, 24 * time.Hour} {
		r.levels[i] = revisionLevel{width: int64(w), last: map[int64]uint64{}}
	}
	return r
}

// appended notes entries that readers can see by now. It is called before the
// writers are answered: a reader that asks afterwards learns of the change.
func (r *revisions) appended(groups []pendingBatch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock++
	lo, hi, none := int64(0), int64(0), true // of the minute noted last
	for i := range groups {
		for _, s := range groups[i].streams {
			for j := range s.entries {
				t := s.entries[j].Timestamp
				if !none && t >= lo && t <= hi {
					continue
				}
				w := window(t, r.levels[0].width)
				lo, hi, none = w.lo, w.hi, false
				for l := range r.levels {
					r.levels[l].note(t, r.clock)
				}
			}
		}
	}
}

func (l *revisionLevel) piece(t int64) int64 {
	return floorDiv(t, l.width)
}

func floorDiv(a, b int64) int64 {
	k := a / b
	if a%b < 0 {
		k--
	}
	return k
}

func (l *revisionLevel) note(t int64, clock uint64) {
	if len(l.last) >= maxRevisions {
		clear(l.last)
		l.emptied = true
	}
	l.last[l.piece(t)] = clock
}

// removed notes that entries of a range are gone, or are back.
func (r *revisions) removed(rng closedRange) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock++
	r.gone = append(r.gone, goneRange{rng, r.clock})
	if len(r.gone) > maxGone {
		a, b := r.gone[0], r.gone[1]
		r.gone = append(r.gone[:0], r.gone[1:]...)
		r.gone[0] = goneRange{closedRange{min(a.lo, b.lo), max(a.hi, b.hi)}, b.clock}
	}
}

// published notes what an exchange of blocks and delete requests takes away:
// blocks without a successor are gone, and a delete request that comes or goes
// changes what is seen of its range. A compaction changes nothing.
func (r *revisions) published(gone, opened []*block.Block, before, after []deletion) {
	if len(opened) == 0 {
		for _, b := range gone {
			r.removed(closedRange{b.Meta.MinTime, b.Meta.MaxTime})
		}
	}
	r.deletesChanged(before, after)
	r.deletesChanged(after, before)
}

// deletesChanged notes the requests of one list that the other does not have.
func (r *revisions) deletesChanged(list, other []deletion) {
	known := map[uint64]bool{}
	for i := range other {
		known[other[i].ID] = true
	}
	for i := range list {
		if rng, empty := closed(list[i].timeRange()); !known[list[i].ID] && !empty {
			r.removed(rng)
		}
	}
}

// last returns the number of the last change in a range, under mu.
func (r *revisions) last(rng closedRange) uint64 {
	out := r.base
	for i := range r.gone {
		if g := &r.gone[i]; g.overlaps(rng.lo, rng.hi) {
			out = max(out, g.clock)
		}
	}
	return max(out, r.lastAppend(rng, len(r.levels)-1))
}

// lastAppend returns the number of the last append in a range, by the whole
// pieces of a level inside it and by those of finer levels at its ends.
func (r *revisions) lastAppend(rng closedRange, level int) uint64 {
	l := &r.levels[level]
	if level == 0 {
		return r.pieces(l.piece(rng.lo), l.piece(rng.hi), level)
	}
	first, last := window(rng.lo, l.width), window(rng.hi, l.width)
	if first == last && (rng.lo != first.lo || rng.hi != first.hi) {
		return r.lastAppend(rng, level-1)
	}
	out := uint64(0)
	from, to := l.piece(rng.lo), l.piece(rng.hi)
	if rng.lo != first.lo {
		out = r.lastAppend(closedRange{rng.lo, first.hi}, level-1)
		from++
	}
	if rng.hi != last.hi {
		out = max(out, r.lastAppend(closedRange{last.lo, rng.hi}, level-1))
		to--
	}
	return max(out, r.pieces(from, to, level))
}

// pieces returns the number of the last append in the pieces from to to.
func (r *revisions) pieces(from, to int64, level int) uint64 {
	l := &r.levels[level]
	out := uint64(0)
	if from > to {
		return out
	}
	if uint64(to-from) > uint64(len(l.last)) { // of years, few can be known
		for k, clock := range l.last {
			if k >= from && k <= to {
				out = max(out, clock)
			}
		}
		if l.emptied {
			return r.clock
		}
		return out
	}
	for k := from; k <= to; k++ {
		clock, ok := l.last[k]
		switch {
		case ok:
		case !l.emptied:
			continue
		case level+1 == len(r.levels):
			return r.clock
		default:
			around := floorDiv(k, r.levels[level+1].width/l.width)
			clock = r.pieces(around, around, level+1)
		}
		out = max(out, clock)
	}
	return out
}

// Clock returns the number of the last change of what readers see, for
// ChangedSince.
func (db *DB) Clock() uint64 {
	r := db.revisions
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.clock
}

// ChangedSince says whether an entry of a range may have come or gone since the
// clock was read. It is false only if a Select of the range gives now what it
// gave then. It always says so of a range that the retention has begun to hide.
func (db *DB) ChangedSince(clock uint64, rng model.TimeRange) bool {
	c, empty := closed(rng)
	if empty {
		return false
	}
	if ret := db.opts.Retention; ret > 0 && c.lo < db.opts.Now().Add(-ret).UnixNano() {
		return true
	}
	r := db.revisions
	r.mu.RLock()
	defer r.mu.RUnlock()
	return clock > r.clock || clock < r.base || r.last(c) > clock
}

// ChangesSince returns in which spans of time entries may have come or gone since
// the clock was read, and the clock as it is now. It is false when that is not
// known: then everything may have changed. What the retention hides is not part
// of it.
func (db *DB) ChangesSince(clock uint64) (now uint64, spans []model.Span, ok bool) {
	r := db.revisions
	r.mu.RLock()
	defer r.mu.RUnlock()
	if clock > r.clock || clock < r.base {
		return r.clock, nil, false
	}
	for i := range r.gone {
		if g := &r.gone[i]; g.clock > clock {
			spans = append(spans, model.Span{Min: g.lo, Max: g.hi})
		}
	}
	level := 0
	for level < len(r.levels) && r.levels[level].emptied {
		level++
	}
	if level == len(r.levels) {
		return r.clock, nil, false
	}
	l := &r.levels[level]
	for k, at := range l.last {
		if at > clock {
			inside := k * l.width
			if k < 0 { // the piece may begin before the first timestamp
				inside = (k+1)*l.width - 1
			}
			w := window(inside, l.width)
			spans = append(spans, model.Span{Min: w.lo, Max: w.hi})
		}
	}
	if len(spans) > 0 {
		spans = joinSpans(spans)
	}
	return r.clock, spans, true
}
