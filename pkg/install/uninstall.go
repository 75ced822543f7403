package install

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

// managedBy is the label without which an object is not ours to delete.
const managedBy = "app.kubernetes.io/managed-by"

// Uninstall deletes what an installation made in the namespace, newest need
// first, and waits until the pod is gone (the context bounds the wait). The
// volume claim and the namespace stay unless purge is set; kept names what
// stayed. An object of one of our names that does not carry our label is left
// alone and reported as kept.
func Uninstall(ctx context.Context, c *kube.Client, namespace string, purge bool, obs Observer) (kept []string, err error) {
	v := DefaultValues()
	v.Namespace = namespace
	objs, err := Render(v)
	if err != nil {
		return nil, err
	}
	former, err := readRecord(ctx, c, namespace)
	if err != nil {
		return nil, err
	}
	rec, err := (&installation{namespace: namespace}).record()
	if err != nil {
		return nil, err
	}
	// The record goes last: what could not be deleted can be tried again.
	objs = append([]*unstructured.Unstructured{rec}, append(objs, dropped(former, append(objs, rec))...)...)
	for _, o := range slices.Backward(objs) {
		if o.GetKind() == "Namespace" {
			continue
		}
		mine, err := isOurs(ctx, c, o)
		if err != nil {
			return kept, err
		}
		if !mine {
			kept = append(kept, kube.ObjectName(o)+" (not made by kubectl logstack)")
			continue
		}
		change, err := c.Delete(ctx, o)
		if err != nil {
			return kept, err
		}
		obs.applied(kube.ObjectName(o), change)
	}
	if err := waitGone(ctx, c, namespace, obs); err != nil {
		return kept, err
	}
	if err := deleteLeases(ctx, c, namespace); err != nil {
		return kept, err
	}
	if !purge {
		return append(kept, keptWithoutPurge(ctx, c, namespace)...), nil
	}
	more, err := purgeRest(ctx, c, namespace, obs)
	return append(kept, more...), err
}

// deleteLeases takes away by what replicas knew each other; they make it
// themselves, so that no record has it.
func deleteLeases(ctx context.Context, c *kube.Client, namespace string) error {
	leases := c.Kube.CoordinationV1().Leases(namespace)
	list, err := leases.List(ctx, metav1.ListOptions{LabelSelector: "logstack.dev/member=" + Name})
	if apierrors.IsForbidden(err) {
		return nil // a few small objects that nobody minds
	}
	if err != nil {
		return kube.Explain(err)
	}
	for i := range list.Items {
		if err := leases.Delete(ctx, list.Items[i].Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
			return kube.Explain(err)
		}
	}
	return nil
}

func isOurs(ctx context.Context, c *kube.Client, o *unstructured.Unstructured) (bool, error) {
	live, err := c.Get(ctx, o)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", kube.ObjectName(o), kube.Explain(err))
	}
	return live.GetLabels()[managedBy] == kube.FieldManager, nil
}

// collectorPods names the pods that the StatefulSet has made.
func collectorPods(ctx context.Context, c *kube.Client, namespace string) (names []string, err error) {
	pods, err := c.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + Name})
	if err != nil {
		return nil, err
	}
	for i := range pods.Items {
		if owner := metav1.GetControllerOf(&pods.Items[i]); owner != nil && owner.Kind == "StatefulSet" && owner.Name == Name {
			names = append(names, pods.Items[i].Name)
		}
	}
	return names, nil
}

// dataClaims are the volume claims with the collected logs, by name.
func dataClaims(ctx context.Context, c *kube.Client, namespace string) ([]corev1.PersistentVolumeClaim, error) {
	list, err := c.Kube.CoreV1().PersistentVolumeClaims(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(claim corev1.PersistentVolumeClaim) bool {
		number, ok := strings.CutPrefix(claim.Name, "data-"+Name+"-")
		_, err := strconv.Atoi(number)
		return !ok || err != nil
	}), nil
}

