package install

import (
	"context"
	"fmt"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"golang.org/x/sync/errgroup"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

// right is one thing that a person may or may not do.
type right struct {
	verb, group, resource, subresource, namespace, name string
}

func (r right) String() string {
	what := r.resource
	if r.group != "" {
		what += "." + r.group
	}
	if r.subresource != "" {
		what += "/" + r.subresource
	}
	if r.namespace == "" {
		return r.verb + " " + what
	}
	return fmt.Sprintf("%s %s in namespace %s", r.verb, what, r.namespace)
}

// checkRights asks the API server for every right that the run will need:
// nothing is worse than an installation that ends half-way.
func checkRights(ctx context.Context, s *scene) ([]Problem, error) {
	var needs []right
	need := func(r right) {
		if !slices.Contains(needs, r) {
			needs = append(needs, r)
		}
	}
	for _, o := range s.objs {
		m, err := s.c.Mapper.RESTMapping(o.GroupVersionKind().GroupKind(), o.GroupVersionKind().Version)
		if meta.IsNoMatchError(err) {
			continue // that is said when it is applied, and named
		}
		if err != nil {
			return nil, err
		}
		live := s.live[objectID(o)]
		if o.GetKind() == "Namespace" && live != nil && live.GetLabels()[managedBy] != kube.FieldManager {
			continue // somebody else's, left as it is
		}
		r := right{group: m.Resource.Group, resource: m.Resource.Resource, namespace: o.GetNamespace()}
		verbs := []string{"get", "patch"}
		if live == nil {
			// Server-side apply of what is not there creates it.
			verbs = append(verbs, "create")
		}
		for _, verb := range verbs {
			r.verb, r.name = verb, o.GetName()
			if verb == "create" {
				r.name = ""
			}
			need(r)
		}
	}
	need(right{verb: "list", resource: "pods", namespace: s.v.Namespace})
	missing, err := s.lacking(ctx, needs)
	if err != nil {
		return nil, err
	}
	var out []Problem
	if len(missing) > 0 {
		out = append(out, Problem{Detail: "you may not " + strings.Join(describe(missing), "; "), Fix: s.rightsFix(missing)})
	}
	// Kubernetes lets nobody give away rights that they do not have themselves.
	if lacks, err := s.escalation(ctx); err != nil {
		return nil, err
	} else if lacks != "" && !slices.ContainsFunc(missing, func(r right) bool { return r.group == rbacv1.GroupName }) {
		out = append(out, Problem{Object: "clusterrole/" + clusterName(collectorRole, s.v), Detail: "you may not give the collector rights that you lack: " + lacks, Fix: s.rightsFix(nil)})
	}
	return out, nil
}

func (s *scene) rightsFix(missing []right) string {
	fix := "ask an administrator to run this, or give them the files: " + Command(s.v.Namespace, "export DIR")
	if slices.ContainsFunc(missing, func(r right) bool { return strings.HasPrefix(r.resource, "clusterrole") }) {
		fix += "; with --set namespaces=[NAME, …] nothing cluster-wide is needed"
	}
	return fix
}

// describe joins the verbs of one resource.
func describe(rights []right) (out []string) {
	verbs := map[right][]string{}
	var order []right
	for _, r := range rights {
		key := r
		key.verb, key.name = "", ""
		if verbs[key] == nil {
			order = append(order, key)
		}
		if !slices.Contains(verbs[key], r.verb) {
			verbs[key] = append(verbs[key], r.verb)
		}
	}
	for _, r := range order {
		r.verb = strings.Join(verbs[r], ", ")
		out = append(out, r.String())
	}
	return out
}

// lacking returns those of the rights that are denied.
func (s *scene) lacking(ctx context.Context, rights []right) ([]right, error) {
	denied := make([]bool, len(rights))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, r := range rights {
		g.Go(func() error {
			review, err := s.c.Kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
				Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
					Verb: r.verb, Group: r.group, Resource: r.resource, Subresource: r.subresource, Namespace: r.namespace, Name: r.name,
				}},
			}, metav1.CreateOptions{})
			if err != nil {
				return err
			}
			denied[i] = !review.Status.Allowed
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var out []right
	for i, no := range denied {
		if no {
			out = append(out, rights[i])
		}
	}
	return out, nil
}

// escalation says which of the rights that the rendered roles grant the person
// lacks, unless they may grant any.
func (s *scene) escalation(ctx context.Context) (string, error) {
	var needs []right
	for _, o := range s.objs {
		kind := o.GetKind()
		if kind != "ClusterRole" && kind != "Role" || s.live[objectID(o)] != nil {
			continue
		}
		rules, err := rulesOf(o)
		if err != nil {
			return "", err
		}
		free, err := s.lacking(ctx, []right{{verb: "escalate", group: rbacv1.GroupName, resource: strings.ToLower(kind) + "s", namespace: o.GetNamespace()}})
		if err != nil {
			return "", err
		}
		if len(free) == 0 {
			continue
		}
		for _, rule := range rules {
			needs = append(needs, rightsOf(rule, o.GetNamespace())...)
		}
	}
	missing, err := s.lacking(ctx, needs)
	return strings.Join(describe(missing), "; "), err
}

func rulesOf(o *unstructured.Unstructured) ([]rbacv1.PolicyRule, error) {
	var role rbacv1.ClusterRole
	err := runtime.DefaultUnstructuredConverter.FromUnstructured(map[string]any{"rules": o.Object["rules"]}, &role)
	return role.Rules, err
}

// rightsOf takes a rule apart.
func rightsOf(rule rbacv1.PolicyRule, namespace string) (out []right) {
	names := rule.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			resource, subresource, _ := strings.Cut(resource, "/")
			for _, name := range names {
				for _, verb := range rule.Verbs {
					out = append(out, right{verb: verb, group: group, resource: resource, subresource: subresource, namespace: namespace, name: name})
				}
			}
		}
	}
	return out
}
