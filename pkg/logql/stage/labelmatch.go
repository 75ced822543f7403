package stage

import (
	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
)

// labelMatcher is a matcher of a label that can be stopped. The zero value
// matches everything.
type labelMatcher struct {
	m *labels.Matcher
	// re is the same expression where the matcher's own, which cannot be stopped,
	// would take long over a long value.
	re *watchedRegexp
}

// longMatcher is the number of instructions from which an expression takes long:
// no label is longer than a few hundred KiB.
const longMatcher = 256

func newLabelMatcher(m *labels.Matcher) labelMatcher {
	lm := labelMatcher{m: m}
	if m == nil || m.Type != labels.MatchRegexp && m.Type != labels.MatchNotRegexp {
		return lm
	}
	// As the matcher itself compiles it.
	if re, err := compileRegexp("^(?s:" + m.Value + ")$"); err == nil && re.insts > longMatcher {
		lm.re = re
	}
	return lm
}

func (lm *labelMatcher) matches(v string, w *watch) bool {
	if lm.m == nil {
		return true
	}
	if !w.spend(len(v)) {
		return false
	}
	if lm.re != nil && lm.re.long(v) {
		return lm.re.match(v, w) == (lm.m.Type == labels.MatchRegexp)
	}
	return lm.m.Matches(v)
}

// labelItem is an item of drop or keep.
type labelItem struct {
	name string
	labelMatcher
}

func newLabelItems(list []logql.LabelItem) []labelItem {
	out := make([]labelItem, len(list))
	for i, it := range list {
		out[i] = labelItem{it.Name, newLabelMatcher(it.Matcher)}
	}
	return out
}
