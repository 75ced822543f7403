package e2e

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig/lines"
)

// Metadata of gap entries, as package podlogs writes it.
const (
	metaGap     = "__logstack_gap__"
	metaGapFrom = "__logstack_gap_from__"
	metaGapTo   = "__logstack_gap_to__"
)

func namespaceOf(t testing.TB) string {
	name := strings.ToLower(strings.TrimPrefix(t.Name(), "Test"))
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, name)
	return strings.Trim(name[:min(len(name), 40)], "-")
}

// logger writes numbered lines into one container and knows what it wrote.
type logger struct {
	t         *testing.T
	pod       *rig.Pod
	container string
	mix       lines.Mix

	mu   sync.Mutex
	runs []*written // one per instance of the container
}

// written is what one instance has logged.
type written struct {
	src   *lines.Source
	times []time.Time
}

func newLogger(t *testing.T, pod *rig.Pod, container string, mix lines.Mix) *logger {
	l := &logger{t: t, pod: pod, container: container, mix: mix}
	l.nextRun()
	return l
}

// nextRun must be called after every restart.
func (l *logger) nextRun() {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := fnv.New64a()
	fmt.Fprint(h, l.t.Name())
	name := fmt.Sprintf("%s.%s.%s.%d", l.pod.Name, l.pod.UID[:4], l.container, len(l.runs))
	l.runs = append(l.runs, &written{src: lines.NewSource(name, l.mix, h.Sum64())})
}

// write logs n lines now.
func (l *logger) write(n int) {
	l.t.Helper()
	for range n {
		if err := l.writeNow(); err != nil {
			l.t.Fatal(err)
		}
	}
}

// writeNow takes the time where lines are numbered: two writers would otherwise
// stamp them in another order.
func (l *logger) writeNow() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.append(time.Now().UTC())
}

func (l *logger) writeAt(at time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.append(at)
}

func (l *logger) append(at time.Time) error {
	r := l.runs[len(l.runs)-1]
	stream := rig.Stdout
	if r.src.Count()%3 == 2 {
		stream = rig.Stderr
	}
	r.times = append(r.times, at)
	return l.pod.Container(l.container).WriteAt(at, stream, r.src.Next())
}

