package stage

import (
	"context"
	"fmt"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// logBatch is a batch of n lines of one stream, cycling through lines.
func logBatch(n int, lines ...string) *model.EntryBatch {
	b := &model.EntryBatch{Streams: []labels.Labels{mustLabels("app", "api", "container", "c", "namespace", "shop", "pod", "api-1", "node", "n1")}}
	for i := range n {
		b.StreamIndex = append(b.StreamIndex, 0)
		b.Timestamps = append(b.Timestamps, int64(i)*1e6)
		b.Lines = append(b.Lines, lines[i%len(lines)])
	}
	return b
}

var (
	jsonLines = []string{
		`{"ts":"2026-11-22T09:00:00Z","level":"info","status":200,"method":"GET","path":"/api/cart","dur":"12ms","user":{"id":"u1","plan":"free"}}`,
		`{"ts":"2026-11-22T09:00:00Z","level":"error","status":500,"method":"POST","path":"/api/pay","dur":"120ms","msg":"card \"x\" refused"}`,
	}
	logfmtLines = []string{
		`ts=2026-11-22T09:00:00Z level=info msg="request done" status=200 method=GET path=/api/cart dur=12ms`,
		`ts=2026-11-22T09:00:00Z level=error msg="request \"failed\"" status=500 method=POST path=/api/pay dur=120ms`,
	}
	accessLines = []string{
		`10.1.2.3 - - [22/Nov/2026:09:00:00 +0000] "GET /api/cart HTTP/1.1" 200 512 "-" "curl/8"`,
		`10.1.2.4 - - [22/Nov/2026:09:00:01 +0000] "POST /api/pay HTTP/1.1" 500 12 "-" "curl/8"`,
	}
)

// stageCases are the pipelines that are measured, and those that must not
// allocate per line.
var stageCases = []struct {
	name, text string
	lines      []string
	allocs     float64 // allowed per line
}{
	{"contains", `|= "error"`, jsonLines, 0},
	{"regexp fold", `|~ "(?i)ERROR"`, jsonLines, 0},
	{"contains fold", `|=i "ERROR" !=i "nothing"`, jsonLines, 0},
	{"regexp", `|~ "status\":5\\d\\d"`, jsonLines, 0},
	{"line pattern", `|> "<_>level<_>error<_>"`, jsonLines, 0},
	{"line ip", `|= ip("10.1.2.0/24")`, accessLines, 0},
	{"json", `| json`, jsonLines, 0},
	{"json filter", `| json | status>=500`, jsonLines, 0},
	{"json arrays", `| json --arrays`, jsonLines, 0},
	{"json path", `| json s="status", p="user.plan"`, jsonLines, 0},
	{"logfmt", `| logfmt`, logfmtLines, 0},
	{"logfmt filter", `| logfmt | dur>100ms and level="error"`, logfmtLines, 0},
	{"pattern", `| pattern "<ip> - - <_> \"<method> <path> <_>\" <status> <_>"`, accessLines, 0},
	{"regexp parser", "| regexp `\"(?P<method>\\w+) (?P<path>\\S+) \\S+\" (?P<status>\\d+)`", accessLines, 1},
	{"line_format", `| logfmt | line_format "{{.level}} {{.msg}}"`, logfmtLines, 0},
	{"label_format", `| logfmt | label_format lvl=level, where="{{.method}} {{.path}}"`, logfmtLines, 0},
	{"drop keep", `| json | drop msg, user_id | keep status, level`, jsonLines, 0},
	{"distinct", `| json | distinct status, level`, jsonLines, 0},
	{"decolorize", `| decolorize`, []string{"\x1b[31mred\x1b[0m plain"}, 0},
}

// runBatch is what a log query does with a batch.
func runBatch(p *Pipeline, b *model.EntryBatch) (n int) {
	for _, row := range p.Select(b) {
		if _, ok := p.Row(b, row); ok {
			p.Labels()
			n++
		}
	}
	return n
}

// TestNothingIsAllocatedPerLine holds stages to their promise.
func TestNothingIsAllocatedPerLine(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	const rows = 200
	for _, c := range stageCases {
		p, b := mustCompile(t, c.text), logBatch(rows, c.lines...)
		runBatch(p, b)
		if got := testing.AllocsPerRun(5, func() { runBatch(p, b) }); got > c.allocs*rows {
			t.Errorf("%s: %.2f allocations per line, want %g", c.name, got/rows, c.allocs)
		}
	}
	for _, q := range []string{
		`sum by (app) (count_over_time({app="api"}[1m]))`,
		`sum by (status) (count_over_time({app="api"} | json [1m]))`,
		`quantile_over_time(0.99, {app="api"} | logfmt | unwrap duration(dur) [1m]) by (path)`,
		`rate({app="api"} |= "error" [1m])`,
	} {
		x, b := mustExtractor(t, q), logBatch(rows, logfmtLines...)
		if q[0] == 's' && len(q) > 50 {
			b = logBatch(rows, jsonLines...)
		}
		var out Samples
		run := func() {
			out.Reset()
			if err := x.Extract(context.Background(), b, nil, &out); err != nil {
				t.Fatal(err)
			}
		}
		run()
		if got := testing.AllocsPerRun(5, run); got > 0 {
			t.Errorf("%s: %.2f allocations per line", q, got/rows)
		}
	}
}

// mustExtractor compiles the one range aggregation of a query, with the
// grouping of a sum around it.
func mustExtractor(tb testing.TB, query string) *Extractor {
	tb.Helper()
	expr, err := logql.Parse(query)
	if err != nil {
		tb.Fatal(err)
	}
	n := logql.RangeAggregations(expr)[0]
	by := n.Grouping
	if v, ok := expr.(*logql.VectorAggregation); ok {
		by = v.Grouping
	}
	hints := AllLabels()
	if need := logql.NeededLabels(expr)[n]; !need.All {
		hints = NeededLabels(need.Names)
	}
	x, err := NewExtractor(n, by, Config{Hints: hints})
	if err != nil {
		tb.Fatal(err)
	}
	return x
}

func BenchmarkStages(b *testing.B) {
	const rows = 1024
	for _, c := range stageCases {
		b.Run(c.name, func(b *testing.B) {
			p, batch := mustCompile(b, c.text), logBatch(rows, c.lines...)
			bytes := 0
			for _, l := range batch.Lines {
				bytes += len(l)
			}
			b.SetBytes(int64(bytes))
			b.ReportAllocs()
			for b.Loop() {
				runBatch(p, batch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/line")
		})
	}
}

func BenchmarkExtract(b *testing.B) {
	const rows = 1024
	for i, q := range []string{
		`sum by (app) (count_over_time({app="api"}[1m]))`,
		`count_over_time({app="api"}[1m])`,
		`sum by (status) (count_over_time({app="api"} | json [1m]))`,
		`quantile_over_time(0.99, {app="api"} | logfmt | unwrap duration(dur) [1m]) by (path)`,
	} {
		b.Run(fmt.Sprint(i), func(b *testing.B) {
			x, batch := mustExtractor(b, q), logBatch(rows, jsonLines...)
			if i == 3 {
				batch = logBatch(rows, logfmtLines...)
			}
			var out Samples
			b.ReportAllocs()
			for b.Loop() {
				out.Reset()
				if err := x.Extract(context.Background(), batch, nil, &out); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/line")
		})
	}
}
