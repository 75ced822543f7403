package patterns

import (
	"strings"
	"unicode/utf8"
)

// Bounds of what is looked at in one line. What lies behind becomes one <_>.
const (
	maxLineBytes = 4096
	maxWords     = 128
)

// word is a run of a line between separators.
type word struct {
	start, end int
	// hash identifies the text; valueHash for a value.
	hash uint32
	// key marks the name of a field: name=… or "name":…
	key bool
	// digits says that it has any: it is no good to find candidates by.
	digits bool
}

// valueHash is the hash of all words that are values at sight, and of places
// where the words of a cluster differ.
const valueHash = 0

// tokens is a line taken apart. It is used again and again.
type tokens struct {
	line  string // what was looked at
	words []word
	// cut says that more follows.
	cut bool
	// shape identifies separators and keys, all everything but values.
	shape, all uint64
	keys       int
}

const (
	fnvOffset32 = 2166136261
	fnvPrime32  = 16777619
	fnvOffset64 = 14695981039346656037
	fnvPrime64  = 1099511628211
)

// Classes of bytes.
const (
	inWord = iota
	separator
	// edge bytes separate where a word begins or ends with them.
	edge
)

var classes = func() (t [256]uint8) {
	for _, c := range []byte(" \t\r\"'`=,;()[]{}|&?<>\\/") {
		t[c] = separator
	}
	for c := range 0x20 {
		t[c] = separator
	}
	for _, c := range []byte(":.-!#*~^") {
		t[c] = edge
	}
	return t
}()

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// split takes the first line of an entry apart.
func (t *tokens) split(line string) {
	t.words, t.keys = t.words[:0], 0
	t.cut = false
	broken := false // inside of a word
	if i := strings.IndexByte(line, '\n'); i >= 0 {
		line, t.cut = line[:i], true
	}
	if len(line) > maxLineBytes {
		line, t.cut, broken = line[:maxLineBytes], true, true
	}
	t.line = line
	for i := 0; i < len(line); {
		if line[i] == '<' {
			if end := tagEnd(line, i); end > 0 {
				t.add(word{start: i, end: end, hash: valueHash, digits: true})
				i = end
			} else {
				i++
			}
		} else if classes[line[i]] == separator {
			i++
		} else {
			i = t.run(i)
		}
		if len(t.words) > maxWords {
			t.line, t.cut, broken = line[:t.words[maxWords].start], true, false
			t.words = t.words[:maxWords]
			break
		}
	}
	if n := len(t.words) - 1; broken && n >= 0 && t.words[n].end == len(t.line) {
		t.line, t.words = t.line[:t.words[n].start], t.words[:n] // half of a word is no word
	}
	t.sum()
}

// tagEnd returns the end of <name>, -1 if there is none at i. In a pattern it
// would be a capture.
func tagEnd(line string, i int) int {
	j := i + 1
	if j >= len(line) || line[j] != '_' && !isLetter(line[j]) {
		return -1
	}
	for j < len(line) && (line[j] == '_' || isLetter(line[j]) || isDigit(line[j])) {
		j++
	}
	if j < len(line) && line[j] == '>' {
		return j + 1
	}
	return -1
}

// run adds the word of a run without separators that begins at i, if there is
// one, and returns the end of the run.
func (t *tokens) run(i int) int {
	line := t.line
	end := i
	for end < len(line) && classes[line[end]] != separator {
		end++
	}
	w := word{start: i, end: end}
	for w.start < w.end && classes[line[w.start]] == edge && !isNumber(line[w.start:w.end]) {
		w.start++
	}
	for w.start < w.end && classes[line[w.end-1]] == edge {
		w.end--
	}
	if w.start == w.end {
		return end
	}
	text := line[w.start:w.end]
	h := uint32(fnvOffset32)
	digits, ascii := 0, true
	for k := 0; k < len(text); k++ {
		c := text[k]
		h = (h ^ uint32(c)) * fnvPrime32
		if isDigit(c) {
			digits++
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	w.digits = digits > 0
	switch {
	case isValue(text, digits), !ascii && !utf8.ValidString(text):
		w.hash = valueHash
	case h == valueHash:
		w.hash = 1
	default:
		w.hash = h
	}
	w.key = w.hash != valueHash && t.isKey(w)
	t.add(w)
	return end
}

func (t *tokens) add(w word) { t.words = append(t.words, w) }

// isNumber says whether a text that begins with '-' or '.' goes on with a digit.
func isNumber(s string) bool {
	return len(s) > 1 && (s[0] == '-' || s[0] == '.') && isDigit(s[1])
}

// isValue says whether a word can be seen to be a value without comparing it
// with others: a number, a time, an address, an identifier.
func isValue(s string, digits int) bool {
	switch {
	case digits == 0:
		return false
	case isDigit(s[0]), isNumber(s):
		return true
	case len(s) <= 3: // v1, p99, s3
		return false
	case 5*digits >= 2*len(s), len(s) >= 16 && 4*digits >= len(s):
		return true
	}
	return len(s) >= 8 && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

// isKey recognises name= and "name": around a word.
func (t *tokens) isKey(w word) bool {
	rest := t.line[w.end:]
	switch {
	case strings.HasPrefix(rest, "="):
		return !strings.HasPrefix(rest, "==")
	case strings.HasPrefix(rest, `":`):
		return w.start > 0 && t.line[w.start-1] == '"'
	}
	return false
}

// sum fills in shape and all.
func (t *tokens) sum() {
	h, all := uint64(fnvOffset64), uint64(fnvOffset64)
	at := 0
	mix := func(text string) {
		for i := 0; i < len(text); i++ {
			h = (h ^ uint64(text[i])) * fnvPrime64
		}
		h = (h ^ 0x100) * fnvPrime64
	}
	for _, w := range t.words {
		mix(t.line[at:w.start])
		if w.key {
			h = (h ^ uint64(w.hash)) * fnvPrime64
			t.keys++
		} else {
			all = (all ^ uint64(w.hash)) * fnvPrime64
		}
		at = w.end
	}
	mix(t.line[at:])
	if t.cut {
		h = (h ^ 0x200) * fnvPrime64
	}
	t.shape, t.all = h, all
}
