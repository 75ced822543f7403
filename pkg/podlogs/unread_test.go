package podlogs

import (
	"io"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
)

// TestRunNeverReadableIsAGap refuses the log of a run from its start to the
// next one. A run whose process was never started has nothing to miss.
func TestRunNeverReadableIsAGap(t *testing.T) {
	for name, c := range map[string]struct {
		reason string
		want   []string
	}{
		"ran":           {reason: "Error", want: []string{"<log_unavailable>", "1/0"}},
		"never started": {reason: "StartError", want: []string{"1/0"}},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, k *cluster, m *memory) {
				col := startCollector(t, k, m)
				pass(10 * time.Second)
				k.mu.Lock()
				k.bodyFault = func(*corev1.PodLogOptions) *bodyFault {
					return &bodyFault{text: "unable to retrieve container logs for containerd://abc", err: io.EOF}
				}
				k.mu.Unlock()
				p := k.addPod("web", "main")
				k.number(p, "main", 5)
				pass(2 * time.Second)
				p.containers["main"].current.reason = c.reason
				k.exit(p, "main")
				pass(10 * time.Minute)
				k.restart(p, "main")
				k.mu.Lock()
				k.bodyFault = nil
				k.mu.Unlock()
				k.number(p, "main", 1)
				pass(time.Minute)
				wantLines(t, m, "web:main", c.want...)
				col.stop()
			})
		})
	}
}

// TestGapGoesWithItsLine: a gap that is stored without the line behind it is
// stored again if that line is refused.
func TestGapGoesWithItsLine(t *testing.T) {
	m := newMemory()
	c, err := New(Options{API: fakeAPI{}, RESTConfig: &rest.Config{}, Sink: m, Marks: m, opener: newCluster(t)})
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, smallPiece, smallPiece + 1, largePiece + 1} {
		v := &containerView{key: targetKey{uid: "u", container: "main"}, current: instance{id: "a"}}
		target := newTarget(c, v, "1")
		target.committed = position{instance: "a", anchor: anchor{ts: 1, hash: 2, ordinal: 1}}
		target.gap = &gap{reason: GapRotatedAway, from: 1, container: "a"}
		r := target.newReading(t.Context(), v)
		if err := r.accept(&rawLine{ts: 5, hash: 3, stamped: true, text: []byte(strings.Repeat("x", size))}); err != nil {
			t.Fatal(err)
		}
		if r.flushed != 0 || len(r.piece.entries) != 2 {
			t.Fatalf("%d bytes: %d pieces went before the line's, which has %d entries, want the gap and the line in one", size, r.flushed, len(r.piece.entries))
		}
		if r.piece.entries[0].Metadata.Get(MetaGap) == "" {
			t.Errorf("%d bytes: the gap is not before the line", size)
		}
		r.close()
	}
}
