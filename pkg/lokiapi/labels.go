package lokiapi

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// LabelsError says that the label text of a stream is not a label set. It
// makes the whole push request fail, as in Loki.
type LabelsError struct {
	Text   string // what was pushed
	Offset int    // byte in Text where it went wrong
	Msg    string
	// Duplicate is the name that occurs twice, if that is what is wrong: it
	// costs a push only the stream.
	Duplicate string
}

func (e *LabelsError) Error() string {
	return fmt.Sprintf("couldn't parse labels: %s at byte %d of %s", e.Msg, e.Offset, quoteShort(e.Text))
}

// maxQuoted is how much of what was pushed a message repeats.
const maxQuoted = 200

// quoteShort quotes s for a message and cuts it to a readable length.
func quoteShort(s string) string {
	if len(s) > maxQuoted {
		return strconv.Quote(s[:maxQuoted]) + "…"
	}
	return strconv.Quote(s)
}

// cut is s for a message, cut to a readable length.
func cut(s string) string {
	if len(s) > 5*maxQuoted {
		return strings.ToValidUTF8(s[:5*maxQuoted], "") + "…"
	}
	return s
}

// shortLabels is a label set for a message.
func shortLabels(ls labels.Labels) string { return cut(ls.String()) }

// ParseLabels reads the text form of a label set, {a="b", c="d"}. Values may
// be quoted with ", ' or `, and so may names. An empty text is {}, and a name in
// front of the brace is the label __name__. Labels with an empty value are left
// out; the result is sorted. A name twice, a name that is not
// [a-zA-Z_][a-zA-Z0-9_]* and any trailing text are a *LabelsError. The result
// does not alias s.
func ParseLabels(s string) (labels.Labels, error) {
	p := labelParser{text: s}
	pairs, err := p.parse()
	if err != nil {
		return labels.EmptyLabels(), err
	}
	return labels.New(pairs...), nil
}

type labelParser struct {
	text string
	pos  int
}

func (p *labelParser) fail(format string, args ...any) error {
	return &LabelsError{Text: p.text, Offset: p.pos, Msg: fmt.Sprintf(format, args...)}
}

func (p *labelParser) space() {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
}

// accept skips blanks and then c, if it is there.
func (p *labelParser) accept(c byte) bool {
	p.space()
	if p.pos < len(p.text) && p.text[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

func (p *labelParser) parse() ([]labels.Label, error) {
	if p.space(); p.pos == len(p.text) {
		return nil, nil
	}
	var pairs []labels.Label
	if name := p.name(); name != "" {
		pairs = append(pairs, labels.Label{Name: model.MetricNameLabel, Value: strings.Clone(name)})
	}
	if !p.accept('{') {
		return nil, p.fail("expected '{'")
	}
	for first := true; !p.accept('}'); first = false {
		if !first && !p.accept(',') {
			return nil, p.fail("expected ',' or '}'")
		}
		if !first && p.accept('}') { // a trailing comma
			break
		}
		l, err := p.pair()
		if err != nil {
			return nil, err
		}
		pairs = append(pairs, l)
	}
	if p.space(); p.pos != len(p.text) {
		return nil, p.fail("unexpected text after '}'")
	}
	return sortPairs(pairs, p.text)
}

// sortPairs sorts by name, refuses duplicates and drops empty values. text is
// what the pairs were read from.
func sortPairs(pairs []labels.Label, text string) ([]labels.Label, error) {
	slices.SortFunc(pairs, func(a, b labels.Label) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(pairs); i++ {
		if pairs[i].Name == pairs[i-1].Name {
			name := pairs[i].Name
			return nil, &LabelsError{Text: text, Offset: len(text), Duplicate: name, Msg: fmt.Sprintf("label name %q occurs twice", name)}
		}
	}
	return slices.DeleteFunc(pairs, func(l labels.Label) bool { return l.Value == "" }), nil
}

// name reads a name, "" if there is none.
func (p *labelParser) name() string {
	start := p.pos
	for p.pos < len(p.text) && isNameByte(p.text[p.pos], p.pos == start) {
		p.pos++
	}
	return p.text[start:p.pos]
}

func (p *labelParser) pair() (labels.Label, error) {
	p.space()
	name := p.name()
	if start := p.pos; name == "" && p.pos < len(p.text) && p.text[p.pos] == '"' {
		var err error
		if name, err = p.quoted(); err != nil {
			return labels.Label{}, err
		}
		if !isLabelName(name) {
			p.pos = start
			return labels.Label{}, p.fail("label name %s is not legal", quoteShort(name))
		}
	}
	if name == "" {
		return labels.Label{}, p.fail("expected a label name")
	}
	if !p.accept('=') {
		return labels.Label{}, p.fail("expected '=' after label name %q", name)
	}
	p.space()
	value, err := p.quoted()
	if err != nil {
		return labels.Label{}, err
	}
	return labels.Label{Name: strings.Clone(name), Value: strings.ToValidUTF8(value, "\uFFFD")}, nil
}

// quoted reads one quoted value and returns it unquoted, never aliasing text.
func (p *labelParser) quoted() (string, error) {
	if p.pos == len(p.text) || strings.IndexByte("\"'`", p.text[p.pos]) < 0 {
		return "", p.fail("expected a quoted value")
	}
	start, quote := p.pos, p.text[p.pos]
	end := start + 1
	for end < len(p.text) && p.text[end] != quote {
		if p.text[end] == '\\' && quote != '`' {
			end++
		}
		end++
	}
	if end >= len(p.text) {
		return "", p.fail("value is not terminated")
	}
	p.pos = end + 1
	raw := p.text[start+1 : end]
	if quote == '`' || strings.IndexByte(raw, '\\') < 0 {
		return strings.Clone(raw), nil
	}
	return p.unescape(raw, quote, start)
}

func (p *labelParser) unescape(raw string, quote byte, start int) (string, error) {
	var b strings.Builder
	for raw != "" {
		if raw[0] != '\\' {
			b.WriteByte(raw[0])
			raw = raw[1:]
			continue
		}
		r, multibyte, tail, err := strconv.UnquoteChar(raw, quote)
		if err != nil {
			p.pos = start
			return "", p.fail("bad escape sequence in value")
		}
		if r < 0x80 || !multibyte {
			b.WriteByte(byte(r))
		} else {
			b.WriteRune(r)
		}
		raw = tail
	}
	return b.String(), nil
}

func isNameByte(c byte, first bool) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' && !first
}

// isLabelName says whether s is a legal label name of the classic Prometheus
// data model, the only one Loki knows.
func isLabelName(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isNameByte(s[i], i == 0) {
			return false
		}
	}
	return s != ""
}

// SanitizeName turns the name of a structured metadata pair into a label name
// as Loki does: every other character becomes one '_', a leading digit gets a
// '_' in front ("a-b" is a_b, "1x" is _1x). A name that is one already is
// returned as it is, without an allocation.
func SanitizeName(s string) string {
	if isLabelName(s) || s == "" {
		return s
	}
	b := make([]byte, 0, len(s)+1)
	for _, r := range s {
		switch {
		case r < 0x80 && isNameByte(byte(r), false):
			if len(b) == 0 && r >= '0' && r <= '9' {
				b = append(b, '_')
			}
			b = append(b, byte(r))
		default:
			b = append(b, '_')
		}
	}
	return string(b)
}
