package doctor

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/conf"
	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// rbacInputs are what the rights of a ServiceAccount are made of.
var rbacInputs = []snapshot.Input{snapshot.ClusterRoles, snapshot.ClusterBindings, snapshot.Roles, snapshot.RoleBindings}

// grantChecks are those of category 02 about ServiceAccounts of other stacks.
func grantChecks() []Check {
	return []Check{
		{
			Code: "LS0204", Severity: Error, Title: "the collectors may read the pods that they are configured for",
			Explain: "A collector that reads through the API needs list and watch on pods and get on pods/log, in all namespaces that its configuration discovers pods in. With a Role instead of a ClusterRole, a discovery without namespaces finds nothing or only part.",
			Fix:     "bind a ClusterRole with {apiGroups: [\"\"], resources: [pods, pods/log, namespaces], verbs: [get, list, watch]}, or name the namespaces in discovery.kubernetes",
			Needs:   append([]snapshot.Input{snapshot.Collectors}, rbacInputs...),
			Applies: func(s *snapshot.Snapshot) bool { return len(apiReaders(s)) > 0 },
			Run:     checkReaders,
		},
		{
			Code: "LS0206", Severity: Error, Title: "Grafana's sidecar may look where it is told to",
			Explain: "The sidecar that loads datasources lists ConfigMaps. With searchNamespace ALL it needs a ClusterRole; with a Role alone it finds none, and its log says forbidden.",
			Fix:     "rbac.namespaced: false in the values of the grafana chart",
			Needs:   append([]snapshot.Input{snapshot.Stacks}, rbacInputs...),
			Applies: func(s *snapshot.Snapshot) bool { return len(sidecars(s)) > 0 },
			Run:     checkSidecarRights,
		},
	}
}

// account is a ServiceAccount.
type account struct{ namespace, name string }

func accountOf(c *snapshot.Component) account {
	return account{c.Namespace(), orElse(c.Template.Spec.ServiceAccountName, "default")}
}

func (a account) is(sub rbacv1.Subject, bindingNamespace string) bool {
	switch sub.Kind {
	case rbacv1.ServiceAccountKind:
		return sub.Name == a.name && orElse(sub.Namespace, bindingNamespace) == a.namespace
	case rbacv1.GroupKind:
		return sub.Name == "system:serviceaccounts" || sub.Name == "system:serviceaccounts:"+a.namespace || sub.Name == "system:authenticated"
	case rbacv1.UserKind:
		return sub.Name == "system:serviceaccount:"+a.namespace+":"+a.name
	}
	return false
}

// grants are where an account has a right.
type grants struct {
	cluster    bool
	namespaces []string
}

func (g grants) in(namespace string) bool {
	return g.cluster || slices.Contains(g.namespaces, namespace)
}

// bound are the rules of an account: of the whole cluster, and per namespace.
// named says that a binding names the account itself.
func bound(s *snapshot.Snapshot, a account) (cluster []rbacv1.PolicyRule, namespaced map[string][]rbacv1.PolicyRule, named bool) {
	namespaced = map[string][]rbacv1.PolicyRule{}
	clusterRole := func(name string) []rbacv1.PolicyRule {
		for _, r := range s.ClusterRoles() {
			if r.Name == name {
				return r.Rules
			}
		}
		return nil
	}
	has := func(subjects []rbacv1.Subject, ns string) bool {
		found := false
		for _, sub := range subjects {
			if a.is(sub, ns) {
				found = true
				named = named || sub.Kind == rbacv1.ServiceAccountKind
			}
		}
		return found
	}
	for _, b := range s.ClusterBindings() {
		if has(b.Subjects, "") {
			cluster = append(cluster, clusterRole(b.RoleRef.Name)...)
		}
	}
	for _, b := range s.RoleBindings() {
		if !has(b.Subjects, b.Namespace) {
			continue
		}
		if b.RoleRef.Kind == "ClusterRole" {
			namespaced[b.Namespace] = append(namespaced[b.Namespace], clusterRole(b.RoleRef.Name)...)
			continue
		}
		if r, ok := snapshot.Find(s.Roles(), b.Namespace, b.RoleRef.Name); ok {
			namespaced[b.Namespace] = append(namespaced[b.Namespace], r.Rules...)
		}
	}
	return cluster, namespaced, named
}

// allows says whether rules give a right on a resource of the core group, to
// all objects of it.
func allows(rules []rbacv1.PolicyRule, verb, resource string) bool {
	_, sub, isSub := strings.Cut(resource, "/")
	return slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool {
		return len(r.ResourceNames) == 0 &&
			(slices.Contains(r.Verbs, verb) || slices.Contains(r.Verbs, "*")) &&
			(slices.Contains(r.APIGroups, "") || slices.Contains(r.APIGroups, "*")) &&
			(slices.Contains(r.Resources, resource) || slices.Contains(r.Resources, "*") || isSub && slices.Contains(r.Resources, "*/"+sub))
	})
}

