package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/conf"
	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// Category 07: collectors' configurations.
func collectorChecks() []Check {
	return slices.Concat(configChecks(), runningChecks(), logChecks())
}

// configChecks look at what is written.
func configChecks() []Check {
	needs := []snapshot.Input{snapshot.Collectors}
	return []Check{
		{
			Code: "LS0701", Severity: Error, Title: "the configuration has no mistake of syntax",
			Explain: "Alloy's own parser, and those of YAML and TOML, say where a configuration breaks; fields without which Vector or Fluent Bit do not start are named as well. In the values of the alloy chart there is a trap before that: alloy.configMap.content goes through Helm's tpl, which eats the {{ }} of a template stage.",
			Fix:     "mend the line that the finding names; in chart values write {{ \"{{\" }} for {{",
			Needs:   needs, Applies: hasCollectors, Run: onConfigs(syntaxMistakes),
		},
		{
			Code: "LS0702", Severity: Error, Title: "every component that is named is defined",
			Explain: "A reference in targets or forward_to (Alloy) or inputs (Vector) to a component that the file does not define makes the collector refuse the whole configuration: it goes on with the old one, or does not start.",
			Fix:     "define the component, or correct its name",
			Needs:   needs, Applies: hasGraph, Run: onConfigs(undefinedReferences),
		},
		{
			Code: "LS0703", Severity: Error, Title: "every source leads to a writer",
			Explain: "Lines of a source whose way ends nowhere are read and thrown away: a forward_to that leads to no loki.write (Alloy), a source in nobody's inputs (Vector), a tag that no output matches (Fluent Bit). Components that nobody reads do nothing.",
			Fix:     "Alloy: set forward_to to the receiver of a loki.process or loki.write component; Vector: name the source in the inputs of a sink; Fluent Bit: Match the tag",
			Needs:   needs, Applies: hasGraph, Run: onConfigs(deadEnds),
		},
		{
			Code: "LS0705", Severity: Error, Title: "replacements refer to groups that exist",
			Explain: "In a replacement, $1_ is the group named \"1_\" and not group 1 before an underscore: Go takes the longest run of letters, digits and underscores for the name. It expands to nothing, and the path /var/log/pods/$1_$2_$3/$4/*.log becomes /var/log/pods/<uid>/<container>/*.log. A number beyond the groups of the regular expression expands to nothing as well. Greedy (.*) is not the problem: Kubernetes names contain neither ; nor /.",
			Fix:     "write the number in braces: ${1}_${2} (under Flux substitution $${1}_$${2})",
			Needs:   needs, Uses: []snapshot.Input{snapshot.Kustomizations}, Applies: hasCollectors, Run: onConfigs(replacementTraps),
		},
		{
			Code: "LS0704", Severity: Error, Title: "__path__ finds the log files of pods",
			Explain: "The relabel rules between discovery and a file source are run by Prometheus's own code on pods of this cluster (or on typical ones), and the resulting __path__ is compared with the files that the kubelet writes: /var/log/pods/NAMESPACE_POD_UID/CONTAINER/*.log. The directory of a static pod has the hash of the annotation kubernetes.io/config.hash in place of the UID.",
			Fix:     "source_labels = [uid, container], separator = \"/\", replacement = \"/var/log/pods/*$1/*.log\"",
			Needs:   needs, Uses: []snapshot.Input{snapshot.Pods}, Applies: hasFileSources, Run: onConfigs(simulatedPaths),
		},
		{
			Code: "LS0706", Severity: Error, Title: "patterns in paths are expanded",
			Explain: "loki.source.file opens the path that it is given: an asterisk is taken literally (\"stat failed\") unless a local.file_match stands before it, or (Alloy 1.12 and later) its file_match block is enabled.",
			Fix:     "file_match { enabled = true } in loki.source.file (Alloy >= 1.12), or a local.file_match component before it",
			Needs:   needs, Uses: []snapshot.Input{snapshot.Pods}, Applies: hasFileSources, Run: onConfigs(literalGlobs),
		},
		{
			Code: "LS0707", Severity: Error, Title: "the files of the node are mounted into the collector",
			Explain: "A file source needs /var/log/pods of the node in its container, by a hostPath volume. The alloy chart does not mount it by default (alloy.mounts.varlog is false). The mount needs a namespace whose PodSecurity level is privileged.",
			Fix:     "read through the API (loki.source.kubernetes needs no mount), or alloy.mounts.varlog: true",
			Needs:   needs, Uses: []snapshot.Input{snapshot.Pods}, Applies: hasFileSources, Run: onConfigs(unmountedPaths),
		},
		{
			Code: "LS0709", Severity: Error, Title: "every pod is read by one collector",
			Explain: "loki.source.kubernetes and loki.source.podlogs in a DaemonSet, or in several replicas, read all pods of the cluster from every instance, unless a selector keeps those of the own node or clustering shares them: every line is stored once per node. A file source without a selector only burdens the API server.",
			Fix:     "selectors { role = \"pod\", field = \"spec.nodeName=\" + coalesce(sys.env(\"HOSTNAME\"), constants.hostname) } in discovery.kubernetes, or clustering { enabled = true } with alloy.clustering.enabled: true",
			Needs:   needs, Applies: hasCollectors, Run: onConfigs(readTwice),
		},
		{
			Code: "LS0710", Severity: Warning, Title: "the container runtime's line format is parsed",
			Explain: "A line in a file of /var/log/pods begins with a timestamp, the stream and a flag. Without stage.cri (or stage.docker) all of it is stored as the line, and long lines stay in pieces.",
			Fix:     "stage.cri {} in a loki.process between source and writer",
			Needs:   needs, Uses: []snapshot.Input{snapshot.Pods}, Applies: hasFileSources, Run: onConfigs(unparsedLines),
		},
		{
			Code: "LS0711", Severity: Error, Title: "a tenant is named where Loki asks for one",
			Explain: "With auth_enabled: true (the chart's default) Loki refuses every request without X-Scope-OrgID: 401 no org id. It is not an authentication: any tenant will do.",
			Fix:     "tenant_id in the endpoint, or loki.auth_enabled: false in the values of Loki",
			Needs:   needs, Uses: []snapshot.Input{snapshot.Releases, snapshot.ConfigMaps, snapshot.Secrets}, Applies: hasCollectors, Run: onConfigs(missingTenant),
		},
		{
			Code: "LS0712", Severity: Warning, Title: "labels have few values",
			Explain: "Every combination of label values is a stream with chunks and index entries of its own. Labels from UIDs, IP addresses, container IDs or trace IDs make one stream per pod start or per request: memory and queries suffer.",
			Fix:     "drop the label, or move it to structured metadata (stage.structured_metadata)",
			Needs:   needs, Applies: hasCollectors, Run: onConfigs(labelExplosion),
		},
		{
			Code: "LS0713", Severity: Warning, Title: "no password stands in a configuration",
			Explain: "A password or token that is written into a ConfigMap or a file of a repository can be read by everybody who may read those.",
			Fix:     "take it from a Secret: sys.env(\"NAME\") or remote.kubernetes.secret in Alloy, password_file in Promtail, ${NAME} in the others",
			Needs:   needs, Applies: hasCollectors, Run: onConfigs(literalSecrets),
		},
		{
			Code: "LS0708", Severity: Info, Title: "no __path__ is built for nothing",
			Explain: "loki.source.kubernetes reads through the API and ignores __path__: a rule that builds it is a remainder of a file source.",
			Fix:     "take the rule out",
			Needs:   needs, Applies: hasCollectors, Run: onConfigs(stalePaths),
		},
	}
}

