package install

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/logstack-dev/kubectl-logstack/manifests"
	"github.com/logstack-dev/kubectl-logstack/pkg/version"
)

// Render returns the objects of an installation in the order in which they are
// applied. The same values give the same objects.
func Render(v Values) ([]*unstructured.Unstructured, error) {
	if err := v.Validate(); err != nil {
		return nil, err
	}
	v.Grafana = v.Grafana.withDefaults()
	files, err := baseFiles()
	if err != nil {
		return nil, err
	}
	var out []*unstructured.Unstructured
	for _, file := range files {
		if !wanted(file, v) {
			continue
		}
		data, err := manifests.Files.ReadFile(file)
		if err != nil {
			return nil, err
		}
		objs, err := decode(data)
		if err != nil {
			return nil, fmt.Errorf("BUG: manifests/%s: %w", file, err)
		}
		out = append(out, objs...)
	}
	if out, err = namespaced(out, v); err != nil {
		return nil, fmt.Errorf("BUG: %w", err)
	}
	for _, o := range out {
		if err := fill(o, v); err != nil {
			return nil, fmt.Errorf("BUG: %s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	boards, err := dashboards(v)
	return append(out, boards...), err
}

// alertsFile has rules for alerts, as an object of the Prometheus operator.
const alertsFile = "alerts.yaml"

// baseFiles are the files of the base in the order in which they are applied.
func baseFiles() ([]string, error) {
	rules, err := fs.Glob(manifests.Files, alertsFile)
	return append(slices.Clone(manifests.Order), rules...), err
}

// wanted says whether the values ask for the objects of a file. What depends on
// the cluster has been resolved before: see resolve.
func wanted(file string, v Values) bool {
	switch file {
	case "networkpolicy.yaml":
		return v.NetworkPolicy
	case "node-files.yaml":
		return v.NodeFiles != nodeFilesOff
	case "replicas.yaml":
		return v.Replicas > 1
	case "limits.yaml":
		return len(v.Limits) > 0
	case "servicemonitor.yaml":
		return v.ServiceMonitor == AutoOn
	case "grafana-datasource.yaml":
		return v.Grafana.wanted()
	case alertsFile:
		return v.AlertRules == AutoOn
	}
	return true
}

func decode(data []byte) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	dec := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		o := &unstructured.Unstructured{}
		if err := dec.Decode(o); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, err
		}
		if len(o.Object) > 0 {
			out = append(out, o)
		}
	}
}

// fill puts the values into one object of the base.
func fill(o *unstructured.Unstructured, v Values) error {
	labels := o.GetLabels()
	labels["app.kubernetes.io/version"] = version.Version
	o.SetLabels(labels)
	switch o.GetKind() {
	case "Namespace":
		o.SetName(v.Namespace)
		return nil
	case "ClusterRole":
		// Two installations in two namespaces share nothing.
		o.SetName(clusterName(o.GetName(), v))
		return dropEvents(o, v)
	case "ClusterRoleBinding":
		return fillBinding(o, v)
	}
	switch o.GetName() {
	case datasourceName:
		return fillDatasource(o, v)
	case collectorRole: // those of single namespaces: see namespaced
		if o.GetKind() == "RoleBinding" {
			return fillBinding(o, v)
		}
		o.SetName(clusterName(o.GetName(), v))
		return dropEvents(o, v)
	}
	o.SetNamespace(v.Namespace)
	switch o.GetKind() {
	case "RoleBinding":
		return fillSubjects(o, v)
	case "NetworkPolicy":
		return fillNetworkPolicy(o, v)
	case "StatefulSet":
		return fillStatefulSet(o, v)
	case "Service":
		return fillService(o, v)
	case "Role":
		if o.GetName() == queryRole {
			return fillQueryRole(o, v)
		}
	case "ServiceMonitor":
		return fillServiceMonitor(o, v)
	case "ConfigMap":
		return fillLimits(o, v)
	}
	return nil
}

// Names of the base that mean something to Render.
const (
	datasourceName = Name + "-datasource"
	limitsName     = Name + "-limits"
	collectorRole  = Name + "-collector"
	queryRole      = Name + "-query"
)

// namespaced replaces the ClusterRole of an installation that collects from some
// namespaces only by a Role in each of them. What only a ClusterRole can allow
// is left out: the collector does without.
func namespaced(objs []*unstructured.Unstructured, v Values) ([]*unstructured.Unstructured, error) {
	if len(v.Namespaces) == 0 {
		return objs, nil
	}
	var out []*unstructured.Unstructured
	for _, o := range objs {
		kind, isCluster := strings.CutPrefix(o.GetKind(), "Cluster")
		if !isCluster || o.GetName() != collectorRole {
			out = append(out, o)
			continue
		}
		for _, ns := range v.Namespaces {
			r := o.DeepCopy()
			r.SetKind(kind)
			r.SetNamespace(ns)
			if kind == "RoleBinding" {
				if err := unstructured.SetNestedField(r.Object, "Role", "roleRef", "kind"); err != nil {
					return nil, err
				}
			} else if err := dropResource(r, "namespaces"); err != nil {
				return nil, err
			}
			out = append(out, r)
		}
	}
	return out, nil
}

