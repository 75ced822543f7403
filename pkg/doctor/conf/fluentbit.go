package conf

import (
	"fmt"
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

// parseFluentBit reads the classic format and the YAML one.
func parseFluentBit(text string) *Config {
	c := &Config{}
	if !strings.Contains(text, "[OUTPUT]") && !strings.Contains(text, "[INPUT]") && !strings.Contains(text, "[SERVICE]") && strings.Contains(text, "pipeline:") {
		root := c.parseYAML(text)
		for _, kind := range []string{"inputs", "outputs", "filters"} {
			for _, n := range items(get(root, "pipeline", kind)) {
				c.fluentBit(yamlSection(strings.TrimSuffix(kind, "s"), n))
			}
		}
		return c
	}
	var cur *section
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		column := len(line) - len(strings.TrimLeft(line, " \t")) + 1
		switch {
		case trimmed == "" || strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, "@"):
		case strings.HasPrefix(trimmed, "["):
			if cur != nil {
				c.fluentBit(*cur)
			}
			if !strings.HasSuffix(trimmed, "]") {
				c.Errors = append(c.Errors, Diagnostic{Pos{i + 1, column}, "a section's name is not closed by ]"})
			}
			cur = &section{kind: strings.ToLower(strings.Trim(trimmed, "[]")), pos: Pos{i + 1, column}, keys: map[string]Literal{}}
		case cur == nil:
			c.Errors = append(c.Errors, Diagnostic{Pos{i + 1, column}, "an entry before any [SECTION]"})
		default:
			key, value, _ := strings.Cut(strings.ReplaceAll(trimmed, "\t", " "), " ")
			value = strings.TrimSpace(value)
			cur.keys[strings.ToLower(key)] = Literal{Value: value, Pos: Pos{i + 1, column + strings.LastIndex(trimmed, value)}, Key: key}
		}
	}
	if cur != nil {
		c.fluentBit(*cur)
	}
	return c
}

func yamlSection(kind string, n *yaml.Node) section {
	s := section{kind: kind, pos: at(n), keys: map[string]Literal{}}
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			s.keys[strings.ToLower(n.Content[i].Value)] = Literal{Value: n.Content[i+1].Value, Pos: at(n.Content[i+1]), Key: n.Content[i].Value}
		}
	}
	return s
}

// fluentBitOutputs are the outputs that go to a host of the network, with
// their default ports.
var fluentBitOutputs = map[string]string{"loki": "3100", "http": "80", "opentelemetry": "80", "es": "9200", "opensearch": "9200", "forward": "24224"}

func (c *Config) fluentBit(s section) {
	name := strings.ToLower(s.get("name"))
	for k, v := range s.keys {
		if (secretName(k) || k == "http_passwd" || k == "bearer_token") && v.Value != "" && !dynamic(v.Value) {
			c.Secrets = append(c.Secrets, Literal{Pos: v.Pos, Key: s.kind + " " + name + " " + v.Key})
		}
	}
	port, sends := fluentBitOutputs[name]
	switch {
	case s.kind == "output" && sends:
		host, hasHost := s.keys["host"]
		if !hasHost {
			host = Literal{Value: "127.0.0.1", Pos: s.pos}
		}
		if p := s.get("port"); p != "" {
			port = p
		}
		scheme, path := "http", s.get("uri")
		if t := strings.ToLower(s.get("tls")); t == "on" || t == "true" {
			scheme = "https"
		}
		if name == "loki" && path == "" {
			path = "/loki/api/v1/push"
		}
		c.Endpoints = append(c.Endpoints, Endpoint{URL: fmt.Sprintf("%s://%s:%s%s", scheme, host.Value, port, path), Pos: host.Pos, Component: "output " + name, Loki: name == "loki",
			BaseURL: name != "loki", Dynamic: dynamic(host.Value) || dynamic(port), Tenant: s.get("tenant_id") != "" || s.get("tenant_id_key") != "", Auth: s.get("http_user") != "" || s.get("bearer_token") != ""})
	case s.kind == "input" && name == "tail":
		p := s.keys["path"]
		src := Source{Kind: File, Component: "input tail", Pos: s.pos, Globs: true, SelfLimited: true, Reaches: true}
		parser := strings.ToLower(s.get("parser") + s.get("multiline.parser"))
		src.Parses = parser != ""
		for path := range strings.SplitSeq(p.Value, ",") {
			if path = strings.TrimSpace(path); path != "" && !dynamic(path) {
				src.Chains = append(src.Chains, Chain{Paths: []string{path}, Pos: s.pos, PathPos: p.Pos})
			}
		}
		c.Sources = append(c.Sources, src)
	}
}
