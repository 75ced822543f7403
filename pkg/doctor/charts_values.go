package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"go.yaml.in/yaml/v3"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/data"
	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// movedTo follows a fact to where the value stands in the judged version: a
// value can move more than once.
func (c chartCtx) movedTo(f data.Fact) data.Fact {
	for range 4 {
		next := false
		for _, g := range data.FactsOf(c.r.Chart) {
			if g.Status == "moved" && len(f.To) == 1 && g.Path == f.To[0] && g.Path != f.Path && g.Until != "" && data.Compare(c.version, g.Until) >= 0 {
				f.To, f.Until, f.Effect, f.Fix, next = g.To, g.Until, g.Effect, g.Fix, true
				if g.Severity != "" {
					f.Severity = g.Severity
				}
				break
			}
		}
		if !next {
			break
		}
	}
	return f
}

// gone are the facts of a status whose value the user has set although the
// judged version no longer has it.
func (c chartCtx) gone(status string) []data.Fact {
	var out []data.Fact
	for _, f := range data.FactsOf(c.r.Chart) {
		if f.Status != status || f.Until == "" || data.Compare(c.version, f.Until) < 0 || strings.ContainsAny(f.Path, "*< ") {
			continue
		}
		if c.r.Value(split(f.Path)...) == nil || c.state(f.Path).Known {
			continue
		}
		if status == "moved" {
			f = c.movedTo(f)
		}
		if i := slices.IndexFunc(out, func(g data.Fact) bool { return g.Path == f.Path }); i >= 0 {
			out[i] = f
			continue
		}
		out = append(out, f)
	}
	return out
}

func split(path string) []string { return strings.Split(path, ".") }

func movedValues(c chartCtx) []Finding {
	var out []Finding
	for _, f := range c.gone("moved") {
		status := Warning
		if f.Severity == "error" {
			status = Error
		}
		finding := Finding{
			Status: status, Ref: c.r.Ref(split(f.Path)...),
			Detail: fmt.Sprintf("%s moved to %s in %s; %s ignores it where it stands", f.Path, f.To, f.Until, c.title()),
			Fix:    orElse(f.Fix, "move it to "+f.To.String()),
			Patch:  c.movePatch(f),
		}
		finding.Detail += c.effect(f)
		if strings.Contains(f.Path, "lokiCanary") {
			finding.Explains = []string{"LS0405"}
		}
		out = append(out, finding)
	}
	return out
}

// effect is what a fact says will happen, with the release's own names.
func (c chartCtx) effect(f data.Fact) string {
	s := strings.TrimPrefix(strings.TrimPrefix(f.Effect, "ignored"), ". ")
	if s = strings.TrimLeft(s, ":; "); s == "" {
		return ""
	}
	_, full := data.Names(c.r.Chart, c.r.Name, c.r.String("nameOverride"), c.r.String("fullnameOverride"))
	return ": " + strings.ReplaceAll(s, "<fullname>", full)
}

// movePatch is the change of the values as a diff. Strings that look like
// secrets are not shown.
func (c chartCtx) movePatch(f data.Fact) string {
	n := c.r.Value(split(f.Path)...)
	if n == nil || len(f.To) != 1 || strings.ContainsAny(f.To[0], " []/:<>(){}") {
		return ""
	}
	add := nest(f.To[0], n)
	if f.To[0] == "lokiCanary" && c.r.String("test", "enabled") != "false" {
		if e := snapshot.Lookup(n, "enabled"); e != nil && e.Value == "false" {
			add.Content = append(add.Content, nest("test.enabled", &yaml.Node{Kind: yaml.ScalarNode, Value: "false", Tag: "!!bool"}).Content...)
		}
	}
	return c.diff(c.r.Ref(split(f.Path)...), nest(f.Path, n), add)
}

// diff is a change of the release's values where they are written: in a values
// file, or inside of the HelmRelease or Application that holds them. remove may
// be nil.
func (c chartCtx) diff(at snapshot.Ref, remove, add *yaml.Node) string {
	var b strings.Builder
	b.WriteString("# values of " + c.r.Title())
	if place := at.String(); place != "" {
		b.WriteString(" (" + place + ")")
	}
	b.WriteByte('\n')
	below := c.r.Ref().Path
	indent := ""
	switch {
	case c.r.Origin == snapshot.FromFlux && below == "spec.values":
		b.WriteString(" spec:\n   values:\n")
		indent = "    "
	case c.r.Origin == snapshot.FromArgo && below != "":
		b.WriteString("# below " + below + "\n")
	}
	if remove != nil {
		writeDiff(&b, "-"+indent, remove)
	}
	writeDiff(&b, "+"+indent, add)
	return b.String()
}