func waitGone(ctx context.Context, c *kube.Client, namespace string, obs Observer) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	told, last := false, []string{"its pods"}
	for {
		pods, err := collectorPods(ctx, c, namespace)
		if err == nil && len(pods) == 0 {
			// It goes after its pods.
			if _, err = c.Kube.AppsV1().StatefulSets(namespace).Get(ctx, Name, metav1.GetOptions{}); err == nil {
				pods = []string{"statefulset/" + Name}
			} else if apierrors.IsNotFound(err) {
				err = nil
			}
		}
		if err != nil && ctx.Err() == nil {
			return kube.Explain(err)
		}
		if err == nil && len(pods) == 0 {
			return nil
		}
		if err == nil {
			last = pods
		}
		if !told && obs.Waiting != nil {
			obs.Waiting("the collector is stopping")
			told = true
		}
		select {
		case <-ctx.Done():
			return &TimeoutError{Namespace: namespace, Reason: "still stopping: " + strings.Join(last, ", ")}
		case <-ticker.C:
		}
	}
}

func keptWithoutPurge(ctx context.Context, c *kube.Client, namespace string) []string {
	var kept []string
	if claims, err := dataClaims(ctx, c, namespace); err == nil {
		for i := range claims {
			kept = append(kept, "persistentvolumeclaim/"+claims[i].Name+" (the collected logs)")
		}
	}
	if _, err := c.Kube.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{}); err == nil {
		kept = append(kept, "namespace/"+namespace)
	}
	return kept
}

// purgeRest deletes the claims and the namespace, each only if it is ours and,
// for the namespace, if nothing of others lives in it.
func purgeRest(ctx context.Context, c *kube.Client, namespace string, obs Observer) (kept []string, err error) {
	claims, err := dataClaims(ctx, c, namespace)
	if err != nil {
		return nil, kube.Explain(err)
	}
	for i := range claims {
		name := claims[i].Name
		// The StatefulSet controller copies the selector's labels to its claims.
		if claims[i].Labels["app.kubernetes.io/name"] != Name {
			kept = append(kept, "persistentvolumeclaim/"+name+" (not made by kubectl logstack)")
			continue
		}
		if err := c.Kube.CoreV1().PersistentVolumeClaims(namespace).Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return kept, kube.Explain(err)
		}
		obs.applied("persistentvolumeclaim/"+name, kube.Deleted)
	}
	ns, err := c.Kube.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return kept, nil
	}
	if err != nil {
		return kept, kube.Explain(err)
	}
	if ns.Labels[managedBy] != kube.FieldManager {
		return append(kept, "namespace/"+namespace+" (not made by kubectl logstack)"), nil
	}
	others, err := foreignObjects(ctx, c, namespace)
	if err != nil {
		return kept, err
	}
	if len(others) > 0 {
		return append(kept, fmt.Sprintf("namespace/%s (others live in it: %s)", namespace, strings.Join(others, ", "))), nil
	}
	if err := c.Kube.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{}); err != nil {
		return kept, kube.Explain(err)
	}
	if err := waitNamespaceGone(ctx, c, namespace, obs); err != nil {
		return kept, err
	}
	obs.applied("namespace/"+namespace, kube.Deleted)
	return kept, nil
}

// foreignObjects names what other people keep in a namespace.
func foreignObjects(ctx context.Context, c *kube.Client, namespace string) ([]string, error) {
	var out []string
	add := func(kind string, o metav1.Object) {
		if o.GetLabels()["app.kubernetes.io/name"] != Name && o.GetName() != "kube-root-ca.crt" && o.GetDeletionTimestamp() == nil {
			out = append(out, kind+"/"+o.GetName())
		}
	}
	pods, err := c.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, kube.Explain(err)
	}
	for i := range pods.Items {
		add("pod", &pods.Items[i])
	}
	claims, err := c.Kube.CoreV1().PersistentVolumeClaims(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, kube.Explain(err)
	}
	for i := range claims.Items {
		add("persistentvolumeclaim", &claims.Items[i])
	}
	maps, err := c.Kube.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, kube.Explain(err)
	}
	for i := range maps.Items {
		add("configmap", &maps.Items[i])
	}
	return out, nil
}

// waitNamespaceGone waits while a namespace is terminating: nothing can be
// created in it until it is gone.
func waitNamespaceGone(ctx context.Context, c *kube.Client, namespace string, obs Observer) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	if obs.Waiting != nil {
		obs.Waiting("namespace/" + namespace + " is terminating")
	}
	for {
		_, err := c.Kube.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return kube.Explain(err)
		}
		select {
		case <-ctx.Done():
			return &TimeoutError{Namespace: namespace, Reason: "namespace/" + namespace + " is still terminating"}
		case <-ticker.C:
		}
	}
}
