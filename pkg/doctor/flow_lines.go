package doctor

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
	"github.com/logstack-dev/kubectl-logstack/pkg/install"
)

// lineChecks look at what our collector has stored lately.
func lineChecks() []Check {
	needs := []snapshot.Input{snapshot.Server, snapshot.Flow}
	asked := func(s *snapshot.Snapshot) bool { return s.Flow() != nil }
	return []Check{
		{
			Code: "LS1002", Severity: Error, Title: "lines are stored now",
			Explain: "The lines of the last five minutes are compared with the average of a day. None at all in a cluster that runs is a stop; less than a tenth is worth a look.",
			Fix:     "kubectl logstack status; kubectl logs -n logstack logstack-0",
			Needs:   needs, Uses: []snapshot.Input{snapshot.Pods}, Applies: asked,
			Run: checkRate,
		},
		{
			Code: "LS1003", Severity: Warning, Title: "every namespace with pods has lines",
			Explain: "A namespace that logged all day and has been silent for a quarter of an hour, although its pods run, is named: its logs are dropped, forbidden or not read. One that was quiet before is not.",
			Fix:     "kubectl logs -n NAMESPACE POD --since=15m: does the pod log at all?",
			Needs:   append(slices.Clone(needs), snapshot.Pods), Applies: asked,
			Run: checkSilent,
		},
		{
			Code: "LS1007", Severity: Warning, Title: "there are no gaps",
			Explain: "Where lines may be missing, because a log file was rotated away before it was read or because the node could not be reached, the collector stores a mark with the reason. The marks of the last day are counted.",
			Fix:     "kubectl logstack query '{namespace=\"NAMESPACE\"} | __logstack_gap__!=\"\"' shows where and why",
			Needs:   needs, Applies: asked,
			Run: checkGaps,
		},
	}
}

// unasked is the answer when the collector did not answer.
func unasked(s *snapshot.Snapshot) []Finding {
	return notAsked(s.Flow().Err)
}

func notAsked(err error) []Finding {
	if err == nil {
		return nil
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return []Finding{{Status: Skip, Detail: "the collector could not be asked: " + line}}
}

func total(m map[string]float64) float64 {
	sum := 0.0
	for _, n := range m {
		sum += n
	}
	return sum
}

// steady is the number of lines of a day from which on a comparison means
// something: one in five minutes.
const steady = float64(snapshot.FlowLong / snapshot.FlowNow)

func checkRate(s *snapshot.Snapshot) []Finding {
	if out := unasked(s); out != nil {
		return out
	}
	f := s.Flow()
	// The average is over the time for which there are lines.
	span := min(snapshot.FlowLong, s.Taken.Sub(f.Oldest))
	if f.Oldest.IsZero() || span < 2*snapshot.FlowNow {
		return []Finding{{Status: OK, Detail: fmt.Sprintf("%.0f lines in %s; too early to compare", f.Now, snapshot.FlowNow)}}
	}
	all := total(f.Long)
	usual := all * float64(snapshot.FlowNow) / float64(span)
	finding := Finding{Ref: ownService(s), Fix: install.Command(s.Namespace, "status") + "; kubectl logs -n " + s.Namespace + " " + s.Name + "-0", Explains: []string{"LS1003"},
		Detail: fmt.Sprintf("%.0f lines in %s, usual are %.0f", f.Now, snapshot.FlowNow, usual)}
	switch {
	case f.Now == 0 && all >= steady:
		finding.Status = Error
	case f.Now < usual/10 && usual >= 10:
		finding.Status = Warning
	default:
		return []Finding{{Status: OK, Detail: finding.Detail}}
	}
	return []Finding{finding}
}

func checkSilent(s *snapshot.Snapshot) []Finding {
	if out := unasked(s); out != nil {
		return out
	}
	f := s.Flow()
	pods := map[string]int{}
	var order []string
	for _, p := range s.Pods() {
		if p.Status.Phase != corev1.PodRunning || p.Status.StartTime != nil && s.Taken.Sub(p.Status.StartTime.Time) < snapshot.FlowRecent {
			continue
		}
		if pods[p.Namespace]++; pods[p.Namespace] == 1 {
			order = append(order, p.Namespace)
		}
	}
	slices.Sort(order)
	var out []Finding
	for _, ns := range order {
		// A line a minute, at least, all day long: silence is not its habit.
		if f.Recent[ns] > 0 || f.Long[ns] < snapshot.FlowLong.Minutes() {
			continue
		}
		out = append(out, Finding{Status: Warning, Ref: snapshot.Ref{Kind: "Namespace", Name: ns}, Detail: fmt.Sprintf("no line in %s, %.0f in a day; %d pods run", snapshot.FlowRecent, f.Long[ns], pods[ns]),
			Fix: "do its pods log at all? kubectl logs -n " + ns + " POD --since=15m; if they do: " + install.Command(s.Namespace, "status")})
	}
	return out
}

func checkGaps(s *snapshot.Snapshot) []Finding {
	if out := unasked(s); out != nil {
		return out
	}
	if out := notAsked(s.Flow().GapsErr); out != nil {
		return out
	}
	var namespaces []string
	for ns, n := range s.Flow().Gaps {
		if n > 0 {
			namespaces = append(namespaces, ns)
		}
	}
	slices.Sort(namespaces)
	var out []Finding
	for _, ns := range namespaces {
		out = append(out, Finding{Status: Warning, Ref: snapshot.Ref{Kind: "Namespace", Name: ns}, Detail: fmt.Sprintf("%.0f gaps in a day: lines may be missing there", s.Flow().Gaps[ns]),
			Fix: install.Command(s.Namespace, fmt.Sprintf(`query '{namespace=%q} | __logstack_gap__!=""' --since 24h`, ns)) + " shows where and why"})
	}
	return out
}
