package podlogs

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

var updateGolden = flag.Bool("update", false, "rewrite the golden files")

// lifeMemory is a store that keeps lifecycle entries apart.
type lifeMemory struct {
	*memory
	mu    sync.Mutex
	lives []string // "instance event restart"
	// dieAt is the write with which the process ends: before or after it is stored.
	dieAt  int
	after  bool
	writes int
}

func (m *lifeMemory) Append(ctx context.Context, b *model.Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes++
	if m.dieAt > 0 && (m.writes > m.dieAt || m.writes == m.dieAt && !m.after) {
		return errKilled
	}
	rest := *b
	rest.Streams = nil
	var lives []string
	for _, s := range b.Streams {
		if s.Labels.Get("job") != LifecycleJob {
			rest.Streams = append(rest.Streams, s)
			continue
		}
		for _, e := range s.Entries {
			lives = append(lives, fmt.Sprintf("%s %s %s", s.Labels.Get("instance"), e.Metadata.Get("event"), e.Metadata.Get("restart")))
		}
	}
	if err := m.memory.Append(ctx, &rest); err != nil {
		return err
	}
	m.lives = append(m.lives, lives...)
	return nil
}

func (m *lifeMemory) sorted() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(slices.Values(m.lives))
}

func startLives(t *testing.T, k *cluster, m *lifeMemory) *collecting {
	return startCollector(t, k, m.memory, func(o *Options) { o.Lifecycle, o.Sink, o.Marks = true, m, m })
}

// livesOf is what ought to be stored of a pod that the collector could see.
func (k *cluster) livesOf(pods ...*fakePod) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var want []string
	for _, p := range pods {
		for name, c := range p.containers {
			for _, r := range c.runs {
				id := "default/" + p.pod.Name + ":" + name
				want = append(want, fmt.Sprintf("%s started %d", id, r.restart))
				if !r.running {
					want = append(want, fmt.Sprintf("%s exited %d", id, r.restart))
				}
			}
		}
	}
	return slices.Sorted(slices.Values(want))
}

// TestLifecycle follows containers, restarts the collector, and removes the pod.
func TestLifecycle(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, mem *memory) {
		m := &lifeMemory{memory: mem}
		p := k.addPod("web", "main", "side")
		c := startLives(t, k, m)
		pass(2 * time.Second)
		k.restart(p, "main")
		pass(2 * time.Second)
		c.stop()
		pass(2 * time.Second)
		k.restart(p, "main")
		k.exit(p, "side")
		c = startLives(t, k, m)
		pass(2 * time.Second)
		k.terminate(p)
		k.exit(p, "main")
		pass(2 * time.Second)
		k.remove(p)
		pass(3 * time.Minute)
		c.stop()
		if d := cmp.Diff(k.livesOf(p), m.sorted()); d != "" {
			t.Error(d)
		}
		if left := m.Marks(MarkPrefix); len(left) > 0 {
			t.Errorf("marks of a pod that is gone: %v", left)
		}
	})
}

// TestLifecycleKilled ends the process at each of its writes, before and after
// it is stored, while the store holds pod logs as well.
func TestLifecycleKilled(t *testing.T) {
	for n := 1; n <= 10; n++ {
		for _, after := range []bool{false, true} {
			simulate(t, func(t *testing.T, k *cluster, mem *memory) {
				m := &lifeMemory{memory: mem, dieAt: n, after: after}
				web, job := k.addPod("web", "main"), k.addPod("job", "main")
				c := startLives(t, k, m)
				for i := range 4 {
					if i == 2 { // a status shows two runs, so the third would be lost
						c.stop()
						m.dieAt = 0
						c = startLives(t, k, m)
						pass(time.Minute)
					}
					if i%2 == 0 {
						k.restart(web, "main")
					}
					k.write(job, "main", "x")
					pass(3 * time.Second)
				}
				k.exit(job, "main")
				pass(2 * time.Minute)
				c.stop()
				if d := cmp.Diff(k.livesOf(web, job), m.sorted()); d != "" {
					t.Errorf("killed at write %d, after it: %v\n%s", n, after, d)
				}
				wantLines(t, mem, "job:main", "x", "x", "x", "x")
			})
		}
	}
}

