package doctor

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
	"github.com/logstack-dev/kubectl-logstack/pkg/install"
)

// Category 02: rights.
func rightsChecks() []Check {
	return slices.Concat(ownChecks(), grantChecks(), installChecks())
}

// ownChecks look at your rights and at those of our collector.
func ownChecks() []Check {
	return []Check{
		{
			Code: "LS0201", Severity: Info, Title: "you may read all that doctor looks at",
			Explain: "Doctor only reads. What it may not read is skipped, and the checks that need it say which right lacks; this check names all of them at once.",
			Fix:     "kubectl create clusterrolebinding logstack-doctor --clusterrole=view --user=USER covers most of it",
			Needs:   []snapshot.Input{snapshot.Server},
			Run:     lackingRights,
		},
		{
			Code: "LS0203", Severity: Error, Title: "the collector may read pods and their logs",
			Explain: "The collector follows pods through the API. Its ServiceAccount needs get, list and watch on pods and get on pods/log in the whole cluster; nodes/proxy is never needed.",
			Fix:     "kubectl logstack install (puts the ClusterRole and its binding back)",
			Needs:   []snapshot.Input{snapshot.Server, snapshot.CollectorRights, snapshot.StatefulSets},
			Applies: hasOurs,
			Run:     checkCollectorRights,
		},
		{
			Code: "LS0205", Severity: Error, Title: "you may query",
			Explain: "kubectl logstack reaches the collector through the API server's service proxy (get services/proxy) or by a port-forward (create pods/portforward). One of them is enough.",
			Fix:     "kubectl create rolebinding logstack-query-USER -n logstack --role=logstack-query --user=USER",
			Needs:   []snapshot.Input{snapshot.Server, snapshot.OwnRights}, Uses: []snapshot.Input{snapshot.StatefulSets},
			Applies: func(s *snapshot.Snapshot) bool { return hasOurs(s) || s.Missing(snapshot.StatefulSets) != nil },
			Run:     checkOwnRights,
		},
	}
}

// ours is the StatefulSet of our own stack, nil when it is not installed.
func ours(s *snapshot.Snapshot) *appsv1.StatefulSet {
	set, _ := snapshot.Find(s.StatefulSets(), s.Namespace, s.Name)
	return set
}

func hasOurs(s *snapshot.Snapshot) bool { return ours(s) != nil }

func checkCollectorRights(s *snapshot.Snapshot) []Finding {
	var missing []string
	for _, r := range snapshot.CollectorNeeds {
		if !s.CollectorRights()[r] {
			missing = append(missing, r.String())
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return []Finding{{
		Status: Error, Ref: snapshot.Ref{Kind: "ServiceAccount", Namespace: s.Namespace, Name: s.Name}, Detail: "it may not " + strings.Join(missing, ", "),
		Fix: install.Command(s.Namespace, "install") + " (puts the ClusterRole and its binding back)", Explains: []string{"LS1001"},
	}}
}

func checkOwnRights(s *snapshot.Snapshot) []Finding {
	for _, ok := range s.OwnRights() {
		if ok {
			return nil
		}
	}
	return []Finding{{
		Status: Error, Object: "you", Detail: "neither get services/proxy nor create pods/portforward in namespace " + s.Namespace,
		Fix: fmt.Sprintf("kubectl create rolebinding logstack-query-USER -n %s --role=logstack-query --user=USER", s.Namespace), Explains: []string{"LS1008"},
	}}
}

// lackingRights names the rights without which something was skipped.
func lackingRights(s *snapshot.Snapshot) []Finding {
	rights := s.Lacking()
	if len(rights) == 0 {
		return nil
	}
	var names, resources []string
	for _, r := range rights {
		names = append(names, r.String())
		if r.Verb == "list" {
			resource := r.Resource
			if r.Group != "" {
				resource += "." + r.Group
			}
			resources = append(resources, resource)
		}
	}
	f := Finding{Status: Info, Object: "you", Detail: "you may not " + strings.Join(names, ", ")}
	if len(resources) > 0 {
		f.Fix = "an admin can allow it: kubectl create clusterrole logstack-doctor --verb=get,list --resource=" + strings.Join(resources, ",") + " && kubectl create clusterrolebinding logstack-doctor --clusterrole=logstack-doctor --user=USER"
	}
	return []Finding{f}
}

// installChecks look at what an installation needs.
func installChecks() []Check {
	return []Check{{
		Code: "LS0202", Severity: Error, Title: "you may install",
		Explain: "With --pre, the API server is asked for every object that kubectl logstack install would apply: may you create and patch it? A ClusterRole can be refused all the same: whoever makes one has to hold the rights in it.",
		Fix:     "ask an admin, or have the manifests applied by one: kubectl logstack install --export DIRECTORY",
		Needs:   []snapshot.Input{snapshot.Server, snapshot.InstallRights},
		Run:     checkInstallRights,
	}}
}

func checkInstallRights(s *snapshot.Snapshot) []Finding {
	var lacking []string
	for _, r := range s.InstallRights() {
		if !r.Allowed {
			lacking = append(lacking, r.String())
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	return []Finding{{Status: Error, Object: "you", Detail: "you may not " + strings.Join(lacking, ", "),
		Fix: "ask an admin for these rights, or to apply what this prints: " + install.Command(s.Namespace, "install --export DIRECTORY")}}
}

// InstallNeeds are the rights that applying these objects needs: an object that
// is not there is created, one that is there is patched.
func InstallNeeds(objs []*unstructured.Unstructured) []snapshot.Right {
	var out []snapshot.Right
	for _, o := range objs {
		gvr, _ := meta.UnsafeGuessKindToResource(o.GroupVersionKind())
		for _, verb := range []string{"create", "patch"} {
			r := snapshot.Right{Verb: verb, Group: gvr.Group, Resource: gvr.Resource, Namespace: o.GetNamespace()}
			if !slices.Contains(out, r) {
				out = append(out, r)
			}
		}
	}
	return out
}
