package logql

import (
	"maps"
	"slices"
	"strings"
)

// stageNames are what may stand behind "|" beside label filters.
var stageNames = func() []string {
	names := []string{"unwrap"}
	for k := tJSON; k <= tKeep; k++ {
		names = append(names, kindNames[k])
	}
	return names
}()

var (
	// Of names equally near Loki's are first.
	functionNames = slices.Concat(
		slices.DeleteFunc(slices.Sorted(maps.Keys(functions)), func(name string) bool { return functions[name].kind == tFunction }),
		slices.Sorted(maps.Keys(functions)))
	wordNames = []string{"by", "without", "on", "ignoring", "group_left", "group_right", "offset", "bool", "and", "or", "unless"}
	flagNames = []string{"--strict", "--keep-empty", "--arrays"}
)

// hint returns what can be told about the unexpected token t, in parentheses
// behind a blank, or "".
func (p *parser) hint(t token) string {
	before := token{}
	if p.i > 0 && p.peek().pos == t.pos {
		before = p.toks[p.i-1]
	}
	switch {
	case t.kind == tFlag:
		return didYouMean("", t.text, flagNames)
	case t.kind == tIdent && before.kind == tNumber && before.end == t.pos:
		return badUnit(before, t)
	case p.i >= 2 && before.kind == tIdent && p.toks[p.i-2].kind == tNumber && p.toks[p.i-2].end == before.pos:
		// In a label filter the letters passed for the next label.
		return badUnit(p.toks[p.i-2], before)
	case t.kind == tIdent && p.peekAt(1).kind == tLeftBrace:
		return " (a selector has no name in front: write {...})"
	case tPipeContains <= before.kind && before.kind <= tNotContainsFold:
		return "" // a string was forgotten, or its quotes
	case t.kind == tIdent:
		names := functionNames
		if before.kind != tEOF && before.kind != tLeftParen {
			names = slices.Concat(functionNames, wordNames)
		}
		return didYouMean("", t.text, names)
	case before.kind == tIdent && p.i >= 2 && p.toks[p.i-2].kind == tPipe:
		return didYouMean("| ", before.text, stageNames)
	case before.kind == tIdent && p.i >= 2 && p.toks[p.i-2].kind == tUnwrap && t.kind == tLeftParen:
		return didYouMean("", before.text, conversionNames[1:])
	case before.kind == tIdent && t.kind == tLeftParen:
		return didYouMean("", before.text, slices.Concat(functionNames, wordNames))
	}
	return ""
}

// badUnit explains a number with letters that are no unit.
func badUnit(number, unit token) string {
	return " (" + number.text + unit.text + " has no known unit: durations end in ms, s, m, h, d, w or y, sizes in B, kB, KiB, MB, MiB, ...)"
}

// didYouMean returns the hint for the name nearest to word, if one is near.
func didYouMean(prefix, word string, names []string) string {
	if best := nearest(strings.ToLower(word), names); best != "" {
		return " (did you mean " + prefix + best + "?)"
	}
	return ""
}

// nearest returns the name with the fewest edits from word, at most one per
// three letters; of equals the first. A word that is a name has no nearest.
func nearest(word string, names []string) string {
	best, bestDistance := "", 1+len(word)/3
	if bestDistance > 4 {
		bestDistance = 4
	}
	for _, name := range names {
		switch d := editDistance(word, name); {
		case d == 0:
			return ""
		case d < bestDistance:
			best, bestDistance = name, d
		}
	}
	return best
}

// editDistance counts insertions, deletions, replacements and swaps of
// neighbours that turn a into b (the optimal string alignment distance).
func editDistance(a, b string) int {
	if diff := len(a) - len(b); diff > 4 || diff < -4 {
		return 5 // far, and words may be long
	}
	older, old := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range old {
		old[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(old[j]+1, row[j-1]+1, old[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], older[j-2]+1)
			}
		}
		older, old = old, row
	}
	return old[len(b)]
}
