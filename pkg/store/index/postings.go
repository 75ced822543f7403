package index

import (
	"context"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	promindex "github.com/prometheus/prometheus/tsdb/index"
)

// PostingsReader is what both kinds of label index offer: index.MemPostings
// (through Mem) and index.Reader.
type PostingsReader interface {
	Postings(ctx context.Context, name string, values ...string) (promindex.Postings, error)
	PostingsForLabelMatching(ctx context.Context, name string, match func(string) bool) promindex.Postings
	PostingsForAllLabelValues(ctx context.Context, name string) promindex.Postings
}

// Mem lets index.MemPostings be read as a PostingsReader.
type Mem struct{ *promindex.MemPostings }

// Postings returns the streams that have one of the values; it never fails.
func (m Mem) Postings(ctx context.Context, name string, values ...string) (promindex.Postings, error) {
	return m.MemPostings.Postings(ctx, name, values...), nil
}

// Select returns the references of all streams that every matcher matches, in
// ascending order. No matcher selects all.
func Select(ctx context.Context, ix PostingsReader, matchers []*labels.Matcher) (promindex.Postings, error) {
	var its, drop []promindex.Postings
	for _, m := range matchers {
		if m.Matches("") {
			// Streams without the label match too: take away those whose value
			// does not match.
			if p := ix.PostingsForLabelMatching(ctx, m.Name, func(v string) bool { return !m.Matches(v) }); !promindex.IsEmptyPostingsType(p) {
				drop = append(drop, p)
			}
			continue
		}
		p, err := positive(ctx, ix, m)
		if err != nil {
			return nil, err
		}
		if promindex.IsEmptyPostingsType(p) {
			return promindex.EmptyPostings(), nil
		}
		its = append(its, p)
	}
	if len(its) == 0 {
		all, err := ix.Postings(ctx, allName, allValue)
		if err != nil {
			return nil, err
		}
		its = append(its, all)
	}
	p := promindex.Intersect(its...)
	if len(drop) > 0 {
		p = promindex.Without(p, promindex.Merge(ctx, drop...))
	}
	return p, nil
}

var allName, allValue = promindex.AllPostingsKey()

// positive returns the streams that have the label with a matching value. m does
// not match "".
func positive(ctx context.Context, ix PostingsReader, m *labels.Matcher) (promindex.Postings, error) {
	switch m.Type {
	case labels.MatchEqual:
		return ix.Postings(ctx, m.Name, m.Value)
	case labels.MatchRegexp:
		if set := m.SetMatches(); len(set) > 0 {
			set = slices.Clone(set)
			slices.Sort(set)
			return ix.Postings(ctx, m.Name, slices.Compact(set)...)
		}
		if m.Value == ".+" {
			return ix.PostingsForAllLabelValues(ctx, m.Name), nil
		}
	case labels.MatchNotEqual, labels.MatchNotRegexp:
		if m.Value == "" {
			return ix.PostingsForAllLabelValues(ctx, m.Name), nil
		}
	}
	return ix.PostingsForLabelMatching(ctx, m.Name, m.Matches), nil
}

// Matches says whether every matcher matches the labels.
func Matches(ls labels.Labels, matchers []*labels.Matcher) bool {
	for _, m := range matchers {
		if !m.Matches(ls.Get(m.Name)) {
			return false
		}
	}
	return true
}
