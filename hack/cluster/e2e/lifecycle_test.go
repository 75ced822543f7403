package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig/lines"
)

// F10: a container crashes every two seconds, with its last words written right
// before; every instance is read to its end.
func TestF10ContainerRestarts(t *testing.T) {
	t.Parallel()
	s := newScene(t, 1, lines.Plain)
	l := s.loggers[0]
	l.write(1)
	s.awaitAll() // the follow is open
	for range times(5, 3) {
		l.write(100)
		l.restart()
		pause(2 * time.Second)
	}
	l.write(10)
	s.verify()
}

// F10: a crash loop faster than anyone can read; what is lost is inside a gap.
func TestF10CrashLoop(t *testing.T) {
	t.Parallel()
	s := newScene(t, 1, lines.Plain)
	l := s.loggers[0]
	for range times(20, 10) {
		l.write(20)
		l.restart()
		pause(100 * time.Millisecond)
	}
	l.write(20)
	s.c.awaitHonest(l)
}

// In back-off the dead instance is served as the current one: it must not be
// read twice when the next one starts.
func TestF10BackOff(t *testing.T) {
	t.Parallel()
	s := newScene(t, 1, lines.Plain)
	l := s.loggers[0]
	for range 3 {
		l.write(30)
		pause(500 * time.Millisecond)
		must(t, l.pod.BackOff(t.Context(), l.container, 1))
		pause(2 * time.Second) // a kubelet waits 10 s and more
		must(t, l.pod.Start(t.Context(), l.container))
		l.nextRun()
	}
	l.write(30)
	s.verify()
}

// Restarts while the collector is down: the previous instance is fetched, those
// before it are a gap.
func TestF10RestartsDuringDowntime(t *testing.T) {
	t.Parallel()
	s := newScene(t, 2, lines.Plain)
	one, many := s.loggers[0], s.loggers[1]
	s.write(50)
	s.awaitAll()
	s.c.stop()
	s.write(50)
	one.restart()
	one.write(50)
	for range 3 {
		many.restart()
		many.write(50)
	}
	s.c.start()
	s.c.awaitLines(one)
	if rep := s.c.report(one); !rep.OK() || rep.Gaps > 0 {
		t.Errorf("one restart:\n%s", rep)
	}
	s.c.await("the gap of the lost instances", func() error {
		rep := s.c.report(many)
		if !rep.OK() || rep.Gaps != 1 || rep.Excused != 100 {
			return fmt.Errorf("want one gap with 100 lines:\n%s", rep)
		}
		return nil
	})
}

// F12: a pod is deleted as a kubelet does it; its last lines come right before.
// Half a second passes between the end of the container and that of the pod.
func TestF12PodDeleted(t *testing.T) {
	t.Parallel()
	s := newScene(t, 3, lines.Plain)
	s.write(50)
	s.awaitAll()
	for _, l := range s.loggers {
		l.write(50)
		must(t, l.pod.BeginDelete(t.Context()))
		l.write(50)
		must(t, l.pod.Delete(t.Context()))
	}
	s.verify()
}

// F12: the object vanishes at once; an open stream goes on.
func TestF12ForceDeleted(t *testing.T) {
	t.Parallel()
	s := newScene(t, 1, lines.Plain)
	l := s.loggers[0]
	l.write(50)
	s.awaitAll()
	must(t, l.pod.ForceDelete(t.Context()))
	l.write(50)
	must(t, l.pod.Finish(t.Context(), 0))
	s.c.awaitHonest(l)
}

// F12: a StatefulSet's pod comes back under its name; the two must not mix.
func TestF12SameNameNewUID(t *testing.T) {
	t.Parallel()
	s := newScene(t, 1, lines.Plain)
	for range 3 {
		l := s.loggers[len(s.loggers)-1]
		l.write(50)
		must(t, l.pod.Delete(t.Context()))
		s.loggers = append(s.loggers, newLogger(t, addPod(t, s.node, rig.PodSpec{Name: l.pod.Name}), "app", lines.Plain))
	}
	s.loggers[len(s.loggers)-1].write(50)
	// All pods share one stream: check them together.
	all := &logger{t: t, pod: s.loggers[0].pod, container: "app"}
	for _, l := range s.loggers {
		all.runs = append(all.runs, l.runs...)
	}
	s.c.awaitHonest(all)
}

