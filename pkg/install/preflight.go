package install

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"golang.org/x/sync/errgroup"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

// Problem is one thing that a pre-flight check predicts.
type Problem struct {
	// Warning is for what works and is probably not wanted.
	Warning bool
	// Object is kind/name, "" where there is none yet.
	Object string
	Detail string
	Fix    string
}

// Preflight is the outcome of one check before an installation.
type Preflight struct {
	// Name is one word, Holds what it means when nothing was found.
	Name, Holds string
	Problems    []Problem
	// Skipped says why the check could not be made, "" when it was.
	Skipped string
}

// scene is what the checks look at: the values, what they render, and what is
// there already.
type scene struct {
	c    *kube.Client
	v    Values
	objs []*unstructured.Unstructured
	set  *appsv1.StatefulSet // rendered
	// live are the objects that exist, by objectID.
	live map[string]*unstructured.Unstructured
	// namespace is nil where it does not exist.
	namespace *corev1.Namespace
}

// check is one pre-flight check. What it returns as error is why it was skipped.
type check struct {
	name, holds string
	run         func(ctx context.Context, s *scene) ([]Problem, error)
}

// checks are in the order in which they are reported.
var checks = []check{
	{"rights", "you may create and change every object", checkRights},
	{"present", "nothing of others is in the way", checkPresent},
	{"security", "PodSecurity of the namespace admits the pods", checkSecurity},
	{"storage", "the volume claim can be bound", checkStorage},
	{"quota", "quotas and limits of the namespace leave room", checkQuota},
	{"nodes", "there are nodes that the pods may run on", checkNodes},
	{"references", "what the values name exists", checkReferences},
}

// CheckBefore predicts what would keep an installation with these values from
// working. It changes nothing. A check that lacks rights is skipped, not passed.
func CheckBefore(ctx context.Context, c *kube.Client, v Values) ([]Preflight, error) {
	v, err := resolve(ctx, c, v, Observer{})
	if err != nil {
		return nil, err
	}
	s, err := lookAround(ctx, c, v)
	if err != nil {
		return nil, err
	}
	out := make([]Preflight, len(checks))
	for i, k := range checks {
		out[i] = Preflight{Name: k.name, Holds: k.holds}
		problems, err := k.run(ctx, s)
		switch {
		case apierrors.IsForbidden(err):
			out[i].Skipped = "you may not look: " + firstLine(err.Error())
		case err != nil:
			return nil, kube.Explain(err)
		}
		out[i].Problems = problems
	}
	return out, nil
}

// parallel requests of one check.
const parallel = 8

