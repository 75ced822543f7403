package head

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/goleak"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func entries(first, n int) []model.Entry {
	var es []model.Entry
	for i := first; i < first+n; i++ {
		e := model.Entry{Timestamp: int64(i), Line: fmt.Sprintf("line %d %s", i, strings.Repeat("x", i%300))}
		if i%7 == 0 {
			e.Metadata = labels.FromStrings("n", fmt.Sprint(i))
		}
		es = append(es, e)
	}
	return es
}

// all reads a snapshot back.
func all(t *testing.T, runs []Run) []model.Entry {
	t.Helper()
	var out []model.Entry
	var buf []byte
	for _, r := range runs {
		text, b, err := r.Text(buf)
		if err != nil {
			t.Fatal(err)
		}
		buf = b
		total := 0
		for i, ts := range r.Times {
			e := model.Entry{Timestamp: ts, Line: strings.Clone(r.Line(text, i))}
			if len(e.Line) != r.LineLen(i) {
				t.Fatalf("line %d has %d bytes, LineLen says %d", i, len(e.Line), r.LineLen(i))
			}
			total += len(e.Line)
			if r.Meta != nil {
				e.Metadata = r.Meta[i]
			}
			if ts < r.Min || ts > r.Max {
				t.Fatalf("time %d is outside of %d to %d", ts, r.Min, r.Max)
			}
			out = append(out, e)
		}
		if total != r.RawBytes() || len(r.Times) != r.Len() {
			t.Fatalf("run of %d bytes and %d rows says %d and %d", total, len(r.Times), r.RawBytes(), r.Len())
		}
	}
	return out
}

func equal(a, b []model.Entry) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Timestamp != b[i].Timestamp || a[i].Line != b[i].Line || !labels.Equal(a[i].Metadata, b[i].Metadata) {
			return false
		}
	}
	return true
}

// TestStream adds entries and reads snapshots, also older ones.
func TestStream(t *testing.T) {
	h := New()
	s := h.Stream(labels.FromStrings("a", "b"))
	if h.Stream(labels.FromStrings("a", "b")) != s || h.Streams() != 1 {
		t.Fatal("the same labels gave another stream")
	}
	es := entries(0, 3000)
	var snapshots [][]Run
	for i := 0; i < len(es); i += 100 {
		snapshots = append(snapshots, s.Snapshot(nil))
		s.Add(es[i : i+100])
	}
	for i, snap := range snapshots {
		if !equal(all(t, snap), es[:100*i]) {
			t.Fatalf("snapshot %d has changed", i)
		}
	}
	if n, bytes, lo, hi := s.Info(); n != 3000 || bytes == 0 || lo != 0 || hi != 2999 {
		t.Errorf("info %d %d %d %d", n, bytes, lo, hi)
	}
	if lo, hi, ok := h.Bounds(); lo != 0 || hi != 2999 || !ok || h.Entries() != 3000 {
		t.Errorf("bounds %d %d %v, %d entries", lo, hi, ok, h.Entries())
	}
	if b := h.Bytes(); b < 50_000 || b > 700_000 {
		t.Errorf("%d bytes for 3000 entries", b)
	}
}

// TestSelect looks for streams by labels; those without entries do not exist.
func TestSelect(t *testing.T) {
	h := New()
	for i := range 10 {
		s := h.Stream(labels.FromStrings("app", fmt.Sprint(9-i)))
		if i != 3 {
			s.Add(entries(i, 1))
		}
	}
	got, err := h.Select(context.Background(), []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, "app", "[5-8]")})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range got {
		names = append(names, s.Labels.Get("app"))
	}
	if fmt.Sprint(names) != "[5 7 8]" {
		t.Errorf("streams %v", names)
	}
	if _, _, ok := New().Bounds(); ok {
		t.Error("an empty head has bounds")
	}
}

// TestDropDuplicatesMemory sends two entries that span all that is held: the
// search may cost a run's memory, not the head's.
func TestDropDuplicatesMemory(t *testing.T) {
	s := New().Stream(labels.FromStrings("a", "b"))
	line := strings.Repeat("compressible ", 100)
	const n = 20_000 // 26 MB of lines
	for i := range n {
		es := []model.Entry{{Timestamp: int64(i), Line: line}}
		s.Announce(es)
		s.Add(es)
	}
	in := []model.Entry{{Timestamp: 0, Line: "new"}, {Timestamp: n / 2, Line: line}, {Timestamp: n - 1, Line: line}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err := s.DropDuplicates(in)
	runtime.ReadMemStats(&after)
	if err != nil || len(got) != 1 || got[0].Line != "new" {
		t.Fatalf("%d left, %v", len(got), err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
		t.Errorf("%d bytes were allocated for three entries", used)
	}
}

// TestDropDuplicates is a table of what is held, what is pending, what comes.
func TestDropDuplicates(t *testing.T) {
	e := func(ts int64, line string, md ...string) model.Entry {
		return model.Entry{Timestamp: ts, Line: line, Metadata: labels.FromStrings(md...)}
	}
	long := strings.Repeat("l", runBytes+1) // seals a run
	tests := []struct {
		name                    string
		held, pending, in, want []model.Entry
	}{
		{name: "nothing held", in: []model.Entry{e(1, "a"), e(2, "b")}, want: []model.Entry{e(1, "a"), e(2, "b")}},
		{name: "twice in the batch", in: []model.Entry{e(1, "a"), e(1, "a"), e(1, "b")}, want: []model.Entry{e(1, "a"), e(1, "b")}},
		{name: "sent again", held: []model.Entry{e(1, "a"), e(2, "b")}, in: []model.Entry{e(1, "a"), e(2, "b")}},
		{name: "sent again with more", held: []model.Entry{e(1, "a")}, in: []model.Entry{e(1, "a"), e(2, "b")}, want: []model.Entry{e(2, "b")}},
		{name: "other line", held: []model.Entry{e(1, "a")}, in: []model.Entry{e(1, "b")}, want: []model.Entry{e(1, "b")}},
		{name: "other time", held: []model.Entry{e(2, "a")}, in: []model.Entry{e(1, "a")}, want: []model.Entry{e(1, "a")}},
		{name: "other metadata", held: []model.Entry{e(1, "a", "k", "v")}, in: []model.Entry{e(1, "a"), e(1, "a", "k", "v")}, want: []model.Entry{e(1, "a")}},
		{name: "pending", pending: []model.Entry{e(1, "a")}, in: []model.Entry{e(1, "a"), e(1, "b")}, want: []model.Entry{e(1, "b")}},
		{name: "sealed", held: []model.Entry{e(1, "a"), e(2, long), e(3, "c")}, in: []model.Entry{e(1, "a"), e(2, long), e(3, "c"), e(1, "d")}, want: []model.Entry{e(1, "d")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := New().Stream(labels.FromStrings("a", "b"))
			for i := range tt.held {
				s.Announce(tt.held[i : i+1])
				s.Add(tt.held[i : i+1])
			}
			if tt.pending != nil {
				s.Announce(tt.pending)
			}
			got, err := s.DropDuplicates(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if !equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			if tt.pending != nil { // what could not be logged does not count
				s.Forget()
				if got, err = s.DropDuplicates(tt.in); err != nil || !equal(got, tt.in) {
					t.Errorf("after Forget: %v, %v", got, err)
				}
			}
		})
	}
}
