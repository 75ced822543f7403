package lokiapi

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
)

// metadata collects the structured metadata of one entry. It is reused from
// entry to entry; what it holds may alias the body.
type metadata struct {
	pairs   []labels.Label // with legal names, in the order in which they came
	count   int            // of the pairs as they were pushed
	bytes   int
	builder labels.ScratchBuilder
	names   nameCache
}

func (m *metadata) reset() { m.pairs, m.count, m.bytes = m.pairs[:0], 0, 0 }

// add takes one pair as it was pushed. What lies beyond the limits is counted
// but not kept.
func (m *metadata) add(l *Limits, name, value string) {
	if !isLabelName(name) {
		name = m.names.get(name, SanitizeName)
	}
	m.put(l, name, value)
}

// put is add for a name that is a legal one already.
func (m *metadata) put(l *Limits, name, value string) {
	m.count++
	m.bytes += len(name) + len(value)
	if m.count > l.MaxMetadataPairs || m.bytes > l.MaxMetadataBytes || name == "" || value == "" {
		return
	}
	m.pairs = append(m.pairs, labels.Label{Name: name, Value: strings.ToValidUTF8(value, "")})
}

// refusal says why the limits forbid the entry, "" if they do not.
func (m *metadata) refusal(l *Limits) Reason {
	switch {
	case m.bytes > l.MaxMetadataBytes:
		return ReasonMetadataTooLarge
	case m.count > l.MaxMetadataPairs:
		return ReasonMetadataTooMany
	}
	return ""
}

// message explains a refusal.
func (m *metadata) message(reason Reason, l *Limits, stream string) string {
	if reason == ReasonMetadataTooMany {
		return fmt.Sprintf("stream '%s' has an entry with %d structured metadata pairs; the limit is %d",
			stream, m.count, l.MaxMetadataPairs)
	}
	return fmt.Sprintf("stream '%s' has an entry with structured metadata of %d bytes; the limit is %d",
		stream, m.bytes, l.MaxMetadataBytes)
}

// labels returns the pairs as a label set of its own memory. Of a name that
// came twice the first value counts.
func (m *metadata) labels() labels.Labels {
	byName := func(a, b labels.Label) int { return strings.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(m.pairs, byName) {
		slices.SortStableFunc(m.pairs, byName)
	}
	m.builder.Reset()
	for i, p := range m.pairs {
		if i > 0 && m.pairs[i-1].Name == p.Name {
			continue
		}
		m.builder.Add(p.Name, p.Value)
	}
	return m.builder.Labels()
}

// maxCachedNames bounds a nameCache; what pushes use as names are a few dozen.
const maxCachedNames = 1024

// nameCache remembers what names became that are no legal label names.
type nameCache map[string]string

func (c *nameCache) get(name string, legal func(string) string) string {
	if n, ok := (*c)[name]; ok {
		return n
	}
	n := legal(name)
	if len(name) > 128 {
		return n
	}
	if *c == nil || len(*c) >= maxCachedNames {
		*c = nameCache{}
	}
	(*c)[strings.Clone(name)] = n
	return n
}
