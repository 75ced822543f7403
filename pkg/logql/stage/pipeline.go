package stage

import (
	"context"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// labelSetCost is what an interned label set costs beyond four times its bytes.
const labelSetCost = 256

// Pipeline runs the stages of one query over batches of one iterator. It keeps
// scratch memory and caches: one goroutine uses it, for one run.
//
//	p.Until(ctx)
//	for each batch:
//		for _, row := range p.Select(batch) {
//			if line, ok := p.Row(batch, row); ok {
//				use line, p.Labels()
//			}
//		}
//		if err := p.Err(); err != nil {
//			the query has been given up
//		}
type Pipeline struct {
	filters []*LineFilter // at the front: they run over a batch at a time
	stages  []Stage       // the rest
	budget  *Budget
	// readsLines says whether any stage looks at lines.
	readsLines bool

	b       Builder
	streams []*streamState
	at      *streamState // of the entry at hand
	rows    []uint32
	sets    map[string]*LabelSet // all, by their text
	key     []byte
	last    []byte // key of lastSet, in at's stream
	lastSet *LabelSet
	lastAt  *streamState
}

// streamState is what a pipeline remembers of a stream.
type streamState struct {
	labels labels.Labels
	pairs  []labels.Label
	plain  *LabelSet            // of entries that nothing was done to
	sets   map[string]*LabelSet // by what was done, see Builder.appendKey
	series map[string]int       // the same for Extractor
	// missing is Builder.missing.
	missing int
	only    int // series of entries that nothing was done to, -1 if unknown
}

// AnyOf returns texts one of which occurs in every line that the pipeline lets
// pass, for model.SelectRequest.ContainsAny: those of the first line filter that
// has several, or that ignores case. A single text is part of
// logql.LogSelector.RequiredSubstrings.
func (p *Pipeline) AnyOf() (texts []string, fold bool) {
	for _, f := range p.filters {
		if texts, fold = f.anyOf(); fold || len(texts) > 1 {
			return texts, fold
		}
	}
	return nil, false
}

// maxNoneOf bounds the texts of NoneOf.
const maxNoneOf = 32

// NoneOf returns texts none of which is in a line that the pipeline lets pass, for
// model.SelectRequest.ContainsNone.
func (p *Pipeline) NoneOf() (texts []string) {
	for _, f := range p.filters {
		for i := range f.tests {
			if t := &f.tests[i]; f.negate && t.plain() && t.contains != "" && len(texts) < maxNoneOf {
				texts = append(texts, t.contains)
			}
		}
	}
	return texts
}

// Until has the pipeline end with ctx: it looks at it after every MiB of text or
// so, also in the middle of a batch and of a line. From then on Select returns
// no rows and no Row passes. Without Until it does not end.
func (p *Pipeline) Until(ctx context.Context) {
	p.b.watch.ctx, p.b.watch.err = ctx, nil
}

// Err is the error of the context with which the pipeline ended, nil while it
// has not: then all rows so far were what they seemed.
func (p *Pipeline) Err() error { return p.b.watch.err }

// Select returns the rows of the batch that pass the line filters at the front.
// The result is valid until the next Select.
func (p *Pipeline) Select(batch *model.EntryBatch) []uint32 {
	n := batch.Len()
	if cap(p.rows) < n {
		p.rows = make([]uint32, n)
	}
	rows := p.rows[:n]
	for i := range rows {
		rows[i] = uint32(i)
	}
	for _, f := range p.filters {
		if len(rows) == 0 {
			break
		}
		rows = f.filter(batch.Lines, rows, &p.b.watch)
	}
	return rows
}

// Row runs the other stages over one row. It returns the line as the stages
// left it, valid until the next Row, and whether the entry passed.
func (p *Pipeline) Row(batch *model.EntryBatch, row uint32) (string, bool) {
	p.start(batch, row)
	var line string
	if batch.Lines != nil {
		line = batch.Lines[row]
	}
	w := &p.b.watch
	if !w.spend(rowWork + len(line)) {
		return "", false
	}
	for i, st := range p.stages {
		if i > 0 && !w.spend(len(line)) {
			return "", false
		}
		var ok bool
		if line, ok = st.Process(batch.Timestamps[row], line, &p.b); !ok {
			return "", false
		}
	}
	return line, w.err == nil // a stage may have ended halfway
}

// start makes the row the entry at hand.
func (p *Pipeline) start(batch *model.EntryBatch, row uint32) {
	p.at = p.stream(batch, batch.StreamIndex[row])
	var meta labels.Labels
	if batch.Metadata != nil {
		meta = batch.Metadata[row]
	}
	p.b.Reset(p.at.pairs, meta)
	p.b.missing = p.at.missing
}

func (p *Pipeline) stream(batch *model.EntryBatch, i uint32) *streamState {
	for int(i) >= len(p.streams) {
		p.streams = append(p.streams, nil)
	}
	if s := p.streams[i]; s != nil {
		return s
	}
	// The strings of Range alias the label set, which belongs to the iterator.
	ls := batch.Streams[i].Copy()
	s := &streamState{labels: ls, missing: p.b.hints.missing(ls), only: -1}
	ls.Range(func(l labels.Label) { s.pairs = append(s.pairs, l) })
	p.streams[i] = s
	p.budget.Take(labelSetCost + 2*int(ls.ByteSize()))
	return s
}

// Labels returns the label set of the entry that Row let pass.
func (p *Pipeline) Labels() *LabelSet {
	s := p.at
	if p.b.untouched() {
		if s.plain == nil {
			s.plain = p.intern()
		}
		return s.plain
	}
	p.key = p.b.appendKey(p.key[:0])
	if p.lastSet != nil && p.lastAt == s && string(p.key) == string(p.last) {
		return p.lastSet
	}
	set, ok := s.sets[string(p.key)]
	if !ok {
		if s.sets == nil {
			s.sets = map[string]*LabelSet{}
		}
		set = p.intern()
		s.sets[string(p.key)] = set
		p.budget.Take(labelSetCost + len(p.key))
	}
	p.last, p.lastSet, p.lastAt = append(p.last[:0], p.key...), set, s
	return set
}

// intern returns the label set of the entry at hand; equal ones are one.
func (p *Pipeline) intern() *LabelSet {
	set := p.b.labelSet()
	var key []byte
	for _, part := range [...]labels.Labels{set.Stream, set.Metadata, set.Parsed} {
		key = appendString(key, string(part.Bytes(nil)))
	}
	if have, ok := p.sets[string(key)]; ok {
		return have
	}
	if p.sets == nil {
		p.sets = map[string]*LabelSet{}
	}
	p.sets[string(key)] = set
	p.budget.Take(labelSetCost + 3*len(key))
	return set
}
