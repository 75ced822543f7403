package stage

import (
	"sync/atomic"

	"github.com/prometheus/prometheus/model/labels"
)

// LabelSet is the label set of entries at the end of a pipeline, by origin.
// Equal sets of one Pipeline are the same pointer. It is immutable.
type LabelSet struct {
	// Stream, Metadata and Parsed have no name in common.
	Stream, Metadata, Parsed labels.Labels
	// Flat are all of them together.
	Flat labels.Labels
}

// labelSet builds a label set of its own from the entry at hand.
func (b *Builder) labelSet() *LabelSet {
	var parts [3]labels.ScratchBuilder
	flat := labels.NewScratchBuilder(len(b.stream) + len(b.pairs))
	b.each(func(name, value string, c Category) {
		parts[c].Add(name, value)
		flat.Add(name, value)
	})
	build := func(sb *labels.ScratchBuilder) labels.Labels {
		sb.Sort()
		return sb.Labels() // copies: nothing aliases the line
	}
	return &LabelSet{
		Stream:   build(&parts[Stream]),
		Metadata: build(&parts[Metadata]),
		Parsed:   build(&parts[Parsed]),
		Flat:     build(&flat),
	}
}

// flat builds the labels of the entry at hand as one set of their own.
func (b *Builder) flat() labels.Labels {
	sb := labels.NewScratchBuilder(len(b.stream) + len(b.pairs))
	b.each(func(name, value string, _ Category) { sb.Add(name, value) })
	sb.Sort()
	return sb.Labels()
}

// Budget is the memory that a query may hold. The zero value has no limit. It
// is safe for concurrent use.
type Budget struct {
	// Limit is in bytes; 0 is none. It is set before first use.
	Limit int64
	used  atomic.Int64
}

// Take counts n bytes as held.
func (m *Budget) Take(n int) {
	if m != nil {
		m.used.Add(int64(n))
	}
}

// Used is the number of bytes held.
func (m *Budget) Used() int64 { return m.used.Load() }

// Exceeded says that more was taken than there is. Holders look now and then
// and end the query.
func (m *Budget) Exceeded() bool {
	return m != nil && m.Limit > 0 && m.used.Load() > m.Limit
}
