package main

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
)

// openQuote takes away the quote of a word that is not finished: fish hands it
// over with the word, and expects none in the candidates. A query begins with
// neither quote.
func openQuote(text string) string {
	switch {
	case strings.HasPrefix(text, "'"):
		return strings.ReplaceAll(text[1:], `\'`, `'`)
	case strings.HasPrefix(text, `"`):
		return escapedInDouble.ReplaceAllString(text[1:], "$1")
	}
	return text
}

// escapedInDouble is what a backslash escapes between double quotes.
var escapedInDouble = regexp.MustCompile("\\\\([\\\\\"$`])")

// completeLogQL returns what an unfinished query can go on with, each candidate
// with the whole text before it.
func completeLogQL(toComplete string, v vocabulary) []string {
	text := openQuote(toComplete)
	c := locate(text)
	before := text[:len(text)-len(c.word)]
	var out []string
	for _, w := range withPrefix(c.candidates(text, v), c.word) {
		if len(out) == maxCandidates {
			break
		}
		out = append(out, before+w)
	}
	return out
}

// place is the kind of word that the end of an unfinished query is in.
type place int

const (
	placeNone     place = iota // free text, or a place with too many possibilities
	placeStart                 // before anything: a selector or a function
	placeLabel                 // a label of a selector
	placeOperator              // behind such a label
	placeValue                 // its value, within quotes
	placeMatched               // behind a finished matcher
	placeGrouping              // a label within by ( or without (
	placePipe                  // behind a selector or a stage
	placeStage                 // behind a |
)

// cursor is where an unfinished query ends.
type cursor struct {
	place place
	// word is what is typed of the word to be completed.
	word string
	// selector is what is finished of the selector around it, label the one
	// whose value is asked for, quote the open one of LogQL.
	selector, label string
	quote           byte
	// query is the log query before the pipe, for the fields of its lines.
	query string
}

var (
	wordAtEnd   = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*$`)
	labelToken  = regexp.MustCompile(`^\s*([A-Za-z_][A-Za-z0-9_]*)?$`)
	labelThenOp = regexp.MustCompile(`^\s*([A-Za-z_][A-Za-z0-9_]*)\s*(=~|!~|!=|=|!)?\s*$`)
	groupingEnd = regexp.MustCompile(`\b(by|without|on|ignoring|group_left|group_right)\s*$`)
	stageToken  = regexp.MustCompile(`^\s*([A-Za-z_][A-Za-z0-9_]*)?$`)
)

// locate finds out what the end of an unfinished query is in, by its brackets
// and quotes alone.
func locate(text string) cursor {
	var (
		open  []int // offsets of open brackets
		comma = -1  // last comma within the innermost
		pipe  = -1  // last pipe outside of quotes, behind the last selector
		sel   = -1  // where the last selector began
		ended = -1  // where it ended
	)
	for i := 0; i < len(text); i++ {
		switch b := text[i]; b {
		case '"', '`':
			end := stringEnd(text, i)
			if end < 0 {
				return inString(text, i, open, comma)
			}
			i = end
		case '#':
			if nl := strings.IndexByte(text[i:], '\n'); nl >= 0 {
				i += nl
			} else {
				return cursor{}
			}
		case '{', '(', '[':
			open, comma = append(open, i), -1
			if b == '{' {
				sel, ended, pipe = i, -1, -1
			}
		case '}', ')', ']':
			if len(open) > 0 {
				open = open[:len(open)-1]
			}
			comma = -1
			if b == '}' && sel >= 0 {
				ended = i
			}
		case ',':
			comma = i
		case '|':
			if ended >= 0 {
				pipe = i
			}
		}
	}
	return atEnd(text, open, comma, sel, ended, pipe)
}

// stringEnd is the offset of the quote that ends the string at i, or -1.
func stringEnd(text string, i int) int {
	for j := i + 1; j < len(text); j++ {
		switch {
		case text[j] == text[i]:
			return j
		case text[j] == '\\' && text[i] == '"':
			j++
		}
	}
	return -1
}

// within is the text of the innermost bracket behind its last comma.
func within(text string, open []int, comma, end int) string {
	return text[max(open[len(open)-1], comma)+1 : end]
}

// finished is the selector without the matcher that is being typed.
func finished(text string, open []int, comma int) string {
	if comma < 0 {
		return ""
	}
	s := text[open[len(open)-1]:comma] + "}"
	if _, err := logql.ParseSelector(s); err != nil {
		return ""
	}
	return s
}

