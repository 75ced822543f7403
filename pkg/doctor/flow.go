package doctor

import (
	"fmt"
	"slices"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
	"github.com/logstack-dev/kubectl-logstack/pkg/install"
)

// slowArrival is where a delay deserves a word: pod logs normally arrive within a second.
const slowArrival = 15 * time.Second

// Category 10: log flow.
func flowChecks() []Check {
	return slices.Concat(queryChecks(), lineChecks(), metricChecks())
}

// queryChecks follow a line through our own stack.
func queryChecks() []Check {
	return []Check{
		{
			Code: "LS1008", Severity: Error, Title: "the collector answers queries",
			Explain: "The way that kubectl logstack query takes: the API server's service proxy, else a port-forward, then /ready of the collector.",
			Fix:     "kubectl logstack status",
			Needs:   []snapshot.Input{snapshot.Server, snapshot.Query}, Uses: []snapshot.Input{snapshot.StatefulSets},
			Applies: hasOurs,
			Run: func(s *snapshot.Snapshot) []Finding {
				q := s.Query()
				switch {
				case q.Err != nil:
					return []Finding{{Status: Error, Ref: ownService(s), Detail: q.Err.Error(), Fix: install.Command(s.Namespace, "status"), Explains: []string{"LS1001"}}}
				case q.Note != "":
					return []Finding{{Status: Info, Detail: q.Note}}
				}
				return nil
			},
		},
		{
			Code: "LS1001", Severity: Error, Title: "a line written now arrives",
			Explain: "The collector is asked to write a line with a number of our own to its log. The line goes the way of every line: container, kubelet, API server, collector, store, query. The time it took is measured.",
			Fix:     "see what the collector says: kubectl logs -n logstack logstack-0",
			Needs:   []snapshot.Input{snapshot.Server, snapshot.Arrival}, Uses: []snapshot.Input{snapshot.StatefulSets},
			Applies: hasOurs,
			Run:     checkArrival,
		},
	}
}

func ownService(s *snapshot.Snapshot) snapshot.Ref {
	return snapshot.Ref{Kind: "Service", Namespace: s.Namespace, Name: s.Name}
}

func checkArrival(s *snapshot.Snapshot) []Finding {
	a := s.Arrival()
	switch {
	case a.Err != nil:
		return []Finding{{Status: Error, Ref: ownService(s), Detail: a.Err.Error(),
			Fix: "see what the collector says: kubectl logs -n " + s.Namespace + " " + s.Name + "-0"}}
	case a.After > slowArrival:
		return []Finding{{Status: Warning, Detail: fmt.Sprintf("it took %s", a.After.Round(100*time.Millisecond)), Fix: install.Command(s.Namespace, "status")}}
	}
	return []Finding{{Status: OK, Detail: fmt.Sprintf("after %s", a.After.Round(10*time.Millisecond))}}
}
