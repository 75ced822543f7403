package server

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
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

// TestPatternsSampled holds extrapolated counts to the true ones.
func TestPatternsSampled(t *testing.T) {
	st := newMemStore()
	const n = 60_000
	span := model.TimeRange{Start: 0, End: n * int64(time.Second) / 10}
	st.rows = make([]memRow, 0, n)
	ls := labels.FromStrings("app", "web")
	for i := range n {
		// In turns of two, three and five, to which a regular sample would fall.
		line := fmt.Sprintf("beat %d", i)
		switch {
		case i%5 == 0:
			line = fmt.Sprintf("fifth wheel %d", i)
		case i%2 == 0:
			line = fmt.Sprintf("even call of %d", i)
		case i%3 == 0:
			line = fmt.Sprintf("third man at %d done", i)
		}
		st.rows = append(st.rows, memRow{ls, model.Entry{Timestamp: int64(i) * int64(time.Second) / 10, Line: line}, i})
	}
	for _, tt := range []struct {
		name, query string
		bounds      patternBounds
		want        map[string]float64 // parts of n
		within      float64            // 0 is exact
		steps       int                // that are joined
	}{
		{"exact", `{app="web"}`, patternBounds{1e9, 1e9, 500, 500},
			map[string]float64{"fifth wheel <_>": 1. / 5, "even call of <_>": 2. / 5, "third man at <_> done": 2. / 15, "beat <_>": 4. / 15}, 0, 1},
		{"one in ten", `{app="web"}`, patternBounds{1e9, n / 10, 500, 500},
			map[string]float64{"fifth wheel <_>": 1. / 5, "even call of <_>": 2. / 5, "third man at <_> done": 2. / 15, "beat <_>": 4. / 15}, 0.1, 1},
		{"less and less", `{app="web"} |~ "fifth|even"`, patternBounds{1e9, 1000, 500, 500},
			map[string]float64{"fifth wheel <_>": 1. / 5, "even call of <_>": 2. / 5}, 0.2, 1},
		{"windows", `{app="web"}`, patternBounds{n / 4, 1e9, 500, 500},
			map[string]float64{"fifth wheel <_>": 1. / 5, "even call of <_>": 2. / 5, "third man at <_> done": 2. / 15, "beat <_>": 4. / 15}, 0.1, 1},
		{"long steps", `{app="web"}`, patternBounds{n / 4, 1e9, 51, 500},
			map[string]float64{"fifth wheel <_>": 1. / 5, "even call of <_>": 2. / 5, "third man at <_> done": 2. / 15, "beat <_>": 4. / 15}, 0.1, 2},
		{"both", `{app="web"}`, patternBounds{n / 4, n / 20, 500, 2},
			map[string]float64{"even call of <_>": 2. / 5, "beat <_>": 4. / 15}, 0.1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			expr, err := logql.Parse(tt.query)
			if err != nil {
				t.Fatal(err)
			}
			ask := func() []lokiapi.Pattern {
				list, err := minePatterns(t.Context(), st, expr.(*logql.LogSelector), span, time.Minute, tt.bounds)
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
				t.Fatalf("%d patterns, want %d", len(list), len(tt.want))
			}
			for i, p := range list {
				want := math.Round(tt.want[p.Pattern] * n)
				if want == 0 || math.Abs(float64(p.Total())-want) > tt.within*want {
					t.Errorf("%q has %d lines, want about %v", p.Pattern, p.Total(), want)
				}
				if i > 0 && p.Total() > list[i-1].Total() {
					t.Errorf("%q is not in order", p.Pattern)
				}
				if p.Level != "unknown" || len(p.Samples) > n/600/tt.steps || len(p.Samples) < n/600/tt.steps*8/10 {
					t.Errorf("%q: level %s, %d samples", p.Pattern, p.Level, len(p.Samples))
				}
				last := int64(-1)
				for _, sample := range p.Samples {
					if sample.Time <= last || sample.Time%int64(60*tt.steps) != 0 {
						t.Fatalf("%q: a sample at %d after one at %d", p.Pattern, sample.Time, last)
					}
					last = sample.Time
				}
			}
		})
	}
}

func TestPatternWindows(t *testing.T) {
	for _, r := range []model.TimeRange{{Start: 0, End: 1}, {Start: -50, End: 1e12}, {Start: math.MinInt64, End: math.MaxInt64}, {Start: 5, End: 5}} {
		for _, share := range []float64{1e-9, 0.3, 0.999} {
			m := patternMiner{step: 1e9, share: share, random: testRandom()}
			last := r.Start
			for _, w := range m.windows(r, 500) {
				if w.Start < last || w.End < w.Start || w.End > r.End {
					t.Fatalf("%v of %v: window %v after %d", share, r, w, last)
				}
				last = w.End
			}
			if n := len(m.windows(r, 500)); n > 501 {
				t.Fatalf("%v of %v: %d windows", share, r, n)
			}
		}
	}
}

func testRandom() *rand.Rand { return rand.New(rand.NewPCG(3, 4)) }
