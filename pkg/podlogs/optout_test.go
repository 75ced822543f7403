package podlogs

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// collectPod sets or drops the annotation that keeps a pod's logs out.
func collectPod(k *cluster, p *fakePod, collect bool) {
	k.change(p, func() {
		p.pod.Annotations = nil
		if !collect {
			p.pod.Annotations = map[string]string{AnnotationCollect: "false"}
		}
	})
}

// TestOptOutOutlivesRestart: the position of a living pod that opted out is
// neither a deleted pod's nor forgotten.
func TestOptOutOutlivesRestart(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
		if _, err := k.client.CoreV1().Namespaces().Create(context.Background(), ns, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		for name, collect := range map[string]func(p *fakePod, on bool){
			"pod": func(p *fakePod, on bool) { collectPod(k, p, on) },
			"excluded": func(p *fakePod, on bool) {
				k.change(p, func() {
					p.pod.Annotations = map[string]string{AnnotationExcludeContainers: map[bool]string{true: "", false: "main"}[on]}
				})
			},
			"namespace": func(_ *fakePod, on bool) {
				ns.Annotations = map[string]string{AnnotationCollect: map[bool]string{true: "true", false: "false"}[on]}
				update(t, k, ns)
			},
		} {
			p := k.addPod(name, "main")
			c := startCollector(t, k, m)
			k.number(p, "main", 3)
			pass(10 * time.Second)
			collect(p, false)
			pass(10 * time.Second)
			c.stop()
			c = startCollector(t, k, m)
			pass(10 * time.Second)
			wantLines(t, m, name+":main", "0/0", "0/1", "0/2")
			collect(p, true)
			pass(30 * time.Second)
			k.number(p, "main", 1)
			pass(10 * time.Second)
			wantLines(t, m, name+":main", "0/0", "0/1", "0/2", "0/3")
			c.stop()
		}
	})
}

// TestOptedOutPodLeavesNoPosition deletes pods that opted out: long before,
// before a restart, and at the same moment.
func TestOptedOutPodLeavesNoPosition(t *testing.T) {
	for name, c := range map[string]struct {
		wait    time.Duration
		restart bool
	}{
		"long before": {wait: 10 * time.Second},
		"restart":     {wait: 10 * time.Second, restart: true},
		"at once":     {},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, k *cluster, m *memory) {
				p := k.addPod("web", "main")
				col := startCollector(t, k, m)
				k.number(p, "main", 3)
				pass(10 * time.Second)
				collectPod(k, p, false)
				if c.wait > 0 {
					pass(c.wait)
				}
				if c.restart {
					col.stop()
					col = startCollector(t, k, m)
					pass(c.wait)
				}
				k.remove(p)
				pass(10 * time.Second)
				wantLines(t, m, "web:main", "0/0", "0/1", "0/2")
				if n := len(m.Marks("")); n != 0 {
					t.Errorf("%d marks left", n)
				}
				if n := len(col.saved); n != 0 {
					t.Errorf("%d positions kept in memory", n)
				}
				col.stop()
			})
		})
	}
}

// TestOptedOutPodDeletedWhileDown: no collector runs when a pod is deleted that
// had opted out, and what it wrote since was not wanted: that is no gap. Without
// the opt-out it is one.
func TestOptedOutPodDeletedWhileDown(t *testing.T) {
	for name, c := range map[string]struct {
		out, again bool
		want       []string
	}{
		"opted out":      {out: true, want: []string{"0/0", "0/1", "0/2"}},
		"never":          {want: []string{"0/0", "0/1", "0/2", "<pod_deleted_before_drain>"}},
		"opted in again": {out: true, again: true, want: []string{"0/0", "0/1", "0/2", "0/3", "<pod_deleted_before_drain>"}},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, k *cluster, m *memory) {
				p := k.addPod("web", "main")
				col := startCollector(t, k, m)
				k.number(p, "main", 3)
				pass(10 * time.Second)
				if c.out {
					collectPod(k, p, false)
					pass(10 * time.Second)
				}
				if c.again {
					collectPod(k, p, true)
					k.number(p, "main", 1)
					pass(10 * time.Second)
				}
				col.stop()
				k.number(p, "main", 2)
				k.remove(p)
				col = startCollector(t, k, m)
				pass(10 * time.Second)
				wantLines(t, m, "web:main", c.want...)
				if n := len(m.Marks("")); n != 0 {
					t.Errorf("%d marks left", n)
				}
				col.stop()
			})
		})
	}
}

// TestNamespacesNarrowed: a collector that looks at fewer namespaces than the one
// before it leaves the positions of the others alone.
func TestNamespacesNarrowed(t *testing.T) {
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		p := k.addPod("web", "main")
		for range 2 {
			col := startCollector(t, k, m)
			k.number(p, "main", 2)
			pass(10 * time.Second)
			col.stop()
			col = startCollector(t, k, m, func(o *Options) { o.Namespaces = []string{"elsewhere"} })
			k.number(p, "main", 1)
			pass(10 * time.Second)
			col.stop()
		}
		col := startCollector(t, k, m, func(o *Options) { o.Namespaces = []string{"default", "elsewhere"} })
		pass(10 * time.Second)
		wantLines(t, m, "web:main", "0/0", "0/1", "0/2", "0/3", "0/4", "0/5")
		col.stop()
	})
}
