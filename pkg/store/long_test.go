package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// longRows is a naive model of rows whose lines are too large to be held all at
// once: they are made when they are needed.
type longRows struct {
	streams []labels.Labels
	mixed   bool // many of the lines are short
	rows    []longRow
}

type longRow struct {
	stream, no int
	ts         int64
}

const longLine = 250_000

// line is the text of row no.
func (l *longRows) line(no int) string {
	if l.mixed && no%10 >= 3 {
		return fmt.Sprintf("short %d", no)
	}
	head := fmt.Sprintf("long %d ", no)
	return head + strings.Repeat("0123456789abcdef", longLine/16)[:longLine-len(head)]
}

// fill stores n rows: timestamps repeat, go back a little, and streams take turns.
func (l *longRows) fill(t *testing.T, db *DB, n int, flush func(no int) bool) {
	t.Helper()
	start := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC).UnixNano()
	for i := range 6 {
		l.streams = append(l.streams, labels.FromStrings("app", fmt.Sprintf("app%d", i%3), "pod", fmt.Sprint(i)))
	}
	for no := range n {
		r := longRow{stream: no * no % len(l.streams), no: no, ts: start + int64(no/2-no%7*3)*int64(time.Millisecond)}
		l.rows = append(l.rows, r)
		must(t, db.Append(context.Background(), &model.Batch{Streams: []model.StreamEntries{{
			Labels: l.streams[r.stream], Entries: []model.Entry{{Timestamp: r.ts, Line: l.line(no)}},
		}}}))
		if flush(no) {
			must(t, db.Flush(context.Background()))
		}
	}
	slices.SortStableFunc(l.rows, func(a, b longRow) int {
		if c := compareInt64(a.ts, b.ts); c != 0 {
			return c
		}
		return labels.Compare(l.streams[a.stream], l.streams[b.stream])
	})
}

// heapInUse is what is reachable.
func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestLongLines reads more text than the memory limit allows to hold, in order:
// it depends on bytes, not on rows, where a batch ends. Not parallel: it measures
// the heap.
func TestLongLines(t *testing.T) {
	n := 1000
	if testing.Short() {
		n = 250
	}
	for _, tc := range []struct {
		name     string
		rows     int
		mixed    bool
		flush    int // after so many rows
		compact  bool
		requests int
	}{
		{"head", n / 5, false, n, false, 4},
		{"blocks and head", n, false, 150, false, 4},
		{"mixed lines", n, true, 150, false, 4},
		{"compacted", n / 4, false, n / 16, true, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := Options{MemoryLimit: 24 << 20, CompactionMinBlocks: 2, noBackground: true}
			db := openTest(t, o)
			rows := &longRows{mixed: tc.mixed}
			rows.fill(t, db, tc.rows, func(no int) bool { return no%tc.flush == tc.flush-1 })
			if tc.compact {
				more, err := db.compactOnce(context.Background())
				if must(t, err); !more {
					t.Fatal("nothing to compact")
				}
			}
			for _, req := range []model.SelectRequest{
				{Direction: model.Forward},
				{Direction: model.Backward},
				{Direction: model.Forward, BatchRows: 100},
				{Direction: model.Backward, BatchRows: 1024, Contains: []string{"long"}},
			}[:tc.requests] {
				req.Range = model.AllTime()
				rows.check(t, db, &req, o.MemoryLimit)
			}
		})
	}
}

// check compares what a request gives with the model, and looks at the size of
// batches and of the heap on the way.
func (l *longRows) check(t *testing.T, db *DB, req *model.SelectRequest, limit int64) {
	t.Helper()
	want := slices.DeleteFunc(slices.Clone(l.rows), func(r longRow) bool {
		return len(req.Contains) > 0 && !strings.Contains(l.line(r.no), req.Contains[0])
	})
	if req.Direction == model.Backward {
		slices.Reverse(want)
	}
	what := fmt.Sprintf("%s, batches of %d, %q", req.Direction, req.BatchRows, req.Contains)
	before := heapInUse()
	it, err := db.Select(context.Background(), *req)
	must(t, err)
	defer func() { must(t, it.Close()) }()
	// An eighth of the limit may be kept, a sixteenth is collected beside it. The
	// decoder of chunk blocks has its own memory, for the one at hand.
	maxBatch := int(limit/8 + limit/16)
	maxHeap := limit/8 + limit/16 + 10<<20
	i := 0
	for batches := 0; ; batches++ {
		b, err := it.Next(context.Background())
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		size := 0
		for k, line := range b.Lines {
			size += len(line)
			if i == len(want) {
				t.Fatalf("%s: more than %d rows", what, len(want))
			}
			if w := want[i]; b.Timestamps[k] != w.ts || !labels.Equal(b.Streams[b.StreamIndex[k]], l.streams[w.stream]) || line != l.line(w.no) {
				t.Fatalf("%s: row %d is %d %s %.20q, want %d %s %.20q", what, i, b.Timestamps[k], b.Streams[b.StreamIndex[k]], line, w.ts, l.streams[w.stream], l.line(w.no))
			}
			i++
		}
		if size > maxBatch {
			t.Errorf("%s: a batch of %d rows has %d bytes, more than %d", what, b.Len(), size, maxBatch)
		}
		if batches%8 == 0 {
			if h := heapInUse() - before; h > maxHeap {
				t.Fatalf("%s: %d rows on, the heap has grown by %d bytes, more than %d", what, i, h, maxHeap)
			}
		}
	}
	if i != len(want) {
		t.Fatalf("%s: %d rows, want %d", what, i, len(want))
	}
}
