package install

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

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
	values.Namespaces, values.Events, values.Lifecycle, values.NodeFiles = nil, true, true, nodeFilesOff
	values.Replicas = max(1, wantedReplicas(set))
	for _, arg := range container.Args {
		switch arg {
		case eventsArg + "false":
			values.Events = false
		case lifecycleArg + "false":
			values.Lifecycle = false
		}
		if v, ok := strings.CutPrefix(arg, nodeFilesArg); ok {
			values.NodeFiles = v
		}
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
