package conf

import (
	"slices"
	"strconv"
	"strings"

	"github.com/grafana/alloy/syntax/ast"
)

// fromAlloy derives endpoints, sources, labels and secrets from the graph.
func (c *Config) fromAlloy() {
	for _, id := range c.Alloy.Order {
		comp := c.Alloy.Components[id]
		switch comp.Name {
		case "loki.write":
			c.writeEndpoints(comp)
		case "otelcol.exporter.otlphttp", "otelcol.exporter.otlp":
			for _, b := range blocks(comp.Body, "client") {
				c.endpoint(comp, b.Body, "endpoint", false)
			}
		case "loki.source.kubernetes":
			c.source(comp, Source{Kind: API, Parses: true})
		case "loki.source.podlogs":
			c.source(comp, Source{Kind: API, Parses: true, PodLogs: true})
		case "loki.source.file":
			c.source(comp, Source{Kind: File})
		}
		walkBody(comp.Body, nil, func(path []string, a *ast.AttributeStmt) { c.labelsAndSecrets(comp, path, a) })
	}
}

func (c *Config) writeEndpoints(comp *Component) {
	for _, b := range blocks(comp.Body, "endpoint") {
		c.endpoint(comp, b.Body, "url", true)
	}
}

func (c *Config) endpoint(comp *Component, body ast.Body, key string, loki bool) {
	url, pos, set, literal := stringAttr(body, key)
	if !set {
		return
	}
	e := Endpoint{URL: url, Pos: pos, Component: comp.ID, Loki: loki, BaseURL: !loki, Dynamic: !literal}
	_, _, e.Tenant, _ = stringAttr(body, "tenant_id")
	if h := attr(body, "headers"); h != nil {
		walkExpr(h.Value, func(x ast.Expr) bool {
			if o, ok := x.(*ast.ObjectExpr); ok {
				for _, f := range o.Fields {
					e.Tenant = e.Tenant || strings.EqualFold(f.Name.Name, "X-Scope-OrgID")
					e.Auth = e.Auth || strings.EqualFold(f.Name.Name, "Authorization")
				}
			}
			return true
		})
	}
	e.Auth = e.Auth || len(blocks(body, "basic_auth"))+len(blocks(body, "authorization"))+len(blocks(body, "oauth2")) > 0 || attr(body, "bearer_token") != nil || attr(body, "bearer_token_file") != nil
	c.Endpoints = append(c.Endpoints, e)
}

// labelsAndSecrets collects the labels that stages make, and literal credentials.
func (c *Config) labelsAndSecrets(comp *Component, path []string, a *ast.AttributeStmt) {
	if v, ok := text(a.Value); ok && v != "" && secretName(a.Name.Name) {
		c.Secrets = append(c.Secrets, Literal{Pos: posOf(ast.StartPos(a.Value)), Key: comp.ID + " " + strings.Join(append(slices.Clone(path), a.Name.Name), ".")})
	}
	last := ""
	if len(path) > 0 {
		last = path[len(path)-1]
	}
	if comp.Name == "loki.process" && (last == "stage.labels" || last == "stage.static_labels") && a.Name.Name == "values" {
		if o, ok := a.Value.(*ast.ObjectExpr); ok {
			for _, f := range o.Fields {
				c.Labels = append(c.Labels, Literal{Value: f.Name.Name, Pos: posOf(f.Name.NamePos), Key: comp.ID})
			}
		}
	}
}

// source completes a source with its chains and what lies behind it.
func (c *Config) source(comp *Component, s Source) {
	s.Component, s.Pos = comp.ID, comp.Pos
	for _, b := range blocks(comp.Body, "clustering") {
		s.Clustering = s.Clustering || truthy(b.Body, "enabled")
	}
	for _, b := range blocks(comp.Body, "file_match") {
		s.Globs = s.Globs || truthy(b.Body, "enabled")
	}
	if s.PodLogs {
		for _, b := range blocks(comp.Body, "node_filter") {
			s.SelfLimited = s.SelfLimited || truthy(b.Body, "enabled")
		}
	}
	if t := attr(comp.Body, "targets"); t != nil {
		g := &graph{a: c.Alloy, seen: map[string]bool{}}
		g.back(t.Value, nil)
		s.Chains, s.Globs = g.chains, s.Globs || g.globs
	}
	s.Parses, s.Reaches = s.Parses || c.Alloy.passes(comp.ID, parsesLines, nil), c.Alloy.passes(comp.ID, isWriter, nil)
	c.Sources = append(c.Sources, s)
}

// graph walks from a source back to where its targets come from.
type graph struct {
	a      *Alloy
	chains []Chain
	globs  bool
	seen   map[string]bool
}

// back follows the references of an expression; rules are those between here
// and the source, in their order.
func (g *graph) back(e ast.Expr, rules []Rule) {
	walkExpr(e, func(x ast.Expr) bool {
		if o, ok := x.(*ast.ObjectExpr); ok {
			g.literal(o, rules)
			return false
		}
		names := access(x)
		if len(names) < 2 {
			return true
		}
		if id := g.a.resolve(names); id != "" && !g.seen[id] {
			g.seen[id] = true
			g.component(g.a.Components[id], rules)
			delete(g.seen, id)
		}
		return false
	})
}

