package head

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	promindex "github.com/prometheus/prometheus/tsdb/index"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/index"
)

// streamOverhead is a guess at the memory of a stream without entries: structs,
// map and postings entries. It keeps floods of new streams within the budget.
const streamOverhead = 1024

// Head is the mutable recent window. All methods may be called concurrently.
type Head struct {
	postings *promindex.MemPostings

	mu     sync.RWMutex
	byHash map[uint64][]*Stream // label sets that share a hash
	byRef  []*Stream            // index is the reference in postings, minus 1

	bytes   atomic.Int64
	entries atomic.Int64
}

// New returns an empty head.
func New() *Head {
	return &Head{postings: promindex.NewMemPostings(), byHash: map[uint64][]*Stream{}}
}

// Stream returns the stream with these labels and makes it if need be. The
// labels are copied when they are kept.
func (h *Head) Stream(ls labels.Labels) *Stream {
	hash := ls.Hash()
	h.mu.RLock()
	s := h.find(hash, ls)
	h.mu.RUnlock()
	if s != nil {
		return s
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.find(hash, ls); s != nil {
		return s
	}
	s = &Stream{Labels: ls.Copy(), head: h}
	h.byHash[hash] = append(h.byHash[hash], s)
	h.byRef = append(h.byRef, s)
	h.postings.Add(storage.SeriesRef(len(h.byRef)), s.Labels)
	h.bytes.Add(streamOverhead + 3*int64(s.Labels.ByteSize()))
	return s
}

func (h *Head) find(hash uint64, ls labels.Labels) *Stream {
	for _, s := range h.byHash[hash] {
		if labels.Equal(s.Labels, ls) {
			return s
		}
	}
	return nil
}

// Select returns the streams that all matchers match and that hold entries,
// sorted by labels.
func (h *Head) Select(ctx context.Context, matchers []*labels.Matcher) ([]*Stream, error) {
	p, err := index.Select(ctx, index.Mem{MemPostings: h.postings}, matchers)
	if err != nil {
		return nil, err
	}
	var out []*Stream
	h.mu.RLock()
	for p.Next() {
		s := h.byRef[p.At()-1]
		if s.Entries() > 0 {
			out = append(out, s)
		}
	}
	h.mu.RUnlock()
	if err := p.Err(); err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b *Stream) int { return labels.Compare(a.Labels, b.Labels) })
	return out, nil
}

// Bytes is a close estimate of the memory in use.
func (h *Head) Bytes() int64 { return h.bytes.Load() }

// Entries is the number of entries.
func (h *Head) Entries() int64 { return h.entries.Load() }

// Streams is the number of streams that exist, with or without entries.
func (h *Head) Streams() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.byRef)
}

// Bounds are the first and the last timestamp; ok is false without entries.
func (h *Head) Bounds() (minTime, maxTime int64, ok bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, s := range h.byRef {
		lo, hi, n := s.bounds()
		if n == 0 {
			continue
		}
		if !ok {
			minTime, maxTime, ok = lo, hi, true
			continue
		}
		minTime, maxTime = min(minTime, lo), max(maxTime, hi)
	}
	return minTime, maxTime, ok
}

// Limits of a run.
const (
	// runBytes is the text at which a run is sealed: large enough for snappy,
	// small enough that many idle streams do not add up.
	runBytes = 64 << 10
	// runRows seals a run of very short lines.
	runRows = 8192
	// runRoom is the number of entries that a busy stream gets room for at once.
	runRoom = runBytes / 200
)

// Stream holds the entries of one label set. All methods may be called
// concurrently. The fields WALRef and WALSegment belong to the writer.
type Stream struct {
	Labels labels.Labels

	// WALSegment is the segment in which WALRef names this stream, plus one;
	// 0 for none. Guarded by the lock of the store's append path.
	WALSegment int
	WALRef     uint32

	head    *Head
	entries atomic.Int64

	mu       sync.Mutex // guards the following
	sealed   []Run
	open     Run
	shared   bool // a snapshot has the text of open
	min, max int64
	bytes    int64 // of lines and metadata, uncompressed
	// pending are entries that are being made durable: they count as present
	// when duplicates are looked for.
	pending [][]model.Entry
}

// Entries is the number of entries.
func (s *Stream) Entries() int64 { return s.entries.Load() }

// Info returns the number of entries, the bytes of their lines and metadata, and
// the first and last timestamp (both 0 without entries).
func (s *Stream) Info() (entries, bytes, minTime, maxTime int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries.Load(), s.bytes, s.min, s.max
}

func (s *Stream) bounds() (minTime, maxTime, entries int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.min, s.max, s.entries.Load()
}

// Announce notes entries that are about to be logged. The slice is kept until
// Add or Forget is called for it, which come in the same order, or Withdraw.
func (s *Stream) Announce(es []model.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, es)
}

// Forget takes back the oldest Announce: its entries could not be logged.
func (s *Stream) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.popPending()
}

// Withdraw takes back the newest Announce: its entries are not going to be
// logged, while older ones may be on their way.
func (s *Stream) Withdraw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.pending); n > 1 {
		s.pending[n-1] = nil
		s.pending = s.pending[:n-1]
	} else {
		s.pending = nil
	}
}

func (s *Stream) popPending() {
	if len(s.pending) == 1 {
		s.pending = nil
	} else if len(s.pending) > 1 {
		s.pending[0] = nil
		s.pending = s.pending[1:]
	}
}

// Add appends entries, which are copied, and ends the oldest Announce if there
// is one.
func (s *Stream) Add(es []model.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.popPending()
	before := s.open.memory()
	grown := int64(0)
	for i := range es {
		e := &es[i]
		if s.entries.Load() == 0 && i == 0 {
			s.min, s.max = e.Timestamp, e.Timestamp
		}
		s.min, s.max = min(s.min, e.Timestamp), max(s.max, e.Timestamp)
		s.bytes += int64(len(e.Line)) + metadataBytes(e.Metadata)
		s.open.add(e, len(s.sealed) > 0)
		if len(s.open.text) >= runBytes || len(s.open.Times) >= runRows {
			grown += s.seal() - before
			before = 0
		}
	}
	grown += s.open.memory() - before
	s.entries.Add(int64(len(es)))
	s.head.bytes.Add(grown)
	s.head.entries.Add(int64(len(es)))
}

// seal compresses the open run and returns the memory it takes then.
func (s *Stream) seal() int64 {
	text := s.open.text
	s.open.pack()
	if !s.shared {
		reuseText(text)
	}
	s.shared = false
	n := s.open.memory()
	s.sealed = append(s.sealed, s.open)
	s.open = Run{}
	return n
}

// Snapshot appends views of all runs in arrival order to dst. They stay valid.
func (s *Stream) Snapshot(dst []Run) []Run {
	s.mu.Lock()
	defer s.mu.Unlock()
	dst = append(dst, s.sealed...)
	if len(s.open.Times) > 0 {
		s.shared = true
		dst = append(dst, s.open)
	}
	return dst
}

func metadataBytes(ls labels.Labels) int64 {
	if ls.IsEmpty() {
		return 0
	}
	n := int64(0)
	ls.Range(func(l labels.Label) { n += int64(len(l.Name) + len(l.Value)) })
	return n
}

// cloneLabels copies labels whose strings may alias a caller's buffer.
func cloneLabels(ls labels.Labels) labels.Labels {
	if ls.IsEmpty() {
		return labels.EmptyLabels()
	}
	return ls.Copy()
}
