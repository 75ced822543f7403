package podlogs

// ordinals numbers identical lines of one timestamp as they go by. Lines of one
// timestamp are neighbours in a file, so only one group is kept.
type ordinals struct {
	ts    int64
	hash  uint64
	count uint32
	// more is used from the second different line of a group on.
	more map[uint64]uint32
	used bool
}

// next returns the ordinal of the line, from 1.
func (o *ordinals) next(ts int64, hash uint64) uint32 {
	if !o.used || ts != o.ts {
		o.used, o.ts, o.hash, o.count = true, ts, hash, 1
		if len(o.more) > 0 {
			o.forget()
		}
		return 1
	}
	if hash == o.hash {
		o.count++
		return o.count
	}
	if o.more == nil {
		o.more = make(map[uint64]uint32)
	}
	o.more[hash]++
	return o.more[hash]
}

func (o *ordinals) forget() {
	if len(o.more) > 1024 {
		o.more = nil // a map never shrinks
		return
	}
	clear(o.more)
}

// cursor is the moving end of a target while it is being read: the position as
// it will be once everything handed to the batcher is durable.
type cursor struct {
	position
	ord ordinals
}

// advance makes the line the new anchor.
func (c *cursor) advance(line *rawLine) {
	c.taken = false
	c.anchor = anchor{ts: line.ts, hash: line.hash, ordinal: c.ord.next(line.ts, line.hash)}
	c.file = filePos{} // it is behind now
}

// finder looks for an anchor among the lines of one file, in file order.
type finder struct {
	want anchor
	ord  ordinals
	// seen is the highest ordinal met of the anchor's line. If the file ends
	// with 0 < seen < want.ordinal, a rotation went through a group of
	// identical lines.
	seen uint32
}

// is says whether the line is the anchor.
func (f *finder) is(line *rawLine) bool {
	n := f.ord.next(line.ts, line.hash)
	if line.ts != f.want.ts || line.hash != f.want.hash {
		return false
	}
	f.seen = max(f.seen, n)
	return n == f.want.ordinal
}

// recent remembers the last lines of a follow stream, to recognize a stream
// that begins the file again: the kubelet does so when a rotation is undone, or
// when two rotations happen while the reader is stalled.
type recent struct {
	lines [64]struct {
		ts   int64
		hash uint64
	}
	n int
}

func (r *recent) add(ts int64, hash uint64) {
	e := &r.lines[r.n%len(r.lines)]
	e.ts, e.hash = ts, hash
	r.n++
}

// before returns the timestamp of the line before the one given, 0 if that is no
// longer remembered.
func (r *recent) before(ts int64, hash uint64) int64 {
	for i := 1; i < min(r.n, len(r.lines)); i++ {
		at := r.n - 1 - i
		next := &r.lines[(at+1)%len(r.lines)]
		if next.ts == ts && next.hash == hash {
			return r.lines[at%len(r.lines)].ts
		}
	}
	return 0
}

// verdict on a line that does not lie after the line before it.
type verdict int

const (
	// verdictNew is a line out of order by a little, as when stdout and stderr
	// are written by two goroutines of the runtime.
	verdictNew verdict = iota
	// verdictSuspect is a line already seen, or older than all that is
	// remembered: the file must be looked at.
	verdictSuspect
)

// judge says whether a line with a timestamp not after its predecessor's is new.
func (r *recent) judge(ts int64, hash uint64) verdict {
	oldest := int64(0)
	for i := range min(r.n, len(r.lines)) {
		e := &r.lines[i]
		if e.ts == ts && e.hash == hash {
			return verdictSuspect
		}
		if i == 0 || e.ts < oldest {
			oldest = e.ts
		}
	}
	if ts < oldest {
		return verdictSuspect
	}
	return verdictNew
}
