package store

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/store/index"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "seed of the random-operations test; 0 picks one")
	stepsFlag = flag.Int("steps", 0, "operations of the random-operations test; 0 is the default")
)

// row is an entry of the naive model.
type row struct {
	ls   labels.Labels
	ts   int64
	line string
	md   labels.Labels
	// hidden are the delete requests that concern the row.
	hidden []string
}

func (r row) String() string {
	return fmt.Sprintf("%d %s %.60q %s", r.ts, r.ls, r.line, r.md)
}

func sameRow(a, b row) bool {
	return a.ts == b.ts && a.line == b.line && labels.Equal(a.ls, b.ls) && labels.Equal(a.md, b.md)
}

// naive is the store as one would write it without caring for speed: all rows in
// the order of their arrival.
type naive struct {
	rows   []row
	inHead int // the last inHead rows are in the head
	marks  map[string]string
}

func (n *naive) append(b *model.Batch) {
	for _, s := range b.Streams {
		for _, e := range s.Entries {
			r := row{ls: s.Labels, ts: e.Timestamp, line: e.Line, md: e.Metadata}
			if b.DropDuplicates && slices.ContainsFunc(n.rows[len(n.rows)-n.inHead:], func(o row) bool { return sameRow(o, r) }) {
				continue
			}
			n.rows = append(n.rows, r)
			n.inHead++
		}
	}
	for _, m := range b.Marks {
		if m.Value == nil {
			delete(n.marks, m.Key)
		} else {
			n.marks[m.Key] = string(m.Value)
		}
	}
}

func (n *naive) delete(id string, ms []*labels.Matcher, r model.TimeRange, filter string) {
	n.inHead = 0
	for i, o := range n.rows {
		if r.Contains(o.ts) && index.Matches(o.ls, ms) && testMatch(filter, o.ls, o.line, o.md) {
			n.rows[i].hidden = append(slices.Clip(o.hidden), id)
		}
	}
}

// restore takes a delete request back.
func (n *naive) restore(id string) {
	for i, o := range n.rows {
		if k := slices.Index(o.hidden, id); k >= 0 {
			n.rows[i].hidden = slices.Delete(slices.Clone(o.hidden), k, k+1)
		}
	}
}

// testMatch is what the filters of the tests mean: "=text" an equal line, "@name"
// a pair of metadata or label of the stream, everything else a substring.
func testMatch(filter string, ls labels.Labels, line string, md labels.Labels) bool {
	switch {
	case strings.HasPrefix(filter, "="):
		return line == filter[1:]
	case strings.HasPrefix(filter, "@"):
		return md.Has(filter[1:]) || ls.Has(filter[1:])
	}
	return strings.Contains(line, filter)
}

func testFilter(text string) (*model.EntryFilter, error) {
	if text == "bad" {
		return nil, errors.New("bad filter")
	}
	f := &model.EntryFilter{Stream: func(ls labels.Labels) func(int64, string, labels.Labels) bool {
		return func(_ int64, line string, md labels.Labels) bool { return testMatch(text, ls, line, md) }
	}}
	if !strings.HasPrefix(text, "@") {
		f.Contains = []string{strings.TrimPrefix(text, "=")}
	}
	return f, nil
}

// select returns the rows in forward order.
func (n *naive) selectRows(ms []*labels.Matcher, r model.TimeRange) []row {
	var out []row
	for _, o := range n.rows {
		if len(o.hidden) == 0 && r.Contains(o.ts) && index.Matches(o.ls, ms) {
			out = append(out, o)
		}
	}
	slices.SortStableFunc(out, func(a, b row) int {
		if c := compareInt64(a.ts, b.ts); c != 0 {
			return c
		}
		return labels.Compare(a.ls, b.ls)
	})
	return out
}

