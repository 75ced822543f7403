package podlogs

import (
	"context"
	"errors"
	"strings"
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
		t.failures, t.checkedTail = 0, record{}
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
	if !t.endConfirmed(&end, newest) {
		err := end.inbandTail()
		if err == nil {
			err = errUnverified
		}
		return errors.Join(err, r.finishQuietly())
	}
	if !proven && !t.stillServes(ctx, v, inst, previous) {
		return errors.Join(errInstanceMoved, r.finishQuietly())
	}
	if end.hasTail {
		line := rawLine{ts: end.tail.ts, hash: end.tail.hash, stamped: true, text: []byte(end.tail.text), full: end.tail.full}
		if err := r.accept(&line); err != nil {
			return err
		}
	}
	if r.gap != nil { // the file after the rotation stayed empty
		g := *r.gap
		g.to = unixNano(inst.ended)
		r.gap = nil
		r.addGap(g)
	}
	r.done = true
	return r.end()
}

// finishQuietly stores the lines of a read that did not come to its end.
func (r *reading) finishQuietly() error {
	return errors.Join(r.flush(), r.wait())
}

// endConfirmed compares the end of a read with the newest record of the file.
func (t *target) endConfirmed(end *ending, newest *record) bool {
	switch {
	case newest == nil:
		return !end.any && !end.hasTail
	case end.hasTail:
		// The probe shows the last fragment of a line that may have had many.
		if end.tail.stamped && newest.text != "" && newest.ts >= end.tail.ts && strings.HasSuffix(end.tail.text, newest.text) {
			return true
		}
	case end.any && newest.equal(end.last):
		return true
	}
	// Fragments and spliced lines look different from behind. A file that shows
	// the same end twice, after a read from the anchor on, has that end.
	if t.checkedTail == *newest {
		return end.inbandTail() == nil
	}
	t.checkedTail = *newest
	return false
}

// stillServes says whether the status maps to the same run as before the read.
func (t *target) stillServes(ctx context.Context, v *containerView, inst instance, previous bool) bool {
	if v.last {
		return true // no run follows
	}
	if !previous {
		if sleep(ctx, settle) != nil {
			return false
		}
	}
	fresh := t.refresh(ctx, v)
	if previous {
		return fresh.previous.id == inst.id
	}
	return fresh.current.id == inst.id
}

// giveUp marks a run done whose log cannot be read any more. It is a gap if the
// run was known while it could be read.
func (t *target) giveUp(ctx context.Context, v *containerView, inst instance, cause error) error {
	r := t.newReading(ctx, v)
	defer r.close()
	if pos := r.cur.position; pos.anchor.valid() || r.gap != nil {
		reason := GapUnavailable
		if v.evicted {
			reason = GapEvicted
		}
		g := gap{reason: reason, from: pos.anchor.ts, to: unixNano(inst.ended), container: inst.id}
		r.gap = nil
		r.addGap(g)
	}
	t.c.log.warn("giveup "+t.key.String(), "the log of an ended container can no longer be read", "target", t.name(), "err", cause)
	r.done = true
	t.failures = 0
	return r.end()
}
