package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"unsafe"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// maxGroup bounds the lines of one stream and timestamp that several replicas
// have: they are compared in memory.
const maxGroup = 32 << 20

// TooManyAlikeError says that several replicas have so many lines of one stream
// and timestamp that they cannot be compared in memory.
type TooManyAlikeError struct {
	Stream    labels.Labels
	Timestamp int64
}

func (e *TooManyAlikeError) Error() string {
	return fmt.Sprintf("several replicas have more than %d MiB of lines of %s with the one timestamp %s: leave it out of the range, or narrow the stream selector",
		maxGroup>>20, e.Stream, clock(e.Timestamp))
}

// mergeSource is one of the iterators of a merge, which are sorted by the names
// of their replicas.
type mergeSource struct {
	it    model.BatchIterator
	b     *model.EntryBatch // nil at the end
	pos   int
	trans translation
	used  bool // rows of b are part of the batch at hand
}

func (s *mergeSource) ts() int64  { return s.b.Timestamps[s.pos] }
func (s *mergeSource) id() uint32 { return s.trans.ids[s.b.StreamIndex[s.pos]] }

func (s *mergeSource) line() string {
	if len(s.b.Lines) == 0 {
		return ""
	}
	return s.b.Lines[s.pos]
}

func (s *mergeSource) metadata() labels.Labels {
	if len(s.b.Metadata) == 0 {
		return labels.EmptyLabels()
	}
	return s.b.Metadata[s.pos]
}

// merge hands out the ordered rows of several sources in order, and every row as
// often as the source that has most of it. Rows of a batch are parts of the
// sources' batches, so that a batch ends where one of those does.
type merge struct {
	sources  []*mergeSource
	backward bool
	rows     int  // limit of a batch
	bare     bool // the reader does not look at lines and metadata
	table    streamTable
	out      model.EntryBatch
	meta     bool // a row of out has metadata
	begun    bool
	group    group
	err      error
	dropped  func(n int) // is told of rows that were left out
}

// defaultRows is the limit of a batch where the request has none.
const defaultRows = 4096

// newMerge merges iterators that are given in the order of their replicas' names.
func newMerge(its []model.BatchIterator, r *model.SelectRequest, dropped func(int)) *merge {
	m := &merge{backward: r.Direction == model.Backward, rows: r.BatchRows, bare: r.TimesOnly, dropped: dropped}
	if m.rows <= 0 {
		m.rows = defaultRows
	}
	for _, it := range its {
		m.sources = append(m.sources, &mergeSource{it: it})
	}
	return m
}

// load gets the next batch of a source.
func (m *merge) load(ctx context.Context, s *mergeSource) error {
	s.used = false
	b, err := s.it.Next(ctx)
	if errors.Is(err, io.EOF) {
		s.b = nil
		return nil
	}
	if err != nil {
		return err
	}
	s.b, s.pos = b, 0
	s.trans.grow(&m.table, b.Streams)
	return nil
}

// Next implements model.BatchIterator.
func (m *merge) Next(ctx context.Context) (*model.EntryBatch, error) {
	if m.err != nil {
		return nil, m.err
	}
	m.out.Reset()
	m.meta = false
	m.group.reset()
	for _, s := range m.sources {
		s.used = false
	}
	if err := m.fill(ctx); err != nil {
		m.err = err
		return nil, err
	}
	if len(m.out.Timestamps) == 0 {
		m.err = io.EOF
		return nil, m.err
	}
	m.out.Streams = m.table.labels
	b := m.out
	if !m.meta {
		b.Metadata = nil
	}
	if m.bare {
		b.Lines, b.Metadata = nil, nil
	}
	return &b, nil
}

