package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/conf"
	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// stackChecks are those of category 04 that look at what a stack consists of.
func stackChecks() []Check {
	return []Check{
		{
			Code: "LS0407", Severity: Error, Title: "a release of Loki runs Loki",
			Explain: "Gateway, canary and caches without a single Loki are what a chart renders for a deploymentMode that it does not know, or with all replicas at 0. Helm calls that a success.",
			Fix:     "deploymentMode: SingleBinary with singleBinary.replicas: 1 and read, write and backend at 0 replicas (grafana-community/loki from 12.0.0 on: Monolithic)",
			Needs:   []snapshot.Input{snapshot.Stacks}, Uses: []snapshot.Input{snapshot.StatefulSets, snapshot.Deployments, snapshot.DaemonSets, snapshot.Releases},
			Applies: hasLokiHelpers,
			Run:     checkLokiThere,
		},
		{
			Code: "LS0405", Severity: Warning, Title: "canaries run because somebody wants them",
			Explain: "Loki's chart runs a canary on every node unless it is switched off at the root of the values. A switch below monitoring is ignored from 6.0.0 on.",
			Fix:     "lokiCanary: {enabled: false} and test: {enabled: false} (or lokiCanary.kind: Deployment, from 6.32.0 on)",
			Needs:   []snapshot.Input{snapshot.Stacks, snapshot.Releases},
			Applies: func(s *snapshot.Snapshot) bool { return len(running(s, snapshot.LokiCanary)) > 0 },
			Run:     checkSurpriseCanary,
		},
		{
			Code: "LS0406", Severity: Warning, Title: "caches run because somebody wants them",
			Explain: "Loki's chart runs two memcached StatefulSets by default from 6.0.0 on, which ask for 9830Mi and 1229Mi of memory. A Loki of one process hardly needs them.",
			Fix:     "chunksCache: {enabled: false} and resultsCache: {enabled: false}",
			Needs:   []snapshot.Input{snapshot.Stacks, snapshot.Releases},
			Applies: func(s *snapshot.Snapshot) bool { return len(running(s, snapshot.LokiCache)) > 0 },
			Run:     checkSurpriseCaches,
		},
		{
			Code: "LS0408", Severity: Warning, Title: "the collector runs on every node",
			Explain: "A DaemonSet runs only on nodes whose taints its pods tolerate and whose labels its nodeSelector wants. The logs of the other nodes are not collected, and nothing says so.",
			Fix:     "add the tolerations of the nodes' taints to the collector's pods",
			Needs:   []snapshot.Input{snapshot.DaemonSets, snapshot.Nodes}, Uses: []snapshot.Input{snapshot.Stacks, snapshot.Collectors},
			Applies: func(s *snapshot.Snapshot) bool { return len(daemonCollectors(s)) > 0 }, Transient: true,
			Run: checkCoverage,
		},
		{
			Code: "LS0409", Severity: Error, Title: "there are enough ingesters for the replication factor",
			Explain: "Loki stores a line with more than half of replication_factor ingesters. With fewer than that every push fails: \"at least 2 live replicas required, could only find 1\". The chart's default is 3.",
			Fix:     "loki.commonConfig.replication_factor: 1 in the values of the loki chart",
			Needs:   []snapshot.Input{snapshot.ConfigMaps, snapshot.Stacks},
			Applies: func(s *snapshot.Snapshot) bool { return len(lokiConfigs(s)) > 0 },
			Run:     checkReplication,
		},
		{
			Code: "LS0411", Severity: Warning, Title: "no program of the stack is at its end of life",
			Explain: "Promtail (2026-03-02) and Grafana Agent (2025-11-01) have reached their end of life: there are no fixes any more, not even of security.",
			Fix:     "move to Alloy: alloy convert --source-format=promtail -o config.alloy promtail.yaml",
			Needs:   []snapshot.Input{snapshot.Stacks},
			Applies: func(s *snapshot.Snapshot) bool { return len(s.Stacks()) > 0 },
			Run:     checkEndOfLife,
		},
		{
			Code: "LS0412", Severity: Warning, Title: "no line is collected twice",
			Explain: "Two collectors that read the logs of all pods and write to the same store: every line is stored and counted twice.",
			Fix:     "remove one of the two collectors, or limit each to its own namespaces",
			Needs:   []snapshot.Input{snapshot.Collectors},
			Applies: func(s *snapshot.Snapshot) bool { return len(s.Collectors()) > 1 },
			Run:     checkTwice,
		},
	}
}

// running are the workloads of a product that are there, not merely predicted.
func running(s *snapshot.Snapshot, products ...snapshot.Product) []*snapshot.Component {
	var out []*snapshot.Component
	for _, c := range s.Stacks() {
		if !c.Predicted && slices.Contains(products, c.Product) {
			out = append(out, c)
		}
	}
	return out
}

