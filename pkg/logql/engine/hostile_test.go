package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// TestHostileQueries checks that queries made to hurt get an answer or an
// error that is the client's to mend, and never a panic.
func TestHostileQueries(t *testing.T) {
	s := &memoryStore{rows: 500}
	for i := range 1000 {
		s.push(labels.FromStrings("app", "a"), model.Entry{
			Timestamp: zero + int64(i)*1e6,
			Line:      fmt.Sprintf(`{"id":"%d","x":{"y":[[[[1]]]]},"t":"%s"}`, i, strings.Repeat("a", 300)),
			Metadata:  labels.FromStrings("trace_id", fmt.Sprint(i)),
		})
	}
	s.push(labels.FromStrings("app", "b"),
		model.Entry{Timestamp: zero, Line: strings.Repeat(`{"a":`, 50_000)},
		model.Entry{Timestamp: zero, Line: strings.Repeat(`[`, 200_000)},
		model.Entry{Timestamp: zero, Line: "\x00\xff\xfe" + strings.Repeat("k=v ", 50_000)},
		model.Entry{Timestamp: zero, Line: manyKeys(50_000)})
	count := `count_over_time({app="a"}[1m])`
	for name, query := range map[string]string{
		"chain":            strings.TrimSuffix(strings.Repeat(`vector(1)+`, 2000), "+"),
		"divisions":        strings.Repeat(`vector(1)/(`, 200) + `vector(0)` + strings.Repeat(`)`, 200),
		"label_replace":    strings.Repeat(`label_replace(`, 200) + `vector(1)` + strings.Repeat(`,"a","$1$1","a","(.*)")`, 200),
		"parentheses":      strings.Repeat(`(`, 5000) + `vector(1)` + strings.Repeat(`)`, 5000),
		"long":             `{app="a"} |= "` + strings.Repeat("x", 200_000) + `"`,
		"regexp":           `{app="a"} |~ "(a*)*(a*)*(a*)*b"`,
		"huge regexp":      `{app="a"} |~ "((a{100}){100}){100}"`,
		"filters":          `{app="a"}` + strings.Repeat(` |= "a"`, 5000),
		"or chain":         `{app="a"} |= "zz"` + strings.Repeat(` or "zzz"`, 5000),
		"parsers":          `{app="a"}` + strings.Repeat(` | json | logfmt`, 300),
		"many series":      `count_over_time({app="a"} | json [1m])`,
		"series in ranges": `sum(count_over_time({app="a"}[1m])) by (trace_id)`,
		"year":             `count_over_time({app="a"}[290y] offset 290y)`,
		"future":           `count_over_time({app="a"}[290y] offset -290y)`,
		"deep json":        `{app="b"} | json`,
		"many pairs":       `{app="b"} | logfmt`,
		"everything":       `{app="b"} | json | logfmt | unpack | decolorize | label_format a="{{.}}" | drop b`,
		"powers":           strings.TrimSuffix(strings.Repeat(`9^`, 400), "^"),
		"same leaf":        strings.TrimSuffix(strings.Repeat(count+"+", 20), "+"),
		"template":         `{app="a"} | line_format "{{range $i := 1000000000}}{{range $j := 1000000000}}{{end}}{{end}}"`,
	} {
		t.Run(name, func(t *testing.T) {
			p := Params{Query: query, Start: zero, End: zero + 60e9, Step: 10 * time.Second, Limit: 5000}
			_, err := New(s, Options{Timeout: 20 * time.Second}).Range(context.Background(), p)
			var (
				parse *logql.ParseError
				query *QueryError
				limit *LimitError
				pipe  *PipelineError
			)
			if err != nil && !errors.As(err, &parse) && !errors.As(err, &query) && !errors.As(err, &limit) && !errors.As(err, &pipe) {
				t.Errorf("%T: %.300v", err, err)
			}
		})
	}
}

// manyKeys is a JSON object with n keys.
func manyKeys(n int) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"k%d":%d`, i, i)
	}
	b.WriteByte('}')
	return b.String()
}