func hasCollectors(s *snapshot.Snapshot) bool { return len(s.Collectors()) > 0 }

// hasGraph: the way of lines through the configurations of some products is not
// examined, nor through a part of one; a check of it has nothing to look at there.
func hasGraph(s *snapshot.Snapshot) bool {
	return slices.ContainsFunc(s.Collectors(), func(c *snapshot.Collector) bool {
		cfg := conf.Parse(string(c.Product), c.Config.Content)
		return c.Err != nil || cfg != nil && (cfg.Alloy != nil || cfg.Graphed || len(cfg.Errors) > 0)
	})
}

func hasFileSources(s *snapshot.Snapshot) bool {
	for _, c := range s.Collectors() {
		if c.Err != nil {
			return true
		}
		if cfg := conf.Parse(string(c.Product), c.Config.Content); cfg != nil && (len(cfg.Errors) > 0 || slices.ContainsFunc(cfg.Sources, func(s conf.Source) bool { return s.Kind == conf.File })) {
			return true
		}
	}
	return false
}

// collectorCtx is a configuration that was read.
type collectorCtx struct {
	s *snapshot.Snapshot
	*snapshot.Collector
	cfg *conf.Config
}

func (c collectorCtx) at(p conf.Pos) snapshot.Ref {
	if p.Line == 0 {
		return c.Config.Ref
	}
	return c.Config.At(p.Line, p.Column)
}