// fill gathers rows until the batch is full or ends.
func (m *merge) fill(ctx context.Context) error {
	for len(m.out.Timestamps) < m.rows {
		for _, s := range m.sources {
			if m.begun && (s.b == nil || s.pos < len(s.b.Timestamps)) {
				continue
			}
			if s.used {
				return nil // its rows have to be read first
			}
			if err := m.load(ctx, s); err != nil {
				return err
			}
		}
		m.begun = true
		first, second := m.heads()
		switch {
		case first == nil:
			return nil
		case second != nil && m.compare(first, second) == 0:
			if done, err := m.alike(ctx, first); done || err != nil {
				return err
			}
		default:
			m.run(first, second)
		}
	}
	return nil
}

// compare orders the first rows of two sources, as the batch has them.
func (m *merge) compare(a, b *mergeSource) int {
	c := 0
	if at, bt := a.ts(), b.ts(); at != bt {
		c = 1
		if at < bt {
			c = -1
		}
	} else if ai, bi := a.id(), b.id(); ai != bi {
		c = labels.Compare(m.table.labels[ai], m.table.labels[bi])
	}
	if m.backward {
		return -c
	}
	return c
}

// heads returns the source whose row is next and the one that follows it; nil for
// none.
func (m *merge) heads() (first, second *mergeSource) {
	for _, s := range m.sources {
		switch {
		case s.b == nil:
		case first == nil:
			first = s
		case m.compare(s, first) < 0:
			first, second = s, first
		case second == nil || m.compare(s, second) < 0:
			second = s
		}
	}
	return first, second
}

// run takes the rows of a source that come before those of the next one.
func (m *merge) run(s, next *mergeSource) {
	from := s.pos
	last := min(len(s.b.Timestamps), from+m.rows-len(m.out.Timestamps))
	s.pos++
	if next == nil {
		s.pos = last
	}
	for s.pos < last {
		if t, limit := s.ts(), next.ts(); t == limit || (t > limit) != m.backward {
			if m.compare(s, next) >= 0 {
				break
			}
		}
		s.pos++
	}
	m.takeRun(s, from, s.pos)
}

// takeRun adds rows of a source to the batch.
func (m *merge) takeRun(s *mergeSource, from, to int) {
	s.used = true
	b := s.b
	for _, id := range b.StreamIndex[from:to] {
		m.out.StreamIndex = append(m.out.StreamIndex, s.trans.ids[id])
	}
	m.out.Timestamps = append(m.out.Timestamps, b.Timestamps[from:to]...)
	if len(b.Lines) > 0 {
		m.out.Lines = append(m.out.Lines, b.Lines[from:to]...)
	} else {
		m.out.Lines = append(m.out.Lines, make([]string, to-from)...)
	}
	if len(b.Metadata) > 0 {
		m.out.Metadata = append(m.out.Metadata, b.Metadata[from:to]...)
		m.meta = true
	} else {
		m.out.Metadata = append(m.out.Metadata, make([]labels.Labels, to-from)...)
	}
}

func (m *merge) add(id uint32, ts int64, line string, metadata labels.Labels) {
	m.out.StreamIndex = append(m.out.StreamIndex, id)
	m.out.Timestamps = append(m.out.Timestamps, ts)
	m.out.Lines = append(m.out.Lines, line)
	m.out.Metadata = append(m.out.Metadata, metadata)
	m.meta = m.meta || !metadata.IsEmpty()
}

// alike takes the rows of one stream and timestamp that several sources have. It
// is done when the batch has to be read first.
func (m *merge) alike(ctx context.Context, first *mergeSource) (done bool, err error) {
	if m.alikeSingle(first) {
		return false, nil
	}
	if len(m.out.Timestamps) > 0 {
		return true, nil // sources will be moved on, and their batches with them
	}
	g := &m.group
	id, ts := first.id(), first.ts()
	for i, s := range m.sources {
		for s.b != nil && s.ts() == ts && s.id() == id {
			if g.add(i, s.line(), s.metadata()); g.bytes() > maxGroup {
				return false, &TooManyAlikeError{Stream: m.table.labels[id], Timestamp: ts}
			}
			if s.pos++; s.pos == len(s.b.Timestamps) {
				if err := m.load(ctx, s); err != nil {
					return false, err
				}
			}
		}
	}
	total := len(g.rows)
	for _, r := range g.largest(m.backward) {
		m.add(id, ts, r.line, r.metadata)
	}
	if n := total - len(m.out.Timestamps); n > 0 {
		m.dropped(n)
	}
	return true, nil
}

