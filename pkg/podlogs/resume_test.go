package podlogs

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// at writes lines with timestamps of their own.
func (k *cluster) at(p *fakePod, container string, lines ...fakeLine) {
	k.mu.Lock()
	defer k.mu.Unlock()
	run := p.containers[container].current
	file := run.files[len(run.files)-1]
	file.lines = append(file.lines, lines...)
	p.touch()
}

// TestResume stops the collector after the first lines, lets something happen,
// and starts it again.
func TestResume(t *testing.T) {
	base := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // where simulated time begins
	line := func(offset time.Duration, text string) fakeLine { return fakeLine{ts: base.Add(offset), text: text} }
	for _, c := range []struct {
		name          string
		before, after []fakeLine
		rotate        bool
		want          []string
	}{
		{
			name:   "anchor found",
			before: []fakeLine{line(0, "a"), line(1, "b")}, after: []fakeLine{line(2, "c")},
			want: []string{"a", "b", "c"},
		},
		{
			name:   "nothing new",
			before: []fakeLine{line(0, "a")},
			want:   []string{"a"},
		},
		{
			name:   "equal lines of one timestamp",
			before: []fakeLine{line(5, "a"), line(5, "x"), line(5, "a"), line(5, "x")},
			after:  []fakeLine{line(5, "x"), line(5, "a"), line(5, "b")},
			want:   []string{"a", "x", "a", "x", "x", "a", "b"},
		},
		{
			name:   "around a second",
			before: []fakeLine{line(999*time.Millisecond, "a"), line(time.Second, "b")},
			after:  []fakeLine{line(time.Second, "c"), line(time.Second+1, "d")},
			want:   []string{"a", "b", "c", "d"},
		},
		{
			name:   "a little backwards, as from two writers",
			before: []fakeLine{line(2*time.Second, "a"), line(2*time.Second+500, "b")},
			after:  []fakeLine{line(2*time.Second+400, "c"), line(3*time.Second, "d")},
			want:   []string{"a", "b", "c", "d"},
		},
		{
			name:   "clock set back",
			before: []fakeLine{line(time.Hour, "a"), line(time.Hour+1, "b")},
			after:  []fakeLine{line(0, "c"), line(time.Second, "d")},
			want:   []string{"a", "b", "c", "d"},
		},
		{
			name:   "rotated",
			before: []fakeLine{line(0, "a")}, rotate: true, after: []fakeLine{line(2*time.Second, "b")},
			want: []string{"a", "<rotated_away>", "b"},
		},
		{
			name:   "rotated inside a group of equal lines",
			before: []fakeLine{line(0, "a"), line(0, "a"), line(0, "a")}, rotate: true,
			after: []fakeLine{line(0, "a"), line(2*time.Second, "b")},
			want:  []string{"a", "a", "a", "<rotated_away>", "b"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			simulate(t, func(t *testing.T, k *cluster, m *memory) {
				p := k.addPod("web", "main")
				k.at(p, "main", c.before...)
				col := startCollector(t, k, m)
				pass(3 * time.Second)
				col.stop()
				if c.rotate {
					k.rotate(p, "main")
				}
				k.at(p, "main", c.after...)
				col = startCollector(t, k, m)
				pass(time.Minute)
				wantLines(t, m, "web:main", c.want...)
				col.stop()
			})
		})
	}
}

func TestUnterminatedLastLine(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		p := k.addPod("web", "main")
		c := startCollector(t, k, m)
		k.write(p, "main", "whole")
		k.at(p, "main", fakeLine{ts: time.Now().Add(time.Millisecond), text: "no newline", open: true})
		pass(10 * time.Second)
		wantLines(t, m, "web:main", "whole") // it may still grow
		k.exit(p, "main")
		pass(10 * time.Second)
		wantLines(t, m, "web:main", "whole", "no newline")
		c.stop()
	})
}

