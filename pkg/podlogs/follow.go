package podlogs

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// attachTimeout is how long a follow may take to deliver the anchor.
	attachTimeout = 5 * time.Second
	// renewAfter and renewJitter place the renewal of a follow well before the
	// kubelet's fixed limit of 4 hours.
	renewAfter, renewJitter = 60 * time.Minute, 50 * time.Minute
	// idleBeforePoll is how long a follow must be silent to lose its slot.
	idleBeforePoll = 5 * time.Minute
	// catchUpSmall is the amount of new data that ends catching up.
	catchUpSmall = 256 << 10
	maxCatchUps  = 5
	// endGrace is how long a follow may stay open after its run has ended.
	endGrace = 10 * time.Second
	// completeTries and completePause bound how long the last lines of an ended
	// run may be on their way when its end is looked at.
	completeTries = 4
	completePause = 50 * time.Millisecond
	// stuckPatience is how long a record that a probe has seen may take to
	// arrive in the follow.
	stuckPatience = time.Second
)

// silences are the times after the last line at which the end of the file is
// probed; the last one repeats with jitter.
var silences = []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 5 * time.Minute}

// firstSilences are those of a new follow, until its first line. A rotation
// between the kubelet's opening of the file and its first look at the directory
// leaves the follow on the old file until the next rotation, which may come
// after 10 seconds; what was written between is then skipped.
var firstSilences = []time.Duration{time.Second, 9 * time.Second, 30 * time.Second, 2 * time.Minute, 5 * time.Minute}

// read catches up with a running container and then follows it, or polls it
// when its node has no follow to spare.
func (t *target) read(ctx context.Context, v *containerView, inst instance) error {
	// A container that writes faster than this reads it is followed at last.
	for range maxCatchUps {
		t.setState(StateCatchingUp, "")
		size, err := t.catchUpOnce(ctx, v)
		if err != nil {
			return err
		}
		if size < catchUpSmall {
			break
		}
	}
	if time.Now().After(t.noFollowUntil) && t.c.limits.acquireFollow(t, v.node, v.terminating, true) {
		defer t.c.limits.releaseFollow(t, v.node)
		return t.follow(ctx, v, inst)
	}
	return t.poll(ctx, v, inst)
}

// catchUpOnce reads to the end of the file and returns the bytes that were new.
func (t *target) catchUpOnce(ctx context.Context, v *containerView) (int64, error) {
	r := t.newReading(ctx, v)
	defer r.close()
	end, _, err := t.catchUp(r.ctx, v, r, false)
	if err == nil {
		t.endSeen = false // what is written from now on has not been seen
		// Half a line is being written, or something went wrong.
		if kind := inbandError([]byte(end.tail.text)); end.hasTail && (kind != "" || !end.tail.stamped) {
			err = end.inbandTail()
		}
	}
	if r.lines > 0 {
		t.lastData.Store(time.Now().UnixNano())
	}
	return r.bytes, errors.Join(err, r.finishQuietly())
}

// stream is one open follow with the goroutine that reads it.
type stream struct {
	t    *target
	r    *reading
	body io.ReadCloser
	lr   *lineReader
	// turn is held while lines are taken from the stream. Who holds it may
	// read the cursor, which does not move then.
	turn *sync.Mutex
	// replaced is set, under turn, when another stream goes on instead.
	replaced bool
	recent   recent
	prev     int64
	runtime  string // "containerd", "cri-o", …
	cancel   context.CancelCauseFunc
	ctx      context.Context
	done     chan struct{}
	// err and tail say how it ended, after done.
	err  error
	tail record
	has  bool
}

