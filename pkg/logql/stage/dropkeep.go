package stage

import "github.com/logstack-dev/kubectl-logstack/pkg/logql"

// mapItems is the number of items above which they are looked up by name: a
// query may name thousands, and a line have as many labels.
const mapItems = 8

// dropStage is "| drop a, b="x"".
type dropStage struct {
	items []labelItem
	names map[string]struct{} // those without a matcher, where they are many
}

// NewDrop returns the drop stage.
func NewDrop(items []logql.LabelItem) Stage {
	st := &dropStage{items: newLabelItems(items)}
	if len(items) <= mapItems {
		return st
	}
	st.names = map[string]struct{}{}
	rest := st.items[:0]
	for _, it := range st.items {
		if it.m == nil {
			st.names[it.name] = struct{}{}
		} else {
			rest = append(rest, it)
		}
	}
	st.items = rest
	return st
}

func (st *dropStage) Process(_ int64, line string, b *Builder) (string, bool) {
	if len(st.names) > 0 {
		b.retain(func(name, _ string) bool {
			_, ok := st.names[name]
			return !ok
		})
		for _, name := range [...]string{ErrorLabel, ErrorDetailsLabel, PreserveErrorLabel} {
			if _, ok := st.names[name]; ok {
				b.Del(name)
			}
		}
	}
	for i := range st.items {
		// A matcher sees a missing label as "".
		it := &st.items[i]
		if it.m != nil {
			if v, _ := b.Get(it.name); !it.matches(v, &b.watch) {
				continue
			}
		}
		b.Del(it.name)
	}
	return line, true
}

// keepStage is "| keep a, b="x"". It never takes away the error labels.
type keepStage struct {
	items  []labelItem
	byName map[string][]labelItem // the same, where they are many
}

// NewKeep returns the keep stage.
func NewKeep(items []logql.LabelItem) Stage {
	st := &keepStage{items: newLabelItems(items)}
	if len(items) > mapItems {
		st.byName = map[string][]labelItem{}
		for _, it := range st.items {
			st.byName[it.name] = append(st.byName[it.name], it)
		}
	}
	return st
}

func (st *keepStage) Process(_ int64, line string, b *Builder) (string, bool) {
	b.retain(func(name, value string) bool {
		items := st.items
		if st.byName != nil {
			items = st.byName[name]
		}
		for i := range items {
			if items[i].name == name && items[i].matches(value, &b.watch) {
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
