package engine

import (
	"context"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// TestCallFunctions calls each function that the grammar knows, with arguments
// of the types that PromQL says it wants: the two lists fit.
func TestCallFunctions(t *testing.T) {
	s := &memoryStore{}
	for i := range int64(60) {
		s.push(labels.FromStrings("app", "a", "le", "1"), model.Entry{Timestamp: zero + i*1e9, Line: "x"})
	}
	e := New(s, Options{})
	called := map[string]bool{}
	for _, name := range logql.CallFunctions() {
		f, ok := parser.Functions[name]
		if !ok || f.Experimental {
			t.Errorf("%s is no function of PromQL", name)
			continue
		}
		called[name] = true
		var args []string
		for _, typ := range f.ArgTypes {
			args = append(args, map[parser.ValueType]string{
				parser.ValueTypeVector: `rate({app="a"}[10s])`,
				parser.ValueTypeMatrix: `rate({app="a"}[10s])[40s:10s]`,
				parser.ValueTypeScalar: `0.5`,
				parser.ValueTypeString: `"a"`,
			}[typ])
		}
		for ; ; args = args[:len(args)-1] {
			query := name + "(" + strings.Join(args, ", ") + ")"
			for _, eval := range []func(context.Context, Params) (*Result, error){e.Instant, e.Range} {
				if _, err := eval(context.Background(), params(query)); err != nil {
					t.Errorf("%s: %v", query, err)
				}
			}
			if f.Variadic <= 0 || len(args) == len(f.ArgTypes)-f.Variadic {
				break
			}
		}
	}
	// What PromQL has beyond, and why.
	skipped := map[string]string{
		"label_replace": "LogQL's own", "sort": "LogQL's own", "sort_desc": "LogQL's own", "vector": "LogQL's own",
		"histogram_avg": "native histograms", "histogram_count": "native histograms", "histogram_fraction": "native histograms",
		"histogram_stddev": "native histograms", "histogram_stdvar": "native histograms", "histogram_sum": "native histograms",
	}
	for name, f := range parser.Functions {
		if _, ok := skipped[name]; !called[name] && !ok && !f.Experimental {
			t.Errorf("PromQL's %s cannot be called", name)
		}
	}
}
