package server

import (
	"cmp"
	"slices"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/logql/engine"
)

// maxHeld is how many entries wait for their delay at most; beyond it the first
// are let go early.
const maxHeld = 10_000

// delayed holds live entries back for a while, so that those of slow sources
// come in the order of time: what delay_for asks for. It is used by one goroutine.
type delayed struct {
	delay time.Duration
	held  []heldEntry // in the order of arrival
	timer *time.Timer // runs while held has entries
}

type heldEntry struct {
	arrived time.Time
	engine.LiveEntry
}

// newDelayed returns one that holds nothing. A delay of 0 lets everything pass.
func newDelayed(delay time.Duration) *delayed {
	d := &delayed{delay: delay, timer: time.NewTimer(time.Hour)}
	d.timer.Stop()
	return d
}

// pass takes new entries and returns those to be sent now.
func (d *delayed) pass(list []engine.LiveEntry) []engine.LiveEntry {
	if d.delay == 0 {
		return list
	}
	now := time.Now()
	if len(d.held) == 0 && len(list) > 0 {
		d.timer.Reset(d.delay)
	}
	for _, e := range list {
		d.held = append(d.held, heldEntry{now, e})
	}
	if over := len(d.held) - maxHeld; over > 0 {
		return d.take(over)
	}
	return nil
}

// due returns the entries that have waited long enough, when the timer fires.
func (d *delayed) due() []engine.LiveEntry {
	latest := time.Now().Add(-d.delay)
	n := 0
	for n < len(d.held) && !d.held[n].arrived.After(latest) {
		n++
	}
	out := d.take(n)
	if len(d.held) > 0 {
		d.timer.Reset(time.Until(d.held[0].arrived.Add(d.delay)))
	}
	return out
}

// all returns what is still held.
func (d *delayed) all() []engine.LiveEntry { return d.take(len(d.held)) }

// take removes the first n entries and all that are no younger than the
// youngest of them, and returns them by time.
func (d *delayed) take(n int) []engine.LiveEntry {
	if n == 0 {
		return nil
	}
	last := slices.MaxFunc(d.held[:n], func(a, b heldEntry) int { return cmp.Compare(a.Timestamp, b.Timestamp) }).Timestamp
	var out []engine.LiveEntry
	kept := d.held[:0]
	for _, e := range d.held {
		if e.Timestamp <= last {
			out = append(out, e.LiveEntry)
		} else {
			kept = append(kept, e)
		}
	}
	clear(d.held[len(kept):])
	d.held = kept
	slices.SortStableFunc(out, func(a, b engine.LiveEntry) int { return cmp.Compare(a.Timestamp, b.Timestamp) })
	return out
}
