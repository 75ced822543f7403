package peers

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// LabelNames lists the names of labels at all replicas.
func (s *Store) LabelNames(ctx context.Context, r model.TimeRange, ms []*labels.Matcher) ([]string, error) {
	return union(ctx, s, question("names", "", r, ms), func() ([]string, error) { return s.local.LabelNames(ctx, r, ms) },
		(*decoder).text, strings.Compare, nil)
}

// LabelValues lists the values of a label at all replicas.
func (s *Store) LabelValues(ctx context.Context, name string, r model.TimeRange, ms []*labels.Matcher) ([]string, error) {
	return union(ctx, s, question("values", name, r, ms), func() ([]string, error) { return s.local.LabelValues(ctx, name, r, ms) },
		(*decoder).text, strings.Compare, nil)
}

// Series lists the streams of all replicas.
func (s *Store) Series(ctx context.Context, r model.TimeRange, ms []*labels.Matcher) ([]labels.Labels, error) {
	return union(ctx, s, question("series", "", r, ms), func() ([]labels.Labels, error) { return s.local.Series(ctx, r, ms) },
		(*decoder).labels, labels.Compare, nil)
}

// Volume sums up what all replicas hold. Entries that several of them hold count
// for each: around the moments at which a container changed hands, and while a
// replica hands over its entries.
func (s *Store) Volume(ctx context.Context, r model.TimeRange, ms []*labels.Matcher) ([]model.StreamVolume, error) {
	return union(ctx, s, question("volume", "", r, ms), func() ([]model.StreamVolume, error) { return s.local.Volume(ctx, r, ms) },
		(*decoder).volume,
		func(a, b model.StreamVolume) int { return labels.Compare(a.Labels, b.Labels) },
		func(into *model.StreamVolume, v model.StreamVolume) {
			into.Entries += v.Entries
			into.Bytes += v.Bytes
			into.Chunks += v.Chunks
		})
}

func (d *decoder) volume() model.StreamVolume {
	return model.StreamVolume{Labels: d.labels(), Entries: d.varint(), Bytes: d.varint(), Chunks: d.varint()}
}

// maxSpans bounds the spans of one stream.
const maxSpans = 1 << 10

func (d *decoder) extent() model.StreamSpans {
	out := model.StreamSpans{Labels: d.labels()}
	n := d.count(2)
	if n > maxSpans || n == 0 {
		d.fail("a stream has no spans, or too many")
		n = 0
	}
	for range n {
		sp := model.Span{Min: d.varint(), Max: d.varint()}
		if k := len(out.Spans); sp.Max < sp.Min || k > 0 && sp.Min <= out.Spans[k-1].Max {
			d.fail("the spans of a stream are not in order")
		}
		out.Spans = append(out.Spans, sp)
	}
	return out
}

// extentsOf asks a peer when its streams have entries.
func (s *Store) extentsOf(ctx context.Context, p *peer, r model.TimeRange, ms []*labels.Matcher) ([]model.StreamSpans, error) {
	return list(ctx, s, p, question("extents", "", r, ms), (*decoder).extent)
}

// ask is a question to a peer.
type ask struct {
	what string
	r    model.TimeRange
	body any
}

func question(what, name string, r model.TimeRange, ms []*labels.Matcher) ask {
	return ask{what, r, wireQuestion{Matchers: toWire(ms), Start: r.Start, End: r.End, Name: name}}
}

// list asks a peer and returns the elements of its answer.
func list[T any](ctx context.Context, s *Store, p *peer, q ask, element func(*decoder) T) ([]T, error) {
	resp, err := s.post(ctx, p, q.what, q.body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end or given up
	frames := newPatientReader(resp, p.idle)
	defer frames.stop()
	var out []T
	var payload []byte
	for {
		var kind byte
		kind, payload, err = frames.next(payload)
		if err == nil {
			switch kind {
			case frameList:
				d := decoder{b: payload}
				for len(d.b) > 0 && d.err == nil {
					out = append(out, element(&d))
				}
				err = d.err
			case frameEnd:
				return out, nil
			case frameError:
				return nil, &RemoteError{Msg: string(payload)}
			case frameHeartbeat:
			default:
				err = damaged("a frame of kind %q", kind)
			}
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			s.fail(ctx, p, err)
			return nil, err
		}
	}
}

// union asks all replicas for sorted lists and merges them. Equal elements are
// added up, or taken once where add is nil.
func union[T any](ctx context.Context, s *Store, q ask, local func() ([]T, error), element func(*decoder) T, compare func(a, b T) int, add func(into *T, v T)) ([]T, error) {
	peers := s.others()
	if len(peers) == 0 {
		return local()
	}
	lists := make([][]T, len(peers)+1)
	var localErr error
	var wg sync.WaitGroup
	for i, p := range peers {
		wg.Go(func() {
			var err error
			if lists[i], err = list(ctx, s, p, q, element); err != nil && ctx.Err() == nil {
				s.warn(ctx, p, q.r, err)
			}
		})
	}
	lists[len(peers)], localErr = local()
	wg.Wait()
	if err := cmp.Or(localErr, ctx.Err()); err != nil {
		return nil, err
	}
	all := slices.Concat(lists...)
	slices.SortStableFunc(all, compare)
	out := all[:0]
	for _, v := range all {
		switch n := len(out); {
		case n == 0 || compare(out[n-1], v) != 0:
			out = append(out, v)
		case add != nil:
			add(&out[n-1], v)
		}
	}
	return out, nil
}

// isEnd says whether an error is the orderly end of an iterator.
func isEnd(err error) bool { return errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) }
