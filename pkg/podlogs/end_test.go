package podlogs

import (
	"errors"
	"io"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// TestCutOfEndingPodIsNoEnd cuts a follow while a pod stops, as a proxy that
// goes away does: the clean end must not pass for the end of the log when what
// follows can no longer be read.
func TestCutOfEndingPodIsNoEnd(t *testing.T) {
	for name, c := range map[string]struct {
		exits bool
	}{
		"goes on writing": {},
		"exits":           {exits: true},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, k *cluster, m *memory) {
				p := k.addPod("web", "main")
				col := startCollector(t, k, m)
				k.number(p, "main", 3)
				pass(20 * time.Second)
				k.terminate(p)
				pass(100 * time.Millisecond)
				k.mu.Lock()
				k.openFault = func(*corev1.PodLogOptions) error { return errors.New("dial tcp: connection refused") }
				k.mu.Unlock()
				k.cut(io.EOF)
				if c.exits {
					k.number(p, "main", 5)
					k.exit(p, "main")
				}
				pass(time.Second)
				k.number(p, "main", 5)
				pass(2 * time.Second)
				k.remove(p)
				pass(time.Minute)
				wantLines(t, m, "web:main", "0/0", "0/1", "0/2", "<pod_deleted_before_drain>")
				col.stop()
			})
		})
	}
}

// TestRemovedContainerWasReadToItsEnd: the runtime removes the container of a
// deleted pod before the kubelet looks whether it has ended, and the follow ends
// with an error. All of it was delivered by then, unless half a line was.
func TestRemovedContainerWasReadToItsEnd(t *testing.T) {
	const notFound = "rpc error: code = NotFound desc = an error occurred when try to find container \"0123\": not found"
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"all of it": {text: notFound, want: []string{"0/0", "0/1", "0/2", "0/3"}},
		"half a line": {
			text: "2000-01-01T00:01:00.000000000Z hal" + notFound,
			want: []string{"0/0", "0/1", "0/2", "0/3", "<pod_deleted_before_drain>"},
		},
		"another error": {
			text: "unable to retrieve container logs for containerd://0123",
			want: []string{"0/0", "0/1", "0/2", "0/3", "<pod_deleted_before_drain>"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, k *cluster, m *memory) {
				k.endText = c.text
				p := k.addPod("web", "main")
				col := startCollector(t, k, m)
				k.number(p, "main", 3)
				pass(20 * time.Second)
				k.terminate(p)
				k.number(p, "main", 1)
				pass(100 * time.Millisecond)
				k.refuse(apierrors.NewBadRequest("container is terminated"))
				k.exit(p, "main")
				pass(20 * time.Millisecond)
				k.remove(p)
				pass(time.Minute)
				wantLines(t, m, "web:main", c.want...)
				col.stop()
			})
		})
	}
}

// TestStatusBehindTheEnd: while a pod stops, its log ends before its status says
// that the container has, and the container is removed in between. Nothing is
// missing, unless the status tells a later end than the one that was seen.
func TestStatusBehindTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		late time.Duration // of the end that the status tells
		want []string
	}{
		"the same end": {want: []string{"0/0", "0/1", "0/2", "0/3"}},
		"a later end":  {late: 3 * time.Second, want: []string{"0/0", "0/1", "0/2", "0/3", "<pod_deleted_before_drain>"}},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, k *cluster, m *memory) {
				p := k.addPod("web", "main")
				col := startCollector(t, k, m)
				k.number(p, "main", 3)
				pass(20 * time.Second)
				k.terminate(p)
				k.number(p, "main", 1)
				pass(100 * time.Millisecond)
				k.mu.Lock()
				k.bodyFault = func(*corev1.PodLogOptions) *bodyFault {
					return &bodyFault{text: "unable to retrieve container logs for containerd://0123", err: io.ErrUnexpectedEOF}
				}
				k.epoch++ // the follow ends, and the status knows nothing of it
				k.cutErr = io.EOF
				p.touch()
				k.mu.Unlock()
				pass(1500 * time.Millisecond)
				k.change(p, func() {
					run := p.containers["main"].current
					run.running, run.ended = false, time.Now().Add(c.late-1500*time.Millisecond)
				})
				pass(20 * time.Millisecond)
				k.remove(p)
				pass(time.Minute)
				wantLines(t, m, "web:main", c.want...)
				col.stop()
			})
		})
	}
}
