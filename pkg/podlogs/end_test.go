package podlogs

import (
	"errors"
	"io"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TestCutOfEndingPodIsNoEnd cuts a follow while a pod stops, as a proxy that
// goes away does: the clean end must not pass for the end of the log when what
// follows can no longer be read.
func TestCutOfEndingPodIsNoEnd(t *testing.T) {
	for name, c := range map[string]struct {
		exits bool
	}{
		"goes on writing": {},
		"exits":           {exits: true},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, k *cluster, m *memory) {
				p := k.addPod("web", "main")
				col := startCollector(t, k, m)
				k.number(p, "main", 3)
				pass(20 * time.Second)
				k.terminate(p)
				pass(100 * time.Millisecond)
				k.mu.Lock()
				k.openFault = func(*corev1.PodLogOptions) error { return errors.New("dial tcp: connection refused") }
				k.mu.Unlock()
				k.cut(io.EOF)
				if c.exits {
					k.number(p, "main", 5)
					k.exit(p, "main")
				}
				pass(time.Second)
				k.number(p, "main", 5)
				pass(2 * time.Second)
				k.remove(p)
				pass(time.Minute)
				wantLines(t, m, "web:main", "0/0", "0/1", "0/2", "<pod_deleted_before_drain>")
				col.stop()
			})
		})
	}
}
