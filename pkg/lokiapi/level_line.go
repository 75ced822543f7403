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
//   - where that gives no level that is known: the words trace, debug, fatal,
//     critical, error or err, warning or warn, info. The first of this list
//     that occurs decides, wherever it stands.
//
// One rule is ours: a line that begins like klog's ("E1122 09:16:49.123456") has
// the level of that letter before words are looked at. The components of
// Kubernetes write so, and Loki finds no level or a wrong one.
func (v *Levels) Detect(line string) Level {
	start := 0
	for start < len(line) && isSpace(line[start]) {
		start++
	}
	end := len(line)
	for end > start && isSpace(line[end-1]) {
		end--
	}
	line = line[start:end]
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

// logfmtLevel looks at the keys in front of each '=' outside quotes and returns
// the value of the best field of a level, "" if there is none.
func (v *Levels) logfmtLevel(s string) string {
	best, level := len(v.fields), ""
	for from := 0; from < len(s); {
		n := strings.IndexByte(s[from:], '=')
		if n < 0 {
			break
		}
		// A word that begins behind another '=' is a value with a '=' in it.
		key, found := logfmtKey(s[from:from+n], v.longest)
		found = found || from == 0
		value := from + n + 1
		from = value
		if value < len(s) && s[value] == '"' {
			var text string
			if text, from = jsonSpan(s, value); !found {
				continue
			}
			if rank := v.foldedRank(key); rank >= 0 && rank < best {
				best, level = rank, text
			}
		} else if found {
			if rank := v.foldedRank(key); rank >= 0 && rank < best {
				best, level = rank, firstWord(s[value:])
			}
		}
		if best == 0 {
			break
		}
	}
	return level
}

// logfmtKey is the last word of what stands before a '=', and whether something
// stands before that. Words that are longer than longest are cut.
func logfmtKey(s string, longest int) (key string, found bool) {
	i := len(s)
	for i > 0 && len(s)-i <= longest && !isSpace(s[i-1]) && s[i-1] != '"' {
		i--
	}
	return s[i:], i > 0
}

func firstWord(s string) string {
	for i := range len(s) {
		if isSpace(s[i]) {
			return s[:i]
		}
	}
	return s
}

// Classes of bytes for wordLevel.
const (
	classOther = iota // ends a word
	classWord
	classStart // a word byte with which a level may begin
)

var wordClass = func() (t [256]uint8) {
	for c := range 256 {
		if b := byte(c); isNameByte(b, false) || b >= 0x80 {
			t[c] = classWord
		}
	}
	for _, c := range "tdiwecfTDIWECF" {
		t[c] = classStart
	}
	return t
}()

// wordOrder is the place of each level in the order in which its words are
// looked for; see [Levels.Detect].
var wordOrder = [...]uint8{
	LevelTrace: 0, LevelDebug: 1, LevelFatal: 2, LevelCritical: 3, LevelError: 4, LevelWarn: 5, LevelInfo: 6, LevelUnknown: 7,
}

// wordLevel returns the level whose word comes first in wordOrder.
func wordLevel(s string) Level {
	best := LevelUnknown
	for i := 0; i < len(s); {
		class := wordClass[s[i]]
		if class == classOther {
			i++
			continue
		}
		start := i
		for i++; i < len(s) && wordClass[s[i]] != classOther; i++ {
		}
		if n := i - start; class != classStart || n < 3 || n > len("critical") {
			continue
		}
		if l := levelWord(s[start:i]); wordOrder[l] < wordOrder[best] {
			if best = l; l == LevelTrace {
				break
			}
		}
	}
	return best
}

// levelWord is stricter than ParseLevel: "inf", "trc" and such are words or
// names of other things in running text.
func levelWord(w string) Level {
	switch len(w) {
	case 3:
		if foldAny(w, "err") {
			return LevelError
		}
		return LevelUnknown
	case 4, 5, 7, 8:
		return ParseLevel(w)
	}
	return LevelUnknown
}
