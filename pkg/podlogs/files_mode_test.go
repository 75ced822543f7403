package podlogs

import (
	"errors"
	"io"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/podlogs/nodefiles"
)

// One gap, and only for files that are gone.
func TestFilesBeyondWhatIsKept(t *testing.T) {
	for _, mode := range []NodeFilesMode{NodeFilesBackfill, NodeFilesAll} {
		t.Run(string(mode), func(t *testing.T) {
			simulate(t, func(t *testing.T, k *cluster, m *memory) {
				f, with := serveFiles(k, mode)
				f.keep = 3
				p := k.addPod("web", "main")
				c := startCollector(t, k, m, with)
				pass(time.Minute)
				k.number(p, "main", 3)
				pass(20 * time.Second)
				c.stop()
				for range 4 {
					k.number(p, "main", 2)
					pass(20 * time.Second)
					k.rotate(p, "main")
				}
				k.number(p, "main", 2)
				c = startCollector(t, k, m, with)
				pass(5 * time.Minute)
				wantLines(t, m, "web:main", "0/0", "0/1", "0/2", "<rotated_away>", "0/7", "0/8", "0/9", "0/10", "0/11", "0/12")
				c.stop()
			})
		})
	}
}

// A file that was empty and is filled and rotated while nobody can read it.
func TestFilesFillWhatWasEmpty(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		_, with := serveFiles(k, NodeFilesBackfill)
		c := startCollector(t, k, m, with)
		p := k.addPod("web", "main")
		pass(20 * time.Second)
		k.mu.Lock()
		k.openFault = func(*corev1.PodLogOptions) error { return errors.New("dial tcp: connection refused") }
		k.mu.Unlock()
		k.cut(io.EOF)
		pass(5 * time.Second)
		k.number(p, "main", 3)
		k.rotate(p, "main")
		k.number(p, "main", 2)
		pass(10 * time.Second)
		k.mu.Lock()
		k.openFault = nil
		k.mu.Unlock()
		pass(2 * time.Minute)
		wantLines(t, m, "web:main", "0/0", "0/1", "0/2", "0/3", "0/4")
		c.stop()
	})
}

// A node that refuses is not asked for ever, and asked again after a while.
func TestFilesComeBack(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		f, with := serveFiles(k, NodeFilesAll)
		f.fault = func(op string) error {
			if op == "probe" {
				return nil
			}
			return errors.New("no")
		}
		p := k.addPod("web", "main")
		c := startCollector(t, k, m, with)
		k.number(p, "main", 2)
		pass(30 * time.Second)
		if s := c.Targets()[0]; s.Source != SourceFiles {
			t.Errorf("an error of no kind changes the source: %+v", s)
		}
		k.mu.Lock()
		f.fault = func(string) error { return nodefiles.Refused(405) }
		k.mu.Unlock()
		pass(2 * time.Minute)
		s := c.Targets()[0]
		if s.Source != SourceAPI || s.FilesProblem == "" || len(c.Status().Problems) != 1 {
			t.Errorf("%+v, %q", s, c.Status().Problems)
		}
		k.number(p, "main", 2)
		pass(30 * time.Second)
		wantLines(t, m, "web:main", "0/0", "0/1", "0/2", "0/3")
		k.mu.Lock()
		f.fault = nil
		k.mu.Unlock()
		pass(20 * time.Minute)
		if s := c.Targets()[0]; s.Source != SourceFiles || s.FilesProblem != "" || len(c.Status().Problems) != 0 {
			t.Errorf("%+v, %q", s, c.Status().Problems)
		}
		k.number(p, "main", 2)
		pass(30 * time.Second)
		wantLines(t, m, "web:main", "0/0", "0/1", "0/2", "0/3", "0/4", "0/5")
		c.stop()
	})
}

// Idle files are asked for at long intervals.
func TestFilesOfIdleContainersAreAskedForSeldom(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		f, with := serveFiles(k, NodeFilesAll)
		p := k.addPod("web", "main")
		c := startCollector(t, k, m, with)
		k.number(p, "main", 2)
		pass(time.Minute)
		k.mu.Lock()
		clear(f.asked)
		k.mu.Unlock()
		pass(10 * time.Minute)
		k.mu.Lock()
		n := 0
		for _, asked := range f.asked {
			n += asked
		}
		k.mu.Unlock()
		if n < 30 || n > 60 {
			t.Errorf("%d requests in 10 minutes", n)
		}
		c.stop()
	})
}

// The file after a rotation grows to the very size of the one before.
func TestFilesOfEqualSize(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		_, with := serveFiles(k, NodeFilesAll)
		p := k.addPod("web", "main")
		c := startCollector(t, k, m, with)
		pass(10 * time.Second)
		for range 3 {
			k.number(p, "main", 1)
			pass(20 * time.Second)
			k.rotate(p, "main")
		}
		k.number(p, "main", 1)
		pass(time.Minute)
		wantLines(t, m, "web:main", "0/0", "0/1", "0/2", "0/3")
		c.stop()
	})
}

// R2 with files: what a stalled follow would lose is read from the files.
func TestFilesFillWhatAFollowLost(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		_, with := serveFiles(k, NodeFilesBackfill)
		p := k.addPod("web", "main")
		c := startCollector(t, k, m, with)
		k.number(p, "main", 2)
		pass(10 * time.Second)
		k.number(p, "main", 1)
		pass(time.Second)
		k.stall(true)
		k.number(p, "main", 1)
		k.rotate(p, "main")
		k.number(p, "main", 2)
		pass(rotationInterval)
		k.rotate(p, "main")
		k.stall(false)
		pass(time.Second)
		k.number(p, "main", 2)
		pass(20 * time.Second)
		wantLines(t, m, "web:main", "0/0", "0/1", "0/2", "0/3", "0/4", "0/5", "0/6", "0/7")
		c.stop()
	})
}

// R2 in the middle of a follow: the file between is read when it is noticed, and
// the follow's place stays where it is.
func TestFilesFillSkippedFile(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		_, with := serveFiles(k, NodeFilesBackfill)
		p := k.addPod("web", "main")
		k.number(p, "main", 2)
		c := startCollector(t, k, m, with)
		pass(12 * time.Second)
		k.number(p, "main", 1)
		pass(time.Second)
		k.mu.Lock()
		run := p.containers["main"].current
		now := time.Now()
		lost := &fakeFile{born: now, lines: []fakeLine{{ts: now, text: "0/3"}}}
		next := now.Add(time.Second)
		twice := &fakeFile{born: next, lines: []fakeLine{{ts: next, text: "0/4"}, {ts: next.Add(1), text: "0/5"}}}
		run.files = append(run.files, lost, twice)
		run.seq = 6
		k.mu.Unlock()
		pass(2 * time.Second)
		k.write(p, "main") // wakes the follow
		pass(time.Second)
		wantLines(t, m, "web:main", "0/0", "0/1", "0/2", "0/4", "0/5")
		k.mu.Lock()
		run.files = append(run.files, &fakeFile{born: next.Add(time.Second), lines: twice.lines})
		p.touch()
		k.mu.Unlock()
		pass(30 * time.Second)
		k.number(p, "main", 1)
		pass(30 * time.Second)
		wantLines(t, m, "web:main", "0/0", "0/1", "0/2", "0/4", "0/5", "0/3", "0/6")
		c.stop()
	})
}