// setPatch is a diff that sets one value; tag is its type in YAML.
func (c chartCtx) setPatch(path, value, tag string) string {
	var old *yaml.Node
	if n := c.r.Value(split(path)...); n != nil {
		old = nest(path, n)
	}
	return c.diff(c.r.Ref(split(path)...), old, nest(path, &yaml.Node{Kind: yaml.ScalarNode, Value: value, Tag: tag}))
}

// nest puts a tree below a path.
func nest(path string, n *yaml.Node) *yaml.Node {
	keys := split(path)
	for i := len(keys) - 1; i >= 0; i-- {
		n = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: keys[i], Tag: "!!str"}, n}}
	}
	return n
}

func writeDiff(b *strings.Builder, sign string, n *yaml.Node) {
	clean := *n
	text, err := yaml.Marshal(blockStyle(&clean))
	if err != nil {
		return
	}
	for line := range strings.Lines(snapshot.RedactText(string(text))) {
		b.WriteString(sign + line)
	}
}

// blockStyle writes a tree without flow style and comments.
func blockStyle(n *yaml.Node) *yaml.Node {
	c := *n
	c.Style &^= yaml.FlowStyle
	c.HeadComment, c.LineComment, c.FootComment = "", "", ""
	c.Content = make([]*yaml.Node, len(n.Content))
	for i := range n.Content {
		c.Content[i] = blockStyle(n.Content[i])
	}
	return &c
}

func removedValues(c chartCtx) []Finding {
	var out []Finding
	for _, f := range c.gone("removed") {
		status := Warning
		if f.Severity == "error" {
			status = Error
		}
		detail := fmt.Sprintf("%s was removed in %s; %s ignores it", f.Path, f.Until, c.title())
		detail += c.effect(f)
		fix := orElse(f.Fix, "take it out")
		if len(f.To) > 0 {
			fix = "use " + f.To.String()
		}
		out = append(out, Finding{Status: status, Ref: c.r.Ref(split(f.Path)...), Detail: detail, Fix: fix})
	}
	for _, u := range c.unknown() {
		if st := c.facts(u); st.Removed != "" {
			out = append(out, Finding{Status: Warning, Ref: c.r.Ref(split(u)...),
				Detail: fmt.Sprintf("%s was removed in %s; %s ignores it", u, st.Removed, c.title()), Fix: "take it out" + c.near(u, "; perhaps you want ")})
		}
	}
	return out
}

// openMaps take anything below them although the facts list keys there: they
// are passed through to Loki's configuration, to pods, or to subcharts.
var openMaps = []string{
	"loki.server", "loki.limits_config", "loki.structuredConfig", "loki.commonConfig", "loki.storage_config", "loki.schemaConfig", "loki.compactor",
	"loki.query_scheduler", "loki.rulerConfig", "loki.ingester", "loki.querier", "loki.query_range", "loki.frontend", "loki.distributor", "loki.memberlistConfig",
	"loki.analytics", "loki.index_gateway", "loki.frontend_worker", "loki.tracing", "loki.pattern_ingester", "loki.bloom_build", "loki.bloom_gateway",
	"loki.operational_config", "loki.runtimeConfig", "loki.storage.object_store", "loki.storage.s3", "loki.storage.gcs", "loki.storage.azure", "loki.storage.swift",
	"minio", "rollout_operator", "rollout-operator", "global", "grafana-agent-operator", "crds", "extraObjects",
}

// openKeys take anything wherever they stand: pieces of pod specs.
var openKeys = []string{
	"resources", "affinity", "nodeSelector", "tolerations", "annotations", "labels", "podAnnotations", "podLabels", "securityContext", "podSecurityContext",
	"containerSecurityContext", "extraEnv", "extraEnvFrom", "extraVolumes", "extraVolumeMounts", "extraArgs", "extraContainers", "topologySpreadConstraints",
	"livenessProbe", "readinessProbe", "startupProbe", "updateStrategy", "strategy", "lifecycle", "dnsConfig", "hostAliases", "hpa", "autoscaling",
}

func open(path string) bool {
	return slices.Contains(openMaps, path) || slices.Contains(openKeys, path[strings.LastIndexByte(path, '.')+1:])
}

