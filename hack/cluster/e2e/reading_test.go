package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig/lines"
)

// reasons returns the gaps of a logger's stream.
func (c *collector) reasons(l *logger) []string {
	c.t.Helper()
	got, err := c.queryAll(l.selector())
	must(c.t, err)
	var out []string
	for _, e := range got {
		if r := e.labels[metaGap]; r != "" {
			out = append(out, r)
		}
	}
	return out
}

// wantGap demands exactly one gap with this reason and this many lines in it, and
// every other line once.
func (c *collector) wantGap(l *logger, reason string, excused int64) {
	c.t.Helper()
	c.await("the gap "+reason, func() error {
		check, err := c.check(l)
		if err != nil {
			return err
		}
		rep := check.Report(l.expect())
		if got := c.reasons(l); !rep.OK() || rep.Excused != excused || !slices.Equal(got, []string{reason}) {
			return fmt.Errorf("want one gap %s with %d lines, have %v:\n%s", reason, excused, got, rep)
		}
		return nil
	})
}

// metrics returns the lines of /metrics.
func (c *collector) metrics() []string {
	c.t.Helper()
	resp, err := http.Get("http://" + c.address + "/metrics")
	must(c.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(c.t, err)
	return strings.Split(string(b), "\n")
}

// metric reads a counter or gauge of the collector, summed over its labels, or of
// the labels that are given with the name.
func (c *collector) metric(name string) float64 {
	c.t.Helper()
	sum := 0.0
	for _, line := range c.metrics() {
		head, value, ok := strings.Cut(line, " ")
		if base, _, _ := strings.Cut(head, "{"); !ok || base != name && head != name {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		must(c.t, err)
		sum += v
	}
	return sum
}

// L6 and L7: a collector that was through a fault holds no more goroutines than
// its containers ask for, and has not asked more of the API server than its own
// limits allow.
func (s *scene) checkFootprint() {
	s.t.Helper()
	if n, most := s.c.metric("go_goroutines"), float64(150+20*len(s.loggers)); n > most {
		s.t.Errorf("L6: %v goroutines, more than %v", n, most)
	}
	if s.node == nil || s.frozen {
		return // or the API server keeps follows open that nobody reads
	}
	if n := s.node.Kubelet.OpenFollows(); n > int64(len(s.loggers)) {
		// An end that the kubelet has not noticed yet.
		waitFor(s.t, "old follows to end", func() bool { return s.node.Kubelet.OpenFollows() <= int64(len(s.loggers)) })
	}
	up := time.Since(s.c.started).Seconds()
	opens := s.c.metric("logstack_podlogs_requests_total")
	if most := 100 + 120*up; opens > most {
		s.t.Errorf("L7: %v requests in %.1f s, more than %v", opens, up, most)
	}
}

// F2: the end of the write-ahead log is lost in a crash. Lines and positions go
// together, so what is lost is read again, once.
func TestF02TornWrite(t *testing.T) {
	t.Parallel()
	s := newScene(t, 3, lines.Wild)
	s.write(20)
	s.awaitAll()
	for i := range times(8, 3) {
		stop := s.background(60)
		pause(time.Second)
		s.c.kill()
		stop()
		segments, err := filepath.Glob(filepath.Join(s.c.dir, "data", "wal", "0*"))
		must(t, err)
		if len(segments) == 0 {
			t.Fatal("there is no write-ahead log")
		}
		slices.Sort(segments)
		newest := segments[len(segments)-1]
		fi, err := os.Stat(newest)
		must(t, err)
		must(t, os.Truncate(newest, max(0, fi.Size()-int64(1+i*7919))))
		s.c.start()
	}
	s.verify()
}

// F5: the node is away for so long that its files rotate: exactly one gap.
func TestF05NodeUnreachableTooLong(t *testing.T) {
	t.Parallel()
	s := newScene(t, 1, lines.Plain)
	l := s.loggers[0]
	l.write(50)
	s.awaitAll()
	must(t, s.node.Kubelet.Stop())
	for range 2 {
		l.write(60)
		must(t, l.pod.Rotate(l.container))
	}
	l.write(10)
	pause(time.Duration(times(20, 1)) * time.Second)
	must(t, s.node.Kubelet.Start())
	s.c.await("the lines behind the gap", func() error {
		if len(s.c.reasons(l)) == 0 {
			return errors.New("no gap yet")
		}
		return nil
	})
	l.write(10)
	s.c.wantGap(l, "rotated_away", 120)
}

// F8, R2: two rotations while nothing gets through to the collector.
func TestF08TwoRotationsWhileStalled(t *testing.T) {
	t.Parallel()
	s := &scene{t: t, node: newNode(t)}
	l := newLogger(t, addPod(t, s.node, rig.PodSpec{}), "app", lines.Mix{Lengths: []int{times(8000, 800)}})
	s.loggers = []*logger{l}
	proxy, err := shared.NewProxy()
	must(t, err)
	s.c = newCollector(t, proxy.URL(), "--namespace="+namespaceOf(t))
	l.write(20)
	s.awaitAll()
	proxy.SetBlackHole(true)
	for range 2 {
		l.write(1500) // in the long form more than all buffers on the way hold
		pause(5 * time.Second)
		must(t, l.pod.Rotate(l.container))
	}
	l.write(20)
	proxy.SetBlackHole(false)
	pause(2 * time.Second)
	l.write(20)
	s.c.awaitHonest(l)
}

// F12: an evicted pod's files are gone; what was not read is a gap with a reason.
func TestF12Evicted(t *testing.T) {
	t.Parallel()
	s := newScene(t, 2, lines.Plain)
	s.write(30)
	s.awaitAll()
	read, unread := s.loggers[0], s.loggers[1]
	pause(1500 * time.Millisecond)
	must(t, read.pod.Exit(t.Context(), "app", 137))
	s.awaitAll()
	must(t, s.node.Kubelet.Stop())
	unread.write(20)
	must(t, unread.pod.Evict(t.Context()))
	must(t, s.node.Kubelet.Start())
	s.c.wantGap(unread, "evicted", 20)
	if got := s.c.reasons(read); len(got) > 0 {
		t.Errorf("the pod that was read to its end has gaps: %v", got)
	}
}

// F14: the log rotates in the middle of a line.
func TestF14RotationInsideALine(t *testing.T) {
	t.Parallel()
	s := newScene(t, 1, lines.Plain)
	l := s.loggers[0]
	l.write(5)
	s.awaitAll()
	pause(1500 * time.Millisecond) // the follow is at the end of the file
	c := l.pod.Container(l.container)
	for range times(10, 4) {
		r := l.runs[0]
		line := r.src.Next()
		r.times = append(r.times, time.Now())
		must(t, c.WritePartial(rig.Stdout, line[:12]))
		pause(200 * time.Millisecond)
		must(t, c.Rotate())
		must(t, c.Write(rig.Stdout, line[12:]))
		l.write(3)
		pause(300 * time.Millisecond)
	}
	s.verify()
}

// F15: pieces of lines of both streams between each other. The kubelet splices
// them; what it sends is stored as it is, once.
func TestF15InterleavedPieces(t *testing.T) {
	t.Parallel()
	s := &scene{t: t, node: newNode(t)}
	pod := addPod(t, s.node, rig.PodSpec{})
	c := pod.Container("app")
	s.c = newCollector(t, "", "--namespace="+namespaceOf(t))
	var want []string
	for i := range times(30, 8) {
		at := time.Now().UTC()
		rec := func(after time.Duration, stream rig.Stream, partial bool, text string) rig.Record {
			return rig.Record{Time: at.Add(after), Stream: stream, Partial: partial, Data: []byte(fmt.Sprint(text, i))}
		}
		must(t, c.Records(rec(0, rig.Stdout, true, "out1-"), rec(1, rig.Stderr, false, "err-"), rec(2, rig.Stdout, false, "out2-")))
		want = append(want, fmt.Sprintf("out1-%derr-%d", i, i), fmt.Sprint("out2-", i))
		if i%3 == 0 {
			s.node.Kubelet.CloseConnections()
		}
		pause(200 * time.Millisecond)
	}
	selector := fmt.Sprintf("{namespace=%q, container=\"app\", job=\"kubernetes-pods\"}", pod.Namespace)
	var got []string
	waitFor(t, "all lines", func() bool {
		entries, err := s.c.queryAll(selector)
		must(t, err)
		got = nil
		for _, e := range entries {
			got = append(got, e.line)
		}
		return len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// F20: a pod that is not scheduled, then waits, then runs: no request is made
// before there is a log, and no line is missing.
func TestF20NotYetRunning(t *testing.T) {
	t.Parallel()
	s := &scene{t: t, node: newNode(t)}
	addPod(t, nil, rig.PodSpec{Name: "unscheduled"})
	pod := addPod(t, s.node, rig.PodSpec{Waiting: "ContainerCreating"})
	s.c = newCollector(t, "", "--namespace="+namespaceOf(t))
	pause(time.Duration(times(10, 3)) * time.Second)
	if n := s.node.Kubelet.Requests(); n > 0 {
		t.Errorf("%d requests for logs that do not exist", n)
	}
	must(t, pod.Start(t.Context(), "app"))
	s.loggers = []*logger{newLogger(t, pod, "app", lines.Plain)}
	s.write(20)
	s.verify()
}

// F21: the node has no inotify instance left: its containers are polled.
func TestF21InotifyExhausted(t *testing.T) {
	t.Parallel()
	s := newScene(t, 3, lines.Plain)
	s.write(10)
	s.awaitAll()
	s.node.Kubelet.InjectInBand(rig.InBand{Text: "failed to create fsnotify watcher: too many open files", Follow: true})
	s.node.Kubelet.CloseConnections()
	stop := s.background(20)
	s.c.await("the containers to be polled", func() error {
		if n := s.c.metric(`logstack_podlogs_targets{state="polling"}`); n < 2 {
			return fmt.Errorf("%v are", n)
		}
		return nil
	})
	before := s.node.Kubelet.Requests()
	pause(3 * time.Second)
	if n := s.node.Kubelet.Requests() - before; n > 60 {
		t.Errorf("%d requests in 3 s: that is a hot loop", n)
	}
	stop()
	s.awaitAll()
	s.node.Kubelet.Heal()
	s.write(10)
	s.verify()
}

// F25: labels, annotations and readiness of a running pod change: nothing is read
// again, and the new labels count from then on.
func TestF25LabelsChange(t *testing.T) {
	t.Parallel()
	s := newScene(t, 1, lines.Plain)
	l := s.loggers[0]
	l.write(50)
	s.awaitAll()
	pause(1500 * time.Millisecond)
	before, pods := s.node.Kubelet.Requests(), shared.Client().CoreV1().Pods(l.pod.Namespace)
	patch := func(subresource string, what any) {
		t.Helper()
		b, err := json.Marshal(what)
		must(t, err)
		var sub []string
		if subresource != "" {
			sub = []string{subresource}
		}
		_, err = pods.Patch(t.Context(), l.pod.Name, types.MergePatchType, b, metav1.PatchOptions{}, sub...)
		must(t, err)
	}
	type m map[string]any
	for i := range times(30, 8) {
		patch("", m{"metadata": m{"labels": m{"app": fmt.Sprint("v", i)}, "annotations": m{"note": fmt.Sprint(i)}}})
		patch("status", m{"status": m{"conditions": []m{{"type": "Ready", "status": []string{"True", "False"}[i%2]}}}})
		l.write(2)
		pause(50 * time.Millisecond)
	}
	s.awaitAll()
	if n := s.node.Kubelet.Requests() - before; n > 6 {
		t.Errorf("%d requests for logs while only labels changed", n)
	}
	pause(time.Second)
	l.write(1)
	s.awaitAll()
	got, err := s.c.queryAll(l.selector())
	must(t, err)
	if app, want := got[len(got)-1].labels["app"], fmt.Sprint("v", times(30, 8)-1); app != want {
		t.Errorf("the last line has the label app=%q, want %q", app, want)
	}
	s.verify()
}

// F27: kubelets before 1.29 do not notice rotations: the follow stays silent on
// the old file for ever.
func TestF27KubeletThatMissesRotations(t *testing.T) {
	t.Parallel()
	s := &scene{t: t, node: newNode(t)}
	s.node.Kubelet.SetBlind(true)
	for i := range 2 {
		s.loggers = append(s.loggers, newLogger(t, addPod(t, s.node, rig.PodSpec{Name: fmt.Sprint("web-", i)}), "app", lines.Plain))
	}
	s.c = newCollector(t, "", "--namespace="+namespaceOf(t))
	s.write(10)
	s.awaitAll()
	stop := s.background(20)
	for range times(6, 2) {
		pause(12 * time.Second) // the kubelet looks every 10 seconds
		for _, l := range s.loggers {
			must(t, l.pod.Rotate(l.container))
		}
	}
	pause(time.Second)
	stop()
	s.verify()
}

// F28: one line without end: it is cut, marked and counted, and memory stays.
func TestF28HugeLine(t *testing.T) {
	t.Parallel()
	s := &scene{t: t, node: newNode(t)}
	pod := addPod(t, s.node, rig.PodSpec{NoBook: true})
	s.c = newCollector(t, "", "--namespace="+namespaceOf(t))
	size := times(50, 4) << 20
	must(t, pod.Write("app", rig.Stdout, "before"))
	must(t, pod.Write("app", rig.Stdout, strings.Repeat("x", size)))
	must(t, pod.Write("app", rig.Stdout, "after"))
	var got []entry
	waitFor(t, "the three lines", func() bool {
		var err error
		got, err = s.c.queryAll(fmt.Sprintf("{namespace=%q, job=\"kubernetes-pods\"}", pod.Namespace))
		must(t, err)
		return len(got) >= 3
	})
	if len(got) != 3 || got[0].line != "before" || got[2].line != "after" {
		t.Fatalf("%d entries", len(got))
	}
	if n := len(got[1].line); n < 1000 || n > 1<<20 {
		t.Errorf("%d bytes are kept of %d", n, size)
	}
	if got[1].labels["__logstack_truncated__"] != strconv.Itoa(size) {
		t.Errorf("the line says that it was %q bytes long, it was %d", got[1].labels["__logstack_truncated__"], size)
	}
	if v := s.c.metric("logstack_podlogs_lines_truncated_total"); v != 1 {
		t.Errorf("%v lines counted as cut", v)
	}
	if rss := s.c.metric("process_resident_memory_bytes"); rss > 400<<20 {
		t.Errorf("%.0f MiB of memory", rss/(1<<20))
	}
}
