package podlogs

import (
	"context"
	"errors"
)

// maxDrainFailures is how many refusals of an ended run's log are taken as
// final: its files are gone.
const maxDrainFailures = 6

// drain reads a run that has ended, to its end, and marks it done.
//
// Three things make the end certain: the status maps to the same run after the
// read, the last record of the file (read again from behind) is among the lines
// read, and only then is a last line without newline believed to be whole.
func (t *target) drain(ctx context.Context, v *containerView, inst instance, previous bool) error {
	t.setState(StateDraining, "")
	r := t.newReading(ctx, v)
	defer r.close()
	err := t.drainOnce(r.ctx, v, r, inst, previous)
	if err == nil {
		t.failures, t.tail = 0, tailCheck{}
		t.retry.reset()
		return nil
	}
	if isTransient(err) || ctx.Err() != nil {
		return err
	}
	if t.failures++; t.failures < maxDrainFailures {
		return err
	}
	return t.giveUp(ctx, v, inst, err)
}

func (t *target) drainOnce(ctx context.Context, v *containerView, r *reading, inst instance, previous bool) error {
	end, proven, err := t.catchUp(ctx, v, r, previous)
	if err != nil {
		return errors.Join(err, r.finishQuietly())
	}
	newest, err := t.probeTail(ctx, v, previous)
	if err != nil {
		return errors.Join(err, r.finishQuietly())
	}
	if err := t.confirmEnd(r, &end, newest); err != nil {
		return errors.Join(err, r.finishQuietly())
	}
	if !proven && !t.stillServes(ctx, v, inst, previous) {
		return errors.Join(errInstanceMoved, r.finishQuietly())
	}
	if end.hasTail {
		line := end.tail.line()
		if err := r.accept(&line); err != nil {
			return err
		}
	}
	if r.late && !r.cur.anchor.valid() && r.gap == nil && inst.ended.Sub(inst.started) > rotationInterval {
		r.gap = &gap{reason: GapRotatedAway, from: inst.started.UnixNano(), container: inst.id}
	}
	if r.gap != nil { // the file after the rotation stayed empty
		g := *r.gap
		g.to = endOfSecond(inst.ended)
		r.gap = nil
		r.addGap(g)
	}
	r.done, r.last = true, v.last && !previous
	return r.end()
}

// finishQuietly stores the lines of a read that did not come to its end.
func (r *reading) finishQuietly() error {
	return errors.Join(r.flush(), r.wait())
}

// confirmEnd compares the end of a read with the newest record of the file. nil
// means that the read came to the end.
func (t *target) confirmEnd(r *reading, end *ending, newest *record) error {
	last := end.last
	if end.hasTail {
		last = end.tail
	}
	switch {
	case newest == nil && !end.any && !end.hasTail:
		return nil
	case newest == nil:
	case last.stamped && newest.sameAs(last) && newest.open == last.open:
		return nil
	case last.stamped && last.open && newest.open && last.endsAs(*newest):
		return nil // an unterminated line is the only one without a newline
	default:
		t.tail.failed(*newest, r.cur.anchor)
		enough := 10 * tailChecks
		if last.stamped && last.endsAs(*newest) {
			enough = tailChecks
		}
		if t.tail.times >= enough && end.inbandTail() == nil {
			if enough > tailChecks && r.gap == nil {
				r.gap = &gap{reason: GapUnavailable, from: r.cur.anchor.ts, container: r.cur.instance}
			}
			return nil
		}
	}
	if err := end.inbandTail(); err != nil {
		return err
	}
	return errUnverified
}

// stillServes says whether the status maps to the same run of the same pod as
// before the read.
func (t *target) stillServes(ctx context.Context, v *containerView, inst instance, previous bool) bool {
	if !previous && !v.last {
		if sleep(ctx, settle) != nil {
			return false
		}
	}
	fresh := t.refresh(ctx, v)
	switch {
	case t.isReplaced():
		return false
	case v.last:
		return true // no run follows
	case previous:
		return fresh.previous.id == inst.id
	}
	return fresh.current.id == inst.id
}

// giveUp marks a run done whose log cannot be read any more. It is a gap if the
// run was known while it could be read.
func (t *target) giveUp(ctx context.Context, v *containerView, inst instance, cause error) error {
	r := t.newReading(ctx, v)
	defer r.close()
	pos, unread := r.cur.position, inst.started.After(t.c.began) && inst.ran()
	if pos.anchor.valid() || r.gap != nil || unread {
		reason := GapUnavailable
		if v.evicted {
			reason = GapEvicted
		}
		g := gap{reason: reason, from: pos.anchor.ts, to: endOfSecond(inst.ended), container: inst.id}
		if !pos.anchor.valid() && unread {
			g.from = inst.started.UnixNano()
		}
		left := t.fillLost(ctx, v, r, g, inst.restart+1)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.gap = nil
		if left != nil {
			r.addGap(*left)
		}
	}
	t.c.log.warn("giveup "+t.key.String(), "the log of an ended container can no longer be read", "target", t.name(), "err", cause)
	r.done, r.last = true, v.last && inst.id == v.current.id
	t.failures = 0
	return r.end()
}
