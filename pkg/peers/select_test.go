package peers

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// naive is what replicas hold, and the rules as they are written down: each
// stream and timestamp as often as the replica that has most of it, in the order
// of the first replica.
type naive struct{ rows [][]row } // by replica, in the order of arrival

func parseLabels(t testing.TB, text string) labels.Labels {
	ls, err := parser.NewParser(parser.Options{}).ParseMetric(text)
	if err != nil {
		t.Fatal(err)
	}
	return ls
}

// all returns the merged rows of a range, oldest first.
func (n *naive) all(t testing.TB, r model.TimeRange, ms []*labels.Matcher) []row {
	type at struct {
		ts     int64
		stream string
	}
	groups := map[at][]row{}
	for _, rows := range n.rows {
		own, have := map[row]int{}, map[row]int{}
		for _, x := range rows {
			own[x] = 0
		}
		for _, g := range groups {
			for _, x := range g {
				have[x]++
			}
		}
		for _, x := range rows {
			ls := parseLabels(t, x.stream)
			if !r.Contains(x.ts) || slices.ContainsFunc(ms, func(m *labels.Matcher) bool { return !m.Matches(ls.Get(m.Name)) }) {
				continue
			}
			if own[x]++; own[x] > have[x] {
				k := at{x.ts, x.stream}
				groups[k] = append(groups[k], x)
			}
		}
	}
	keys := make([]at, 0, len(groups))
	for k := range groups {
		keys = append(keys, k)
	}
	parsed := map[string]labels.Labels{}
	for _, k := range keys {
		if _, ok := parsed[k.stream]; !ok {
			parsed[k.stream] = parseLabels(t, k.stream)
		}
	}
	slices.SortFunc(keys, func(a, b at) int {
		return cmp.Or(cmp.Compare(a.ts, b.ts), labels.Compare(parsed[a.stream], parsed[b.stream]))
	})
	var out []row
	for _, k := range keys {
		out = append(out, groups[k]...)
	}
	return out
}

// fill gives the replicas random entries: streams of one replica, streams that
// change hands with some lines twice, and streams that all have.
func fill(t testing.TB, rnd *rand.Rand, cluster []*replica, entries int, span int64) *naive {
	n := &naive{rows: make([][]row, len(cluster))}
	kind := []string{"own", "moved", "all", "pushed"}
	for i := range entries {
		k := kind[rnd.IntN(len(kind))]
		no := rnd.IntN(3)
		ts := 1000 + rnd.Int64N(span)
		ls := labels.FromStrings("kind", k, "no", fmt.Sprint(no))
		e := model.Entry{Timestamp: ts, Line: fmt.Sprintf("line %d", rnd.IntN(6))}
		if rnd.IntN(3) == 0 {
			e.Metadata = labels.FromStrings("trace", fmt.Sprint(rnd.IntN(2)))
		}
		var at []int
		switch k {
		case "own":
			at = []int{no % len(cluster)}
		case "moved": // each third of the time at another replica
			first := int(ts-1000) * len(cluster) / int(span)
			at = []int{first}
			if rest := int(ts-1000) * len(cluster) % int(span); rest < int(span)/10 && first > 0 {
				at = append(at, first-1)
			}
		case "all":
			for j := range cluster {
				at = append(at, j)
			}
		default:
			at = []int{rnd.IntN(len(cluster))}
		}
		times := 1 + rnd.IntN(4)/3
		for _, j := range at {
			for range times {
				r := row{stream: ls.String(), line: e.Line, ts: ts}
				if !e.Metadata.IsEmpty() {
					r.metadata = e.Metadata.String()
				}
				n.rows[j] = append(n.rows[j], r)
				push(t, cluster[j].db, ls, e)
			}
		}
		if i%97 == 96 {
			if err := cluster[rnd.IntN(len(cluster))].db.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	return n
}

// TestSelect compares what any replica answers with the naive model.
func TestSelect(t *testing.T) {
	for _, span := range []int64{40, 5000} { // with many equal timestamps, and few
		t.Run(fmt.Sprint(span), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(7, uint64(span)))
			cluster := newCluster(t, 3, nil)
			want := fill(t, rnd, cluster, 700, span)
			for round := range 120 {
				r := model.SelectRequest{Range: model.TimeRange{Start: 1000 + rnd.Int64N(span), End: 1000 + span}}
				if rnd.IntN(3) == 0 {
					r.Range = model.AllTime()
				} else {
					r.Range.End = r.Range.Start + 1 + rnd.Int64N(1000+span-r.Range.Start)
				}
				switch rnd.IntN(4) {
				case 0:
					r.Matchers = append(r.Matchers, labels.MustNewMatcher(labels.MatchRegexp, "kind", "own|moved"))
				case 1:
					r.Matchers = append(r.Matchers, labels.MustNewMatcher(labels.MatchNotEqual, "kind", "all"))
				case 2:
					r.Matchers = append(r.Matchers, labels.MustNewMatcher(labels.MatchEqual, "kind", "own"))
				}
				r.Direction = model.Direction(rnd.IntN(2))
				r.BatchRows = []int{0, 1, 2, 7, 100}[rnd.IntN(5)]
				checkOrdered(t, cluster[rnd.IntN(3)], want, r, rnd.IntN(4) == 0)
				checkUnordered(t, rnd, cluster[rnd.IntN(3)], want, r)
				if t.Failed() {
					t.Fatalf("round %d: %+v", round, r)
				}
			}
		})
	}
}

