package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig/lines"
)

// soak says that the long form of every test is asked for (make soak).
var soak = os.Getenv("LOGSTACK_SOAK") != ""

// times is n in the long form, else few.
func times(n, few int) int {
	if soak {
		return n
	}
	return few
}

// pause lets the fault meet a collector at work; nothing is asserted after it.
func pause(d time.Duration) { time.Sleep(d) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// F1: the collector is killed again and again while pods write.
func TestF01CollectorKilled(t *testing.T) {
	t.Parallel()
	s := newScene(t, 5, lines.Wild)
	stop := s.background(40)
	for i := range times(10, 3) {
		pause(time.Duration(300+137*i) * time.Millisecond)
		s.c.kill()
		s.c.start()
	}
	stop()
	s.verify()
}

// An orderly stop loses and doubles nothing either, and what was written
// meanwhile is fetched.
func TestF01CollectorStopped(t *testing.T) {
	t.Parallel()
	s := newScene(t, 3, lines.Wild)
	stop := s.background(40)
	for range times(4, 2) {
		pause(500 * time.Millisecond)
		s.c.stop()
		s.write(20)
		s.c.start()
	}
	stop()
	s.verify()
}

// F6: rotation while the stream is followed, at a moderate rate.
func TestF06RotationWhileFollowing(t *testing.T) {
	t.Parallel()
	s := newScene(t, 2, lines.Plain)
	s.write(10)
	s.awaitAll() // the stream has seen its first end of file or soon will
	stop := s.background(100)
	for range times(5, 2) {
		pause(2 * time.Second)
		for _, l := range s.loggers {
			must(t, l.pod.Rotate(l.container))
		}
	}
	stop()
	s.verify()
}

// F7, R1: a rotation while the collector still works through a backlog behind a
// thin link. The kubelet's reader stays on the old file.
func TestF07RotationDuringCatchUp(t *testing.T) {
	t.Parallel()
	s := &scene{t: t, node: newNode(t)}
	l := newLogger(t, addPod(t, s.node, rig.PodSpec{}), "app", lines.Mix{Lengths: []int{8000}})
	s.loggers = []*logger{l}
	l.write(1000) // 8 MB, as much as a file may have
	proxy, err := shared.NewProxy()
	must(t, err)
	proxy.SetRate(1_000_000)
	s.c = newCollector(t, proxy.URL(), "--namespace="+namespaceOf(t))
	waitFor(t, "half of the backlog", func() bool { return proxy.Delivered() > 4_000_000 })
	must(t, l.pod.Rotate(l.container))
	l.write(20)
	proxy.SetRate(0)
	// That nothing was written to the old file after it had been read cannot be
	// known, so a gap may be marked; but nothing may be missing.
	s.awaitAll()
	s.c.awaitHonest(l)
}

// R3: the kubelet renames the file away and back; a follower gets it twice.
func TestF08RenamedBack(t *testing.T) {
	t.Parallel()
	s := newScene(t, 1, lines.Plain)
	l := s.loggers[0]
	for range 3 {
		l.write(50)
		s.awaitAll()
		must(t, l.pod.Container(l.container).RotateWith(rig.RotateOptions{FailReopen: true}))
	}
	l.write(50)
	s.verify()
}

// F9: the log rotates while the collector is down, once and more often than
// files are kept: exactly one gap, with the lines of the lost files inside, and
// nothing else missing.
func TestF09RotationDuringDowntime(t *testing.T) {
	t.Parallel()
	s := newScene(t, 2, lines.Plain)
	s.write(100)
	s.awaitAll()
	s.c.stop()
	rotations := []int{1, 6}
	for i, l := range s.loggers {
		for range rotations[i] {
			l.write(100)
			must(t, l.pod.Rotate(l.container))
		}
	}
	s.write(100)
	s.c.start()
	for i, l := range s.loggers {
		s.c.awaitGap(l)
		l.write(10)
		s.c.wantGap(l, "rotated_away", int64(100*rotations[i]))
	}
}

// F3: the API server restarts, orderly and not, while pods write.
func TestF03APIServerRestart(t *testing.T) {
	s := newScene(t, 3, lines.Wild)
	stop := s.background(40)
	for i := range times(3, 2) {
		pause(500 * time.Millisecond)
		must(t, shared.RestartAPIServer(t.Context(), i%2 == 1))
	}
	pause(500 * time.Millisecond)
	stop()
	s.verify()
}

// F3 in front of the API server: a load balancer cuts connections.
func TestF03ConnectionsCut(t *testing.T) {
	t.Parallel()
	s := &scene{t: t, node: newNode(t)}
	l := newLogger(t, addPod(t, s.node, rig.PodSpec{}), "app", lines.Wild)
	s.loggers = []*logger{l}
	proxy, err := shared.NewProxy()
	must(t, err)
	s.c = newCollector(t, proxy.URL(), "--namespace="+namespaceOf(t))
	stop := s.background(100)
	cut := 0
	for range times(10, 3) {
		pause(400 * time.Millisecond)
		cut += proxy.Cut()
	}
	stop()
	if cut == 0 {
		t.Error("nothing was cut")
	}
	s.verify()
}

// F18: packets vanish; only pings or probes can tell.
func TestF18SilentlyDroppedConnection(t *testing.T) {
	t.Parallel()
	s := &scene{t: t, node: newNode(t)}
	l := newLogger(t, addPod(t, s.node, rig.PodSpec{}), "app", lines.Plain)
	s.loggers = []*logger{l}
	proxy, err := shared.NewProxy()
	must(t, err)
	s.c = newCollector(t, proxy.URL(), "--namespace="+namespaceOf(t))
	l.write(20)
	s.awaitAll()
	proxy.Freeze() // new connections pass
	s.frozen = true
	l.write(20)
	s.verify()
}

// F4: every failure behind the API server is a clean end of the stream, possibly
// after half a line.
func TestF04CleanEndsMidStream(t *testing.T) {
	t.Parallel()
	s := newScene(t, 3, lines.Wild)
	stop := s.background(60)
	cut := 0
	for i := range times(12, 4) {
		pause(time.Duration(200+61*i) * time.Millisecond)
		if i%2 == 0 {
			cut += s.node.Kubelet.CloseConnections()
		} else {
			cut += s.node.Link.Cut()
		}
	}
	stop()
	if cut == 0 {
		t.Error("nothing was cut")
	}
	s.verify()
}

// F4: the kubelet's own timeout, 4 hours in life, ends every stream.
func TestF04KubeletTimeout(t *testing.T) {
	t.Parallel()
	s := newScene(t, 2, lines.Wild)
	must(t, s.node.Kubelet.SetWriteTimeout(700*time.Millisecond))
	stop := s.background(60)
	pause(time.Duration(times(6, 3)) * time.Second)
	stop()
	s.verify()
}

// F5: the node cannot be reached while its pods go on writing.
func TestF05NodeUnreachable(t *testing.T) {
	t.Parallel()
	s := newScene(t, 3, lines.Wild)
	s.write(20)
	s.awaitAll()
	stop := s.background(40)
	must(t, s.node.Kubelet.Stop())
	pause(3 * time.Second)
	must(t, s.node.Kubelet.Start())
	pause(time.Second)
	stop()
	s.verify()
}

// inBandTexts are what the kubelet appends to an answer that it has begun.
var inBandTexts = []string{
	"unable to retrieve container logs for containerd://0123456789abcdef",
	`failed to try resolving symlinks in path "/var/log/pods/a/app/0.log": lstat /var/log/pods/a: no such file or directory`,
	`failed to open log file "/var/log/pods/a/app/0.log": open /var/log/pods/a/app/0.log: no such file or directory`,
	"failed to create fsnotify watcher: too many open files",
	`failed to watch directory "/var/log/pods/a/app": no space left on device`,
	`failed to read log file "/var/log/pods/a/app/0.log": input/output error`,
	`rpc error: code = NotFound desc = an error occurred when try to find container "0123": not found`,
	"context canceled",
}

// F19: errors of the kubelet inside a good answer, at the start, in the middle
// and after a piece of a line, are never stored.
func TestF19ErrorsInsideAGoodAnswer(t *testing.T) {
	t.Parallel()
	for i, text := range inBandTexts[:times(len(inBandTexts), 2)] {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			s := newScene(t, 1, lines.Plain)
			stop := s.background(60)
			for _, after := range []int64{2011, 37, 0} {
				before := s.node.Kubelet.Injected()
				s.node.Kubelet.InjectInBand(rig.InBand{Text: text, AfterBytes: after, Times: 1})
				s.node.Kubelet.CloseConnections()
				waitFor(t, "the error to be sent", func() bool { return s.node.Kubelet.Injected() > before })
				if strings.Contains(text, "inotify") || strings.Contains(text, "fsnotify") {
					break // the collector polls this node now, for minutes
				}
			}
			stop()
			s.verify()
		})
	}
}

