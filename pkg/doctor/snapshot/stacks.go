package snapshot

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Product is a program of a log stack.
type Product string

// The products.
const (
	Logstack     Product = "logstack"
	Loki         Product = "loki"
	LokiCanary   Product = "loki-canary"
	LokiGateway  Product = "loki-gateway"
	LokiCache    Product = "loki-cache"
	Alloy        Product = "alloy"
	GrafanaAgent Product = "grafana-agent"
	Promtail     Product = "promtail"
	FluentBit    Product = "fluent-bit"
	Fluentd      Product = "fluentd"
	Vector       Product = "vector"
	OTel         Product = "opentelemetry-collector"
	Grafana      Product = "grafana"
	MinIO        Product = "minio"
)

// Component is a workload of a log product.
type Component struct {
	Product  Product
	Workload metav1.Object // *appsv1.DaemonSet, *Deployment, *StatefulSet
	Kind     string
	// Release is the label app.kubernetes.io/instance.
	Release  string
	Template *corev1.PodTemplateSpec
	// Selector is that of the workload's pods.
	Selector map[string]string
	// Predicted is true for a workload that a chart will render from values,
	// as far as the facts about the chart know it.
	Predicted bool
}

// Namespace and Name are the workload's.
func (c *Component) Namespace() string { return c.Workload.GetNamespace() }

// Name is the workload's.
func (c *Component) Name() string { return c.Workload.GetName() }

// Image is that of the container that makes the product.
func (c *Component) Image() string {
	for _, ct := range c.Template.Spec.Containers {
		if productOfImage(ct.Image) != "" {
			return ct.Image
		}
	}
	return ""
}

// imageName is the last path element of an image without tag and digest.
func imageName(image string) string {
	image, _, _ = strings.Cut(image, "@")
	image = image[strings.LastIndexByte(image, '/')+1:]
	image, _, _ = strings.Cut(image, ":")
	return image
}

// productOfImage knows products by their image; mirrors keep the last element.
func productOfImage(image string) Product {
	switch name := imageName(image); {
	case name == "loki", name == "enterprise-logs":
		return Loki
	case name == "loki-canary", name == "enterprise-logs-canary":
		return LokiCanary
	case name == "alloy":
		return Alloy
	case name == "promtail":
		return Promtail
	case name == "fluent-bit", name == "fluentbit":
		return FluentBit
	case name == "fluentd", name == "fluentd-kubernetes-daemonset":
		return Fluentd
	case name == "vector":
		return Vector
	case name == "grafana", name == "grafana-enterprise", name == "grafana-oss":
		return Grafana
	case name == "agent" && strings.Contains(image, "grafana/"):
		return GrafanaAgent
	case strings.HasPrefix(name, "opentelemetry-collector"), name == "otelcol":
		return OTel
	case name == "collector" && strings.Contains(image, "logstack"):
		return Logstack
	case name == "minio":
		return MinIO
	}
	return ""
}

// ProductOf names the product of a pod template or a pod by its labels and
// images; empty when it belongs to no log stack. Helpers of Loki's chart (nginx,
// memcached) are known by their labels alone.
func ProductOf(labels map[string]string, spec *corev1.PodSpec) Product {
	var byImage Product
	for _, c := range spec.Containers {
		if p := productOfImage(c.Image); p != "" {
			byImage = p
			break
		}
	}
	name, component := labels["app.kubernetes.io/name"], labels["app.kubernetes.io/component"]
	if name == "loki" || name == "enterprise-logs" {
		switch {
		case component == "gateway":
			return LokiGateway
		case component == "canary":
			return LokiCanary
		case strings.HasPrefix(component, "memcached-"):
			return LokiCache
		}
	}
	if name == "logstack" && byImage == "" {
		return Logstack
	}
	if byImage == MinIO && labels["app.kubernetes.io/instance"] == "" && labels["release"] == "" {
		return ""
	}
	return byImage
}

// IsCollector says whether the product collects logs.
func (p Product) IsCollector() bool {
	switch p {
	case Alloy, Promtail, FluentBit, Fluentd, Vector, GrafanaAgent, OTel:
		return true
	}
	return false
}

// deriveStacks finds the workloads of log products.
func (s *Snapshot) deriveStacks() {
	add := func(o metav1.Object, kind string, tmpl *corev1.PodTemplateSpec, sel *metav1.LabelSelector) {
		p := ProductOf(tmpl.Labels, &tmpl.Spec)
		if p == "" {
			return
		}
		c := &Component{Product: p, Workload: o, Kind: kind, Template: tmpl, Release: o.GetLabels()["app.kubernetes.io/instance"]}
		if sel != nil {
			c.Selector = sel.MatchLabels
		}
		s.d.stacks = append(s.d.stacks, c)
	}
	for _, w := range s.DaemonSets() {
		add(w, "DaemonSet", &w.Spec.Template, w.Spec.Selector)
	}
	for _, w := range s.Deployments() {
		add(w, "Deployment", &w.Spec.Template, w.Spec.Selector)
	}
	for _, w := range s.StatefulSets() {
		add(w, "StatefulSet", &w.Spec.Template, w.Spec.Selector)
	}
}

// stackNamespaces are those that hold a workload or a pod of a log product.
func (s *Snapshot) stackNamespaces() []string {
	seen := map[string]bool{}
	var out []string
	add := func(ns string) {
		if ns != "" && !seen[ns] {
			seen[ns] = true
			out = append(out, ns)
		}
	}
	for _, c := range s.d.stacks {
		add(c.Namespace())
	}
	add(s.Namespace)
	return out
}