// alikeSingle is the usual case: each of the sources has one row of the stream
// and timestamp, and another one behind it in its batch.
func (m *merge) alikeSingle(first *mergeSource) bool {
	id, ts := first.id(), first.ts()
	var with [8]*mergeSource
	n := 0
	for _, s := range m.sources {
		if s.b == nil || s.ts() != ts || s.id() != id {
			continue
		}
		if n == len(with) || s.pos+1 >= len(s.b.Timestamps) ||
			s.b.Timestamps[s.pos+1] == ts && s.trans.ids[s.b.StreamIndex[s.pos+1]] == id {
			return false
		}
		with[n] = s
		n++
	}
	line, metadata := first.line(), first.metadata()
	for _, s := range with[:n] {
		if s.line() != line || !labels.Equal(s.metadata(), metadata) {
			return false
		}
	}
	m.takeRun(first, first.pos, first.pos+1)
	for _, s := range with[:n] {
		s.pos++
	}
	m.dropped(n - 1)
	return true
}

// Stats implements model.BatchIterator.
func (m *merge) Stats() model.SelectStats {
	var sum model.SelectStats
	for _, s := range m.sources {
		sum.Add(s.it.Stats())
	}
	return sum
}

// Close implements model.BatchIterator.
func (m *merge) Close() error {
	var errs []error
	for _, s := range m.sources {
		errs = append(errs, s.it.Close())
	}
	m.err = io.EOF
	return errors.Join(errs...)
}

// group gathers the rows of one stream and timestamp, of all sources. It copies
// their text.
type group struct {
	rows []groupRow
	text []byte
	seen map[groupKey]int
	out  []groupRow
}

type groupRow struct {
	source   int
	line     string
	metadata labels.Labels
}

// groupKey tells rows apart.
type groupKey struct{ line, metadata string }

func (g *group) reset() {
	g.rows, g.out = g.rows[:0], g.out[:0]
	g.text = nil // rows that were handed out may be part of it
}

func (g *group) bytes() int { return len(g.text) + len(g.rows)*int(unsafe.Sizeof(groupRow{})) }

// add takes a row of a source; the sources come in order.
func (g *group) add(source int, line string, metadata labels.Labels) {
	if cap(g.text)-len(g.text) < len(line) {
		// What was added before stays in the array that it is in.
		g.text = make([]byte, len(g.text), len(g.text)*2+len(line)+512)
	}
	at := len(g.text)
	g.text = append(g.text, line...)
	own := g.text[at:len(g.text):len(g.text)]
	g.rows = append(g.rows, groupRow{source, unsafe.String(unsafe.SliceData(own), len(own)), metadata.Copy()})
}

// largest returns the rows of the first source and what each further one has
// more of; backward, the exact reverse. Rows of the sources are in the order of
// the direction.
func (g *group) largest(backward bool) []groupRow {
	clear(g.seen)
	if g.seen == nil {
		g.seen = map[groupKey]int{}
	}
	own := map[groupKey]int{}
	for at := 0; at < len(g.rows); {
		end := at
		for end < len(g.rows) && g.rows[end].source == g.rows[at].source {
			end++
		}
		clear(own)
		for k := range end - at {
			i := at + k
			if backward { // in the order of forward
				i = end - 1 - k
			}
			r := g.rows[i]
			key := groupKey{r.line, string(r.metadata.Bytes(nil))}
			if own[key]++; own[key] > g.seen[key] {
				g.seen[key]++
				g.out = append(g.out, r)
			}
		}
		at = end
	}
	if backward {
		for i, j := 0, len(g.out)-1; i < j; i, j = i+1, j-1 {
			g.out[i], g.out[j] = g.out[j], g.out[i]
		}
	}
	return g.out
}