// granted evaluates RBAC for an account. known is false when nothing names the
// account: its bindings may be in files that nobody gave.
func granted(s *snapshot.Snapshot, a account, verb, resource string) (g grants, known bool) {
	cluster, namespaced, named := bound(s, a)
	g.cluster = allows(cluster, verb, resource)
	for ns, rules := range namespaced {
		if allows(rules, verb, resource) {
			g.namespaces = append(g.namespaces, ns)
		}
	}
	slices.Sort(g.namespaces)
	return g, named || s.Live()
}

// apiReader is a workload that reads the logs of pods through the API.
type apiReader struct {
	c *snapshot.Collector
	// namespaces it discovers pods in; nil is all.
	namespaces []string
	pos        conf.Pos
}

func apiReaders(s *snapshot.Snapshot) []apiReader {
	var out []apiReader
	for _, c := range s.Collectors() {
		if c.Err != nil || c.Component == nil || c.Component.Predicted {
			continue
		}
		cfg := conf.Parse(string(c.Product), c.Config.Content)
		if cfg == nil {
			continue
		}
		for _, src := range cfg.Sources {
			if src.Kind != conf.API {
				continue
			}
			for _, ch := range src.Chains {
				if ch.Pods {
					out = append(out, apiReader{c, ch.Namespaces, ch.Pos})
				}
			}
		}
	}
	return out
}

func checkReaders(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, r := range apiReaders(s) {
		a := accountOf(r.c.Component)
		list, known := granted(s, a, "list", "pods")
		logs, _ := granted(s, a, "get", "pods/log")
		if !known {
			continue
		}
		f := Finding{Status: Error, Ref: r.c.Config.At(r.pos.Line, r.pos.Column), Explains: append(complaintsIn(r.c.Namespace, "forbidden"), "LS1003"),
			Fix: `add {apiGroups: [""], resources: [pods, pods/log, namespaces], verbs: [get, list, watch]} to a ClusterRole that is bound to serviceaccount ` + a.namespace + "/" + a.name}
		both := slices.DeleteFunc(slices.Clone(list.namespaces), func(ns string) bool { return !logs.in(ns) })
		missing := slices.DeleteFunc(slices.Clone(r.namespaces), func(ns string) bool { return list.in(ns) && logs.in(ns) })
		switch {
		case list.cluster && logs.cluster, r.namespaces != nil && len(missing) == 0:
			continue
		case r.namespaces != nil:
			f.Detail = fmt.Sprintf("serviceaccount %s/%s may not list pods and get pods/log in %s", a.namespace, a.name, strings.Join(missing, ", "))
		case len(both) > 0:
			f.Status = Warning
			f.Detail = fmt.Sprintf("pods of all namespaces are discovered, and serviceaccount %s/%s may read those of %s only", a.namespace, a.name, strings.Join(both, ", "))
			f.Fix = `namespaces { names = ["` + strings.Join(both, `", "`) + `"] } in discovery.kubernetes, or a ClusterRole`
		case list.cluster:
			f.Detail = fmt.Sprintf("serviceaccount %s/%s may list pods and may not get pods/log", a.namespace, a.name)
		default:
			f.Detail = fmt.Sprintf("serviceaccount %s/%s may not list pods", a.namespace, a.name)
		}
		out = append(out, f)
	}
	return out
}

func checkSidecarRights(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, g := range grafanas(s) {
		sc := sidecarOf(g)
		if sc == nil || g.Predicted {
			continue
		}
		a := accountOf(g)
		have, known := granted(s, a, "list", "configmaps")
		if !known || have.cluster {
			continue
		}
		f := Finding{Status: Error, Ref: s.Ref(g.Workload), Fix: "rbac.namespaced: false in the values of the grafana chart (a ClusterRole in place of a Role)", Explains: []string{"LS0803", "LS0809"}}
		if sc.namespaces == nil {
			f.Detail = fmt.Sprintf("the sidecar searches all namespaces, and serviceaccount %s/%s may list configmaps in %s only", a.namespace, a.name, orElse(strings.Join(have.namespaces, ", "), "none"))
			out = append(out, f)
			continue
		}
		if missing := slices.DeleteFunc(slices.Clone(sc.namespaces), have.in); len(missing) > 0 {
			f.Detail = fmt.Sprintf("the sidecar searches %s, and serviceaccount %s/%s may not list configmaps there", strings.Join(missing, ", "), a.namespace, a.name)
			f.Fix = "bind a Role with get, list and watch on configmaps (and secrets) there, or rbac.namespaced: false in the values of the grafana chart"
			out = append(out, f)
		}
	}
	return out
}
