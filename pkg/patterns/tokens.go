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
	// text marks a word of a sentence in a field: of a quoted value with blanks,
	// or of the message.
	text bool
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
	// texts counts the words that are text.
	texts int
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
	t.words, t.cut = t.words[:0], false
	broken := false // inside of a word
	if i := strings.IndexByte(line, '\n'); i >= 0 {
		line, t.cut = line[:i], true
	}
	if len(line) > maxLineBytes {
		line, t.cut, broken = line[:maxLineBytes], true, true
	}
	t.line = line
	if isFields(line) {
		t.fields()
	} else {
		t.plain(0, len(line), false)
	}
	if len(t.words) > maxWords {
		t.line, t.cut, broken = line[:t.words[maxWords].start], true, false
		t.words = t.words[:maxWords]
	}
	if n := len(t.words) - 1; broken && n >= 0 && t.words[n].end == len(t.line) {
		t.line, t.words = t.line[:t.words[n].start], t.words[:n] // half of a word is no word
	}
	t.sum()
}

// plain takes text apart at all separators. inField says that it is a sentence
// of a field.
func (t *tokens) plain(from, to int, inField bool) {
	line := t.line[:to]
	for i := from; i < to && len(t.words) <= maxWords; {
		if line[i] == '<' {
			if end := tagEnd(line, i); end > 0 {
				t.add(word{start: i, end: end, hash: valueHash, digits: true, text: inField})
				i = end
			} else {
				i++
			}
			continue
		}
		if classes[line[i]] == separator {
			i++
			continue
		}
		end := i
		for end < to && classes[line[end]] != separator {
			end++
		}
		if w, ok := t.trim(i, end); ok {
			w.text = inField
			w.key = !inField && w.hash != valueHash && strings.HasPrefix(line[w.end:], "=") && !strings.HasPrefix(line[w.end:], "==")
			t.add(w)
		}
		i = end
	}
}

// isFields says whether a line is an object of JSON or a list of name=value.
func isFields(line string) bool {
	if strings.HasPrefix(line, `{"`) {
		return true
	}
	i := 0
	for i < len(line) && (isLetter(line[i]) || line[i] == '_') {
		i++
	}
	return i > 0 && i < len(line) && line[i] == '='
}

// fields takes a line of named fields apart. A value without blanks is one
// word, so that paths of different depth do not make different shapes.
func (t *tokens) fields() {
	line := t.line
	object := line[0] == '{'
	message := false // the field at hand is called so
	for i := 0; i < len(line) && len(t.words) <= maxWords; {
		c := line[i]
		switch {
		case c == '"':
			end := i + 1 + closingQuote(line[i+1:])
			rest := strings.TrimLeft(line[min(end+1, len(line)):], " ")
			if object && strings.HasPrefix(rest, ":") && strings.IndexByte(line[i+1:end], ' ') < 0 {
				message = t.name(i+1, end)
			} else {
				t.value(i+1, end, message || strings.IndexByte(line[i+1:end], ' ') >= 0)
				message = false
			}
			i = end + 1
		case c <= ' ', object && strings.IndexByte("{}[]:,", c) >= 0:
			i++
		default:
			end := i
			for end < len(line) && line[end] > ' ' && !(object && strings.IndexByte(",}]", line[end]) >= 0) &&
				(object || line[end] != '=' && line[end] != '"') {
				end++
			}
			if !object && end < len(line) && line[end] == '=' && end > i {
				message = t.name(i, end)
				end++
				// The value, unless it is quoted, may have any signs in it.
				i = end
				for end < len(line) && line[end] > ' ' && line[i] != '"' {
					end++
				}
			}
			t.value(i, end, message && end > i)
			i = max(end, i)
			if i < len(line) && line[i] == '=' {
				i++
			}
		}
	}
}

// closingQuote returns the offset of the quote that ends a string, or the
// length of s.
func closingQuote(s string) int {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return len(s)
}

// name adds the name of a field and says whether its value is the message.
func (t *tokens) name(start, end int) (message bool) {
	w, ok := t.trim(start, end)
	if !ok {
		return false
	}
	w.key = w.hash != valueHash
	t.add(w)
	name := t.line[w.start:w.end]
	return name == "msg" || name == "message"
}

// value adds a value: a sentence word by word, anything else as one word.
func (t *tokens) value(start, end int, text bool) {
	if text {
		t.plain(start, end, true)
	} else if start < end {
		if w, ok := t.trim(start, end); ok {
			t.add(w)
		}
	}
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

// trim makes a word of a run, without what separates at its ends. It returns
// false if nothing is left.
func (t *tokens) trim(start, end int) (word, bool) {
	line := t.line
	w := word{start: start, end: end}
	if strings.IndexByte(line[start:end], '<') >= 0 { // it might look like a capture
		w.hash, w.digits = valueHash, true
		return w, true
	}
	for w.start < w.end && classes[line[w.start]] != inWord && !isNumber(line[w.start:w.end]) {
		w.start++
	}
	for w.start < w.end && classes[line[w.end-1]] != inWord {
		w.end--
	}
	if w.start == w.end {
		return w, false
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
	return w, true
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

// sum fills in shape and all.
func (t *tokens) sum() {
	t.texts = 0
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
		} else {
			all = (all ^ uint64(w.hash)) * fnvPrime64
		}
		if w.text {
			h = (h ^ 0x300) * fnvPrime64
			t.texts++
		}
		at = w.end
	}
	mix(t.line[at:])
	if t.cut {
		h = (h ^ 0x200) * fnvPrime64
	}
	t.shape, t.all = h, all
}