// collect reads an iterator to its end or until limit rows.
func collect(t testing.TB, it model.BatchIterator, limit int, timesOnly bool) []row {
	t.Helper()
	var out []row
	streams := 0
	for limit == 0 || len(out) < limit {
		b, err := it.Next(context.Background())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if b.Len() == 0 {
			t.Fatal("empty batch")
		}
		if len(b.Streams) < streams {
			t.Fatal("stream table shrank")
		}
		streams = len(b.Streams)
		for i := range b.Timestamps {
			r := row{ls: b.Streams[b.StreamIndex[i]], ts: b.Timestamps[i]}
			for k := uint32(1); b.Counts != nil && k < b.Counts[i]; k++ {
				out = append(out, r)
			}
			if !timesOnly {
				if b.Lines != nil {
					r.line = strings.Clone(b.Lines[i])
				}
				if b.Metadata != nil {
					r.md = b.Metadata[i]
				}
			} else if b.Lines != nil || b.Metadata != nil {
				t.Fatal("text although only times were wanted")
			}
			out = append(out, r)
		}
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	if limit > 0 && len(out) > limit {
		out = out[:limit]
	}
	return out
}

func diffRows(t testing.TB, what string, got, want []row) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Fatalf("%s: got %d rows, want %d; first missing: %s", what, len(got), len(want), want[i])
		case i >= len(want):
			t.Fatalf("%s: got %d rows, want %d; first too many: %s", what, len(got), len(want), got[i])
		case !sameRow(got[i], want[i]):
			t.Fatalf("%s: row %d of %d (want %d) is\n%s, want\n%s\nnext are\n%s, want\n%s", what, i, len(got), len(want), got[i], want[i], got[min(i+1, len(got)-1)], want[min(i+1, len(want)-1)])
		}
	}
}

// byStream sorts rows by stream and keeps the order inside a stream.
func byStream(rows []row) []row {
	out := slices.Clone(rows)
	slices.SortStableFunc(out, func(a, b row) int { return labels.Compare(a.ls, b.ls) })
	return out
}

// random makes batches, matchers and ranges.
type random struct {
	*rand.Rand
	now int64
	seq int
}

const testStep = int64(time.Second)

func (r *random) labels() labels.Labels {
	app := fmt.Sprintf("app%d", r.IntN(4))
	ls := []string{"app", app, "pod", fmt.Sprintf("%s-%d", app, r.IntN(4))}
	if r.IntN(3) > 0 {
		ls = append(ls, "namespace", fmt.Sprintf("ns%d", r.IntN(2)), "container", "main")
	}
	return labels.FromStrings(ls...)
}

func (r *random) time() int64 {
	switch r.IntN(20) {
	case 0: // late
		return r.now - r.Int64N(int64(3*24*time.Hour))
	case 1, 2: // a little out of order
		return r.now - r.Int64N(20*testStep)
	case 3, 4, 5, 6: // equal
		return r.now
	}
	r.now += r.Int64N(testStep)
	if r.IntN(500) == 0 {
		r.now += r.Int64N(int64(6 * time.Hour))
	}
	return r.now
}

func (r *random) line() string {
	r.seq++
	switch r.IntN(30) {
	case 0:
		return ""
	case 1:
		return strings.Repeat("long line ", 1+r.IntN(5000))
	case 2:
		return "\x00\xff binary \n newline"
	case 3:
		return "same line"
	}
	return fmt.Sprintf(`{"level":"%s","seq":%d,"trace_id":"%016x","msg":"request served in %dms"}`,
		[]string{"info", "warn", "error"}[r.IntN(3)], r.seq, r.Uint64(), r.IntN(1000))
}

func (r *random) batch() *model.Batch {
	b := &model.Batch{DropDuplicates: r.IntN(3) == 0}
	for range 1 + r.IntN(4) {
		s := model.StreamEntries{Labels: r.labels()}
		for range r.IntN(40) {
			e := model.Entry{Timestamp: r.time(), Line: r.line()}
			if r.IntN(10) == 0 {
				e.Metadata = labels.FromStrings("trace", fmt.Sprint(r.IntN(9)))
			}
			s.Entries = append(s.Entries, e)
		}
		b.Streams = append(b.Streams, s)
	}
	for range r.IntN(3) {
		m := model.Mark{Key: fmt.Sprintf("p/%d", r.IntN(10))}
		if r.IntN(5) > 0 {
			m.Value = fmt.Appendf(nil, "%d", r.seq)
		}
		b.Marks = append(b.Marks, m)
	}
	return b
}

