package doctor

import (
	"fmt"
	"path"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/conf"
	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// simulationPods are pods to run relabel rules on: of the cluster where they
// may be read (one normal, one with many dashes, one static), else typical ones.
func simulationPods(s *snapshot.Snapshot) (pods []conf.Pod, live bool) {
	var plain, dashes, static *conf.Pod
	for _, p := range s.Pods() {
		if p.Status.Phase != corev1.PodRunning || len(p.Spec.Containers) == 0 {
			continue
		}
		c := confPod(p)
		switch {
		case c.Static():
			if static == nil {
				static = &c
			}
		case plain == nil:
			plain = &c
		case dashes == nil || strings.Count(c.Name, "-") > strings.Count(dashes.Name, "-"):
			dashes = &c
		}
	}
	for _, p := range []*conf.Pod{plain, dashes, static} {
		if p != nil {
			pods = append(pods, *p)
		}
	}
	if plain == nil {
		return conf.SamplePods(), false
	}
	return pods, true
}

func confPod(p *corev1.Pod) conf.Pod {
	c := conf.Pod{Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), Container: p.Spec.Containers[0].Name, Node: p.Spec.NodeName, IP: p.Status.PodIP, Labels: p.Labels, Annotations: p.Annotations}
	for _, st := range p.Status.ContainerStatuses {
		if st.Name == c.Container {
			c.ContainerID = st.ContainerID
		}
	}
	return c
}

// trapped says whether a chain has a rule that LS0705 names: its paths are
// wrong for that reason.
func trapped(ch *conf.Chain) bool {
	return slices.ContainsFunc(ch.Rules, func(r conf.Rule) bool { return r.Err != nil || len(r.Traps()) > 0 })
}

func simulatedPaths(c collectorCtx) []Finding {
	pods, live := simulationPods(c.s)
	var out []Finding
	for _, src := range c.cfg.Sources {
		if src.Kind != conf.File {
			continue
		}
		for i := range src.Chains {
			ch := &src.Chains[i]
			if !ch.Pods || trapped(ch) {
				continue
			}
			if f := simulateChain(c, ch, pods, live); f != nil {
				out = append(out, *f)
			}
		}
	}
	return out
}

// simulateChain runs a chain on the pods. Static pods alone going wrong is a
// warning: their logs are missed, all others come.
func simulateChain(c collectorCtx, ch *conf.Chain, pods []conf.Pod, live bool) *Finding {
	var worst *Finding
	for _, p := range pods {
		out, kept, ok := conf.Simulate(ch.Rules, conf.PodTarget(p))
		if !ok || !kept {
			continue
		}
		got := out.Get("__path__")
		fits, known := conf.PathFits(got, p)
		if fits || !known {
			continue
		}
		f := &Finding{Status: Error, Ref: c.at(pathRule(ch)), Explains: append(complaintsIn(c.Namespace, "stat-failed"), "LS1003")}
		which := "pod"
		if p.Static() {
			f.Status, which = Warning, "static pod"
		}
		if !live {
			which = "a " + which + " like"
		}
		if got == "" {
			f.Detail = fmt.Sprintf("for %s %s/%s no __path__ comes out of the rules: the regular expression does not match", which, p.Namespace, p.Name)
		} else {
			f.Detail = fmt.Sprintf("for %s %s/%s the rules yield %s; its files are in %s", which, p.Namespace, p.Name, got, p.Dir())
		}
		f.Fix = `source_labels = ["__meta_kubernetes_pod_uid", "__meta_kubernetes_pod_container_name"], separator = "/", replacement = "/var/log/pods/*$1/*.log"`
		if p.Static() {
			f.Fix = `add a rule for static pods: source_labels = ["__meta_kubernetes_pod_annotationpresent_kubernetes_io_config_hash", "__meta_kubernetes_pod_annotation_kubernetes_io_config_hash", "__meta_kubernetes_pod_container_name"], separator = "/", regex = "true/(.*)", replacement = "/var/log/pods/*$1/*.log"`
		}
		if worst == nil || worst.Status == Warning && f.Status == Error {
			worst = f
		}
	}
	return worst
}

// pathRule is the place of the rule that builds __path__, else of the chain.
func pathRule(ch *conf.Chain) conf.Pos {
	for _, r := range slices.Backward(ch.Rules) {
		if r.Config != nil && r.Config.TargetLabel == "__path__" {
			return r.ReplPos
		}
	}
	return ch.Pos
}

// filePaths are the paths that a file source will open, with their places.
func filePaths(c collectorCtx, src *conf.Source) []conf.Literal {
	var out []conf.Literal
	pods, _ := simulationPods(c.s)
	for i := range src.Chains {
		ch := &src.Chains[i]
		for _, p := range ch.Paths {
			out = append(out, conf.Literal{Value: p, Pos: ch.PathPos})
		}
		if len(ch.Paths) > 0 || len(pods) == 0 {
			continue
		}
		if res, kept, ok := conf.Simulate(ch.Rules, conf.PodTarget(pods[0])); ok && kept && res.Get("__path__") != "" {
			out = append(out, conf.Literal{Value: res.Get("__path__"), Pos: pathRule(ch)})
		}
	}
	return out
}

