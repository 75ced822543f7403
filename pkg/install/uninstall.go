package install

import (
	"context"
	"fmt"
	"time"

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
	for i := len(objs) - 1; i >= 0; i-- {
		o := objs[i]
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
	if !purge {
		return append(kept, keptWithoutPurge(ctx, c, namespace)...), nil
	}
	return kept, purgeRest(ctx, c, namespace, obs)
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

func waitGone(ctx context.Context, c *kube.Client, namespace string, obs Observer) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	told := false
	for {
		_, err := c.Kube.CoreV1().Pods(namespace).Get(ctx, Name+"-0", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return kube.Explain(err)
		}
		if !told && obs.Waiting != nil {
			obs.Waiting("the collector is stopping")
			told = true
		}
		select {
		case <-ctx.Done():
			return &TimeoutError{Reason: "pod/" + Name + "-0 is still stopping"}
		case <-ticker.C:
		}
	}
}

func keptWithoutPurge(ctx context.Context, c *kube.Client, namespace string) []string {
	var kept []string
	if _, err := c.Kube.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, "data-"+Name+"-0", metav1.GetOptions{}); err == nil {
		kept = append(kept, "persistentvolumeclaim/data-"+Name+"-0 (the collected logs)")
	}
	if _, err := c.Kube.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{}); err == nil {
		kept = append(kept, "namespace/"+namespace)
	}
	return kept
}

func purgeRest(ctx context.Context, c *kube.Client, namespace string, obs Observer) error {
	err := c.Kube.CoreV1().PersistentVolumeClaims(namespace).Delete(ctx, "data-"+Name+"-0", metav1.DeleteOptions{})
	if err == nil {
		obs.applied("persistentvolumeclaim/data-"+Name+"-0", kube.Deleted)
	} else if !apierrors.IsNotFound(err) {
		return kube.Explain(err)
	}
	ns, err := c.Kube.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return kube.Explain(err)
	}
	if ns.Labels[managedBy] != kube.FieldManager {
		return nil
	}
	if err := c.Kube.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{}); err != nil {
		return kube.Explain(err)
	}
	if err := waitNamespaceGone(ctx, c, namespace, obs); err != nil {
		return err
	}
	obs.applied("namespace/"+namespace, kube.Deleted)
	return nil
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
			return &TimeoutError{Reason: "namespace/" + namespace + " is still terminating"}
		case <-ticker.C:
		}
	}
}