func (r *random) matchers() []*labels.Matcher {
	var ms []*labels.Matcher
	add := func(t labels.MatchType, n, v string) { ms = append(ms, labels.MustNewMatcher(t, n, v)) }
	if r.IntN(4) == 0 {
		return nil
	}
	app := fmt.Sprintf("app%d", r.IntN(4))
	switch r.IntN(9) {
	case 0:
		add(labels.MatchEqual, "app", app)
	case 1:
		add(labels.MatchNotEqual, "app", app)
	case 2:
		add(labels.MatchRegexp, "app", "app1|app2")
	case 3:
		add(labels.MatchNotRegexp, "pod", "app0.*")
	case 4:
		add(labels.MatchEqual, "namespace", "")
	case 5:
		add(labels.MatchNotEqual, "namespace", "")
	case 6:
		add(labels.MatchRegexp, "namespace", ".+")
	case 7:
		add(labels.MatchEqual, "pod", app+"-1")
	case 8:
		add(labels.MatchEqual, "nosuch", "x")
	}
	if r.IntN(3) == 0 {
		add(labels.MatchRegexp, "namespace", "ns1|")
	}
	return ms
}

func (r *random) timeRange() model.TimeRange {
	if r.IntN(3) == 0 {
		return model.AllTime()
	}
	end := r.now - r.Int64N(int64(time.Hour)) + 1
	if r.IntN(4) == 0 {
		end -= r.Int64N(int64(48 * time.Hour))
	}
	return model.TimeRange{Start: end - r.Int64N(int64(2*time.Hour)), End: end}
}

// TestRandomOperations compares the store with the naive model.
func TestRandomOperations(t *testing.T) {
	t.Parallel()
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	steps := 600
	if testing.Short() {
		steps = 250
	}
	if *stepsFlag > 0 {
		steps = *stepsFlag
	}
	t.Logf("seed %d (repeat with -seed %d)", seed, seed)
	h := newHarness(t, seed)
	for i := range steps {
		h.step(i)
	}
	h.checkAll()
}

// harness runs random operations on a store and on the naive model.
type harness struct {
	*random
	t    *testing.T
	dir  string
	opts Options
	db   *DB
	want naive
	log  []string
}

func newHarness(t *testing.T, seed uint64) *harness {
	r := &random{Rand: newRand(seed), now: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC).UnixNano()}
	h := &harness{random: r, t: t, dir: testDir(t), want: naive{marks: map[string]string{}}}
	h.opts = Options{
		MemoryLimit: minMemoryLimit, SegmentSize: minSegmentSize << r.IntN(4), BlockRange: time.Duration(1+r.IntN(24)) * time.Hour,
		CompactionMinBlocks: 2 + r.IntN(3), noBackground: true, CompileFilter: testFilter,
		Now: func() time.Time { return time.Unix(0, r.now) },
	}
	if r.IntN(2) == 0 {
		h.opts.readerBytes = 4 << 10 << r.IntN(6)
	}
	if r.IntN(2) == 0 {
		h.opts.DeleteDelay = time.Hour
	}
	if r.IntN(2) == 0 {
		h.opts.GroupLabels = []string{"app"}
	}
	h.reopen()
	t.Cleanup(func() {
		if err := h.db.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("seed %d, the last operations:\n%s", seed, strings.Join(h.log[max(0, len(h.log)-30):], "\n"))
		}
	})
	return h
}

func (h *harness) did(format string, args ...any) {
	h.log = append(h.log, fmt.Sprintf(format, args...))
}

func (h *harness) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) reopen() {
	h.t.Helper()
	if h.db != nil {
		h.must(h.db.Close())
	}
	db, err := Open(h.dir, h.opts)
	h.must(err)
	h.db = db
}

