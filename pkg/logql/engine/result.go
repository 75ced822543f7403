package engine

import (
	"cmp"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
)

// Flat is the whole label set in one: what Loki's API shows as the stream of
// an entry when the client did not ask for categories.
func (s *StreamResult) Flat() labels.Labels {
	if s.StructuredMetadata.IsEmpty() && s.Parsed.IsEmpty() {
		return s.Labels
	}
	b := labels.NewScratchBuilder(s.Labels.Len() + s.StructuredMetadata.Len() + s.Parsed.Len())
	for _, part := range [...]labels.Labels{s.Labels, s.StructuredMetadata, s.Parsed} {
		part.Range(func(l labels.Label) { b.Add(l.Name, l.Value) })
	}
	b.Sort()
	return b.Labels()
}

// MergeFlat joins groups whose whole label sets are equal, wherever their
// labels come from. It returns the groups with everything in Labels, sorted by
// their text, entries in the query's order: the answer without categories.
func MergeFlat(streams []StreamResult) []StreamResult {
	return merge(streams, func(s *StreamResult) labels.Labels { return s.Flat() })
}

// MergeByStream joins groups of equal stream labels, sorted by their text,
// entries in the query's order: the answer with categories. The entries tell
// their metadata and parsed labels.
func MergeByStream(streams []StreamResult) []StreamResult {
	return merge(streams, func(s *StreamResult) labels.Labels { return s.Labels })
}

func merge(streams []StreamResult, of func(*StreamResult) labels.Labels) []StreamResult {
	at := map[string]int{}
	var (
		out    []StreamResult
		merged []bool
	)
	for i := range streams {
		ls := of(&streams[i])
		key := string(ls.Bytes(nil))
		j, ok := at[key]
		if !ok {
			at[key] = len(out)
			out = append(out, StreamResult{Labels: ls, Entries: streams[i].Entries})
			merged = append(merged, false)
			continue
		}
		out[j].Entries = append(slices.Clip(out[j].Entries), streams[i].Entries...)
		merged[j] = true
	}
	for j := range out {
		if merged[j] {
			slices.SortFunc(out[j].Entries, func(x, y ResultEntry) int { return cmp.Compare(x.seq, y.seq) })
		}
	}
	slices.SortFunc(out, func(x, y StreamResult) int { return strings.Compare(x.Labels.String(), y.Labels.String()) })
	return out
}
