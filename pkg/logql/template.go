package logql

import (
	"maps"
	"slices"
	"strings"
	"text/template/parse"
)

// templateFuncs are the functions of line_format and label_format, as Loki
// offers them: its own and a subset of sprig's. Any value but nil is enough to
// parse a template; package stage holds the functions.
var templateFuncs = func() map[string]any {
	const names = `
		__line__ __timestamp__ ToLower ToUpper Replace Trim TrimLeft TrimRight TrimPrefix TrimSuffix TrimSpace
		regexReplaceAll regexReplaceAllLiteral count urlencode urldecode bytes duration duration_seconds
		unixEpoch unixEpochMillis unixEpochNanos unixToTime toDateInZone alignLeft alignRight b64dec

		b64enc lower upper title trunc substr contains hasPrefix hasSuffix indent nindent replace repeat
		trim trimAll trimSuffix trimPrefix int float64 add sub mul div mod addf subf mulf divf
		max min maxf minf ceil floor round fromJson date toDate now default`
	return nameMap(names)
}()

// templateBuiltins are the functions that text/template brings along.
var templateBuiltins = func() map[string]any {
	const names = `and call html index slice js len not or print printf println urlquery eq ge gt le lt ne`
	return nameMap(names)
}()

func nameMap(names string) map[string]any {
	m := map[string]any{}
	for _, name := range strings.Fields(names) {
		m[name] = true
	}
	return m
}

// TemplateFunctions returns, sorted, the names a template may call beyond those
// of text/template. Package stage provides exactly these.
func TemplateFunctions() []string {
	return slices.Sorted(maps.Keys(templateFuncs))
}

// parseTemplate checks the syntax and the functions of a template and returns
// its trees: the template itself under name, others by {{define}}.
func parseTemplate(name, text string) (map[string]*parse.Tree, error) {
	return parse.Parse(name, text, "", "", templateFuncs, templateBuiltins)
}