// openFollow opens a follow and reads up to the anchor.
func (t *target) openFollow(ctx context.Context, v *containerView, r *reading, turn *sync.Mutex) (*stream, error) {
	o := &corev1.PodLogOptions{Follow: true}
	a := r.cur.anchor
	mustFind := a.valid() && r.gap == nil
	if mustFind && !t.noSince {
		o.SinceTime = sinceAnchor(a)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	body, err := t.open(ctx, v, "follow", o)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	s := &stream{
		t: t, r: r, body: body, lr: newLineReader(body, t.c.opts.MaxLineBytes), turn: turn,
		cancel: cancel, ctx: ctx, done: make(chan struct{}), runtime: v.runtime,
	}
	if mustFind {
		if err := s.attach(a); err != nil {
			s.abandon()
			return nil, err
		}
	}
	return s, nil
}

// attach skips what is stored, up to the anchor.
func (s *stream) attach(a anchor) error {
	timer := time.AfterFunc(attachTimeout, func() { s.cancel(errNotAttached) })
	defer timer.Stop()
	f := finder{want: a}
	var line rawLine
	for {
		err := s.lr.fill()
		for s.lr.scan(&line) {
			if !line.stamped {
				continue
			}
			s.t.c.metrics.duplicates.Inc()
			s.recent.add(line.ts, line.hash)
			s.prev = line.ts
			if f.is(&line) {
				s.r.cur.ord = f.ord
				s.r.lastTS = line.ts
				return nil
			}
			if line.ts > a.ts+int64(overlap) {
				return errNotAttached
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			if s.lr.tail(&line) {
				e := ending{hasTail: true, tail: record{stamped: line.stamped, text: string(line.text)}}
				if err := e.inbandTail(); err != nil {
					return err
				}
			}
			return errEOF
		case err != nil:
			if s.ctx.Err() != nil {
				return context.Cause(s.ctx)
			}
			return err
		}
	}
}

// abandon closes a stream whose goroutine was not started.
func (s *stream) abandon() {
	s.cancel(nil)
	s.body.Close()
	s.lr.close()
}

// run takes lines until the stream ends.
func (s *stream) run() {
	defer close(s.done)
	defer s.lr.close()
	defer s.body.Close()
	for {
		s.turn.Lock()
		if s.replaced {
			s.turn.Unlock()
			return
		}
		err := s.consume()
		s.turn.Unlock()
		if err != nil {
			s.err = err
			return
		}
		s.lr.rest()
		if err := s.lr.fill(); err != nil {
			s.turn.Lock()
			s.ended(err)
			s.turn.Unlock()
			return
		}
	}
}

// consume accepts the lines that have been read and hands them on.
func (s *stream) consume() error {
	var line rawLine
	n := 0
	for s.lr.scan(&line) {
		if line.stamped {
			if s.suspicious(&line) {
				return errors.Join(errRewound, s.r.flush())
			}
			s.recent.add(line.ts, line.hash)
			s.prev = line.ts
		}
		if err := s.r.accept(&line); err != nil {
			return err
		}
		n++
	}
	if n == 0 {
		return nil
	}
	s.t.lastData.Store(time.Now().UnixNano())
	return s.r.flush()
}

// suspicious says whether the line may be one that was read before. Only
// containerd and others that stamp every line by itself are believed not to
// repeat a line within one nanosecond; CRI-O does.
func (s *stream) suspicious(line *rawLine) bool {
	if line.ts > s.prev || s.prev == 0 {
		return false
	}
	if line.ts == s.prev && s.runtime == "cri-o" {
		return false
	}
	return s.recent.judge(line.ts, line.hash) == verdictSuspect
}

// ended keeps how the body ended.
func (s *stream) ended(err error) {
	var line rawLine
	if s.replaced {
		return
	}
	if s.ctx.Err() != nil {
		s.err = context.Cause(s.ctx)
		return
	}
	if !errors.Is(err, io.EOF) {
		s.err = err
		return
	}
	s.err = errEOF
	if s.lr.tail(&line) {
		s.has = true
		s.tail = recordOf(&line, true)
	}
}

// stop ends the stream's goroutine and waits for it.
func (s *stream) stop(cause error) {
	s.cancel(cause)
	<-s.done
}

// follow reads the log as it grows, until something happens.
func (t *target) follow(ctx context.Context, v *containerView, inst instance) error {
	r := t.newReading(ctx, v)
	defer r.close()
	f := follower{t: t, r: r, view: v, inst: inst}
	t.endSeen = false
	t.lastData.Store(time.Now().UnixNano()) // idle from now on
	s, err := t.openFollow(r.ctx, v, r, &f.turn)
	if err != nil {
		return err
	}
	f.s = s
	if !r.cur.anchor.valid() {
		// Nothing in the stream proves which run it is.
		if now := t.refresh(r.ctx, v); now.current.id != inst.id || t.isReplaced() {
			s.abandon()
			return errInstanceMoved
		}
	}
	t.setState(StateFollowing, "")
	go s.run()
	cause := f.watch(r.ctx)
	f.s.stop(cause)
	err = f.s.err
	if r.lines == 0 && !r.cur.anchor.valid() {
		r.read = time.Now() // empty until now
	}
	if f.opened > 30*time.Second || r.lines > 0 {
		t.retry.reset()
	}
	if errors.Is(cause, errComplete) {
		r.done, r.last = true, true
		return r.end()
	}
	if err == nil {
		err = cause
	}
	if errors.Is(err, errEOF) {
		err = f.classifyEnd()
	}
	return errors.Join(err, r.finishQuietly())
}

// follower watches over an open follow.
type follower struct {
	t      *target
	r      *reading
	view   *containerView
	inst   instance
	turn   sync.Mutex
	s      *stream
	opened time.Duration
	// silences is the schedule of probes that watch goes by.
	silences []time.Duration
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
	var deadline time.Time
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
			if f.complete(ctx) {
				return errComplete
			}
			if d := f.statusChanged(deadline); d != deadline {
				deadline = d
				timer.Reset(time.Until(d))
			}
			continue
		case <-timer.C:
		}
		now := time.Now()
		if !deadline.IsZero() && !now.Before(deadline) {
			return errChanged
		}
		if data := t.lastData.Load(); data != lastData {
			lastData, probes, silent = data, 0, time.Unix(0, data)
			f.silences = silences
		}
		if !now.Before(renew) {
			if f.renew(ctx) {
				renew = now.Add(renewAfter + rand.N(renewJitter))
			} else {
				renew = now.Add(5*time.Minute + rand.N(time.Minute))
			}
		} else if due := silent.Add(f.silence(probes)); !now.Before(due) {
			probes++
			if err := f.probe(ctx); err != nil {
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
		if !deadline.IsZero() && deadline.Before(next) {
			next = deadline
		}
		timer.Reset(time.Until(next))
	}
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
	if err != nil || newest == nil || newest.open || f.knows(*newest) {
		return nil //nolint:nilerr // a failed probe says nothing, half a line is on its way
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
	return errStuck
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
	s, err := f.t.openFollow(ctx, f.view, f.r, &f.turn)
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
			return err
		}
	}
	f.t.endSeen = deleted || v.terminating || v.current.id == f.inst.id && v.current.finished
	if !deleted || !s.has {
		return errEOF
	}
	// The pod is gone: nothing can confirm the unterminated last line, and
	// nothing will complete it.
	line := s.tail.line()
	return errors.Join(errEOF, f.r.accept(&line))
}
