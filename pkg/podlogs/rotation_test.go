package podlogs

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestR1OldFileIsReadToItsEnd: the follow does not notice a rotation that came
// before it first was at the end of the file. It is left on the old file until
// nothing can be written there, and the new one is read from its beginning: no
// line is missing, and no gap is marked.
func TestR1OldFileIsReadToItsEnd(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		p := k.addPod("web", "main")
		k.number(p, "main", 1)
		k.bodyFault = func(o *corev1.PodLogOptions) *bodyFault {
			if !o.Follow {
				return nil
			}
			k.bodyFault = nil
			return &bodyFault{after: -1, stuck: true}
		}
		c := startCollector(t, k, m)
		pass(150 * time.Millisecond)
		k.late(p, "main", 2) // the runtime still writes to the old file
		k.number(p, "main", 2)
		pass(9 * time.Second)
		wantLines(t, m, "web:main", "0/0", "0/1", "0/2", "0/3", "0/4")
		k.rotate(p, "main")
		k.number(p, "main", 1)
		pass(10 * time.Second)
		wantLines(t, m, "web:main", "0/0", "0/1", "0/2", "0/3", "0/4", "0/5")
		c.stop()
	})
}

// late rotates and lets the runtime write n lines to the old file.
func (k *cluster) late(p *fakePod, container string, n int) {
	k.rotate(p, container)
	k.mu.Lock()
	defer k.mu.Unlock()
	run := p.containers[container].current
	old := run.files[len(run.files)-2]
	for range n {
		old.lines = append(old.lines, fakeLine{ts: time.Now().Add(time.Duration(run.seq) - time.Millisecond), text: fmt.Sprintf("%d/%d", run.restart, run.seq)})
		run.seq++
	}
	p.touch()
}

// TestBlindKubeletLosesNothing: kubelets before 1.29 never notice a rotation.
func TestBlindKubeletLosesNothing(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		k.blind = true
		p := k.addPod("web", "main")
		c := startCollector(t, k, m)
		n := 0
		for range 20 {
			for range 15 {
				k.number(p, "main", 3)
				n += 3
				pass(700 * time.Millisecond)
			}
			k.rotate(p, "main")
		}
		k.number(p, "main", 1)
		pass(30 * time.Second)
		got := m.lines("default/web:main")
		if len(got) != n+1 || strings.Contains(fmt.Sprint(got), "<") {
			t.Errorf("%d lines and gaps, want %d lines: %v", len(got), n+1, got)
		}
		if v := testutil.ToFloat64(c.metrics.rotations); v != 20 {
			t.Errorf("%v rotations counted, want 20", v)
		}
		c.stop()
	})
}

// TestRotationWhileHandingOver: the log is rotated again between the look that
// shows that nothing is missing and the reading.
func TestRotationWhileHandingOver(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		k.blind = true
		p := k.addPod("web", "main")
		k.number(p, "main", 1)
		c := startCollector(t, k, m)
		pass(8 * time.Second)
		k.number(p, "main", 1)
		pass(10 * time.Millisecond)
		k.rotate(p, "main")
		k.number(p, "main", 2)
		pass(silences[0] + stuckPatience + settle/2)
		k.rotate(p, "main")
		k.number(p, "main", 1)
		pass(30 * time.Second)
		wantLines(t, m, "web:main", "0/0", "0/1", "<rotated_away>", "0/4")
		c.stop()
	})
}

// TestR2LaggingFollowIsClosed stalls the follow over two rotations. Its lines
// come late then, and the file between, which the follow would pass over, is a gap.
func TestR2LaggingFollowIsClosed(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		p := k.addPod("web", "main")
		c := startCollector(t, k, m)
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
		wantLines(t, m, "web:main", "0/0", "0/1", "0/2", "<rotated_away>", "0/6", "0/7")
		c.stop()
	})
}

// stall holds back what follows deliver.
func (k *cluster) stall(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stalled = on
	for _, p := range k.pods {
		p.touch()
	}
}

