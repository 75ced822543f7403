package stage

import (
	"context"
	"fmt"
	"hash/maphash"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// Failure is a line that a stage could not handle, in a query that has no
// place for it.
type Failure struct {
	// Kind is the value of __error__.
	Kind string
	// Labels are all labels of the entry.
	Labels labels.Labels
}

func (f *Failure) Error() string {
	return fmt.Sprintf("%s for the entry %s", f.Kind, f.Labels)
}

// Samples are numbers taken from a batch, column by column. They belong to
// whoever made them and are used again and again.
type Samples struct {
	// Series are numbers of series, see Extractor.Series.
	Series     []uint32
	Timestamps []int64
	Values     []float64
}

// Reset empties the columns and keeps their capacity.
func (s *Samples) Reset() {
	s.Series, s.Timestamps, s.Values = s.Series[:0], s.Timestamps[:0], s.Values[:0]
}

func (s *Samples) reserve(n int) {
	s.Series = slices.Grow(s.Series, n)
	s.Timestamps = slices.Grow(s.Timestamps, n)
	s.Values = slices.Grow(s.Values, n)
}

func (s *Samples) add(series int, ts int64, v float64) {
	s.Series = append(s.Series, uint32(series))
	s.Timestamps = append(s.Timestamps, ts)
	s.Values = append(s.Values, v)
}

// valueKind says what number a line is.
type valueKind uint8

const (
	valueOne      valueKind = iota // a line counts 1
	valueBytes                     // the length of the line
	valueLabel                     // an unwrapped label
	valueDistinct                  // the hash of a label, see distinctValue
)

// Extractor turns entries into samples of series. It is used like a Pipeline.
type Extractor struct {
	p     *Pipeline
	kind  valueKind
	label string
	conv  func(string) (float64, error)
	post  []Stage // the label filters behind unwrap

	by     bool // names are the only labels kept; else they are taken away
	names  []string
	full   bool // labels without a value are taken away too: a sum is around
	series []labels.Labels
	byKey  map[string]int
	key    []byte
	reads  []string // labels that anything reads
	few    bool     // reads are all of them
	lines  bool     // something looks at lines
}

// NewExtractor compiles the inside of a range aggregation. by is the grouping
// of the series, nil keeps all labels (less the unwrapped one); it is not always
// that of n, see logql.NeededLabels, whose answer for n is c.Hints.
func NewExtractor(n *logql.RangeAggregation, by *logql.Grouping, c Config) (*Extractor, error) {
	x := &Extractor{byKey: map[string]int{}}
	if by != nil {
		x.by, x.names = !by.Without, slices.Clone(by.Labels)
		x.full = by.Without && n.Grouping == nil
		slices.Sort(x.names)
		x.names = slices.Compact(x.names)
	}
	var err error
	if x.p, err = NewPipeline(n.CountedStages(), c); err != nil {
		return nil, err
	}
	switch {
	case n.Unwrap != nil:
		err = x.unwrap(n.Unwrap)
	case n.Op == logql.OpBytesOverTime || n.Op == logql.OpBytesRate:
		x.kind = valueBytes
	case n.Op == logql.OpCountDistinctOverTime:
		x.kind = valueDistinct
		x.takes(n.Label)
	}
	x.lines = x.kind == valueBytes || x.p.readsLines
	x.collectReads(n, c.Hints)
	return x, err
}

func (x *Extractor) unwrap(u *logql.Unwrap) error {
	x.kind = valueLabel
	switch u.Conversion {
	case logql.ConvertBytes:
		x.conv = parseBytes
	case logql.ConvertDuration, logql.ConvertDurationSeconds:
		x.conv = parseSeconds
	default:
		x.conv = parseNumber
	}
	x.takes(u.Label)
	for _, f := range u.Filters {
		st, err := NewLabelFilter(f.Filter)
		if err != nil {
			return err
		}
		x.post = append(x.post, st)
	}
	return nil
}

// takes makes the sample of a label, which is no part of the series then.
func (x *Extractor) takes(label string) {
	x.label = label
	if !x.by && !slices.Contains(x.names, label) {
		x.names = append(x.names, label)
	}
}

// distinctSeed keeps strangers from making values that count as one.
var distinctSeed = maphash.MakeSeed()

// distinctValue is 64 bits in the place of a value: those of a hash, which are
// never taken for a number.
func distinctValue(text string) float64 {
	return math.Float64frombits(maphash.String(distinctSeed, text))
}

// Series returns the labels of all series so far; Samples.Series counts them
// from 0. The slice only grows.
func (x *Extractor) Series() []labels.Labels { return x.series }

// Restart prepares for the batches of another iterator, whose stream numbers
// mean other streams. The series stay.
func (x *Extractor) Restart() { x.p.streams = x.p.streams[:0] }

// AddSeries adds a series that another Extractor of the same query found, and
// returns its number.
func (x *Extractor) AddSeries(ls labels.Labels) int {
	x.series = append(x.series, ls)
	return len(x.series) - 1
}

// collectReads lists the labels that decide about samples and series.
func (x *Extractor) collectReads(n *logql.RangeAggregation, h *Hints) {
	if !x.by || h == nil || h.All {
		return
	}
	x.few = true
	for _, name := range h.Names {
		if name != ErrorLabel && name != ErrorDetailsLabel {
			x.reads = append(x.reads, name)
		}
	}
	for _, st := range n.Selector.Stages {
		var items []logql.LabelItem
		switch st := st.(type) {
		case *logql.DropLabels:
			items = st.Items
		case *logql.KeepLabels:
			items = st.Items
		}
		for _, it := range items {
			if it.Matcher != nil {
				x.reads = append(x.reads, it.Name)
			}
		}
	}
}

// AnyOf is that of Pipeline.
func (x *Extractor) AnyOf() (texts []string, fold bool) { return x.p.AnyOf() }

// NoneOf is that of Pipeline.
func (x *Extractor) NoneOf() []string { return x.p.NoneOf() }

// NoLines says that no line is looked at, see model.SelectRequest.NoLines.
func (x *Extractor) NoLines() bool { return !x.lines }

// TimesSuffice says whether model.SelectRequest.TimesOnly gives the right
// samples of all streams for which StreamSuffices: those that have every label
// that is read, so that none can come from metadata.
func (x *Extractor) TimesSuffice() bool {
	return !x.lines && x.few
}

// StreamSuffices says whether a stream has every label that is read.
func (x *Extractor) StreamSuffices(stream labels.Labels) bool {
	for _, name := range x.reads {
		if !stream.Has(name) {
			return false
		}
	}
	return true
}

// Extract appends the samples of a batch to out. Entries for whose timestamps
// keep is false are left out; a nil keep takes all. An error is a *Failure, or
// that of ctx when it ends meanwhile. It stops early once the budget is
// exceeded, which is for the caller to see.
func (x *Extractor) Extract(ctx context.Context, batch *model.EntryBatch, keep func(ts int64) bool, out *Samples) error {
	x.p.Until(ctx)
	rows := x.p.Select(batch)
	out.reserve(len(rows))
	plain := len(x.p.stages) == 0 && x.label == ""
	for _, row := range rows {
		ts := batch.Timestamps[row]
		if keep != nil && !keep(ts) {
			continue
		}
		if plain && (batch.Metadata == nil || batch.Metadata[row].IsEmpty()) {
			// Nothing touches the labels: the stream alone tells the series.
			if s := x.p.stream(batch, batch.StreamIndex[row]); s.only >= 0 {
				v := 1.0
				if x.kind == valueBytes {
					v = float64(len(batch.Lines[row]))
				}
				if !x.p.b.watch.spend(rowWork) {
					break
				}
				out.add(s.only, ts, v)
				continue
			}
		}
		if err := x.row(batch, row, out); err != nil {
			return err
		}
		if x.p.budget.Exceeded() { // labels can be a megabyte each
			return nil
		}
	}
	return x.p.Err()
}

// row takes the sample of one entry, if it has one.
func (x *Extractor) row(batch *model.EntryBatch, row uint32, out *Samples) error {
	line, ok := x.p.Row(batch, row)
	if !ok {
		return nil
	}
	b, v := &x.p.b, 1.0
	switch x.kind {
	case valueBytes:
		v = float64(len(line))
	case valueDistinct:
		text, _ := b.Get(x.label)
		if text == "" {
			return nil
		}
		v = distinctValue(text)
	case valueLabel:
		text, _ := b.Get(x.label)
		if text == "" {
			return nil
		}
		var err error
		if v, err = x.conv(text); err != nil {
			b.SetErr(ErrSampleExtraction, err.Error())
			v = 0
		}
		for _, st := range x.post {
			if _, ok := st.Process(0, line, b); !ok {
				return nil
			}
		}
	}
	if b.failed() {
		return &Failure{Kind: b.err, Labels: b.flat()}
	}
	out.add(x.seriesOf(), batch.Timestamps[row], v)
	return nil
}

// seriesOf returns the series of the entry at hand.
func (x *Extractor) seriesOf() int {
	p := x.p
	if p.b.untouched() {
		if p.at.only < 0 {
			p.at.only = x.findSeries()
		}
		return p.at.only
	}
	if x.by {
		return x.findSeries()
	}
	for _, name := range x.names {
		p.b.Del(name)
	}
	p.key = p.b.appendKey(p.key[:0])
	i, ok := p.at.series[string(p.key)]
	if !ok {
		if p.at.series == nil {
			p.at.series = map[string]int{}
		}
		i = x.findSeries()
		p.at.series[string(p.key)] = i
		p.budget.Take(labelSetCost + len(p.key))
	}
	return i
}

// findSeries looks the labels of the entry at hand up among all series.
func (x *Extractor) findSeries() int {
	b := &x.p.b
	var ls labels.Labels
	key := x.key[:0]
	if x.by {
		for _, name := range x.names {
			v, ok := b.Get(name)
			if !ok {
				key = append(key, 0)
				continue
			}
			key = appendString(append(key, 1), v)
		}
	} else {
		for _, name := range x.names {
			b.Del(name)
		}
		ls = b.flat()
		if x.full {
			ls = ls.WithoutEmpty()
		}
		key = append(key, ls.Bytes(nil)...)
	}
	x.key = key
	if i, ok := x.byKey[string(key)]; ok {
		return i
	}
	if x.by {
		sb := labels.NewScratchBuilder(len(x.names))
		for _, name := range x.names {
			if v, ok := b.Get(name); ok {
				sb.Add(name, v)
			}
		}
		ls = sb.Labels()
	}
	i := len(x.series)
	x.series = append(x.series, ls)
	x.byKey[string(key)] = i
	x.p.budget.Take(labelSetCost + 2*len(key))
	return i
}