func literalGlobs(c collectorCtx) []Finding {
	var out []Finding
	for _, src := range c.cfg.Sources {
		if src.Kind != conf.File || src.Globs {
			continue
		}
		for _, p := range filePaths(c, &src) {
			if strings.ContainsAny(p.Value, "*?[{") {
				out = append(out, Finding{Status: Error, Ref: c.at(src.Pos), Detail: fmt.Sprintf("%s gets %s and does not expand patterns: it looks for a file with an asterisk in its name (\"stat failed\")", src.Component, p.Value),
					Fix: "add file_match { enabled = true } to it (Alloy >= 1.12), or put a local.file_match before it", Explains: append(complaintsIn(c.Namespace, "stat-failed"), "LS1003")})
				break
			}
		}
	}
	return out
}

func unmountedPaths(c collectorCtx) []Finding {
	if c.Component == nil {
		return nil
	}
	var out []Finding
	for _, src := range c.cfg.Sources {
		if src.Kind != conf.File {
			continue
		}
		for _, p := range filePaths(c, &src) {
			dir := literalDir(p.Value)
			if strings.HasPrefix(dir, "/var/log/pods/") {
				dir = "/var/log/pods"
			}
			if !strings.HasPrefix(dir, "/var/log") && !strings.HasPrefix(dir, "/var/lib/docker") || mounted(c.Component.Template, dir) {
				continue
			}
			f := Finding{Status: Error, Ref: c.at(src.Pos), Detail: fmt.Sprintf("%s reads %s, and no hostPath volume of %s is mounted there", src.Component, dir, strings.ToLower(c.Component.Kind)+" "+c.Component.Name()),
				Fix: "read through the API: loki.source.kubernetes needs no mount; or mount /var/log of the node (needs PodSecurity level privileged)", Explains: append(complaintsIn(c.Namespace, "stat-failed"), "LS1003")}
			if c.Product == snapshot.Alloy {
				f.Fix = "read through the API: loki.source.kubernetes needs no mount; or alloy.mounts.varlog: true (needs PodSecurity level privileged)"
				if c.Release != nil {
					f.Ref = c.Release.Ref("alloy", "mounts", "varlog")
					f.Detail += ": alloy.mounts.varlog is " + c.Release.Effective("false", "alloy", "mounts", "varlog")
					f.Patch = chartCtx{r: c.Release}.setPatch("alloy.mounts.varlog", "true", "!!bool")
				}
			}
			out = append(out, f)
			break
		}
	}
	return out
}

// literalDir is the part of a pattern before its first special character.
func literalDir(pattern string) string {
	if i := strings.IndexAny(pattern, "*?[{"); i >= 0 {
		pattern = pattern[:i]
		return path.Clean(pattern[:strings.LastIndexByte(pattern, '/')+1])
	}
	return path.Dir(pattern)
}

// mounted says whether a directory of the node is mounted into a container.
func mounted(tmpl *corev1.PodTemplateSpec, dir string) bool {
	host := map[string]bool{}
	for _, v := range tmpl.Spec.Volumes {
		// A claim may hold logs, too: only what is surely not the node's is out.
		host[v.Name] = v.HostPath != nil || v.PersistentVolumeClaim != nil || v.CSI != nil
	}
	for _, ct := range tmpl.Spec.Containers {
		for _, m := range ct.VolumeMounts {
			if host[m.Name] && (dir == m.MountPath || strings.HasPrefix(dir+"/", strings.TrimSuffix(m.MountPath, "/")+"/") || strings.HasPrefix(m.MountPath+"/", dir+"/")) {
				return true
			}
		}
	}
	return false
}

// instances says how many copies of a collector run: more than one reads more
// than once. ok is false when nobody knows.
func instances(c collectorCtx) (many, ok bool) {
	switch c.Kind {
	case "DaemonSet":
		return true, true
	case "Deployment", "StatefulSet":
		if c.Component == nil {
			return false, false
		}
		switch w := c.Component.Workload.(type) {
		case *appsv1.Deployment:
			return w.Spec.Replicas != nil && *w.Spec.Replicas > 1, true
		case *appsv1.StatefulSet:
			return w.Spec.Replicas != nil && *w.Spec.Replicas > 1, true
		}
	}
	return false, false
}

// clustered says whether the process was started as a member of a cluster.
func clustered(c collectorCtx) bool {
	if c.Component == nil {
		return true
	}
	for _, ct := range c.Component.Template.Spec.Containers {
		for _, a := range append(slices.Clone(ct.Args), ct.Command...) {
			if strings.HasPrefix(a, "--cluster.enabled") && !strings.HasSuffix(a, "=false") {
				return true
			}
		}
	}
	return false
}

