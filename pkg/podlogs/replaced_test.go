package podlogs

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// aheadAPI is an API server whose watch is behind: a fetched pod is newer.
type aheadAPI struct {
	fakeAPI
	pod atomic.Pointer[corev1.Pod]
}

func (a *aheadAPI) Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	if p := a.pod.Load(); p != nil && p.Name == name {
		return p.DeepCopy(), nil
	}
	return a.fakeAPI.Pod(ctx, namespace, name)
}

// TestReplacedPodIsReadOnce puts a pod of the same name into the place of one
// that never wrote, as a StatefulSet does, while the watch is behind: the old
// pod's target must not store the new one's lines.
func TestReplacedPodIsReadOnce(t *testing.T) {
	for name, c := range map[string]struct{ polled, ended bool }{
		"followed":       {},
		"polled":         {polled: true},
		"ended for good": {ended: true},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, k *cluster, m *memory) {
				api := &aheadAPI{fakeAPI: fakeAPI{k.client}}
				busy := k.addPod("busy", "main")
				col := startCollector(t, k, m, func(o *Options) {
					o.API = api
					if c.polled {
						o.NodeFollowCap = 1
					}
				})
				pass(5 * time.Second)
				k.number(busy, "main", 1)
				if c.ended {
					k.refuse(apierrors.NewBadRequest("container is waiting to start"))
				}
				old := k.addPod("db", "main")
				pass(20 * time.Second)
				now := k.replace(old)
				api.pod.Store(now.pod)
				k.number(now, "main", 3)
				if c.ended {
					k.refuse(nil)
					k.change(old, func() {
						old.pod.Spec.RestartPolicy = corev1.RestartPolicyNever
						old.containers["main"].current.running = false
					})
				}
				pass(2 * time.Minute)
				for _, line := range m.lines("default/db:main") {
					if line[0] != '<' {
						t.Errorf("line %q of the new pod was stored for the old one", line)
					}
				}
				k.recreate(now)
				pass(2 * time.Minute)
				wantLines(t, m, "db:main", "<pod_deleted_before_drain>", "0/0", "0/1", "0/2")
				col.stop()
			})
		})
	}
}

// refuse answers every request for a log with err, if it is not nil.
func (k *cluster) refuse(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.openFault = func(*corev1.PodLogOptions) error { return err }
}

// replace puts a new pod in the place of old, as far as the node and the logs go.
func (k *cluster) replace(old *fakePod) *fakePod {
	k.mu.Lock()
	defer k.mu.Unlock()
	pod := old.pod.DeepCopy()
	pod.UID += "-2"
	pod.ResourceVersion = "5000"
	run := newRun(pod.Name+"2", "main", 0)
	pod.Status.ContainerStatuses[0].ContainerID = "containerd://" + run.id
	pod.Status.ContainerStatuses[0].State.Running.StartedAt = metav1.NewTime(run.started)
	now := &fakePod{pod: pod, containers: map[string]*fakeContainer{"main": {current: run, runs: []*fakeRun{run}}}, changed: make(chan struct{})}
	k.pods["default/"+pod.Name] = now
	old.containers["main"].current.running = false
	old.touch()
	return now
}

// recreate lets the watch know of a pod that took another's place.
func (k *cluster) recreate(p *fakePod) {
	pods := k.client.CoreV1().Pods("default")
	if err := pods.Delete(context.Background(), p.pod.Name, metav1.DeleteOptions{}); err != nil {
		k.t.Error(err)
	}
	pass(time.Second)
	if _, err := pods.Create(context.Background(), p.pod, metav1.CreateOptions{}); err != nil {
		k.t.Error(err)
	}
}
