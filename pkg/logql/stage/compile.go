package stage

import (
	"fmt"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
)

// Config is what stages need of their surroundings.
type Config struct {
	// Hints tell the parsers what is read; nil means everything.
	Hints *Hints
	// Budget counts the memory of label sets; nil means no limit.
	Budget *Budget
	// Now is the clock of {{now}}; nil means time.Now.
	Now func() time.Time
}

// NewPipeline compiles the stages of a log query.
func NewPipeline(stages []logql.Stage, c Config) (*Pipeline, error) {
	if c.Hints == nil {
		c.Hints = AllLabels()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	p := &Pipeline{budget: c.Budget}
	p.b.hints = c.Hints
	front := true
	for i, n := range stages {
		if lf, ok := n.(*logql.LineFilter); ok {
			f, err := NewLineFilter(lf)
			if err != nil {
				return nil, fmt.Errorf("stage %s: %w", n, err)
			}
			// A filter does not care for the labels that stages before it set, so
			// it moves in front of them unless one of them changes the line or
			// counts the lines that reach it.
			p.readsLines = true
			if front {
				p.filters = append(p.filters, f)
			} else {
				p.stages = append(p.stages, lineFilterStage{f})
			}
			continue
		}
		st, err := compileStage(n, c)
		if err != nil {
			return nil, fmt.Errorf("stage %s: %w", n, err)
		}
		front = front && !fixesOrder(n)
		if st != nil {
			p.stages = append(p.stages, st)
			p.readsLines = p.readsLines || logql.ReadsLine(n)
			if parsesAll(n) {
				if p.stages, err = appendTrials(p.stages, stages[i+1:]); err != nil {
					return nil, fmt.Errorf("stage %s: %w", n, err)
				}
			}
		}
	}
	return p, nil
}

// Empty says that every entry passes as it is.
func (p *Pipeline) Empty() bool { return len(p.filters) == 0 && len(p.stages) == 0 }

// fixesOrder says whether a line filter behind n has to stay behind it.
func fixesOrder(n logql.Stage) bool {
	switch n.(type) {
	case *logql.LineFormat, *logql.Unpack, *logql.Decolorize, *logql.DistinctLabels:
		return true
	}
	return false
}

// compileStage makes a stage of a node; nil where nothing needs its labels.
func compileStage(n logql.Stage, c Config) (Stage, error) {
	idle := c.Hints.None()
	switch n := n.(type) {
	case *logql.JSONParser:
		if idle {
			return nil, nil
		}
		return compileJSON(n)
	case *logql.LogfmtParser:
		if idle {
			return nil, nil
		}
		return compileLogfmt(n), nil
	case *logql.RegexpParser:
		if idle {
			return nil, nil
		}
		return NewRegexp(n.Pattern)
	case *logql.PatternParser:
		if idle {
			return nil, nil
		}
		parts, err := logql.ParsePattern(n.Pattern)
		if err != nil {
			return nil, err
		}
		return NewPattern(parts), nil
	case *logql.Unpack:
		return &unpackStage{quiet: idle}, nil
	case *logql.Decolorize:
		return NewDecolorize(), nil
	case *logql.LabelFilter:
		return NewLabelFilter(n.Filter)
	case *logql.LineFormat:
		return NewLineFormat(n.Template, c.Now)
	case *logql.LabelFormat:
		return NewLabelFormat(n.Formats, c.Now)
	case *logql.DropLabels:
		return NewDrop(n.Items), nil
	case *logql.KeepLabels:
		return NewKeep(n.Items), nil
	case *logql.DistinctLabels:
		return NewDistinct(n.Labels, c.Budget), nil
	}
	return nil, unknownNode(n)
}

func unknownNode(n logql.Node) error { return fmt.Errorf("no evaluation for %T", n) }

func compileJSON(n *logql.JSONParser) (Stage, error) {
	if len(n.Extractions) == 0 {
		return NewJSON(JSONOptions{Arrays: n.Arrays}), nil
	}
	paths := make([]JSONPath, len(n.Extractions))
	for i, e := range n.Extractions {
		path, err := logql.ParseJSONPath(e.Expr)
		if err != nil {
			return nil, err
		}
		paths[i] = JSONPath{Label: e.Label, Path: path}
	}
	return NewJSONPaths(paths), nil
}

func compileLogfmt(n *logql.LogfmtParser) Stage {
	opts := LogfmtOptions{Strict: n.Strict, KeepEmpty: n.KeepEmpty}
	if len(n.Extractions) == 0 {
		return NewLogfmt(opts)
	}
	keys := make([]LogfmtKey, len(n.Extractions))
	for i, e := range n.Extractions {
		keys[i] = LogfmtKey{Label: e.Label, Key: e.Expr}
	}
	return NewLogfmtKeys(opts, keys)
}
