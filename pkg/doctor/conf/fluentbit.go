package conf

import (
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// section is a [SECTION] of a classic Fluent Bit file, or an item of its YAML form.
type section struct {
	kind string
	pos  Pos
	keys map[string]Literal // by lower-case key
}

func (s *section) get(key string) string { return s.keys[key].Value }

// on reads Fluent Bit's booleans.
func (s *section) on(key string) bool {
	switch strings.ToLower(s.get(key)) {
	case "on", "true", "yes", "1":
		return true
	}
	return false
}

// classicSection is the head of a section of the classic format.
var classicSection = regexp.MustCompile(`(?mi)^\s*\[(output|input|service|filter)\]?`)

// parseFluentBit reads the classic format and the YAML one.
func parseFluentBit(text string) *Config {
	c := &Config{}
	f := &fluentBit{c: c, vars: map[string]string{}, whole: true}
	if !classicSection.MatchString(text) && strings.Contains(text, "pipeline:") {
		f.yaml(c.parseYAML(text))
	} else {
		f.classic(text)
	}
	for i := range f.sections {
		f.section(&f.sections[i])
	}
	f.graph()
	return c
}

// fluentBit is one configuration while it is read.
type fluentBit struct {
	c        *Config
	vars     map[string]string // @SET, env
	sections []section
	// whole is false when parts of the pipeline are in other files.
	whole bool
}

// value puts the variables of the file itself in; those of the environment stay.
func (f *fluentBit) value(s string) string {
	for k, v := range f.vars {
		s = strings.ReplaceAll(s, "${"+k+"}", v)
	}
	return s
}

func (f *fluentBit) classic(text string) {
	mistake := func(line, column int, message string) {
		f.c.Errors = append(f.c.Errors, Diagnostic{Pos: Pos{line, column}, Message: message})
	}
	var cur *section
	end := func() {
		if cur != nil {
			f.sections = append(f.sections, *cur)
		}
	}
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		column := len(line) - len(strings.TrimLeft(line, " \t")) + 1
		switch {
		case trimmed == "" || strings.HasPrefix(trimmed, "#"):
		case strings.HasPrefix(trimmed, "@"):
			word, rest, _ := strings.Cut(trimmed, " ")
			switch strings.ToUpper(word) {
			case "@INCLUDE":
				f.whole = false
			case "@SET":
				if k, v, ok := strings.Cut(strings.TrimSpace(rest), "="); ok {
					f.vars[strings.TrimSpace(k)] = strings.TrimSpace(v)
				}
			}
		case strings.HasPrefix(trimmed, "["):
			end()
			if !strings.HasSuffix(trimmed, "]") {
				mistake(i+1, column, "a section's name is not closed by ]")
			}
			cur = &section{kind: strings.ToLower(strings.Trim(trimmed, "[]")), pos: Pos{i + 1, column}, keys: map[string]Literal{}}
		case cur == nil:
			mistake(i+1, column, "an entry before any [SECTION]")
		default:
			key, value, _ := strings.Cut(strings.ReplaceAll(trimmed, "\t", " "), " ")
			value = strings.TrimSpace(value)
			cur.keys[strings.ToLower(key)] = Literal{Value: f.value(value), Pos: Pos{i + 1, column + strings.LastIndex(trimmed, value)}, Key: key}
		}
	}
	end()
}

func (f *fluentBit) yaml(root *yaml.Node) {
	env := get(root, "env")
	for i := 0; env != nil && env.Kind == yaml.MappingNode && i+1 < len(env.Content); i += 2 {
		f.vars[env.Content[i].Value] = env.Content[i+1].Value
	}
	if get(root, "includes") != nil {
		f.whole = false
	}
	for _, kind := range []string{"inputs", "filters", "outputs"} {
		for _, n := range items(get(root, "pipeline", kind)) {
			s := section{kind: strings.TrimSuffix(kind, "s"), pos: at(n), keys: map[string]Literal{}}
			for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
				k, v := n.Content[i], n.Content[i+1]
				var values []string
				for _, one := range scalars(v) {
					values = append(values, one.Value)
				}
				s.keys[strings.ToLower(k.Value)] = Literal{Value: f.value(strings.Join(values, ",")), Pos: at(v), Key: k.Value}
			}
			f.sections = append(f.sections, s)
		}
	}
}

