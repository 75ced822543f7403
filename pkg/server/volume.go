package server

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// volumeParams are those of volume and volume_range.
type volumeParams struct {
	selection
	// targets are the labels to group by; nil means all.
	targets  []string
	byLabels bool // one result per label name, not per label set
	limit    int
}

// maxVolumeSeries is the most that a volume answers.
const maxVolumeSeries = 1000

// maxVolumePoints is the most that volume_range keeps in memory.
const maxVolumePoints = 100_000

func (p params) volume() (volumeParams, error) {
	var v volumeParams
	var err error
	if v.selection, err = p.selection(p.bounds, logql.AllowEmptyMatchers()); err != nil {
		return v, err
	}
	if v.limit, err = p.limit(defaultLimit); err != nil {
		return v, err
	}
	if v.limit < 0 {
		return v, badRequestf("limit must be a positive value")
	}
	if v.limit == 0 {
		v.limit = defaultLimit
	}
	v.limit = min(v.limit, maxVolumeSeries)
	switch by := p.Get("aggregateBy"); by {
	case "", "series":
	case "labels":
		v.byLabels = true
	default:
		return v, badRequestf("invalid aggregation option")
	}
	for name := range strings.SplitSeq(p.Get("targetLabels"), ",") {
		if name = strings.TrimSpace(name); name != "" {
			v.targets = append(v.targets, name)
		}
	}
	if v.targets == nil && !v.byLabels {
		for _, m := range v.matchers {
			v.targets = append(v.targets, m.Name)
		}
	}
	slices.Sort(v.targets)
	v.targets = slices.Compact(v.targets)
	return v, nil
}

// volumeSum is the bytes of one group.
type volumeSum struct {
	labels labels.Labels
	bytes  int64
}

// sum asks the store and groups the answer, largest first and by name within.
func (v *volumeParams) sum(ctx context.Context, st Store, span model.TimeRange) ([]volumeSum, error) {
	volumes, err := st.Volume(ctx, span, v.matchers)
	if err != nil {
		return nil, err
	}
	groups := map[string]int{}
	var out []volumeSum
	add := func(ls labels.Labels, n int64) {
		key := ls.String()
		i, ok := groups[key]
		if !ok {
			i = len(out)
			groups[key] = i
			out = append(out, volumeSum{labels: ls})
		}
		out[i].bytes += n
	}
	for _, vol := range volumes {
		switch {
		case vol.Bytes == 0:
		case v.byLabels:
			vol.Labels.Range(func(l labels.Label) {
				if v.targets == nil || slices.Contains(v.targets, l.Name) {
					add(labels.FromStrings(l.Name, ""), vol.Bytes)
				}
			})
		case v.targets == nil:
			add(vol.Labels, vol.Bytes)
		default:
			if ls := vol.Labels.MatchLabels(true, v.targets...); ls.Len() == len(v.targets) {
				add(ls, vol.Bytes)
			}
		}
	}
	slices.SortFunc(out, func(a, b volumeSum) int {
		if a.bytes != b.bytes {
			if a.bytes > b.bytes {
				return -1
			}
			return 1
		}
		return strings.Compare(a.labels.String(), b.labels.String())
	})
	return out[:min(len(out), v.limit)], nil
}

// volume answers the bytes of each group as a vector at the end of the range.
func (s *Server) volume(w http.ResponseWriter, r *http.Request, b *backend) error {
	v, err := s.params(r).volume()
	if err != nil {
		return err
	}
	sums, err := v.sum(r.Context(), b.store, v.span)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", jsonType)
	e := lokiapi.NewEncoder(w, false)
	e.Begin(lokiapi.TypeVector, warningsOf(r))
	for _, sum := range sums {
		e.Sample(sum.labels, v.span.End/1e6, float64(sum.bytes))
	}
	_ = e.End(struct{}{})
	return nil
}

// bucketEnd cuts [start, stop) at multiples of the step since the epoch, so that
// the same range asked a second later has the same buckets. The point of a
// bucket stands at its last millisecond, that of an unfinished one at its end,
// as in Loki 3.7.
func bucketEnd(start, stop, step int64) (end, atMillis int64) {
	into := start % step
	if into < 0 {
		into += step
	}
	// Unsigned, because a range may reach from one end of time to the other.
	if uint64(stop)-uint64(start) < uint64(step-into) {
		return stop, stop / 1e6
	}
	end = start + step - into
	return end, end/1e6 - 1
}

// volumeRange is volume for each step. As in Loki the answer is a vector when
// no group has more than one sample.
func (s *Server) volumeRange(w http.ResponseWriter, r *http.Request, b *backend) error {
	p := s.params(r)
	v, err := p.volume()
	if err != nil {
		return err
	}
	step, err := p.step(v.span)
	if err != nil {
		return err
	}
	type series struct {
		labels labels.Labels
		points []lokiapi.Point
		total  float64
	}
	groups := map[string]*series{}
	points := 0
	kind := lokiapi.TypeVector
	for start := v.span.Start; start < v.span.End; {
		end, at := bucketEnd(start, v.span.End, int64(step))
		sums, err := v.sum(r.Context(), b.store, model.TimeRange{Start: start, End: end})
		if err != nil {
			return err
		}
		if points += len(sums); points > maxVolumePoints {
			return badRequestf("the answer would have more than %d points: use a larger step or fewer target labels", maxVolumePoints)
		}
		for _, sum := range sums {
			key := sum.labels.String()
			g := groups[key]
			if g == nil {
				g = &series{labels: sum.labels}
				groups[key] = g
			}
			g.points = append(g.points, lokiapi.Point{Time: at, Value: float64(sum.bytes)})
			g.total += float64(sum.bytes)
			if len(g.points) > 1 {
				kind = lokiapi.TypeMatrix
			}
		}
		start = end
	}
	list := make([]*series, 0, len(groups))
	for _, g := range groups {
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b *series) int {
		if a.total != b.total {
			if a.total > b.total {
				return -1
			}
			return 1
		}
		return strings.Compare(a.labels.String(), b.labels.String())
	})
	w.Header().Set("Content-Type", jsonType)
	e := lokiapi.NewEncoder(w, false)
	e.Begin(kind, warningsOf(r))
	for _, g := range list[:min(len(list), v.limit)] {
		if kind == lokiapi.TypeVector {
			e.Sample(g.labels, g.points[0].Time, g.points[0].Value)
			continue
		}
		e.Series(g.labels)
		for _, pt := range g.points {
			e.Point(pt.Time, pt.Value)
		}
	}
	_ = e.End(struct{}{})
	return nil
}
