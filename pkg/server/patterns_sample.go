package server

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/patterns"
)

// A sample is taken so that little is decoded. Chunk blocks hold lines of one
// application and some minutes, and opening one costs as much as some thousand
// lines of it. The rule:
//
//   - The range is divided into a few parts. A query with a line filter that the
//     store can look for reads whole parts, in an order that scatters them, until
//     enough lines were decoded; its counts are exact in those parts.
//   - For others the streams are divided by service_name, the smallest services
//     taken together, and of each service and part one window is read, where a
//     random line of that part lies. A window holds as many lines as the service
//     is due by its share of all.
//   - The index tells how many lines each service has in each step. The lines of
//     a window stand for those of its service in its part; a part without a
//     window, or with an empty one, is stood for by the nearest of its service.
//     So the lines of all patterns together are right in every step, and only
//     their division among the patterns is a guess.
//   - Where there are many streams, or few lines of each in a step, steps are
//     joined: the index is asked once for each, and tells whole lines.

// samplePlan is what has been read for what.
type samplePlan struct {
	first  int         // step of the range's begin
	volume [][]float64 // lines by service and step, from the index
	tasks  []sampleTask
}

// sampleTask is a service in a part of the range.
type sampleTask struct {
	service  int
	from, to int // steps
	// whole says that the part is read as a whole, into a bucket for each step.
	whole bool
	read  bool    // it has been read
	rows  float64 // lines of the service where it was read
}

// Buckets of a sample: one for each task and step, then one for each task.
func (p *samplePlan) stepBucket(task, step int) int { return task*len(p.volume[0]) + step }
func (p *samplePlan) taskBucket(task int) int       { return len(p.tasks)*len(p.volume[0]) + task }

// sample plans, reads, and leaves the plan for extrapolation.
func (m *patternMiner) sample(ctx context.Context, volumes []model.StreamVolume, total, bytes int64) error {
	// The steps of ends that are far out would not fit into an int64.
	const far = 1 << 61
	m.span.Start, m.span.End = max(m.span.Start, -far), min(m.span.End, far)
	m.joinSteps(int64(len(volumes)), total)
	filtered := len(m.query.RequiredSubstrings()) > 0
	services, names := [][]*labels.Matcher{m.query.Matchers}, map[string]int{}
	parts := int64(m.bounds.parts)
	if filtered {
		parts = max(4*parts, 4*total/m.bounds.decode, 4*bytes/m.bounds.bytes)
	} else {
		services, names = divide(m.query.Matchers, volumes, m.bounds.services)
	}
	if err := m.newPlan(ctx, len(services), names, volumes, parts); err != nil {
		return err
	}
	p := m.plan
	left, leftBytes := m.bounds.decode, m.bounds.bytes
	for _, i := range scattered(len(p.tasks)) {
		t := &p.tasks[i]
		if filtered && (left <= 0 || leftBytes <= 0) {
			break
		}
		r := m.window(t, filtered)
		if r.Start >= r.End {
			continue
		}
		bucket := func(ts int64) int {
			if t.whole {
				return p.stepBucket(i, m.stepOf(ts)-p.first)
			}
			return p.taskBucket(i)
		}
		cost, err := m.read(ctx, services[t.service], r, bucket)
		if err == nil && cost.rows == 0 && !t.whole { // bursts leave gaps
			if r, err = m.densest(ctx, services[t.service], r, m.rangeOf(p.first+t.from, p.first+t.to)); err == nil {
				cost, err = m.read(ctx, services[t.service], r, bucket)
			}
		}
		if err != nil {
			return err
		}
		left -= cost.decoded
		leftBytes -= cost.bytes
		t.read, t.rows = true, float64(cost.rows)
		if filtered { // rows without the text did not come
			t.rows = p.sum(t.service, t.from, t.to)
		}
	}
	return nil
}