// syntaxCheck is the code of the one check that examines what others cannot read.
const syntaxCheck = "LS0701"

// unread are the skips of a check that reads configurations, one for each that
// could not be read: what stands in it is unknown, so it cannot have passed.
func unread(s *snapshot.Snapshot, c *Check) []Finding {
	if !slices.Contains(c.inputs(), snapshot.Collectors) {
		return nil
	}
	var out []Finding
	for _, k := range s.Collectors() {
		if k.Err != nil {
			sk := skip("the configuration of "+snapshot.Input(k.Title()), k.Err)
			sk.Ref = k.Config.Ref
			out = append(out, sk)
			continue
		}
		if cfg := conf.Parse(string(k.Product), k.Config.Content); c.Code != syntaxCheck && cfg != nil && len(cfg.Errors) > 0 {
			out = append(out, Finding{Status: Skip, Ref: k.Config.Ref, Detail: "the configuration of " + k.Title() + " cannot be read (" + syntaxCheck + ")"})
		}
	}
	return out
}

// onConfigs makes a check of a function over one configuration. Those that could
// not be read are skips of every check ([unread]).
func onConfigs(f func(collectorCtx) []Finding) func(*snapshot.Snapshot) []Finding {
	return func(s *snapshot.Snapshot) []Finding {
		var out []Finding
		for _, c := range s.Collectors() {
			if c.Err != nil {
				continue
			}
			if cfg := conf.Parse(string(c.Product), c.Config.Content); cfg != nil {
				out = append(out, f(collectorCtx{s, c, cfg})...)
			}
		}
		return out
	}
}

func syntaxMistakes(c collectorCtx) []Finding {
	var out []Finding
	for _, d := range c.cfg.Errors[:min(1, len(c.cfg.Errors))] { // the others follow from the first
		if c.Release != nil && strings.Contains(c.Config.Content, "{{") {
			// It is no Alloy before Helm has been there.
			out = append(out, Finding{Status: Skip, Ref: c.at(d.Pos), Detail: "the configuration goes through Helm's tpl first: examine what helm template prints"})
			break
		}
		out = append(out, Finding{Status: Error, Ref: c.at(d.Pos), Detail: d.Message, Fix: mendLine(c.Config.Content, d.Pos.Line), Explains: []string{"LS0714", "LS0401"}})
	}
	for _, d := range c.cfg.Mistakes {
		if len(c.cfg.Errors) > 0 {
			break // they may follow from it
		}
		out = append(out, Finding{Status: Error, Ref: c.at(d.Pos), Detail: d.Message, Fix: "add " + d.Fix, Explains: []string{"LS0401"}})
	}
	if c.Release != nil && c.Release.Chart == "alloy" {
		if i := strings.Index(c.Config.Content, "{{"); i >= 0 && !strings.Contains(c.Config.Content, `{{ "{{" }}`) && !strings.Contains(c.Config.Content, "{{`") && !strings.Contains(c.Config.Content, "{{ `") && !helmExpression(c.Config.Content[i:]) {
			line := strings.TrimSpace(lineAt(c.Config.Content, i))
			out = append(out, Finding{Status: Error, Ref: c.Config.Offset(i), Detail: "alloy.configMap.content goes through Helm's tpl: this {{ }} is Helm's, not Alloy's: " + snapshot.RedactText(line),
				Fix: "write {{ \"{{\" }} for {{ and {{ \"}}\" }} for }}"})
		}
	}
	return out
}

