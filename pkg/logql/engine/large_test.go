package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// TestLargeTexts sees that queries whose lines or labels are a megabyte each
// end at their budget, not a batch later.
func TestLargeTexts(t *testing.T) {
	s := &memoryStore{rows: 4000}
	for i := range 4000 {
		s.push(labels.FromStrings("app", "a"), model.Entry{Timestamp: zero + int64(i)*1e6, Line: fmt.Sprint("line ", i)})
	}
	const repeat = "{{repeat 100000 `x`}}{{__timestamp__}}"
	for name, query := range map[string]string{
		"lines":         `{app="a"} | line_format "` + repeat + `"`,
		"labels":        `{app="a"} | label_format a="` + repeat + `"`,
		"series":        `count_over_time({app="a"} | label_format a="` + repeat + `" [1m])`,
		"series by":     `sum by (a) (count_over_time({app="a"} | label_format a="` + repeat + `" [1m]))`,
		"label_replace": strings.Repeat(`label_replace(`, 40) + `count_over_time({app="a"}[1m])` + strings.Repeat(`,"app","$1$1","app","(.*)")`, 40),
	} {
		t.Run(name, func(t *testing.T) {
			e := New(s, Options{MaxQueryBytes: 4 << 20, MaxSeries: 10000})
			_, err := e.Range(t.Context(), Params{Query: query, Start: zero, End: zero + 60e9, Step: 10 * time.Second, Limit: 5000})
			var limit *LimitError
			if !errors.As(err, &limit) {
				t.Errorf("error %v", err)
			}
			e = New(s, Options{MaxQueryBytes: 4 << 20, MaxSeries: 10000})
			n := testing.AllocsPerRun(1, func() {
				_, err = e.Range(t.Context(), Params{Query: query, Start: zero, End: zero + 60e9, Step: 10 * time.Second, Limit: 5000})
			})
			if n > 20000 {
				t.Errorf("%v allocations: it went on", n)
			}
		})
	}
}
