package engine

import (
	"context"
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"sort"
	"strings"
	"sync"
	"unsafe"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// memoryStore is a Querier over entries in memory. It hands out small batches
// in memory that it overwrites with the next one, so that whoever keeps a line
// without cloning it is found out.
type memoryStore struct {
	streams []model.StreamEntries
	// shuffle orders the streams of unordered requests.
	shuffle *rand.Rand
	// rows is the size of batches; 0 means 3.
	rows int
	// growTable fills the stream table as rows come, not at once.
	growTable bool
	// requests are all that have been asked for.
	requests []model.SelectRequest
	mu       sync.Mutex // of Select: a query may read in several goroutines
}

type memoryRow struct {
	stream, seq int
	e           model.Entry
}

func (m *memoryStore) push(ls labels.Labels, es ...model.Entry) {
	for i := range m.streams {
		if labels.Equal(m.streams[i].Labels, ls) {
			m.streams[i].Entries = append(m.streams[i].Entries, es...)
			return
		}
	}
	m.streams = append(m.streams, model.StreamEntries{Labels: ls, Entries: es})
}

func (m *memoryStore) Select(_ context.Context, req model.SelectRequest) (model.BatchIterator, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests = append(m.requests, req)
	it := &memoryIterator{req: req, size: m.rows, grow: m.growTable}
	if it.size == 0 {
		it.size = 3
	}
	if req.BatchRows > 0 {
		it.size = min(it.size, req.BatchRows)
	}
	order := make([]int, len(m.streams))
	for i := range order {
		order[i] = i
	}
	if m.shuffle != nil { // stream numbers mean something else each time
		order = m.shuffle.Perm(len(m.streams))
	}
	for _, i := range order {
		s := m.streams[i]
		if !slices.ContainsFunc(req.Matchers, func(x *labels.Matcher) bool { return !x.Matches(s.Labels.Get(x.Name)) }) {
			it.batch.Streams = append(it.batch.Streams, s.Labels)
			for seq, e := range s.Entries {
				if req.Range.Contains(e.Timestamp) && containsAll(e.Line, req.Contains) && containsAny(e.Line, req) {
					it.left = append(it.left, memoryRow{len(it.batch.Streams) - 1, seq, e})
				}
			}
		}
	}
	sort.SliceStable(it.left, func(i, j int) bool {
		a, b := it.left[i], it.left[j]
		if a.e.Timestamp != b.e.Timestamp {
			return a.e.Timestamp < b.e.Timestamp
		}
		if c := labels.Compare(it.batch.Streams[a.stream], it.batch.Streams[b.stream]); c != 0 {
			return c < 0
		}
		return a.seq < b.seq
	})
	if req.Direction == model.Backward {
		slices.Reverse(it.left)
	}
	if req.Unordered && m.shuffle != nil {
		rank := m.shuffle.Perm(len(it.batch.Streams))
		sort.SliceStable(it.left, func(i, j int) bool { return rank[it.left[i].stream] < rank[it.left[j].stream] })
	}
	return it, nil
}

func containsAll(line string, needles []string) bool {
	for _, n := range needles {
		if !strings.Contains(line, n) {
			return false
		}
	}
	return true
}

// containsAny takes the other hints at their word, so that a wrong one loses lines.
func containsAny(line string, req model.SelectRequest) bool {
	if slices.ContainsFunc(req.ContainsNone, func(s string) bool { return strings.Contains(line, s) }) {
		return false
	}
	return len(req.ContainsAny) == 0 || slices.ContainsFunc(req.ContainsAny, func(s string) bool {
		if req.AnyFold {
			return regexp.MustCompile("(?i)" + regexp.QuoteMeta(s)).MatchString(line)
		}
		return strings.Contains(line, s)
	})
}

type memoryIterator struct {
	req    model.SelectRequest
	size   int
	left   []memoryRow
	batch  model.EntryBatch
	text   []byte
	stats  model.SelectStats
	closed bool
	grow   bool
	table  []labels.Labels
}

func (it *memoryIterator) Next(ctx context.Context) (*model.EntryBatch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for i := range it.text {
		it.text[i] = '#'
	}
	b := &it.batch
	b.Reset()
	b.Lines, b.Metadata = nil, nil
	if it.grow && it.table == nil {
		it.table, b.Streams = b.Streams, nil
	}
	if len(it.left) == 0 {
		return nil, io.EOF
	}
	rows := it.left[:min(it.size, len(it.left))]
	it.left = it.left[len(rows):]
	n := 0
	for _, r := range rows {
		n += len(r.e.Line)
	}
	it.text = make([]byte, 0, n)
	meta := false
	for _, r := range rows {
		if it.grow && r.stream >= len(b.Streams) {
			b.Streams = it.table[:r.stream+1]
		}
		b.StreamIndex = append(b.StreamIndex, uint32(r.stream))
		b.Timestamps = append(b.Timestamps, r.e.Timestamp)
		it.stats.Lines++
		if it.req.TimesOnly {
			continue
		}
		at := len(it.text)
		it.text = append(it.text, r.e.Line...)
		line := ""
		if len(r.e.Line) > 0 {
			line = unsafe.String(&it.text[at], len(r.e.Line))
		}
		if !it.req.NoLines {
			b.Lines = append(b.Lines, line)
			it.stats.Bytes += int64(len(line))
		}
		b.Metadata = append(b.Metadata, r.e.Metadata)
		meta = meta || !r.e.Metadata.IsEmpty()
	}
	if !meta {
		b.Metadata = nil
	}
	if it.req.CountStep > 0 {
		it.fold(b)
	}
	return b, nil
}

// fold makes one row of neighbours that may be counted together, mostly.
func (it *memoryIterator) fold(b *model.EntryBatch) {
	b.Counts = b.Counts[:0]
	n := 0
	piece := func(t int64) int64 { return floorDiv(t-it.req.CountFrom, it.req.CountStep) }
	for i, t := range b.Timestamps {
		if n > 0 && b.StreamIndex[n-1] == b.StreamIndex[i] && piece(b.Timestamps[n-1]) == piece(t) && i%5 > 0 {
			b.Counts[n-1]++
			continue
		}
		b.StreamIndex[n], b.Timestamps[n] = b.StreamIndex[i], t
		b.Counts = append(b.Counts, 1)
		n++
	}
	b.StreamIndex, b.Timestamps = b.StreamIndex[:n], b.Timestamps[:n]
}

func (it *memoryIterator) Stats() model.SelectStats { return it.stats }
func (it *memoryIterator) Close() error             { it.closed = true; return nil }
