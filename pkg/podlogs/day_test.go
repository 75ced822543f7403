package podlogs

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestDay runs a day of a small node: some containers log every few seconds,
// most now and then, some once in hours, and there are fewer follows than
// containers. The kubelet cuts every follow after 4 hours, and something on the
// way every silent one after 10 minutes. Nothing is lost, doubled or called a gap, the
// number of requests stays small, and no stream remains.
func TestDay(t *testing.T) {
	const (
		pods      = 20
		followCap = 12
		day       = 24 * time.Hour
	)
	simulate(t, func(t *testing.T, k *cluster, m *memory) {
		x := &chaos{T: t, k: k, m: m, r: rand.New(rand.NewPCG(24, 1))}
		k.maxFollow, k.maxSilence = 4*time.Hour, 10*time.Minute
		var pause []time.Duration // mean time between lines, by pod
		for i := range pods {
			x.addPod()
			pause = append(pause, []time.Duration{20 * time.Second, 15 * time.Minute, 15 * time.Minute, 3 * time.Hour}[i%4])
		}
		c := startCollector(t, k, m, func(o *Options) { o.NodeFollowCap = followCap })
		begin, rotations := time.Now(), 0
		due := make([]time.Time, pods)
		for time.Since(begin) < day {
			time.Sleep(5 * time.Second)
			for i, p := range x.pods {
				if now := time.Now(); now.After(due[i]) {
					name := string(rune('a' + x.r.IntN(2)))
					k.number(p, name, 1+x.r.IntN(3))
					due[i] = now.Add(time.Duration(float64(pause[i]) * x.r.ExpFloat64()))
					if x.r.IntN(200) == 0 && following(c, p.pod.Name, name) {
						k.rotate(p, name)
						rotations++
					}
				}
			}
		}
		pass(2 * time.Minute)
		if n := c.Status().Targets[StateFollowing]; n > followCap {
			t.Errorf("%d follows on a node that has %d to give", n, followCap)
		}
		c.stop()
		gaps, lines := 0, 0
		for _, p := range x.pods {
			for name := range p.containers {
				gaps += x.judge(p, name)
				lines += len(m.lines("default/" + p.pod.Name + ":" + name))
			}
		}
		if gaps > 0 {
			t.Errorf("%d gaps on a day without a fault", gaps)
		}
		if k.openStream != 0 {
			t.Errorf("%d streams left open", k.openStream)
		}
		// 2 opens an hour and container renew and reopen what is cut; a poll a
		// minute and container is what the interval grows to, and comes more often
		// after a line; a poll that sees a line reads.
		for kind, most := range map[string]int{"follow": 24 * 2 * 2 * pods, "catchup": 24 * 4 * 2 * pods, "probe": 24 * 75 * 2 * pods} {
			if k.opens[kind] > most {
				t.Errorf("%d requests of the kind %s, more than %d", k.opens[kind], kind, most)
			}
		}
		if rotations < 10 || k.opens["follow"] < 100 {
			t.Errorf("only %d rotations, %d follows: the day was too quiet", rotations, k.opens["follow"])
		}
		t.Logf("%s: %d lines, %d rotations, requests %v", time.Since(begin), lines, rotations, k.opens)
	})
}

// following says whether the container's log is being followed.
func following(c *collecting, pod, container string) bool {
	for _, s := range c.Targets() {
		if s.Pod == pod && s.Container == container {
			return s.State == StateFollowing
		}
	}
	return false
}
