package podlogs

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run TestRandomFaults with this seed only")
	seedsFlag = flag.Int("seeds", 0, "run TestRandomFaults with this many seeds")
)

// TestRandomFaults writes, rotates, restarts, deletes, cuts, refuses and kills
// at random, and then asks the judge: every line once and in order, or a gap
// entry at its place.
func TestRandomFaults(t *testing.T) {
	seeds := 25
	if testing.Short() {
		seeds = 6
	}
	if *seedsFlag > 0 {
		seeds = *seedsFlag
	}
	for seed := range uint64(seeds) {
		if *seedFlag != 0 && seed != *seedFlag {
			continue
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			simulate(t, func(t *testing.T, k *cluster, m *memory) {
				(&chaos{T: t, k: k, m: m, r: rand.New(rand.NewPCG(seed, 1)), faulty: rand.New(rand.NewPCG(seed, 2))}).run()
			})
		})
	}
}

// chaos is one random history.
type chaos struct {
	*testing.T
	k *cluster
	m *memory
	r *rand.Rand
	// faulty is used under the cluster's lock.
	faulty *rand.Rand
	c      *collecting
	pods   []*fakePod // also those that are gone
	name   int
	// faults is the chance of a fault per request, in percent.
	faults int
	// change is applied to every collector's options, if it is set.
	change func(*Options)
	// started is called for every collector, if change is set.
	started func(*collecting)
	// noGaps says that nothing can be missing.
	noGaps bool
}

func (x *chaos) run() {
	x.k.bodyFault, x.k.openFault = x.body, x.refuse
	for range 2 {
		x.addPod()
	}
	x.c = x.start()
	for range 150 {
		x.act()
		time.Sleep(time.Duration(x.r.Int64N(int64(4 * time.Second))))
	}
	x.k.mu.Lock()
	x.faults = 0
	x.k.mu.Unlock()
	if x.c == nil {
		x.c = x.start()
	}
	pass(5 * time.Minute)
	// A gap is written before the line that follows it.
	for _, p := range x.pods {
		for name := range p.containers {
			x.k.number(p, name, 1)
		}
	}
	pass(5 * time.Minute)
	x.c.stop()
	gaps := 0
	for _, p := range x.pods {
		for name := range p.containers {
			gaps += x.judge(p, name)
		}
	}
	if x.noGaps && gaps > 0 {
		x.Errorf("%d gaps: %v", gaps, x.m.gaps())
	}
	x.Logf("%d pods, %d appends, %d gaps, requests %v", len(x.pods), x.m.appends, gaps, x.k.opens)
	if x.k.openStream != 0 {
		x.Errorf("%d streams left open", x.k.openStream)
	}
}

func (x *chaos) start() *collecting {
	if x.change == nil {
		return startCollector(x.T, x.k, x.m)
	}
	c := startCollector(x.T, x.k, x.m, x.change)
	x.started(c)
	return c
}

func (x *chaos) addPod() {
	x.name++
	x.pods = append(x.pods, x.k.addPod(fmt.Sprintf("pod%d", x.name), "a", "b"))
}

// pick chooses a container of a living pod.
func (x *chaos) pick() (*fakePod, string) {
	var alive []*fakePod
	for _, p := range x.pods {
		if !p.gone {
			alive = append(alive, p)
		}
	}
	if len(alive) == 0 {
		x.addPod()
		return x.pods[len(x.pods)-1], "a"
	}
	return alive[x.r.IntN(len(alive))], string(rune('a' + x.r.IntN(2)))
}

func (x *chaos) act() {
	p, name := x.pick()
	run := p.containers[name].current
	switch n := x.r.IntN(100); {
	case n < 45:
		x.k.number(p, name, 1+x.r.IntN(20))
	case n < 55 && run.running && time.Since(run.started) > rotationInterval && len(run.files[len(run.files)-1].lines) >= 12:
		x.k.rotate(p, name)
		time.Sleep(3 * time.Second) // the kubelet's interval is no shorter
	case n < 62:
		x.k.number(p, name, x.r.IntN(5))
		x.k.restart(p, name)
		if x.r.IntN(2) == 0 {
			x.k.number(p, name, 1+x.r.IntN(5))
		}
	case n < 65 && run.running:
		x.k.number(p, name, x.r.IntN(3))
		x.k.exit(p, name)
	case n < 68:
		x.delete(p)
	case n < 73 && len(x.pods) < 8:
		x.addPod()
	case n < 80:
		x.k.cut([]error{io.EOF, errors.New("connection reset")}[x.r.IntN(2)])
	case n < 86:
		x.k.mu.Lock()
		x.faults = []int{0, 0, 20, 60}[x.r.IntN(4)]
		x.k.mu.Unlock()
	case n < 90:
		x.m.mu.Lock()
		x.m.fail = errors.New("disk full")
		x.m.mu.Unlock()
		x.k.number(p, name, 3)
		time.Sleep(time.Duration(x.r.Int64N(int64(10 * time.Second))))
		x.m.mu.Lock()
		x.m.fail = nil
		x.m.mu.Unlock()
	case n < 97:
		x.crash()
	}
}

