package snapshot

import (
	"strings"

	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// valuesCollectors are the configurations that the charts alloy and promtail
// will render from values. What runs wins over what the cluster's own
// descriptions say; a file wins over what runs ("what if").
func (s *Snapshot) valuesCollectors() []*Collector {
	var out []*Collector
	for _, r := range s.d.releases {
		if r.src == nil && s.runs(r) {
			continue
		}
		c := s.predict(r)
		if c == nil {
			continue
		}
		if r.src != nil {
			s.dropCollectorsOf(r)
		}
		s.d.stacks = append(s.d.stacks, c.Component)
		out = append(out, c)
	}
	return out
}

// runs says whether workloads of the release are in the snapshot.
func (s *Snapshot) runs(r *Release) bool {
	for _, c := range s.d.stacks {
		if c.Release == r.Name && c.Namespace() == r.Namespace {
			return true
		}
	}
	return false
}

func (s *Snapshot) dropCollectorsOf(r *Release) {
	kept := s.d.collectors[:0]
	for _, c := range s.d.collectors {
		if c.Component == nil || c.Component.Release != r.Name || c.Namespace != r.Namespace || s.d.sources[c.Component.Workload] != nil {
			kept = append(kept, c)
		}
	}
	s.d.collectors = kept
}

// predict builds the collector that a chart renders; nil when the chart is
// none, or its configuration is not in the values.
func (s *Snapshot) predict(r *Release) *Collector {
	switch r.Chart {
	case "alloy":
		return s.predictAlloy(r)
	case "promtail":
		return s.predictPromtail(r)
	}
	return nil
}

// fullname is the rule of nearly all charts: the release's name when it
// contains the chart's, else both.
func fullname(r *Release) string {
	if n := r.String("fullnameOverride"); n != "" {
		return n
	}
	name := r.Chart
	if n := r.String("nameOverride"); n != "" {
		name = n
	}
	if strings.Contains(r.Name, name) {
		return r.Name
	}
	return r.Name + "-" + name
}

func (s *Snapshot) predictAlloy(r *Release) *Collector {
	text, ok := r.Text("alloy", "configMap", "content")
	if !ok || text.Content == "" {
		return nil
	}
	spec := corev1.PodSpec{
		Containers: []corev1.Container{{
			Name: "alloy", Image: "docker.io/grafana/alloy", Args: []string{"run", "/etc/alloy/config.alloy"},
			VolumeMounts: []corev1.VolumeMount{{Name: "config", MountPath: "/etc/alloy"}},
		}},
		Volumes: []corev1.Volume{{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: fullname(r)}}}}},
	}
	ct := &spec.Containers[0]
	host := func(name, path string) {
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path}}})
		ct.VolumeMounts = append(ct.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: path, ReadOnly: true})
	}
	if r.Effective("false", "alloy", "mounts", "varlog") == "true" {
		host("varlog", "/var/log")
	}
	if r.Effective("false", "alloy", "mounts", "dockercontainers") == "true" {
		host("dockercontainers", "/var/lib/docker/containers")
	}
	if r.Effective("false", "alloy", "clustering", "enabled") == "true" {
		ct.Args = append(ct.Args, "--cluster.enabled=true")
	}
	var extra []corev1.VolumeMount
	if decode(r.Value("alloy", "mounts", "extra"), &extra) {
		ct.VolumeMounts = append(ct.VolumeMounts, extra...)
	}
	var volumes []corev1.Volume
	if decode(r.Value("controller", "volumes", "extra"), &volumes) {
		spec.Volumes = append(spec.Volumes, volumes...)
	}
	var sc corev1.SecurityContext
	if decode(r.Value("alloy", "securityContext"), &sc) {
		ct.SecurityContext = &sc
	}
	kind := map[string]string{"daemonset": "DaemonSet", "deployment": "Deployment", "statefulset": "StatefulSet"}[strings.ToLower(r.Effective("daemonset", "controller", "type"))]
	return &Collector{Product: Alloy, Config: text, Namespace: r.Namespace, Release: r, Kind: kind, Component: s.predicted(r, Alloy, kind, spec, "alloy")}
}

