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

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/logql/stage"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/patterns"
)

// patternBounds are what one question for patterns may cost. Where the index
// tells of no more than exact entries all are read and the counts are exact.
// Beyond that they are extrapolated from a sample (patterns_sample.go); the
// random choices in it are the same each time, so that equal questions have
// equal answers.
type patternBounds struct {
	exact int64
	// bytes bound, about, the text of what is decoded, where lines are long. More
	// is not exact either.
	bytes int64
	// decode is how many lines are decoded for a query with a line filter that
	// the store can look for: what does not have its text costs next to nothing.
	decode int64
	// sample is how many lines are read for others.
	sample int64
	// services that are sampled one by one, and parts of the range in which each is.
	services, parts int
	// steps are the most that samples are answered for where there is a choice:
	// those of the request are joined until they fit.
	steps   int
	answers int
}

var defaultPatternBounds = patternBounds{
	exact: 50_000, bytes: 32 << 20, decode: 100_000, sample: 25_000, services: 16, parts: 3, steps: 250, answers: 500,
}

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
	return writeData(w, r, list)
}

// minePatterns returns the patterns with the most lines first.
func minePatterns(ctx context.Context, st Store, q *logql.LogSelector, span model.TimeRange, step time.Duration, bounds patternBounds) ([]lokiapi.Pattern, error) {
	volumes, err := st.Volume(ctx, span, q.Matchers)
	if err != nil {
		return nil, err
	}
	var total, bytes int64
	for _, v := range volumes {
		total += v.Entries
		bytes += v.Bytes
	}
	m := patternMiner{
		store: st, query: q, span: span, step: int64(max(step, time.Second)), bounds: bounds, sampled: float64(bounds.sample),
		miner: patterns.NewMiner(patterns.Options{}), random: rand.New(rand.NewPCG(1, 2)),
	}
	if total <= bounds.exact && bytes <= bounds.bytes {
		_, err = m.read(ctx, q.Matchers, span, m.stepOf)
	} else {
		if bytes > 0 {
			m.sampled = min(m.sampled, float64(bounds.bytes)*float64(total)/float64(bytes))
		}
		err = m.sample(ctx, volumes, total, bytes)
	}
	if err != nil {
		return nil, err
	}
	return m.answer(), nil
}

// patternMiner reads entries and counts shapes.
type patternMiner struct {
	store  Store
	query  *logql.LogSelector
	span   model.TimeRange
	step   int64 // ns
	bounds patternBounds
	// sampled is how many lines a sample is to have.
	sampled float64
	miner   *patterns.Miner
	random  *rand.Rand
	// plan is set where counts are extrapolated.
	plan *samplePlan
}

// stepOf is the bucket of a timestamp.
func (m *patternMiner) stepOf(ts int64) int { return int(floorDiv(ts, m.step)) }

// floorDiv rounds down, also below zero.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// readCost is what a read has come across.
type readCost struct {
	rows           int64 // that the store returned
	decoded, bytes int64 // lines that it decoded, and their text
}

// read mines the entries of some streams in a range, into the buckets that
// bucket returns.
func (m *patternMiner) read(ctx context.Context, ms []*labels.Matcher, r model.TimeRange, bucket func(ts int64) int) (cost readCost, err error) {
	pipeline, err := stage.NewPipeline(m.query.Stages, stage.Config{})
	if err != nil {
		return cost, badRequestf("%v", err)
	}
	it, err := m.store.Select(ctx, model.SelectRequest{
		Matchers: ms, Range: r, Unordered: true, Contains: m.query.RequiredSubstrings(),
	})
	if err != nil {
		return cost, err
	}
	defer func() {
		stats := it.Stats()
		cost.decoded, cost.bytes = stats.Lines, stats.Bytes
		err = errors.Join(err, it.Close())
	}()
	for {
		batch, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return cost, nil
		}
		if err != nil {
			return cost, err
		}
		cost.rows += int64(batch.Len())
		if err := m.batch(ctx, batch, pipeline, bucket); err != nil {
			return cost, err
		}
	}
}

func (m *patternMiner) batch(ctx context.Context, b *model.EntryBatch, p *stage.Pipeline, bucket func(ts int64) int) error {
	p.Until(ctx)
	for _, row := range p.Select(b) {
		line, ok := p.Row(b, row)
		if !ok {
			continue
		}
		m.miner.Add(line, levelOf(b, row), bucket(b.Timestamps[row]), 1)
	}
	return p.Err()
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

// answer counts and sorts.
func (m *patternMiner) answer() []lokiapi.Pattern {
	clusters := m.miner.Clusters()
	list := make([]lokiapi.Pattern, 0, len(clusters))
	for _, c := range clusters {
		counts := c.Counts
		if m.plan != nil {
			counts = m.plan.extrapolate(counts)
		}
		p := lokiapi.Pattern{Pattern: c.Pattern, Level: c.Class}
		for _, n := range counts {
			if lines := int64(math.Round(n.Weight)); lines > 0 {
				p.Samples = append(p.Samples, lokiapi.PatternSample{
					Time: floorDiv(int64(n.Bucket)*m.step, int64(time.Second)), Count: lines,
				})
			}
		}
		if p.Samples != nil {
			list = append(list, p)
		}
	}
	slices.SortStableFunc(list, func(a, b lokiapi.Pattern) int {
		return cmp.Or(cmp.Compare(b.Total(), a.Total()), strings.Compare(a.Pattern, b.Pattern))
	})
	return list[:min(m.bounds.answers, len(list))]
}