// TestLifecycleRandom restarts containers and the collector, and refuses writes.
func TestLifecycleRandom(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			k, m := newCluster(t), &lifeMemory{memory: newMemory()}
			r := rand.New(rand.NewPCG(seed, 3))
			var pods []*fakePod
			for i := range 5 {
				pods = append(pods, k.addPod(fmt.Sprintf("p%d", i), "a", "b"))
			}
			c := startLives(t, k, m)
			for range 60 {
				p := pods[r.IntN(len(pods))]
				switch n := r.IntN(10); {
				case n < 6:
					k.restart(p, []string{"a", "b"}[r.IntN(2)])
				case n < 8:
					c.stop()
					c = startLives(t, k, m)
				default:
					pass(time.Second) // a status shows two runs only
					m.memory.mu.Lock()
					m.fail = errKilled
					m.memory.mu.Unlock()
					k.restart(p, "a")
					pass(3 * time.Second)
					m.memory.mu.Lock()
					m.fail = nil
					m.memory.mu.Unlock()
					pass(2 * time.Minute)
				}
				pass(time.Duration(1+r.IntN(2000)) * time.Millisecond)
			}
			pass(2 * time.Minute)
			c.stop()
			if d := cmp.Diff(k.livesOf(pods...), m.sorted()); d != "" {
				t.Errorf("seed %d: %s", seed, d)
			}
		})
	}
}

// TestLifecycleEntries shows what statuses become, step by step.
func TestLifecycleEntries(t *testing.T) {
	at := func(s int) metav1.Time { return metav1.NewTime(time.Unix(1_800_000_000+int64(s), 0).UTC()) }
	ended := func(id string, from, to int, code int32, reason, message string) *corev1.ContainerStateTerminated {
		return &corev1.ContainerStateTerminated{ContainerID: "containerd://" + id, StartedAt: at(from), FinishedAt: at(to), ExitCode: code, Reason: reason, Message: message}
	}
	running := func(id string, from int, restart int32, last *corev1.ContainerStateTerminated) corev1.ContainerStatus {
		s := corev1.ContainerStatus{Name: "app", ContainerID: "containerd://" + id, RestartCount: restart}
		s.State.Running = &corev1.ContainerStateRunning{StartedAt: at(from)}
		s.LastTerminationState.Terminated = last
		return s
	}
	waiting := func(reason, message string, restart int32, last *corev1.ContainerStateTerminated) corev1.ContainerStatus {
		s := corev1.ContainerStatus{Name: "app", RestartCount: restart}
		s.State.Waiting = &corev1.ContainerStateWaiting{Reason: reason, Message: message}
		s.LastTerminationState.Terminated = last
		return s
	}
	terminated := func(t *corev1.ContainerStateTerminated, restart int32) corev1.ContainerStatus {
		s := corev1.ContainerStatus{Name: "app", ContainerID: t.ContainerID, RestartCount: restart}
		s.State.Terminated = t
		return s
	}
	first := ended("aaaaaaaaaaaaaaaa", 10, 52, 137, "OOMKilled", "")
	second := ended("bbbbbbbbbbbbbbbb", 52, 52, 1, "Error", "panic: \"no\"\nat main.go:3")
	never := ended("cccccccccccccccc", -1_800_000_000, 70, 128, "StartError", "exec: not found")
	scenes := []struct {
		name     string
		statuses []corev1.ContainerStatus
	}{
		{"one run that ends well", []corev1.ContainerStatus{
			waiting("ContainerCreating", "", 0, nil), running("aaaaaaaaaaaaaaaa", 10, 0, nil), running("aaaaaaaaaaaaaaaa", 10, 0, nil),
			terminated(ended("aaaaaaaaaaaaaaaa", 10, 20, 0, "Completed", ""), 0), terminated(ended("aaaaaaaaaaaaaaaa", 10, 20, 0, "Completed", ""), 0),
		}},
		{"a crash loop", []corev1.ContainerStatus{
			running("aaaaaaaaaaaaaaaa", 10, 0, nil), running("bbbbbbbbbbbbbbbb", 52, 1, first), terminated(second, 1),
			waiting("CrashLoopBackOff", "back-off 10s", 1, second), waiting("CrashLoopBackOff", "back-off 20s", 1, second), running("dddddddddddddddd", 70, 2, second),
		}},
		{"first seen late", []corev1.ContainerStatus{running("bbbbbbbbbbbbbbbb", 52, 1, first)}},
		{"runs between two looks are lost", []corev1.ContainerStatus{
			running("aaaaaaaaaaaaaaaa", 10, 0, nil), running("eeeeeeeeeeeeeeee", 99, 7, ended("ffffffffffffffff", 90, 98, 2, "Error", "")),
		}},
		{"an older status comes late", []corev1.ContainerStatus{running("bbbbbbbbbbbbbbbb", 52, 1, first), running("aaaaaaaaaaaaaaaa", 10, 0, nil)}},
		{"no image", []corev1.ContainerStatus{
			waiting("ErrImagePull", "not found", 0, nil), waiting("ImagePullBackOff", "Back-off pulling image", 0, nil), waiting("ErrImagePull", "not found", 0, nil),
		}},
		{"never starts", []corev1.ContainerStatus{
			terminated(never, 0), waiting("RunContainerError", "exec", 0, never), waiting("CrashLoopBackOff", "", 0, never), waiting("RunContainerError", "exec", 0, never),
		}},
		{"a long message", []corev1.ContainerStatus{terminated(ended("aaaaaaaaaaaaaaaa", 10, 20, 3, "Error", strings.Repeat("é", 600)), 0)}},
	}
	var got strings.Builder
	show := func(entries []model.Entry) {
		for _, e := range entries {
			line := e.Line
			if len(line) > 300 {
				line = line[:100] + " ... " + line[len(line)-30:]
			}
			fmt.Fprintf(&got, "  %s %s\n    %s\n", time.Unix(0, e.Timestamp).UTC().Format("15:04:05.000000000"), e.Metadata, strings.ToValidUTF8(line, "?"))
		}
	}
	for _, scene := range scenes {
		start := at(1)
		pod := &corev1.Pod{Status: corev1.PodStatus{StartTime: &start}}
		var m lifeMark
		fmt.Fprintln(&got, scene.name)
		for i := range scene.statuses {
			show(m.advance(pod, &scene.statuses[i]))
			again, err := decodeLife(m.encode())
			if err != nil || again != m {
				t.Fatalf("%+v is stored as %+v: %v", m, again, err)
			}
		}
	}
	start := at(1)
	evicted := corev1.PodStatus{
		Phase: corev1.PodFailed, Reason: "Evicted", Message: "The node was low on resource: memory.", StartTime: &start,
		Conditions: []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, LastTransitionTime: at(33)}},
	}
	dying := corev1.PodStatus{Phase: corev1.PodFailed, Reason: "DeadlineExceeded", StartTime: &start, ContainerStatuses: []corev1.ContainerStatus{running("aaaaaaaaaaaaaaaa", 10, 0, nil)}}
	dead := dying
	dead.ContainerStatuses = []corev1.ContainerStatus{terminated(first, 0)}
	refused := corev1.PodStatus{Phase: corev1.PodFailed, Reason: "OutOfcpu", StartTime: &start}
	for _, statuses := range [][]corev1.PodStatus{{evicted, evicted}, {dying, dead, dead}, {refused}} {
		var m lifeMark
		fmt.Fprintln(&got, "pod", statuses[0].Reason)
		for _, s := range statuses {
			show(m.podFailure(&corev1.Pod{Status: s}, false))
		}
	}
	const file = "testdata/lifecycle.txt"
	if *updateGolden {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got.String()); d != "" {
		t.Error(d)
	}
}

