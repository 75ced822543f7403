package stage

// distinctCost is what a remembered combination of values costs beyond its bytes.
const distinctCost = 64

// distinctStage is "| distinct a, b": it lets the first line of each combination
// of values pass. What it has seen lasts as long as the pipeline.
type distinctStage struct {
	labels []string
	budget *Budget
	seen   map[string]struct{}
	key    []byte
}

// NewDistinct returns the distinct stage. The budget may be nil.
func NewDistinct(labels []string, budget *Budget) Stage {
	return &distinctStage{labels: labels, budget: budget, seen: map[string]struct{}{}}
}

func (st *distinctStage) Process(_ int64, line string, b *Builder) (string, bool) {
	st.key = st.key[:0]
	for _, name := range st.labels {
		v, _ := b.Get(name)
		st.key = appendString(st.key, v)
	}
	if _, ok := st.seen[string(st.key)]; ok {
		return line, false
	}
	st.seen[string(st.key)] = struct{}{}
	st.budget.Take(distinctCost + len(st.key))
	return line, true
}