func (h *harness) step(i int) {
	ctx := context.Background()
	switch p := h.IntN(100); {
	case p < 60:
		b := h.batch()
		h.did("%d append %d entries, drop duplicates %v", i, b.Len(), b.DropDuplicates)
		h.must(h.db.Append(ctx, b))
		h.want.append(b)
	case p < 66:
		h.did("%d flush", i)
		h.must(h.db.Flush(ctx))
		h.want.inHead = 0
	case p < 70:
		more, err := h.db.compactOnce(ctx)
		h.did("%d compact: %v", i, more)
		h.must(err)
	case p < 73:
		h.did("%d reopen", i)
		h.reopen()
	case p < 75:
		h.deleteOnce(i)
	case p < 76:
		h.cancelOnce(i)
	case p < 92:
		h.selectOnce(i)
	default:
		h.labelsOnce(i)
	}
}

func (h *harness) deleteOnce(i int) {
	ms, r, filter := h.matchers(), h.timeRange(), ""
	if h.IntN(2) == 0 {
		filter = []string{`"level":"error"`, "=same line", "@trace", "@namespace", "seq", "99", "nowhere to be found"}[h.IntN(7)]
	}
	if len(ms) == 0 || filter == "" && r == model.AllTime() {
		return
	}
	h.did("%d delete %v %v %q", i, ms, r, filter)
	id, err := h.db.Delete(context.Background(), model.DeleteRequest{Matchers: ms, Range: r, Filter: filter})
	h.must(err)
	h.want.delete(id, ms, r, filter)
}

func (h *harness) cancelOnce(i int) {
	all := h.db.DeleteRequests()
	if len(all) == 0 {
		return
	}
	d := all[h.IntN(len(all))]
	h.did("%d cancel %+v", i, d)
	err := h.db.CancelDelete(context.Background(), d.ID, false)
	var begun *DeleteBegunError
	switch {
	case d.State == model.DeleteReceived:
		h.must(err)
		h.want.restore(d.ID)
	case !errors.As(err, &begun) || begun.Processed != (d.State == model.DeleteProcessed):
		h.t.Fatalf("cancelling %+v gave %v", d, err)
	}
}

func (h *harness) selectOnce(i int) {
	req := model.SelectRequest{Matchers: h.matchers(), Range: h.timeRange(), Direction: model.Direction(h.IntN(2)), Unordered: h.IntN(3) == 0, TimesOnly: h.IntN(5) == 0, NoLines: h.IntN(5) == 0}
	if h.IntN(2) == 0 {
		req.BatchRows = 1 + h.IntN(100)
	}
	if req.Unordered && req.TimesOnly && h.IntN(2) == 0 {
		req.CountStep, req.CountFrom = 1+h.Int64N([]int64{10, int64(time.Minute), int64(time.Hour), int64(48 * time.Hour)}[h.IntN(4)]), h.now-h.Int64N(int64(time.Hour))
	}
	limit := 0
	if h.IntN(3) == 0 && !req.Unordered {
		limit = 1 + h.IntN(50)
	}
	if h.IntN(4) == 0 && !req.TimesOnly {
		req.Contains = []string{[]string{`"level":"error"`, "same line", "request", fmt.Sprintf(`"seq":%d,`, 1+h.IntN(h.seq+1)), "nowhere to be found", ""}[h.IntN(6)]}
	}
	h.did("%d select %+v limit %d", i, req, limit)
	h.check(req, limit)
}

