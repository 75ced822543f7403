package index

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	promindex "github.com/prometheus/prometheus/tsdb/index"
)

func testStreams() []Stream {
	var out []Stream
	for i := range 60 {
		ls := []string{"app", fmt.Sprintf("app%d", i%7), "pod", fmt.Sprintf("pod%d", i)}
		if i%3 > 0 {
			ls = append(ls, "namespace", fmt.Sprintf("ns%d", i%3))
		}
		out = append(out, Stream{Labels: labels.FromStrings(ls...), MinTime: int64(i) - 30, MaxTime: int64(i) * int64(i)})
	}
	slices.SortFunc(out, func(a, b Stream) int { return labels.Compare(a.Labels, b.Labels) })
	return out
}

// TestSelect compares both kinds of index with matching every stream by hand.
func TestSelect(t *testing.T) {
	streams := testStreams()
	scratch := t.TempDir()
	b, err := Build(context.Background(), scratch, streams)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Errorf("scratch holds %v, %v", left, err)
	}
	f, err := OpenFile(b)
	if err != nil {
		t.Fatal(err)
	}
	mem := promindex.NewMemPostings()
	for i, s := range streams {
		mem.Add(storage.SeriesRef(i+1), s.Labels)
	}
	m := labels.MustNewMatcher
	eq, ne, re, nre := labels.MatchEqual, labels.MatchNotEqual, labels.MatchRegexp, labels.MatchNotRegexp
	for _, ms := range [][]*labels.Matcher{
		nil,
		{m(eq, "app", "app1")},
		{m(eq, "app", "nosuch")},
		{m(eq, "nosuch", "x")},
		{m(eq, "nosuch", "")},
		{m(ne, "nosuch", "")},
		{m(ne, "nosuch", "x")},
		{m(eq, "namespace", "")},
		{m(ne, "namespace", "")},
		{m(ne, "app", "app1")},
		{m(ne, "namespace", "ns1")},
		{m(re, "app", "app1|app2|nosuch|app1")},
		{m(re, "app", "app[12]")},
		{m(re, "app", ".+")},
		{m(re, "namespace", ".+")},
		{m(re, "namespace", ".*")},
		{m(re, "namespace", "ns1|")},
		{m(nre, "namespace", "ns1|")},
		{m(nre, "namespace", ".+")},
		{m(nre, "namespace", ".*")},
		{m(nre, "app", "app[12]")},
		{m(eq, "app", "app1"), m(ne, "namespace", "ns2"), m(nre, "pod", "pod1.*")},
		{m(ne, "app", "app1"), m(ne, "app", "app2")},
	} {
		var want, got []string
		for i, s := range streams {
			if Matches(s.Labels, ms) {
				want = append(want, fmt.Sprint(i, s.Labels, s.MinTime, s.MaxTime))
			}
		}
		err := f.Select(context.Background(), ms, func(s Selected) error {
			got = append(got, fmt.Sprint(s.Ordinal, s.Labels, s.MinTime, s.MaxTime))
			return nil
		})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%v: file gave\n%v, want\n%v (%v)", ms, got, want, err)
		}
		got = nil
		p, err := Select(context.Background(), Mem{mem}, ms)
		if err != nil {
			t.Fatal(err)
		}
		for p.Next() {
			s := streams[p.At()-1]
			got = append(got, fmt.Sprint(p.At()-1, s.Labels, s.MinTime, s.MaxTime))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v: memory gave\n%v, want\n%v", ms, got, want)
		}
	}
	names, err := f.LabelNames(context.Background())
	if err != nil || fmt.Sprint(names) != "[app namespace pod]" {
		t.Errorf("names %v, %v", names, err)
	}
	vals, err := f.LabelValues(context.Background(), "app")
	if err != nil || len(vals) != 7 {
		t.Errorf("values %v, %v", vals, err)
	}
}

// FuzzOpenFile reads damaged indexes: errors are fine, panics are not.
func FuzzOpenFile(f *testing.F) {
	b, err := Build(context.Background(), f.TempDir(), testStreams()[:5])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, 0, byte(1))
	f.Add(b, len(b)/2, byte(0xff))
	f.Add(b[:len(b)-3], 3, byte(7))
	f.Fuzz(func(_ *testing.T, b []byte, at int, x byte) {
		b = slices.Clone(b)
		if len(b) > 0 && at >= 0 {
			b[at%len(b)] ^= x
		}
		ix, err := OpenFile(b)
		if err != nil {
			return
		}
		_ = ix.Select(context.Background(), []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, "app", ".*1.*")}, func(Selected) error { return nil })
		_, _ = ix.LabelNames(context.Background())
		_, _ = ix.LabelValues(context.Background(), "pod")
	})
}
