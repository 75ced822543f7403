package podlogs

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	pollFirst = 2 * time.Second
	pollMax   = 60 * time.Second
)

// poll looks at the end of the log from time to time, until a follow slot is
// free or the status changes. One short request costs the node no inotify
// instance; the file is read only when its newest record is not known.
func (t *target) poll(ctx context.Context, v *containerView, inst instance) error {
	t.setState(StatePolling, "")
	t.c.limits.polled.Add(1)
	defer t.c.limits.polled.Add(-1)
	interval, busy := pollFirst, false
	defer func() { t.c.limits.setBusy(busy, false) }()
	for {
		pause := max(interval, t.c.limits.pollPause(busy))
		timer := time.NewTimer(pause*8/10 + rand.N(pause*4/10))
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-t.changed:
			timer.Stop()
			now, deleted := t.snapshot()
			if deleted || now.terminating || now.current.id != inst.id || now.current.finished {
				return errChanged
			}
			v = now // its labels may have changed
			continue
		case <-timer.C:
		}
		if t.filesBack(v) {
			return errChanged
		}
		if err := t.queue(ctx, v, "probe"); err != nil {
			return err
		}
		var newest *record
		var err error
		apart(func() { newest, err = t.probeTail(ctx, v, false) })
		if err != nil {
			return err
		}
		t.retry.reset()
		if newest == nil {
			t.stillEmpty()
		}
		if t.mayFollow(v, false) {
			return errChanged // a slot is free
		}
		if newest == nil || newest.open || newest.is(t.position().anchor) || t.tail.settled(*newest, t.position().anchor) {
			interval = min(interval*3/2, pollMax)
			busy = t.c.limits.setBusy(busy, false)
			continue
		}
		interval = pollFirst
		busy = t.c.limits.setBusy(busy, true)
		before := t.position().anchor
		if err := t.queue(ctx, v, "poll"); err != nil {
			return err
		}
		if _, err := t.catchUpApart(ctx, v); err != nil {
			return err
		}
		if t.position().anchor == before {
			t.tail.failed(*newest, before)
			t.noSince = t.noSince || newest.ts < before.ts
		}
		if t.mayFollow(v, true) {
			return errChanged
		}
	}
}

// mayFollow says whether read would get a follow slot now.
func (t *target) mayFollow(v *containerView, evict bool) bool {
	if t.pastLive() || time.Now().Before(t.noFollowUntil) || !t.c.limits.acquireFollow(t, v.node, false, evict) {
		return false
	}
	t.c.limits.releaseFollow(t, v.node)
	return true
}

// stillEmpty notes that the live file has no line.
func (t *target) stillEmpty() {
	now, last := time.Now(), t.position().anchor
	if t.fresh == last {
		t.freshAt = now
	}
	if last.valid() || t.contact.IsZero() {
		return
	}
	t.mu.Lock()
	t.contact = now
	t.mu.Unlock()
	t.c.touched(t.key)
}
