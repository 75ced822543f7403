package stage

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxAlternatives bounds the literals that an expression is rewritten to.
const maxAlternatives = 16

// lineRegexp is a regular expression with a literal that every match contains:
// looking for that first is many times quicker on lines that do not match.
type lineRegexp struct {
	re      *watchedRegexp
	literal string
}

func (r *lineRegexp) match(line string, w *watch) bool {
	return strings.Contains(line, r.literal) && r.re.match(line, w)
}

// compileLineRegexp compiles the operand of |~ and !~: not anchored, "." does
// not match a newline. An expression that means a few literals becomes one test
// for each.
func compileLineRegexp(expr string) ([]lineTest, error) {
	re, err := compileRegexp(expr)
	if err != nil {
		return nil, err
	}
	tree, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, err
	}
	tree = trimAny(tree)
	if lits, ok := literals(tree, false); ok {
		return containsTests(lits), nil
	}
	if lits, ok := literals(tree, true); ok {
		var ts []lineTest
		for _, l := range lits {
			if f := newFoldFinder(l); f != nil {
				ts = append(ts, lineTest{fold: f})
			}
		}
		if len(ts) == len(lits) {
			return ts, nil
		}
	}
	return []lineTest{{re: &lineRegexp{re: re, literal: requiredLiteral(tree)}}}, nil
}

func containsTests(lits []string) []lineTest {
	ts := make([]lineTest, len(lits))
	for i, l := range lits {
		ts[i].contains = l
	}
	return ts
}

// trimAny takes leading and trailing ".*" away, which mean nothing in an
// expression that is not anchored, and groups around the whole.
func trimAny(re *syntax.Regexp) *syntax.Regexp {
	for re.Op == syntax.OpCapture {
		re = re.Sub[0]
	}
	if re.Op != syntax.OpConcat {
		return re
	}
	sub := re.Sub
	for len(sub) > 0 && isAnyStar(sub[0]) {
		sub = sub[1:]
	}
	for len(sub) > 0 && isAnyStar(sub[len(sub)-1]) {
		sub = sub[:len(sub)-1]
	}
	switch len(sub) {
	case 0:
		return &syntax.Regexp{Op: syntax.OpEmptyMatch}
	case 1:
		return trimAny(sub[0])
	}
	return &syntax.Regexp{Op: syntax.OpConcat, Flags: re.Flags, Sub: sub}
}

func isAnyStar(re *syntax.Regexp) bool {
	return re.Op == syntax.OpStar && (re.Sub[0].Op == syntax.OpAnyChar || re.Sub[0].Op == syntax.OpAnyCharNotNL)
}

// literals returns the strings that re matches, if they are few. With fold
// they match in any case; a tree that mixes both has none.
func literals(re *syntax.Regexp, fold bool) ([]string, bool) {
	switch re.Op {
	case syntax.OpEmptyMatch:
		return []string{""}, true
	case syntax.OpLiteral:
		if cased(re.Rune) && (re.Flags&syntax.FoldCase != 0) != fold {
			return nil, false
		}
		return []string{string(re.Rune)}, !slices.Contains(re.Rune, utf8.RuneError)
	case syntax.OpCapture:
		return literals(re.Sub[0], fold)
	case syntax.OpCharClass:
		return classLiterals(re.Rune, fold)
	case syntax.OpAlternate:
		var all []string
		for _, s := range re.Sub {
			lits, ok := literals(s, fold)
			if !ok || len(all)+len(lits) > maxAlternatives {
				return nil, false
			}
			all = append(all, lits...)
		}
		return all, true
	case syntax.OpQuest:
		lits, ok := literals(re.Sub[0], fold)
		return append(lits, ""), ok && len(lits) < maxAlternatives
	case syntax.OpConcat:
		all := []string{""}
		for _, s := range re.Sub {
			lits, ok := literals(s, fold)
			if !ok || len(all)*len(lits) > maxAlternatives {
				return nil, false
			}
			var next []string
			for _, a := range all {
				for _, l := range lits {
					next = append(next, a+l)
				}
			}
			all = next
		}
		return all, true
	}
	return nil, false
}

