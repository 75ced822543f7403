package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig/lines"
)

// nodeLogsAccount is the service account that may read files of nodes.
const nodeLogsAccount = "logstack-node-logs"

// newFilesCollector starts a collector with the rights that the manifests give
// it when files of nodes are to be read.
func newFilesCollector(t *testing.T, node *rig.Node, mode string) *collector {
	t.Helper()
	_, err := shared.ServiceAccount(t.Context(), rig.ServiceAccount{Name: nodeLogsAccount, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"nodes/log"}, Verbs: []string{"get"}},
	}})
	must(t, err)
	rules := append(rig.CollectorRules(), rbacv1.PolicyRule{
		APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, ResourceNames: []string{nodeLogsAccount}, Verbs: []string{"create"},
	})
	return newCollectorAs(t, rig.ServiceAccount{Rules: rules},
		"--node-files-port", strconv.Itoa(node.Kubelet.Port()), "--read-node-files", mode)
}

// mode changes the mode for the next start.
func (c *collector) mode(mode string) { c.args[len(c.args)-1] = mode }

// filesScene is one pod on one node, read in the given mode.
func filesScene(t *testing.T, mode string, spec rig.PodSpec, mix lines.Mix) (*scene, *logger) {
	t.Helper()
	s := &scene{t: t, node: newNode(t)}
	l := newLogger(t, addPod(t, s.node, spec), "app", mix)
	s.loggers = []*logger{l}
	s.c = newFilesCollector(t, s.node, mode)
	return s, l
}

var fileModes = []string{"backfill", "all"}

// oneOf is both modes, or the given one without soak.
func oneOf(mode string) []string {
	if !soak {
		return []string{mode}
	}
	return fileModes
}

// F9 with files: the log rotates while the collector is down, some of the files
// are compressed, and nothing is missing.
func TestFilesFillRotations(t *testing.T) {
	for _, mode := range fileModes {
		t.Run(mode, func(t *testing.T) {
			s, l := filesScene(t, mode, rig.PodSpec{}, lines.Wild)
			l.write(60)
			s.awaitAll()
			s.c.stop()
			for range 4 {
				l.write(60)
				must(t, l.pod.Rotate(l.container))
			}
			l.write(60)
			s.c.start()
			s.verify()
			l.write(20)
			s.verify()
			if s.node.Kubelet.FileRequests() == 0 {
				t.Error("no file was asked for")
			}
		})
	}
}

// The live file is empty after the last rotation, for a while.
func TestFilesEmptyLiveFile(t *testing.T) {
	for _, mode := range oneOf("backfill") {
		t.Run(mode, func(t *testing.T) {
			s, l := filesScene(t, mode, rig.PodSpec{}, lines.Plain)
			l.write(10)
			s.awaitAll()
			s.c.stop()
			l.write(10)
			must(t, l.pod.Rotate(l.container))
			s.c.start()
			s.awaitAll()
			l.write(10)
			s.verify()
		})
	}
}

// F9 beyond what the kubelet keeps: one gap, with the lines of the files that are
// gone, and nothing else missing.
func TestFilesGapOnlyBeyondMaxFiles(t *testing.T) {
	for _, mode := range oneOf("all") {
		t.Run(mode, func(t *testing.T) {
			s, l := filesScene(t, mode, rig.PodSpec{}, lines.Plain)
			l.write(50)
			s.awaitAll()
			s.c.stop()
			for range 6 { // the live file and 4 others stay
				l.write(50)
				must(t, l.pod.Rotate(l.container))
			}
			l.write(50)
			s.c.start()
			s.c.awaitGap(l)
			s.c.await("the lines after the gap", func() error {
				if rep := s.c.report(l); !rep.OK() {
					return fmt.Errorf("%s", rep)
				}
				return nil
			})
			if rep := s.c.report(l); rep.Gaps != 1 || rep.Excused != 100 {
				t.Errorf("want one gap with 100 lines:\n%s", rep)
			}
		})
	}
}

// F10 with files: runs that the API serves no more are read by their number.
func TestFilesFillLostRuns(t *testing.T) {
	for _, mode := range oneOf("all") {
		t.Run(mode, func(t *testing.T) {
			s, l := filesScene(t, mode, rig.PodSpec{KeepFiles: true}, lines.Plain)
			l.write(20)
			s.awaitAll()
			s.c.stop()
			for range 4 {
				l.write(20)
				l.restart()
			}
			l.write(20)
			s.c.start()
			s.verify()
		})
	}
}

// F11, F12 with files: the pod is gone before its log was read.
func TestFilesFillDeletedPods(t *testing.T) {
	for _, mode := range oneOf("backfill") {
		t.Run(mode, func(t *testing.T) {
			s, l := filesScene(t, mode, rig.PodSpec{KeepFiles: true}, lines.Plain)
			other := addPod(t, s.node, rig.PodSpec{Name: "other"}) // knows the node's address
			must(t, other.Write("app", rig.Stdout, "here"))
			l.write(20)
			s.awaitAll()
			s.c.stop()
			l.write(20)
			must(t, l.pod.Rotate(l.container))
			l.write(20)
			must(t, l.pod.Delete(t.Context()))
			s.c.start()
			s.verify()
		})
	}
}

