package store

import (
	"math"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// countStep divides time into pieces whose entries may be counted together. The
// zero value is none.
type countStep struct{ width, from int64 }

func countStepOf(req *model.SelectRequest) countStep {
	if !req.Unordered || !req.TimesOnly || req.CountStep <= 0 {
		return countStep{}
	}
	return countStep{req.CountStep, req.CountFrom}
}

// piece returns the piece that t lies in, cut off at the ends of time.
func (c countStep) piece(t int64) closedRange {
	w := uint64(c.width)
	var behind uint64 // from the beginning of the piece to t
	if t >= c.from {
		behind = (uint64(t) - uint64(c.from)) % w
	} else if r := (uint64(c.from) - uint64(t)) % w; r > 0 {
		behind = w - r
	}
	p := closedRange{math.MinInt64, math.MaxInt64}
	if behind <= uint64(t)-1<<63 { // t above MinInt64
		p.lo = int64(uint64(t) - behind)
	}
	if ahead := w - 1 - behind; ahead <= math.MaxInt64-uint64(t) {
		p.hi = int64(uint64(t) + ahead)
	}
	return p
}

// counter collects rows of a batch.
type counter struct {
	b     *model.EntryBatch
	step  countStep
	at    closedRange // the piece of the last row
	total int
}

// add counts n entries of a stream that lie in one piece.
func (c *counter) add(id uint32, t int64, n int) {
	c.total += n
	if k := len(c.b.Timestamps) - 1; k >= 0 && c.b.StreamIndex[k] == id && c.at.contains(t) {
		c.b.Counts[k] += uint32(n)
		return
	}
	c.at = c.step.piece(t)
	c.b.StreamIndex = append(c.b.StreamIndex, id)
	c.b.Timestamps = append(c.b.Timestamps, t)
	c.b.Counts = append(c.b.Counts, uint32(n))
}

// countRows counts rows of a run of the head.
func (s *scan) countRows(rows []rowRef) {
	c := counter{b: &s.pending, step: s.step}
	for _, x := range rows {
		c.add(x.id, x.ts, 1)
	}
}

// countDirectory counts a chunk block by what the directory says of its streams,
// which needs no look into it. It is false when that does not do.
func (s *scan) countDirectory(p *part) (bool, error) {
	streams, err := p.chunk.Streams(s.src.scratch[:0])
	s.src.scratch = streams
	if err != nil {
		return false, err
	}
	for i, st := range streams {
		r := closedRange{st.MinTime, st.MaxTime}
		if p.locals[i] == 0 {
			continue
		}
		if !r.within(s.src.rng) || !r.within(s.step.piece(st.MinTime)) || p.drops != nil && len(p.drops[i]) > 0 {
			return false, nil
		}
	}
	c := counter{b: &s.pending, step: s.step}
	for i, st := range streams {
		if id := p.locals[i]; id != 0 {
			c.add(id-1, st.MinTime, st.Rows)
		}
	}
	s.countDecoded(c.total, 0, 0)
	return true, nil
}

// countTimes counts the rows of a chunk block whose times have been decoded.
func (s *scan) countTimes(p *part) {
	c := counter{b: &s.pending, step: s.step}
	rng, streams := s.src.rng, s.times.Stream
	for i, t := range s.times.Timestamps[:p.toRow] {
		if i < p.fromRow || int(streams[i]) >= len(p.locals) {
			continue
		}
		l := streams[i]
		id := p.locals[l]
		if id == 0 || t < rng.lo || t > rng.hi || p.drops != nil && dropped(p.drops[l], t) || p.gone != nil && p.gone.has(i) {
			continue
		}
		c.add(id-1, t, 1)
	}
	s.countDecoded(c.total, 0, 0)
}
