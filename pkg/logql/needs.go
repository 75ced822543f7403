package logql

import (
	"maps"
	"slices"
	"strings"
	"text/template/parse"
)

// LabelNeeds says which labels of an entry a range aggregation looks at.
type LabelNeeds struct {
	// All says that every label is part of the result.
	All bool
	// Names, sorted, are the labels that are read where All is false. None at
	// all means that the parsers can be left out: nothing looks at what they
	// find, nor, as in Loki, at whether they fail.
	Names []string
}

// NeededLabels returns what each range aggregation inside e needs.
//
// As in Loki, a sum directly around count_over_time, rate, bytes_over_time,
// bytes_rate or sum_over_time hands its grouping down, so that
// sum(count_over_time({…} | json [5m])) does not fail on a line that is no
// JSON, but sum by (a) of the same does. Any other operation needs all labels
// of what it aggregates.
func NeededLabels(e Expr) map[*RangeAggregation]LabelNeeds {
	needs := map[*RangeAggregation]LabelNeeds{}
	Walk(e, func(n Node) bool {
		switch n := n.(type) {
		case *VectorAggregation:
			if a, ok := n.Expr.(*RangeAggregation); ok && n.Op == OpSum && a.Op.addsUp() {
				g := n.Grouping
				if g == nil {
					g = &Grouping{}
				}
				needs[a] = a.needs(g)
				return false
			}
			return true
		case *RangeAggregation:
			g := n.Grouping
			if n.Op == OpAbsentOverTime {
				g = &Grouping{} // its result has the labels of the matchers
			}
			needs[n] = n.needs(g)
			return false
		}
		_, isMetric := n.(MetricExpr)
		return isMetric
	})
	return needs
}

// CountedStages returns the stages of n that its result can depend on. As in
// Loki, a line_format is left out where nothing behind it reads the line: its
// errors never happen.
func (n *RangeAggregation) CountedStages() []Stage {
	stages := slices.Clone(n.Selector.Stages)
	read := n.Op == OpBytesOverTime || n.Op == OpBytesRate
	for i := len(stages) - 1; i >= 0; i-- {
		switch stages[i].(type) {
		case *LineFormat, *Decolorize:
			if !read {
				stages = slices.Delete(stages, i, i+1)
				continue
			}
		}
		read = read || ReadsLine(stages[i])
	}
	return stages
}

// lineFunction gives a template the line.
const lineFunction = "__line__"

// ReadsLine says whether a stage looks at the line.
func ReadsLine(s Stage) bool {
	switch s := s.(type) {
	case *LabelFilter, *DropLabels, *KeepLabels, *DistinctLabels:
		return false
	case *LabelFormat:
		return slices.ContainsFunc(s.Formats, func(a LabelAssignment) bool { return strings.Contains(a.Template, lineFunction) })
	case *LineFormat:
		return strings.Contains(s.Template, lineFunction)
	}
	return true
}

// addsUp says whether a sum of op's results is op of everything together.
func (op RangeOp) addsUp() bool {
	switch op {
	case OpCountOverTime, OpRate, OpBytesOverTime, OpBytesRate, OpSumOverTime:
		return true
	}
	return false
}

// needs collects the labels that grouping, stages and unwrap of n read.
func (n *RangeAggregation) needs(g *Grouping) LabelNeeds {
	if g == nil || g.Without {
		return LabelNeeds{All: true}
	}
	names := nameSet{}
	names.add(g.Labels...)
	if n.Label != "" {
		names.add(n.Label)
	}
	for _, s := range n.CountedStages() {
		Walk(s, names.visit)
	}
	if n.Unwrap != nil {
		names.add(n.Unwrap.Label)
		Walk(n.Unwrap, names.visit)
	}
	if names[everyName] {
		return LabelNeeds{All: true}
	}
	return LabelNeeds{Names: slices.Sorted(maps.Keys(names))}
}

// nameSet collects label names.
type nameSet map[string]bool

// everyName stands for a template that may read any label. It is no label's name.
const everyName = ""

func (s nameSet) add(names ...string) {
	for _, name := range names {
		s[name] = true
	}
}

// visit adds the labels that a node itself reads. What drop and keep look at
// matters only if something else reads it.
func (s nameSet) visit(n Node) bool {
	switch n := n.(type) {
	case *StringFilter:
		s.add(n.Matcher.Name)
	case *NumberFilter:
		s.add(n.Name)
	case *DurationFilter:
		s.add(n.Name)
	case *BytesFilter:
		s.add(n.Name)
	case *IPFilter:
		s.add(n.Name)
	case *LineFormat:
		s.template(n.Template)
	case *LabelFormat:
		for _, a := range n.Formats {
			if a.Src != "" {
				s.add(a.Src)
			} else {
				s.template(a.Template)
			}
		}
	}
	return true
}

func (s nameSet) template(text string) {
	trees, err := parseTemplate("line", text)
	if err != nil {
		s.add(everyName) // the parser refuses it; a hand-made tree may hold it
		return
	}
	for _, t := range trees {
		s.templateNode(t.Root)
	}
}

// templateNode adds the fields that a template mentions. A bare dot may be
// asked for any label.
func (s nameSet) templateNode(n parse.Node) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return // no else branch
		}
		for _, c := range n.Nodes {
			s.templateNode(c)
		}
	case *parse.ActionNode:
		s.templatePipe(n.Pipe)
	case *parse.PipeNode:
		s.templatePipe(n)
	case *parse.IfNode:
		s.templateBranch(&n.BranchNode)
	case *parse.RangeNode:
		s.templateBranch(&n.BranchNode)
	case *parse.WithNode:
		s.templateBranch(&n.BranchNode)
	case *parse.TemplateNode:
		s.templatePipe(n.Pipe)
	case *parse.FieldNode:
		s.add(n.Ident[0])
	case *parse.VariableNode:
		switch {
		case n.Ident[0] != "$":
		case len(n.Ident) > 1:
			s.add(n.Ident[1])
		default:
			s.add(everyName)
		}
	case *parse.ChainNode:
		s.templateNode(n.Node)
	case *parse.DotNode:
		s.add(everyName)
	}
}

func (s nameSet) templateBranch(n *parse.BranchNode) {
	s.templatePipe(n.Pipe)
	s.templateNode(n.List)
	s.templateNode(n.ElseList)
}

func (s nameSet) templatePipe(n *parse.PipeNode) {
	if n == nil {
		return // {{template "x"}} without an argument
	}
	for _, cmd := range n.Cmds {
		for _, arg := range cmd.Args {
			s.templateNode(arg)
		}
	}
}