// mendLine names the line; a file that ends too early has none there.
func mendLine(content string, n int) string {
	line := strings.TrimSpace(lineNo(content, n))
	if line == "" {
		return "close what is open before it"
	}
	return "mend " + shown(line)
}

// shown is a line of a configuration as a report may show it.
func shown(line string) string {
	if snapshot.MayHoldSecret(line) {
		return "this line (not shown: it may hold a secret)"
	}
	return "this line: " + snapshot.RedactText(line)
}

// helmExpression: {{ .Values... }}, {{ .Release... }} and {{ include ... }} are meant for Helm.
func helmExpression(s string) bool {
	s = strings.TrimLeft(strings.TrimPrefix(s, "{{"), "- ")
	for _, w := range []string{".Values", ".Release", ".Chart", "include", "$.", "template", "tpl"} {
		if strings.HasPrefix(s, w) {
			return true
		}
	}
	return false
}

func lineNo(text string, n int) string {
	lines := strings.Split(text, "\n")
	if n < 1 || n > len(lines) {
		return ""
	}
	return lines[n-1]
}

// inParts says whether the same workload has more configurations of its product:
// Vector reads all of a directory as one.
func (c collectorCtx) inParts() bool {
	n := 0
	for _, o := range c.s.Collectors() {
		if c.Component != nil && o.Component == c.Component || c.Component == nil && o.Component == nil && o.Product == c.Product && o.Config.Ref.Kind != "" && o.Config.Ref.Object() == c.Config.Ref.Object() {
			n++
		}
	}
	return n > 1
}

func undefinedReferences(c collectorCtx) []Finding {
	var out []Finding
	if !c.inParts() {
		for _, d := range c.cfg.Dangling {
			f := Finding{Status: Error, Ref: c.at(d.Pos), Detail: fmt.Sprintf("%s of %s names %s, which is not defined", d.Attribute, d.In, d.Name), Fix: "define " + d.Name, Explains: []string{"LS0401"}}
			if near := nearest(d.Name, d.Defined); near != "" {
				f.Fix = "did you mean " + near + "?"
			} else if len(d.Defined) > 0 {
				f.Fix += ", or name one of: " + strings.Join(d.Defined, ", ")
			}
			out = append(out, f)
		}
	}
	if c.cfg.Alloy == nil || c.cfg.Alloy.Custom {
		return out
	}
	for _, u := range c.cfg.Alloy.Undefined {
		f := Finding{Status: Error, Ref: c.at(u.Pos), Detail: fmt.Sprintf("%s of %s names %s, which is not defined", u.Attribute, u.In, u.ID), Explains: []string{"LS0714"}}
		f.Fix = "define " + u.ID
		if near := nearest(u.ID, c.cfg.Alloy.Order); near != "" {
			f.Fix = "did you mean " + near + "?"
		}
		out = append(out, f)
	}
	return out
}

// nearest is the candidate with the smallest distance, if that is small.
func nearest(word string, candidates []string) string {
	best, least := "", len(word)/3+2
	for _, c := range candidates {
		if d := levenshtein.ComputeDistance(word, c); d < least {
			best, least = c, d
		}
	}
	return best
}

