package stage

import (
	"errors"
	"fmt"
)

// regexpStage is "| regexp "(?P<name>…)"": named groups become labels. A group
// that takes no part in the match gives an empty label; a line that does not
// match passes without new labels.
type regexpStage struct {
	re     *watchedRegexp
	groups []regexpGroup
}

type regexpGroup struct {
	name string
	at   int // of the start in what FindStringSubmatchIndex returns
}

// NewRegexp returns the regexp stage. The expression needs a named group, and
// no name twice.
func NewRegexp(expr string) (Stage, error) {
	re, err := compileRegexp(expr)
	if err != nil {
		return nil, fmt.Errorf("regexp parser: %w", err)
	}
	st := &regexpStage{re: re}
	seen := map[string]bool{}
	for i, n := range re.re.SubexpNames() {
		if n == "" {
			continue
		}
		if seen[n] {
			return nil, fmt.Errorf("regexp parser: duplicate group name %q", n)
		}
		seen[n] = true
		st.groups = append(st.groups, regexpGroup{SanitizeName(n), 2 * i})
	}
	if len(st.groups) == 0 {
		return nil, errors.New("regexp parser: at least one named group is required, such as (?P<status>\\d+)")
	}
	return st, nil
}

func (st *regexpStage) Process(_ int64, line string, b *Builder) (string, bool) {
	m := st.re.find(line, &b.watch)
	if m == nil {
		return line, true
	}
	for _, g := range st.groups {
		val := ""
		if m[g.at] >= 0 {
			val = line[m[g.at]:m[g.at+1]]
		}
		if b.extract(g.name, val) {
			break
		}
	}
	return line, true
}