// dropResource takes a resource out of the rules of a role: namespaces, which a
// Role cannot allow, or what the values do not want.
func dropResource(role *unstructured.Unstructured, resource string) error {
	rules, _, err := unstructured.NestedSlice(role.Object, "rules")
	if err != nil {
		return err
	}
	for _, r := range rules {
		rule := r.(map[string]any)
		resources := slices.DeleteFunc(rule["resources"].([]any), func(res any) bool { return res == resource })
		rule["resources"] = resources
	}
	rules = slices.DeleteFunc(rules, func(r any) bool { return len(r.(map[string]any)["resources"].([]any)) == 0 })
	return unstructured.SetNestedSlice(role.Object, rules, "rules")
}

// fillService tells clients and meshes what the port speaks.
func fillService(o *unstructured.Unstructured, v Values) error {
	if v.TLS.SecretName == "" {
		return nil
	}
	ports, _, err := unstructured.NestedSlice(o.Object, "spec", "ports")
	if err != nil {
		return err
	}
	for _, p := range ports {
		p.(map[string]any)["appProtocol"] = "https"
	}
	return unstructured.SetNestedSlice(o.Object, ports, "spec", "ports")
}

// fillQueryRole adds the forms of the service proxy's name that TLS needs, and
// the one Secret without which queries are refused.
func fillQueryRole(o *unstructured.Unstructured, v Values) error {
	rules, _, err := unstructured.NestedSlice(o.Object, "rules")
	if err != nil {
		return err
	}
	if v.TLS.SecretName != "" {
		proxy := rules[0].(map[string]any)
		proxy["resourceNames"] = append(proxy["resourceNames"].([]any), "https:"+Name+":"+Port, "https:"+Name+":3100")
	}
	if v.Auth.SecretName != "" {
		rules = append(rules, map[string]any{
			"apiGroups": []any{""}, "resources": []any{"secrets"}, "resourceNames": []any{v.Auth.SecretName}, "verbs": []any{"get"},
		})
	}
	return unstructured.SetNestedSlice(o.Object, rules, "rules")
}

func fillServiceMonitor(o *unstructured.Unstructured, v Values) error {
	if v.TLS.SecretName == "" {
		return nil
	}
	endpoints, _, err := unstructured.NestedSlice(o.Object, "spec", "endpoints")
	if err != nil {
		return err
	}
	for _, e := range endpoints {
		endpoint := e.(map[string]any)
		endpoint["scheme"] = "https"
		endpoint["tlsConfig"] = map[string]any{
			"serverName": Name + "." + v.Namespace + ".svc",
			"ca":         map[string]any{"secret": map[string]any{"name": v.TLS.SecretName, "key": "ca.crt"}},
		}
	}
	return unstructured.SetNestedSlice(o.Object, endpoints, "spec", "endpoints")
}

func fillLimits(o *unstructured.Unstructured, v Values) error {
	text, err := v.Limits.file()
	if err != nil {
		return err
	}
	return unstructured.SetNestedField(o.Object, string(text), "data", limitsFile)
}

// clusterName is the name of a thing without a namespace, or in a namespace of
// others, that belongs to one installation of several.
func clusterName(base string, v Values) string {
	if v.Namespace == Name {
		return base
	}
	return base + "-" + v.Namespace
}

func fillBinding(o *unstructured.Unstructured, v Values) error {
	o.SetName(clusterName(o.GetName(), v))
	if err := unstructured.SetNestedField(o.Object, o.GetName(), "roleRef", "name"); err != nil {
		return err
	}
	return fillSubjects(o, v)
}

// fillSubjects moves the accounts of a binding into the namespace.
func fillSubjects(o *unstructured.Unstructured, v Values) error {
	subjects, _, err := unstructured.NestedSlice(o.Object, "subjects")
	if err != nil {
		return err
	}
	for _, s := range subjects {
		s.(map[string]any)["namespace"] = v.Namespace
	}
	return unstructured.SetNestedSlice(o.Object, subjects, "subjects")
}

// dropEvents takes the right to see events away where none are stored.
func dropEvents(o *unstructured.Unstructured, v Values) error {
	if v.Events {
		return nil
	}
	return dropResource(o, "events")
}