// F15 with files: what the API splices is what the streams wrote.
func TestFilesKeepStreamsApart(t *testing.T) {
	s, l := filesScene(t, "all", rig.PodSpec{}, lines.Plain)
	must(t, l.pod.Write("app", rig.Stdout, "first"))
	s.c.await("the first line", func() error {
		if got, err := s.c.queryAll(l.selector()); err != nil || len(got) == 0 {
			return fmt.Errorf("%d lines, %w", len(got), err)
		}
		return nil
	})
	long := strings.Repeat("o", 20000)
	now := time.Now().UTC()
	c := l.pod.Container("app")
	must(t, c.Records(
		rig.Record{Time: now, Stream: rig.Stdout, Partial: true, Data: []byte(long[:16384])},
		rig.Record{Time: now.Add(1), Stream: rig.Stderr, Data: []byte("from stderr")},
		rig.Record{Time: now.Add(2), Stream: rig.Stdout, Data: []byte(long[16384:])},
		rig.Record{Time: now.Add(3), Stream: rig.Stderr, Partial: true, Data: []byte("begun-")},
	))
	must(t, l.pod.Rotate("app"))
	must(t, c.Records(rig.Record{Time: now.Add(4), Stream: rig.Stderr, Data: []byte("ended")}))
	want := map[string]string{long: "stdout", "from stderr": "stderr", "begun-ended": "stderr", "first": "stdout"}
	check := func() {
		t.Helper()
		s.c.await("all lines", func() error {
			got, err := s.c.queryAll(l.selector())
			if err != nil {
				return err
			}
			if len(got) != len(want) {
				return fmt.Errorf("%d entries", len(got))
			}
			for _, e := range got {
				if want[e.line] == "" || want[e.line] != e.labels["stream"] {
					return &fatalError{fmt.Errorf("%s: %.50q", e.labels["stream"], e.line)}
				}
			}
			return nil
		})
	}
	check()
	s.c.kill()
	s.c.start()
	check()
	if got, err := s.c.queryAll(l.selector() + ` | stream="stderr"`); err != nil || len(got) != 2 {
		t.Errorf("%d lines of stderr, %v", len(got), err)
	}
}

// F1 in files mode: killed again and again while the log is written and rotated.
func TestFilesKillCollector(t *testing.T) {
	for _, mode := range oneOf("all") {
		t.Run(mode, func(t *testing.T) {
			s, l := filesScene(t, mode, rig.PodSpec{Rotation: rig.Rotation{MaxBytes: 200 << 10, MinInterval: time.Second}}, lines.Wild)
			stop := s.background(100)
			for i := range times(8, 3) {
				pause(time.Duration(700+137*i) * time.Millisecond)
				s.c.kill()
				s.c.start()
			}
			stop()
			s.verify()
			if n := l.pod.Container(l.container).Rotations(); n == 0 {
				t.Error("no rotation")
			}
		})
	}
}

// The mode changes from start to start, while the log is written and rotated.
func TestFilesModeSwitch(t *testing.T) {
	s, l := filesScene(t, "off", rig.PodSpec{}, lines.Wild)
	stop := s.background(60)
	for i, mode := range []string{"all", "off", "backfill", "all", "backfill", "off", "all"}[:times(7, 5)] {
		pause(1500 * time.Millisecond)
		s.awaitRecent(l)
		s.c.stop()
		if mode != "off" && i%2 == 0 {
			must(t, l.pod.Rotate(l.container))
		}
		s.c.mode(mode)
		s.c.start()
	}
	stop()
	s.verify()
}

// awaitRecent waits until what has been written up to now is there.
func (s *scene) awaitRecent(l *logger) {
	s.t.Helper()
	want := l.expect()
	s.c.await("the lines so far", func() error {
		check, err := s.c.check(l)
		if err != nil {
			return err
		}
		if !check.Complete(want) {
			return fmt.Errorf("lines are missing")
		}
		return nil
	})
}

// A node whose kubelet does not serve files is read from the API.
func TestFilesFallBack(t *testing.T) {
	for _, fault := range []struct {
		name string
		on   func(k *rig.Kubelet)
	}{
		{"disabled", func(k *rig.Kubelet) { k.SetLogsDisabled(true) }},
		{"none", func(*rig.Kubelet) {}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			s := &scene{t: t, node: newNode(t)}
			fault.on(s.node.Kubelet)
			l := newLogger(t, addPod(t, s.node, rig.PodSpec{}), "app", lines.Wild)
			s.loggers = []*logger{l}
			s.c = newFilesCollector(t, s.node, "all")
			l.write(50)
			s.awaitAll()
			s.node.Kubelet.SetLogsDisabled(true) // in the middle
			l.write(50)
			s.awaitAll()
			s.verify()
		})
	}
}