// F19 at the end of a container: only then is text without a newline a line, and
// an error must not be taken for one.
func TestF19ErrorsInTheLastAnswer(t *testing.T) {
	t.Parallel()
	s := newScene(t, 1, lines.Plain)
	l := s.loggers[0]
	texts := inBandTexts[:times(len(inBandTexts), 2)]
	for i, text := range texts {
		l.write(5)
		s.awaitAll()
		s.node.Kubelet.InjectInBand(rig.InBand{Text: text, AfterBytes: int64(i%3) * 150, Times: 3})
		s.node.Kubelet.CloseConnections()
		l.write(5)
		must(t, l.pod.Exit(t.Context(), l.container, 1))
		s.awaitAll()
		must(t, l.pod.Start(t.Context(), l.container))
		l.nextRun()
	}
	if n := s.node.Kubelet.Injected(); n < int64(len(texts)) {
		t.Errorf("only %d texts were injected", n)
	}
	l.write(5)
	s.verify()
}

// F20: error statuses while pods write.
func TestF20ErrorStatuses(t *testing.T) {
	t.Parallel()
	faults := []struct {
		name string
		on   func(k *rig.Kubelet)
	}{
		{"429", func(k *rig.Kubelet) { k.Fail(-1, http.StatusTooManyRequests, "slow down") }},
		{"500", func(k *rig.Kubelet) { k.Fail(-1, http.StatusInternalServerError, "broken") }},
		{"503", func(k *rig.Kubelet) { k.Fail(-1, http.StatusServiceUnavailable, "not now") }},
		{"404", func(k *rig.Kubelet) { k.SetAmnesia(true) }},
		{"x509", func(k *rig.Kubelet) { k.SetUntrustedCertificate(true) }},
		{"runtime down", func(k *rig.Kubelet) { k.SetRuntimeDown(true) }},
	}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			s := newScene(t, 1, lines.Plain)
			s.write(10)
			s.awaitAll()
			stop := s.background(40)
			f.on(s.node.Kubelet)
			s.node.Kubelet.CloseConnections()
			before := s.node.Kubelet.Requests()
			pause(2 * time.Second)
			if n := s.node.Kubelet.Requests() - before; n > 12 {
				t.Errorf("%d requests in 2 s of failure: that is a hot loop", n)
			}
			s.node.Kubelet.Heal()
			stop()
			s.verify()
		})
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
