package doctor

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// Category 08: Grafana.
func grafanaChecks() []Check {
	needs := []snapshot.Input{snapshot.ConfigMaps}
	withStacks := []snapshot.Input{snapshot.Stacks}
	applies := func(s *snapshot.Snapshot) bool { return len(datasources(s)) > 0 }
	return append([]Check{
		{
			Code: "LS0802", Severity: Error, Title: "Grafana has the sidecar that loads datasources",
			Explain: "ConfigMaps with datasources are loaded by a sidecar of the Grafana pod whose FOLDER is .../provisioning/datasources. The grafana chart does not add it by default (sidecar.datasources.enabled is false; kube-prometheus-stack sets it): without it the ConfigMaps lie there and nothing happens.",
			Fix:     "grafana values: sidecar.datasources.enabled: true",
			Needs:   []snapshot.Input{snapshot.Stacks}, Uses: needs, Applies: func(s *snapshot.Snapshot) bool { return len(grafanas(s)) > 0 }, Run: missingSidecar,
		},
		{
			Code: "LS0801", Severity: Error, Title: "datasource ConfigMaps have the label that the sidecar looks for",
			Explain: "The sidecar takes ConfigMaps with the label of its environment variable LABEL (grafana_datasource by default) and, where LABEL_VALUE is set, that value only: kube-prometheus-stack asks for \"1\".",
			Fix:     "kubectl label cm NAME grafana_datasource=1",
			Needs:   needs, Uses: withStacks, Applies: applies, Run: wrongLabel,
		},
		{
			Code: "LS0803", Severity: Error, Title: "the sidecar looks in the namespace of the datasource",
			Explain: "Without NAMESPACE the sidecar searches Grafana's own namespace only; a list of namespaces or ALL widens it (and needs a ClusterRole).",
			Fix:     "create the ConfigMap in Grafana's namespace, or grafana values: sidecar.datasources.searchNamespace: ALL",
			Needs:   needs, Uses: withStacks, Applies: applies, Run: wrongSearch,
		},
		{
			Code: "LS0804", Severity: Error, Title: "the URLs of datasources lead to Loki",
			Explain: "The URL of each Loki datasource is resolved as Grafana's pod would: host, namespace, port and kind of the Service. Grafana adds the path of the API itself: the URL is the base URL only.",
			Fix:     "url: http://SERVICE.NAMESPACE.svc:PORT",
			Needs:   []snapshot.Input{snapshot.ConfigMaps, snapshot.Services}, Uses: []snapshot.Input{snapshot.Stacks, snapshot.Namespaces}, Applies: hasLokiDatasource, Run: datasourceURLs,
		},
		{
			Code: "LS0805", Severity: Error, Title: "names and uids of datasources are unique",
			Explain: "Two provisioned datasources of one organisation with the same uid or name overwrite each other, or stop the provisioning.",
			Fix:     "give one of them another uid or name",
			Needs:   needs, Applies: applies, Run: clashingDatasources,
		},
		{
			Code: "LS0806", Severity: Error, Title: "at most one datasource is the default",
			Explain: "With two defaults in one organisation Grafana refuses the provisioning (\"Only one datasource per organization can be marked as default\"), and does not start. loki-stack marks its Loki as default, kube-prometheus-stack its Prometheus.",
			Fix:     "isDefault: false in one of them",
			Needs:   needs, Applies: applies, Run: twoDefaults,
		},
		{
			Code: "LS0807", Severity: Warning, Title: "datasource ConfigMaps use different file names",
			Explain: "The sidecar writes every data key as a file of that name into one directory: of two ConfigMaps with the same key, the last one wins and the other's datasources are gone.",
			Fix:     "rename the key in one of them",
			Needs:   needs, Applies: applies, Run: sameFile,
		},
		{
			Code: "LS0808", Severity: Error, Title: "datasources name a tenant where Loki asks for one",
			Explain: "With auth_enabled: true Loki refuses queries without X-Scope-OrgID (401 no org id). A datasource sends it by jsonData.httpHeaderName1 and secureJsonData.httpHeaderValue1.",
			Fix:     "jsonData: {httpHeaderName1: X-Scope-OrgID}, secureJsonData: {httpHeaderValue1: TENANT}",
			Needs:   needs, Uses: []snapshot.Input{snapshot.Releases, snapshot.Secrets, snapshot.Stacks}, Applies: hasLokiDatasource, Run: datasourceTenant,
		},
	}, loadedChecks()...)
}