// F11: jobs that live for a moment; each is read or marked.
func TestF11ShortJobs(t *testing.T) {
	t.Parallel()
	s := &scene{t: t, node: newNode(t)}
	s.c = newCollector(t, "", "--namespace="+namespaceOf(t))
	for i := range times(20, 8) {
		pod := addPod(t, s.node, rig.PodSpec{Name: fmt.Sprintf("job-%d", i), RestartPolicy: "Never"})
		l := newLogger(t, pod, "app", lines.Plain)
		l.write(3)
		pause(50 * time.Millisecond)
		must(t, pod.Finish(t.Context(), 0))
		pause(300 * time.Millisecond)
		must(t, pod.Delete(t.Context()))
		s.loggers = append(s.loggers, l)
	}
	for _, l := range s.loggers {
		s.c.awaitHonest(l)
	}
}

// F13: every kind of container is collected, with its own labels.
func TestF13KindsOfContainers(t *testing.T) {
	t.Parallel()
	s := &scene{t: t, node: newNode(t)}
	pod := addPod(t, s.node, rig.PodSpec{
		Init: []string{"init"}, Sidecars: []string{"proxy"}, Containers: []string{"app", "helper"}, Ephemeral: []string{"debug"},
		Labels: map[string]string{"app.kubernetes.io/name": "shop"}, Waiting: "PodInitializing",
	})
	for _, c := range pod.Containers() {
		must(t, pod.Start(t.Context(), c.Name()))
		l := newLogger(t, pod, c.Name(), lines.Plain)
		l.write(20)
		if c.Name() == "init" {
			must(t, pod.Exit(t.Context(), c.Name(), 0))
		}
		s.loggers = append(s.loggers, l)
	}
	s.c = newCollector(t, "", "--namespace="+namespaceOf(t))
	s.verify()
	got, err := s.c.queryAll(fmt.Sprintf("{job=\"kubernetes-pods\", namespace=%q}", pod.Namespace))
	must(t, err)
	for _, e := range got {
		c := e.labels["container"]
		want := map[string]string{
			"app": "shop", "service_name": "shop", "container": c, "pod": pod.Name, "namespace": pod.Namespace,
			"node": s.node.Name, "job": "kubernetes-pods", "instance": pod.Namespace + "/" + pod.Name + ":" + c,
		}
		for k, v := range want {
			if e.labels[k] != v {
				t.Fatalf("label %s=%q, want %q, of %v", k, e.labels[k], v, e.labels)
			}
		}
	}
}

// F14: lines in pieces, with cuts in the middle of them: one entry per line.
func TestF14PartialLines(t *testing.T) {
	t.Parallel()
	s := newScene(t, 1, lines.Plain)
	l := s.loggers[0]
	l.write(5)
	s.awaitAll()
	c := l.pod.Container(l.container)
	for i := range 6 {
		r := l.runs[0]
		line := r.src.Next()
		r.times = append(r.times, time.Now())
		must(t, c.WritePartial(rig.Stdout, line[:10]))
		pause(200 * time.Millisecond)
		switch i % 3 {
		case 0:
			s.node.Kubelet.CloseConnections()
		case 1:
			s.c.kill()
			s.c.start()
		}
		pause(200 * time.Millisecond)
		must(t, c.WritePartial(rig.Stdout, line[10:20]))
		must(t, c.Write(rig.Stdout, line[20:]))
	}
	l.write(5)
	s.verify()
}

// A line that is not ended when its container dies is still a line.
func TestF14UnterminatedLastLine(t *testing.T) {
	t.Parallel()
	s := newScene(t, 1, lines.Plain)
	l := s.loggers[0]
	l.write(5)
	s.awaitAll()
	r := l.runs[0]
	must(t, l.pod.Container(l.container).WritePartial(rig.Stdout, r.src.Next()))
	r.times = append(r.times, time.Now())
	l.restart()
	l.write(5)
	s.verify()
}

