package podlogs

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

const (
	// stuckPatience is how long a record that a probe has seen may take to
	// arrive in the follow.
	stuckPatience = time.Second
)

// silences are the times after the last line at which the end of the file is
// probed; the last one repeats with jitter.
var silences = []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 5 * time.Minute}

// firstSilences are those of a new follow, until it is known to have been at the
// end of the file. A rotation
// between the kubelet's opening of the file and its first look at the directory
// leaves the follow on the old file until the next rotation, which may come
// after 10 seconds; what was written between is then skipped.
var firstSilences = []time.Duration{time.Second, 9 * time.Second, 30 * time.Second, 2 * time.Minute, 5 * time.Minute}

// blindSilences are those of a node whose kubelet does not notice rotations: it
// looks at files every 10 seconds.
var blindSilences = []time.Duration{2 * time.Second, 10 * time.Second, 30 * time.Second, 2 * time.Minute, 5 * time.Minute}

// follower watches over an open follow.
type follower struct {
	t      *target
	r      *reading
	view   *containerView
	inst   instance
	turn   turnLock
	s      *stream
	opened time.Duration
	// silences is the schedule of probes that watch goes by.
	silences []time.Duration
	// mature says that the follow has been at the end of the live file: from
	// then on the kubelet watches for rotations.
	mature bool
	// checked is the last line read before the last look at the head of the file.
	checked int64
	// empties counts looks at an empty live file since the line emptyAfter.
	empties    int
	emptyAfter anchor
}

// watch returns when the follow has ended, or why it is to be ended.
func (f *follower) watch(ctx context.Context) error {
	t := f.t
	begin := time.Now()
	defer func() { f.opened = time.Since(begin) }()
	renew := begin.Add(renewAfter + rand.N(renewJitter))
	lastData, probes := t.lastData.Load(), 0
	silent := begin
	f.silences = firstSilences
	var deadline, headDue time.Time
	timer := time.NewTimer(f.silence(0))
	defer timer.Stop()
	for {
		select {
		case <-f.s.done:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.back:
			return errSteppedBack
		case <-t.changed:
			var complete bool
			apart(func() { complete = f.complete(ctx) })
			if complete {
				return errComplete
			}
			if d := f.statusChanged(deadline); d != deadline {
				deadline = d
				timer.Reset(time.Until(d))
			}
			f.relabel()
			continue
		case <-f.s.grown:
			headDue = laterOf(time.Now(), headDue)
			timer.Reset(time.Until(headDue))
			continue
		case <-timer.C:
		}
		now := time.Now()
		if !deadline.IsZero() && !now.Before(deadline) {
			return errChanged
		}
		if data := t.lastData.Load(); data != lastData {
			lastData, probes, silent = data, 0, time.Unix(0, data)
			f.silences = f.schedule()
		}
		if !now.Before(renew) {
			var renewed bool
			apart(func() { renewed = f.renew(ctx) })
			if renewed {
				f.mature, f.silences, probes, silent = false, firstSilences, 0, now
				renew = now.Add(renewAfter + rand.N(renewJitter))
			} else {
				renew = now.Add(5*time.Minute + rand.N(time.Minute))
			}
		} else if !headDue.IsZero() && !now.Before(headDue) && f.due() {
			apart(func() { f.checkHead(ctx) })
			headDue = now.Add(headInterval)
		} else if due := silent.Add(f.silence(probes)); !now.Before(due) {
			probes++
			var err error
			apart(func() { err = f.probe(ctx) })
			if err != nil {
				return err
			}
		}
		next := silent.Add(f.silence(probes))
		if next.Before(now) {
			next = now.Add(f.silence(probes))
		}
		if renew.Before(next) {
			next = renew
		}
		if f.due() && headDue.Before(next) {
			next = headDue
		}
		if !deadline.IsZero() && deadline.Before(next) {
			next = deadline
		}
		timer.Reset(time.Until(next))
	}
}

// schedule is the one of silences that the follow has to be looked after by.
func (f *follower) schedule() []time.Duration {
	switch {
	case !f.mature:
		return firstSilences
	case f.t.c.limits.isBlind(f.view.node):
		return blindSilences
	}
	return silences
}

// due says whether enough was delivered to look at the head of the file.
func (f *follower) due() bool { return f.s.unchecked.Load() >= f.t.headStep() }

// relabel takes over labels that have changed: lines read from now on carry them.
func (f *follower) relabel() {
	v, _ := f.t.snapshot()
	f.turn.Lock()
	defer f.turn.Unlock()
	if labels.Equal(v.labels, f.r.labels) {
		return
	}
	// A failed flush has ended the reading; its end says so.
	_ = f.r.flush()
	f.r.labels, f.r.labelsSent, f.view = v.labels, false, v
}

