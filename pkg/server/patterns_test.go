package server

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

func get(t *testing.T, s *Server, path string, v url.Values) *httptest.ResponseRecorder {
	t.Helper()
	return do(s, httptest.NewRequest("GET", path+"?"+v.Encode(), nil))
}

// patternsOf asks for patterns.
func patternsOf(t *testing.T, s *Server, v url.Values) []lokiapi.Pattern {
	t.Helper()
	w := get(t, s, "/loki/api/v1/patterns", v)
	var answer struct {
		Status string
		Data   []lokiapi.Pattern
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 || answer.Status != "success" {
		t.Fatalf("answered %d %s", w.Code, w.Body)
	}
	return answer.Data
}

func TestPatterns(t *testing.T) {
	s, st := newTestServer(nil)
	add := func(second int, level, line string) {
		err := st.Append(t.Context(), &model.Batch{Streams: []model.StreamEntries{{
			Labels: labels.FromStrings("app", "web"),
			Entries: []model.Entry{{
				Timestamp: testNow.UnixNano() + int64(second)*1e9, Line: line, Metadata: labels.FromStrings("detected_level", level),
			}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 30 {
		add(-60+i, "info", fmt.Sprintf("GET /users/%d took %dms", i, i*7))
		if i%3 == 0 {
			add(-60+i, "error", fmt.Sprintf(`cannot reach <nil> of "db-%d"`, i))
		}
		if i%10 == 0 {
			add(-60+i, "warn", fmt.Sprintf("GET /users/%d took %dms", i, i*7))
		}
	}
	add(-5, "info", "only once")
	add(-4, "info", "")

	w := get(t, s, "/loki/api/v1/patterns", url.Values{"query": {`{app="web"}`}, "start": {at(-60)}, "end": {at(0)}, "step": {"20s"}})
	t0 := testNow.Unix() - 60
	want := fmt.Sprintf(`{"status":"success","data":[`+
		`{"pattern":"GET /users/\u003c_\u003e took \u003c_\u003e","level":"info","samples":[[%[1]d,20],[%[2]d,10]]},`+
		`{"pattern":"cannot reach \u003c_\u003e of \"\u003c_\u003e\"","level":"error","samples":[[%[1]d,7],[%[2]d,3]]},`+
		`{"pattern":"GET /users/\u003c_\u003e took \u003c_\u003e","level":"warn","samples":[[%[1]d,2],[%[2]d,1]]},`+
		`{"pattern":"only once","level":"info","samples":[[%[3]d,1]]}]}`, t0, t0+20, t0+40)
	if got := strings.TrimSpace(w.Body.String()); got != want {
		t.Errorf("answered %d %s\nwant %s", w.Code, got, want)
	}

	for query, want := range map[string]string{
		`{app="web"} |= "once"`:                                     "[only once:1]",
		`{app="web"} | detected_level="warn"`:                       "[GET /users/<_> took <_>:3]",
		`{app="none"}`:                                              "[]",
		`{app="web"} | detected_level="warn" | drop app`:            "[GET /users/<_> took <_>:3]",
		`{app="web"} |= "once" | line_format "line 1 {{__line__}}"`: "[line <_> only once:1]",
	} {
		got := []string{}
		for _, p := range patternsOf(t, s, url.Values{"query": {query}}) {
			got = append(got, fmt.Sprint(p.Pattern, ":", p.Total()))
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s: %v, want %s", query, got, want)
		}
	}
	for query, want := range map[string]string{
		`rate({app="web"}[1m])`: "only log queries are supported here, not metric queries",
		`{`:                     "",
		`{}`:                    "",
	} {
		if w := get(t, s, "/loki/api/v1/patterns", url.Values{"query": {query}}); w.Code != 400 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
	if w := get(t, s, "/loki/api/v1/patterns", url.Values{"query": {`{app="web"}`}, "step": {"1ms"}}); w.Code != 400 || !strings.Contains(w.Body.String(), "11,000 points") {
		t.Errorf("a step of 1ms: %d %s", w.Code, w.Body)
	}
}

// TestPatternsFindTheirLines uses each pattern as a filter: it counts no fewer
// lines than the pattern has.
func TestPatternsFindTheirLines(t *testing.T) {
	s, st := newTestServer(nil)
	var entries []model.Entry
	for i := range 400 {
		line := []string{
			fmt.Sprintf(`{"level":"info","n":%d,"msg":"<b>%x</b> & \"more\" <x%d>"}`, i, i*7919, i),
			fmt.Sprintf("level=info a=%d b='%x' `tick%d` <_> %%s", i, i*i, i),
			fmt.Sprintf("ünï/%d/%d \t path=C:\\temp\\%d end %d", i, i, i, i),
			fmt.Sprintf("bytes \xff%d and\x00%d\nsecond line", i, i),
			strings.Repeat("x", i%13) + "!" + strings.Repeat("y ", i%7),
		}[i%5]
		entries = append(entries, model.Entry{Timestamp: testNow.UnixNano() - int64(i+1)*1e6, Line: line})
	}
	if err := st.Append(t.Context(), &model.Batch{Streams: []model.StreamEntries{{Labels: labels.FromStrings("app", "web"), Entries: entries}}}); err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, p := range patternsOf(t, s, url.Values{"query": {`{app="web"}`}}) {
		total += p.Total()
		w := get(t, s, "/loki/api/v1/query", url.Values{"query": {`sum(count_over_time({app="web"} |> ` + strconv.Quote(p.Pattern) + ` [1h]))`}})
		res, err := lokiapi.DecodeQueryResponse(w.Body.Bytes())
		if err != nil || len(res.Series) != 1 {
			t.Errorf("%q: %d %s, %v", p.Pattern, w.Code, w.Body, err)
			continue
		}
		if n := int64(res.Series[0].Points[0].Value); n < p.Total() {
			t.Errorf("%q has %d lines, as a filter %d", p.Pattern, p.Total(), n)
		}
	}
	if total != int64(len(entries)) {
		t.Errorf("%d lines are counted of %d", total, len(entries))
	}
}

// TestPatternsSampled holds extrapolated counts to the true ones: for each step
// all patterns together, for each pattern all steps together.
func TestPatternsSampled(t *testing.T) {
	st := newMemStore()
	const n = 40_000
	const second = int64(time.Second)
	span := model.TimeRange{Start: 0, End: 6000 * second} // 100 minutes
	add := func(service, line string, ts int64) {
		st.rows = append(st.rows, memRow{labels.FromStrings("app", "web", "service_name", service), model.Entry{Timestamp: ts, Line: line}, len(st.rows)})
	}
	perStep := map[int64]int64{}
	count := func(ts int64) { perStep[ts/(600*second)]++ }
	for i := range n {
		ts := int64(i) * span.End / n
		count(ts)
		switch { // in turns of two, three and five
		case i%5 == 0:
			add("big", fmt.Sprintf("fifth wheel %d", i), ts)
		case i%2 == 0:
			add("big", fmt.Sprintf("even call of %d", i), ts)
		case i%3 == 0:
			add("other", fmt.Sprintf("third man at %d done", i), ts)
		default:
			add("other", fmt.Sprintf("beat %d", i), ts)
		}
		if i%100 == 0 {
			count(ts)
			add("small", "tick "+fmt.Sprint(i), ts)
		}
		if i < n/50 { // a burst in the first two minutes
			count(ts)
			add("burst", fmt.Sprintf("starting part %d", i), ts)
		}
	}
	all := map[string]float64{
		"fifth wheel <_>": n / 5, "even call of <_>": n * 2 / 5, "third man at <_> done": n * 2 / 15, "beat <_>": n * 4 / 15,
		"tick <_>": n / 100, "starting part <_>": n / 50,
	}
	const far = 1 << 40
	for _, tt := range []struct {
		name, query string
		bounds      patternBounds
		want        map[string]float64
		within      float64 // 0 is exact
		steps       int64   // seconds
	}{
		{"exact", `{app="web"}`, patternBounds{exact: far, bytes: far, answers: 500}, all, 0, 600},
		{"sampled", `{app="web"}`, patternBounds{bytes: far, sample: n / 10, services: 10, parts: 3, steps: 500, answers: 500}, all, 0.15, 600},
		{"steps joined", `{app="web"}`, patternBounds{bytes: far, sample: n / 10, services: 10, parts: 3, steps: 5, answers: 500}, all, 0.15, 1800},
		{"sampled and filtered by a label", `{app="web"} | service_name="big"`, patternBounds{bytes: far, sample: n / 10, services: 10, parts: 3, steps: 500, answers: 500},
			map[string]float64{"fifth wheel <_>": n / 5, "even call of <_>": n * 2 / 5}, 0.15, 600},
		{"filtered, all of it read", `{app="web"} |= "i" |= "th"`, patternBounds{bytes: far, decode: far, parts: 3, steps: 500, answers: 500},
			map[string]float64{"fifth wheel <_>": n / 5, "third man at <_> done": n * 2 / 15}, 0, 600},
		{"filtered", `{app="web"} |= "i" |= "th"`, patternBounds{bytes: far, decode: n / 5, parts: 3, steps: 500, answers: 500},
			map[string]float64{"fifth wheel <_>": n / 5, "third man at <_> done": n * 2 / 15}, 0.15, 600},
		{"few answers", `{app="web"}`, patternBounds{bytes: far, sample: n / 10, services: 10, parts: 3, steps: 500, answers: 1}, map[string]float64{"even call of <_>": n * 2 / 5}, 0.15, 600},
	} {
		t.Run(tt.name, func(t *testing.T) {
			expr, err := logql.Parse(tt.query)
			if err != nil {
				t.Fatal(err)
			}
			ask := func() []lokiapi.Pattern {
				list, err := minePatterns(t.Context(), st, expr.(*logql.LogSelector), span, 10*time.Minute, tt.bounds)
				if err != nil {
					t.Fatal(err)
				}
				return list
			}
			list := ask()
			if again := ask(); fmt.Sprint(again) != fmt.Sprint(list) {
				t.Error("the same question has another answer")
			}
			if len(list) != len(tt.want) {
				t.Fatalf("%d patterns, want %d: %v", len(list), len(tt.want), list)
			}
			got := map[int64]int64{}
			for i, p := range list {
				want := tt.want[p.Pattern]
				if want == 0 || math.Abs(float64(p.Total())-math.Floor(want)) > tt.within*want+1 {
					t.Errorf("%q has %d lines, want about %v", p.Pattern, p.Total(), want)
				}
				if i > 0 && p.Total() > list[i-1].Total() {
					t.Errorf("%q is not in order", p.Pattern)
				}
				last := int64(-1)
				for _, sample := range p.Samples {
					if sample.Time <= last || sample.Time%tt.steps != 0 {
						t.Fatalf("%q: a sample at %d after one at %d", p.Pattern, sample.Time, last)
					}
					last = sample.Time
					got[sample.Time/600] += sample.Count
				}
			}
			if len(tt.want) == len(all) && tt.steps == 600 {
				for step, n := range perStep { // each pattern is rounded
					if d := got[step] - n; d < -int64(len(all)) || d > int64(len(all)) {
						t.Errorf("step %d has %d lines, want %d", step, got[step], n)
					}
				}
			}
		})
	}
}

// TestPatternsOfOddRanges samples ranges that have no room for windows or steps.
func TestPatternsOfOddRanges(t *testing.T) {
	expr, err := logql.Parse(`{app="web"}`)
	if err != nil {
		t.Fatal(err)
	}
	st := newMemStore()
	for i, ts := range []int64{math.MinInt64, -1e18, -5, -1, 0, 1, 7, 1e9, 1e18, math.MaxInt64 - 1} {
		st.rows = append(st.rows, memRow{labels.FromStrings("app", "web"), model.Entry{Timestamp: ts, Line: "x"}, i})
	}
	for _, r := range []model.TimeRange{{Start: 0, End: 1}, {Start: -7, End: 3}, {Start: -2e18, End: 2e18}, {Start: math.MinInt64, End: math.MaxInt64}} {
		for _, b := range []patternBounds{{parts: 1, steps: 1, sample: 3}, {parts: 3, steps: 7, sample: 1, services: 1}, {parts: 5, steps: 500, sample: 100, services: 9}} {
			b.decode, b.bytes, b.services, b.answers = 1, 1<<40, max(b.services, 1), 9
			want := int64(0)
			for _, row := range st.rows {
				if ts := row.entry.Timestamp; r.Contains(ts) {
					want++
				}
			}
			step := time.Duration(span(r)/10000) + 1
			list, err := minePatterns(t.Context(), st, expr.(*logql.LogSelector), r, step, b)
			if err != nil {
				t.Fatal(err)
			}
			if len(list) != 1 || list[0].Total() < want/2 || list[0].Total() > want+1 {
				t.Errorf("%v of %v: %v, want %d lines", b, r, list, want)
			}
		}
	}
}

// TestPatternsOfLongLines reads a small part of what would be much text.
func TestPatternsOfLongLines(t *testing.T) {
	const most = 8 << 20 // a part of thirty is the least
	for _, query := range []string{`{app="web"}`, `{app="web"} |= "pad"`} {
		st := newMemStore()
		ls := labels.FromStrings("app", "web", "service_name", "web")
		const n = 600
		for i := range n {
			line := fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, strings.Repeat("x", 200_000))
			st.rows = append(st.rows, memRow{ls, model.Entry{Timestamp: int64(i) * 1e9, Line: line}, i})
		}
		counted := &countingStore{memStore: st}
		expr, err := logql.Parse(query)
		if err != nil {
			t.Fatal(err)
		}
		b := defaultPatternBounds
		b.bytes = 2 << 20
		list, err := minePatterns(t.Context(), counted, expr.(*logql.LogSelector), model.TimeRange{Start: 0, End: n * 1e9}, 10*time.Second, b)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) != 1 || list[0].Total() < n-10 || list[0].Total() > n+10 {
			t.Errorf("%s: %v, want %d lines", query, list, n)
		}
		if counted.bytes == 0 || counted.bytes > most {
			t.Errorf("%s: %d bytes were read, want at most %d", query, counted.bytes, most)
		}
	}
}

// countingStore counts the bytes that iterators have read.
type countingStore struct {
	*memStore
	bytes int64
}

type countingIterator struct {
	model.BatchIterator
	st *countingStore
}

func (s *countingStore) Select(ctx context.Context, r model.SelectRequest) (model.BatchIterator, error) {
	it, err := s.memStore.Select(ctx, r)
	return &countingIterator{it, s}, err
}

func (it *countingIterator) Close() error {
	it.st.bytes += it.Stats().Bytes
	return it.BatchIterator.Close()
}

// TestDivide has every stream in one service.
func TestDivide(t *testing.T) {
	base := []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "app", "web")}
	var volumes []model.StreamVolume
	for i, name := range []string{"", "a", "a.b", "axb", "x|y", "(", "a"} {
		ls := labels.FromStrings("app", "web", "n", fmt.Sprint(i), "service_name", name)
		volumes = append(volumes, model.StreamVolume{Labels: ls, Entries: int64(i * i)})
	}
	for most := 1; most < 9; most++ {
		services, number := divide(base, volumes, most)
		if len(services) != min(most, 6) {
			t.Errorf("%d services of at most %d", len(services), most)
		}
		for _, v := range volumes {
			for i, ms := range services {
				if in := matches(ms, v.Labels); in != (number[v.Labels.Get("service_name")] == i) {
					t.Errorf("of %d: %s is in %d: %v", most, v.Labels, i, in)
				}
			}
		}
	}
}

func TestScattered(t *testing.T) {
	for n := range 40 {
		order := scattered(n)
		if len(order) != n {
			t.Fatalf("%d of %d numbers", len(order), n)
		}
		seen := map[int]bool{}
		for i, x := range order {
			seen[x] = true
			if i == 1 && n > 3 && x < n/4 {
				t.Errorf("of %d the second is %d", n, x)
			}
		}
		if len(seen) != n {
			t.Errorf("%v has repeats", order)
		}
	}
}