// classLiterals lists a small character class. The parser writes a|b as [ab].
func classLiterals(ranges []rune, fold bool) ([]string, bool) {
	var all []string
	for i := 0; i < len(ranges); i += 2 {
		for r := ranges[i]; r <= ranges[i+1]; r++ {
			if len(all) == maxAlternatives || r == utf8.RuneError || fold && cased([]rune{r}) {
				return nil, false
			}
			all = append(all, string(r))
		}
	}
	return all, len(all) > 0
}

// cased says whether case matters to any of the characters.
func cased(rs []rune) bool {
	for _, r := range rs {
		if unicode.SimpleFold(r) != r {
			return true
		}
	}
	return false
}

// requiredLiteral is the longest text that each match of re contains; "" where
// none is known.
func requiredLiteral(re *syntax.Regexp) string {
	switch re.Op {
	case syntax.OpLiteral:
		if s := string(re.Rune); (re.Flags&syntax.FoldCase == 0 || !cased(re.Rune)) && !strings.ContainsRune(s, utf8.RuneError) {
			return s
		}
	case syntax.OpCapture, syntax.OpPlus:
		return requiredLiteral(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return requiredLiteral(re.Sub[0])
		}
	case syntax.OpConcat:
		best := ""
		for _, s := range re.Sub {
			if l := requiredLiteral(s); len(l) > len(best) {
				best = l
			}
		}
		return best
	}
	return ""
}

// foldFinder looks for an ASCII text in any case.
type foldFinder struct {
	lower string
	// Two bytes in which it may begin, and where it would be searched from.
	lo, up byte
	at     int
	// re decides for lines outside ASCII: two letters of Unicode, the Kelvin
	// sign and the long s, are k and s in another case. nil if the text has neither.
	re *regexp.Regexp
}

// newFoldFinder returns nil for a text that it cannot look for.
func newFoldFinder(text string) *foldFinder {
	if text == "" || !isASCII(text) {
		return nil
	}
	f := &foldFinder{lower: strings.ToLower(text)}
	if strings.ContainsAny(f.lower, "ks") {
		f.re = regexp.MustCompile("(?i)" + regexp.QuoteMeta(text))
	}
	// The rarest byte is looked for, by the frequency of bytes in logs of all
	// kinds (package corpus): blanks, quotes and digits are as common as vowels.
	const common = "\"e 0t12as.r:ocd843i56lu7p-n9,/hmfb=gv_zky][}{q|xw)(j;&?+%*"
	best := -1
	for i := 0; i < len(f.lower); i++ {
		rank := strings.IndexByte(common, f.lower[i])
		if rank < 0 {
			rank = len(common)
		}
		if rank > best {
			best, f.at = rank, i
		}
	}
	f.lo = f.lower[f.at]
	f.up = f.lo
	if f.lo >= 'a' && f.lo <= 'z' {
		f.up = f.lo - 'a' + 'A'
	}
	return f
}

func (f *foldFinder) match(line string) bool {
	if f.find(line) {
		return true
	}
	return f.re != nil && !isASCII(line) && f.re.MatchString(line)
}

// find looks for the text by its rarest byte in either case.
func (f *foldFinder) find(line string) bool {
	end := len(line) - (len(f.lower) - f.at) + 1 // past the last place of that byte
	if f.at >= end {
		return false
	}
	lo, up := nextByte(line, f.lo, f.at, end), end
	if f.up != f.lo {
		up = nextByte(line, f.up, f.at, end)
	}
	for {
		at := min(lo, up)
		if at >= end {
			return false
		}
		if equalFoldASCII(line[at-f.at:at-f.at+len(f.lower)], f.lower) {
			return true
		}
		if at == lo {
			lo = nextByte(line, f.lo, at+1, end)
		} else {
			up = nextByte(line, f.up, at+1, end)
		}
	}
}

// nextByte is the place of c in line[from:end], or end.
func nextByte(line string, c byte, from, end int) int {
	if i := strings.IndexByte(line[from:end], c); i >= 0 {
		return from + i
	}
	return end
}

// equalFoldASCII compares s with a lower-case text of the same length.
func equalFoldASCII(s, lower string) bool {
	for i := 0; i < len(lower); i++ {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
