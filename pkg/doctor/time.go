package doctor

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
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
	}
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
			Fix: "on the node: chronyc tracking, or timedatectl status", Explains: []string{"LS1103", "LS1004"}}
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