// silence is when the n-th probe of a silent follow is due.
func (f *follower) silence(n int) time.Duration {
	if n < len(f.silences) {
		return f.silences[n]
	}
	last := f.silences[len(f.silences)-1]
	return time.Duration(n-len(f.silences)+2)*last + rand.N(last)/2
}

// statusChanged returns the time at which the follow is given up, if the run
// has ended or the pod is gone: the kubelet ends the stream itself once it has
// sent everything.
func (f *follower) statusChanged(deadline time.Time) time.Time {
	v, deleted := f.t.snapshot()
	ended := v.current.id != f.inst.id || v.current.finished
	switch {
	case !deadline.IsZero():
	case deleted:
		deadline = time.Now().Add(min(max(2*f.view.grace, endGrace), 2*time.Minute))
	case ended:
		deadline = time.Now().Add(endGrace)
	}
	return deadline
}

// errComplete ends a follow that has delivered the last record of a run.
var errComplete = errors.New("the run has ended and was read to its end")

// complete says whether everything of a run was delivered that has ended and
// that no other will follow. It does not wait for the follow to end by itself:
// the kubelet looks once a second whether the container has ended, and removes
// the containers of a deleted pod earlier than that; the follow then ends with
// an error that leaves open whether lines are missing.
func (f *follower) complete(ctx context.Context) bool {
	v, deleted := f.t.snapshot()
	if deleted || !v.last || v.current.id != f.inst.id || v.runtime == "cri-o" {
		return false // CRI-O stamps many lines alike: the last two may be twins
	}
	for range completeTries {
		f.turn.Lock()
		waits := f.r.gap != nil
		f.turn.Unlock()
		if waits {
			return false // drain knows where to put it
		}
		newest, err := f.t.probeTail(ctx, v, false)
		if err != nil || newest == nil || newest.open {
			return false
		}
		f.turn.Lock()
		read := newest.is(f.r.cur.anchor)
		f.turn.Unlock()
		if read {
			return true
		}
		if f.pause(ctx, completePause) != nil {
			return false
		}
	}
	return false
}

// probe looks at the end of the file of a silent follow. errStuck means that
// there is a record which the follow does not deliver.
func (f *follower) probe(ctx context.Context) error {
	t := f.t
	before := t.lastData.Load()
	newest, err := t.probeTail(ctx, f.view, false)
	if err != nil {
		return nil //nolint:nilerr // a failed probe says nothing
	}
	if newest == nil {
		f.sawEmpty()
		return nil
	}
	if newest.open {
		return nil // half a line is on its way
	}
	if f.knows(*newest) {
		f.mature = true
		return nil
	}
	if f.pause(ctx, stuckPatience) != nil {
		return nil //nolint:nilerr // the follow ends anyway
	}
	if t.lastData.Load() != before || f.knows(*newest) {
		return nil
	}
	f.turn.Lock()
	t.tail.failed(*newest, f.r.cur.anchor)
	if newest.ts < f.r.cur.anchor.ts {
		t.noSince = true
	}
	f.turn.Unlock()
	t.c.metrics.stuck.Inc()
	return f.handOver(ctx)
}

// pause waits, or returns errEOF when the stream ends first.
func (f *follower) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-f.s.done:
		return errEOF
	case <-ctx.Done():
		return ctx.Err()
	}
}

// knows says whether the newest record has been read.
func (f *follower) knows(newest record) bool {
	f.turn.Lock()
	defer f.turn.Unlock()
	return newest.is(f.r.cur.anchor) || f.t.tail.settled(newest, f.r.cur.anchor)
}

// renew opens the follow again and lets the new one go on where the old one
// is; the old one stays if the new one does not reach that place.
func (f *follower) renew(ctx context.Context) bool {
	f.turn.Lock()
	defer f.turn.Unlock()
	select {
	case <-f.s.done:
		return false
	default:
	}
	s, err := f.t.openFollow(ctx, f.view, f.r, f.turn)
	if err != nil {
		return false
	}
	f.t.c.metrics.renewals.Inc()
	old := f.s
	old.replaced = true
	old.cancel(nil)
	f.s = s
	go s.run()
	return true
}

// classifyEnd says what the clean end of a stream means: most failures on the
// way look the same as the end of the container.
func (f *follower) classifyEnd() error {
	v, deleted := f.t.snapshot()
	s := f.s
	if s.has {
		e := ending{hasTail: true, tail: s.tail}
		if err := e.inbandTail(); err != nil {
			f.t.endSeen = f.mature && removedAfterEnd(&s.tail) && (deleted || v.terminating || v.current.finished)
			f.t.endAt = time.Now()
			return err
		}
	}
	f.t.endSeen = deleted || v.terminating || v.current.id == f.inst.id && v.current.finished
	f.t.endAt = time.Now()
	if !deleted || !s.has {
		return errEOF
	}
	// The pod is gone: nothing can confirm the unterminated last line, and
	// nothing will complete it.
	line := s.tail.line()
	return errors.Join(errEOF, f.r.accept(&line))
}