// F16: thousands of lines with one timestamp, as CRI-O writes them, across
// reconnects, and lines that are the same in every byte.
func TestF16EqualTimestamps(t *testing.T) {
	t.Parallel()
	s := newScene(t, 1, lines.Plain)
	l := s.loggers[0]
	at := time.Now().UTC()
	for range 6 {
		for range times(600, 200) {
			must(t, l.writeAt(at))
		}
		s.awaitAll()
		s.node.Kubelet.CloseConnections()
		pause(50 * time.Millisecond)
	}
	s.c.kill()
	for range 100 {
		must(t, l.writeAt(at))
	}
	s.c.start()
	s.verify()
}

func TestF16IdenticalLines(t *testing.T) {
	t.Parallel()
	s := &scene{t: t, node: newNode(t)}
	pod := addPod(t, s.node, rig.PodSpec{})
	s.c = newCollector(t, "", "--namespace="+namespaceOf(t))
	at := time.Now().UTC()
	const line = "the very same words"
	total := 0
	count := func() int {
		got, err := s.c.queryAll(fmt.Sprintf("{job=\"kubernetes-pods\", namespace=%q}", pod.Namespace))
		must(t, err)
		for _, e := range got {
			if e.line != line || !e.at.Equal(at) {
				t.Fatalf("entry %+v", e)
			}
		}
		return len(got)
	}
	for range 5 {
		for range 7 {
			must(t, pod.Container("app").WriteAt(at, rig.Stdout, line))
			total++
		}
		waitFor(t, fmt.Sprint(total, " identical lines"), func() bool { return count() >= total })
		s.node.Kubelet.CloseConnections()
		s.c.kill()
		s.c.start()
	}
	if n := count(); n != total {
		t.Errorf("%d entries, want %d", n, total)
	}
}

// F17: the node's clock steps back and forth, and is in another zone.
func TestF17ClockSteps(t *testing.T) {
	t.Parallel()
	s := newScene(t, 1, lines.Plain)
	l := s.loggers[0]
	zone := time.FixedZone("IST", 5*3600+1800)
	for i, step := range []time.Duration{0, -time.Hour, time.Hour, -time.Minute, 0} {
		for range 30 {
			must(t, l.writeAt(time.Now().Add(step).In(zone)))
		}
		s.awaitAll()
		if i%2 == 0 {
			s.node.Kubelet.CloseConnections()
		} else {
			s.c.kill()
			s.c.start()
		}
	}
	s.awaitAll()
	rep := s.c.report(l)
	rep.Disordered = nil // a query sorts by time, and the times went back
	if !rep.OK() || rep.Gaps > 0 {
		t.Error(rep)
	}
}

// F28: content that tries to look like something else arrives as it was.
func TestF28HostileContent(t *testing.T) {
	t.Parallel()
	s := &scene{t: t, node: newNode(t)}
	pod := addPod(t, s.node, rig.PodSpec{})
	s.c = newCollector(t, "", "--namespace="+namespaceOf(t))
	want := []string{
		"", " ", "\t", "2026-01-01T00:00:00.000000000Z faked", "2026-01-01T00:00:00Z stdout F faked",
		"unable to retrieve container logs for containerd://abc", "failed to create fsnotify watcher: too many open files",
		"context canceled", "\x00\x01\x02", "\x1b[31mred\x1b[0m", `{"__logstack_gap__":"rotated_away"}`,
		"gap: 12 s, rotated_away", strings.Repeat("x", 200_000), "\u2028 line separator", "last",
	}
	for _, line := range want {
		must(t, pod.Write("app", rig.Stdout, line))
		pause(time.Millisecond)
	}
	var got []entry
	waitFor(t, "all lines", func() bool {
		var err error
		got, err = s.c.queryAll(fmt.Sprintf("{job=\"kubernetes-pods\", namespace=%q}", pod.Namespace))
		must(t, err)
		return len(got) >= len(want)
	})
	if len(got) != len(want) {
		t.Fatalf("%d entries, want %d", len(got), len(want))
	}
	for i, e := range got {
		if e.line != want[i] {
			t.Errorf("entry %d: %.80q, want %.80q", i, e.line, want[i])
		}
	}
}