// lokiRelease is the release of Loki's chart that a workload belongs to, nil
// when no description of it is known.
func lokiRelease(s *snapshot.Snapshot, c *snapshot.Component) *snapshot.Release {
	for _, r := range s.Releases() {
		if r.Chart == "loki" && r.Name == c.Release && r.Namespace == c.Namespace() {
			return r
		}
	}
	return nil
}

func hasLokiHelpers(s *snapshot.Snapshot) bool {
	return len(running(s, snapshot.LokiGateway, snapshot.LokiCanary, snapshot.LokiCache)) > 0
}

func checkLokiThere(s *snapshot.Snapshot) []Finding {
	var out []Finding
	type key struct{ ns, release string }
	seen := map[key]bool{}
	for _, c := range running(s, snapshot.Loki) {
		seen[key{c.Namespace(), c.Release}] = true
	}
	for _, c := range running(s, snapshot.LokiGateway, snapshot.LokiCanary, snapshot.LokiCache) {
		k := key{c.Namespace(), c.Release}
		if seen[k] {
			continue
		}
		seen[k] = true
		if !s.Covers(snapshot.StatefulSets, k.ns) || !s.Covers(snapshot.Deployments, k.ns) {
			continue // Loki may be where nobody looked
		}
		f := Finding{Status: Error, Ref: s.Ref(c.Workload), Detail: fmt.Sprintf("release %s in namespace %s has a %s and no Loki", orElse(k.release, "?"), k.ns, c.Product),
			Fix:      "deploymentMode: SingleBinary (grafana-community/loki from 12.0.0 on: Monolithic), singleBinary.replicas: 1, and read, write and backend at 0 replicas",
			Explains: []string{"LS0504@service/" + k.ns + "/*", "LS0410@*/" + k.ns + "/*", "LS0401@pod/" + k.ns + "/*gateway*"}}
		if r := lokiRelease(s, c); r != nil {
			f.Detail += fmt.Sprintf(" (%s, deploymentMode %s)", r.Title(), r.Effective("not set", "deploymentMode"))
		}
		out = append(out, f)
	}
	return out
}

func checkSurpriseCanary(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, c := range running(s, snapshot.LokiCanary) {
		r := lokiRelease(s, c)
		if r == nil || r.Value("lokiCanary") != nil {
			continue
		}
		f := Finding{Status: Warning, Ref: s.Ref(c.Workload), Detail: "canaries run, one per node, and the values do not mention lokiCanary",
			Fix: "lokiCanary: {enabled: false} and test: {enabled: false} in the values of release " + r.Name}
		if ds, ok := c.Workload.(*appsv1.DaemonSet); ok && ds.Status.DesiredNumberScheduled > 0 {
			f.Detail = plural(int(ds.Status.DesiredNumberScheduled), "canary pod") + ": the values do not mention lokiCanary"
		}
		if r.Value("monitoring", "lokiCanary") != nil {
			f.Detail += " at the root, only below monitoring, where it is ignored"
		}
		f.Patch = "# values of " + r.Title() + "\n+lokiCanary:\n+  enabled: false\n+test:\n+  enabled: false\n"
		out = append(out, f)
	}
	return out
}

func checkSurpriseCaches(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, c := range running(s, snapshot.LokiCache) {
		key := "chunksCache"
		if strings.HasSuffix(c.Name(), "results-cache") {
			key = "resultsCache"
		}
		r := lokiRelease(s, c)
		if r == nil || r.Value(key) != nil {
			continue
		}
		if mode := r.Effective("SingleBinary", "deploymentMode"); mode != "SingleBinary" && mode != "Monolithic" {
			continue // a large Loki wants its caches
		}
		out = append(out, Finding{Status: Warning, Ref: s.Ref(c.Workload), Detail: "this cache runs beside a Loki of one process and the values do not mention " + key,
			Fix: key + ": {enabled: false} in the values of release " + r.Name, Patch: "# values of " + r.Title() + "\n+" + key + ":\n+  enabled: false\n"})
	}
	return out
}

// daemonCollectors are the DaemonSets that collect, each its own node's logs.
func daemonCollectors(s *snapshot.Snapshot) []*snapshot.Component {
	var out []*snapshot.Component
	for _, c := range s.Stacks() {
		if c.Kind == "DaemonSet" && c.Product.IsCollector() && !c.Predicted && !sharesWork(s, c) {
			out = append(out, c)
		}
	}
	return out
}