func TestErrorTextsAreNotLines(t *testing.T) {
	for _, text := range []string{
		"unable to retrieve container logs for containerd://0123",
		"failed to create fsnotify watcher: too many open files",
		"failed to try resolving symlinks in path \"/var/log/pods\": lstat: no such file or directory",
		"rpc error: code = NotFound desc = an error occurred when try to find container",
		"something that nobody has seen yet",
	} {
		for _, after := range []int{0, 45, 70} {
			simulate(t, func(t *testing.T, k *cluster, m *memory) {
				p := k.addPod("web", "main")
				k.write(p, "main", "one", "two", "three")
				faults := 3
				k.bodyFault = func(*corev1.PodLogOptions) *bodyFault {
					if faults--; faults < 0 {
						return nil
					}
					return &bodyFault{after: after, text: text, err: io.EOF}
				}
				c := startCollector(t, k, m)
				pass(time.Minute)
				k.exit(p, "main")
				pass(time.Minute)
				wantLines(t, m, "web:main", "one", "two", "three")
				c.stop()
			})
		}
	}
}

func TestStuckFollowIsFound(t *testing.T) {
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
		pass(100 * time.Millisecond)
		k.rotate(p, "main")
		k.number(p, "main", 2)
		pass(9 * time.Second)
		k.rotate(p, "main") // would free the follow, and hide the loss
		k.number(p, "main", 1)
		pass(10 * time.Second)
		wantLines(t, m, "web:main", "0/0", "<rotated_away>", "0/1", "0/2", "0/3")
		c.stop()
	})
}

// TestRewindIsFound plays a follow that begins its file again.
func TestRewindIsFound(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		p := k.addPod("web", "main")
		c := startCollector(t, k, m)
		pass(time.Second)
		k.number(p, "main", 3)
		pass(time.Second)
		k.mu.Lock()
		run := p.containers["main"].current
		again := &fakeFile{lines: run.files[0].lines}
		run.files = append(run.files, again) // renamed and renamed back
		p.touch()
		k.mu.Unlock()
		pass(time.Second)
		k.number(p, "main", 2)
		pass(10 * time.Second)
		wantLines(t, m, "web:main", "0/0", "0/1", "0/2", "0/3", "0/4")
		c.stop()
	})
}

func TestRefusingStoreLosesNothing(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		p := k.addPod("web", "main")
		c := startCollector(t, k, m)
		pass(time.Second)
		m.mu.Lock()
		m.fail = errors.New("no space left on device")
		m.mu.Unlock()
		k.number(p, "main", 3)
		pass(5 * time.Minute)
		if n := len(m.lines("default/web:main")); n != 0 {
			t.Errorf("%d lines stored by a full store", n)
		}
		m.mu.Lock()
		m.fail = nil
		m.mu.Unlock()
		pass(2 * time.Minute)
		wantLines(t, m, "web:main", "0/0", "0/1", "0/2")
		c.stop()
	})
}

// TestSlowStoreClosesStreams blocks the store: follows are closed, not stalled.
func TestSlowStoreClosesStreams(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		p := k.addPod("web", "main")
		c := startCollector(t, k, m, func(o *Options) { o.FlushBytes = 4096 })
		pass(time.Second)
		block := make(chan struct{})
		m.mu.Lock()
		m.block = block
		m.mu.Unlock()
		for range 20 {
			k.number(p, "main", 50)
			time.Sleep(300 * time.Millisecond)
		}
		pass(10 * time.Second)
		k.mu.Lock()
		open := k.openStream
		k.mu.Unlock()
		if open != 0 {
			t.Errorf("%d streams are open while the store is blocked", open)
		}
		m.mu.Lock()
		m.block = nil
		m.mu.Unlock()
		close(block)
		pass(5 * time.Minute)
		if n := len(m.lines("default/web:main")); n != 1000 {
			t.Errorf("%d lines stored, want 1000", n)
		}
		c.stop()
	})
}

func TestFollowCapPollsTheRest(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		p := k.addPod("web", "a", "b", "c")
		c := startCollector(t, k, m, func(o *Options) { o.NodeFollowCap = 1 })
		pass(10 * time.Second)
		s := c.Status().Targets
		if s[StateFollowing] != 1 || s[StatePolling] != 2 {
			t.Errorf("states %v, want 1 followed and 2 polled", s)
		}
		for _, name := range []string{"a", "b", "c"} {
			k.number(p, name, 2)
		}
		pass(2 * time.Minute)
		for _, name := range []string{"a", "b", "c"} {
			wantLines(t, m, "web:"+name, "0/0", "0/1")
		}
		c.stop()
	})
}

