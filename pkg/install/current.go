package install

import (
	"context"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

// Current reads the values of a running installation, so that changing one of
// them keeps the others. found is false where nothing of ours is installed;
// values is then DefaultValues.
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
	container := &set.Spec.Template.Spec.Containers[0]
	values.Image = container.Image
	for _, arg := range container.Args {
		if v, ok := strings.CutPrefix(arg, "--retention="); ok {
			values.Retention = v
		}
	}
	if m := container.Resources.Limits.Memory(); !m.IsZero() {
		values.Memory = m.String()
	}
	if len(set.Spec.VolumeClaimTemplates) == 0 {
		values.Ephemeral = true
		for _, v := range set.Spec.Template.Spec.Volumes {
			if v.EmptyDir != nil && v.EmptyDir.SizeLimit != nil {
				values.StorageSize = v.EmptyDir.SizeLimit.String()
			}
		}
		return values, true, nil
	}
	claim := &set.Spec.VolumeClaimTemplates[0]
	if s := claim.Spec.Resources.Requests.Storage(); !s.IsZero() {
		values.StorageSize = s.String()
	}
	if claim.Spec.StorageClassName != nil {
		values.StorageClass = *claim.Spec.StorageClassName
	}
	return values, true, nil
}
