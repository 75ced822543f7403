package podlogs

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
)

// mistaken looks for an anchor, that the previous run's file does not have, in
// the present run's: that run was then read under the name of the one before,
// because the container was restarted in the moment between the pod's status and
// the opening of its log. What the previous run wrote was passed over and is
// fetched now; what cannot be had is marked as lost.
func (t *target) mistaken(ctx context.Context, v *containerView, r *reading) (bool, error) {
	fresh, _ := t.snapshot()
	a := r.cur.anchor
	if !fresh.current.exists() || a.ts < fresh.current.started.Add(-promptStart).UnixNano() {
		return false, nil
	}
	f := finder{want: a}
	found := false
	_, err := t.scan(ctx, v, "catchup", &corev1.PodLogOptions{SinceTime: sinceAnchor(a)}, func(line *rawLine) error {
		found = found || line.stamped && f.is(line)
		return nil
	})
	if err != nil || !found {
		return false, err
	}
	g := gap{reason: GapInstanceLost, from: v.previous.started.UnixNano(), to: endOfSecond(v.previous.ended), container: r.cur.instance}
	if t.sure.valid() {
		g.from = t.sure.ts
	}
	missed := t.sureKnown && t.fetchMissed(ctx, v, r) == nil
	// Until here the position was the old one: a crash leaves a gap, not doubles.
	r.cur.position = position{instance: fresh.current.id, restart: fresh.current.restart, anchor: a}
	if !missed {
		r.addGap(g)
	} else if r.piece == nil {
		r.piece = newPiece(0)
	}
	return true, r.finishQuietly()
}

// fetchMissed stores what the previous run wrote after the last line that surely
// is its own. The file is read twice: only if the first time shows all of it, is
// anything taken, for nothing may be taken twice.
func (t *target) fetchMissed(ctx context.Context, v *containerView, r *reading) error {
	for _, take := range []bool{false, true} {
		f, found := finder{want: t.sure}, !t.sure.valid()
		end, err := t.scan(ctx, v, "catchup", &corev1.PodLogOptions{Previous: true}, func(line *rawLine) error {
			switch {
			case !found:
				found = line.stamped && f.is(line)
				return nil
			case take && line.stamped:
				return r.insert(line)
			}
			return nil
		})
		if err == nil {
			err = end.inbandTail()
		}
		if err != nil {
			return err
		}
		if !found {
			return errIncomplete
		}
		if fresh := t.refresh(ctx, v); fresh.previous.id != r.cur.instance {
			return errInstanceMoved
		}
		if take && end.hasTail {
			line := end.tail.line()
			return r.insert(&line)
		}
	}
	return nil
}

// errNotOurs is what insert answers to a line without a time.
var errNotOurs = errors.New("a line without a timestamp")

// insert adds a line that does not move the position.
func (r *reading) insert(line *rawLine) error {
	if !line.stamped {
		return errNotOurs
	}
	if err := r.room(len(line.text)); err != nil {
		return err
	}
	r.piece.add(line.ts, line.text, r.meta(line))
	r.lines++
	r.bytes += int64(len(line.text))
	return nil
}