func (g *graph) literal(o *ast.ObjectExpr, rules []Rule) {
	ch := Chain{Rules: rules, Pos: posOf(o.LCurlyPos)}
	for _, f := range o.Fields {
		if v, ok := text(f.Value); ok && f.Name.Name == "__path__" {
			ch.Paths, ch.PathPos = append(ch.Paths, v), posOf(ast.StartPos(f.Value))
		}
	}
	g.chains = append(g.chains, ch)
}

func (g *graph) component(comp *Component, rules []Rule) {
	switch comp.Name {
	case "discovery.relabel":
		var own []Rule
		for _, b := range blocks(comp.Body, "rule") {
			own = append(own, alloyRule(comp, b))
		}
		rules = append(own, rules...)
		if t := attr(comp.Body, "targets"); t != nil {
			g.back(t.Value, rules)
		}
	case "local.file_match":
		g.globs = true
		if t := attr(comp.Body, "path_targets"); t != nil {
			g.back(t.Value, rules)
		}
	default:
		ch := Chain{Discovery: comp.ID, Pos: comp.Pos, Rules: rules}
		if comp.Name == "discovery.kubernetes" {
			role, _, _, _ := stringAttr(comp.Body, "role")
			ch.Pods = role == "pod"
			for _, b := range blocks(comp.Body, "selectors") {
				if f := attr(b.Body, "field"); f != nil {
					walkExpr(f.Value, func(x ast.Expr) bool {
						if v, ok := text(x); ok && strings.Contains(v, "spec.nodeName") {
							ch.NodeLimited = true
						}
						return true
					})
				}
			}
			for _, b := range blocks(comp.Body, "namespaces") {
				if names, literal := stringList(b.Body, "names"); literal {
					ch.Namespaces = names
				}
			}
		}
		ch.NodeLimited = ch.NodeLimited || comp.Name == "discovery.kubelet" || keepsOwnNode(rules)
		g.chains = append(g.chains, ch)
	}
}

// keepsOwnNode: a rule that compares the node's name with the own one does
// what a selector does.
func keepsOwnNode(rules []Rule) bool {
	for i := range rules {
		if r := &rules[i]; r.Config != nil && r.Config.Action == "keep" || r.Dynamic {
			if r.Config != nil && slices.Contains(r.Config.SourceLabels, "__meta_kubernetes_pod_node_name") {
				return true
			}
		}
	}
	return false
}

func alloyRule(comp *Component, b *ast.BlockStmt) Rule {
	r := Rule{Pos: posOf(b.NamePos), Component: comp.ID}
	labels, ok := stringList(b.Body, "source_labels")
	r.Dynamic = !ok
	get := func(name string) (string, Pos, bool) {
		v, pos, set, literal := stringAttr(b.Body, name)
		if set && !literal {
			r.Dynamic = true
		}
		return v, pos, set
	}
	r.Regex, _, _ = get("regex")
	var hasRepl bool
	r.Replacement, r.ReplPos, hasRepl = get("replacement")
	sep, _, hasSep := get("separator")
	action, _, _ := get("action")
	target, _, _ := get("target_label")
	mod, _, _ := get("modulus")
	modulus, _ := strconv.ParseUint(mod, 10, 64)
	if !hasRepl {
		r.ReplPos = r.Pos
	}
	return newRule(r, labels, sep, action, target, modulus, hasSep, hasRepl)
}

// passes says whether a component, or one behind it, fulfils a condition.
func (a *Alloy) passes(id string, cond func(*Component) bool, seen []string) bool {
	comp := a.Components[id]
	if comp == nil || slices.Contains(seen, id) {
		return false
	}
	for _, to := range comp.To {
		next := a.Components[to]
		if next != nil && (cond(next) || a.passes(to, cond, append(seen, id))) {
			return true
		}
	}
	return false
}

// isWriter: lines leave the pipeline here. Components that are not known to
// pass lines on are given the benefit of the doubt.
func isWriter(c *Component) bool {
	switch c.Name {
	case "loki.process", "loki.relabel", "loki.enrich", "loki.secretfilter":
		return false
	}
	return true
}

func parsesLines(c *Component) bool {
	if c.Name != "loki.process" {
		return !strings.HasPrefix(c.Name, "loki.") // converted elsewhere
	}
	found := false
	var walk func(ast.Body)
	walk = func(body ast.Body) {
		for _, st := range body {
			if b, ok := st.(*ast.BlockStmt); ok {
				if n := b.GetBlockName(); n == "stage.cri" || n == "stage.docker" {
					found = true
				}
				walk(b.Body)
			}
		}
	}
	walk(c.Body)
	return found
}

// DeadEnds are components that pass lines on to nobody, and those whose
// output nobody reads.
func (a *Alloy) DeadEnds() (noWay, unread []*Component) {
	read := map[string]bool{}
	for _, id := range a.Order {
		for _, r := range a.Components[id].Refs {
			read[r] = true
		}
	}
	for _, id := range a.Order {
		c := a.Components[id]
		switch {
		case strings.HasPrefix(c.Name, "loki.source.") || c.Name == "loki.process" || c.Name == "loki.relabel":
			if !a.passes(id, isWriter, nil) {
				noWay = append(noWay, c)
			} else if !strings.HasPrefix(c.Name, "loki.source.") && !read[id] {
				unread = append(unread, c)
			}
		case c.Name == "loki.write" || c.Name == "discovery.relabel" || c.Name == "local.file_match" || c.Name == "discovery.kubernetes":
			if !read[id] {
				unread = append(unread, c)
			}
		}
	}
	return noWay, unread
}