// promtailHostPaths are the chart's default volumes (6.17.1, rendered).
var promtailHostPaths = []struct{ name, path string }{
	{"run", "/run/promtail"}, {"containers", "/var/lib/docker/containers"}, {"pods", "/var/log/pods"},
}

func (s *Snapshot) predictPromtail(r *Release) *Collector {
	root := int64(0)
	spec := corev1.PodSpec{
		Containers:      []corev1.Container{{Name: "promtail", Image: "docker.io/grafana/promtail", Args: []string{"-config.file=/etc/promtail/promtail.yaml"}}},
		SecurityContext: &corev1.PodSecurityContext{RunAsUser: &root, RunAsGroup: &root},
	}
	if IsEmpty(r.Value("defaultVolumes")) && r.Value("defaultVolumes") == nil {
		for _, v := range promtailHostPaths {
			spec.Volumes = append(spec.Volumes, corev1.Volume{Name: v.name, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: v.path}}})
			spec.Containers[0].VolumeMounts = append(spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: v.name, MountPath: v.path, ReadOnly: v.name != "run"})
		}
	}
	c := &Collector{Product: Promtail, Namespace: r.Namespace, Release: r, Kind: "DaemonSet", Component: s.predicted(r, Promtail, "DaemonSet", spec)}
	if text, ok := r.Text("config", "file"); ok && text.Content != "" && !strings.Contains(text.Content, "{{") {
		c.Config = text
		return c
	}
	clients := r.Value("config", "clients")
	if clients == nil {
		// promtail >= 5.0.0; before that config.lokiAddress had the same default
		clients = ToNode([]map[string]string{{"url": r.Effective("http://loki-gateway/loki/api/v1/push", "config", "lokiAddress")}})
	}
	text, err := yaml.Marshal(map[string]*yaml.Node{"clients": unplaced(clients)})
	if err != nil {
		return nil
	}
	c.Config = Text{Content: string(text), Ref: r.Ref("config", "clients"), fixed: true}
	return c
}

func (s *Snapshot) predicted(r *Release, p Product, kind string, spec corev1.PodSpec, path ...string) *Component {
	labels := map[string]string{"app.kubernetes.io/name": r.Chart, "app.kubernetes.io/instance": r.Name}
	m := metav1.ObjectMeta{Namespace: r.Namespace, Name: fullname(r), Labels: labels}
	tmpl := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec}
	c := &Component{Product: p, Kind: kind, Release: r.Name, Selector: labels, Predicted: true}
	switch kind {
	case "Deployment":
		w := &appsv1.Deployment{ObjectMeta: m, Spec: appsv1.DeploymentSpec{Template: tmpl}}
		c.Workload, c.Template = w, &w.Spec.Template
	case "StatefulSet":
		w := &appsv1.StatefulSet{ObjectMeta: m, Spec: appsv1.StatefulSetSpec{Template: tmpl}}
		c.Workload, c.Template = w, &w.Spec.Template
	default:
		w := &appsv1.DaemonSet{ObjectMeta: m, Spec: appsv1.DaemonSetSpec{Template: tmpl}}
		c.Workload, c.Template = w, &w.Spec.Template
	}
	if ref := r.Ref(path...); r.src != nil {
		s.d.sources[c.Workload] = &source{kind: c.Workload.GetName(), file: ref.File, node: &yaml.Node{Line: ref.Line, Column: ref.Column}}
		s.d.sources[c.Workload].kind = strings.ToLower(kind)
	}
	return c
}

func decode(n *yaml.Node, into any) bool {
	if IsEmpty(n) {
		return false
	}
	text, err := yaml.Marshal(n)
	if err != nil {
		return false
	}
	return unmarshalJSON(text, into) == nil
}
