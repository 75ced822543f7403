package podlogs

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"
)

// TestShareRandom lets replicas come, go, crash, lose their Leases and each other
// at random, while containers write, rotate, restart and vanish. Every line is
// found once, or a gap says that it may be missing.
func TestShareRandom(t *testing.T) {
	seeds := 20
	if testing.Short() {
		seeds = 5
	}
	if *seedsFlag > 0 {
		seeds = *seedsFlag
	}
	for seed := range uint64(seeds) {
		if *seedFlag != 0 && seed != *seedFlag {
			continue
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			share(t, 3, func(x *fleet) {
				(&fleetChaos{fleet: x, r: rand.New(rand.NewPCG(seed, 3))}).run()
			})
		})
	}
}

// fleetChaos is one random history of a fleet.
type fleetChaos struct {
	*fleet
	r    *rand.Rand
	pods []*fakePod
	name int
	// rotations says whether anything that may lose lines happens to containers.
	rotations bool
}

func (x *fleetChaos) run() {
	x.rotations = x.r.IntN(3) > 0
	for range 6 {
		x.addPod()
	}
	for _, r := range x.replicas {
		r.start()
		time.Sleep(time.Duration(x.r.Int64N(int64(3 * time.Second))))
	}
	for range 120 {
		x.act()
		time.Sleep(time.Duration(x.r.Int64N(int64(3 * time.Second))))
	}
	for i, r := range x.replicas {
		r.isolate(false)
		for _, o := range x.replicas[i+1:] {
			x.disconnect(r, o, false)
		}
		r.start()
	}
	pass(5 * time.Minute)
	x.each(func(p *fakePod, name string) { x.k.number(p, name, 1) }) // a gap is written before the next line
	pass(5 * time.Minute)
	x.owners()
	for _, r := range x.replicas {
		r.end()
	}
	gaps, written := 0, 0
	x.each(func(p *fakePod, name string) {
		found := x.judge(p, name)
		gaps += len(found)
		for _, g := range found {
			// Nobody may have read a run in its first seconds, and who comes later
			// cannot know that its file was not rotated.
			start := p.containers[name].current.started.UTC().Format(time.RFC3339Nano)
			if !x.rotations && g.Metadata.Get(MetaGapFrom) != start {
				x.Errorf("%s:%s has a gap although nothing could be lost: %s", p.pod.Name, name, describeGaps(found))
			}
		}
		for _, run := range p.containers[name].runs {
			written += run.seq
		}
	})
	x.Logf("%d pods, %d lines, %d stored, %d gaps", len(x.pods), written, x.stored(), gaps)
	for _, r := range x.replicas {
		for key := range r.mem.marks {
			if k, _, ok := parseCopyKey(key); ok && x.isGone(k.uid) {
				x.Errorf("%s keeps the copy %s of a pod that is gone", r.name, key)
			}
			if k, _, ok := parseMarkKey(key); ok && x.isGone(k.uid) {
				x.Errorf("%s keeps the mark %s of a pod that is gone", r.name, key)
			}
		}
	}
}

func (x *fleetChaos) isGone(uid string) bool {
	for _, p := range x.pods {
		if string(p.pod.UID) == uid {
			return p.gone
		}
	}
	return true
}

func (x *fleetChaos) each(f func(p *fakePod, name string)) {
	for _, p := range x.pods {
		for _, c := range p.pod.Spec.Containers {
			f(p, c.Name)
		}
	}
}

func (x *fleetChaos) addPod() {
	x.name++
	x.pods = append(x.pods, x.k.addPodOn(fmt.Sprintf("node-%d", x.r.IntN(3)), fmt.Sprintf("pod%d", x.name), "a", "b"))
}

func (x *fleetChaos) act() {
	for range 1 + x.r.IntN(3) {
		if p, name := x.pick(); p != nil {
			x.k.number(p, name, 1+x.r.IntN(15))
		}
	}
	p, name := x.pick()
	r := x.replicas[x.r.IntN(len(x.replicas))]
	other := x.replicas[x.r.IntN(len(x.replicas))]
	switch n := x.r.IntN(100); {
	case n < 30 && x.rotations && p != nil:
		x.disturb(p, name)
	case n < 36 && len(x.pods) < 14:
		x.addPod()
	case n < 40:
		x.k.cut([]error{io.EOF, errors.New("connection reset")}[x.r.IntN(2)])
	case n < 50:
		r.end()
	case n < 60:
		r.crash()
	case n < 75:
		r.start()
	case n < 80:
		r.isolate(true)
	case n < 86:
		r.isolate(false)
	case n < 90 && r != other:
		x.disconnect(r, other, true)
	case n < 96 && r != other:
		x.disconnect(r, other, false)
	}
}

// disturb does to a container what may lose lines while nobody reads.
func (x *fleetChaos) disturb(p *fakePod, name string) {
	run := p.containers[name].current
	switch n := x.r.IntN(10); {
	case n < 5 && run.running && len(run.files[len(run.files)-1].lines) >= 12 && x.found(p, name, run.restart):
		x.k.rotate(p, name)
		time.Sleep(3 * time.Second)
	case n < 8:
		x.k.restart(p, name)
		x.k.number(p, name, x.r.IntN(5))
	case n < 9 && run.running:
		x.k.exit(p, name)
	default:
		x.delete(p)
	}
}

// found says whether anything of a run is stored. An empty log that was not read
// for a short time is taken for the same file, see emptyLapse: files do not fill
// so fast.
func (x *fleetChaos) found(p *fakePod, name string, run int32) bool {
	for _, e := range x.merged("default/" + p.pod.Name + ":" + name) {
		if e.Metadata.Get(MetaGap) == "" && parseID(x.T, e.Line).run == int(run) {
			return true
		}
	}
	return false
}

func (x *fleetChaos) delete(p *fakePod) {
	x.k.terminate(p)
	time.Sleep(time.Duration(x.r.Int64N(int64(2 * time.Second))))
	for name, c := range p.containers {
		x.k.number(p, name, x.r.IntN(3))
		if c.current.running {
			x.k.exit(p, name)
		}
	}
	time.Sleep(time.Duration(x.r.Int64N(int64(2 * time.Second))))
	x.k.remove(p)
	x.k.mu.Lock()
	for _, c := range p.containers {
		c.current.running = false
	}
	p.touch()
	x.k.mu.Unlock()
}

func (x *fleetChaos) pick() (*fakePod, string) {
	var alive []*fakePod
	for _, p := range x.pods {
		if !p.gone {
			alive = append(alive, p)
		}
	}
	if len(alive) == 0 {
		return nil, ""
	}
	return alive[x.r.IntN(len(alive))], string(rune('a' + x.r.IntN(2)))
}
