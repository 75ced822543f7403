package stage

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
)

// sampleOf is what the inside of sum_over_time(…) makes of a line: a value and
// its series, the kind of its error, or "none". The stream is {app="a"}.
func sampleOf(t *testing.T, text, line string) string {
	t.Helper()
	x := mustExtractor(t, `sum_over_time({app="a"} `+text+` [1m])`)
	var out Samples
	err := x.Extract(context.Background(), batchOf(line, mustLabels("app", "a"), mustLabels()), nil, &out)
	var f *Failure
	switch {
	case errors.As(err, &f):
		return f.Kind
	case err != nil:
		t.Fatal(err)
	case len(out.Values) == 0:
		return "none"
	}
	return fmt.Sprint(out.Values[0], " ", x.Series()[out.Series[0]])
}

func TestUnwrapAccepts(t *testing.T) {
	for _, text := range []string{`| unwrap a`, `| unwrap bytes(a)`, `| unwrap duration(a)`, `| unwrap duration_seconds(a)`, `| unwrap bytes`,
		`| json | unwrap a | __error__=""`, `| unwrap a | b="c" and d>1 | e=2s`} {
		if _, err := logql.Parse(`sum_over_time({app="a"} ` + text + ` [1m])`); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestUnwrapRefuses(t *testing.T) {
	for _, text := range []string{`| unwrap`, `| unwrap "a"`, `| unwrap a, b`, `| unwrap bits(a)`, `| unwrap bytes()`, `| unwrap bytes("a")`,
		`| unwrap a | json`, `| unwrap a | unwrap b`, `| unwrap a |= "x"`} {
		if _, err := logql.Parse(`sum_over_time({app="a"} ` + text + ` [1m])`); err == nil {
			t.Errorf("%s: accepted", text)
		}
	}
}

func TestUnwrapTransforms(t *testing.T) {
	for _, c := range []struct{ text, line, want string }{
		{`| logfmt | unwrap n`, `n=1.5`, `1.5 {app="a"}`},
		{`| logfmt | unwrap n`, `n=-2e3 m=x`, `-2000 {app="a", m="x"}`},
		{`| logfmt | unwrap n`, `n=NaN`, `NaN {app="a"}`},
		{`| logfmt | unwrap n`, `n=x`, `SampleExtractionErr`},
		{`| logfmt | unwrap n`, `n=1s`, `SampleExtractionErr`},
		{`| logfmt | unwrap n`, `m=1`, `none`},
		{`| logfmt | unwrap n`, `n=`, `none`},
		{`| logfmt | unwrap n | m="x"`, `n=1 m=x`, `1 {app="a", m="x"}`},
		{`| logfmt | unwrap n | m="x"`, `n=1 m=y`, `none`},
		{`| logfmt | unwrap n | __error__=""`, `n=x`, `none`},
		{`| logfmt | unwrap n | n > 5`, `n=6`, `6 {app="a"}`},
		{`| logfmt | unwrap n | n > 5`, `n=4`, `none`},
		{`| logfmt | unwrap bytes(n)`, `n=5MB`, `5e+06 {app="a"}`},
		{`| logfmt | unwrap bytes(n)`, `n="2 KiB"`, `2048 {app="a"}`},
		{`| logfmt | unwrap bytes(n)`, `n=12`, `12 {app="a"}`},
		{`| logfmt | unwrap bytes(n)`, `n=much`, `SampleExtractionErr`},
		{`| logfmt | unwrap duration(n)`, `n=1m30s`, `90 {app="a"}`},
		{`| logfmt | unwrap duration(n)`, `n=-250ms`, `-0.25 {app="a"}`},
		{`| logfmt | unwrap duration(n)`, `n=1d`, `SampleExtractionErr`},
		{`| logfmt | unwrap duration(n)`, `n=12`, `SampleExtractionErr`},
		{`| logfmt | unwrap duration_seconds(n)`, `n=2h`, `7200 {app="a"}`},
		{`| unwrap app`, `x`, `SampleExtractionErr`},
		{`| json | unwrap n`, `no json`, `none`},
		{`| json | unwrap n`, `{"n":7}`, `7 {app="a"}`},
		{`| json | unwrap n`, `{"n":7,`, `JSONParserErr`},
		{`| json | drop __error__, __error_details__ | unwrap n`, `{"n":7,`, `7 {app="a"}`},
	} {
		if got := sampleOf(t, c.text, c.line); got != c.want {
			t.Errorf("%s on %q: got %s, want %s", c.text, c.line, got, c.want)
		}
	}
}
