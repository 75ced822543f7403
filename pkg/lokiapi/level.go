package lokiapi

import (
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// LevelName is the structured metadata that holds an entry's severity.
const LevelName = "detected_level"

// severityNumberName is the structured metadata that holds OpenTelemetry's
// number of a severity.
const severityNumberName = "severity_number"

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
		if s == w || len(s) == len(w) && strings.EqualFold(s, w) {
			return true
		}
	}
	return false
}

// normalLevel maps a spelling to Loki's name and keeps what it does not know.
func normalLevel(value string) string {
	if l := ParseLevel(value); l != LevelUnknown {
		return l.String()
	}
	return value
}

// DefaultLevelFields are the labels, metadata and fields of lines that hold a
// level, in Loki's order.
func DefaultLevelFields() []string {
	return []string{
		"level", "LEVEL", "Level", "log.level", "severity", "SEVERITY", "Severity", "SeverityText",
		"lvl", "LVL", "Lvl", "severity_text", "Severity_Text", "SEVERITY_TEXT",
	}
}

// Levels finds the severity of entries. It is immutable and safe for
// concurrent use.
type Levels struct {
	fields []levelField
	// byLength finds the fields with a name of some length; longer names are
	// in the last.
	byLength [maxFieldLength + 1][]levelField
}

const maxFieldLength = 16

// levelField is the name of a field and its rank: of several the first counts.
type levelField struct {
	name string
	rank int
}

// NewLevels makes a detector that looks at these fields, the first of them
// first. nil means [DefaultLevelFields].
func NewLevels(fields []string) *Levels {
	if fields == nil {
		fields = DefaultLevelFields()
	}
	v := &Levels{}
	for i, name := range fields {
		if name == "" {
			continue
		}
		f := levelField{name: name, rank: i}
		v.fields = append(v.fields, f)
		n := min(len(name), maxFieldLength)
		v.byLength[n] = append(v.byLength[n], f)
	}
	return v
}

var defaultLevels = NewLevels(nil)

// rank is the place of a name among the fields, -1 if it is none of them.
func (v *Levels) rank(name string) int {
	for _, f := range v.byLength[min(len(name), maxFieldLength)] {
		if f.name == name {
			return f.rank
		}
	}
	return -1
}

// foldedRank is rank without regard to case.
func (v *Levels) foldedRank(name string) int {
	if name == "" {
		return -1
	}
	for _, f := range v.byLength[min(len(name), maxFieldLength)] {
		if f.name == name || len(f.name) == len(name) && f.name[0]|0x20 == name[0]|0x20 && strings.EqualFold(f.name, name) {
			return f.rank
		}
	}
	return -1
}

// streamLevel answers the level that a label of the stream gives to all its
// entries, "" if they have to be looked at one by one.
func (v *Levels) streamLevel(ls labels.Labels) string {
	for _, f := range v.fields {
		if value := ls.Get(f.name); value != "" {
			return normalLevel(value)
		}
	}
	return ""
}

// choice is the level that the metadata of an entry gives to it.
type choice struct {
	rank   int
	value  string // of the best field
	number string // severity_number, "" if there is none
}

func (c *choice) offer(v *Levels, name, value string) {
	if rank := v.rank(name); rank >= 0 && (c.rank < 0 || rank < c.rank) {
		c.rank, c.value = rank, value
	} else if name == severityNumberName {
		c.number = value
	}
}

// decides says whether the metadata tells the level, and which.
func (c *choice) decides() (string, bool) {
	switch {
	case c.rank >= 0:
		return normalLevel(c.value), true
	case c.number != "":
		return severityLevel(c.number).String(), true
	}
	return "", false
}

// severityLevel maps OpenTelemetry's scale, four steps to a level. A text that
// is no number counts as info, as in Loki.
func severityLevel(s string) Level {
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return LevelInfo
		}
		if n = n*10 + int(c-'0'); n > 24 {
			return LevelUnknown
		}
	}
	if n < 1 {
		return LevelUnknown
	}
	return [...]Level{LevelTrace, LevelDebug, LevelInfo, LevelWarn, LevelError, LevelFatal}[(n-1)/4]
}

// addLevel puts detected_level into the metadata that was collected for an
// entry: the one of the stream, what the metadata itself says, or the line's
// level, which it returns then.
func (m *metadata) addLevel(v *Levels, fixed, line string) (level Level, fromLine bool) {
	c := choice{rank: -1}
	for i := range m.pairs {
		p := &m.pairs[i]
		if p.Name == LevelName {
			p.Value = normalLevel(p.Value)
			return LevelUnknown, false
		}
		c.offer(v, p.Name, p.Value)
	}
	value, ok := fixed, fixed != ""
	if !ok {
		value, ok = c.decides()
	}
	if !ok {
		level = v.Detect(line)
		value = level.String()
	}
	m.pairs = append(m.pairs, labels.Label{Name: LevelName, Value: value})
	return level, !ok
}

// AddLevels gives every entry of b that has no detected_level one, found in
// the stream's labels, the entry's metadata or its line. Writers that do not
// come through a [Decoder] use it before they store a batch.
func AddLevels(b *model.Batch) { defaultLevels.Add(b) }

// Add is [AddLevels] with the fields of v.
func (v *Levels) Add(b *model.Batch) {
	var m metadata
	for i := range b.Streams {
		s := &b.Streams[i]
		if s.Labels.Has(LevelName) { // metadata of that name would only collide
			continue
		}
		fixed := v.streamLevel(s.Labels)
		common := labels.EmptyLabels()
		if fixed != "" {
			common = labels.FromStrings(LevelName, fixed)
		}
		for j := range s.Entries {
			e := &s.Entries[j]
			switch {
			case !e.Metadata.IsEmpty():
				m.reset()
				e.Metadata.Range(func(l labels.Label) { m.pairs = append(m.pairs, l) })
				m.addLevel(v, fixed, e.Line)
				e.Metadata = m.labels()
			case fixed != "":
				e.Metadata = common
			default:
				e.Metadata = levelMetadata[v.Detect(e.Line)]
			}
		}
	}
}
