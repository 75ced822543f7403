package peers

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// origin is a replica that rows come from: a peer, or the local store.
type origin struct {
	name string
	peer *peer // nil is the local store
	// streams are those that it has in the range of a request, span all that they have.
	streams []model.StreamSpans
	span    model.Span
	table   streamTable // of streams
}

// has says whether the origin had a stream when it was asked.
func (o *origin) has(ls labels.Labels) bool { return o.table.has(ls) }

// open selects from an origin.
func (s *Store) open(ctx context.Context, o *origin, r model.SelectRequest) (model.BatchIterator, error) {
	if o.peer == nil {
		return s.local.Select(ctx, r)
	}
	return s.selectFrom(ctx, o.peer, r), nil
}

// maxConflicts bounds the ranges in which rows are merged line by line.
// Conflicts whose distance is less than a part of the whole range, or than
// nearConflicts, count as one: what is compressed together is unpacked for every
// range that it is cut into.
const (
	maxConflicts  = 8
	conflictParts = 16
	nearConflicts = int64(10 * time.Second)
)

// plan says how the rows of an unordered request are read.
type plan struct {
	s       *Store
	r       model.SelectRequest
	origins []*origin
	// shared are streams that several origins have at the same time, conflicts
	// where they do.
	shared    streamTable
	conflicts []model.Span
	parts     []part
}

// part is a piece of the work of a plan: one iterator.
type part struct {
	open func(ctx context.Context) (model.BatchIterator, error)
	// keep says which streams are wanted.
	keep func(ls labels.Labels) bool
	// from is the origin of a part that has only one, and req what is asked of it.
	from *origin
	req  model.SelectRequest
	// ahead is the iterator of one that has been opened ahead of its turn.
	ahead model.BatchIterator
}

