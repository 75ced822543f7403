package kubevents

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// settle lets everything that is due happen.
func settle() {
	time.Sleep(10 * time.Second)
	synctest.Wait()
}

func want(t *testing.T, m *memory, occurrences ...string) {
	t.Helper()
	slices.Sort(occurrences)
	if d := cmp.Diff(occurrences, m.occurrences()); d != "" {
		t.Errorf("stored (+), wanted (-):\n%s", d)
	}
}

func message(s string) func(*corev1.Event) { return func(e *corev1.Event) { e.Message = s } }

// TestOccurrences follows one event through its life.
func TestOccurrences(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newServer(), newMemory()
		s.occur("early", message("early"))
		c := start(t, s, m)
		settle()
		s.occur("a", message("a"))
		settle()
		s.occur("a")
		s.touch("a")
		settle()
		s.touch("a")
		s.occur("a")
		settle()
		want(t, m, "early#1", "a#1", "a#2", "a#3")
		s.expire("a")
		s.occur("b", message("b"))
		settle()
		want(t, m, "early#1", "a#1", "a#2", "a#3", "b#1")
		if marks := m.Marks(seenPrefix); len(marks) != 2 {
			t.Errorf("marks of events that are gone stay: %v", marks)
		}
		if st := c.Status(); !st.Synced || !st.Owner || st.Remembered != 2 || time.Since(st.Contact) > time.Minute {
			t.Errorf("%+v", st)
		}
		c.stop()
	})
}

// TestRestart stops the collector, lets things happen, and starts it again.
func TestRestart(t *testing.T) {
	for _, compacted := range []bool{false, true} {
		t.Run(fmt.Sprint(compacted), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, m := newServer(), newMemory()
				c := start(t, s, m)
				s.occur("a", message("a"))
				s.occur("b", message("b"))
				settle()
				c.stop()
				s.occur("a")
				s.occur("a")
				s.occur("c", message("c"))
				s.touch("b")
				if compacted {
					s.compact()
				}
				c = start(t, s, m)
				settle()
				c.stop()
				all := []string{"a#1", "b#1", "a#3", "c#1"}
				if !compacted {
					all = append(all, "a#2") // a list shows the last occurrence only
				}
				want(t, m, all...)
				c = start(t, s, m)
				settle()
				c.stop()
				want(t, m, all...)
			})
		})
	}
}

// TestExpired breaks the watch with 410, in both ways in which it comes.
func TestExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newServer(), newMemory()
		c := start(t, s, m)
		s.occur("a", message("a"))
		settle()
		s.cut(410)
		s.occur("a")
		settle()
		s.mu.Lock()
		s.version += 10
		s.mu.Unlock()
		s.compact()
		s.cut(0)
		s.occur("a")
		settle()
		c.stop()
		want(t, m, "a#1", "a#2", "a#3")
	})
}

// TestGap is silent for longer than events live.
func TestGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newServer(), newMemory()
		c := start(t, s, m)
		s.occur("a", message("a"))
		settle()
		c.stop()
		down := time.Now()
		time.Sleep(90 * time.Minute)
		s.expire("a")
		s.compact()
		c = start(t, s, m)
		settle()
		c.stop()
		want(t, m, "a#1", "<gap>")
		gap := m.entries[1]
		from, err := time.Parse(time.RFC3339Nano, gap.Metadata.Get(MetaGapFrom))
		if err != nil || from.After(down) || down.Sub(from) > time.Minute {
			t.Errorf("from %v, stopped at %v: %v", from, down, err)
		}
		c = start(t, s, m)
		settle()
		c.stop()
		want(t, m, "a#1", "<gap>") // once
	})
}

// TestNoGap watches a cluster in which nothing happens for a day, is down for
// less than events live, and resumes after longer where nothing is forgotten.
func TestNoGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newServer(), newMemory()
		c := start(t, s, m)
		s.occur("a", message("a"))
		time.Sleep(24 * time.Hour)
		c.stop()
		time.Sleep(45 * time.Minute)
		s.compact()
		c = start(t, s, m)
		settle()
		c.stop()
		time.Sleep(5 * time.Hour)
		s.occur("a")
		c = start(t, s, m)
		settle()
		c.stop()
		want(t, m, "a#1", "a#2")
	})
}