// datasource is one of a provisioning file in a ConfigMap.
type datasource struct {
	cm                    *corev1.ConfigMap
	key                   string
	node                  *yaml.Node
	text                  snapshot.Text
	name, kind, uid, url  string
	org                   string
	isDefault, tenant, ba bool
}

func (d *datasource) ref(key string) snapshot.Ref {
	n := d.node
	if v := snapshot.Lookup(d.node, key); v != nil {
		n = v
	}
	return d.text.At(n.Line, n.Column)
}

// datasources are all that ConfigMaps provision.
func datasources(s *snapshot.Snapshot) []*datasource {
	var out []*datasource
	for _, cm := range s.ConfigMaps() {
		for _, key := range keysIn(cm.Data) {
			if !strings.Contains(cm.Data[key], "datasources:") {
				continue
			}
			root, err := snapshot.ParseYAML(cm.Data[key])
			if err != nil {
				continue
			}
			list := snapshot.Lookup(root, "datasources")
			if list == nil || list.Kind != yaml.SequenceNode {
				continue
			}
			text := s.DataText(cm, key)
			for _, n := range list.Content {
				get := func(path ...string) string {
					if v := snapshot.Lookup(n, path...); v != nil && v.Kind == yaml.ScalarNode {
						return v.Value
					}
					return ""
				}
				d := &datasource{cm: cm, key: key, node: n, text: text, name: get("name"), kind: get("type"), uid: get("uid"), url: get("url"), org: orElse(get("orgId"), "1"),
					isDefault: get("isDefault") == "true", ba: get("basicAuth") == "true"}
				snapshot.Entries(snapshot.Lookup(n, "jsonData"), func(k string, _, v *yaml.Node) {
					d.tenant = d.tenant || strings.HasPrefix(k, "httpHeaderName") && v != nil && strings.EqualFold(v.Value, "X-Scope-OrgID")
				})
				if d.kind != "" {
					out = append(out, d)
				}
			}
		}
	}
	return out
}