// fluentBitOutputs are the outputs that go to a host of the network, with
// their default ports.
var fluentBitOutputs = map[string]string{"loki": "3100", "http": "80", "opentelemetry": "80", "es": "9200", "opensearch": "9200", "forward": "24224"}

func (f *fluentBit) section(s *section) {
	c, name := f.c, strings.ToLower(s.get("name"))
	for k, v := range s.keys {
		if secretName(k) && v.Value != "" && !dynamic(v.Value) {
			c.Secrets = append(c.Secrets, Literal{Pos: v.Pos, Key: s.kind + " " + name + " " + v.Key})
		}
	}
	if (s.kind == "output" || s.kind == "input" || s.kind == "filter") && name == "" {
		c.Mistakes = append(c.Mistakes, Diagnostic{s.pos, "this " + s.kind + " has no name: Fluent Bit refuses the file", "Name NAME"})
	}
	switch {
	case s.kind == "output" && fluentBitOutputs[name] != "":
		f.output(s, name)
	case s.kind == "input" && name == "tail":
		p := s.keys["path"]
		src := Source{Kind: File, Component: "input tail", Pos: s.pos, Globs: true, SelfLimited: true, Reaches: true}
		src.Parses = s.get("parser")+s.get("multiline.parser") != "" || s.on("docker_mode")
		for path := range strings.SplitSeq(p.Value, ",") {
			if path = strings.TrimSpace(path); path != "" && !dynamic(path) {
				src.Chains = append(src.Chains, Chain{Paths: []string{path}, Pos: s.pos, PathPos: p.Pos})
			}
		}
		if p.Value == "" {
			c.Mistakes = append(c.Mistakes, Diagnostic{s.pos, "this tail has no path: Fluent Bit does not start", "Path /var/log/containers/*.log"})
		}
		c.Sources = append(c.Sources, src)
	}
}

// output reads where an output sends to, and with which labels.
func (f *fluentBit) output(s *section, name string) {
	host, hasHost := s.keys["host"]
	if !hasHost {
		host = Literal{Value: "127.0.0.1", Pos: s.pos}
	}
	port := fluentBitOutputs[name]
	if p := s.get("port"); p != "" {
		port = p
	}
	scheme, path := "http", s.get("uri")
	if s.on("tls") {
		scheme = "https"
	}
	if name == "loki" && path == "" {
		path = "/loki/api/v1/push"
	}
	f.c.Endpoints = append(f.c.Endpoints, Endpoint{URL: fmt.Sprintf("%s://%s:%s%s", scheme, host.Value, port, path), Pos: host.Pos, Component: "output " + name, Loki: name == "loki",
		BaseURL: name != "loki", Dynamic: dynamic(host.Value) || dynamic(port), Tenant: s.get("tenant_id") != "" || s.get("tenant_id_key") != "", Auth: s.get("http_user") != "" || s.get("bearer_token") != ""})
	if name != "loki" {
		return
	}
	if l := s.keys["auto_kubernetes_labels"]; s.on("auto_kubernetes_labels") {
		f.c.Wholesale = append(f.c.Wholesale, Literal{Value: l.Key, Pos: l.Pos, Key: "output loki"})
	}
	for _, key := range []string{"labels", "label_keys"} {
		l := s.keys[key]
		for part := range strings.SplitSeq(l.Value, ",") {
			for _, word := range labelWords(part) {
				f.c.Labels = append(f.c.Labels, Literal{Value: word, Pos: l.Pos, Key: "output loki " + l.Key})
			}
		}
	}
}

// accessor is a part of a record accessor: ['pod_id'] of $kubernetes['pod_id'].
var accessor = regexp.MustCompile(`\[\s*['"]([^'"]+)['"]\s*\]`)

