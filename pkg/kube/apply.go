package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
)

// Change is what an apply or a delete did to one object.
type Change string

// The changes. DryRun variants are the same words: the caller knows.
const (
	Created    Change = "created"
	Configured Change = "configured"
	Unchanged  Change = "unchanged"
	Deleted    Change = "deleted"
	Absent     Change = "absent"
)

// ObjectName is how kubectl names an object: kind/name, lower case.
func ObjectName(o *unstructured.Unstructured) string {
	return strings.ToLower(o.GetKind()) + "/" + o.GetName()
}

// ConflictError says that another manager owns a field that we want to set.
type ConflictError struct {
	Object string
	// Managers are the other managers and the fields that each owns.
	Managers []FieldManagement
	Err      error
}

// FieldManagement is a manager and fields of an object, as paths.
type FieldManagement struct {
	Manager string
	Fields  []string
}

func (e *ConflictError) Error() string {
	if len(e.Managers) == 0 {
		return fmt.Sprintf("%s is managed by somebody else: %v\n  if Flux, Argo CD or Helm manages it, change it there; --force-conflicts takes the fields over", e.Object, e.Err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: others manage fields that this would change", e.Object)
	for _, m := range e.Managers {
		fmt.Fprintf(&b, "\n  %s: %s", m.Manager, strings.Join(m.Fields, ", "))
		if hint := managerHint(m.Manager); hint != "" {
			fmt.Fprintf(&b, " (%s)", hint)
		}
	}
	b.WriteString("\n  --force-conflicts takes the fields over")
	return b.String()
}

// Unwrap returns the API server's error.
func (e *ConflictError) Unwrap() error { return e.Err }

// managerHint says who stands behind the name of a field manager.
func managerHint(manager string) string {
	switch {
	case manager == "kustomize-controller" || manager == "helm-controller":
		return "Flux: change it in its repository, it would undo the change here"
	case strings.HasPrefix(manager, "argocd"):
		return "Argo CD: change it in its repository, it would undo the change here"
	case manager == "helm":
		return "a Helm release: change its values"
	case strings.HasPrefix(manager, "kubectl"):
		return "somebody changed it with kubectl"
	}
	return ""
}

// conflict takes the managers out of the API server's answer: each cause is
// "conflict with \"NAME\" …" and a field.
func conflict(obj *unstructured.Unstructured, err error) *ConflictError {
	out := &ConflictError{Object: ObjectName(obj), Err: err}
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return out
	}
	for _, cause := range status.Status().Details.Causes {
		_, rest, ok := strings.Cut(cause.Message, "conflict with \"")
		manager, _, ok2 := strings.Cut(rest, "\"")
		if !ok || !ok2 {
			continue
		}
		i := slices.IndexFunc(out.Managers, func(m FieldManagement) bool { return m.Manager == manager })
		if i < 0 {
			i = len(out.Managers)
			out.Managers = append(out.Managers, FieldManagement{Manager: manager})
		}
		out.Managers[i].Fields = append(out.Managers[i].Fields, cause.Field)
	}
	return out
}

// Apply brings one object to the given state by server-side apply and says
// what changed. dryRun asks the server to decide without storing. force takes
// fields from other managers; without it their claim is a *ConflictError.
func (c *Client) Apply(ctx context.Context, obj *unstructured.Unstructured, dryRun, force bool) (Change, error) {
	before, after, err := c.ApplyAndShow(ctx, obj, dryRun, force)
	switch {
	case err != nil:
		return "", err
	case before == nil:
		return Created, nil
	case before.GetResourceVersion() == after.GetResourceVersion() && !dryRun, dryRun && sameContent(before, after):
		return Unchanged, nil
	}
	return Configured, nil
}

// ApplyAndShow is Apply, and returns the object before and after it; before is
// nil where there was none.
func (c *Client) ApplyAndShow(ctx context.Context, obj *unstructured.Unstructured, dryRun, force bool) (before, after *unstructured.Unstructured, err error) {
	ri, err := c.resource(obj)
	if err != nil {
		return nil, nil, err
	}
	before, err = ri.Get(ctx, obj.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		before = nil
	case err != nil:
		return nil, nil, fmt.Errorf("%s: %w", ObjectName(obj), Explain(err))
	}
	opts := metav1.ApplyOptions{FieldManager: FieldManager, Force: force}
	if dryRun {
		opts.DryRun = []string{metav1.DryRunAll}
	}
	after, err = ri.Apply(ctx, obj.GetName(), obj, opts)
	switch {
	case apierrors.IsConflict(err):
		return before, nil, conflict(obj, err)
	case err != nil:
		return before, nil, fmt.Errorf("%s: %w", ObjectName(obj), Explain(err))
	}
	return before, after, nil
}

// sameContent compares what people mean: a dry run moves no resourceVersion.
func sameContent(a, b *unstructured.Unstructured) bool {
	bare := func(o *unstructured.Unstructured) map[string]any {
		o = o.DeepCopy()
		for _, f := range []string{"managedFields", "resourceVersion", "generation"} {
			unstructured.RemoveNestedField(o.Object, "metadata", f)
		}
		return o.Object
	}
	return equality.Semantic.DeepEqual(bare(a), bare(b))
}

// Delete removes one object and says whether it was there. A workload lives on
// until its pods are gone.
func (c *Client) Delete(ctx context.Context, obj *unstructured.Unstructured) (Change, error) {
	ri, err := c.resource(obj)
	if err != nil {
		return "", err
	}
	policy := metav1.DeletePropagationBackground
	if obj.GroupVersionKind().Group == "apps" {
		policy = metav1.DeletePropagationForeground
	}
	err = ri.Delete(ctx, obj.GetName(), metav1.DeleteOptions{PropagationPolicy: &policy})
	switch {
	case apierrors.IsNotFound(err):
		return Absent, nil
	case err != nil:
		return "", fmt.Errorf("%s: %w", ObjectName(obj), Explain(err))
	}
	return Deleted, nil
}

// Get reads the live form of an object; apierrors.IsNotFound tells an absent one.
func (c *Client) Get(ctx context.Context, obj *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	ri, err := c.resource(obj)
	if err != nil {
		return nil, err
	}
	return ri.Get(ctx, obj.GetName(), metav1.GetOptions{})
}

func (c *Client) resource(obj *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	gvk := obj.GroupVersionKind()
	m, err := c.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		if meta.IsNoMatchError(err) {
			return nil, fmt.Errorf("the cluster does not know %s: %w", gvk, err)
		}
		return nil, Explain(err)
	}
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		return c.Dynamic.Resource(m.Resource).Namespace(obj.GetNamespace()), nil
	}
	return c.Dynamic.Resource(m.Resource), nil
}
