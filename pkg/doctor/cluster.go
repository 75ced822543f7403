package doctor

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
	"github.com/logstack-dev/kubectl-logstack/pkg/install"
)

// Category 01: cluster access and versions.
func clusterChecks() []Check {
	return slices.Concat(accessChecks(), versionChecks(), discoveryChecks())
}

// accessChecks: is there a cluster, and a stack in it?
func accessChecks() []Check {
	return []Check{
		{
			Code: "LS0101", Severity: Error, Title: "the API server answers",
			Explain: "Everything else needs the API server of your kubeconfig context. The finding says whether the kubeconfig, the name, the network, the certificate or your credentials stand in the way.",
			Fix:     "kubectl --context CONTEXT version",
			Uses:    []snapshot.Input{snapshot.Server},
			Applies: func(s *snapshot.Snapshot) bool {
				m := s.Missing(snapshot.Server)
				return m == nil || !m.Offline
			},
			Run: func(s *snapshot.Snapshot) []Finding {
				if m := s.Missing(snapshot.Server); m != nil {
					cause, fix, _ := strings.Cut(m.Error(), "\n")
					return []Finding{{Status: Error, Object: "context/" + s.Context, Detail: cause, Fix: strings.TrimSpace(fix)}}
				}
				return nil
			},
		},
		{
			Code: "LS0104", Severity: Error, Title: "a log stack is installed",
			Explain: "There has to be something that collects logs: our collector (the StatefulSet logstack), or workloads of Loki, Alloy, Promtail, Fluent Bit, Fluentd, Vector or Grafana, known by their images and labels, in a namespace that you may read.",
			Fix:     "kubectl logstack install",
			Needs:   []snapshot.Input{snapshot.Server, snapshot.Stacks},
			Run:     checkStackFound,
		},
	}
}

func checkStackFound(s *snapshot.Snapshot) []Finding {
	stacks := s.Stacks()
	if len(stacks) == 0 {
		return []Finding{{Status: Error, Object: "namespace/" + s.Namespace, Detail: "no workload of a log stack, neither ours nor Loki, Alloy, Promtail, Fluent Bit, Vector or Grafana",
			Fix: install.Command(s.Namespace, "install") + " (or name its namespace: kubectl logstack doctor -n NAMESPACE)", Explains: []string{"LS0501", "LS0410"}}}
	}
	seen := map[string]bool{}
	for _, c := range stacks {
		seen[string(c.Product)+" in "+c.Namespace()] = true
	}
	var names []string
	for n := range seen {
		names = append(names, n)
	}
	sort.Strings(names)
	return []Finding{{Status: OK, Detail: fmt.Sprintf("found %s", strings.Join(names, ", "))}}
}

// discoveryChecks: is every API group there?
func discoveryChecks() []Check {
	return []Check{{
		Code: "LS0105", Severity: Info, Title: "every API group answers",
		Explain: "An aggregated API (metrics.k8s.io is the usual one) whose server is gone makes kubectl slow, blocks the deletion of namespaces, and hides its kinds from tools that ask for all of them. Logs do not depend on it.",
		Fix:     "kubectl get apiservice | grep False, then mend or delete the one that it shows",
		Needs:   []snapshot.Input{snapshot.Server, snapshot.Discovery},
		Run: func(s *snapshot.Snapshot) []Finding {
			var out []Finding
			for _, name := range s.StaleGroups() {
				out = append(out, Finding{Status: Info, Ref: snapshot.Ref{Kind: "APIService", Name: name}, Detail: "its server does not answer the API server",
					Fix: "kubectl describe apiservice " + name})
			}
			return out
		},
	}}
}
