package doctor

import (
	"fmt"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
	"github.com/logstack-dev/kubectl-logstack/pkg/install"
)

// roomChecks look at the store of our collector.
func roomChecks() []Check {
	return []Check{
		{
			Code: "LS0902", Severity: Error, Title: "the store has room",
			Explain: "With a full volume nothing is stored any more until old blocks are deleted; lines that the node still has are read later, others are lost.",
			Fix:     "kubectl logstack install --storage-size 20Gi, or a shorter --retention",
			Needs:   []snapshot.Input{snapshot.Server, snapshot.Flow}, Applies: func(s *snapshot.Snapshot) bool { return s.Flow() != nil },
			Run: checkRoom,
		},
	}
}

func checkRoom(s *snapshot.Snapshot) []Finding {
	if out := unasked(s); out != nil {
		return out
	}
	f := s.Flow()
	days := s.Taken.Sub(f.Oldest).Hours() / 24
	size := fmt.Sprintf("%.1f MiB", float64(f.DiskBytes)/(1<<20))
	if f.DiskFull {
		return []Finding{{Status: Error, Ref: ownService(s), Detail: "the volume is full, nothing is stored: " + size + " of logs", Fix: "a shorter retention or a larger volume: " + install.Command(s.Namespace, "install --retention 72h"), Explains: []string{"LS1001", "LS1002", "LS1003", "LS1004"}}}
	}
	if f.Oldest.IsZero() || days < 1 {
		return []Finding{{Status: OK, Detail: size}}
	}
	return []Finding{{Status: OK, Detail: fmt.Sprintf("%s for %.0f days, %.1f MiB a day", size, days, float64(f.DiskBytes)/(1<<20)/days)}}
}
