package server

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/logql/stage"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/patterns"
)

// patternBounds are what one question for patterns may cost. Counts are exact
// within them and extrapolated beyond, in two ways that add up:
//
//   - where the range holds more than scan entries (by the index), the same share
//     of each step is read, at a place that a random generator chooses, and
//     counts are divided by it. Samples come for no more than steps steps then:
//     those of the request are joined until they fit;
//   - of the lines that are read and pass the filters, mine are all looked at,
//     then one in two for half as many, one in four, and so on, each chosen at
//     random out of its group, so that lines in turns do no harm; it counts for
//     its group.
//
// The generator begins the same way each time: equal questions have equal
// answers.
type patternBounds struct {
	scan, mine int64
	steps      uint64
	answers    int
}

var defaultPatternBounds = patternBounds{scan: 1_000_000, mine: 100_000, steps: 500, answers: 500}

// patterns groups the lines of a log query by their shape.
func (s *Server) patterns(w http.ResponseWriter, r *http.Request, b *backend) error {
	p := s.params(r)
	span, err := p.bounds()
	if err != nil {
		return err
	}
	step, err := p.step(span)
	if err != nil {
		return err
	}
	query, err := p.logQuery()
	if err != nil {
		return err
	}
	list, err := minePatterns(r.Context(), b.store, query, span, step, defaultPatternBounds)
	if err != nil {
		return err
	}
	return writeData(w, list)
}

// minePatterns returns the patterns with the most lines first.
func minePatterns(ctx context.Context, st Store, q *logql.LogSelector, span model.TimeRange, step time.Duration, bounds patternBounds) ([]lokiapi.Pattern, error) {
	volumes, err := st.Volume(ctx, span, q.Matchers)
	if err != nil {
		return nil, err
	}
	expected := int64(0)
	for _, v := range volumes {
		expected += v.Entries
	}
	m := patternMiner{
		query: q, miner: patterns.NewMiner(patterns.Options{}),
		step: int64(max(step, time.Second)), share: 1,
		every: 1, left: bounds.mine, half: max(bounds.mine/2, 1),
		random: rand.New(rand.NewPCG(1, 2)),
	}
	if len(q.Stages) == 0 && expected > bounds.mine {
		m.every = (min(expected, bounds.scan) + bounds.mine - 1) / bounds.mine
	}
	windows := []model.TimeRange{span}
	if expected > bounds.scan {
		m.share = float64(bounds.scan) / float64(expected)
		windows = m.windows(span, bounds.steps)
	}
	for _, w := range windows {
		if err := m.read(ctx, st, w); err != nil {
			return nil, err
		}
	}
	return m.answer(bounds.answers), nil
}

// patternMiner reads entries, thins them out and counts shapes.
type patternMiner struct {
	query *logql.LogSelector
	miner *patterns.Miner
	step  int64   // ns
	share float64 // of the time that is read
	// Of every lines one is mined; left of them are, before every doubles, which
	// happens after half then.
	every, left, half int64
	// Of the group at hand: its size, how many have passed, which one is mined.
	size, group, chosen int64
	random              *rand.Rand
}

// windows returns the part of each step that is read. Where there are more than
// n steps it makes the step longer.
func (m *patternMiner) windows(r model.TimeRange, n uint64) []model.TimeRange {
	const far = 1 << 62 // keeps the ends of steps inside of an int64
	r.Start, r.End = max(r.Start, -far), min(r.End, far)
	if steps := span(r)/uint64(m.step) + 1; steps > n {
		m.step *= int64((steps + n - 1) / n)
	}
	var out []model.TimeRange
	for at := r.Start; at < r.End; {
		end := min((floorDiv(at, m.step)+1)*m.step, r.End)
		read := max(int64(float64(end-at)*m.share), 1)
		begin := at + m.random.Int64N(end-at-read+1)
		out = append(out, model.TimeRange{Start: begin, End: begin + read})
		at = end
	}
	return out
}

// read mines the entries of a range.
func (m *patternMiner) read(ctx context.Context, st Store, r model.TimeRange) (err error) {
	pipeline, err := stage.NewPipeline(m.query.Stages, stage.Config{})
	if err != nil {
		return badRequestf("%v", err)
	}
	it, err := st.Select(ctx, model.SelectRequest{
		Matchers: m.query.Matchers, Range: r, Unordered: true, Contains: m.query.RequiredSubstrings(),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for {
		batch, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := m.batch(ctx, batch, pipeline); err != nil {
			return err
		}
	}
}

func (m *patternMiner) batch(ctx context.Context, b *model.EntryBatch, p *stage.Pipeline) error {
	whole := p.Empty()
	for i, row := range p.Select(b) {
		if i%stage.CheckEvery == stage.CheckEvery-1 && ctx.Err() != nil {
			return ctx.Err()
		}
		line := b.Lines[row]
		if !whole {
			var ok bool
			if line, ok = p.Row(b, row); !ok {
				continue
			}
		}
		if m.take() {
			m.miner.Add(line, levelOf(b, row), int(floorDiv(b.Timestamps[row], m.step)), float64(m.size))
			m.thin()
		}
	}
	return nil
}

// take says whether the next line is the one of its group that is mined.
func (m *patternMiner) take() bool {
	if m.group == 0 {
		m.size = m.every
		m.chosen = m.random.Int64N(m.size)
	}
	at := m.group
	if m.group++; m.group == m.size {
		m.group = 0
	}
	return at == m.chosen
}

// thin makes the groups to come larger when enough has been mined.
func (m *patternMiner) thin() {
	if m.left--; m.left <= 0 {
		m.left = m.half
		m.every *= 2
	}
}

// floorDiv rounds down, also below zero.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// levelOf is the level of an entry, as ingestion has detected it.
func levelOf(b *model.EntryBatch, row uint32) string {
	if b.Metadata != nil {
		if level := b.Metadata[row].Get(lokiapi.LevelName); level != "" {
			return level
		}
	}
	stream := b.Streams[b.StreamIndex[row]]
	if level := stream.Get(lokiapi.LevelName); level != "" {
		return level
	}
	return "unknown"
}

// answer scales the counts and sorts by them.
func (m *patternMiner) answer(n int) []lokiapi.Pattern {
	clusters := m.miner.Clusters()
	clusters = clusters[:min(n, len(clusters))]
	list := make([]lokiapi.Pattern, len(clusters))
	for i, c := range clusters {
		p := &list[i]
		p.Pattern, p.Level = c.Pattern, c.Class
		p.Samples = make([]lokiapi.PatternSample, len(c.Counts))
		for j, n := range c.Counts {
			p.Samples[j] = lokiapi.PatternSample{
				Time:  floorDiv(int64(n.Bucket)*m.step, int64(time.Second)),
				Count: max(int64(math.Round(n.Weight/m.share)), 1),
			}
		}
	}
	slices.SortStableFunc(list, func(a, b lokiapi.Pattern) int {
		return cmp.Or(cmp.Compare(b.Total(), a.Total()), strings.Compare(a.Pattern, b.Pattern))
	})
	return list
}
