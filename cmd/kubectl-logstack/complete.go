package main

import (
	"context"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql"
	"github.com/logstack-dev/kubectl-logstack/pkg/lokiapi"
)

// The completions below answer a shell: quickly, or not at all, and silent
// about every trouble. Candidates begin with what was typed, as shells demand.

type completeFunc = func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective)

// insideQuery keeps the shell from ending a word that goes on.
const insideQuery = cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder

// completionSpan is how far back the names and values reach that are offered.
const completionSpan = 6 * time.Hour

// maxCandidates is what a shell shows without asking back.
const maxCandidates = 100

// vocabulary is what a query can be completed with.
type vocabulary interface {
	// labels lists label names of the streams that a selector matches, values
	// those of one label. "" is no selector.
	labels(selector string) []string
	values(name, selector string) []string
	// fields lists what the lines of a log query can be filtered by.
	fields(query string) []string
}

// serverVocabulary asks the server of a command.
type serverVocabulary struct {
	ctx    context.Context
	app    *app
	target target
	remote *remote
	done   func()
	failed bool
}

func (v *serverVocabulary) server() *remote {
	if v.remote == nil && !v.failed {
		quiet := *v.app
		quiet.ErrOut = io.Discard
		r, done, err := quiet.connect(v.ctx, v.target)
		v.remote, v.done, v.failed = r, done, err != nil
	}
	return v.remote
}

func (v *serverVocabulary) close() {
	if v.remote != nil {
		v.done()
	}
}

func (v *serverVocabulary) request(selector string) lokiapi.MetadataRequest {
	return span{time.Now().Add(-completionSpan), time.Now().Add(clockSkew)}.metadata(selector)
}

func (v *serverVocabulary) labels(selector string) []string {
	if r := v.server(); r != nil {
		names, _ := r.Labels(v.ctx, v.request(selector))
		return names
	}
	return nil
}

func (v *serverVocabulary) values(name, selector string) []string {
	if r := v.server(); r != nil {
		values, _ := r.LabelValues(v.ctx, name, v.request(selector))
		return values
	}
	return nil
}

func (v *serverVocabulary) fields(query string) []string {
	r := v.server()
	if r == nil {
		return nil
	}
	req := v.request("")
	fields, _ := r.DetectedFields(v.ctx, lokiapi.FieldsRequest{Query: query, Start: req.Start, End: req.End, LineLimit: 100, Limit: maxCandidates})
	names := make([]string, len(fields))
	for i := range fields {
		names[i] = fields[i].Label
	}
	return names
}

// ask runs f with the vocabulary of a command's server; -n names where it is
// installed.
func (a *app) ask(cmd *cobra.Command, t *target, f func(v vocabulary)) {
	at := *t
	at.namespace = installNamespace(a)
	a.askUsual(cmd, &at, f)
}

// askUsual is ask for a command whose -n names something else.
func (a *app) askUsual(cmd *cobra.Command, t *target, f func(v vocabulary)) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	v := &serverVocabulary{ctx: ctx, app: a, target: *t}
	defer v.close()
	f(v)
}

// completeQuery completes the first argument, a LogQL query.
func (a *app) completeQuery(t *target) completeFunc { return a.completeSelector(t, 0) }

// completeSelector completes the n-th argument, a query or selector. As the
// function of a flag it completes the flag's value.
func (a *app) completeSelector(t *target, n int) completeFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) (out []string, d cobra.ShellCompDirective) {
		if len(args) > n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		a.ask(cmd, t, func(v vocabulary) { out = completeLogQL(toComplete, v) })
		return out, insideQuery
	}
}

// completeLabelName completes the only argument, a label.
func (a *app) completeLabelName(t *target) completeFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) (out []string, d cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		a.ask(cmd, t, func(v vocabulary) { out = withPrefix(v.labels(""), toComplete) })
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeLabelNames completes a flag with labels separated by commas.
func (a *app) completeLabelNames(t *target) completeFunc {
	return func(cmd *cobra.Command, _ []string, toComplete string) (out []string, d cobra.ShellCompDirective) {
		done := toComplete[:strings.LastIndexByte(toComplete, ',')+1]
		a.ask(cmd, t, func(v vocabulary) {
			for _, name := range withPrefix(v.labels(""), toComplete[len(done):]) {
				if !slices.Contains(strings.Split(done, ","), name) {
					out = append(out, done+name)
				}
			}
		})
		return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

// completeFields completes a query, then a field of its lines.
func (a *app) completeFields(f *fieldsFlags) completeFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) (out []string, d cobra.ShellCompDirective) {
		switch len(args) {
		case 0:
			return a.completeQuery(&f.target)(cmd, args, toComplete)
		case 1:
			a.ask(cmd, &f.target, func(v vocabulary) { out = withPrefix(v.fields(args[0]), toComplete) })
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeDeletes lists the orders that can be taken back.
func (a *app) completeDeletes(cmd *cobra.Command, t *target) (out []string) {
	a.ask(cmd, t, func(v vocabulary) {
		s := v.(*serverVocabulary)
		if r := s.server(); r != nil {
			list, _ := r.Deletes(s.ctx)
			for _, d := range list {
				out = append(out, d.ID+"\t"+d.Query)
			}
		}
	})
	return out
}

func withPrefix(words []string, prefix string) []string {
	var out []string
	for _, w := range words {
		if strings.HasPrefix(w, prefix) {
			out = append(out, w)
		}
	}
	return out
}

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
			if b == '}' {
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
			switch {
			case m[2] == "":
				return cursor{place: placeOperator, label: m[1]}
			case m[2] == "!":
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

// completionAlias is the name under which kubectl asks a plugin for its
// completions: a program of this name on the PATH, a link to or copy of us.
const completionAlias = "kubectl_complete-logstack"

// asCompletion turns such a call into cobra's own.
func asCompletion(program string, args []string) []string {
	base := program[strings.LastIndexAny(program, string(os.PathSeparator)+"/")+1:]
	if strings.TrimSuffix(base, ".exe") == completionAlias {
		return append([]string{cobra.ShellCompRequestCmd}, args...)
	}
	return args
}