// densest returns a range about as long as like inside of r, where the index
// has the most entries.
func (m *patternMiner) densest(ctx context.Context, ms []*labels.Matcher, like, r model.TimeRange) (model.TimeRange, error) {
	const pieces = 16
	for span(r) > max(span(like), pieces) {
		best, most := r, int64(-1)
		length := (r.End - r.Start + pieces - 1) / pieces
		for at := r.Start; at < r.End; at += length {
			piece := model.TimeRange{Start: at, End: min(at+length, r.End)}
			volumes, err := m.store.Volume(ctx, piece, ms)
			if err != nil {
				return r, err
			}
			entries := int64(0)
			for _, v := range volumes {
				entries += v.Entries
			}
			if entries > most {
				best, most = piece, entries
			}
		}
		r = best
	}
	return r, nil
}

// joinSteps makes the step longer where there would be too many.
func (m *patternMiner) joinSteps(streams, total int64) {
	const (
		answers = 100_000 // volumes that the index is asked for
		lines   = 20      // of a stream in a step, on average
	)
	most := min(int64(m.bounds.steps), answers/streams, total/(lines*streams))
	most = max(most, int64(m.bounds.parts))
	if steps := int64(span(m.span)/uint64(m.step)) + 1; steps > most {
		m.step *= (steps + most - 1) / most
	}
}

// serviceName is the label that every stream has, see lokiapi.Limits.
const serviceName = "service_name"

// divide makes matchers for each service and returns the numbers of the
// services by name. The smallest share the last.
func divide(ms []*labels.Matcher, volumes []model.StreamVolume, most int) ([][]*labels.Matcher, map[string]int) {
	entries := map[string]int64{}
	for _, v := range volumes {
		entries[v.Labels.Get(serviceName)] += v.Entries
	}
	list := make([]string, 0, len(entries))
	for s := range entries {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b string) int {
		return cmp.Or(cmp.Compare(entries[b], entries[a]), strings.Compare(a, b))
	})
	var out [][]*labels.Matcher
	number := map[string]int{}
	for i, s := range list {
		if i < most {
			out = append(out, append(slices.Clip(ms), labels.MustNewMatcher(labels.MatchEqual, serviceName, s)))
			number[s] = i
			continue
		}
		number[s] = most - 1
	}
	if len(list) > most {
		var quoted []string
		for _, s := range list[most-1:] {
			quoted = append(quoted, regexp.QuoteMeta(s))
		}
		rest := labels.MustNewMatcher(labels.MatchRegexp, serviceName, strings.Join(quoted, "|"))
		out[most-1] = append(slices.Clip(ms), rest)
	}
	return out, number
}

// newPlan asks the index for the lines of each step and makes the tasks.
func (m *patternMiner) newPlan(ctx context.Context, services int, names map[string]int, volumes []model.StreamVolume, parts int64) error {
	p := &samplePlan{first: m.stepOf(m.span.Start)}
	steps := m.stepOf(m.span.End-1) - p.first + 1
	p.volume = make([][]float64, services)
	for i := range p.volume {
		p.volume[i] = make([]float64, steps)
	}
	serviceOf := func(v model.StreamVolume) int { return names[v.Labels.Get(serviceName)] }
	for i := range steps {
		list, err := m.store.Volume(ctx, m.rangeOf(p.first+i, p.first+i+1), m.query.Matchers)
		if err != nil {
			return err
		}
		for _, v := range list {
			p.volume[serviceOf(v)][i] += float64(v.Entries)
		}
	}
	// Over the whole range the index errs less than in the sum of its steps.
	totals := make([]float64, services)
	for _, v := range volumes {
		totals[serviceOf(v)] += float64(v.Entries)
	}
	for i, total := range totals {
		sum := p.sum(i, 0, steps)
		for s := range steps {
			if sum > 0 {
				p.volume[i][s] *= total / sum
			} else {
				p.volume[i][s] = total / float64(steps)
			}
		}
	}
	n := min(int(parts), steps)
	for w := range n {
		for i := range services {
			p.tasks = append(p.tasks, sampleTask{service: i, from: w * steps / n, to: (w + 1) * steps / n})
		}
	}
	m.plan = p
	return nil
}