// fillNetworkPolicy lets the collector out to the other replicas, and to the
// kubelets where it reads files of nodes.
func fillNetworkPolicy(o *unstructured.Unstructured, v Values) error {
	egress, _, err := unstructured.NestedSlice(o.Object, "spec", "egress")
	if err != nil {
		return err
	}
	if v.NodeFiles != nodeFilesOff {
		egress = append(egress, map[string]any{"ports": []any{map[string]any{"protocol": "TCP", "port": int64(kubeletPort)}}})
	}
	if v.Replicas > 1 {
		egress = append(egress, map[string]any{
			"to":    []any{map[string]any{"podSelector": map[string]any{"matchLabels": map[string]any{"app.kubernetes.io/name": Name}}}},
			"ports": []any{map[string]any{"protocol": "TCP", "port": int64(apiPort)}},
		})
	}
	return unstructured.SetNestedSlice(o.Object, egress, "spec", "egress")
}

// apiPort is the collector's, kubeletPort that of every node.
const (
	apiPort     = 3100
	kubeletPort = 10250
)

func fillStatefulSet(o *unstructured.Unstructured, v Values) error {
	var s appsv1.StatefulSet
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &s); err != nil {
		return err
	}
	size := resource.MustParse(v.Storage.Size)
	s.Annotations[storeFormat] = strconv.Itoa(version.StoreFormat)
	pod := &s.Spec.Template.Spec
	for _, name := range v.Image.PullSecrets {
		pod.ImagePullSecrets = append(pod.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	pod.NodeSelector, pod.Tolerations, pod.PriorityClassName = v.NodeSelector, v.Tolerations, v.PriorityClass
	c := &pod.Containers[0]
	c.Image, c.ImagePullPolicy = v.Image.Ref(), corev1.PullPolicy(v.Image.PullPolicy)
	c.Args = []string{
		"--data-dir=/data",
		"--listen-address=:3100",
		"--retention=" + v.Retention,
		fmt.Sprintf("--max-disk=%dMiB", int64(float64(size.Value())*diskShare)>>20),
	}
	for _, ns := range v.Namespaces {
		c.Args = append(c.Args, namespaceArg+ns)
	}
	c.Args = append(c.Args, choiceArgs(v)...)
	if v.Replicas > 1 {
		share(&s, v)
	}
	c.Resources.Requests[corev1.ResourceCPU] = resource.MustParse(v.Resources.CPU)
	c.Resources.Limits[corev1.ResourceMemory] = resource.MustParse(v.Resources.Memory)
	if c.Resources.Requests.Memory().Cmp(*c.Resources.Limits.Memory()) > 0 {
		c.Resources.Requests[corev1.ResourceMemory] = *c.Resources.Limits.Memory()
	}
	if v.Storage.Ephemeral {
		s.Spec.VolumeClaimTemplates = nil
		pod.Volumes = append(pod.Volumes, corev1.Volume{
			Name:         "data",
			VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &size}},
		})
	} else {
		claim := &s.Spec.VolumeClaimTemplates[0]
		claim.Spec.Resources.Requests[corev1.ResourceStorage] = size
		if v.Storage.Class != "" {
			claim.Spec.StorageClassName = &v.Storage.Class
		}
	}
	if err := mountFiles(&s.Spec.Template, v); err != nil {
		return err
	}
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&s)
	if err != nil {
		return err
	}
	prune(m)
	o.Object = m
	return nil
}

// prune takes out what the typed form adds and nobody meant: a status, and
// null timestamps. Applied, they would make us the owner of those fields.
func prune(m map[string]any) {
	delete(m, "status")
	unstructured.RemoveNestedField(m, "spec", "updateStrategy")
	unstructured.RemoveNestedField(m, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(m, "spec", "template", "metadata", "creationTimestamp")
	claims, _, _ := unstructured.NestedSlice(m, "spec", "volumeClaimTemplates")
	for _, c := range claims {
		if claim, ok := c.(map[string]any); ok {
			delete(claim, "status")
			unstructured.RemoveNestedField(claim, "metadata", "creationTimestamp")
			// The API server fills these in; without them every apply would differ.
			claim["apiVersion"], claim["kind"] = "v1", "PersistentVolumeClaim"
		}
	}
	if len(claims) > 0 {
		_ = unstructured.SetNestedSlice(m, claims, "spec", "volumeClaimTemplates")
	}
}

// YAML prints objects as one multi-document stream, in order.
func YAML(objs []*unstructured.Unstructured) ([]byte, error) {
	var buf bytes.Buffer
	for i, o := range objs {
		if i > 0 {
			buf.WriteString("---\n")
		}
		b, err := sigsyaml.Marshal(o.Object)
		if err != nil {
			return nil, err
		}
		buf.Write(b)
	}
	return buf.Bytes(), nil
}