func deadEnds(c collectorCtx) []Finding {
	if len(c.cfg.Loose) > 0 && len(c.cfg.Dangling) == 0 && !c.inParts() {
		var out []Finding
		for _, l := range c.cfg.Loose {
			f := Finding{Status: Warning, Ref: c.at(l.Pos), Detail: l.Why, Fix: l.Fix}
			if l.Lost {
				f.Status, f.Detail, f.Explains = Error, l.Why+": its lines are read and thrown away", []string{"LS1003"}
			}
			out = append(out, f)
		}
		return out
	}
	a := c.cfg.Alloy
	if a == nil || a.Custom || len(c.cfg.Errors) > 0 || len(a.Undefined) > 0 {
		return nil
	}
	noWay, unread := a.DeadEnds()
	var out []Finding
	writer := slices.ContainsFunc(a.Order, func(id string) bool { return strings.HasPrefix(id, "loki.write.") })
	for _, comp := range noWay {
		status := Warning
		if strings.HasPrefix(comp.Name, "loki.source.") {
			status = Error
		}
		detail := "nothing receives the lines of " + comp.ID
		if !writer {
			detail += ": there is no loki.write at all"
		}
		out = append(out, Finding{Status: status, Ref: c.at(comp.Pos), Detail: detail, Fix: "forward_to = [loki.write.NAME.receiver]", Explains: []string{"LS1003"}})
	}
	for _, comp := range unread {
		out = append(out, Finding{Status: Warning, Ref: c.at(comp.Pos), Detail: "nobody reads " + comp.ID, Fix: "name it in targets or forward_to of another component, or take it out"})
	}
	return out
}

// rulesOf are all rules of a configuration, each once.
func rulesOf(cfg *conf.Config) []conf.Rule {
	var out []conf.Rule
	seen := map[conf.Pos]bool{}
	for _, s := range cfg.Sources {
		for _, ch := range s.Chains {
			for _, r := range ch.Rules {
				if !seen[r.Pos] {
					seen[r.Pos] = true
					out = append(out, r)
				}
			}
		}
	}
	return out
}

func replacementTraps(c collectorCtx) []Finding {
	var out []Finding
	for _, r := range rulesOf(c.cfg) {
		if r.Err != nil {
			out = append(out, Finding{Status: Error, Ref: c.at(r.Pos), Detail: fmt.Sprintf("the regular expression %q does not compile: %v", r.Regex, r.Err), Fix: "mend the regular expression (RE2 syntax: no look-around, no back-references)"})
			continue
		}
		traps := r.Traps()
		if len(traps) == 0 {
			continue
		}
		t := traps[0]
		mended := conf.Mend(r.Replacement)
		f := Finding{Status: Error, Ref: c.at(r.ReplPos), Explains: append(complaintsIn(c.Namespace, "stat-failed"), "LS0704", "LS1003")}
		if t.Beyond {
			f.Detail = fmt.Sprintf("%s is beyond the %s of %q: it expands to nothing", t.Token, plural(r.Groups, "group"), r.Regex)
			f.Fix = "use a regular expression with " + plural(t.Group, "group")
			if r.Config.Separator != "" && r.Groups == 1 {
				f.Fix += ": " + strings.TrimSuffix(strings.Repeat("(.*)"+r.Config.Separator, max(t.Group, len(r.Config.SourceLabels))), r.Config.Separator)
			}
		} else {
			f.Detail = fmt.Sprintf("%q: %s is read as the group named %q, which does not exist, and expands to nothing", r.Replacement, t.Token, strings.TrimPrefix(t.Token, "$"))
			f.Fix = "replacement = \"" + mended + "\""
			f.Patch = "-" + strings.TrimRight(lineNo(c.Config.Content, r.ReplPos.Line), " ") + "\n+" + strings.ReplaceAll(strings.TrimRight(lineNo(c.Config.Content, r.ReplPos.Line), " "), r.Replacement, mended) + "\n"
		}
		if len(substituting(c.s)) > 0 && strings.Contains(f.Fix, "${") {
			f.Fix += " (Flux substitutes here: write $${1} for ${1})"
		}
		out = append(out, f)
	}
	return out
}

// secretRemedy says how a product takes a credential from elsewhere.
func secretRemedy(p snapshot.Product) string {
	switch p {
	case snapshot.Alloy, snapshot.GrafanaAgent:
		return "take it from a Secret: sys.env(\"NAME\") with envFrom, or remote.kubernetes.secret"
	case snapshot.Promtail:
		return "take it from a Secret: password_file (bearer_token_file) of a mounted one, or ${NAME} with -config.expand-env=true and envFrom"
	case snapshot.OTel:
		return "take it from a Secret: ${env:NAME} with envFrom"
	}
	return "take it from a Secret: ${NAME} with envFrom"
}