// check compares one Select with the model.
func (h *harness) check(req model.SelectRequest, limit int) {
	h.t.Helper()
	want := h.want.selectRows(req.Matchers, req.Range)
	if req.Direction == model.Backward {
		slices.Reverse(want)
	}
	it, err := h.db.Select(context.Background(), req)
	h.must(err)
	var got []row
	if len(req.Contains) > 0 {
		got = collect(h.t, it, 0, req.TimesOnly)
		// The store may return lines that lack a needle.
		lacks := func(r row) bool { return !strings.Contains(r.line, req.Contains[0]) }
		got, want = slices.DeleteFunc(got, lacks), slices.DeleteFunc(want, lacks)
	} else {
		got = collect(h.t, it, limit, req.TimesOnly)
	}
	if req.TimesOnly {
		for i := range want {
			want[i].line, want[i].md = "", labels.EmptyLabels()
		}
	} else if req.NoLines { // the store may leave them out
		for i := range want {
			want[i].line = ""
		}
		for i := range got {
			got[i].line = ""
		}
	}
	if req.CountStep > 0 { // all that counts are pieces
		for _, rows := range [][]row{got, want} {
			for i := range rows {
				rows[i].ts = floorDiv(rows[i].ts-req.CountFrom, req.CountStep)
			}
		}
	}
	if req.Unordered {
		got, want = byStream(got), byStream(want)
	}
	if limit > 0 && len(want) > limit {
		want = want[:limit]
		if len(req.Contains) > 0 {
			got = got[:min(limit, len(got))]
		}
	}
	diffRows(h.t, fmt.Sprintf("%+v limit %d", req, limit), got, want)
}

func (h *harness) labelsOnce(i int) {
	ctx := context.Background()
	ms, r := h.matchers(), model.AllTime()
	h.did("%d labels %v", i, ms)
	want := h.want.selectRows(ms, r)
	names, values, series := map[string]struct{}{}, map[string]struct{}{}, map[string]model.StreamVolume{}
	for _, o := range want {
		o.ls.Range(func(l labels.Label) { names[l.Name] = struct{}{} })
		if v := o.ls.Get("pod"); v != "" {
			values[v] = struct{}{}
		}
		v := series[o.ls.String()]
		v.Labels = o.ls
		v.Entries++
		v.Bytes += int64(len(o.line)) + metadataBytes(o.md)
		series[o.ls.String()] = v
	}
	// Deleted ranges inside a stream leave estimates behind until compaction.
	h.now += int64(h.opts.DeleteDelay)
	h.compactDeletes()
	got, err := h.db.LabelNames(ctx, r, ms)
	h.must(err)
	if !slices.Equal(got, sortedSet(names)) {
		h.t.Fatalf("label names of %v are %v, want %v", ms, got, sortedSet(names))
	}
	got, err = h.db.LabelValues(ctx, "pod", r, ms)
	h.must(err)
	if !slices.Equal(got, sortedSet(values)) {
		h.t.Fatalf("label values of %v are %v, want %v", ms, got, sortedSet(values))
	}
	all, err := h.db.Series(ctx, r, ms)
	h.must(err)
	vols, err := h.db.Volume(ctx, r, ms)
	h.must(err)
	if len(all) != len(series) || len(vols) != len(series) {
		h.t.Fatalf("%v: %d series and %d volumes, want %d", ms, len(all), len(vols), len(series))
	}
	for j, v := range vols {
		if !labels.Equal(all[j], v.Labels) {
			h.t.Fatalf("series %s and volume %s differ", all[j], v.Labels)
		}
		if w := series[v.Labels.String()]; v.Entries != w.Entries || v.Bytes != w.Bytes {
			h.t.Fatalf("volume of %s is %d entries %d bytes, want %d and %d", v.Labels, v.Entries, v.Bytes, w.Entries, w.Bytes)
		}
	}
	marks := h.db.Marks("p/")
	if len(marks) != len(h.want.marks) {
		h.t.Fatalf("marks are %q, want %q", marks, h.want.marks)
	}
	for k, v := range h.want.marks {
		if string(marks[k]) != v {
			h.t.Fatalf("mark %s is %q, want %q", k, marks[k], v)
		}
	}
}

// compactDeletes carries out all delete requests.
func (h *harness) compactDeletes() {
	for h.db.Status().PendingDeletes > 0 {
		if _, err := h.db.compactOnce(context.Background()); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *harness) checkAll() {
	h.t.Helper()
	for _, d := range []model.Direction{model.Forward, model.Backward} {
		for _, unordered := range []bool{false, true} {
			h.check(model.SelectRequest{Range: model.AllTime(), Direction: d, Unordered: unordered}, 0)
		}
	}
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }
