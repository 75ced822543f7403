package doctor

import (
	"slices"
	"strings"
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
			Explain: "The collector is asked to write a line with a number of our own to its log. The line goes the way of every line: container, kubelet, API server, collector, store, query. The time of each step is measured: until the container runtime has written it, until the collector has read it back, until it is stored, until a query finds it. When it does not arrive, the last step that saw it is named.",
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
		f := Finding{Status: Error, Ref: ownService(s), Detail: a.Err.Error(), Fix: "see what the collector says: kubectl logs -n " + s.Namespace + " " + s.Name + "-0"}
		if n := len(a.Hops); n > 0 {
			f.Detail += "; the last hop that saw it: " + a.Hops[n-1].Name + hops(a)
		}
		return []Finding{f}
	case a.After > slowArrival:
		return []Finding{{Status: Warning, Ref: ownService(s), Detail: "it took " + brief(a.After) + hops(a), Fix: install.Command(s.Namespace, "status") + "; the slowest step says where to look"}}
	}
	return []Finding{{Status: OK, Detail: "after " + brief(a.After) + hops(a)}}
}

// hops lists the steps of a line's way with their times; "" when nobody told.
func hops(a *snapshot.ArrivalResult) string {
	var parts []string
	for _, h := range a.Hops {
		parts = append(parts, h.Name+" "+brief(h.Took))
	}
	if parts == nil {
		return ""
	}
	return ": " + strings.Join(parts, " → ")
}

// brief is a duration with as many digits as are of interest.
func brief(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return "<1ms"
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= 100*time.Millisecond:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Millisecond).String()
}
