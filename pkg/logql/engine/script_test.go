package engine

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

var update = flag.Bool("update", false, "write the answers that the engine gives into testdata/*.test")

// zero is the time 0s of the scripts: 2026-01-01T00:00:00Z.
var zero = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()

// minEvaluations is what the scripts have promised not to fall below.
const minEvaluations = 600

// TestScripts runs testdata/*.test; testdata/README.md tells how to write them.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.test")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	evals := 0
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".test"), func(t *testing.T) {
			evals += runScript(t, f)
		})
	}
	t.Logf("%d evaluations", evals)
	if whole := flag.Lookup("test.run").Value.String() == ""; whole && evals < minEvaluations {
		t.Errorf("%d evaluations, want at least %d", evals, minEvaluations)
	}
}

// script is the state between the lines of a script.
type script struct {
	t     *testing.T
	store *memoryStore
	at    labels.Labels // stream that is being loaded
	out   bytes.Buffer  // the script with the answers that we gave
	evals int
}

func runScript(t *testing.T, file string) int {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &script{t: t}
	s.clear()
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		s.out.WriteString(line + "\n")
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case word == "" || strings.HasPrefix(word, "#"):
		case word == "clear":
			s.clear()
		case word == "load":
			s.at = s.labels(rest)
		case word == "eval":
			var want []string
			for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "  ") {
				i++
				want = append(want, strings.TrimSpace(lines[i]))
			}
			s.eval(fmt.Sprintf("%s:%d", file, i+1-len(want)), rest, want)
		case strings.HasPrefix(line, "  "):
			s.load(strings.TrimSpace(line))
		default:
			t.Fatalf("%s:%d: unknown line %q", file, i+1, line)
		}
	}
	if *update && !bytes.Equal(s.out.Bytes(), text) {
		if err := os.WriteFile(file, s.out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return s.evals
}

func (s *script) clear() {
	s.store = &memoryStore{shuffle: rand.New(rand.NewPCG(1, 2))}
}

func (s *script) labels(text string) labels.Labels {
	ls, err := parser.NewParser(parser.Options{}).ParseMetric(text)
	if err != nil {
		s.t.Fatalf("labels %q: %v", text, err)
	}
	return ls
}

// load reads "10s "line" meta="x"" or "0s..50s/10s "line"".
func (s *script) load(text string) {
	when, rest, _ := strings.Cut(text, " ")
	rest = strings.TrimSpace(rest)
	quoted, err := strconv.QuotedPrefix(rest)
	if err != nil {
		s.t.Fatalf("load %q: the line is not quoted: %v", text, err)
	}
	line, _ := strconv.Unquote(quoted)
	meta := labels.EmptyLabels()
	if m := strings.TrimSpace(rest[len(quoted):]); m != "" {
		meta = s.labels("{" + m + "}")
	}
	from, to, step := s.span(when)
	for ts := from; ts <= to; ts += int64(step) {
		s.store.push(s.at, model.Entry{Timestamp: ts, Line: line, Metadata: meta})
		if step == 0 {
			break
		}
	}
}

// span reads "10s", "0s..60s" or "0s..60s/20s".
func (s *script) span(text string) (from, to int64, step time.Duration) {
	text, every, _ := strings.Cut(text, "/")
	a, b, ok := strings.Cut(text, "..")
	if !ok {
		b = a
	}
	if every != "" {
		step = s.duration(every)
	}
	return zero + int64(s.duration(a)), zero + int64(s.duration(b)), step
}

func (s *script) duration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		s.t.Fatalf("time %q: %v", text, err)
	}
	return d
}