func inString(text string, at int, open []int, comma int) cursor {
	if len(open) == 0 || text[open[len(open)-1]] != '{' {
		return cursor{}
	}
	m := labelThenOp.FindStringSubmatch(within(text, open, comma, at))
	if m == nil || m[2] == "" || m[2] == "!" {
		return cursor{}
	}
	c := cursor{place: placeValue, label: m[1], quote: text[at], word: text[at+1:], selector: finished(text, open, comma)}
	if c.quote == '"' {
		if plain, err := strconv.Unquote(`"` + c.word + `"`); err == nil && plain != c.word {
			return cursor{} // escapes in the middle: rare, and hard to go on with
		}
	}
	return c
}

func atEnd(text string, open []int, comma, sel, ended, pipe int) cursor {
	if len(open) > 0 && text[open[len(open)-1]] == '{' {
		part := within(text, open, comma, len(text))
		if m := labelToken.FindStringSubmatch(part); m != nil {
			return cursor{place: placeLabel, word: m[1], selector: finished(text, open, comma)}
		}
		if m := labelThenOp.FindStringSubmatch(part); m != nil {
			switch m[2] {
			case "":
				return cursor{place: placeOperator, label: m[1]}
			case "!":
				return cursor{place: placeOperator, label: m[1], word: "!"}
			}
			return cursor{place: placeValue, label: m[1], selector: finished(text, open, comma)}
		}
		return cursor{place: placeMatched}
	}
	if len(open) > 0 && text[open[len(open)-1]] == '(' {
		if groupingEnd.MatchString(text[:open[len(open)-1]]) {
			if m := labelToken.FindStringSubmatch(within(text, open, comma, len(text))); m != nil {
				return cursor{place: placeGrouping, word: m[1]}
			}
		}
	}
	switch {
	case pipe >= 0 && pipe > ended:
		if m := stageToken.FindStringSubmatch(text[pipe+1:]); m != nil {
			return cursor{place: placeStage, word: m[1], query: strings.TrimSpace(text[sel:pipe])}
		}
		return cursor{}
	case sel >= 0 && ended >= 0 && len(strings.TrimSpace(text[ended+1:])) == 0:
		return cursor{place: placePipe}
	case sel < 0 && (len(open) == 0 || text[open[len(open)-1]] == '('):
		return cursor{place: placeStart, word: wordAtEnd.FindString(text)}
	}
	return cursor{}
}

// Words of LogQL that begin something.
var (
	startWords = []string{
		"{", "sum by (", "sum(", "topk(10, ", "avg by (", "max by (", "min by (", "count by (", "quantile_over_time(0.99, ",
		"rate(", "count_over_time(", "bytes_rate(", "bytes_over_time(", "sum_over_time(", "avg_over_time(", "max_over_time(",
		"min_over_time(", "absent_over_time(",
	}
	pipeWords  = []string{` |= "`, ` != "`, ` |~ "`, ` !~ "`, ` | json`, ` | logfmt`, ` | pattern "`, ` | regexp "`}
	stageWords = []string{"json", "logfmt", `pattern "`, `regexp "`, "unpack", "decolorize", `line_format "`, "label_format ", "drop ", "keep ", "unwrap "}
	operators  = []string{"=", "!=", "=~", "!~"}
)

// candidates are the words that fit, whether they begin with c.word or not.
func (c *cursor) candidates(text string, v vocabulary) []string {
	switch c.place {
	case placeStart:
		if c.word == "" && strings.TrimSpace(text) != "" {
			return startWords[:1] // within a function a selector is what is meant
		}
		return startWords
	case placeLabel:
		var out []string
		for _, name := range v.labels(c.selector) {
			out = append(out, name+`="`)
		}
		return out
	case placeOperator:
		return suffixed(operators, `"`)
	case placeValue:
		var out []string
		for _, value := range v.values(c.label, c.selector) {
			if q, ok := quoteValue(value, c.quote); ok {
				out = append(out, q)
			}
		}
		return out
	case placeMatched:
		return []string{"}", ", "}
	case placeGrouping:
		return suffixed(v.labels(""), ")")
	case placePipe:
		return pipeWords
	case placeStage:
		out := slices.Clone(stageWords)
		if c.word != "" {
			if _, err := logql.Parse(c.query); err == nil {
				out = append(out, suffixed(v.fields(c.query), "=")...)
			}
		}
		return out
	}
	return nil
}

func suffixed(words []string, suffix string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w + suffix
	}
	return out
}

// quoteValue writes the rest of a matcher's value, from behind the open quote
// or, where there is none yet, with one.
func quoteValue(value string, open byte) (string, bool) {
	if open == '`' {
		return value + "`", !strings.Contains(value, "`")
	}
	q := strconv.Quote(value)
	if open == '"' {
		q = q[1:]
	}
	return q, true
}
