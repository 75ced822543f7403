package podlogs

import (
	"fmt"
	"testing"
	"time"
)

// TestCrowd starts on more containers than a minute's requests can read: each
// waits for its turn, however long that takes, and gets it.
func TestCrowd(t *testing.T) {
	const pods, perSecond = 200, 1
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		for i := range pods {
			k.write(k.addPod(fmt.Sprintf("web%d", i), "main"), "main", "one")
		}
		c := startCollector(t, k, m, func(o *Options) {
			o.OpensPerSecond, o.OpensBurst, o.NodeFollowCap = perSecond, 1, 1
		})
		pass((pods + 20) * time.Second / perSecond)
		for i := range pods {
			wantLines(t, m, fmt.Sprintf("web%d:main", i), "one")
		}
		c.stop()
	})
}