// TestFindPod looks up pods that run, are gone, and opted out.
func TestFindPod(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		p := k.addPod("web", "main")
		quiet := k.addPod("quiet", "main")
		k.change(quiet, func() { quiet.pod.Annotations = map[string]string{AnnotationCollect: "false"} })
		c := startCollector(t, k, m)
		pass(time.Second)
		if !c.Synced() {
			t.Error("not synced")
		}
		check := func(name, uid string, want PodState) {
			t.Helper()
			if _, got := c.FindPod("default", name, uid, ""); got != want {
				t.Errorf("%s %s: %d, want %d", name, uid, got, want)
			}
		}
		check("web", "uid-web", PodCollected)
		check("web", "", PodCollected)
		check("web", "0123456789abcdef0123456789abcdef", PodCollected) // a static pod's
		check("web", "uid-of-the-pod-before", PodUnknown)
		check("other", "", PodUnknown)
		check("quiet", "", PodExcluded)
		ls, _ := c.FindPod("default", "web", "", "main")
		if got := ls.String(); got != `{app="app-web", container="main", instance="default/web:main", job="kubernetes-pods", namespace="default", node="node-1", pod="web", service_name="app-web"}` {
			t.Error(got)
		}
		ls, _ = c.FindPod("default", "web", "", "")
		if got := ls.String(); got != `{app="app-web", job="kubernetes-pods", namespace="default", node="node-1", pod="web", service_name="app-web"}` {
			t.Error(got)
		}
		k.terminate(p)
		k.remove(p)
		pass(time.Second)
		check("web", "uid-web", PodCollected)
		pass(departedFor + time.Minute)
		k.terminate(quiet)
		k.remove(quiet)
		pass(time.Second)
		check("web", "uid-web", PodUnknown)
		c.stop()
	})
}
