package lokiapi

import "strings"

// DetectLevel finds the severity of a line with the default fields, see
// [Levels.Detect].
func DetectLevel(line string) Level { return defaultLevels.Detect(line) }

// Detect finds the severity of a line, by the rules of Loki 3.7:
//
//   - a JSON object, {…}: the first field of a level, in the order of the
//     text, at most two levels deep, with a string for a value;
//   - another line with a '=': the field of a level in logfmt, of several the
//     one that is named first among the fields; their case does not matter;
//   - where that gives no level that is known: the first of the words trace,
//     debug, info, warn, warning, error, err, critical and fatal that stands
//     alone, in any case.
//
// One rule is ours: a line that begins like klog's ("E1122 09:16:49.123456") has
// the level of that letter before words are looked at. The components of
// Kubernetes write so, and Loki finds no level or a wrong one.
func (v *Levels) Detect(line string) Level {
	line = strings.TrimSpace(line)
	if line == "" {
		return LevelUnknown
	}
	if line[0] == '{' && line[len(line)-1] == '}' {
		if l := ParseLevel(v.jsonLevel(line)); l != LevelUnknown {
			return l
		}
		return wordLevel(line)
	}
	if l := ParseLevel(v.logfmtLevel(line)); l != LevelUnknown {
		return l
	}
	if l := klogLevel(line); l != LevelUnknown {
		return l
	}
	return wordLevel(line)
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// klogLevel reads the prefix "I1122 " of Kubernetes' own components: severity,
// month and day.
func klogLevel(s string) Level {
	if len(s) < 6 || s[5] != ' ' {
		return LevelUnknown
	}
	for i := 1; i < 5; i++ {
		if s[i] < '0' || s[i] > '9' {
			return LevelUnknown
		}
	}
	switch s[0] {
	case 'I':
		return LevelInfo
	case 'W':
		return LevelWarn
	case 'E':
		return LevelError
	case 'F':
		return LevelFatal
	}
	return LevelUnknown
}

// maxLevelDepth is how deep the fields of a JSON line may lie.
const maxLevelDepth = 2

// jsonLevel walks the strings of an object and returns the value of the first
// field of a level, "" if there is none. It does not check the JSON.
func (v *Levels) jsonLevel(s string) string {
	depth, i := 0, 0
	for i < len(s) {
		switch s[i] {
		case '{', '[':
			depth++
			i++
		case '}', ']':
			depth--
			i++
			if depth == 0 {
				return ""
			}
		case '"':
			key, next := jsonSpan(s, i)
			i = skipBlanks(s, next)
			if depth > maxLevelDepth || i >= len(s) || s[i] != ':' || v.rank(key) < 0 {
				continue
			}
			if i = skipBlanks(s, i+1); i < len(s) && s[i] == '"' {
				value, _ := jsonSpan(s, i)
				return value
			}
		default:
			i++
		}
	}
	return ""
}

// jsonSpan returns the raw inside of the string that starts at s[i] and the
// index behind its closing quote.
func jsonSpan(s string, i int) (string, int) {
	start := i + 1
	for i = start; i < len(s); i++ {
		n := strings.IndexByte(s[i:], '"')
		if n < 0 {
			break
		}
		i += n
		backslashes := 0
		for i-1-backslashes >= start && s[i-1-backslashes] == '\\' {
			backslashes++
		}
		if backslashes%2 == 0 {
			return s[start:i], i + 1
		}
	}
	return s[start:], len(s)
}

func skipBlanks(s string, i int) int {
	for i < len(s) && isSpace(s[i]) {
		i++
	}
	return i
}

// logfmtLevel looks at the keys in front of each '=' and returns the value of
// the best field of a level, "" if there is none. It ends where the line stops
// to be logfmt: at a quote or a second '=' inside a word, at a '=' without a key.
func (v *Levels) logfmtLevel(s string) string {
	best, level := len(v.fields), ""
	inWord := false // whether s[from] goes on with the value of the key before
	for from := 0; best > 0; {
		n := strings.IndexByte(s[from:], '=')
		if n < 0 {
			break
		}
		words := s[from : from+n]
		start := len(words)
		for start > 0 && words[start-1] > ' ' && words[start-1] != '"' {
			start--
		}
		key := words[start:]
		if key == "" || start == 0 && inWord || start > 0 && strings.IndexByte(words[:start], '"') >= 0 {
			break
		}
		from += n + 1
		value := from
		if inWord = value == len(s) || s[value] != '"'; !inWord {
			var text string
			if text, from = jsonSpan(s, value); value+1+len(text) == len(s) {
				break // no quote ends it
			}
		}
		if rank := v.foldedRank(key); rank >= 0 && rank < best {
			text, ok := logfmtValue(s[value:])
			if !ok {
				break
			}
			best, level = rank, text
		}
	}
	return level
}

// logfmtValue is the value that s begins with, without its quotes; ok is false
// if there is a quote or a '=' inside of it.
func logfmtValue(s string) (text string, ok bool) {
	if s != "" && s[0] == '"' {
		text, _ = jsonSpan(s, 0)
		return text, true
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c <= ' ':
			return s[:i], true
		case c == '"' || c == '=':
			return "", false
		}
	}
	return s, true
}

// Which bytes may stand before and behind a word that names a level, as
// observed on Loki 3.7.6: x/error and "error." are none.
const (
	opensWord = 1 << iota
	closesWord
)

var wordEdges = func() (t [256]uint8) {
	for _, c := range " \t\n\"(=[{" {
		t[c] |= opensWord
	}
	for _, c := range " \t\n\"(=[{!),:]}" {
		t[c] |= closesWord
	}
	return t
}()

// wordLevel returns the level of the first word that names one.
func wordLevel(s string) Level {
	if l := levelWord(s); l != LevelUnknown {
		return l
	}
	for i := 0; i+1 < len(s); i++ {
		if wordEdges[s[i]]&opensWord == 0 {
			continue
		}
		if l := levelWord(s[i+1:]); l != LevelUnknown {
			return l
		}
	}
	return LevelUnknown
}

// levelWord is the level of the word that s begins with. Fewer spellings count
// than for ParseLevel: "inf", "trc" and such are names of other things in
// running text.
func levelWord(s string) Level {
	switch s[0] | 0x20 {
	case 't':
		if beginsWith(s, "trace") {
			return LevelTrace
		}
	case 'd':
		if beginsWith(s, "debug") {
			return LevelDebug
		}
	case 'i':
		if beginsWith(s, "info") {
			return LevelInfo
		}
	case 'w':
		if beginsWith(s, "warn") || beginsWith(s, "warning") {
			return LevelWarn
		}
	case 'e':
		if beginsWith(s, "error") || beginsWith(s, "err") {
			return LevelError
		}
	case 'c':
		if beginsWith(s, "critical") {
			return LevelCritical
		}
	case 'f':
		if beginsWith(s, "fatal") {
			return LevelFatal
		}
	}
	return LevelUnknown
}

// beginsWith says whether s begins with the word, in any case, and it ends there.
func beginsWith(s, word string) bool {
	if len(s) < len(word) || s[1]|0x20 != word[1] || !strings.EqualFold(s[:len(word)], word) {
		return false
	}
	return len(s) == len(word) || wordEdges[s[len(word)]]&closesWord != 0
}