// TestOwner changes the owner, with and without a hand-over of marks.
func TestOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, first, second := newServer(), newMemory(), newMemory()
		owner := 1
		is := func(n int) func(*Options) {
			return func(o *Options) {
				o.Owner = func() bool {
					s.mu.Lock()
					defer s.mu.Unlock()
					return owner == n
				}
			}
		}
		a := start(t, s, first, is(1))
		b := start(t, s, second, is(2))
		move := func(n int) {
			s.mu.Lock()
			owner = n
			s.mu.Unlock()
		}
		s.occur("x", message("x"))
		settle()
		want(t, second)
		move(0)
		settle()
		s.occur("x")
		s.occur("y", message("y"))
		b.Adopt(a.Handover())
		move(2)
		settle()
		want(t, first, "x#1")
		want(t, second, "x#2", "y#1")
		move(1) // without a hand-over: what the other one stored is stored here too
		settle()
		want(t, first, "x#1", "x#2", "y#1")
		for _, e := range second.entries {
			if !slices.ContainsFunc(first.entries, func(o stored) bool {
				return o.Timestamp == e.Timestamp && o.Line == e.Line && o.labels.Hash() == e.labels.Hash()
			}) {
				t.Errorf("%s %s differs between the replicas", e.labels, e.Line)
			}
		}
		a.stop()
		b.stop()
	})
}

// TestTakeOver has each new owner ask the other replicas: nothing is stored twice,
// whoever was the owner in between, and nothing that one of them says is taken for
// newer than what is known.
func TestTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		owner := 0
		stores := []*memory{newMemory(), newMemory(), newMemory()}
		running := make([]*running, len(stores))
		run := func(i int) {
			running[i] = start(t, s, stores[i], func(o *Options) {
				o.Owner = func() bool {
					s.mu.Lock()
					defer s.mu.Unlock()
					return owner == i
				}
				o.TakeOver = func(context.Context) (all [][]model.Mark) {
					for j, r := range running {
						if j != i && r != nil {
							all = append(all, r.Handover())
						}
					}
					return all
				}
			})
		}
		for i := range stores {
			run(i)
		}
		move := func(n int) {
			s.mu.Lock()
			owner = n
			s.mu.Unlock()
			settle()
		}
		s.occur("x", message("x"))
		settle()
		for _, n := range []int{1, 2, 0, 2} {
			s.touch("x") // no occurrence, but another version
			move(-1)
			s.occur("x")
			move(n)
		}
		// Restarted, it knows what it took over, and what it said is in force.
		running[2].stop()
		running[0].stop()
		running[0], running[2] = nil, nil
		run(2)
		s.occur("y", message("y"))
		settle()
		want(t, stores[0], "x#1", "x#4")
		want(t, stores[1], "x#2")
		want(t, stores[2], "x#3", "x#5", "y#1")
		running[1].stop()
		running[2].stop()
	})
}

// TestForbidden has no right at first.
func TestForbidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newServer(), newMemory()
		s.forbidden["list shop"] = true
		c := start(t, s, m, func(o *Options) { o.Namespaces = []string{"shop", "bank"} })
		s.occur("a", message("a"))
		s.occur("b", message("b"), func(e *corev1.Event) { e.Namespace, e.InvolvedObject.Namespace = "bank", "bank" })
		settle()
		want(t, m, "b#1")
		p := c.Status().Problems
		if len(p) != 1 || !strings.Contains(p[0], `list events in namespace "shop"`) || !strings.Contains(p[0], "Role") {
			t.Errorf("%q", p)
		}
		if s.lists != 1 {
			t.Errorf("%d lists: a forbidden namespace was listed", s.lists)
		}
		s.mu.Lock()
		delete(s.forbidden, "list shop")
		s.mu.Unlock()
		time.Sleep(accessInterval)
		settle()
		want(t, m, "a#1", "b#1")
		if p := c.Status().Problems; len(p) != 0 {
			t.Errorf("%q", p)
		}
		c.stop()
	})
}

// TestRefused has a store that takes nothing for a while.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newServer(), newMemory()
		m.fail = func(int) error { return errRefused }
		c := start(t, s, m)
		for i := range 30 {
			s.occur(fmt.Sprint(i%20), message(fmt.Sprint(i%20)))
			time.Sleep(time.Second)
		}
		m.mu.Lock()
		m.fail = nil
		m.mu.Unlock()
		time.Sleep(2 * time.Minute)
		settle()
		c.stop()
		var all []string
		for i := range 20 {
			all = append(all, fmt.Sprintf("%d#%d", i, 1+(29-i)/20))
		}
		want(t, m, all...)
	})
}