// sharesWork: instances that read through the API and share the pods among them
// need not run on every node.
func sharesWork(s *snapshot.Snapshot, c *snapshot.Component) bool {
	for _, k := range s.Collectors() {
		if k.Component != c || k.Err != nil {
			continue
		}
		if cfg := conf.Parse(string(k.Product), k.Config.Content); cfg != nil {
			for _, src := range cfg.Sources {
				if src.Kind == conf.API && src.Clustering {
					return true
				}
			}
		}
	}
	return false
}

func checkCoverage(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, c := range daemonCollectors(s) {
		ds, ok := c.Workload.(*appsv1.DaemonSet)
		if !ok {
			continue
		}
		if st := ds.Status; st.DesiredNumberScheduled > st.NumberReady {
			out = append(out, Finding{Status: Warning, Ref: s.Ref(ds), Detail: fmt.Sprintf("it is ready on %d of %d nodes: the logs of the others are not collected", st.NumberReady, st.DesiredNumberScheduled),
				Fix: fmt.Sprintf("kubectl describe daemonset -n %s %s", ds.Namespace, ds.Name), Explains: []string{"LS1003"}})
		}
		byTaint := map[string][]string{}
		var order []string
		for _, n := range s.Nodes() {
			if t := repelledBy(n, &ds.Spec.Template.Spec); t != "" {
				if byTaint[t] == nil {
					order = append(order, t)
				}
				byTaint[t] = append(byTaint[t], n.Name)
			}
		}
		for _, t := range order {
			key, rest, _ := strings.Cut(t, "=")
			effect := rest[strings.LastIndexByte(rest, ':')+1:]
			out = append(out, Finding{Status: Warning, Ref: s.Ref(ds, "spec", "template", "spec", "tolerations"), Detail: fmt.Sprintf("logs of %s are not collected: taint %s", someOf(byTaint[t], 5), strings.Replace(t, "=:", ":", 1)),
				Fix:   fmt.Sprintf("tolerations: [{key: %s, operator: Exists, effect: %s}]", key, effect),
				Patch: fmt.Sprintf("# pods of daemonset %s/%s\n+tolerations:\n+  - {key: %s, operator: Exists, effect: %s}\n", ds.Namespace, ds.Name, key, effect), Explains: []string{"LS1003"}})
		}
	}
	return out
}

// repelledBy is the first taint of a node that keeps the pods of a DaemonSet
// away, as key=value:effect. The DaemonSet controller adds tolerations for the
// taints of the node lifecycle itself.
func repelledBy(n *corev1.Node, spec *corev1.PodSpec) string {
	for _, t := range n.Spec.Taints {
		if t.Effect == corev1.TaintEffectPreferNoSchedule || strings.HasPrefix(t.Key, "node.kubernetes.io/") {
			continue
		}
		if !slices.ContainsFunc(spec.Tolerations, func(tol corev1.Toleration) bool { return tolerates(tol, t) }) {
			return t.Key + "=" + t.Value + ":" + string(t.Effect)
		}
	}
	return ""
}

func tolerates(tol corev1.Toleration, t corev1.Taint) bool {
	if tol.Effect != "" && tol.Effect != t.Effect || tol.Key != "" && tol.Key != t.Key {
		return false
	}
	if tol.Operator == corev1.TolerationOpExists {
		return true
	}
	return tol.Key != "" && tol.Value == t.Value
}

