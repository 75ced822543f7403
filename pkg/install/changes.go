package install

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// ValueChange is one value that differs between two sets of values.
type ValueChange struct {
	// Path is as in a values file; From and To are printed values, "" for none.
	Path, From, To string
}

// Changes lists what differs, in the order of the paths.
func Changes(from, to Values) []ValueChange {
	a, b := flatten(from), flatten(to)
	var out []ValueChange
	for path, value := range b {
		if a[path] != value {
			out = append(out, ValueChange{Path: path, From: a[path], To: value})
		}
	}
	for path, value := range a {
		if _, stays := b[path]; !stays {
			out = append(out, ValueChange{Path: path, From: value})
		}
	}
	slices.SortFunc(out, func(x, y ValueChange) int { return strings.Compare(x.Path, y.Path) })
	return out
}

// flatten prints each value under its path. Lists count as one value.
func flatten(v Values) map[string]string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain data; cannot fail
	}
	var tree map[string]any
	if err := json.Unmarshal(data, &tree); err != nil {
		panic(err)
	}
	out := map[string]string{}
	var walk func(path string, node any)
	walk = func(path string, node any) {
		switch n := node.(type) {
		case map[string]any:
			for key, child := range n {
				walk(join(path, key), child)
			}
		case string:
			out[path] = n
		case []any:
			text, _ := json.Marshal(n)
			out[path] = string(text)
		default:
			out[path] = fmt.Sprint(n)
		}
	}
	walk("", tree)
	return out
}