func checkOrdered(t *testing.T, from *replica, n *naive, r model.SelectRequest, stop bool) {
	t.Helper()
	want := n.all(t, r.Range, r.Matchers)
	if r.Direction == model.Backward {
		slices.Reverse(want)
	}
	it, err := from.peers.Select(t.Context(), r)
	if stop { // a reader that leaves early
		if err != nil {
			t.Fatal(err)
		}
		_, _ = it.Next(t.Context())
		if err := it.Close(); err != nil {
			t.Error(err)
		}
		return
	}
	got := readAll(t, it, err)
	if d := gocmp.Diff(want, got, gocmp.AllowUnexported(row{})); d != "" {
		t.Errorf("ordered, %s: (-want +got)\n%s", r.Direction, d)
	}
}

func checkUnordered(t *testing.T, rnd *rand.Rand, from *replica, n *naive, r model.SelectRequest) {
	t.Helper()
	want := n.all(t, r.Range, r.Matchers)
	r.Unordered = true
	switch rnd.IntN(3) {
	case 0:
		r.TimesOnly = true
		if r.CountStep = []int64{0, 10, 1000}[rnd.IntN(3)]; r.CountStep > 0 {
			r.CountFrom = rnd.Int64N(100)
		}
	case 1:
		r.NoLines = true
	}
	var got []row
	if k := 1 + rnd.IntN(3); k == 1 {
		it, err := from.peers.Select(t.Context(), r)
		got = readAll(t, it, err)
	} else {
		its, err := from.peers.SelectSplit(t.Context(), r, k)
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range its {
			got = append(got, readAll(t, it, nil)...)
		}
	}
	// What the reader has not asked for does not count.
	plain := func(rows []row) []row {
		for i := range rows {
			if r.TimesOnly || r.NoLines {
				rows[i].line = ""
			}
			if r.TimesOnly {
				rows[i].metadata = ""
			}
			if r.CountStep > 0 {
				rows[i].ts = floorDiv(rows[i].ts-r.CountFrom, r.CountStep)
			}
		}
		slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.String(), b.String()) })
		return rows
	}
	if d := gocmp.Diff(plain(want), plain(got), gocmp.AllowUnexported(row{})); d != "" {
		t.Errorf("unordered %+v: (-want +got)\n%s", r, d)
	}
}

func floorDiv(a, b int64) int64 {
	k := a / b
	if a%b < 0 {
		k--
	}
	return k
}

// TestTooManyAlike has two replicas hold more lines of one timestamp than fit into
// memory: that is an error, and tells where; elsewhere it does not matter.
func TestTooManyAlike(t *testing.T) {
	c := newCluster(t, 2, nil)
	long := strings.Repeat("long line ", 400_000)
	for _, r := range c {
		for i := range 5 {
			push(t, r.db, web, model.Entry{Timestamp: 7, Line: fmt.Sprint(i, long)})
		}
		push(t, r.db, web, model.Entry{Timestamp: 8, Line: "short"})
	}
	it, err := c[0].peers.Select(t.Context(), model.SelectRequest{Range: model.AllTime(), Direction: model.Forward})
	if err != nil {
		t.Fatal(err)
	}
	_, err = it.Next(t.Context())
	var many *TooManyAlikeError
	if !errors.As(err, &many) || many.Timestamp != 7 || many.Stream.Get("app") != "web" {
		t.Errorf("%v", err)
	}
	if err := it.Close(); err != nil {
		t.Error(err)
	}
	it, err = c[0].peers.Select(t.Context(), model.SelectRequest{Range: model.TimeRange{Start: 8, End: 9}})
	if rows := readAll(t, it, err); len(rows) != 1 {
		t.Errorf("%d rows", len(rows))
	}
}

// TestHints asks for lines by what they have in them: everything that the reader
// can use comes, and peers send little else.
func TestHints(t *testing.T) {
	rnd := rand.New(rand.NewPCG(8, 8))
	c := newCluster(t, 3, nil)
	n := fill(t, rnd, c, 500, 300)
	for _, r := range []model.SelectRequest{
		{Contains: []string{"line", "3"}},
		{ContainsAny: []string{"e 1", "e 2"}},
		{ContainsAny: []string{"E 1"}, AnyFold: true},
		{ContainsNone: []string{"4", ""}},
		{Contains: []string{"line"}, ContainsAny: []string{"1", "4"}, ContainsNone: []string{"4"}, BatchRows: 3},
		{Contains: []string{"nowhere"}, BatchRows: 3},
	} {
		r.Range = model.AllTime()
		useful := func(rows []row) (out []row) {
			for _, x := range rows {
				line := x.line
				if r.AnyFold {
					line = strings.ToUpper(line)
				}
				f := rowFilter{all: r.Contains, any: r.ContainsAny, none: r.ContainsNone}
				if f.wants(line) {
					out = append(out, x)
				}
			}
			return out
		}
		want := useful(n.all(t, r.Range, nil))
		slices.Reverse(want)
		it, err := c[1].peers.Select(t.Context(), r)
		if d := gocmp.Diff(want, useful(readAll(t, it, err)), gocmp.AllowUnexported(row{})); d != "" {
			t.Errorf("%+v: %s", r, d)
		}
		all := readAll(t, c[1].peers.selectFrom(t.Context(), c[1].peers.others()[0], r), nil)
		if len(useful(all)) != len(all) && !r.AnyFold {
			t.Errorf("%+v: %d of %d rows are of use", r, len(useful(all)), len(all))
		}
	}
}
