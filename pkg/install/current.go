package install

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/version"
)

// The record of an installation is a ConfigMap in its namespace: with which
// values it was made, by which version, and what belongs to it. It lets the
// next run keep values that are not given again, and delete what is no longer
// rendered.
const (
	recordName    = Name + "-install"
	recordValues  = "values.yaml"
	recordObjects = "objects"
	recordVersion = "version"
)

// record makes the ConfigMap of an installation of objs.
func record(v Values, objs []*unstructured.Unstructured) (*unstructured.Unstructured, error) {
	values, err := sigsyaml.Marshal(v)
	if err != nil {
		return nil, err
	}
	var lines strings.Builder
	for _, o := range objs {
		fmt.Fprintln(&lines, objectID(o))
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{
			"name": recordName, "namespace": v.Namespace,
			"labels": map[string]any{
				"app.kubernetes.io/name": Name, "app.kubernetes.io/part-of": Name, managedBy: kube.FieldManager,
				"app.kubernetes.io/version": version.Version,
			},
		},
		"data": map[string]any{recordValues: string(values), recordObjects: lines.String(), recordVersion: version.Version},
	}}, nil
}

// objectID is the line of an object in the record: apiVersion, kind, namespace
// ("-" for none) and name.
func objectID(o *unstructured.Unstructured) string {
	ns := o.GetNamespace()
	if ns == "" {
		ns = "-"
	}
	return strings.Join([]string{o.GetAPIVersion(), o.GetKind(), ns, o.GetName()}, " ")
}

// recorded lists what a record says that belongs to the installation, without
// the namespace: that is not deleted on the way.
func recorded(cm *corev1.ConfigMap) (objs []*unstructured.Unstructured) {
	for line := range strings.Lines(cm.Data[recordObjects]) {
		f := strings.Fields(line)
		if len(f) != 4 || f[1] == "Namespace" {
			continue
		}
		gv, err := schema.ParseGroupVersion(f[0])
		if err != nil {
			continue // written by hand; what is not understood is not deleted
		}
		o := &unstructured.Unstructured{}
		o.SetGroupVersionKind(gv.WithKind(f[1]))
		o.SetName(f[3])
		if f[2] != "-" {
			o.SetNamespace(f[2])
		}
		objs = append(objs, o)
	}
	return objs
}

// readRecord returns nil where there is no record of ours, as for an
// installation by GitOps.
func readRecord(ctx context.Context, c *kube.Client, namespace string) (*corev1.ConfigMap, error) {
	cm, err := c.Kube.CoreV1().ConfigMaps(namespace).Get(ctx, recordName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, kube.Explain(err)
	case cm.Labels[managedBy] != kube.FieldManager:
		return nil, nil
	}
	return cm, nil
}

// dropped lists the objects of the former installation that are not among objs.
func dropped(former *corev1.ConfigMap, objs []*unstructured.Unstructured) []*unstructured.Unstructured {
	if former == nil {
		return nil
	}
	return slices.DeleteFunc(recorded(former), func(old *unstructured.Unstructured) bool {
		return slices.ContainsFunc(objs, func(o *unstructured.Unstructured) bool { return objectID(o) == objectID(old) })
	})
}

// Current reads the values of a running installation, so that changing one of
// them keeps the others. found is false where nothing of ours is installed;
// values is then DefaultValues. Where an installation has no record (GitOps
// made it), the values are those that its StatefulSet shows.
func Current(ctx context.Context, c *kube.Client, namespace string) (values Values, found bool, err error) {
	values = DefaultValues()
	values.Namespace = namespace
	set, err := c.Kube.AppsV1().StatefulSets(namespace).Get(ctx, Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return values, false, nil
	}
	if err != nil {
		return values, false, kube.Explain(err)
	}
	if set.Labels[managedBy] != kube.FieldManager || len(set.Spec.Template.Spec.Containers) == 0 {
		return values, false, nil
	}
	former, err := readRecord(ctx, c, namespace)
	if err != nil {
		return values, false, err
	}
	if former != nil {
		if recorded, err := ParseValues(values, "configmap/"+recordName, []byte(former.Data[recordValues])); err == nil {
			values = recorded
			values.Namespace = namespace
		}
		// A record that a newer version wrote, or that was edited: what runs counts.
	}
	pod := &set.Spec.Template.Spec
	container := &pod.Containers[0]
	// Who named no tag follows the version of the plugin: this run is an upgrade.
	named := values.Image.Tag != "" || values.Image.Digest != ""
	if former == nil || named && values.Image.Ref() != container.Image {
		values.Image.SetRef(container.Image)
	}
	values.Namespaces = nil
	for _, arg := range container.Args {
		if v, ok := strings.CutPrefix(arg, "--retention="); ok {
			values.Retention = v
		}
		if v, ok := strings.CutPrefix(arg, namespaceArg); ok {
			values.Namespaces = append(values.Namespaces, v)
		}
	}
	if m := container.Resources.Limits.Memory(); !m.IsZero() {
		values.Resources.Memory = m.String()
	}
	if cpu := container.Resources.Requests.Cpu(); !cpu.IsZero() {
		values.Resources.CPU = cpu.String()
	}
	values.NodeSelector, values.Tolerations, values.PriorityClass = pod.NodeSelector, pod.Tolerations, pod.PriorityClassName
	values.Image.PullSecrets = nil
	for _, s := range pod.ImagePullSecrets {
		values.Image.PullSecrets = append(values.Image.PullSecrets, s.Name)
	}
	if values.Limits, err = runningFiles(ctx, c, namespace, pod.Volumes, &values); err != nil {
		return values, false, err
	}
	values.Storage = runningStorage(&set.Spec.Template.Spec, set.Spec.VolumeClaimTemplates, values.Storage)
	return values, true, nil
}

// runningFiles finds the certificate and the credentials of the running pods, and
// returns their limits.
func runningFiles(ctx context.Context, c *kube.Client, namespace string, volumes []corev1.Volume, values *Values) (Limits, error) {
	values.TLS, values.Auth = TLS{}, Auth{}
	var limits Limits
	for _, v := range volumes {
		switch {
		case v.Name == tlsVolume && v.Secret != nil:
			values.TLS.SecretName = v.Secret.SecretName
		case v.Name == authVolume && v.Secret != nil:
			values.Auth.SecretName = v.Secret.SecretName
		case v.Name == limitsVolume && v.ConfigMap != nil:
			cm, err := c.Kube.CoreV1().ConfigMaps(namespace).Get(ctx, v.ConfigMap.Name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				continue
			}
			if err != nil {
				return nil, kube.Explain(err)
			}
			if err := sigsyaml.Unmarshal([]byte(cm.Data[limitsFile]), &limits); err != nil {
				return nil, fmt.Errorf("configmap/%s: %w", v.ConfigMap.Name, err)
			}
		}
	}
	return limits, nil
}

func runningStorage(pod *corev1.PodSpec, claims []corev1.PersistentVolumeClaim, s Storage) Storage {
	if len(claims) == 0 {
		s.Ephemeral, s.Class = true, ""
		for _, v := range pod.Volumes {
			if v.EmptyDir != nil && v.EmptyDir.SizeLimit != nil {
				s.Size = v.EmptyDir.SizeLimit.String()
			}
		}
		return s
	}
	s.Ephemeral, s.Class = false, ""
	if size := claims[0].Spec.Resources.Requests.Storage(); !size.IsZero() {
		s.Size = size.String()
	}
	if claims[0].Spec.StorageClassName != nil {
		s.Class = *claims[0].Spec.StorageClassName
	}
	return s
}