func lookAround(ctx context.Context, c *kube.Client, v Values) (*scene, error) {
	objs, err := Render(v)
	if err != nil {
		return nil, err
	}
	rec, err := (&installation{namespace: v.Namespace}).record()
	if err != nil {
		return nil, err
	}
	s := &scene{c: c, v: v, objs: append(objs, rec), set: &appsv1.StatefulSet{}, live: map[string]*unstructured.Unstructured{}}
	for _, o := range objs {
		if o.GetKind() == "StatefulSet" {
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, s.set); err != nil {
				return nil, err
			}
		}
	}
	found := make([]*unstructured.Unstructured, len(s.objs))
	var g errgroup.Group
	g.SetLimit(parallel)
	for i, o := range s.objs {
		g.Go(func() error {
			live, err := c.Get(ctx, o)
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
				return kube.Explain(err)
			}
			if err == nil {
				found[i] = live
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, live := range found {
		if live != nil {
			s.live[objectID(s.objs[i])] = live
		}
	}
	ns, err := c.Kube.CoreV1().Namespaces().Get(ctx, v.Namespace, metav1.GetOptions{})
	if err == nil {
		s.namespace = ns
	} else if !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
		return nil, kube.Explain(err)
	}
	return s, nil
}

// running is the StatefulSet that exists, nil when there is none.
func (s *scene) running() *unstructured.Unstructured {
	for _, o := range s.objs {
		if o.GetKind() == "StatefulSet" {
			return s.live[objectID(o)]
		}
	}
	return nil
}

// managers are signs that another tool puts an object back to what it wants.
var managers = []struct {
	tool, label, annotation string
}{
	{tool: "Flux (Kustomization %s)", label: "kustomize.toolkit.fluxcd.io/name"},
	{tool: "Flux (HelmRelease %s)", label: "helm.toolkit.fluxcd.io/name"},
	{tool: "Argo CD (%s)", annotation: "argocd.argoproj.io/tracking-id"},
	{tool: "Argo CD (application %s)", label: "argocd.argoproj.io/instance"},
	{tool: "Helm (release %s)", annotation: "meta.helm.sh/release-name"},
}

// managerOf names the tool that manages an object, "" for none that is known.
func managerOf(o *unstructured.Unstructured) string {
	for _, m := range managers {
		name := o.GetLabels()[m.label]
		if m.annotation != "" {
			name, _, _ = strings.Cut(o.GetAnnotations()[m.annotation], ":")
		}
		if name != "" {
			return fmt.Sprintf(m.tool, name)
		}
	}
	return ""
}

func checkPresent(ctx context.Context, s *scene) ([]Problem, error) {
	var out []Problem
	told := map[string]bool{}
	for _, o := range s.objs {
		live := s.live[objectID(o)]
		if live == nil || o.GetKind() == "Namespace" {
			continue
		}
		if live.GetLabels()[managedBy] != kube.FieldManager {
			by := live.GetLabels()[managedBy]
			if by != "" {
				by = " (managed by " + by + ")"
			}
			out = append(out, Problem{Object: kube.ObjectName(o), Detail: fmt.Sprintf("exists in namespace %s and was not made by kubectl logstack%s", where(o), by),
				Fix: "install into another namespace (-n NAME), or rename or delete that object"})
			continue
		}
		if m := managerOf(live); m != "" && !told[m] {
			told[m] = true
			out = append(out, Problem{Object: kube.ObjectName(o), Detail: "is managed by " + m + ", which would undo what you change here",
				Fix: "change the values there: " + Command(s.v.Namespace, "export DIR --format flux|argocd|kustomize") + " writes the files"})
		}
	}
	others, err := otherInstallations(ctx, s)
	return append(out, others...), err
}

func where(o *unstructured.Unstructured) string {
	if ns := o.GetNamespace(); ns != "" {
		return ns
	}
	return "- (it has none)"
}

// otherInstallations finds collectors in other namespaces that read the same
// logs: everything would be stored twice.
func otherInstallations(ctx context.Context, s *scene) ([]Problem, error) {
	sets, err := s.c.Kube.AppsV1().StatefulSets("").List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/part-of=" + Name})
	if apierrors.IsForbidden(err) {
		return nil, nil // who may only act in one namespace is not told
	}
	if err != nil {
		return nil, err
	}
	var out []Problem
	for i := range sets.Items {
		other := &sets.Items[i]
		if other.Namespace == s.v.Namespace || other.Name != Name || len(other.Spec.Template.Spec.Containers) == 0 {
			continue
		}
		var theirs []string
		for _, arg := range other.Spec.Template.Spec.Containers[0].Args {
			if ns, ok := strings.CutPrefix(arg, namespaceArg); ok {
				theirs = append(theirs, ns)
			}
		}
		if common := overlap(s.v.Namespaces, theirs); common != "" {
			out = append(out, Problem{Warning: true, Object: "statefulset/" + Name, Detail: fmt.Sprintf("another collector runs in namespace %s and reads %s, too: each line is stored in both", other.Namespace, common),
				Fix: "change that one (-n " + other.Namespace + "), or share the namespaces out with --set namespaces=[…]"})
		}
	}
	return out, nil
}

// overlap says what two lists of namespaces have in common; an empty list is all.
func overlap(a, b []string) string {
	switch {
	case len(a) == 0 && len(b) == 0:
		return "all namespaces"
	case len(a) == 0:
		return "namespace " + strings.Join(b, ", ")
	case len(b) == 0:
		return "namespace " + strings.Join(a, ", ")
	}
	both := slices.DeleteFunc(slices.Clone(a), func(ns string) bool { return !slices.Contains(b, ns) })
	if len(both) == 0 {
		return ""
	}
	return "namespace " + strings.Join(both, ", ")
}

func checkSecurity(_ context.Context, s *scene) ([]Problem, error) {
	labels := map[string]string{}
	switch {
	case s.namespace != nil && s.namespace.Labels[managedBy] != kube.FieldManager:
		labels = s.namespace.Labels
	default: // ours: with the labels that we give it
		for _, o := range s.objs {
			if o.GetKind() == "Namespace" {
				labels = o.GetLabels()
			}
		}
	}
	levels := PodSecurityLevels(labels)
	if detail := PodSecurityViolations(levels.Enforce, &s.set.Spec.Template); detail != "" {
		return []Problem{{Object: "statefulset/" + Name, Detail: fmt.Sprintf("the pods violate PodSecurity %q of namespace %s: %s", levels.Enforce.String(), s.v.Namespace, detail),
			Fix: "install into another namespace (-n NAME), or ask for a lower level of this one"}}, nil
	}
	return nil, nil
}
