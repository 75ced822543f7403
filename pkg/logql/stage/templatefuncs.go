package stage

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"text/template"
	"time"
	_ "time/tzdata" // for toDateInZone, on an image without zone files
	"unicode/utf8"

	"github.com/Masterminds/sprig/v3"
)

const (
	// maxTemplateText is the longest text in bytes that a template or one of its
	// functions may make. Queries come from strangers, and a few doublings or
	// one repeat would be a gigabyte.
	maxTemplateText = 1 << 20
	// maxTemplateScratch bounds the texts of all templates for one line.
	maxTemplateScratch = 4 << 20
	// maxTemplateLoops bounds the rounds of all {{range}} for one line.
	maxTemplateLoops = 1000
	// maxCachedRegexps bounds the expressions that a template keeps compiled.
	maxCachedRegexps = 64
)

var errTemplateText = fmt.Errorf("the template makes more than %d bytes of text", maxTemplateText)

// sprigNames are the functions taken from sprig as they are.
var sprigNames = strings.Fields(`b64enc lower upper title trunc substr contains hasPrefix hasSuffix
	trim trimAll trimSuffix trimPrefix float64 addf subf mulf divf
	maxf minf ceil floor fromJson default`)

// templateState is what the functions of one stage read and keep.
type templateState struct {
	line    string
	ts      int64
	loops   int
	now     func() time.Time
	regexps map[string]*watchedRegexp
	watch   *watch
}

// funcs returns all functions of a template. Those that can make much text of
// little are bounded.
func (s *templateState) funcs() template.FuncMap {
	m := template.FuncMap{
		lineFunc:        func() string { return s.line },
		"__timestamp__": func() time.Time { return time.Unix(0, s.ts).UTC() },
		"now":           func() time.Time { return s.now() },
		loopFunc:        s.countLoop,

		"ToLower":    strings.ToLower,
		"ToUpper":    strings.ToUpper,
		"Trim":       strings.Trim,
		"TrimLeft":   strings.TrimLeft,
		"TrimRight":  strings.TrimRight,
		"TrimPrefix": strings.TrimPrefix,
		"TrimSuffix": strings.TrimSuffix,
		"TrimSpace":  strings.TrimSpace,

		"Replace":                boundedReplace,
		"replace":                func(old, repl, text string) (string, error) { return boundedReplace(text, old, repl, -1) },
		"repeat":                 boundedRepeat,
		"indent":                 boundedIndent,
		"nindent":                func(n int, text string) (string, error) { t, err := boundedIndent(n, text); return "\n" + t, err },
		"regexReplaceAll":        s.regexReplaceAll,
		"regexReplaceAllLiteral": s.regexReplaceAllLiteral,
		"count":                  s.count,
		"print":                  func(a ...any) (string, error) { return boundedText(fmt.Sprint(a...)) },
		"printf":                 func(f string, a ...any) (string, error) { return boundedText(fmt.Sprintf(f, a...)) },
		"println":                func(a ...any) (string, error) { return boundedText(fmt.Sprintln(a...)) },

		"urlencode":        url.QueryEscape,
		"urldecode":        url.QueryUnescape,
		"bytes":            parseBytes,
		"duration":         parseSeconds,
		"duration_seconds": parseSeconds,
		"unixEpoch":        func(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) },
		"unixEpochMillis":  func(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) },
		"unixEpochNanos":   func(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) },
		"unixToTime":       unixToTime,
		"toDateInZone":     toDateInZone,
		"toDate":           func(layout, text string) time.Time { return toDateInZone(layout, "UTC", text) },
		"alignLeft":        func(n int, text string) (string, error) { return align(n, text, false) },
		"alignRight":       func(n int, text string) (string, error) { return align(n, text, true) },
		"b64dec":           decodeBase64,
	}
	all := sprig.GenericFuncMap()
	for _, name := range sprigNames {
		m[name] = all[name]
	}
	// The ones for whole numbers, so that a text with a large one is one on
	// every machine.
	for _, name := range []string{"add", "max", "min", "mul"} {
		switch f := all[name].(type) {
		case func(...any) int64:
			m[name] = func(v ...any) int64 { return f(wideInts(v)...) }
		case func(any, ...any) int64:
			m[name] = func(a any, v ...any) int64 { return f(wideInt(a), wideInts(v)...) }
		}
	}
	for _, name := range []string{"sub", "div", "mod"} {
		f := all[name].(func(a, b any) int64)
		m[name] = func(a, b any) int64 { return f(wideInt(a), wideInt(b)) }
	}
	toInt64, toFloat64 := all["int64"].(func(any) int64), all["float64"].(func(any) float64)
	m["int"] = func(v any) any { return narrowInt(toInt64(wideInt(v))) }
	m["round"] = func(v any, places int, from ...float64) float64 { return round(toFloat64(v), places, from...) }
	// Sprig's own take the zone of the machine that answers.
	dateInZone := all["dateInZone"].(func(layout string, date any, zone string) string)
	m["date"] = func(layout string, date any) string { return dateInZone(layout, date, "UTC") }
	return m
}