// someOf names the first few of many.
func someOf(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// lokiConfig is a configuration of Loki in a ConfigMap.
type lokiConfig struct {
	cm   *corev1.ConfigMap
	text snapshot.Text
	root *yaml.Node
}

func lokiConfigs(s *snapshot.Snapshot) []lokiConfig {
	var out []lokiConfig
	for _, cm := range s.ConfigMaps() {
		for _, key := range []string{"config.yaml", "loki.yaml"} {
			if !strings.Contains(cm.Data[key], "schema_config:") {
				continue
			}
			if root, err := snapshot.ParseYAML(cm.Data[key]); err == nil && root != nil {
				out = append(out, lokiConfig{cm, s.DataText(cm, key), root})
			}
		}
	}
	return out
}

// ingesting are the values of the component label of those that store lines.
var ingesting = []string{"single-binary", "write", "ingester"}

func checkReplication(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, l := range lokiConfigs(s) {
		n := snapshot.Lookup(l.root, "common", "replication_factor")
		if n == nil {
			continue
		}
		factor, err := strconv.Atoi(n.Value)
		if err != nil {
			continue
		}
		ingesters, first := 0, (*snapshot.Component)(nil)
		for _, c := range running(s, snapshot.Loki) {
			if c.Namespace() != l.cm.Namespace || !slices.Contains(ingesting, c.Template.Labels["app.kubernetes.io/component"]) || !mounts(c, l.cm.Name) {
				continue
			}
			ingesters += replicasOf(c)
			if first == nil {
				first = c
			}
		}
		if ingesters == 0 || ingesters >= factor {
			continue // with none, Loki is switched off altogether
		}
		f := Finding{Status: Warning, Ref: l.text.At(n.Line, n.Column), Detail: fmt.Sprintf("replication_factor is %d, with %s (%s): the loss of one stops all writing", factor, plural(ingesters, "ingester"), first.Name()),
			Fix: fmt.Sprintf("loki.commonConfig.replication_factor: %d", max(ingesters, 1))}
		if ingesters < factor/2+1 {
			f.Status, f.Detail = Error, fmt.Sprintf("replication_factor is %d, with %s (%s): every push fails, at least %d are required", factor, plural(ingesters, "ingester"), first.Name(), factor/2+1)
			f.Explains = append(complaintsIn("", "replicas"), "LS1003", "LS1005")
		}
		out = append(out, f)
	}
	return out
}

// replicasOf is how many pods a workload wants.
func replicasOf(c *snapshot.Component) int {
	var n *int32
	switch w := c.Workload.(type) {
	case *appsv1.StatefulSet:
		n = w.Spec.Replicas
	case *appsv1.Deployment:
		n = w.Spec.Replicas
	case *appsv1.DaemonSet:
		return int(w.Status.DesiredNumberScheduled)
	}
	if n == nil {
		return 1
	}
	return int(*n)
}

// mounts says whether the pods of a workload mount a ConfigMap.
func mounts(c *snapshot.Component, configMap string) bool {
	return slices.ContainsFunc(c.Template.Spec.Volumes, func(v corev1.Volume) bool {
		return v.ConfigMap != nil && v.ConfigMap.Name == configMap
	})
}

func checkEndOfLife(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, c := range running(s, snapshot.Promtail, snapshot.GrafanaAgent) {
		f := Finding{Status: Warning, Ref: s.Ref(c.Workload), Detail: "Promtail is at its end of life since 2026-03-02 (" + c.Image() + ")",
			Fix: "alloy convert --source-format=promtail -o config.alloy promtail.yaml, then run it with Alloy"}
		if c.Product == snapshot.GrafanaAgent {
			f.Detail, f.Fix = "Grafana Agent is at its end of life since 2025-11-01 ("+c.Image()+")", "run its configuration with Alloy: alloy convert --source-format=static -o config.alloy agent.yaml (flow mode needs no conversion)"
		}
		out = append(out, f)
	}
	return out
}

// checkTwice compares what the collectors read and where they write.
func checkTwice(s *snapshot.Snapshot) []Finding {
	type reader struct {
		c     *snapshot.Collector
		hosts []string
	}
	var readers []reader
	for _, c := range s.Collectors() {
		if c.Err != nil {
			continue
		}
		cfg := conf.Parse(string(c.Product), c.Config.Content)
		if cfg == nil || !readsAllPods(cfg) {
			continue
		}
		var hosts []string
		for i := range cfg.Endpoints {
			if u := cfg.Endpoints[i].Parse(); u != nil {
				name, ns, in := splitHost(u.Hostname(), c.Namespace)
				if in {
					name += "." + ns
				}
				hosts = append(hosts, name)
			}
		}
		readers = append(readers, reader{c, hosts})
	}
	var out []Finding
	for i, b := range readers {
		for _, a := range readers[:i] {
			if a.c.Component != nil && a.c.Component == b.c.Component {
				continue
			}
			j := slices.IndexFunc(b.hosts, func(h string) bool { return slices.Contains(a.hosts, h) })
			if j < 0 {
				continue
			}
			out = append(out, Finding{Status: Warning, Ref: b.c.Config.Ref, Detail: fmt.Sprintf("%s and %s both read the logs of all pods and write to %s: every line is stored twice", a.c.Title(), b.c.Title(), b.hosts[j]),
				Fix: "remove one of the two, or limit each to its own namespaces"})
			break
		}
	}
	return out
}

// readsAllPods: a source of pod logs without a limit to namespaces.
func readsAllPods(cfg *conf.Config) bool {
	for _, src := range cfg.Sources {
		if !src.Reaches {
			continue
		}
		if src.PodLogs || src.SelfLimited {
			return true
		}
		for _, ch := range src.Chains {
			if ch.Pods && len(ch.Namespaces) == 0 && !filtered(ch.Rules) {
				return true
			}
		}
	}
	return false
}

// filtered: a rule keeps or drops some of the pods.
func filtered(rules []conf.Rule) bool {
	for _, r := range rules {
		if r.Config != nil && (r.Config.Action == "keep" || r.Config.Action == "drop") && !ownNode(r) {
			return true
		}
	}
	return false
}

func ownNode(r conf.Rule) bool {
	for _, l := range r.Config.SourceLabels {
		if strings.Contains(string(l), "node_name") {
			return true
		}
	}
	return false
}