// TestR2RewindMarksTheFileBetween: the follow sends a file twice, and it is not
// the one that was being read: another lay between.
func TestR2RewindMarksTheFileBetween(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		p := k.addPod("web", "main")
		k.number(p, "main", 2)
		c := startCollector(t, k, m)
		pass(12 * time.Second)
		k.number(p, "main", 1)
		pass(time.Second)
		k.mu.Lock()
		run := p.containers["main"].current
		lost := &fakeFile{lines: []fakeLine{{ts: time.Now(), text: "0/3"}}}
		now := time.Now().Add(time.Second)
		twice := &fakeFile{lines: []fakeLine{{ts: now, text: "0/4"}, {ts: now.Add(1), text: "0/5"}}}
		run.files = append(run.files, lost, twice)
		run.seq = 6
		k.mu.Unlock()
		pass(2 * time.Second)
		k.write(p, "main") // wakes the follow
		pass(time.Second)
		wantLines(t, m, "web:main", "0/0", "0/1", "0/2", "0/4", "0/5")
		k.mu.Lock()
		run.files = append(run.files, &fakeFile{lines: twice.lines})
		p.touch()
		k.mu.Unlock()
		pass(2 * time.Second)
		k.number(p, "main", 1)
		pass(10 * time.Second)
		wantLines(t, m, "web:main", "0/0", "0/1", "0/2", "0/4", "0/5", "<rotated_away>", "0/6")
		for _, e := range m.streams["default/web:main"] {
			if e.Metadata.Get(MetaGap) == "" {
				continue
			}
			from, to := e.Metadata.Get(MetaGapFrom), e.Metadata.Get(MetaGapTo)
			if e.Timestamp >= now.UnixNano() || to != now.UTC().Format(time.RFC3339Nano) || from >= to {
				t.Errorf("the gap is at %d, from %s to %s; it has to end at %s", e.Timestamp, from, to, now)
			}
		}
		c.stop()
	})
}

// TestR4RotationsAreCounted: whether a line was lost in the moment of a rotation
// cannot be known; it is counted and is no gap.
func TestR4RotationsAreCounted(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		p := k.addPod("web", "main")
		c := startCollector(t, k, m)
		pass(time.Second)
		long := strings.Repeat("x", 10_000)
		lines := 0
		for range 3 {
			for range 200 {
				k.write(p, "main", long, long)
				lines += 2
				pass(100 * time.Millisecond)
			}
			k.rotate(p, "main")
		}
		for range 200 {
			k.write(p, "main", long)
			lines++
			pass(100 * time.Millisecond)
		}
		got := m.lines("default/web:main")
		if len(got) != lines {
			t.Errorf("%d entries, want %d lines", len(got), lines)
		}
		if v := testutil.ToFloat64(c.metrics.unverified); v != 3 {
			t.Errorf("%v rotations counted as not verified, want 3", v)
		}
		if n := k.opens["probe"]; n > 40 {
			t.Errorf("%d probes for %d KB", n, lines)
		}
		c.stop()
	})
}

func TestPace(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var p pace
	for i, c := range []struct {
		line, now time.Duration
		want      bool
	}{
		{-5 * time.Minute, 0, false},          // an old line, or a slow clock
		{0, 0, false},                         // now we know which
		{time.Second, 2 * time.Second, false}, // a little late
		{2 * time.Second, 2*time.Second + lagLimit, false},
		{2 * time.Second, 3*time.Second + lagLimit, true},
		{time.Hour, 10 * time.Second, false}, // the clock was set
		{time.Hour, 20 * time.Second, true},
	} {
		if got := p.late(at.Add(c.line).UnixNano(), at.Add(c.now)); got != c.want {
			t.Errorf("%d: late is %v", i, got)
		}
	}
}

func TestHead(t *testing.T) {
	long := strings.Repeat("y", 1000)
	h := newHead(5, []byte(long))
	for _, c := range []struct {
		ts   int64
		text string
		want bool
	}{{5, long, true}, {5, long[:200], true}, {5, long[:100], false}, {6, long, false}, {5, "z" + long, false}} {
		if got := h.begins(c.ts, []byte(c.text)); got != c.want {
			t.Errorf("%d %.10s: %v", c.ts, c.text, got)
		}
	}
	short := newHead(5, []byte("a"))
	probed := head{ts: 5, text: long[:100], cut: true}
	if !h.same(probed) || !probed.same(h) || short.same(h) || h.same(short) || !short.same(short) || short.begins(5, []byte("ab")) {
		t.Error("heads are compared wrongly")
	}
}

// TestRenewedFollowIsLookedAfter: a rotation right after the renewal of a follow
// that has been silent, before the new one was at the end of the file.
func TestRenewedFollowIsLookedAfter(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		p := k.addPod("web", "main")
		k.number(p, "main", 1)
		c := startCollector(t, k, m)
		pass(30 * time.Minute)
		follows := k.opens["follow"]
		k.mu.Lock()
		k.blind = true // the renewed follow will be
		k.mu.Unlock()
		for k.opens["follow"] == follows {
			pass(100 * time.Millisecond)
		}
		k.number(p, "main", 1)
		k.rotate(p, "main")
		pass(10 * time.Millisecond)
		k.number(p, "main", 2)
		pass(settle + 2*time.Second + swapTime + stuckPatience)
		wantLines(t, m, "web:main", "0/0", "0/1", "0/2", "0/3")
		c.stop()
	})
}
