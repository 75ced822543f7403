package stage

import "github.com/logstack-dev/kubectl-logstack/pkg/logql"

// trialStage stands right behind a parser and tries what the number, duration
// and bytes filters further down will convert. A value that fails them has
// LabelFilterErr from here on, so that a filter on __error__ in between sees it:
//
//	| json | __error__="" | latency > 1s
//
// leaves out the lines whose latency is no duration, as it does in Loki, where
// such filters run inside the parser.
type trialStage struct{ filters []*numberFilter }

func (st *trialStage) Process(_ int64, line string, b *Builder) (string, bool) {
	for _, f := range st.filters {
		if b.err != "" {
			break
		}
		if i := b.find(f.name); i >= 0 && b.pairs[i].cat == Parsed {
			if _, err := f.convert(b.pairs[i].value); err != nil {
				b.SetErr(ErrLabelFilter, err.Error())
			}
		}
	}
	return line, true
}

// parsesAll says whether n is a parser for whose labels filters are tried: those
// that do not pick single fields.
func parsesAll(n logql.Stage) bool {
	switch n := n.(type) {
	case *logql.JSONParser:
		return len(n.Extractions) == 0
	case *logql.LogfmtParser:
		return len(n.Extractions) == 0
	case *logql.RegexpParser, *logql.PatternParser, *logql.Unpack:
		return true
	}
	return false
}

// appendTrials appends the trial of the filters in rest, which follows a
// parser, if it can matter: if a filter on __error__ is in front of them.
func appendTrials(stages []Stage, rest []logql.Stage) ([]Stage, error) {
	var st trialStage
	looked := false
	for _, n := range rest {
		lf, ok := n.(*logql.LabelFilter)
		if !ok {
			continue
		}
		p, err := compilePredicate(lf.Filter)
		if err != nil {
			return nil, err
		}
		if f, ok := p.(*numberFilter); ok && looked {
			st.filters = append(st.filters, f)
		}
		looked = looked || looksAtError(p)
	}
	if len(st.filters) > 0 {
		stages = append(stages, &st)
	}
	return stages, nil
}

// looksAtError says whether p reads __error__.
func looksAtError(p predicate) bool {
	switch p := p.(type) {
	case *stringFilter:
		return p.m.Name == ErrorLabel
	case andFilter:
		return looksAtError(p.left) || looksAtError(p.right)
	case orFilter:
		return looksAtError(p.left) || looksAtError(p.right)
	}
	return false
}