// TestIdleFollowMakesRoom: a container that writes gets the slot of one that
// has been silent for long.
func TestIdleFollowMakesRoom(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		p := k.addPod("web", "a", "b")
		c := startCollector(t, k, m, func(o *Options) { o.NodeFollowCap = 1 })
		pass(time.Second)
		idle, busy := "a", "b"
		for _, s := range c.Targets() {
			if s.State == StatePolling {
				idle, busy = otherOf(s.Container), s.Container
			}
		}
		pass(2 * idleBeforePoll)
		k.number(p, busy, 1) // a line now and then is not worth a move
		pass(2 * time.Minute)
		if n := k.opens["follow"]; n != 1 {
			t.Errorf("%d follows after a single line, want the first one to stay", n)
		}
		for range 20 {
			k.write(p, busy, strings.Repeat("x", 100))
			pass(10 * time.Second)
		}
		for _, s := range c.Targets() {
			if want := map[string]TargetState{idle: StatePolling, busy: StateFollowing}[s.Container]; s.State != want {
				t.Errorf("%s is %s, want %s", s.Container, s.State, want)
			}
		}
		c.stop()
	})
}

// otherOf names the other one of two containers.
func otherOf(name string) string {
	if name == "a" {
		return "b"
	}
	return "a"
}

func TestLongSilenceCostsLittle(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		p := k.addPod("web", "main")
		k.number(p, "main", 1)
		c := startCollector(t, k, m)
		pass(24 * time.Hour)
		if n := k.opens["follow"]; n < 13 || n > 26 {
			t.Errorf("%d follows in 24 hours, want one per 60 to 110 minutes", n)
		}
		if n := k.opens["probe"]; n > 400 {
			t.Errorf("%d probes in 24 silent hours", n)
		}
		k.number(p, "main", 1)
		pass(time.Second)
		wantLines(t, m, "web:main", "0/0", "0/1")
		c.stop()
	})
}

func TestClassifyOpen(t *testing.T) {
	kubelet404 := apierrors.NewGenericServerResponse(404, "get", podsResource, "web", "pod does not exist", 0, true)
	for want, err := range map[openErrorKind]error{
		openGone:        apierrors.NewNotFound(podsResource, "web"),
		openForbidden:   apierrors.NewForbidden(podsResource, "web", nil),
		openThrottled:   apierrors.NewTooManyRequests("slow down", 1),
		openUnreachable: apierrors.NewInternalError(errors.New("dial tcp: i/o timeout")),
		openFailed:      errors.New("connection refused"),
		openWaiting:     kubelet404,
	} {
		var oe *openError
		if !errors.As(classifyOpen(err), &oe) || oe.kind != want {
			t.Errorf("%v: got %v, want %s", err, oe, want)
		}
	}
}

// A container that was there before the collector: what it wrote before the first
// look is nobody's gap, what it may have written after it is one.
func TestEmptyLogUnreadForLong(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		p := k.addPod("web", "main")
		pass(time.Minute)
		c := startCollector(t, k, m)
		pass(20 * time.Second)
		refuse := func(err error) {
			k.mu.Lock()
			k.openFault = func(*corev1.PodLogOptions) error { return err }
			k.mu.Unlock()
		}
		refuse(errors.New("dial tcp: connection refused"))
		k.cut(io.EOF)
		pass(5 * time.Second)
		k.number(p, "main", 3)
		k.rotate(p, "main")
		k.number(p, "main", 2)
		pass(10 * time.Minute)
		refuse(nil)
		pass(2 * time.Minute)
		wantLines(t, m, "web:main", "<rotated_away>", "0/3", "0/4")
		c.stop()
	})
}

// A container that is polled and writes nothing for long is no gap.
func TestPolledEmptyLogIsNoGap(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		c := startCollector(t, k, m, func(o *Options) { o.NodeFollowCap = 1 })
		busy := k.addPod("busy", "main")
		pass(5 * time.Second)
		p := k.addPod("web", "main")
		for range 60 {
			k.number(busy, "main", 1)
			pass(10 * time.Second)
		}
		k.number(p, "main", 2)
		pass(2 * time.Minute)
		wantLines(t, m, "web:main", "0/0", "0/1")
		c.stop()
	})
}
