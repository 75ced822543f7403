package conf

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

var yamlLine = regexp.MustCompile(`line (\d+)`)

// parseYAML parses a configuration; a mistake becomes a diagnostic.
func (c *Config) parseYAML(text string) *yaml.Node {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		c.Errors = append(c.Errors, yamlDiagnostic(err))
		return nil
	}
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		return doc.Content[0]
	}
	return nil
}

// yamlDiagnostic finds the line in the text of an error: the parser has no other place for it.
func yamlDiagnostic(err error) Diagnostic {
	d := Diagnostic{Message: strings.TrimPrefix(err.Error(), "yaml: ")}
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		d.Pos.Line, _ = strconv.Atoi(m[1])
	}
	return d
}

// get walks mappings; nil when the way ends.
func get(n *yaml.Node, path ...string) *yaml.Node {
	for _, p := range path {
		if n != nil && n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		if n == nil || n.Kind != yaml.MappingNode {
			return nil
		}
		var next *yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == p {
				next = n.Content[i+1]
			}
		}
		n = next
	}
	if n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func str(n *yaml.Node, path ...string) string {
	if v := get(n, path...); v != nil && v.Kind == yaml.ScalarNode {
		return v.Value
	}
	return ""
}

func at(n *yaml.Node) Pos {
	if n == nil {
		return Pos{}
	}
	return Pos{n.Line, n.Column}
}

func items(n *yaml.Node) []*yaml.Node {
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

// scalars is a scalar, or the scalars of a sequence.
func scalars(n *yaml.Node) []*yaml.Node {
	if n != nil && n.Kind == yaml.ScalarNode {
		return []*yaml.Node{n}
	}
	return items(n)
}

func dynamic(s string) bool { return strings.Contains(s, "${") || strings.Contains(s, "$(") }

// secrets finds literal credentials anywhere in a tree.
func (c *Config) secretsIn(n *yaml.Node, path string) {
	switch {
	case n == nil:
	case n.Kind == yaml.SequenceNode:
		for i, x := range n.Content {
			c.secretsIn(x, fmt.Sprintf("%s[%d]", path, i))
		}
	case n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i].Value, n.Content[i+1]
			if v.Kind == yaml.ScalarNode && secretName(k) && v.Value != "" && !dynamic(v.Value) {
				c.Secrets = append(c.Secrets, Literal{Pos: at(v), Key: strings.TrimPrefix(path+"."+k, ".")})
			}
			c.secretsIn(v, strings.TrimPrefix(path+"."+k, "."))
		}
	}
}

func parsePromtail(text string) *Config {
	c := &Config{}
	root := c.parseYAML(text)
	for i, cl := range items(get(root, "clients")) {
		u := get(cl, "url")
		if u == nil {
			continue
		}
		e := Endpoint{URL: u.Value, Pos: at(u), Component: fmt.Sprintf("clients[%d]", i), Loki: true, Dynamic: dynamic(u.Value)}
		e.Tenant = str(cl, "tenant_id") != "" || get(cl, "headers", "X-Scope-OrgID") != nil
		e.Auth = get(cl, "basic_auth") != nil || get(cl, "bearer_token") != nil || get(cl, "bearer_token_file") != nil || get(cl, "oauth2") != nil
		c.Endpoints = append(c.Endpoints, e)
	}
	for i, sc := range items(get(root, "scrape_configs")) {
		s := Source{Kind: File, Component: fmt.Sprintf("scrape_configs[%d]", i), Pos: at(sc), Globs: true, SelfLimited: true, Reaches: len(c.Endpoints) > 0}
		var rules []Rule
		for _, r := range items(get(sc, "relabel_configs")) {
			rules = append(rules, yamlRule(s.Component, r))
		}
		for _, sd := range items(get(sc, "kubernetes_sd_configs")) {
			s.Chains = append(s.Chains, Chain{Discovery: s.Component, Pos: at(sd), Pods: str(sd, "role") == "pod", NodeLimited: true, Rules: rules})
		}
		for _, st := range items(get(sc, "static_configs")) {
			if p := get(st, "labels", "__path__"); p != nil {
				s.Chains = append(s.Chains, Chain{Pos: at(st), Rules: rules, Paths: []string{p.Value}, PathPos: at(p)})
			}
		}
		s.Parses = c.stages(get(sc, "pipeline_stages"))
		if len(s.Chains) > 0 {
			c.Sources = append(c.Sources, s)
		}
	}
	c.secretsIn(root, "")
	return c
}

// stages reads pipeline stages: whether one parses the runtime's format, and
// which labels they make.
func (c *Config) stages(n *yaml.Node) (parses bool) {
	for _, st := range items(n) {
		if get(st, "cri") != nil || get(st, "docker") != nil {
			parses = true
		}
		if l := get(st, "labels"); l != nil {
			for i := 0; i+1 < len(l.Content); i += 2 {
				c.Labels = append(c.Labels, Literal{Value: l.Content[i].Value, Pos: at(l.Content[i]), Key: "pipeline_stages"})
			}
		}
		if m := get(st, "match", "stages"); m != nil && c.stages(m) {
			parses = true
		}
	}
	return parses
}

func yamlRule(component string, n *yaml.Node) Rule {
	r := Rule{Pos: at(n), ReplPos: at(n), Component: component, Regex: str(n, "regex"), Replacement: str(n, "replacement")}
	repl, sep := get(n, "replacement"), get(n, "separator")
	if repl != nil {
		r.ReplPos = at(repl)
	}
	var labels []string
	for _, l := range items(get(n, "source_labels")) {
		labels = append(labels, l.Value)
	}
	modulus, _ := strconv.ParseUint(str(n, "modulus"), 10, 64)
	return newRule(r, labels, str(n, "separator"), str(n, "action"), str(n, "target_label"), modulus, sep != nil, repl != nil)
}

func parseOTel(text string) *Config {
	c := &Config{}
	root := c.parseYAML(text)
	exporters := get(root, "exporters")
	for i := 0; exporters != nil && i+1 < len(exporters.Content); i += 2 {
		name, e := exporters.Content[i].Value, exporters.Content[i+1]
		for _, key := range []string{"endpoint", "logs_endpoint"} {
			if u := get(e, key); u != nil && strings.Contains(u.Value, "://") {
				c.Endpoints = append(c.Endpoints, Endpoint{URL: u.Value, Pos: at(u), Component: "exporters." + name, Loki: strings.HasPrefix(name, "loki"), BaseURL: true, Dynamic: dynamic(u.Value),
					Tenant: get(e, "headers", "X-Scope-OrgID") != nil || get(e, "headers", "x-scope-orgid") != nil, Auth: get(e, "auth") != nil || get(e, "headers", "Authorization") != nil})
			}
		}
	}
	c.secretsIn(root, "")
	return c
}
