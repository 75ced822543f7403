package podlogs

import (
	"testing"
	"time"
)

// writing writes to all containers of the pods for a while.
func (x *fleet) writing(d time.Duration, pods []*fakePod) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		for _, p := range pods {
			if p.gone {
				continue
			}
			for name := range p.containers {
				x.k.number(p, name, 1)
			}
		}
	}
}

// wantNoGaps judges all pods.
func (x *fleet) wantNoGaps(pods []*fakePod) {
	x.Helper()
	for _, p := range pods {
		for name := range p.containers {
			if gaps := x.judge(p, name); len(gaps) > 0 {
				x.Errorf("%s:%s has gaps: %s", p.pod.Name, name, describeGaps(gaps))
			}
		}
	}
}

// TestShareScaleUp starts replicas one after the other while lines are written.
func TestShareScaleUp(t *testing.T) {
	share(t, 3, func(x *fleet) {
		pods := x.addPods(24, "a", "b")
		x.replicas[0].start()
		x.writing(10*time.Second, pods)
		x.replicas[1].start()
		x.writing(20*time.Second, pods)
		x.replicas[2].start()
		x.writing(30*time.Second, pods)
		t.Log(x.owners())
		for name, n := range x.owners() {
			if n < 3 {
				t.Errorf("%s reads %d of 24 pods", name, n)
			}
		}
		x.wantNoGaps(pods)
		written := 0
		for _, p := range pods {
			for _, c := range p.containers {
				written += c.current.seq
			}
		}
		if n := x.stored(); n > written+4*48 {
			t.Errorf("%d lines are stored of %d that were written", n, written)
		}
	})
}

// TestShareRollout stops and starts each replica in turn.
func TestShareRollout(t *testing.T) {
	share(t, 3, func(x *fleet) {
		pods := x.addPods(24, "a")
		for _, r := range x.replicas {
			r.start()
		}
		x.writing(20*time.Second, pods)
		for _, r := range x.replicas {
			r.end()
			x.writing(7*time.Second, pods)
			r.start()
			x.writing(20*time.Second, pods)
		}
		x.owners()
		x.wantNoGaps(pods)
	})
}

// TestShareCrash kills replicas while lines are written.
func TestShareCrash(t *testing.T) {
	share(t, 3, func(x *fleet) {
		pods := x.addPods(24, "a")
		for _, r := range x.replicas {
			r.start()
		}
		x.writing(20*time.Second, pods)
		x.replicas[1].crash()
		x.writing(40*time.Second, pods)
		x.owners()
		x.replicas[1].start() // its old positions are of no use any more
		x.writing(20*time.Second, pods)
		x.replicas[0].crash()
		x.replicas[0].start() // before anybody noticed
		x.writing(40*time.Second, pods)
		x.owners()
		x.wantNoGaps(pods)
	})
}

// TestShareFence cuts a replica off from its Lease.
func TestShareFence(t *testing.T) {
	share(t, 3, func(x *fleet) {
		pods := x.addPods(24, "a")
		for _, r := range x.replicas {
			r.start()
		}
		x.writing(20*time.Second, pods)
		r := x.replicas[2]
		r.isolate(true)
		for range 14 {
			x.writing(time.Second, pods)
			live := 0
			for _, o := range x.replicas {
				live += o.c.Status().Shared.Owned
			}
			if live > len(pods) {
				t.Errorf("%d pods are read, there are %d", live, len(pods))
			}
		}
		if !r.group.Fenced() {
			t.Error("a replica that cannot renew its Lease is not fenced")
		}
		if n := r.c.Status().Shared.Owned; n != 0 {
			t.Errorf("a fenced replica reads %d pods", n)
		}
		x.writing(20*time.Second, pods)
		x.owners()
		r.isolate(false)
		x.writing(30*time.Second, pods)
		if n := r.c.Status().Shared.Owned; n == 0 {
			t.Error("a replica that is back reads nothing")
		}
		x.owners()
		x.wantNoGaps(pods)
	})
}

// TestShareDisconnected keeps two replicas from talking while a third comes.
func TestShareDisconnected(t *testing.T) {
	share(t, 3, func(x *fleet) {
		pods := x.addPods(24, "a")
		x.replicas[0].start()
		x.replicas[1].start()
		x.writing(20*time.Second, pods)
		x.disconnect(x.replicas[0], x.replicas[2], true)
		x.replicas[2].start()
		x.writing(2*time.Minute, pods)
		x.owners()
		x.disconnect(x.replicas[0], x.replicas[2], false)
		x.writing(30*time.Second, pods)
		x.owners()
		x.wantNoGaps(pods)
	})
}
