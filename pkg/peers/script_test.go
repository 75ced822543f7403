package peers

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
	"github.com/logstack-dev/kubectl-logstack/pkg/store"
)

// zero is the time 0s of the scripts.
var zero = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()

// TestScripts loads what the query engine's own scripts load into one store, and
// divided over three replicas with much of it twice, and asks both.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("../logql/engine/testdata/*.test")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	evals := 0
	for i, f := range files {
		if testing.Short() && i%4 != 0 {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(f), ".test"), func(t *testing.T) { evals += runScript(t, f) })
	}
	t.Logf("%d evaluations", evals)
	if evals < 100 && !testing.Short() {
		t.Errorf("%d evaluations are few", evals)
	}
}

// scripted is the state between the lines of a script.
type scripted struct {
	t       *testing.T
	rnd     *rand.Rand
	one     *engine.Engine
	db      *store.DB
	cluster []*replica
	engines []*engine.Engine
	at      labels.Labels
	// places are the replicas that hold the entries of a stream and timestamp.
	places map[string][]int
}

func runScript(t *testing.T, file string) (evals int) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{t: t, rnd: rand.New(rand.NewPCG(9, 9))}
	s.clear()
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case word == "" || strings.HasPrefix(word, "#"):
		case word == "clear":
			s.clear()
		case word == "load":
			s.at = parseLabels(t, rest)
		case word == "eval":
			s.eval(rest)
			evals++
		case strings.HasPrefix(line, "  ") && evals >= 0:
			s.load(strings.TrimSpace(line))
		}
		if word == "eval" || word == "clear" {
			s.at = labels.EmptyLabels() // what follows are answers
		}
	}
	return evals
}

func (s *scripted) clear() {
	db, err := store.Open(s.t.TempDir(), store.DefaultOptions())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := db.Close(); err != nil {
			s.t.Error(err)
		}
	})
	s.db, s.places = db, map[string][]int{}
	o := engine.Options{Now: func() time.Time { return time.Unix(0, zero) }, ExtraWorkers: 2}
	s.one = engine.New(db, o)
	s.cluster, s.engines = newCluster(s.t, 3, nil), nil
	for _, r := range s.cluster {
		s.engines = append(s.engines, engine.New(r.peers, o))
	}
}

// load stores an entry at one of the replicas, or at two.
func (s *scripted) load(text string) {
	if s.at.IsEmpty() {
		return
	}
	when, rest, _ := strings.Cut(text, " ")
	rest = strings.TrimSpace(rest)
	quoted, err := strconv.QuotedPrefix(rest)
	if err != nil {
		return // a line of an answer
	}
	e := model.Entry{}
	e.Line, _ = strconv.Unquote(quoted)
	if m := strings.TrimSpace(rest[len(quoted):]); m != "" {
		e.Metadata = parseLabels(s.t, "{"+m+"}")
	}
	from, to, step := s.span(when)
	for ts := from; ts <= to; ts += int64(step) {
		e.Timestamp = ts
		key := fmt.Sprint(s.at, ts)
		if s.places[key] == nil {
			n := s.rnd.IntN(3)
			s.places[key] = []int{n}
			if s.rnd.IntN(3) == 0 {
				s.places[key] = append(s.places[key], (n+1)%3)
			}
		}
		push(s.t, s.db, s.at, e)
		for _, n := range s.places[key] {
			push(s.t, s.cluster[n].db, s.at, e)
		}
		if step == 0 {
			break
		}
	}
}

func (s *scripted) span(text string) (from, to int64, step time.Duration) {
	text, every, _ := strings.Cut(text, "/")
	a, b, ok := strings.Cut(text, "..")
	if !ok {
		b = a
	}
	parse := func(text string) time.Duration {
		d, err := time.ParseDuration(text)
		if err != nil {
			s.t.Fatal(err)
		}
		return d
	}
	if every != "" {
		step = parse(every)
	}
	return zero + int64(parse(a)), zero + int64(parse(b)), step
}

// eval asks the one store and one of the replicas.
func (s *scripted) eval(text string) {
	head, query, _ := strings.Cut(text, ": ")
	words := strings.Fields(head)
	p := engine.Params{Query: query, Limit: 1000, Direction: model.Forward, Step: time.Second}
	var step time.Duration
	if p.Start, p.End, step = s.span(words[1]); step > 0 {
		p.Step = step
	}
	for i := 2; i < len(words); i++ {
		switch words[i] {
		case "backward":
			p.Direction = model.Backward
		case "limit":
			p.Limit, _ = strconv.Atoi(words[i+1])
		case "interval":
			p.Interval, _ = time.ParseDuration(words[i+1])
		}
	}
	ask := func(e *engine.Engine) (*engine.Result, string) {
		f := e.Range
		if words[0] == "instant" {
			f = e.Instant
		}
		res, err := f(s.t.Context(), p)
		if err != nil {
			return nil, err.Error()
		}
		defer res.Release()
		res.Stats = engine.Stats{}
		return res, ""
	}
	want, wantErr := ask(s.one)
	got, gotErr := ask(s.engines[s.rnd.IntN(3)])
	if (wantErr == "") != (gotErr == "") {
		s.t.Errorf("%s\n error: %s\n  want: %s", text, gotErr, wantErr)
		return
	}
	if d := gocmp.Diff(want, got,
		gocmp.Comparer(labels.Equal), cmpopts.EquateApprox(1e-9, 1e-9), cmpopts.EquateNaNs(), cmpopts.EquateEmpty(),
		cmpopts.IgnoreUnexported(engine.Result{}, engine.ResultEntry{}),
		cmpopts.SortSlices(func(a, b promql.Sample) bool { return labels.Compare(a.Metric, b.Metric) < 0 }),
		gocmp.AllowUnexported()); d != "" {
		s.t.Errorf("%s (-one store +three)\n%s", text, d)
	}
}