func literalSecrets(c collectorCtx) []Finding {
	var out []Finding
	if c.Config.Ref.Kind == "Secret" {
		return nil // that is the place for it
	}
	for _, l := range c.cfg.Secrets {
		out = append(out, Finding{Status: Warning, Ref: c.at(l.Pos), Detail: l.Key + " is written into the configuration", Fix: secretRemedy(c.Product)})
	}
	for i := range c.cfg.Endpoints {
		e := &c.cfg.Endpoints[i]
		if u := e.Parse(); u != nil && u.User != nil {
			if _, set := u.User.Password(); set {
				out = append(out, Finding{Status: Warning, Ref: c.at(e.Pos), Detail: "the URL of " + e.Component + " has a password in it", Fix: secretRemedy(c.Product)})
			}
		}
	}
	return out
}

// manyValues are labels, and meta labels, that have as many values as there
// are pods or requests.
var manyValues = []string{"pod_ip", "ip", "uid", "pod_uid", "pod_id", "docker_id", "container_id", "trace_id", "traceid", "traceID", "span_id", "request_id", "requestid", "filename", "timestamp", "user_id"}

var manyValuesMeta = []string{"__meta_kubernetes_pod_uid", "__meta_kubernetes_pod_ip", "__meta_kubernetes_pod_container_id", "__address__"}

// metadataRemedy says how a product moves a value out of the labels.
func metadataRemedy(p snapshot.Product) string {
	switch p {
	case snapshot.Vector, snapshot.FluentBit:
		return "move it to structured_metadata of this output, or drop it"
	}
	return "move it to structured metadata (stage.structured_metadata), or drop it"
}

func labelExplosion(c collectorCtx) []Finding {
	var out []Finding
	say := func(p conf.Pos, label, why string) {
		out = append(out, Finding{Status: Warning, Ref: c.at(p), Detail: fmt.Sprintf("label %s has %s", label, why), Fix: metadataRemedy(c.Product)})
	}
	for _, r := range rulesOf(c.cfg) {
		if r.Config == nil || r.Config.TargetLabel == "" || strings.HasPrefix(r.Config.TargetLabel, "__") || len(r.Config.SourceLabels) == 0 {
			continue
		}
		if slices.Contains(manyValuesMeta, string(r.Config.SourceLabels[0])) && len(r.Config.SourceLabels) == 1 {
			say(r.Pos, r.Config.TargetLabel, "a value of its own for every start of a pod ("+string(r.Config.SourceLabels[0])+")")
		}
	}
	for _, l := range c.cfg.Wholesale {
		out = append(out, Finding{Status: Warning, Ref: c.at(l.Pos), Detail: fmt.Sprintf("%s of %s makes every label of a pod a label of the stream: a rollout (pod-template-hash) begins new streams for all of them", l.Value, l.Key),
			Fix: "name the few labels that you select by: namespace, app, container"})
	}
	for _, l := range c.cfg.Labels {
		if slices.Contains(manyValues, l.Value) {
			say(l.Pos, l.Value, "a value of its own for every pod or request")
		}
	}
	return out
}

func stalePaths(c collectorCtx) []Finding {
	var out []Finding
	for _, s := range c.cfg.Sources {
		if s.Kind != conf.API {
			continue
		}
		for _, ch := range s.Chains {
			for _, r := range ch.Rules {
				if r.Config != nil && r.Config.TargetLabel == "__path__" && !usedByFiles(c.cfg, r.Pos) {
					out = append(out, Finding{Status: Info, Ref: c.at(r.Pos), Detail: s.Component + " reads through the API and ignores __path__", Fix: "take this rule out"})
				}
			}
		}
	}
	return out
}

func usedByFiles(cfg *conf.Config, p conf.Pos) bool {
	for _, s := range cfg.Sources {
		for _, ch := range s.Chains {
			if s.Kind == conf.File && slices.ContainsFunc(ch.Rules, func(r conf.Rule) bool { return r.Pos == p }) {
				return true
			}
		}
	}
	return false
}
