package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

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
			Explain: "For each namespace of which nothing was stored for a quarter of an hour, although its pods have run for longer, the log of one of its pods is asked for at the API server: when that has lines, they are dropped, forbidden or not read. Where that may not be asked, a namespace is named that logged all day and stopped; one that was quiet before is not.",
			Fix:     "kubectl logs -n NAMESPACE POD --since=15m: does the pod log at all?",
			Needs:   append(slices.Clone(needs), snapshot.Pods), Uses: []snapshot.Input{snapshot.Logs, snapshot.Namespaces, snapshot.StatefulSets}, Applies: asked,
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
		return []Finding{{Status: OK, Detail: fmt.Sprintf("%s in %d minutes; too early to compare", plural(int(f.Now), "line"), int(snapshot.FlowNow.Minutes()))}}
	}
	all := total(f.Long)
	usual := all * float64(snapshot.FlowNow) / float64(span)
	finding := Finding{Ref: ownService(s), Fix: install.Command(s.Namespace, "status") + "; kubectl logs -n " + s.Namespace + " " + s.Name + "-0", Explains: []string{"LS1003"},
		Detail: fmt.Sprintf("%s in %d minutes, usual are %.0f", plural(int(f.Now), "line"), int(snapshot.FlowNow.Minutes()), usual)}
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

// checkSilent names the namespaces of which nothing came: those with a pod that
// writes lines, and those that logged all day and stopped.
func checkSilent(s *snapshot.Snapshot) []Finding {
	if out := unasked(s); out != nil {
		return out
	}
	f := s.Flow()
	writes := map[string]*snapshot.LogExcerpt{}
	for _, e := range s.Logs(snapshot.SilentLog) {
		writes[e.Pod.Namespace] = e
	}
	var out []Finding
	for _, p := range s.Silent() {
		ns := p.Namespace
		found := Finding{Status: Warning, Ref: snapshot.Ref{Kind: "Namespace", Name: ns}, Detail: lastSeen(s, ns)}
		switch e := writes[ns]; {
		case e != nil && e.Err == nil && len(e.Lines) > 0:
			found.Detail += fmt.Sprintf("; pod %s writes lines: %s", p.Name, quoted(e.Lines[len(e.Lines)-1]))
			found.Fix = "why are they not read? " + install.Command(s.Namespace, "status") + "; kubectl logs -n " + s.Namespace + " " + s.Name + "-0 | grep " + ns
		case f.Long[ns] >= snapshot.FlowLong.Minutes():
			// A line a minute, at least, all day long: silence is not its habit.
			found.Detail += "; silence is not its habit"
			if e != nil && e.Err == nil {
				found.Detail += fmt.Sprintf(", and pod %s wrote nothing either", p.Name)
			}
			found.Fix = "do its pods log at all? kubectl logs -n " + ns + " " + p.Name + " --since=15m; if they do: " + install.Command(s.Namespace, "status")
		default:
			continue
		}
		out = append(out, found)
	}
	return out
}

// lastSeen says since when a namespace is silent.
func lastSeen(s *snapshot.Snapshot, ns string) string {
	f := s.Flow()
	if last := f.Last[ns]; !last.IsZero() {
		return fmt.Sprintf("no line for %s (%.0f in a day, the last one at %s)", s.Taken.Sub(last).Round(time.Minute), f.Long[ns], last.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("no line in %d minutes, %.0f in a day", int(snapshot.FlowRecent.Minutes()), f.Long[ns])
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
		out = append(out, Finding{Status: Warning, Ref: snapshot.Ref{Kind: "Namespace", Name: ns}, Detail: fmt.Sprintf("%s in a day: lines may be missing there", plural(int(s.Flow().Gaps[ns]), "gap")),
			Fix: install.Command(s.Namespace, fmt.Sprintf(`query '{namespace=%q} | __logstack_gap__!=""' --since 24h`, ns)) + " shows where and why"})
	}
	return out
}