// background writes bursts of lines, on average perSecond, until the returned
// function is called.
func (l *logger) background(perSecond int) (stop func()) {
	ctx, cancel := context.WithCancel(l.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		const beat = 50 * time.Millisecond
		ticker := time.NewTicker(beat)
		defer ticker.Stop()
		due := 0.0
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			for due += float64(perSecond) * beat.Seconds(); due >= 1; due-- {
				if err := l.writeNow(); err != nil {
					l.t.Error(err)
					return
				}
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// restart ends the container's instance and starts the next.
func (l *logger) restart() {
	l.t.Helper()
	if err := l.pod.Restart(l.t.Context(), l.container, 1); err != nil {
		l.t.Fatal(err)
	}
	l.nextRun()
}

func (l *logger) expect() []lines.Expect {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []lines.Expect
	for _, r := range l.runs {
		out = append(out, lines.Expect{Run: r.src.Run(), Lines: r.src.Count(), Times: r.times})
	}
	return out
}

func (l *logger) selector() string {
	return fmt.Sprintf("{job=\"kubernetes-pods\", namespace=%q, pod=%q, container=%q}", l.pod.Namespace, l.pod.Name, l.container)
}

// scene is one test's node, pods and collector.
type scene struct {
	t       *testing.T
	node    *rig.Node
	c       *collector
	loggers []*logger
	frozen  bool // a connection to the API server is
}

func newNode(t *testing.T) *rig.Node {
	t.Helper()
	return addNode(t, namespaceOf(t))
}

// addNode adds a node, removed at the end of the test.
func addNode(t *testing.T, name string) *rig.Node {
	t.Helper()
	node, err := shared.AddNode(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := node.Remove(ctx); err != nil {
			t.Error(err)
		}
	})
	return node
}

// addPod adds a pod of the test's namespace, deleted at its end.
func addPod(t *testing.T, node *rig.Node, spec rig.PodSpec) *rig.Pod {
	t.Helper()
	spec.Namespace = namespaceOf(t)
	if spec.Name == "" {
		spec.Name = "web-0"
	}
	spec.NoBook = true
	pod, err := shared.AddPod(t.Context(), node, spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := pod.ForceDelete(ctx); err != nil {
			t.Error(err)
		}
		if err := pod.Collect(); err != nil {
			t.Error(err)
		}
	})
	return pod
}

// newScene is a node with pods of one container each and a collector.
func newScene(t *testing.T, pods int, mix lines.Mix) *scene {
	t.Helper()
	s := &scene{t: t, node: newNode(t)}
	for i := range pods {
		pod := addPod(t, s.node, rig.PodSpec{Name: fmt.Sprintf("web-%d", i)})
		s.loggers = append(s.loggers, newLogger(t, pod, "app", mix))
	}
	s.c = newCollector(t, "", "--namespace="+namespaceOf(t))
	return s
}

// background starts every logger.
func (s *scene) background(perSecond int) (stop func()) {
	var stops []func()
	for _, l := range s.loggers {
		stops = append(stops, l.background(perSecond))
	}
	return func() {
		for _, f := range stops {
			f()
		}
	}
}

func (s *scene) write(n int) {
	s.t.Helper()
	for _, l := range s.loggers {
		l.write(n)
	}
}

// awaitAll waits until every line of every logger can be queried.
func (s *scene) awaitAll() {
	s.t.Helper()
	for _, l := range s.loggers {
		s.c.awaitLines(l)
	}
}

// verify waits for all lines and demands every invariant without any gap; then
// it restarts the collector in an orderly way and demands them again.
func (s *scene) verify() {
	s.t.Helper()
	s.awaitAll()
	for range 2 {
		for _, l := range s.loggers {
			if rep := s.c.report(l); !rep.OK() || rep.Gaps > 0 {
				s.t.Errorf("%s:\n%s", l.selector(), rep)
			}
		}
		s.checkFootprint()
		s.c.stop()
		s.c.start()
	}
}

// awaitHonest waits until every line of a stream is there or inside a gap. Gaps
// without loss pass, for scenes in which nobody can know that nothing was lost.
func (c *collector) awaitHonest(l *logger) {
	c.t.Helper()
	var rep lines.Report
	c.await("every line or a gap in its place", func() error {
		check, err := c.check(l)
		if err != nil {
			return err
		}
		rep = check.Report(l.expect())
		rep.IdleGaps = nil
		if !rep.OK() {
			return fmt.Errorf("%s", rep)
		}
		return nil
	})
	if rep.Gaps > 0 {
		c.t.Logf("%s: %s", l.selector(), rep)
	}
}

// check queries a logger's stream.
func (c *collector) check(l *logger) (*lines.Check, error) {
	got, err := c.queryAll(l.selector())
	if err != nil {
		return nil, err
	}
	check := lines.NewCheck()
	for _, e := range got {
		reason, isGap := e.labels[metaGap]
		if !isGap {
			check.Add(e.line)
			continue
		}
		g := lines.Gap{Reason: reason}
		for key, dst := range map[string]*time.Time{metaGapFrom: &g.From, metaGapTo: &g.To} {
			if v := e.labels[key]; v != "" {
				if *dst, err = time.Parse(time.RFC3339Nano, v); err != nil {
					return nil, err
				}
			}
		}
		check.AddGap(g)
	}
	return check, nil
}

// awaitLines waits until all lines of a logger are there.
func (c *collector) awaitLines(l *logger) {
	c.t.Helper()
	var last *lines.Check
	c.awaitOr(func() error {
		check, err := c.check(l)
		if err != nil {
			return err
		}
		last = check
		if !check.Complete(l.expect()) {
			return fmt.Errorf("lines are missing")
		}
		return nil
	}, func(err error) {
		if last != nil {
			c.t.Fatalf("%s: %v after %s:\n%s", l.selector(), err, patience, last.Report(l.expect()))
		}
		c.t.Fatal(err)
	})
}

// awaitGap waits until the stream has a gap entry.
func (c *collector) awaitGap(l *logger) {
	c.t.Helper()
	c.await("a gap entry", func() error {
		check, err := c.check(l)
		if err != nil {
			return err
		}
		if check.Report(l.expect()).Gaps == 0 {
			return fmt.Errorf("no gap in %d entries", check.Entries())
		}
		return nil
	})
}

func (c *collector) report(l *logger) lines.Report {
	c.t.Helper()
	check, err := c.check(l)
	if err != nil {
		c.t.Fatal(err)
	}
	return check.Report(l.expect())
}

// awaitOr repeats f until it returns nil; the last error goes to failed.
func (c *collector) awaitOr(f func() error, failed func(error)) {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			failed(err)
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}
