package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig/lines"
)

// Everything at once, as in a working cluster: 50 pods on two nodes log 200
// lines a second in total, their logs rotate, the collector is killed twice and
// 10 pods are deleted. Every line is there once, or a gap names its place.
func TestManyPods(t *testing.T) {
	s := &scene{t: t}
	nodes := []*rig.Node{newNode(t), addNode(t, namespaceOf(t)+"-2")}
	rotation := rig.Rotation{MaxBytes: 4 << 10, MinInterval: 3 * time.Second, MaxFiles: 3}
	for i := range 50 {
		pod := addPod(t, nodes[i%2], rig.PodSpec{Name: fmt.Sprintf("web-%d", i), Rotation: rotation})
		s.loggers = append(s.loggers, newLogger(t, pod, "app", lines.Plain))
	}
	s.c = newCollector(t, "")
	s.write(1)
	s.awaitAll()
	stopLeaving := (&scene{t: t, loggers: s.loggers[:10]}).background(4)
	stopStaying := (&scene{t: t, loggers: s.loggers[10:]}).background(4)
	third := time.Duration(times(10, 5)) * time.Second
	pause(third)
	s.c.kill()
	s.c.start()
	pause(third)
	stopLeaving()
	for _, l := range s.loggers[:10] {
		must(t, l.pod.Delete(t.Context()))
	}
	s.c.kill()
	s.c.start()
	pause(third)
	stopStaying()
	s.loggers[49].write(1)
	for _, l := range s.loggers {
		s.c.awaitHonest(l)
	}
	rotations := 0
	for _, l := range s.loggers {
		rotations += l.pod.Container("app").Rotations()
	}
	if rotations < len(s.loggers)*times(2, 1) {
		t.Errorf("only %d rotations", rotations)
	}
}