func keysIn(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func hasLokiDatasource(s *snapshot.Snapshot) bool {
	return slices.ContainsFunc(datasources(s), func(d *datasource) bool { return d.kind == "loki" })
}

// sidecar is the container that loads datasources, by its own environment.
type sidecar struct {
	label, value string
	namespaces   []string // nil: all
}

func grafanas(s *snapshot.Snapshot) []*snapshot.Component {
	var out []*snapshot.Component
	for _, c := range s.Stacks() {
		if c.Product == snapshot.Grafana {
			out = append(out, c)
		}
	}
	return out
}

// sidecarOf finds the datasource sidecar of a Grafana, also as init container.
func sidecarOf(c *snapshot.Component) *sidecar {
	for _, ct := range append(slices.Clone(c.Template.Spec.Containers), c.Template.Spec.InitContainers...) {
		env := map[string]string{}
		for _, e := range ct.Env {
			env[e.Name] = e.Value
		}
		if !strings.Contains(env["FOLDER"], "provisioning/datasources") {
			continue
		}
		sc := &sidecar{label: orElse(env["LABEL"], snapshot.GrafanaLabel), value: env["LABEL_VALUE"], namespaces: []string{c.Namespace()}}
		switch ns := env["NAMESPACE"]; {
		case ns == "ALL":
			sc.namespaces = nil
		case ns != "":
			sc.namespaces = strings.Split(ns, ",")
		}
		return sc
	}
	return nil
}

// mountedBy says whether a Grafana mounts the ConfigMap itself: no sidecar is needed.
func mountedBy(s *snapshot.Snapshot, cm *corev1.ConfigMap) bool {
	for _, g := range grafanas(s) {
		for _, v := range g.Template.Spec.Volumes {
			if v.ConfigMap != nil && v.ConfigMap.Name == cm.Name && g.Namespace() == cm.Namespace {
				return true
			}
		}
	}
	return false
}

// loose are the ConfigMaps with datasources that only a sidecar can load.
func loose(s *snapshot.Snapshot) []*corev1.ConfigMap {
	var out []*corev1.ConfigMap
	for _, d := range datasources(s) {
		if !slices.Contains(out, d.cm) && !mountedBy(s, d.cm) {
			out = append(out, d.cm)
		}
	}
	return out
}

func missingSidecar(s *snapshot.Snapshot) []Finding {
	if s.Missing(snapshot.ConfigMaps) == nil && len(loose(s)) == 0 && len(labelled(s)) == 0 {
		return nil // nothing is there that it could load
	}
	var out []Finding
	for _, g := range grafanas(s) {
		if sidecarOf(g) == nil {
			f := Finding{Status: Error, Ref: s.Ref(g.Workload), Detail: "no container has FOLDER=.../provisioning/datasources: datasource ConfigMaps are not loaded",
				Fix: "grafana values: sidecar.datasources.enabled: true", Patch: "# values of the grafana chart\n+sidecar:\n+    datasources:\n+        enabled: true\n"}
			if cms := loose(s); len(cms) > 0 {
				f.Detail += " (" + cms[0].Namespace + "/" + cms[0].Name + ")"
			}
			out = append(out, f)
		}
	}
	return out
}

func labelled(s *snapshot.Snapshot) []*corev1.ConfigMap {
	var out []*corev1.ConfigMap
	for _, cm := range s.ConfigMaps() {
		if _, ok := cm.Labels[snapshot.GrafanaLabel]; ok {
			out = append(out, cm)
		}
	}
	return out
}

func sidecars(s *snapshot.Snapshot) []*sidecar {
	var out []*sidecar
	for _, g := range grafanas(s) {
		if sc := sidecarOf(g); sc != nil {
			out = append(out, sc)
		}
	}
	return out
}

func (sc *sidecar) takes(cm *corev1.ConfigMap) bool {
	v, ok := cm.Labels[sc.label]
	return ok && (sc.value == "" || v == sc.value)
}

func (sc *sidecar) searches(ns string) bool {
	return sc.namespaces == nil || slices.Contains(sc.namespaces, ns)
}

func wrongLabel(s *snapshot.Snapshot) []Finding {
	all := sidecars(s)
	if len(all) == 0 {
		return nil
	}
	var out []Finding
	for _, cm := range loose(s) {
		if slices.ContainsFunc(all, func(sc *sidecar) bool { return sc.takes(cm) }) {
			continue
		}
		sc := all[0]
		value := orElse(sc.value, "1")
		detail := "it has no label " + sc.label
		if v, ok := cm.Labels[sc.label]; ok {
			detail = fmt.Sprintf("its label %s is %q, the sidecar asks for %q", sc.label, v, sc.value)
		}
		out = append(out, Finding{Status: Error, Ref: s.Ref(cm, "metadata", "labels"), Detail: detail + ": Grafana does not load its datasources",
			Fix: fmt.Sprintf("kubectl label cm -n %s %s %s=%s --overwrite", cm.Namespace, cm.Name, sc.label, value)})
	}
	return out
}

func wrongSearch(s *snapshot.Snapshot) []Finding {
	all := sidecars(s)
	if len(all) == 0 {
		return nil
	}
	var out []Finding
	for _, cm := range loose(s) {
		takers := slices.DeleteFunc(slices.Clone(all), func(sc *sidecar) bool { return !sc.takes(cm) })
		if len(takers) == 0 || slices.ContainsFunc(takers, func(sc *sidecar) bool { return sc.searches(cm.Namespace) }) {
			continue
		}
		out = append(out, Finding{Status: Error, Ref: s.Ref(cm), Detail: fmt.Sprintf("it is in namespace %s, and the sidecar searches %s", cm.Namespace, strings.Join(takers[0].namespaces, ", ")),
			Fix: "create it in namespace " + takers[0].namespaces[0] + ", or grafana values: sidecar.datasources.searchNamespace: ALL"})
	}
	return out
}

// consumerOf is the namespace in which a datasource's host is resolved.
func consumerOf(s *snapshot.Snapshot, d *datasource) string {
	if g := grafanas(s); len(g) == 1 {
		return g[0].Namespace()
	}
	return d.cm.Namespace
}

func datasourceURLs(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, d := range datasources(s) {
		if d.kind != "loki" {
			continue
		}
		t, ok := fromAddress(d.url)
		if !ok || t.scheme == "" {
			if d.url != "" && !strings.Contains(d.url, "$") {
				out = append(out, Finding{Status: Error, Ref: d.ref("url"), Detail: fmt.Sprintf("datasource %s: %q is no URL", d.name, snapshot.RedactText(d.url)), Fix: "url: http://SERVICE.NAMESPACE.svc:PORT"})
			}
			continue
		}
		t.namespace, t.who, t.base = consumerOf(s, d), "datasource "+d.name, true
		t.symptoms = []string{"LS0809"}
		r := resolve(s, t)
		if strings.Trim(t.path, "/") != "" && strings.Contains(t.path, "/loki/") {
			out = append(out, Finding{Status: Warning, Ref: d.ref("url"), Detail: fmt.Sprintf("datasource %s: Grafana adds /loki/api/v1 itself; with the path %s the answer is 404", d.name, t.path), Fix: "url: " + strings.TrimSuffix(d.url, t.path)})
			t.path = ""
		}
		if r.external {
			continue
		}
		for _, rule := range []func(*snapshot.Snapshot, target, resolution) *Finding{missingHost, wrongNamespace, shortName, clusterDomain, wrongPort, helperService} {
			if f := rule(s, t, r); f != nil {
				f.Ref = d.ref("url")
				out = append(out, *f)
			}
		}
	}
	return out
}

func clashingDatasources(s *snapshot.Snapshot) []Finding {
	var out []Finding
	seen := map[string]*datasource{}
	for _, d := range datasources(s) {
		for _, k := range []struct{ what, value string }{{"uid", d.uid}, {"name", d.name}} {
			if k.value == "" {
				continue
			}
			key := d.org + "/" + k.what + "/" + k.value
			first := seen[key]
			if first == nil {
				seen[key] = d
				continue
			}
			out = append(out, Finding{Status: Error, Ref: d.ref(k.what), Detail: fmt.Sprintf("%s %q is used by %q (%s/%s) and %q (%s/%s)", k.what, k.value, first.name, first.cm.Namespace, first.cm.Name, d.name, d.cm.Namespace, d.cm.Name),
				Fix: "give one of them another " + k.what + ", or delete the ConfigMap that is not needed"})
			break
		}
	}
	return out
}

func twoDefaults(s *snapshot.Snapshot) []Finding {
	byOrg := map[string][]*datasource{}
	var orgs []string
	for _, d := range datasources(s) {
		if d.isDefault {
			if byOrg[d.org] == nil {
				orgs = append(orgs, d.org)
			}
			byOrg[d.org] = append(byOrg[d.org], d)
		}
	}
	var out []Finding
	for _, org := range orgs {
		list := byOrg[org]
		if len(list) < 2 {
			continue
		}
		var names []string
		last := list[0]
		for _, d := range list {
			names = append(names, fmt.Sprintf("%s (%s/%s)", d.name, d.cm.Namespace, d.cm.Name))
			if d.kind == "loki" {
				last = d // Prometheus is the usual default
			}
		}
		out = append(out, Finding{Status: Error, Ref: last.ref("isDefault"), Detail: fmt.Sprintf("%d datasources are the default of organisation %s: %s; Grafana refuses the provisioning", len(list), org, strings.Join(names, ", ")),
			Fix: "isDefault: false in " + last.cm.Namespace + "/" + last.cm.Name, Explains: []string{"LS0401@pod/*/*grafana*", "LS0809"}})
	}
	return out
}

func sameFile(s *snapshot.Snapshot) []Finding {
	seen := map[string]*corev1.ConfigMap{}
	var out []Finding
	for _, d := range datasources(s) {
		first := seen[d.key]
		if first == nil {
			seen[d.key] = d.cm
			continue
		}
		if first == d.cm {
			continue
		}
		out = append(out, Finding{Status: Warning, Ref: s.Ref(d.cm, "data", d.key), Detail: fmt.Sprintf("key %q is also in %s/%s: both become the same file, the last one wins", d.key, first.Namespace, first.Name),
			Fix: "rename the key, for example to " + d.cm.Name + ".yaml"})
	}
	return out
}

func datasourceTenant(s *snapshot.Snapshot) []Finding {
	auth := lokiAuth(s)
	var out []Finding
	for _, d := range datasources(s) {
		t, ok := fromAddress(d.url)
		if d.kind != "loki" || !ok || d.tenant || d.ba {
			continue
		}
		if _, ns, in := splitHost(t.host, consumerOf(s, d)); in && auth[ns] {
			out = append(out, Finding{Status: Error, Ref: d.ref("url"), Detail: fmt.Sprintf("Loki in namespace %s has auth_enabled: true, and datasource %s names no tenant: 401 no org id", ns, d.name),
				Fix: "jsonData: {httpHeaderName1: X-Scope-OrgID}, secureJsonData: {httpHeaderValue1: TENANT}; or loki.auth_enabled: false"})
		}
	}
	return out
}
