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

// written counts the lines that the pods wrote.
func (x *fleet) written(pods []*fakePod) (n int) {
	for _, p := range pods {
		for _, c := range p.containers {
			n += c.current.seq
		}
	}
	return n
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
		if n := x.stored(); n > x.written(pods)+4*48 {
			t.Errorf("%d lines are stored of %d that were written", n, x.written(pods))
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
		if n, most := x.stored(), x.written(pods)+10*len(pods); n > most {
			t.Errorf("%d lines are stored, want at most %d: a crash costs what was not copied yet", n, most)
		}
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

// TestShareTwins hands pods over in the middle of lines that are all alike and
// have one timestamp, as CRI-O writes them: as many are found as were written.
func TestShareTwins(t *testing.T) {
	for name, handOver := range map[string]func(x *fleet){
		"a newcomer": func(x *fleet) { x.replicas[1].start() },
		"a rollout": func(x *fleet) {
			x.replicas[1].start()
			pass(10 * time.Second)
			x.replicas[0].end()
		},
		"a crash": func(x *fleet) {
			x.replicas[1].start()
			pass(10 * time.Second)
			x.replicas[0].crash()
		},
		"there and back": func(x *fleet) {
			x.replicas[1].start()
			pass(10 * time.Second)
			x.replicas[1].end()
			pass(10 * time.Second)
			x.replicas[1].start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			share(t, 2, func(x *fleet) {
				pods := x.addPods(8, "a")
				x.replicas[0].start()
				pass(10 * time.Second)
				x.writing(time.Second, pods)
				at := time.Now()
				twins := func(n int) {
					pass(time.Millisecond)
					x.k.mu.Lock()
					defer x.k.mu.Unlock()
					for _, p := range pods {
						for range n {
							x.k.writeLine(p.containers["a"].current, fakeLine{ts: at, text: "twin"})
							x.k.writeLine(p.containers["a"].current, fakeLine{ts: at, text: "other"})
						}
						p.touch()
					}
				}
				twins(3)
				pass(5 * time.Second)
				handOver(x)
				pass(25 * time.Second)
				twins(2)
				pass(5 * time.Second)
				x.writing(time.Second, pods)
				pass(time.Second)
				x.wantNoGaps(pods)
			})
		})
	}
}

// TestShareFailures stops the disk of a replica that is to take pods over.
func TestShareFailures(t *testing.T) {
	share(t, 2, func(x *fleet) {
		pods := x.addPods(16, "a")
		x.replicas[0].start()
		x.writing(10*time.Second, pods)
		full := x.replicas[1].mem
		full.mu.Lock()
		full.fail = errKilled
		full.mu.Unlock()
		x.replicas[1].start()
		x.writing(20*time.Second, pods)
		full.mu.Lock()
		full.fail = nil
		full.mu.Unlock()
		x.writing(20*time.Second, pods)
		x.owners()
		x.wantNoGaps(pods)
	})
}

// TestShareDeadOwnersPod removes a pod after its owner has crashed and before that
// is known: who takes over says that its end is missing, once.
func TestShareDeadOwnersPod(t *testing.T) {
	share(t, 3, func(x *fleet) {
		pods := x.addPods(9, "a")
		for _, r := range x.replicas {
			r.start()
		}
		x.writing(15*time.Second, pods)
		x.replicas[1].crash()
		x.writing(3*time.Second, pods)
		for _, p := range pods {
			x.k.terminate(p)
			x.k.exit(p, "a")
		}
		pass(time.Second)
		for _, p := range pods {
			x.k.remove(p)
		}
		pass(3 * time.Minute)
		x.replicas[1].start() // its old positions must not be finished again
		pass(3 * time.Minute)
		marked := 0
		for _, p := range pods {
			gaps := x.judge(p, "a")
			if len(gaps) > 1 {
				t.Errorf("%s has gaps %s", p.pod.Name, describeGaps(gaps))
			}
			marked += len(gaps)
		}
		if marked == 0 || marked == len(pods) {
			t.Errorf("%d of %d pods have a gap", marked, len(pods))
		}
		for _, r := range x.replicas {
			if len(r.mem.marks) > 0 {
				t.Errorf("%s keeps marks: %v", r.name, r.mem.marks)
			}
		}
	})
}
