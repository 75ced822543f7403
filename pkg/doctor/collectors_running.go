package doctor

import (
	"fmt"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// runningChecks compare what collectors run with what is written.
func runningChecks() []Check {
	return []Check{{
		Code: "LS0714", Severity: Error, Title: "collectors run the configuration that they were given",
		Explain: "Alloy that cannot load a changed configuration keeps running the old one: the ConfigMap looks right and nothing changes. Its metric alloy_config_last_load_successful is 0 then.",
		Fix:     "kubectl logs -n NAMESPACE POD | grep -i 'config' names the mistake; mend it, and Alloy loads it by itself",
		Needs:   []snapshot.Input{snapshot.Server, snapshot.StackMetrics},
		Applies: func(s *snapshot.Snapshot) bool { return len(s.Metrics()) > 0 },
		Run:     onMetrics(failedLoad),
	}}
}

func failedLoad(s *snapshot.Snapshot, m *snapshot.Metrics) []Finding {
	if v, ok := m.Sum("alloy_config_last_load_successful"); !ok || v > 0 {
		return nil
	}
	return []Finding{{Status: Error, Ref: s.Ref(m.Service), Detail: "Alloy could not load its configuration and still runs an old one, or none",
		Fix: fmt.Sprintf("kubectl logs -n %s -l %s --tail=200 | grep -i config names the mistake", m.Service.Namespace, selectorText(m.Service.Spec.Selector)), Explains: []string{"LS1003", "LS1005"}}}
}
