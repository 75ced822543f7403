package engine

import (
	"cmp"
	"slices"
)

// InOrder returns the entries of all groups of one log result, each with its
// stream labels, in the order in which the query found them: that of its
// direction, also among equal timestamps.
func InOrder(streams []StreamResult) []LiveEntry {
	n := 0
	for i := range streams {
		n += len(streams[i].Entries)
	}
	out := make([]LiveEntry, 0, n)
	for i := range streams {
		for _, e := range streams[i].Entries {
			out = append(out, LiveEntry{Labels: streams[i].Labels, ResultEntry: e})
		}
	}
	slices.SortStableFunc(out, func(x, y LiveEntry) int { return cmp.Compare(x.seq, y.seq) })
	return out
}