// facts is what the embedded facts know about a path.
func (c chartCtx) facts(path string) data.KeyState {
	if c.keys == nil {
		return data.KeyState{}
	}
	return c.keys.Get(path)
}

// state says whether the judged version has a path: by the chart's own values
// where Helm stored them for this version, else by the facts.
func (c chartCtx) state(path string) data.KeyState {
	if c.r.Defaults == nil || c.version != c.r.Version || len(c.r.Defaults) == 0 {
		return c.facts(path)
	}
	var v any = c.r.Defaults
	for _, p := range split(path) {
		m, ok := v.(map[string]any)
		if !ok {
			return c.facts(path)
		}
		if v, ok = m[p]; !ok {
			st := c.facts(path)
			st.Known = false
			return st
		}
	}
	m, isMap := v.(map[string]any)
	return data.KeyState{Known: true, Open: !isMap || len(m) == 0, Default: v}
}

// knowsKeys says whether unknown keys can be told at all.
func (c chartCtx) knowsKeys() bool {
	return judged(c.r.Chart) && (c.keys != nil || c.ownDefaults())
}

// unknown are the user's paths that the judged version does not have, the
// highest of each branch, without those that a fact about moved or removed
// values names.
func (c chartCtx) unknown() []string {
	if !c.knowsKeys() {
		return nil
	}
	var named []string
	for _, status := range []string{"moved", "removed"} {
		for _, f := range c.gone(status) {
			named = append(named, f.Path)
		}
	}
	var out []string
	var walk func(prefix string, n *yaml.Node)
	walk = func(prefix string, n *yaml.Node) {
		snapshot.Entries(n, func(key string, _, v *yaml.Node) {
			path := prefix + key
			st := c.state(path)
			switch {
			case slices.Contains(named, path) || open(path) || slices.Contains(c.r.Subcharts, path):
			case st.Known && (st.Open || st.Deep):
			case st.Known:
				walk(path+".", v)
			case prefix != "" && anyBelow(named, path):
				walk(path+".", v)
			default:
				out = append(out, path)
			}
		})
	}
	walk("", c.r.Values)
	return out
}

func anyBelow(paths []string, path string) bool {
	return slices.ContainsFunc(paths, func(p string) bool { return strings.HasPrefix(p, path+".") })
}

// rootKeys are chart-level keys of the loki chart whose misplacement below
// `loki:` changes which pods there are.
var rootKeys = []string{"deploymentMode", "loki", "alloy", "controller", "singleBinary", "read", "write", "backend", "lokiCanary", "chunksCache", "resultsCache", "gateway", "test", "monitoring", "config"}

// misnested says where a path should stand, "" when it is not misplaced: one
// level up, out of the block that bears the chart's own name.
func (c chartCtx) misnested(path string) string {
	rest, ok := strings.CutPrefix(path, c.r.Chart+".")
	if !ok || strings.Contains(rest, ".") || !c.state(rest).Known {
		return ""
	}
	return rest
}

func misnestedValues(c chartCtx) []Finding {
	var out []Finding
	for _, u := range c.unknown() {
		to := c.misnested(u)
		if to == "" {
			continue
		}
		f := Finding{Status: Warning, Ref: c.r.Ref(split(u)...), Detail: fmt.Sprintf("%s is one level too deep: %s looks for %s and ignores this", u, c.title(), to), Fix: "move the block " + u + " one level up, to " + to}
		if slices.Contains(rootKeys, to) {
			f.Status, f.Explains = Error, []string{"LS0407"}
		}
		f.Patch = c.movePatch(data.Fact{Path: u, To: data.Words{to}})
		out = append(out, f)
	}
	return out
}

func unknownValues(c chartCtx) []Finding {
	var out []Finding
	for _, u := range c.unknown() {
		st := c.facts(u)
		if c.misnested(u) != "" || st.Removed != "" {
			continue
		}
		f := Finding{Status: Warning, Ref: c.r.Ref(split(u)...), Detail: fmt.Sprintf("%s is not a value of %s: it is ignored", u, c.title()), Fix: "take it out" + c.near(u, ", or did you mean ")}
		if st.Introduced != "" {
			f.Detail = fmt.Sprintf("%s is a value of %s from %s on: %s ignores it", u, c.r.Chart, st.Introduced, c.title())
			f.Fix = "upgrade the chart to " + st.Introduced + " or later, or take it out"
		}
		out = append(out, f)
	}
	return out
}