// labelWords are the name of a label and the field that it comes from.
func labelWords(part string) []string {
	name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
	if !ok {
		name, value = "", name
	}
	var out []string
	if name = strings.TrimSpace(name); name != "" {
		out = append(out, name)
	}
	if all := accessor.FindAllStringSubmatch(value, -1); all != nil {
		if field := all[len(all)-1][1]; field != name {
			out = append(out, field)
		}
	} else if field, is := strings.CutPrefix(strings.TrimSpace(value), "$"); is && field != name {
		out = append(out, field)
	}
	return out
}

// graph compares the tags of inputs with what outputs match. A filter that
// makes new tags, or another file, hides what there is.
func (f *fluentBit) graph() {
	c := f.c
	for i := range f.sections {
		if n := strings.ToLower(f.sections[i].get("name")); f.sections[i].kind == "filter" && (n == "rewrite_tag" || n == "lua" || n == "wasm") {
			f.whole = false
		}
	}
	if !f.whole || len(c.Errors) > 0 {
		return
	}
	c.Graphed = true
	var inputs, outputs []*section
	for i := range f.sections {
		switch s := &f.sections[i]; s.kind {
		case "input":
			inputs = append(inputs, s)
		case "output":
			outputs = append(outputs, s)
		}
	}
	matched := map[*section]bool{}
	for _, out := range outputs {
		name := "output " + out.get("name")
		pattern, regex := out.get("match"), out.get("match_regex")
		if pattern == "" && regex == "" {
			c.Loose = append(c.Loose, LooseEnd{Pos: out.pos, Component: name, Why: name + " has no Match: Fluent Bit gives it nothing", Fix: "Match *"})
			continue
		}
		found := false
		for i, in := range inputs {
			if regex != "" || dynamic(pattern) || overlap(pattern, tagOf(in, i)) {
				matched[in], found = true, true
			}
		}
		if !found && len(inputs) > 0 {
			c.Loose = append(c.Loose, LooseEnd{Pos: out.keys["match"].Pos, Component: name, Why: fmt.Sprintf("%s matches %q, and no input has such a tag", name, pattern), Fix: "Match " + tagOf(inputs[0], 0)})
		}
	}
	for i, in := range inputs {
		if !matched[in] {
			name := "input " + in.get("name")
			c.Loose = append(c.Loose, LooseEnd{Pos: in.pos, Component: name, Lost: true, Why: fmt.Sprintf("no output matches the tag %q of %s", tagOf(in, i), name), Fix: "an output with Match " + tagOf(in, i)})
		}
	}
}

// tagPart is a part of a tag that is put together at run time.
var tagPart = regexp.MustCompile(`<[^>]*>|\$\{[^}]*\}`)

// tagOf is the tag of an input, by default its name and number. What is put
// together at run time becomes *, as the * of a tail's tag is (it becomes the
// file's path).
func tagOf(in *section, i int) string {
	if t := in.get("tag"); t != "" {
		return tagPart.ReplaceAllString(t, "*")
	}
	return fmt.Sprintf("%s.%d", strings.ToLower(in.get("name")), i)
}

// maxPattern bounds what overlap compares: no tag is longer.
const maxPattern = 256

// overlap says whether a text can match both patterns; * stands for anything.
func overlap(a, b string) bool {
	if len(a) > maxPattern || len(b) > maxPattern {
		return true
	}
	// row[j] says whether a[i:] and b[j:] overlap.
	row := make([]bool, len(b)+1)
	for i := len(a); i >= 0; i-- {
		next := row
		row = make([]bool, len(b)+1)
		for j := len(b); j >= 0; j-- {
			switch {
			case i == len(a) && j == len(b):
				row[j] = true
			case i == len(a):
				row[j] = b[j] == '*' && row[j+1]
			case j == len(b):
				row[j] = a[i] == '*' && next[j]
			case a[i] == '*' || b[j] == '*': // one of them ends, or takes a character of the other
				row[j] = next[j] || row[j+1]
			default:
				row[j] = a[i] == b[j] && next[j+1]
			}
		}
	}
	return row[0]
}
