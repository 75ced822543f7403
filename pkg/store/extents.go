package store

import (
	"cmp"
	"context"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// maxStreamSpans bounds the spans that Extents tells of one stream.
const maxStreamSpans = 32

// Extents says for each stream that the matchers select when it has entries in
// the range, sorted by labels.Compare. It reads indexes only, so that a span may
// be wider than the entries in it: by a chunk block at most, or where there are
// more gaps than are told. No entry lies outside.
func (db *DB) Extents(ctx context.Context, r model.TimeRange, matchers []*labels.Matcher) ([]model.StreamSpans, error) {
	v, src, err := db.open(ctx, model.SelectRequest{Matchers: matchers, Range: r})
	if err != nil {
		return nil, err
	}
	defer v.close() //nolint:errcheck // of files that have been read
	parts := src.parts
	for _, lb := range src.blocks {
		ps, err := src.expand(ctx, lb)
		if err != nil {
			return nil, err
		}
		parts = append(parts, ps...)
	}
	spans := make([][]model.Span, len(src.table.labels))
	for _, p := range parts {
		src.scratch = p.streamsOf(src.scratch, func(id uint32, r closedRange) {
			if !src.rng.overlaps(r.lo, r.hi) {
				return
			}
			r = r.intersect(src.rng)
			spans[id] = append(spans[id], model.Span{Min: r.lo, Max: r.hi})
		})
	}
	var out []model.StreamSpans
	for id, list := range spans {
		if len(list) > 0 {
			out = append(out, model.StreamSpans{Labels: src.table.labels[id], Spans: joinSpans(list)})
		}
	}
	slices.SortFunc(out, func(a, b model.StreamSpans) int { return labels.Compare(a.Labels, b.Labels) })
	return out, nil
}

// joinSpans sorts spans, joins those that touch, and where many are left those
// with the smallest gaps in between.
func joinSpans(list []model.Span) []model.Span {
	slices.SortFunc(list, func(a, b model.Span) int { return cmp.Compare(a.Min, b.Min) })
	out := list[:1]
	for _, s := range list[1:] {
		if last := &out[len(out)-1]; s.Min <= last.Max || s.Min == last.Max+1 {
			last.Max = max(last.Max, s.Max)
		} else {
			out = append(out, s)
		}
	}
	if len(out) <= maxStreamSpans {
		return out
	}
	gaps := make([]uint64, 0, len(out)-1)
	for i := range out[1:] {
		gaps = append(gaps, uint64(out[i+1].Min)-uint64(out[i].Max))
	}
	slices.Sort(gaps)
	least := gaps[len(gaps)-(maxStreamSpans-1)] // gaps below it are closed
	wide := out[:1]
	for _, s := range out[1:] {
		if last := &wide[len(wide)-1]; uint64(s.Min)-uint64(last.Max) < least || len(wide) == maxStreamSpans {
			last.Max = s.Max
		} else {
			wide = append(wide, s)
		}
	}
	return wide
}