// eval runs "range 0s..60s/20s: query" and compares.
func (s *script) eval(where, text string, want []string) {
	s.evals++
	head, query, ok := strings.Cut(text, ": ")
	words := strings.Fields(head)
	if !ok || len(words) < 2 {
		s.t.Fatalf("%s: want eval <kind> <time> …: <query>", where)
	}
	p := Params{Query: query, Limit: 1000, Direction: model.Forward}
	p.Start, p.End, p.Step = s.span(words[1])
	categories := false
	for i := 2; i < len(words); i++ {
		switch w := words[i]; {
		case w == "backward":
			p.Direction = model.Backward
		case w == "categories":
			categories = true
		case w == "limit" && i+1 < len(words):
			i++
			p.Limit, _ = strconv.Atoi(words[i])
		case w == "interval" && i+1 < len(words):
			i++
			p.Interval = s.duration(words[i])
		default:
			s.t.Fatalf("%s: unknown option %q", where, w)
		}
	}
	e := New(s.store, Options{Now: func() time.Time { return time.Unix(0, zero) }})
	var (
		res *Result
		err error
	)
	if words[0] == "instant" {
		res, err = e.Instant(context.Background(), p)
	} else {
		if p.Step == 0 {
			p.Step = time.Second
		}
		res, err = e.Range(context.Background(), p)
	}
	got := render(p, res, err, categories)
	for _, line := range got {
		s.out.WriteString("  " + line + "\n")
	}
	if !*update && !sameAnswer(got, want) {
		s.t.Errorf("%s: %s\n got:\n  %s\nwant:\n  %s", where, query, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
	if words[0] == "range" && err == nil && res.Type == ResultMatrix {
		s.again(where, p, got)
	}
	roundTrip(s.t, where, query)
}

// roundTrip checks that printing the query changes nothing.
func roundTrip(t *testing.T, where, query string) {
	expr, err := logql.Parse(query)
	if err != nil {
		return
	}
	again, err := logql.Parse(expr.String())
	if err != nil || again.String() != expr.String() {
		t.Errorf("%s: %s prints as %s, which does not parse to the same: %v", where, query, expr, err)
	}
}

// sameAnswer compares lines; "fail: x" wants an error that has x in it.
func sameAnswer(got, want []string) bool {
	if len(want) == 1 && len(got) == 1 && strings.HasPrefix(want[0], "fail: ") {
		return strings.HasPrefix(got[0], "fail: ") && strings.Contains(got[0], strings.TrimPrefix(want[0], "fail: "))
	}
	return slices.Equal(got, want)
}

// render writes an answer as scripts have it.
func render(p Params, res *Result, err error, categories bool) []string {
	if err != nil {
		return []string{"fail: " + strings.ReplaceAll(err.Error(), "\n", " ")}
	}
	var out []string
	switch res.Type {
	case ResultScalar:
		out = append(out, "scalar "+float(res.Scalar.V))
	case ResultVector:
		for _, s := range res.Vector {
			out = append(out, s.Metric.String()+" "+float(s.F))
		}
	case ResultMatrix:
		step := p.Step.Milliseconds()
		first := floorDiv(p.Start, int64(p.Step)) * step
		last := -floorDiv(-p.End, int64(p.Step)) * step
		for _, s := range res.Matrix {
			line, points := s.Metric.String(), s.Floats
			for ts := first; ts <= last; ts += step {
				if len(points) > 0 && points[0].T == ts {
					line += " " + float(points[0].F)
					points = points[1:]
				} else {
					line += " _"
				}
			}
			if len(points) > 0 {
				line += " and points off the steps"
			}
			out = append(out, line)
		}
	case ResultStreams:
		out = renderStreams(res.Streams, categories)
	}
	if len(out) == 0 {
		out = []string{"empty"}
	}
	return out
}

func renderStreams(streams []StreamResult, categories bool) []string {
	type row struct {
		ls labels.Labels
		e  ResultEntry
	}
	var rows []row
	for _, s := range streams {
		ls := s.Flat()
		if categories {
			ls = s.Labels
		}
		for _, e := range s.Entries {
			rows = append(rows, row{ls, e})
		}
	}
	slices.SortFunc(rows, func(x, y row) int { return cmp.Compare(x.e.seq, y.e.seq) })
	var out []string
	for _, r := range rows {
		line := fmt.Sprintf("%s %s", time.Duration(r.e.Timestamp-zero), r.ls)
		if categories {
			line += fmt.Sprintf(" meta%s parsed%s", r.e.StructuredMetadata, r.e.Parsed)
		}
		out = append(out, line+" "+quote(r.e.Line))
	}
	return out
}

// quote prefers the quotes that need no escapes.
func quote(line string) string {
	if strings.ContainsAny(line, "\"\\") && strconv.CanBackquote(line) {
		return "`" + line + "`"
	}
	return strconv.Quote(line)
}

// float prints 12 digits, so that the last bits do not matter.
func float(v float64) string {
	if math.IsInf(v, 0) || math.IsNaN(v) {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	short, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 12, 64), 64)
	return strconv.FormatFloat(short, 'f', -1, 64)
}
