package install

import (
	"context"
	"fmt"
	"strings"

	"github.com/pmezard/go-difflib/difflib"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

// ObjectDiff is what a run would change about one object.
type ObjectDiff struct {
	Object string
	Change kube.Change
	// Text is a unified diff of the YAML forms, "" where nothing changes.
	Text string
}

// Diff asks the API server what a run with these options would make of each
// object, and stores nothing. The record of the installation is left out: it is
// our own book-keeping.
func Diff(ctx context.Context, c *kube.Client, opts Options) ([]ObjectDiff, error) {
	v, err := resolve(ctx, c, opts.Values, Observer{})
	if err != nil {
		return nil, err
	}
	objs, err := Render(v)
	if err != nil {
		return nil, err
	}
	former, err := readRecord(ctx, c, v.Namespace)
	if err != nil {
		return nil, err
	}
	var out []ObjectDiff
	for _, o := range objs {
		d, err := diffOne(ctx, c, o, opts)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	rec, err := (&installation{namespace: v.Namespace}).record()
	if err != nil {
		return nil, err
	}
	for _, o := range dropped(former, append(objs, rec)) {
		mine, err := isOurs(ctx, c, o)
		if err != nil {
			return nil, err
		}
		live, err := c.Get(ctx, o)
		if !mine || apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kube.ObjectName(o), kube.Explain(err))
		}
		text, err := unified(o, live, nil)
		if err != nil {
			return nil, err
		}
		out = append(out, ObjectDiff{Object: kube.ObjectName(o), Change: kube.Deleted, Text: text})
	}
	return out, nil
}

func diffOne(ctx context.Context, c *kube.Client, o *unstructured.Unstructured, opts Options) (ObjectDiff, error) {
	d := ObjectDiff{Object: kube.ObjectName(o), Change: kube.Configured}
	if o.GetKind() == "Namespace" {
		live, err := c.Get(ctx, o)
		if err == nil && live.GetLabels()[managedBy] != kube.FieldManager {
			d.Change = kube.Unchanged // somebody else's, left as it is
			return d, nil
		}
	}
	before, after, err := c.ApplyAndShow(ctx, o, true, opts.Force)
	switch {
	case apierrors.IsNotFound(err) && o.GetKind() != "Namespace":
		after = o // its namespace is only about to exist
	case err != nil:
		return d, explainApply(err, o)
	}
	if before == nil {
		d.Change = kube.Created
	}
	d.Text, err = unified(o, before, after)
	if d.Text == "" {
		d.Change = kube.Unchanged
	}
	return d, err
}

// unified compares two forms of an object; nil is one that does not exist.
func unified(o, before, after *unstructured.Unstructured) (string, error) {
	a, err := shown(before)
	if err != nil {
		return "", err
	}
	b, err := shown(after)
	if err != nil {
		return "", err
	}
	name := kube.ObjectName(o)
	if ns := o.GetNamespace(); ns != "" {
		name = ns + "/" + name
	}
	d := difflib.UnifiedDiff{A: a, B: b, FromFile: "live/" + name, ToFile: "new/" + name, Context: 3}
	if before == nil {
		d.FromFile = "/dev/null"
	}
	if after == nil {
		d.ToFile = "/dev/null"
	}
	return difflib.GetUnifiedDiffString(d)
}

// shown is the YAML of what people write: without what the API server keeps for
// itself.
func shown(o *unstructured.Unstructured) ([]string, error) {
	if o == nil {
		return nil, nil
	}
	o = o.DeepCopy()
	for _, f := range []string{"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"} {
		unstructured.RemoveNestedField(o.Object, "metadata", f)
	}
	unstructured.RemoveNestedField(o.Object, "status")
	text, err := sigsyaml.Marshal(o.Object)
	if err != nil {
		return nil, err
	}
	lines := strings.SplitAfter(string(text), "\n")
	return lines[:len(lines)-1], nil // behind the last newline is nothing
}