// newPlan asks all origins what they have. Those that do not answer are left out.
func (s *Store) newPlan(ctx context.Context, peers []*peer, r model.SelectRequest) (*plan, error) {
	p := &plan{s: s, r: r}
	origins := s.origins(peers)
	errs := make([]error, len(origins))
	var wg sync.WaitGroup
	for i, o := range origins {
		wg.Go(func() {
			if o.peer == nil {
				o.streams, errs[i] = s.local.Extents(ctx, r.Range, r.Matchers)
				return
			}
			var err error
			if o.streams, err = s.extentsOf(ctx, o.peer, r.Range, r.Matchers); err != nil && ctx.Err() == nil {
				s.warn(ctx, o.peer, r.Range, err)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return nil, err
	}
	for _, o := range origins {
		if len(o.streams) == 0 {
			continue
		}
		o.span = bounds(o.streams)
		for _, st := range o.streams {
			o.table.id(st.Labels)
		}
		p.origins = append(p.origins, o)
	}
	p.findConflicts()
	p.divide()
	return p, nil
}

// bounds returns the first and last timestamp of streams.
func bounds(streams []model.StreamSpans) model.Span {
	b := streams[0].Spans[0]
	for _, st := range streams {
		b.Min = min(b.Min, st.Spans[0].Min)
		b.Max = max(b.Max, st.Spans[len(st.Spans)-1].Max)
	}
	return b
}

// findConflicts looks for streams that several origins have at the same time.
func (p *plan) findConflicts() {
	type held struct {
		model.Span
		by int
	}
	var table streamTable
	var lists [][]held
	for i, o := range p.origins {
		for _, st := range o.streams {
			id := int(table.id(st.Labels))
			if id == len(lists) {
				lists = append(lists, nil)
			}
			for _, sp := range st.Spans {
				lists[id] = append(lists[id], held{sp, i})
			}
		}
	}
	var found []model.Span
	for id, list := range lists {
		slices.SortFunc(list, func(a, b held) int { return cmp.Compare(a.Min, b.Min) })
		before := len(found)
		for i, h := range list {
			// Every later one that begins inside h overlaps it from there on.
			for _, o := range list[i+1:] {
				if o.Min > h.Max {
					break
				}
				if o.by != h.by {
					found = append(found, model.Span{Min: o.Min, Max: min(o.Max, h.Max)})
				}
			}
		}
		if len(found) > before {
			p.shared.id(table.labels[id])
		}
	}
	if len(p.origins) == 0 {
		return
	}
	whole := p.origins[0].span
	for _, o := range p.origins {
		whole.Min, whole.Max = min(whole.Min, o.span.Min), max(whole.Max, o.span.Max)
	}
	near := max(nearConflicts, int64((uint64(whole.Max)-uint64(whole.Min))/conflictParts))
	p.conflicts = joinSpans(found, near, maxConflicts)
}

// joinSpans sorts spans and joins those that are nearer to each other than near;
// where more than limit are left, those with the smallest gaps between them.
func joinSpans(list []model.Span, near int64, limit int) []model.Span {
	if len(list) == 0 {
		return nil
	}
	slices.SortFunc(list, func(a, b model.Span) int { return cmp.Compare(a.Min, b.Min) })
	out := list[:1]
	for _, s := range list[1:] {
		if last := &out[len(out)-1]; s.Min <= last.Max || uint64(s.Min)-uint64(last.Max) <= uint64(near) {
			last.Max = max(last.Max, s.Max)
		} else {
			out = append(out, s)
		}
	}
	for len(out) > limit {
		least := 1
		for i := 2; i < len(out); i++ {
			if uint64(out[i].Min)-uint64(out[i-1].Max) < uint64(out[least].Min)-uint64(out[least-1].Max) {
				least = i
			}
		}
		out[least-1].Max = out[least].Max
		out = slices.Delete(out, least, least+1)
	}
	return out
}

// rangeOf is the half-open form of a span.
func rangeOf(s model.Span) model.TimeRange {
	r := model.TimeRange{Start: s.Min, End: s.Max}
	if s.Max < model.AllTime().End {
		r.End++
	}
	return r
}

// between are the parts of a range outside of the spans, which are sorted and
// apart.
func between(r model.TimeRange, spans []model.Span) []model.TimeRange {
	var out []model.TimeRange
	for _, s := range spans {
		if s.Min > r.Start {
			out = append(out, model.TimeRange{Start: r.Start, End: min(r.End, s.Min)})
		}
		r.Start = max(r.Start, rangeOf(s).End)
	}
	if r.Start < r.End {
		out = append(out, r)
	}
	return out
}

// divide makes the parts: outside of the conflicts each origin by itself, inside
// of them the shared streams merged and the others by themselves.
func (p *plan) divide() {
	for _, o := range p.origins {
		// What was appended since is younger than the answer.
		own := rangeOf(o.span)
		own = model.TimeRange{Start: max(own.Start, p.r.Range.Start), End: min(own.End, p.r.Range.End)}
		for _, r := range between(own, p.conflicts) {
			p.single(o, r, nil)
		}
	}
	if len(p.conflicts) == 0 {
		return
	}
	shared, alone := p.separate()
	for _, c := range p.conflicts {
		r := rangeOf(c)
		r = model.TimeRange{Start: max(r.Start, p.r.Range.Start), End: min(r.End, p.r.Range.End)}
		if r.Start >= r.End {
			continue
		}
		p.merged(r, shared)
		if alone == nil {
			continue
		}
		for _, o := range p.origins {
			if slices.ContainsFunc(o.streams, func(st model.StreamSpans) bool {
				return !p.shared.has(st.Labels) && slices.ContainsFunc(st.Spans, func(sp model.Span) bool { return r.Overlaps(sp.Min, sp.Max) })
			}) {
				p.single(o, r, alone)
			}
		}
	}
}

// single adds the rows of one origin in a range; of the shared streams only
// where without is nil.
func (p *plan) single(o *origin, r model.TimeRange, without []*labels.Matcher) {
	if r.Start >= r.End || !r.Overlaps(o.span.Min, o.span.Max) {
		return
	}
	keep := o.has
	if without != nil {
		keep = func(ls labels.Labels) bool { return o.has(ls) && !p.shared.has(ls) }
	}
	req := p.r
	req.Range = r
	req.Matchers = slices.Concat(req.Matchers, without)
	p.parts = append(p.parts, part{
		open: func(ctx context.Context) (model.BatchIterator, error) { return p.s.open(ctx, o, req) },
		keep: keep, from: o, req: req,
	})
}

// merged adds the rows of the shared streams in a range, from all origins.
func (p *plan) merged(r model.TimeRange, only []*labels.Matcher) {
	req := p.r
	req.Range = r
	req.Unordered, req.CountStep, req.CountFrom = false, 0, 0
	req.Matchers = slices.Concat(req.Matchers, only)
	p.parts = append(p.parts, part{
		open: func(ctx context.Context) (model.BatchIterator, error) { return p.s.mergeOrigins(ctx, p.origins, req) },
		keep: p.shared.has,
	})
}

// maxSeparating bounds the values of a matcher that separates streams.
const maxSeparating = 100

// separate returns matchers that narrow a selection to the shared streams, and to
// the others (nil if there are none). They may let more pass.
func (p *plan) separate() (shared, alone []*labels.Matcher) {
	others := false
	values := map[string]map[string]bool{} // of labels of the shared streams; true is shared only
	for _, ls := range p.shared.labels {
		ls.Range(func(l labels.Label) {
			if values[l.Name] == nil {
				values[l.Name] = map[string]bool{}
			}
			values[l.Name][l.Value] = true
		})
	}
	all := len(p.shared.labels)
	spoiled := map[string]int{} // values that streams of both kinds have
	for _, o := range p.origins {
		for _, st := range o.streams {
			if p.shared.has(st.Labels) {
				continue
			}
			others = true
			for name, vs := range values {
				if v := st.Labels.Get(name); vs[v] {
					vs[v] = false
					spoiled[name]++
				}
			}
		}
	}
	if !others {
		return nil, nil
	}
	best := ""
	for _, name := range slices.Sorted(keysOf(values)) {
		vs := values[name]
		if len(vs) > maxSeparating || slices.ContainsFunc(p.shared.labels[:all], func(ls labels.Labels) bool { return !ls.Has(name) }) {
			continue
		}
		if best == "" || spoiled[name] < spoiled[best] || spoiled[name] == spoiled[best] && len(vs) < len(values[best]) {
			best = name
		}
	}
	alone = []*labels.Matcher{}
	if best == "" {
		return nil, alone
	}
	shared = append(shared, anyOf(labels.MatchRegexp, best, slices.Sorted(keysOf(values[best]))))
	var clean []string
	for v, own := range values[best] {
		if own {
			clean = append(clean, v)
		}
	}
	if len(clean) > 0 {
		slices.Sort(clean)
		alone = append(alone, anyOf(labels.MatchNotRegexp, best, clean))
	}
	return shared, alone
}

func keysOf[K comparable, V any](m map[K]V) func(func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// anyOf matches a label that has one of the values, or none of them.
func anyOf(t labels.MatchType, name string, values []string) *labels.Matcher {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = regexp.QuoteMeta(v)
	}
	return labels.MustNewMatcher(t, name, strings.Join(quoted, "|"))
}

// mergeOrigins merges the ordered rows of origins.
func (s *Store) mergeOrigins(ctx context.Context, origins []*origin, r model.SelectRequest) (model.BatchIterator, error) {
	asked := r
	asked.TimesOnly, asked.NoLines, asked.CountStep = false, false, 0 // lines tell what is the same
	its := make([]model.BatchIterator, 0, len(origins))
	for _, o := range origins {
		it, err := s.open(ctx, o, asked)
		if err != nil {
			for _, it := range its {
				err = errors.Join(err, it.Close())
			}
			return nil, err
		}
		its = append(its, it)
	}
	return newMerge(its, &r, s.doubled), nil
}