func readTwice(c collectorCtx) []Finding {
	many, ok := instances(c)
	if !ok || !many {
		return nil
	}
	var out []Finding
	for _, src := range c.cfg.Sources {
		if src.SelfLimited {
			continue
		}
		if src.Clustering && clustered(c) {
			continue
		}
		unlimited := src.PodLogs
		for _, ch := range src.Chains {
			unlimited = unlimited || ch.Pods && !ch.NodeLimited
		}
		if !unlimited {
			continue
		}
		f := Finding{Status: Error, Ref: c.at(src.Pos), Detail: fmt.Sprintf("%s in a %s reads all pods from every instance: every line is stored once per instance", src.Component, c.Kind),
			Fix: `selectors { role = "pod", field = "spec.nodeName=" + coalesce(sys.env("HOSTNAME"), constants.hostname) } in discovery.kubernetes, or clustering { enabled = true } with alloy.clustering.enabled: true`}
		switch {
		case src.Clustering:
			f.Detail += "; clustering is enabled in the configuration, and the process is not started with --cluster.enabled"
			f.Fix = "alloy.clustering.enabled: true in the values of the alloy chart"
		case src.Kind == conf.File:
			f.Status = Warning
			f.Detail = fmt.Sprintf("%s in a %s: every instance watches every pod of the cluster, also those whose files are on other nodes", src.Component, c.Kind)
		case c.Kind != "DaemonSet":
			f.Fix = "clustering { enabled = true } in the source, with alloy.clustering.enabled: true in the values, or one replica"
		}
		out = append(out, f)
	}
	return out
}

func unparsedLines(c collectorCtx) []Finding {
	var out []Finding
	for _, src := range c.cfg.Sources {
		if src.Kind != conf.File || src.Parses || !src.Reaches {
			continue
		}
		for _, p := range filePaths(c, &src) {
			if strings.HasPrefix(p.Value, "/var/log/pods") || strings.HasPrefix(p.Value, "/var/log/containers") {
				fix := "stage.cri {} in a loki.process between " + src.Component + " and the writer"
				if c.Product != snapshot.Alloy && c.Product != snapshot.GrafanaAgent {
					fix = map[snapshot.Product]string{snapshot.Promtail: "pipeline_stages: [{cri: {}}]", snapshot.FluentBit: "multiline.parser docker, cri",
						snapshot.Vector: "type: kubernetes_logs in place of file: it parses the format, and knows the pods"}[c.Product]
				}
				out = append(out, Finding{Status: Warning, Ref: c.at(src.Pos), Detail: src.Component + " stores the runtime's prefix (timestamp, stream, flag) as part of every line", Fix: fix})
				break
			}
		}
	}
	return out
}

// lokiAuth says for each namespace with a Loki whether it asks for a tenant.
func lokiAuth(s *snapshot.Snapshot) map[string]bool {
	auth := map[string]bool{}
	for _, r := range s.Releases() {
		if r.Chart == "loki" && len(r.Incomplete) == 0 && lokiOwnsConfig(r) {
			auth[r.Namespace] = r.Effective("true", "loki", "auth_enabled") == "true"
		}
	}
	for _, cm := range s.ConfigMaps() {
		for _, key := range []string{"config.yaml", "loki.yaml", "local-config.yaml"} {
			if on, ok := authEnabled(cm.Data[key]); ok {
				auth[cm.Namespace] = on
			}
		}
	}
	for _, sec := range s.Secrets() {
		for _, key := range []string{"config.yaml", "loki.yaml"} {
			if on, ok := authEnabled(string(sec.Data[key]) + sec.StringData[key]); ok {
				auth[sec.Namespace] = on
			}
		}
	}
	return auth
}

// lokiOwnsConfig: with a configuration of the user's own, the value says nothing.
func lokiOwnsConfig(r *snapshot.Release) bool {
	return snapshot.IsEmpty(r.Value("loki", "config")) && snapshot.IsEmpty(r.Value("loki", "structuredConfig", "auth_enabled"))
}

func authEnabled(config string) (on, ok bool) {
	for line := range strings.Lines(config) {
		if v, found := strings.CutPrefix(line, "auth_enabled:"); found {
			v, _, _ = strings.Cut(v, "#")
			return strings.TrimSpace(v) == "true", true
		}
	}
	return false, false
}

func missingTenant(c collectorCtx) []Finding {
	auth := lokiAuth(c.s)
	var out []Finding
	for i := range c.cfg.Endpoints {
		e := &c.cfg.Endpoints[i]
		u := e.Parse()
		if u == nil || !e.Loki || e.Tenant || e.Auth || u.User != nil {
			continue
		}
		_, ns, _ := splitHost(u.Hostname(), c.Namespace)
		if !auth[ns] {
			continue
		}
		fix := map[snapshot.Product]string{snapshot.Promtail: "tenant_id: NAME in this client", snapshot.FluentBit: "Tenant_ID NAME in this output", snapshot.Vector: "tenant_id: NAME in this sink"}[c.Product]
		if fix == "" {
			fix = `endpoint { tenant_id = "NAME" }`
		}
		out = append(out, Finding{Status: Error, Ref: c.at(e.Pos), Detail: "Loki in namespace " + ns + " has auth_enabled: true, and this client names no tenant: 401 no org id",
			Fix: fix + ", or loki.auth_enabled: false in the values of Loki", Explains: append(complaintsIn(c.Namespace, "tenant"), "LS1005")})
	}
	return out
}