// rangeOf is the time from one step to another, cut to the range of the request.
func (m *patternMiner) rangeOf(from, to int) model.TimeRange {
	return model.TimeRange{Start: max(int64(from)*m.step, m.span.Start), End: min(int64(to)*m.step, m.span.End)}
}

// sum is the lines of a service in some steps.
func (p *samplePlan) sum(service, from, to int) float64 {
	n := 0.0
	for _, v := range p.volume[service][from:to] {
		n += v
	}
	return n
}

// window chooses what is read for a task.
func (m *patternMiner) window(t *sampleTask, filtered bool) model.TimeRange {
	p := m.plan
	all := m.rangeOf(p.first+t.from, p.first+t.to)
	lines := p.sum(t.service, t.from, t.to)
	if lines == 0 {
		return model.TimeRange{}
	}
	total := 0.0
	for i := range p.volume {
		total += p.sum(i, 0, len(p.volume[i]))
	}
	// No fewer than some hundred: a block is opened for them anyway.
	want := max(m.sampled*lines/total, m.sampled/100, 1)
	if filtered || lines <= want {
		t.whole = true
		return all
	}
	at := t.from
	for before := m.random.Float64() * lines; at < t.to-1; at++ {
		if before -= p.volume[t.service][at]; before < 0 {
			break
		}
	}
	here := p.volume[t.service][at]
	if here > want {
		r := m.rangeOf(p.first+at, p.first+at+1)
		length := max(int64(float64(r.End-r.Start)*want/here), 1)
		r.Start += m.random.Int64N(r.End - r.Start - length + 1)
		r.End = r.Start + length
		return r
	}
	end := at + 1
	for ; end < t.to && here < want; end++ {
		here += p.volume[t.service][end]
	}
	return m.rangeOf(p.first+at, p.first+end)
}

// scattered returns the numbers below n in an order in which any first few are
// spread over all.
func scattered(n int) []int {
	order := make([]int, 0, n)
	bits := 0
	for 1<<bits < n {
		bits++
	}
	for i := range 1 << bits {
		r := 0
		for b := range bits {
			r |= i >> b & 1 << (bits - 1 - b)
		}
		if r < n {
			order = append(order, r)
		}
	}
	return order
}

// standIn returns the number of the task that stands for task i: itself if it
// found something, else the nearest of its service that did; -1 if none.
func (p *samplePlan) standIn(i int) int {
	best, distance := -1, 0
	for j := range p.tasks {
		t := &p.tasks[j]
		if t.service != p.tasks[i].service || t.rows == 0 || !t.read {
			continue
		}
		if d := max(t.from, p.tasks[i].from) - min(t.from, p.tasks[i].from); best < 0 || d < distance {
			best, distance = j, d
		}
	}
	return best
}

// extrapolate turns the counts of a cluster into counts by step.
func (p *samplePlan) extrapolate(counts []patterns.Count) []patterns.Count {
	steps := len(p.volume[0])
	out := make([]float64, steps)
	found := make([]float64, len(p.tasks)) // lines of the cluster by task
	for _, c := range counts {
		task := c.Bucket / steps
		if task < len(p.tasks) {
			out[c.Bucket%steps] += c.Weight
		} else {
			task = c.Bucket - p.taskBucket(0)
		}
		found[task] += c.Weight
	}
	for i := range p.tasks {
		t := &p.tasks[i]
		if t.whole && t.read {
			continue
		}
		if j := p.standIn(i); j >= 0 && found[j] > 0 {
			for s := t.from; s < t.to; s++ {
				out[s] += found[j] * p.volume[t.service][s] / p.tasks[j].rows
			}
		}
	}
	var list []patterns.Count
	for s, n := range out {
		if n > 0 {
			list = append(list, patterns.Count{Bucket: p.first + s, Weight: n})
		}
	}
	return list
}
