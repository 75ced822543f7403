package podlogs

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// simulate runs f in simulated time.
func simulate(t *testing.T, f func(t *testing.T, k *cluster, m *memory)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newCluster(t), newMemory()) })
}

// wantLines compares what a stream of the default namespace holds.
func wantLines(t *testing.T, m *memory, podContainer string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, m.lines("default/"+podContainer)); diff != "" {
		t.Errorf("stream %s (-want +got):\n%s", podContainer, diff)
	}
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestFollowsAndResumes(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		p := k.addPod("web", "main", "side")
		k.write(p, "main", "one")
		c := startCollector(t, k, m)
		pass(time.Second)
		k.write(p, "main", "two", "two")
		k.write(p, "side", "s")
		pass(time.Second)
		wantLines(t, m, "web:main", "one", "two", "two")
		wantLines(t, m, "web:side", "s")
		if got := c.Status().Targets[StateFollowing]; got != 2 {
			t.Errorf("%d targets are followed, want 2: %v", got, c.Targets())
		}
		c.stop()
		k.write(p, "main", "three")
		c = startCollector(t, k, m)
		pass(time.Second)
		k.write(p, "main", "four")
		pass(time.Second)
		wantLines(t, m, "web:main", "one", "two", "two", "three", "four")
		c.stop()
		if k.openStream != 0 {
			t.Errorf("%d streams left open", k.openStream)
		}
	})
}

func TestDeletedPodLeavesNoPosition(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		p := k.addPod("web", "main")
		c := startCollector(t, k, m)
		k.number(p, "main", 3)
		pass(time.Second)
		k.terminate(p)
		pass(time.Second)
		k.number(p, "main", 1)
		k.exit(p, "main")
		pass(700 * time.Millisecond)
		k.remove(p)
		pass(30 * time.Second)
		wantLines(t, m, "web:main", "0/0", "0/1", "0/2", "0/3")
		if len(m.marks) != 0 {
			t.Errorf("marks left: %v", m.marks)
		}
		if n := len(c.Targets()); n != 0 {
			t.Errorf("%d targets left", n)
		}
		c.stop()
	})
}

// TestLabelsOfARunningPodChange: what is read afterwards has the new labels, of
// a followed and of a polled container, and nothing is read again.
func TestLabelsOfARunningPodChange(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		p := k.addPod("web", "main", "side")
		c := startCollector(t, k, m, func(o *Options) { o.NodeFollowCap = 1 })
		for _, name := range []string{"main", "side"} {
			k.number(p, name, 2)
		}
		pass(30 * time.Second)
		before := k.opens["follow"]
		k.change(p, func() { p.pod.Labels = map[string]string{"app": "new"} })
		pass(time.Second)
		for _, name := range []string{"main", "side"} {
			k.number(p, name, 1)
		}
		pass(2 * time.Minute)
		for _, name := range []string{"main", "side"} {
			wantLines(t, m, "web:"+name, "0/0", "0/1", "0/2")
		}
		if m.apps["app-web"] != 4 || m.apps["new"] != 2 {
			t.Errorf("lines by app: %v", m.apps)
		}
		if n := k.opens["follow"] - before; n > 0 {
			t.Errorf("%d new follows", n)
		}
		c.stop()
	})
}

func TestRestartsAreReadThroughPrevious(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		p := k.addPod("web", "main")
		c := startCollector(t, k, m)
		var want []string
		for run := range 4 {
			k.number(p, "main", 2)
			want = append(want, fmtRun(run, 0), fmtRun(run, 1))
			pass(10 * time.Second)
			k.number(p, "main", 1) // just before it ends
			want = append(want, fmtRun(run, 2))
			k.restart(p, "main")
		}
		pass(30 * time.Second)
		wantLines(t, m, "web:main", want...)
		c.stop()
	})
}

func TestLostRunsAreAGap(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		p := k.addPod("web", "main")
		c := startCollector(t, k, m)
		k.number(p, "main", 1)
		pass(time.Second)
		c.stop()
		for range 3 {
			k.restart(p, "main")
			k.number(p, "main", 1)
			pass(10 * time.Second)
		}
		c = startCollector(t, k, m)
		pass(30 * time.Second)
		wantLines(t, m, "web:main", "0/0", "<instance_lost>", "2/0", "3/0")
		c.stop()
	})
}

func TestRotationWhileDownIsAGap(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		p := k.addPod("web", "main")
		c := startCollector(t, k, m)
		k.number(p, "main", 2)
		pass(time.Second)
		c.stop()
		k.number(p, "main", 2)
		pass(5 * time.Second)
		k.rotate(p, "main")
		k.number(p, "main", 2)
		c = startCollector(t, k, m)
		pass(10 * time.Second)
		k.number(p, "main", 1)
		pass(time.Second)
		wantLines(t, m, "web:main", "0/0", "0/1", "<rotated_away>", "0/4", "0/5", "0/6")
		c.stop()
	})
}

func TestRotationWhileFollowingLosesNothing(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		p := k.addPod("web", "main")
		c := startCollector(t, k, m)
		pass(time.Second)
		var want []string
		for i := range 5 {
			k.number(p, "main", 2)
			want = append(want, fmtRun(0, 2*i), fmtRun(0, 2*i+1))
			pass(4 * time.Second)
			k.rotate(p, "main")
			pass(4 * time.Second)
		}
		pass(10 * time.Minute)
		wantLines(t, m, "web:main", want...)
		c.stop()
	})
}

func fmtRun(run, seq int) string { return string(rune('0'+run)) + "/" + itoa(seq) }

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}
