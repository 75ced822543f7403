package podlogs

import (
	"fmt"
	"io"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TestRestartBetweenStatusAndFollow restarts a container in the moment in which
// its follow is opened, and tells the API server half a second later: the new
// run is read under the old one's name at first. Nothing is lost or doubled, and
// no gap is marked, unless what the old run wrote can no longer be read.
func TestRestartBetweenStatusAndFollow(t *testing.T) {
	for name, c := range map[string]struct {
		before  int  // lines that the old run has before
		refused bool // the previous run's log cannot be read
		want    []string
	}{
		"no line before":   {want: []string{"1/0", "0/0", "0/1", "1/1"}},
		"lines before":     {before: 2, want: []string{"0/0", "0/1", "0/2", "0/3", "1/0", "1/1"}},
		"previous refused": {refused: true, want: []string{"1/0", "<log_unavailable>", "1/1"}},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, k *cluster, m *memory) {
				p := k.addPod("web", "main")
				k.number(p, "main", c.before)
				pass(5 * time.Second)
				once := true
				k.bodyFault = func(o *corev1.PodLogOptions) *bodyFault {
					if !o.Previous || !c.refused {
						return nil
					}
					return &bodyFault{text: "unable to retrieve container logs for containerd://abc", err: io.EOF}
				}
				k.openFault = func(o *corev1.PodLogOptions) error {
					if once && o.Follow {
						once = false
						k.swapLocked(p, "main", 2)
					}
					return nil
				}
				col := startCollector(t, k, m)
				pass(time.Second)
				k.number(p, "main", 1)
				pass(500 * time.Millisecond)
				k.change(p, func() {}) // the status arrives
				pass(2 * time.Minute)
				k.number(p, "main", 1)
				pass(10 * time.Second)
				wantLines(t, m, "web:main", c.want...)
				col.stop()
			})
		})
	}
}

// swapLocked lets the present run write n lines and end, and the next one begin,
// before anybody but the kubelet knows; open streams are to be moved by hand. The
// cluster's lock is held.
func (k *cluster) swapLocked(p *fakePod, container string, n int) {
	c := p.containers[container]
	for range n {
		k.writeLine(c.current, fakeLine{ts: time.Now(), text: fmt.Sprintf("%d/%d", c.current.restart, c.current.seq)})
		c.current.seq++
	}
	c.current.running, c.current.ended = false, time.Now()
	c.previous = c.current
	c.current = newRun(p.pod.Name, container, c.previous.restart+1)
	c.runs = append(c.runs, c.current)
}

// TestRestartWhileAttaching: the follow of a restarted container does not wait for
// a line of the run before when the status says better.
func TestRestartWhileAttaching(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		p := k.addPod("web", "main")
		k.number(p, "main", 1)
		once := true
		k.openFault = func(o *corev1.PodLogOptions) error {
			if once && o.Follow {
				once = false
				k.swapLocked(p, "main", 1)
			}
			return nil
		}
		c := startCollector(t, k, m)
		pass(500 * time.Millisecond)
		k.change(p, func() {}) // the status arrives
		pass(attachTimeout / 2)
		wantLines(t, m, "web:main", "0/0", "0/1")
		k.restart(p, "main")
		pass(time.Minute)
		wantLines(t, m, "web:main", "0/0", "0/1")
		c.stop()
	})
}
