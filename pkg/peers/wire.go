package peers

import (
	"fmt"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// wireMatcher is a matcher of a request. Texts are bytes because JSON changes
// what is not UTF-8.
type wireMatcher struct {
	Type  int    `json:"type"`
	Name  string `json:"name"`
	Value []byte `json:"value"`
}

func toWire(ms []*labels.Matcher) []wireMatcher {
	out := make([]wireMatcher, len(ms))
	for i, m := range ms {
		out[i] = wireMatcher{int(m.Type), m.Name, []byte(m.Value)}
	}
	return out
}

func fromWire(list []wireMatcher) ([]*labels.Matcher, error) {
	var out []*labels.Matcher
	for _, w := range list {
		if w.Type < int(labels.MatchEqual) || w.Type > int(labels.MatchNotRegexp) {
			return nil, fmt.Errorf("unknown type of matcher: %d", w.Type)
		}
		m, err := labels.NewMatcher(labels.MatchType(w.Type), w.Name, string(w.Value))
		if err != nil {
			return nil, fmt.Errorf("matcher on %s: %w", w.Name, err)
		}
		out = append(out, m)
	}
	return out, nil
}

// wireSelect is a model.SelectRequest.
type wireSelect struct {
	Matchers     []wireMatcher `json:"matchers,omitempty"`
	Start        int64         `json:"start"`
	End          int64         `json:"end"`
	Forward      bool          `json:"forward,omitempty"`
	Unordered    bool          `json:"unordered,omitempty"`
	Contains     [][]byte      `json:"contains,omitempty"`
	ContainsAny  [][]byte      `json:"containsAny,omitempty"`
	AnyFold      bool          `json:"anyFold,omitempty"`
	ContainsNone [][]byte      `json:"containsNone,omitempty"`
	TimesOnly    bool          `json:"timesOnly,omitempty"`
	CountStep    int64         `json:"countStep,omitempty"`
	CountFrom    int64         `json:"countFrom,omitempty"`
	NoLines      bool          `json:"noLines,omitempty"`
	BatchRows    int           `json:"batchRows,omitempty"`
	// Limit is the number of rows after which the answer may end at the next change
	// of the timestamp; 0 is none.
	Limit int `json:"limit,omitempty"`
}

func texts[To, From ~string | ~[]byte](list []From) []To {
	var out []To
	for _, s := range list {
		out = append(out, To(s))
	}
	return out
}

func toWireSelect(r *model.SelectRequest) wireSelect {
	return wireSelect{
		Matchers: toWire(r.Matchers), Start: r.Range.Start, End: r.Range.End,
		Forward: r.Direction == model.Forward, Unordered: r.Unordered,
		Contains: texts[[]byte](r.Contains), ContainsAny: texts[[]byte](r.ContainsAny), AnyFold: r.AnyFold,
		ContainsNone: texts[[]byte](r.ContainsNone), TimesOnly: r.TimesOnly,
		CountStep: r.CountStep, CountFrom: r.CountFrom, NoLines: r.NoLines, BatchRows: r.BatchRows,
	}
}

func (w *wireSelect) request() (model.SelectRequest, error) {
	ms, err := fromWire(w.Matchers)
	r := model.SelectRequest{
		Matchers: ms, Range: model.TimeRange{Start: w.Start, End: w.End}, Unordered: w.Unordered,
		Contains: texts[string](w.Contains), ContainsAny: texts[string](w.ContainsAny), AnyFold: w.AnyFold,
		ContainsNone: texts[string](w.ContainsNone), TimesOnly: w.TimesOnly,
		CountStep: w.CountStep, CountFrom: w.CountFrom, NoLines: w.NoLines, BatchRows: w.BatchRows,
	}
	if w.Forward {
		r.Direction = model.Forward
	}
	return r, err
}

// wireTail is a model.TailRequest.
type wireTail struct {
	Matchers []wireMatcher `json:"matchers,omitempty"`
	Buffer   int           `json:"buffer,omitempty"`
}

// wireQuestion asks for a list: of label names, values, series, volumes, extents.
type wireQuestion struct {
	Matchers []wireMatcher `json:"matchers,omitempty"`
	Start    int64         `json:"start"`
	End      int64         `json:"end"`
	// Name is the label whose values are asked for.
	Name string `json:"name,omitempty"`
}
