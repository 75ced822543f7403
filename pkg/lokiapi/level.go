package lokiapi

import (
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// LevelName is the structured metadata that holds an entry's severity.
const LevelName = "detected_level"

// Level is the severity found in an entry.
type Level uint8

// The levels, by rising severity. LevelUnknown is what a line without a
// recognisable level has.
const (
	LevelUnknown Level = iota
	LevelTrace
	LevelDebug
	LevelInfo
	LevelWarn
	LevelError
	LevelCritical
	LevelFatal
)

var levelNames = [...]string{"unknown", "trace", "debug", "info", "warn", "error", "critical", "fatal"}

// levelMetadata holds {detected_level="…"} of each level: entries without
// other metadata share these and cost no allocation.
var levelMetadata = func() (m [len(levelNames)]labels.Labels) {
	for i, name := range levelNames {
		m[i] = labels.FromStrings(LevelName, name)
	}
	return m
}()

// String returns Loki's name of the level.
func (l Level) String() string { return levelNames[l] }

// ParseLevel reads the spellings that loggers use, in any case. It answers
// LevelUnknown for others.
func ParseLevel(s string) Level {
	if len(s) < 3 || len(s) > len("information") {
		return LevelUnknown
	}
	// A switch over the folded first byte spares comparing with all spellings.
	switch s[0] | 0x20 {
	case 't':
		if foldAny(s, "trace", "trc") {
			return LevelTrace
		}
	case 'd':
		if foldAny(s, "debug", "dbg") {
			return LevelDebug
		}
	case 'i':
		if foldAny(s, "info", "inf", "information") {
			return LevelInfo
		}
	case 'w':
		if foldAny(s, "warn", "warning", "wrn") {
			return LevelWarn
		}
	case 'e':
		if foldAny(s, "error", "err") {
			return LevelError
		}
	case 'c':
		if foldAny(s, "critical") {
			return LevelCritical
		}
	case 'f':
		if foldAny(s, "fatal") {
			return LevelFatal
		}
	}
	return LevelUnknown
}

func foldAny(s string, words ...string) bool {
	for _, w := range words {
		if len(s) == len(w) && strings.EqualFold(s, w) {
			return true
		}
	}
	return false
}

// isLevelKey says whether a label, metadata or field of this name holds a level.
func isLevelKey(k string) bool {
	switch k {
	case "level", "LEVEL", "Level", "log.level", "log_level",
		"severity", "SEVERITY", "Severity", "SeverityText",
		"lvl", "LVL", "Lvl",
		"severity_text", "Severity_Text", "SEVERITY_TEXT":
		return true
	}
	return false
}

// maxLevelScan bounds the bytes of a line in which a level is looked for: it
// stands at the beginning, and a stack trace of 100 kB is not read for it.
const maxLevelScan = 2048

// DetectLevel finds the severity of a line: in a JSON object's level field
// (two levels deep), in a logfmt level field, in the prefix that klog writes,
// or else as the first word that names a level.
func DetectLevel(line string) Level {
	line = line[:min(len(line), maxLevelScan)]
	trimmed := strings.TrimLeft(line, " \t")
	if trimmed == "" {
		return LevelUnknown
	}
	if trimmed[0] == '{' {
		if l := jsonLevel(trimmed); l != LevelUnknown {
			return l
		}
	} else if l := klogLevel(trimmed); l != LevelUnknown {
		return l
	} else if l := logfmtLevel(trimmed); l != LevelUnknown {
		return l
	}
	return wordLevel(trimmed)
}

// klogLevel reads the prefix "I1122 " of Kubernetes' own components: severity,
// month and day.
func klogLevel(s string) Level {
	if len(s) < 6 || s[5] != ' ' {
		return LevelUnknown
	}
	for _, c := range []byte(s[1:5]) {
		if c < '0' || c > '9' {
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

// jsonLevel walks the strings of an object that starts at s[0]. It does not
// check the JSON; a cut line is fine.
func jsonLevel(s string) Level {
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
				return LevelUnknown
			}
		case '"':
			key, next := jsonSpan(s, i)
			i = next
			j := skipBlanks(s, i)
			if depth > 2 || j >= len(s) || s[j] != ':' || !isLevelKey(key) {
				continue
			}
			if j = skipBlanks(s, j+1); j < len(s) && s[j] == '"' {
				value, next := jsonSpan(s, j)
				if l := ParseLevel(value); l != LevelUnknown {
					return l
				}
				i = next
			}
		default:
			i++
		}
	}
	return LevelUnknown
}

// jsonSpan returns the raw inside of the string that starts at s[i] and the
// index behind its closing quote.
func jsonSpan(s string, i int) (string, int) {
	start := i + 1
	for i = start; i < len(s); i++ {
		n := strings.IndexByte(s[i:], '"')
		if n < 0 {
			return s[start:], len(s)
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
	for i < len(s) && (s[i] == ' ' || s[i] == '\t') {
		i++
	}
	return i
}

// logfmtLevel looks at the keys in front of each '=' outside quotes.
func logfmtLevel(s string) Level {
	for from := 0; from < len(s); {
		n := strings.IndexByte(s[from:], '=')
		if n < 0 {
			return LevelUnknown
		}
		eq := from + n
		value := eq + 1
		end := value
		if value < len(s) && s[value] == '"' {
			var text string
			text, end = jsonSpan(s, value)
			if end = min(end, len(s)); len(text) <= 16 && isLevelKey(logfmtKey(s[from:eq])) {
				if l := ParseLevel(text); l != LevelUnknown {
					return l
				}
			}
			from = end
			continue
		}
		for end < len(s) && s[end] != ' ' {
			end++
		}
		if isLevelKey(logfmtKey(s[from:eq])) {
			if l := ParseLevel(s[value:end]); l != LevelUnknown {
				return l
			}
		}
		from = end
	}
	return LevelUnknown
}

// logfmtKey is the last word of what stands before a '='.
func logfmtKey(s string) string {
	return s[strings.LastIndexByte(s, ' ')+1:]
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

// wordLevel returns the first word that names a level.
func wordLevel(s string) Level {
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
		if l := levelWord(s[start:i]); l != LevelUnknown {
			return l
		}
	}
	return LevelUnknown
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

// AddLevels gives every entry of b that has no detected_level one, found in
// the stream's labels, the entry's metadata or its line. Writers that do not
// come through a [Decoder] use it before they store a batch.
func AddLevels(b *model.Batch) {
	var sb labels.ScratchBuilder
	for i := range b.Streams {
		s := &b.Streams[i]
		fixed, ok := streamLevel(s.Labels)
		if !ok {
			continue
		}
		for j := range s.Entries {
			e := &s.Entries[j]
			e.Metadata = withLevel(e.Metadata, fixed, e.Line, &sb)
		}
	}
}

// streamLevel answers the level that a label of the stream gives to all its
// entries, "" if they have to be looked at one by one; ok is false when the
// stream has the label detected_level itself and metadata would only collide.
func streamLevel(ls labels.Labels) (level string, ok bool) {
	ok = true
	ls.Range(func(l labels.Label) {
		switch {
		case l.Name == LevelName:
			ok = false
		case level == "" && isLevelKey(l.Name):
			level = normalLevel(l.Value)
		}
	})
	return level, ok
}

// normalLevel maps a spelling to Loki's name and keeps what it does not know.
func normalLevel(value string) string {
	if l := ParseLevel(value); l != LevelUnknown {
		return l.String()
	}
	return value
}

// withLevel returns metadata with detected_level.
func withLevel(metadata labels.Labels, fixed, line string, sb *labels.ScratchBuilder) labels.Labels {
	if metadata.IsEmpty() {
		if fixed == "" {
			return levelMetadata[DetectLevel(line)]
		}
		if l := ParseLevel(fixed); l != LevelUnknown {
			return levelMetadata[l]
		}
	}
	var found, present string
	metadata.Range(func(l labels.Label) {
		switch {
		case l.Name == LevelName:
			present = l.Value
		case found == "" && isLevelKey(l.Name):
			found = normalLevel(l.Value)
		case found == "" && l.Name == "severity_number":
			found = severityNumber(l.Value)
		}
	})
	var level string
	switch {
	case present != "":
		if level = normalLevel(present); level == present {
			return metadata
		}
	case fixed != "":
		level = fixed
	case found != "":
		level = found
	default:
		level = DetectLevel(line).String()
	}
	sb.Reset()
	metadata.Range(func(l labels.Label) {
		if l.Name != LevelName {
			sb.Add(l.Name, l.Value)
		}
	})
	sb.Add(LevelName, level)
	sb.Sort()
	return sb.Labels()
}

// severityNumber maps OpenTelemetry's scale, four steps to a level.
func severityNumber(s string) string {
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' || n > 24 {
			return ""
		}
		n = n*10 + int(c-'0')
	}
	if n < 1 || n > 24 {
		return ""
	}
	return [...]string{"trace", "debug", "info", "warn", "error", "fatal"}[(n-1)/4]
}
