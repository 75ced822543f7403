package conf

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// vectorTable is how Vector's TOML begins a part that YAML writes as a key.
var vectorTable = regexp.MustCompile(`(?m)^\s*\[\[?\s*"?(sources|transforms|sinks|api|enrichment_tables|secret|tests)\b`)

// VectorTree reads Vector's configuration in any of its three formats into one
// tree with positions. JSON is YAML, but for tabs.
func VectorTree(text string) (*yaml.Node, error) {
	if vectorTable.MatchString(text) {
		return TOML(text)
	}
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		text = strings.ReplaceAll(text, "\t", " ") // none can be inside of a string
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return nil, err
	}
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		return doc.Content[0], nil
	}
	return nil, nil
}

// vectorPart is a source, transform or sink.
type vectorPart struct {
	kind, name string
	key, node  *yaml.Node
	inputs     []*yaml.Node
}

func (p *vectorPart) id() string { return p.kind + "." + p.name }

func parseVector(text string) *Config {
	c := &Config{}
	root, err := VectorTree(text)
	if err != nil {
		c.Errors = append(c.Errors, diagnosticOf(err))
		return c
	}
	var parts []*vectorPart
	for _, kind := range []string{"sources", "transforms", "sinks"} {
		n := get(root, kind)
		for i := 0; n != nil && n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
			p := &vectorPart{kind: kind, name: n.Content[i].Value, key: n.Content[i], node: n.Content[i+1]}
			p.inputs = scalars(get(p.node, "inputs"))
			parts = append(parts, p)
			switch kind {
			case "sources":
				c.vectorSource(p)
			case "sinks":
				c.vectorSink(p)
			}
			if str(p.node, "type") == "" {
				c.Mistakes = append(c.Mistakes, Diagnostic{at(p.key), p.id() + " has no type: Vector refuses the whole configuration", "type: NAME"})
			}
		}
	}
	c.vectorGraph(parts)
	c.secretsIn(root, "")
	return c
}

// diagnosticOf places an error of either parser.
func diagnosticOf(err error) Diagnostic {
	var te *TOMLError
	if errors.As(err, &te) {
		return Diagnostic{Pos: Pos{te.Line, te.Column}, Message: te.Message}
	}
	return yamlDiagnostic(err)
}

func (c *Config) vectorSource(p *vectorPart) {
	src := Source{Kind: File, Component: p.id(), Pos: at(p.key), Globs: true, Parses: true, SelfLimited: true, Reaches: true}
	switch str(p.node, "type") {
	case "kubernetes_logs":
		src.Chains = []Chain{{Paths: []string{"/var/log/pods/**/*.log"}, Pos: at(p.node), PathPos: at(p.key)}}
	case "file":
		for _, include := range scalars(get(p.node, "include")) {
			src.Chains = append(src.Chains, Chain{Paths: []string{include.Value}, Pos: at(include), PathPos: at(include)})
			// The file source hands on lines as they are.
			src.Parses = src.Parses && !strings.HasPrefix(include.Value, "/var/log/pods") && !strings.HasPrefix(include.Value, "/var/log/containers")
		}
	default:
		return
	}
	c.Sources = append(c.Sources, src)
}

// needed are the fields of the loki sink that have no default.
var needed = []struct{ key, example string }{
	{"endpoint", "endpoint: http://loki-gateway.monitoring.svc"},
	{"encoding", "encoding: {codec: json}"},
	{"labels", "labels: {namespace: '{{ kubernetes.pod_namespace }}', app: '{{ kubernetes.container_name }}'}"},
}

func (c *Config) vectorSink(p *vectorPart) {
	kind := str(p.node, "type")
	for _, key := range []string{"endpoint", "endpoints", "uri", "address"} {
		for _, u := range scalars(get(p.node, key)) {
			if u.Kind != yaml.ScalarNode {
				continue
			}
			c.Endpoints = append(c.Endpoints, Endpoint{URL: u.Value, Pos: at(u), Component: p.id(), Loki: kind == "loki", BaseURL: true, Dynamic: dynamic(u.Value), Tenant: str(p.node, "tenant_id") != "", Auth: get(p.node, "auth") != nil})
		}
	}
	if kind != "loki" {
		return
	}
	for _, n := range needed {
		if get(p.node, n.key) == nil {
			c.Mistakes = append(c.Mistakes, Diagnostic{at(p.key), fmt.Sprintf("%s has no %s, and Vector refuses the whole configuration (missing field `%s`)", p.id(), n.key, n.key), n.example})
		}
	}
	if e := get(p.node, "encoding"); e != nil && get(e, "codec") == nil {
		c.Mistakes = append(c.Mistakes, Diagnostic{at(e), p.id() + " has no encoding.codec, and Vector refuses the whole configuration (missing field `codec`)", "encoding: {codec: json}"})
	}
	labels := get(p.node, "labels")
	for i := 0; labels != nil && labels.Kind == yaml.MappingNode && i+1 < len(labels.Content); i += 2 {
		k, v := labels.Content[i], labels.Content[i+1]
		l := Literal{Value: k.Value, Pos: at(k), Key: p.id()}
		if strings.Contains(k.Value, "*") {
			c.Wholesale = append(c.Wholesale, l)
			continue
		}
		// The field that the label takes its value from says more than its name.
		if m := templateField.FindStringSubmatch(v.Value); m != nil && !slices.Contains([]string{"", l.Value}, m[1]) {
			c.Labels = append(c.Labels, Literal{Value: m[1], Pos: at(k), Key: p.id() + " " + k.Value})
		}
		c.Labels = append(c.Labels, l)
	}
}

// templateField is the last part of the field of a template: pod_uid of
// "{{ kubernetes.pod_uid }}".
var templateField = regexp.MustCompile(`\{\{[^}]*?([A-Za-z0-9_]+)"?\s*\}\}`)

// vectorGraph follows inputs: names that nothing has, sources that nobody
// reads, sinks and transforms without inputs.
func (c *Config) vectorGraph(parts []*vectorPart) {
	c.Graphed = true
	read := map[*vectorPart]bool{}
	var names []string
	for _, p := range parts {
		if p.kind != "sinks" {
			names = append(names, p.name)
		}
	}
	for _, p := range parts {
		if p.kind != "sources" && len(p.inputs) == 0 {
			c.Mistakes = append(c.Mistakes, Diagnostic{at(p.key), p.id() + " has no inputs, and Vector refuses the whole configuration (missing field `inputs`)", "inputs: [NAME]"})
		}
		for _, in := range p.inputs {
			found := false
			for _, q := range parts {
				if q.kind != "sinks" && q != p && feeds(q, in.Value) {
					found, read[q] = true, true
				}
			}
			if !found {
				c.Dangling = append(c.Dangling, Dangling{Pos: at(in), In: p.id(), Attribute: "inputs", Name: in.Value, Defined: names})
			}
		}
	}
	for _, p := range parts {
		if p.kind != "sinks" && !read[p] {
			c.Loose = append(c.Loose, LooseEnd{Pos: at(p.key), Component: p.id(), Lost: p.kind == "sources", Why: "nothing reads " + p.id(), Fix: "name it in the inputs of a sink: inputs: [" + p.name + "]"})
		}
	}
}

// feeds says whether an input means a component: by its name, a pattern, or one
// of its outputs (a route's "name.errors").
func feeds(p *vectorPart, input string) bool {
	if input == p.name || p.kind == "transforms" && strings.HasPrefix(input, p.name+".") {
		return true
	}
	ok, err := path.Match(input, p.name)
	return err == nil && ok
}