// near names the nearest right key, with words before it; "" when none is near.
func (c chartCtx) near(path, before string) string {
	parent, last := "", path
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		parent, last = path[:i+1], path[i+1:]
	}
	best, bestScore := "", 1000
	for _, k := range c.allKeys() {
		kParent, kLast := "", k
		if i := strings.LastIndexByte(k, '.'); i >= 0 {
			kParent, kLast = k[:i+1], k[i+1:]
		}
		d := levenshtein.ComputeDistance(strings.ToLower(last), strings.ToLower(kLast))
		if d > max(1, len(last)/3) || k == path {
			continue
		}
		score := d * 10
		if kParent != parent {
			score += 15 + levenshtein.ComputeDistance(kParent, parent)
		}
		if score < bestScore {
			best, bestScore = k, score
		}
	}
	if best == "" || bestScore >= 60 {
		return ""
	}
	return before + best + "?"
}

func (c chartCtx) allKeys() []string {
	if c.r.Defaults != nil && c.version == c.r.Version && len(c.r.Defaults) > 0 {
		var out []string
		var walk func(prefix string, m map[string]any)
		walk = func(prefix string, m map[string]any) {
			for k, v := range m {
				out = append(out, prefix+k)
				if sub, ok := v.(map[string]any); ok {
					walk(prefix+k+".", sub)
				}
			}
		}
		walk("", c.r.Defaults)
		slices.Sort(out)
		return out
	}
	if c.keys == nil {
		return nil
	}
	return c.keys.All()
}

func deprecatedValues(c chartCtx) []Finding {
	var out []Finding
	for _, f := range data.FactsOf(c.r.Chart) {
		if f.Status != "deprecated" || strings.ContainsAny(f.Path, "*(: ") || f.From != "" && data.Compare(c.version, f.From) < 0 {
			continue
		}
		if n := c.r.Value(split(f.Path)...); n == nil || snapshot.IsEmpty(n) {
			continue
		}
		fix := "use " + f.To.String()
		if len(f.To) == 0 {
			fix = orElse(f.Fix, "plan to live without it")
		}
		out = append(out, Finding{Status: Warning, Ref: c.r.Ref(split(f.Path)...), Detail: f.Path + " is deprecated" + since(f.From) + note(f.Effect), Fix: fix})
	}
	return out
}

func since(v string) string {
	if v == "" {
		return ""
	}
	return " since " + v
}

func note(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

func newDefaultPods(c chartCtx) []Finding {
	if c.r.Chart != "loki" {
		return nil
	}
	var out []Finding
	for _, f := range data.FactsOf(c.r.Chart) {
		if f.Status != "new-default-pods" || data.Compare(c.version, f.From) < 0 || strings.ContainsAny(f.Path, "( ") {
			continue
		}
		root := strings.TrimSuffix(f.Path, ".enabled")
		if c.r.Value(split(root)...) != nil || c.off(root) {
			continue // the values say something about it
		}
		fix := f.Fix
		if root == "lokiCanary" {
			// From 6.0.0 on at the root; before, below monitoring.
			if data.Compare(c.version, "6.0.0") < 0 || c.r.Value("monitoring", "lokiCanary") != nil {
				continue
			}
			fix = "lokiCanary.enabled: false with test.enabled: false (or lokiCanary.kind: Deployment, from 6.32.0 on)"
		}
		status := Info
		if f.Severity == "warning" {
			status = Warning
		}
		out = append(out, Finding{Status: status, Ref: c.r.Ref(), Detail: fmt.Sprintf("%s is on by default since %s and the values say nothing about it%s", root, f.From, c.effect(f)),
			Fix: fix, Patch: patchFor(c, status, root), Explains: []string{"LS0404@pod/" + c.r.Namespace + "/*-" + cacheName(root) + "-*", "LS0405", "LS0406"}})
	}
	return out
}

func patchFor(c chartCtx, status Status, root string) string {
	if status != Warning {
		return ""
	}
	return c.setPatch(root+".enabled", "false", "!!bool")
}

func cacheName(root string) string {
	switch root {
	case "chunksCache":
		return "chunks-cache"
	case "resultsCache":
		return "results-cache"
	}
	return root
}

// off says whether a switch above the component is off.
func (c chartCtx) off(root string) bool {
	switch root {
	case "chunksCache", "resultsCache":
		return c.r.String("memcached", "enabled") == "false"
	case "gateway.metrics":
		return c.r.String("gateway", "enabled") == "false"
	}
	return false
}
