package server

import (
	"cmp"
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/goleak"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Idle connections of clients that keep them.
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// memStore is a store that keeps everything in a slice.
type memStore struct {
	mu      sync.Mutex
	rows    []memRow
	tails   map[*memTail]bool
	flushes int
	// appendErr is returned by Append, selectErr by Select.
	appendErr, selectErr error
	// onLookup is called at the beginning of each lookup in the index.
	onLookup func(ctx context.Context) error
	// onSelect is called at the beginning of each Select.
	onSelect func(ctx context.Context)
}

type memRow struct {
	labels labels.Labels
	entry  model.Entry
	seq    int
}

func newMemStore() *memStore { return &memStore{tails: map[*memTail]bool{}} }

func (s *memStore) Append(ctx context.Context, b *model.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.appendErr != nil {
		return s.appendErr
	}
	for _, st := range b.Streams {
		for _, e := range st.Entries {
			e.Line = strings.Clone(e.Line)
			e.Metadata = e.Metadata.Copy()
			row := memRow{st.Labels, e, len(s.rows)}
			s.rows = append(s.rows, row)
			for t := range s.tails {
				if matches(t.matchers, st.Labels) {
					t.add(row)
				}
			}
		}
	}
	return nil
}

func matches(ms []*labels.Matcher, ls labels.Labels) bool {
	for _, m := range ms {
		if !m.Matches(ls.Get(m.Name)) {
			return false
		}
	}
	return true
}

// selected returns the rows that match, in order.
func (s *memStore) selected(r model.TimeRange, ms []*labels.Matcher, dir model.Direction) []memRow {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []memRow
	for _, row := range s.rows {
		if r.Contains(row.entry.Timestamp) && matches(ms, row.labels) {
			out = append(out, row)
		}
	}
	slices.SortStableFunc(out, func(a, b memRow) int {
		return cmp.Or(cmp.Compare(a.entry.Timestamp, b.entry.Timestamp), labels.Compare(a.labels, b.labels), cmp.Compare(a.seq, b.seq))
	})
	if dir == model.Backward {
		slices.Reverse(out)
	}
	return out
}

func (s *memStore) Select(ctx context.Context, r model.SelectRequest) (model.BatchIterator, error) {
	if s.onSelect != nil {
		s.onSelect(ctx)
	}
	if s.selectErr != nil {
		return nil, s.selectErr
	}
	return &memIterator{rows: s.selected(r.Range, r.Matchers, r.Direction), table: map[string]uint32{}}, nil
}

// memIterator hands out rows three at a time.
type memIterator struct {
	rows  []memRow
	table map[string]uint32
	batch model.EntryBatch
	stats model.SelectStats
}

func (it *memIterator) fill(rows []memRow) *model.EntryBatch {
	b := &it.batch
	b.Reset()
	for _, row := range rows {
		key := row.labels.String()
		i, ok := it.table[key]
		if !ok {
			i = uint32(len(b.Streams))
			it.table[key] = i
			b.Streams = append(b.Streams, row.labels)
		}
		b.StreamIndex = append(b.StreamIndex, i)
		b.Timestamps = append(b.Timestamps, row.entry.Timestamp)
		b.Lines = append(b.Lines, row.entry.Line)
		b.Metadata = append(b.Metadata, row.entry.Metadata)
		it.stats.Lines++
		it.stats.Bytes += int64(len(row.entry.Line))
	}
	return b
}

func (it *memIterator) Next(ctx context.Context) (*model.EntryBatch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(it.rows) == 0 {
		return nil, io.EOF
	}
	n := min(3, len(it.rows))
	b := it.fill(it.rows[:n])
	it.rows = it.rows[n:]
	return b, nil
}

func (it *memIterator) Stats() model.SelectStats { return it.stats }
func (it *memIterator) Close() error             { return nil }

// memTail is a subscription with room for 1000 entries.
type memTail struct {
	store    *memStore
	matchers []*labels.Matcher
	rows     chan memRow
	done     chan struct{}
	once     sync.Once
	mu       sync.Mutex
	dropped  int
	it       memIterator
}

func (t *memTail) add(row memRow) {
	select {
	case t.rows <- row:
	default:
		t.mu.Lock()
		t.dropped++
		t.mu.Unlock()
	}
}

func (s *memStore) Tail(_ context.Context, r model.TailRequest) (model.BatchIterator, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &memTail{store: s, matchers: r.Matchers, rows: make(chan memRow, 1000), done: make(chan struct{}), it: memIterator{table: map[string]uint32{}}}
	s.tails[t] = true
	return t, nil
}

func (t *memTail) Next(ctx context.Context) (*model.EntryBatch, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.done:
		return nil, io.EOF
	case row := <-t.rows:
		b := t.it.fill([]memRow{row})
		t.mu.Lock()
		b.Dropped, t.dropped = t.dropped, 0
		t.mu.Unlock()
		return b, nil
	}
}

func (t *memTail) Stats() model.SelectStats { return model.SelectStats{} }

func (t *memTail) Close() error {
	t.once.Do(func() {
		close(t.done)
		t.store.mu.Lock()
		delete(t.store.tails, t)
		t.store.mu.Unlock()
	})
	return nil
}

func (s *memStore) tailCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tails)
}

// closeTails ends all subscriptions, as a closing store does.
func (s *memStore) closeTails() {
	s.mu.Lock()
	all := make([]*memTail, 0, len(s.tails))
	for t := range s.tails {
		all = append(all, t)
	}
	s.mu.Unlock()
	for _, t := range all {
		_ = t.Close()
	}
}

func (s *memStore) Series(ctx context.Context, r model.TimeRange, ms []*labels.Matcher) ([]labels.Labels, error) {
	if s.onLookup != nil {
		if err := s.onLookup(ctx); err != nil {
			return nil, err
		}
	}
	var out []labels.Labels
	for _, row := range s.selected(r, ms, model.Forward) {
		out = append(out, row.labels)
	}
	slices.SortFunc(out, labels.Compare)
	return slices.CompactFunc(out, labels.Equal), nil
}

func (s *memStore) LabelNames(ctx context.Context, r model.TimeRange, ms []*labels.Matcher) ([]string, error) {
	var out []string
	series, err := s.Series(ctx, r, ms)
	if err != nil {
		return nil, err
	}
	for _, ls := range series {
		ls.Range(func(l labels.Label) { out = append(out, l.Name) })
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func (s *memStore) LabelValues(ctx context.Context, name string, r model.TimeRange, ms []*labels.Matcher) ([]string, error) {
	var out []string
	series, err := s.Series(ctx, r, ms)
	if err != nil {
		return nil, err
	}
	for _, ls := range series {
		if v := ls.Get(name); v != "" {
			out = append(out, v)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func (s *memStore) Volume(ctx context.Context, r model.TimeRange, ms []*labels.Matcher) ([]model.StreamVolume, error) {
	if s.onLookup != nil {
		if err := s.onLookup(ctx); err != nil {
			return nil, err
		}
	}
	var out []model.StreamVolume
	rows := s.selected(r, ms, model.Forward)
	slices.SortStableFunc(rows, func(a, b memRow) int { return labels.Compare(a.labels, b.labels) })
	for _, row := range rows {
		if n := len(out); n == 0 || !labels.Equal(out[n-1].Labels, row.labels) {
			out = append(out, model.StreamVolume{Labels: row.labels, Chunks: 1})
		}
		v := &out[len(out)-1]
		v.Entries++
		v.Bytes += int64(len(row.entry.Line))
	}
	return out, nil
}

func (s *memStore) Flush(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flushes++
	return s.appendErr
}

func (s *memStore) flushCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flushes
}
