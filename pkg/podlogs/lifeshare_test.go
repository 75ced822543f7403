package podlogs

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// lifeOwner is a share in which somebody says who owns all pods.
type lifeOwner struct {
	Share
	self  string
	owner *string
}

func (o lifeOwner) Self() string        { return o.self }
func (o lifeOwner) Owner(PodRef) string { return *o.owner }

// TestLifecycleShared moves pods between two replicas while containers end and
// pods go: everything is stored by one of them at least, and never twice by one.
func TestLifecycleShared(t *testing.T) {
	owner := "a"
	store := cache.NewStore(cache.MetaNamespaceKeyFunc)
	mems := map[string]*lifeMemory{}
	lives := map[string]*lifecycle{}
	for _, name := range []string{"a", "b"} {
		m := &lifeMemory{memory: newMemory()}
		o := Options{Sink: m, Marks: m, Share: lifeOwner{self: name, owner: &owner}}
		o.setDefaults()
		c := &Collector{opts: o, metrics: newMetrics(), log: newLimitedLog(o.Logger)}
		c.known.stores, c.known.departed = []cache.Store{store}, make(map[string]*corev1.Pod)
		mems[name], lives[name] = m, newLifecycle(c)
	}
	flush := func() {
		t.Helper()
		for _, l := range lives {
			if err := l.store(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	move := func(to string) {
		owner = to
		for _, l := range lives {
			l.lookAgain()
		}
		flush()
	}
	pod := func(name string, restart int32, ended bool) *corev1.Pod {
		s := corev1.ContainerStatus{Name: "app", RestartCount: restart, ContainerID: fmt.Sprintf("containerd://%s%d", name, restart)}
		began := metav1.Unix(1_800_000_000+int64(restart)*100, 0)
		if ended {
			s.State.Terminated = &corev1.ContainerStateTerminated{ContainerID: s.ContainerID, StartedAt: began, FinishedAt: metav1.Unix(began.Unix()+50, 0)}
		} else {
			s.State.Running = &corev1.ContainerStateRunning{StartedAt: began}
		}
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: "uid"},
			Spec:       corev1.PodSpec{NodeName: "n"}, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{s}},
		}
	}
	see := func(p *corev1.Pod, gone bool) {
		if gone {
			_ = store.Delete(p)
		} else {
			_ = store.Add(p)
		}
		for _, l := range lives {
			if gone {
				l.c.known.left(p)
			}
			l.put(p, gone)
		}
		flush()
	}
	see(pod("web", 0, false), false)
	owner = "nobody" // a is gone, and nobody has noticed yet
	see(pod("web", 0, true), false)
	move("b")
	see(pod("web", 1, false), false)
	move("a")
	move("b")
	owner = "nobody"
	see(pod("web", 1, true), true)
	move("a")
	move("b")
	move("a")
	want := []string{"default/web:app exited 0", "default/web:app exited 1", "default/web:app started 0", "default/web:app started 1"}
	all := append(slices.Clone(mems["a"].sorted()), mems["b"].sorted()...)
	slices.Sort(all)
	if d := cmp.Diff(want, slices.Compact(all)); d != "" {
		t.Error(d)
	}
	for name, m := range mems {
		if got := m.sorted(); len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Errorf("%s stored something twice: %q", name, got)
		}
	}
}
