package store

import (
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

// TestGroupKey checks that streams with equal group labels have equal keys, others
// different ones, and that keys are short whatever the labels are.
func TestGroupKey(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("v", 30_000)
	for _, tc := range []struct {
		name string
		a, b []string
		same bool
	}{
		{"pods of an app", []string{"app", "x", "pod", "1"}, []string{"app", "x", "pod", "2"}, true},
		{"apps", []string{"app", "x"}, []string{"app", "y"}, false},
		{"a value in another label", []string{"app", "x"}, []string{"namespace", "x"}, false},
		{"no group label", []string{"job", "x"}, []string{"job", "x"}, true},
		{"other streams", []string{"job", "x"}, []string{"job", "y"}, false},
		{"long group labels", []string{"app", long, "pod", "1"}, []string{"app", long, "pod", "2"}, true},
		{"long group labels that differ", []string{"app", long + "1"}, []string{"app", long + "2"}, false},
		{"long other labels", []string{"job", long}, []string{"job", long}, true},
		{"long other labels that differ", []string{"job", long + "1"}, []string{"job", long + "2"}, false},
	} {
		names := []string{"namespace", "app"}
		a, b := groupKey(labels.FromStrings(tc.a...), names), groupKey(labels.FromStrings(tc.b...), names)
		if (a == b) != tc.same {
			t.Errorf("%s: equal keys: %t, want %t", tc.name, a == b, tc.same)
		}
		if n := max(len(a), len(b)); n > maxGroupKey+8 {
			t.Errorf("%s: a key of %d bytes", tc.name, n)
		}
	}
}