// wideInt reads a text as a whole number of 64 bits. Sprig reads it as an int,
// and 0 where it does not fit: on a 32-bit machine 3000000000 would be 0.
func wideInt(v any) any {
	text, ok := v.(string)
	if !ok || strconv.IntSize == 64 {
		return v
	}
	whole, decimals, _ := strings.Cut(text, ".")
	if strings.Trim(decimals, "0123456789") != "" {
		return v
	}
	if n, err := strconv.ParseInt(whole, 0, 64); err == nil {
		return n
	}
	return v // no number: sprig's 0
}

func wideInts(v []any) []any {
	for i := range v {
		v[i] = wideInt(v[i])
	}
	return v
}

// narrowInt is an int, which other functions take, wherever one can hold the
// number. On a 32-bit machine others stay whole as int64.
func narrowInt(n int64) any {
	if int64(int(n)) == n {
		return int(n)
	}
	return n
}

// round rounds to decimal places, up where the rest is at least half of a unit,
// or from, if given. Sprig's own gives other results on arm64, where the product
// and the subtraction become one instruction that does not round in between;
// the conversion forbids that (Go specification, floating-point operators).
func round(v float64, places int, from ...float64) float64 {
	half := 0.5
	if len(from) > 0 {
		half = from[0]
	}
	pow := math.Pow(10, float64(places))
	scaled := float64(v * pow) //nolint:unconvert // see above
	if _, rest := math.Modf(scaled); rest >= half {
		return math.Ceil(scaled) / pow
	}
	return math.Floor(scaled) / pow
}

// lineFunc gives a template the line.
const lineFunc = "__line__"

// loopFunc is called at the start of each round of a {{range}}, see guardLoops.
const loopFunc = "__loop__"

func (s *templateState) countLoop() (string, error) {
	if s.loops++; s.loops > maxTemplateLoops {
		return "", fmt.Errorf("the template loops more than %d times", maxTemplateLoops)
	}
	if !s.watch.spend(rowWork) {
		return "", s.watch.err
	}
	return "", nil
}

func (s *templateState) compile(expr string) (*watchedRegexp, error) {
	if re, ok := s.regexps[expr]; ok {
		return re, nil
	}
	re, err := compileRegexp(expr)
	if err != nil {
		return nil, err
	}
	if s.regexps == nil || len(s.regexps) >= maxCachedRegexps {
		s.regexps = map[string]*watchedRegexp{}
	}
	s.regexps[expr] = re
	return re, nil
}

func (s *templateState) regexReplaceAll(expr, text, repl string) (string, error) {
	re, err := s.boundedRegexp(expr, text, repl)
	if err != nil {
		return "", err
	}
	return boundedText(re.ReplaceAllString(text, repl))
}

func (s *templateState) regexReplaceAllLiteral(expr, text, repl string) (string, error) {
	re, err := s.boundedRegexp(expr, text, repl)
	if err != nil {
		return "", err
	}
	return boundedText(re.ReplaceAllLiteralString(text, repl))
}

// boundedRegexp compiles expr and refuses a replacement that could explode: a
// group reference can stand for all of the text.
func (s *templateState) boundedRegexp(expr, text, repl string) (*regexp.Regexp, error) {
	re, err := s.compile(expr)
	if err != nil {
		return nil, err
	}
	n, err := s.matches(re, text)
	if err != nil {
		return nil, err
	}
	grow := len(repl) + strings.Count(repl, "$")*len(text)
	if grow > 0 && n > 16*maxTemplateText/grow+1 {
		return nil, errTemplateText
	}
	return re.re, nil
}