// TestManyEvents remembers fewer events than there are.
func TestManyEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := newServer(), newMemory()
		few := func(o *Options) { o.MaxSeen = 100 }
		var all []string
		for i := range 250 {
			name := fmt.Sprintf("e%03d", i)
			s.occur(name, message(name))
			all = append(all, name+"#1")
		}
		c := start(t, s, m, few)
		settle()
		if n := c.Status().Remembered; n > 100 {
			t.Errorf("%d events are remembered", n)
		}
		s.occur("e000")
		all = append(all, "e000#2")
		settle()
		c.stop()
		s.compact()
		s.occur("e001")
		all = append(all, "e001#2")
		c = start(t, s, m, few)
		settle()
		want(t, m, all...)
		c.stop()

		// A restored etcd counts from the beginning.
		s.mu.Lock()
		s.version, s.history, s.compacted = 10, nil, 0
		clear(s.events)
		s.mu.Unlock()
		s.occur("new", message("new"))
		c = start(t, s, m, few)
		time.Sleep(10 * time.Minute)
		want(t, m, append(all, "new#1")...)
		c.stop()
	})
}

// TestKilledAtEveryWrite ends the process right before and right after each of
// its writes.
func TestKilledAtEveryWrite(t *testing.T) {
	for n := 1; n <= 12; n++ {
		for _, after := range []bool{false, true} {
			if n == 1 && !after {
				continue // nothing was ever stored: a list shows last occurrences only
			}
			synctest.Test(t, func(t *testing.T) {
				s, m := newServer(), newMemory()
				m.fail = func(call int) error {
					if call > n || call == n && !after {
						return errRefused // as if it were dead
					}
					return nil
				}
				c := start(t, s, m)
				var all []string
				for i := range 8 {
					name := fmt.Sprint(i % 3)
					s.occur(name, message(name))
					all = append(all, fmt.Sprintf("%s#%d", name, i/3+1))
					time.Sleep(4 * time.Second)
				}
				c.stop()
				m.fail = nil
				c = start(t, s, m)
				settle()
				c.stop()
				want(t, m, all...)
			})
		}
	}
}

// TestRandomFaults lets events occur, be edited and expire while the watch is
// cut, the history compacted, the store refuses or dies after any write, and
// the collector is restarted. Every occurrence is stored once, except those
// that a list cannot show; the last one of every event is always there.
func TestRandomFaults(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 15
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { chaos(t, seed) })
		})
	}
}

func chaos(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	s, m := newServer(), newMemory()
	s.replays = int(seed % 7)
	small := func(o *Options) { o.MaxSeen = 100 }
	c := start(t, s, m, small)
	occurred := make(map[string]bool)
	counts := make(map[string]int)
	last := make(map[string]string)
	var names []string
	compactions := seed%2 == 1
	for step := range 300 {
		time.Sleep(time.Duration(r.IntN(1500)) * time.Millisecond)
		switch n := r.IntN(100); {
		case n < 30 || len(names) == 0:
			name := fmt.Sprintf("n%03d", step)
			s.occur(name, message(name))
			names = append(names, name)
			counts[name] = 1
			last[name] = name + "#1"
			occurred[last[name]] = true
		case n < 60:
			name := names[r.IntN(len(names))]
			s.occur(name)
			counts[name]++
			last[name] = fmt.Sprintf("%s#%d", name, counts[name])
			occurred[last[name]] = true
		case n < 70:
			s.touch(names[r.IntN(len(names))])
		case n < 75:
			time.Sleep(4 * time.Minute) // the API server keeps them for an hour
			i := r.IntN(len(names))
			s.expire(names[i])
			names = slices.Delete(names, i, i+1)
		case n < 82:
			s.cut(0)
		case n < 85:
			s.cut(410)
		case n < 88 && compactions:
			s.compact()
		case n < 92:
			m.mu.Lock()
			from := m.calls
			m.fail = func(call int) error {
				if call <= from+2 {
					return errRefused
				}
				return nil
			}
			m.mu.Unlock()
		case n < 97:
			c.stop()
			c = start(t, s, m, small)
		case n < 99:
			s.mu.Lock()
			faults := 2
			s.listFault = func() error {
				if faults--; faults >= 0 {
					return errors.New("connection refused")
				}
				return nil
			}
			s.mu.Unlock()
		}
	}
	time.Sleep(3 * time.Minute)
	settle()
	c.stop()
	got := m.occurrences()
	have := make(map[string]bool)
	for i, o := range got {
		if !occurred[o] {
			t.Errorf("%s is stored and did not occur", o)
		}
		if i > 0 && got[i-1] == o {
			t.Errorf("%s is stored twice", o)
		}
		have[o] = true
	}
	missing := 0
	for o := range occurred {
		if !have[o] {
			missing++
		}
	}
	if missing > 0 && !compactions && s.lists == 1 {
		t.Errorf("%d occurrences are missing although events were listed only once", missing)
	}
	for name, o := range last {
		if !have[o] {
			t.Errorf("the last occurrence of %s is missing: %s", name, o)
		}
	}
}
