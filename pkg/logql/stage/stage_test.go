package stage

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// compile makes a pipeline of the text behind a selector, such as "| json".
func compile(text string) (*Pipeline, error) {
	expr, err := logql.Parse(`{job="j"} ` + text)
	if err != nil {
		return nil, err
	}
	return NewPipeline(expr.(*logql.LogSelector).Stages, Config{})
}

// accepts checks that each text is a stage.
func accepts(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if _, err := compile(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// refuses checks that each text is an error, of parser or compiler.
func refuses(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if _, err := compile(text); err == nil {
			t.Errorf("%s: accepted", text)
		}
	}
}

// change is a line on its way through a pipeline. The stream is
// {app="a", job="j"}, the metadata {trace="t1"}.
type change struct {
	text, line string
	// want is the line behind the pipeline and its labels beside app, job and
	// trace: `line {x="1"}`. "dropped" means that it did not pass.
	want string
}

// transforms checks changes. Each line goes through the same pipeline twice, so
// that state of the first would show in the second.
func transforms(t *testing.T, changes ...change) {
	t.Helper()
	stream := labels.FromStrings("app", "a", "job", "j")
	meta := labels.FromStrings("trace", "t1")
	for _, c := range changes {
		p, err := compile(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		for range 2 {
			if got := runLine(p, c.line, stream, meta); got != c.want {
				t.Errorf("%s on %q:\n got %s\nwant %s", c.text, c.line, got, c.want)
			}
		}
	}
}

// batchOf is a batch of one row.
func batchOf(line string, stream, meta labels.Labels) *model.EntryBatch {
	return &model.EntryBatch{
		Streams:     []labels.Labels{stream},
		StreamIndex: []uint32{0},
		Timestamps:  []int64{1_700_000_000_123_456_789},
		Lines:       []string{line},
		Metadata:    []labels.Labels{meta},
	}
}

func runLine(p *Pipeline, line string, stream, meta labels.Labels) string {
	b := batchOf(line, stream, meta)
	if rows := p.Select(b); len(rows) > 0 {
		out, ok := p.Row(b, rows[0])
		if !ok {
			return "dropped"
		}
		flat := labels.NewBuilder(p.Labels().Flat).Del(ErrorDetailsLabel)
		for _, ls := range []labels.Labels{stream, meta} {
			ls.Range(func(l labels.Label) {
				if p.Labels().Flat.Get(l.Name) == l.Value {
					flat.Del(l.Name)
				}
			})
		}
		return strings.Clone(out) + " " + flat.Labels().String()
	}
	return "dropped"
}

// TestParsersStopWhenNothingIsMissing checks that a metric query reads no
// further than its labels, except where it could miss an error.
func TestParsersStopWhenNothingIsMissing(t *testing.T) {
	for _, c := range []struct {
		query, line string
		fails       bool
	}{
		{`sum by (level) (count_over_time({app="a"} | json [1m]))`, `{"level":"x",`, false},
		{`sum by (app) (count_over_time({app="a"} | json [1m]))`, `{"level":"x",`, true},
		{`sum by (app, level) (count_over_time({app="a"} | json [1m]))`, `{"level":"x",`, true},
		{`sum by (app, level) (count_over_time({app="a"} | logfmt --strict [1m]))`, `level=x "`, true},
		{`sum by (app, level) (count_over_time({app="a"} | logfmt [1m]))`, `level=x "`, false},
		{`sum(count_over_time({app="a"} | json [1m]))`, `plain`, false},
		{`sum by (level, __error__) (count_over_time({app="a"} | json [1m]))`, `plain`, false},
	} {
		x := mustExtractor(t, c.query)
		var out Samples
		err := x.Extract(context.Background(), batchOf(c.line, mustLabels("app", "a"), mustLabels()), nil, &out)
		var f *Failure
		if errors.As(err, &f) != c.fails || (err == nil) != (len(out.Series) == 1) {
			t.Errorf("%s: %v, %v", c.query, err, out)
		}
	}
	// What stands behind the last label that is needed is not read.
	x := mustExtractor(t, `sum by (app, level) (count_over_time({app="a"} | logfmt [1m]))`)
	x.p.Row(batchOf("level=x level=y more=z", mustLabels("app", "a"), mustLabels()), 0)
	if !x.p.b.enough() || len(x.p.b.pairs) != 1 {
		t.Errorf("%v", x.p.b.pairs)
	}
}