// errEnded leaves a function of package regexp that calls back.
var errEnded = errors.New("the query has been given up")

// matches counts the matches in text. Each can take a walk to its end, a million
// of them hours: it looks at the watch between any two.
func (s *templateState) matches(re *watchedRegexp, text string) (n int, err error) {
	if !s.watch.spend(len(text)) {
		return 0, s.watch.err
	}
	if re.long(text) {
		return 0, fmt.Errorf("the regular expression is too large for a text of %d bytes", len(text))
	}
	defer func() {
		if v := recover(); v == errEnded { //nolint:errorlint // the very value
			err = s.watch.err
		} else if v != nil {
			panic(v)
		}
	}()
	re.re.ReplaceAllStringFunc(text, func(string) string {
		if n++; !s.watch.spend(len(text)) {
			panic(errEnded)
		}
		return ""
	})
	return n, nil
}

func (s *templateState) count(expr, text string) (int, error) {
	re, err := s.compile(expr)
	if err != nil {
		return 0, err
	}
	return s.matches(re, text)
}

func boundedText(s string) (string, error) {
	if len(s) > maxTemplateText {
		return "", errTemplateText
	}
	return s, nil
}

func boundedReplace(text, old, repl string, n int) (string, error) {
	if hits := strings.Count(text, old); n < 0 || n > hits {
		n = hits
	}
	if n*len(repl) > maxTemplateText {
		return "", errTemplateText
	}
	return strings.Replace(text, old, repl, n), nil
}

func boundedRepeat(n int, text string) (string, error) {
	if n < 0 {
		return "", fmt.Errorf("repeat: the count %d is negative", n)
	}
	if len(text) > 0 && n > maxTemplateText/len(text) {
		return "", errTemplateText
	}
	return strings.Repeat(text, n), nil
}

func boundedIndent(n int, text string) (string, error) {
	if n < 0 {
		return "", fmt.Errorf("indent: the width %d is negative", n)
	}
	if lines := 1 + strings.Count(text, "\n"); n > maxTemplateText/lines {
		return "", errTemplateText
	}
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(text, "\n", "\n"+pad), nil
}

// align cuts or fills text to n characters: on the left for alignRight.
func align(n int, text string, right bool) (string, error) {
	if n < 0 {
		return text, nil
	}
	if n > maxTemplateText {
		return "", errTemplateText
	}
	have := utf8.RuneCountInString(text)
	switch {
	case have == n:
		return text, nil
	case have < n && right:
		return strings.Repeat(" ", n-have) + text, nil
	case have < n:
		return text + strings.Repeat(" ", n-have), nil
	}
	runes := []rune(text)
	if right {
		return string(runes[have-n:]), nil
	}
	return string(runes[:n]), nil
}

// unixToTime reads a number since the epoch whose unit its length tells: days,
// seconds, milli-, micro- or nanoseconds.
func unixToTime(text string) (time.Time, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("unixToTime: %q is not a number", text)
	}
	switch len(text) {
	case 5:
		return time.Unix(n*24*60*60, 0).UTC(), nil
	case 10:
		return time.Unix(n, 0).UTC(), nil
	case 13:
		return time.UnixMilli(n).UTC(), nil
	case 16:
		return time.UnixMicro(n).UTC(), nil
	case 19:
		return time.Unix(0, n).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("unixToTime: %q is not 5, 10, 13, 16 or 19 digits (days, s, ms, µs, ns)", text)
}

// toDateInZone reads a time without zone; one that does not fit is the zero
// time, an unknown zone is UTC.
func toDateInZone(layout, zone, text string) time.Time {
	loc, err := time.LoadLocation(zone)
	if err != nil {
		loc = time.UTC
	}
	t, _ := time.ParseInLocation(layout, text, loc)
	return t
}

// decodeBase64 returns what went wrong as text, as sprig does.
func decodeBase64(text string) string {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return err.Error()
	}
	return string(data)
}