// crash stops or kills the collector, or starts it again.
func (x *chaos) crash() {
	switch {
	case x.c == nil:
		x.c = x.start()
	case x.r.IntN(2) == 0:
		x.c.stop()
		x.c = nil
	default:
		x.c.kill()
		x.c = nil
	}
	if x.c == nil && x.r.IntN(3) > 0 {
		time.Sleep(time.Duration(x.r.Int64N(int64(5 * time.Second))))
		x.c = x.start()
	}
}

func (x *chaos) delete(p *fakePod) {
	if x.r.IntN(3) > 0 {
		x.k.terminate(p)
		time.Sleep(time.Duration(x.r.Int64N(int64(2 * time.Second))))
		x.k.number(p, "a", x.r.IntN(3))
		for name := range p.containers {
			if p.containers[name].current.running {
				x.k.exit(p, name)
			}
		}
		time.Sleep(time.Duration(x.r.Int64N(int64(2 * time.Second))))
	}
	x.k.remove(p)
	x.k.mu.Lock()
	for _, c := range p.containers {
		c.current.running = false
	}
	p.touch()
	x.k.mu.Unlock()
}

// body is called with the cluster's lock.
func (x *chaos) body(o *corev1.PodLogOptions) *bodyFault {
	if x.faulty.IntN(100) >= x.faults {
		return nil
	}
	f := &bodyFault{after: x.faulty.IntN(300), err: io.EOF}
	switch x.faulty.IntN(6) {
	case 0:
		f.err = errors.New("connection lost")
	case 1:
		f.text = "failed to create fsnotify watcher: too many open files"
	case 2:
		f.text = "unable to retrieve container logs for containerd://abc"
	case 3:
		traceOp("stuck for %s", o.Container)
		return &bodyFault{after: -1, stuck: o.Follow}
	}
	traceOp("fault %+v for %s", *f, o.Container)
	return f
}

func (x *chaos) refuse(*corev1.PodLogOptions) error {
	if x.faulty.IntN(100) >= x.faults/2 {
		return nil
	}
	switch x.faulty.IntN(4) {
	case 0:
		return errors.New("dial tcp: connection refused")
	case 1:
		return apierrors.NewInternalError(errors.New("Get https://node:10250: dial tcp: i/o timeout"))
	case 2:
		return apierrors.NewBadRequest("container is waiting to start: ContainerCreating")
	}
	return apierrors.NewGenericServerResponse(404, "get", schema.GroupResource{Resource: "pods"}, "x", "pod does not exist", 0, true)
}

// lineID is the number on a line of cluster.number.
type lineID struct{ run, seq int }

// judge checks one container's stream against what was written, and returns
// the number of gaps.
func (x *chaos) judge(p *fakePod, container string) (gaps int) {
	x.Helper()
	var all []lineID
	index := make(map[lineID]int)
	fileStart := make(map[lineID]bool)
	for _, run := range p.containers[container].runs {
		for _, f := range run.files {
			for i, l := range f.lines {
				id := parseID(x.T, l.text)
				index[id] = len(all)
				fileStart[id] = i == 0
				all = append(all, id)
			}
		}
	}
	instance := "default/" + p.pod.Name + ":" + container
	stored := x.m.lines(instance)
	next, gap, seen := 0, false, false
	for _, text := range stored {
		if strings.HasPrefix(text, "<") {
			gap = true
			gaps++
			continue
		}
		id := parseID(x.T, text)
		at, ok := index[id]
		switch {
		case !ok:
			x.Errorf("%s: line %q was never written", instance, text)
			return gaps
		case at < next:
			x.Errorf("%s: line %q is doubled or out of order\nstored: %v", instance, text, stored)
			return gaps
		case at > next && !gap && (seen || !fileStart[id]):
			x.Errorf("%s: lines %v are missing before %q without a gap\nstored: %v", instance, all[next:at], text, stored)
			return gaps
		}
		next, gap, seen = at+1, false, true
	}
	live := p.containers[container].current.files
	readable := !p.gone && len(live[len(live)-1].lines) > 0
	if next < len(all) && !gap && (seen || readable) {
		x.Errorf("%s: lines %v are missing at the end without a gap (pod gone: %v)\nstored: %v", instance, all[next:], p.gone, stored)
	}
	return gaps
}

func parseID(t *testing.T, text string) lineID {
	t.Helper()
	run, seq, _ := strings.Cut(text, "/")
	a, err1 := strconv.Atoi(run)
	b, err2 := strconv.Atoi(seq)
	if err1 != nil || err2 != nil {
		t.Fatalf("stored line %q is none of ours", text)
	}
	return lineID{a, b}
}
