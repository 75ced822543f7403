package store

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// TestContainsAny checks that a request for lines with one of a few texts, in
// any case or not, misses none, and is given less than all.
func TestContainsAny(t *testing.T) {
	t.Parallel()
	h := newHarness(t, 31)
	steps := 200
	if testing.Short() {
		steps = 60
	}
	all, given := 0, 0
	for i := range steps {
		h.step(i)
		if i%4 != 0 {
			continue
		}
		fold := h.IntN(2) == 0
		texts := []string{"same line", "warn", "error", "long line", "nowhere", "newline", `"trace_id":"0`, "served in 9", "\xff binary"}
		h.Shuffle(len(texts), func(i, j int) { texts[i], texts[j] = texts[j], texts[i] })
		texts = texts[:1+h.IntN(3)]
		if fold {
			texts = slices.DeleteFunc(texts, func(s string) bool { return strings.Contains(s, "\xff") })
			for i := range texts {
				texts[i] = strings.ToUpper(texts[i])
			}
		}
		has := func(r row) bool {
			return len(texts) == 0 || slices.ContainsFunc(texts, func(s string) bool {
				if fold {
					return regexp.MustCompile("(?i)" + regexp.QuoteMeta(s)).MatchString(r.line)
				}
				return strings.Contains(r.line, s)
			})
		}
		req := model.SelectRequest{Matchers: h.matchers(), Range: h.timeRange(), Direction: model.Forward, Unordered: h.IntN(3) > 0, ContainsAny: texts, AnyFold: fold}
		if h.IntN(3) == 0 {
			req.Contains = []string{"level"}
		}
		none := []string{"", "info", "in 7", `"seq":1`, "same", "0"}[h.IntN(6)]
		if none != "" {
			req.ContainsNone = []string{none, "absent", ""}
		}
		it, err := h.db.Select(context.Background(), req)
		h.must(err)
		got := collect(t, it, 0, false)
		h.must(it.Close())
		wanted := func(r row) bool {
			return has(r) && (none == "" || !strings.Contains(r.line, none)) && (len(req.Contains) == 0 || strings.Contains(r.line, "level"))
		}
		rows := h.want.selectRows(req.Matchers, req.Range)
		all, given = all+len(rows), given+len(got)
		unwanted := func(r row) bool { return !wanted(r) }
		got, rows = slices.DeleteFunc(got, unwanted), slices.DeleteFunc(rows, unwanted)
		diffRows(t, strings.Join(texts, " or "), sorted(got), sorted(rows))
	}
	if given >= all {
		t.Errorf("%d of %d rows were given", given, all)
	}
}

// TestNoRowHasAll reads a small chunk block in which all needles occur, but in no
// line together, right after a larger one: nothing of the larger one is left over.
func TestNoRowHasAll(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	db := openTest(t, Options{noBackground: true})
	stream := func(app string, lines ...string) model.StreamEntries {
		s := model.StreamEntries{Labels: labels.FromStrings("app", app)}
		for i, l := range lines {
			s.Entries = append(s.Entries, model.Entry{Timestamp: int64(i) * 1e9, Line: l + strings.Repeat(" and what else there is", 4)})
		}
		return s
	}
	var large, small []string
	for i := range 7000 {
		large = append(large, fmt.Sprintf("number %d: alphabet soup", i))
	}
	for i := range 4000 {
		small = append(small, fmt.Sprintf("number %d: %s", i, []string{"alphabet", "soup"}[i%2]))
	}
	must(t, db.Append(ctx, &model.Batch{Streams: []model.StreamEntries{stream("large", large...), stream("small", small...)}}))
	must(t, db.Flush(ctx))
	for _, req := range []model.SelectRequest{
		{Contains: []string{"alphabet", "soup"}},
		{ContainsAny: []string{"alphabet soup", "nowhere"}},
	} {
		for _, d := range []model.Direction{model.Backward, model.Forward} {
			req.Range, req.Direction, req.BatchRows = model.AllTime(), d, 100
			it, err := db.Select(ctx, req)
			must(t, err)
			rows := slices.DeleteFunc(collect(t, it, 0, false), func(r row) bool { return !strings.Contains(r.line, "alphabet soup") })
			if len(rows) != 7000 {
				t.Errorf("%v %v: %d rows", req.Contains, d, len(rows))
			}
			must(t, it.Close())
		}
	}
}
