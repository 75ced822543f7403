package doctor

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
	"github.com/logstack-dev/kubectl-logstack/pkg/install"
)

// Limits of the clocks.
const (
	// nodeSkew is a warning: a lease is renewed every ten seconds, so that a
	// healthy one is younger than that and the time of the look.
	nodeSkew = time.Minute
	// nodeSkewBad breaks certificates, tokens, and Loki's limits.
	nodeSkewBad = 5 * time.Minute
	// localSkew is where --since begins to miss lines.
	localSkew = 30 * time.Second
)

// Category 11: time.
func timeChecks() []Check {
	return []Check{
		{
			Code: "LS1101", Severity: Error, Title: "the clocks of the nodes agree with the API server's",
			Explain: "The container runtime stamps every line with the clock of its node. A node that is ahead writes lines that queries up to now do not find; one that is behind writes lines that Loki refuses as too old. Compared are the times of the nodes' leases and the API server's Date header: a wrong clock of your machine accuses nobody.",
			Fix:     "check the node's time service: chronyc tracking, or timedatectl status",
			Needs:   []snapshot.Input{snapshot.Server, snapshot.Leases}, Uses: []snapshot.Input{snapshot.Nodes},
			Run: checkNodeClocks,
		},
		{
			Code: "LS1102", Severity: Warning, Title: "the clock of your machine agrees with the API server's",
			Explain: "--since is counted back from the clock of your machine. When that is wrong by more than 30 s, the newest lines are not in the answer, or the window is another one than you mean.",
			Fix:     "set the clock of your machine: timedatectl set-ntp true",
			Needs:   []snapshot.Input{snapshot.Server},
			Run:     checkLocalClock,
		},
		{
			Code: "LS1103", Severity: Warning, Title: "no line is of the future",
			Explain: "A line that is stamped more than ten minutes ahead of now is found by no query up to now, and stays the newest one: tails and --since look past it. Our store takes such lines from containers (their node's clock is wrong) and refuses them from shippers; Loki refuses them (too_far_in_future).",
			Fix:     "correct the clock of the node: chronyc tracking, or timedatectl status",
			Needs:   []snapshot.Input{snapshot.Server, snapshot.Flow}, Uses: []snapshot.Input{snapshot.StackMetrics},
			Applies: func(s *snapshot.Snapshot) bool { return s.Flow() != nil },
			Run:     checkFuture,
		},
	}
}

// checkFuture looks at the newest line, and at what was refused for its time.
func checkFuture(s *snapshot.Snapshot) []Finding {
	if out := unasked(s); out != nil {
		return out
	}
	now := s.Clocks().Server
	if now.IsZero() {
		now = s.Taken
	}
	var out []Finding
	f := s.Flow()
	if ahead := f.Newest.Sub(now); ahead > snapshot.FlowAhead {
		found := Finding{Status: Warning, Ref: ownService(s), Detail: "the newest line is stamped " + ahead.Round(time.Second).String() + " ahead of now",
			Fix: "correct the clock of the node that it is from: timedatectl status; to see the lines: " + install.Command(s.Namespace, fmt.Sprintf("query '{namespace=~\".+\"}' --from %s --to %s", now.Add(snapshot.FlowAhead).UTC().Format(time.RFC3339), f.Newest.Add(time.Second).UTC().Format(time.RFC3339)))}
		if names := positive(f.Ahead); len(names) > 0 {
			found.Detail += " (of " + plural(int(total(f.Ahead)), "line") + " of namespace " + strings.Join(names, ", ") + ")"
		}
		out = append(out, found)
	}
	for _, m := range s.Metrics() {
		if n := m.By("loki_discarded_samples_total", "reason")["too_far_in_future"]; n > 0 {
			out = append(out, Finding{Status: Warning, Ref: s.Ref(m.Service), Detail: plural(int(n), "line") + " of the future refused " + sinceText(m.Since()), Fix: refusalFixes["too_far_in_future"]})
		}
	}
	return out
}

func unknownClock() []Finding {
	return []Finding{{Status: Skip, Detail: "the API server's answer has no Date header: its clock is unknown"}}
}

func checkNodeClocks(s *snapshot.Snapshot) []Finding {
	now := s.Clocks().Server
	if now.IsZero() {
		return unknownClock()
	}
	ready := map[string]bool{}
	for _, n := range s.Nodes() {
		for _, c := range n.Status.Conditions {
			ready[n.Name] = ready[n.Name] || c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		}
	}
	var out []Finding
	for _, l := range s.Leases() {
		if l.Namespace != corev1.NamespaceNodeLease || l.Spec.RenewTime == nil {
			continue
		}
		d := l.Spec.RenewTime.Sub(now)
		// A node that is not ready renews nothing: its lease says nothing about its clock.
		if d.Abs() < nodeSkew || d < 0 && !ready[l.Name] {
			continue
		}
		f := Finding{Status: Warning, Ref: snapshot.Ref{Kind: "Node", Name: l.Name}, Detail: "its clock is " + apart(d, "ahead", "behind"),
			Fix: "on the node: chronyc tracking, or timedatectl status", Explains: append(complaintsIn("", "too-old"), "LS1103", "LS1004")}
		if d.Abs() >= nodeSkewBad {
			f.Status = Error
		}
		out = append(out, f)
	}
	return out
}

func checkLocalClock(s *snapshot.Snapshot) []Finding {
	c := s.Clocks()
	if c.Server.IsZero() {
		return unknownClock()
	}
	d := c.Local.Sub(c.Server)
	if d.Abs() < localSkew {
		return nil
	}
	return []Finding{{Status: Warning, Object: "your machine", Detail: "its clock is " + apart(d, "ahead of", "behind") + " the API server's: --since means another window than you think",
		Fix: "timedatectl set-ntp true (macOS: sudo sntp -sS time.apple.com)"}}
}

// apart says how far and in which direction.
func apart(d time.Duration, ahead, behind string) string {
	if d > 0 {
		return fmt.Sprintf("%s %s", d.Round(time.Second), ahead)
	}
	return fmt.Sprintf("%s %s", (-d).Round(time.Second), behind)
}
