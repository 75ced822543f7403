package stage

import "github.com/logstack-dev/kubectl-logstack/pkg/logql"

// itemMatches says whether an item of drop means the label as it is. A matcher
// sees a missing label as "".
func itemMatches(it *logql.LabelItem, b *Builder) bool {
	if it.Matcher == nil {
		return true
	}
	v, _ := b.Get(it.Name)
	return it.Matcher.Matches(v)
}

// dropStage is "| drop a, b="x"".
type dropStage struct{ items []logql.LabelItem }

// NewDrop returns the drop stage.
func NewDrop(items []logql.LabelItem) Stage { return &dropStage{items} }

func (st *dropStage) Process(_ int64, line string, b *Builder) (string, bool) {
	for i := range st.items {
		if itemMatches(&st.items[i], b) {
			b.Del(st.items[i].Name)
		}
	}
	return line, true
}

// keepStage is "| keep a, b="x"". It never takes away the error labels.
type keepStage struct{ items []logql.LabelItem }

// NewKeep returns the keep stage.
func NewKeep(items []logql.LabelItem) Stage { return &keepStage{items} }

func (st *keepStage) Process(_ int64, line string, b *Builder) (string, bool) {
	b.retain(func(name, value string) bool {
		for i := range st.items {
			it := &st.items[i]
			if it.Name == name && (it.Matcher == nil || it.Matcher.Matches(value)) {
				return true
			}
		}
		return false
	})
	return line, true
}

// retain takes away the labels for which f is false, errors aside.
func (b *Builder) retain(f func(name, value string) bool) {
	for i := range b.stream {
		if !b.gone[i] && !f(b.stream[i].Name, b.stream[i].Value) {
			b.gone[i] = true
			b.nGone++
		}
	}
	kept := b.pairs[:0]
	for _, p := range b.pairs {
		if f(p.name, p.value) {
			kept = append(kept, p)
		}
	}
	b.pairs, b.isIdx = kept, false
}
