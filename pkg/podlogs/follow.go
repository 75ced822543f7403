package podlogs

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
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
)

// read catches up with a running container and then follows it, or polls it
// when its node has no follow to spare.
func (t *target) read(ctx context.Context, v *containerView, inst instance) error {
	// A container that writes faster than this reads it is followed at last.
	for range maxCatchUps {
		t.setState(StateCatchingUp, "")
		size, err := t.catchUpApart(ctx, v)
		if err != nil {
			return err
		}
		if size < catchUpSmall {
			break
		}
	}
	if !t.pastLive() && time.Now().After(t.noFollowUntil) && t.c.limits.acquireFollow(t, v.node, v.terminating, true) {
		defer t.c.limits.releaseFollow(t, v.node)
		return t.follow(ctx, v, inst)
	}
	return t.poll(ctx, v, inst)
}

// catchUpApart is catchUpOnce on a goroutine of its own.
func (t *target) catchUpApart(ctx context.Context, v *containerView) (size int64, err error) {
	apart(func() { size, err = t.catchUpOnce(ctx, v) })
	return size, err
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
		now := time.Now()
		t.lastData.Store(now.UnixNano())
		t.rate.add(r.bytes, now)
	}
	return r.bytes, errors.Join(err, r.finishQuietly())
}

// turnLock is a mutex of its own, because a holder may wait for the store, and
// simulated time stands still while somebody waits for a sync.Mutex.
type turnLock chan struct{}

func (l turnLock) Lock()   { l <- struct{}{} }
func (l turnLock) Unlock() { <-l }

// stream is one open follow with the goroutine that reads it.
type stream struct {
	t    *target
	r    *reading
	body io.ReadCloser
	lr   *lineReader
	// turn is held while lines are taken from the stream. Who holds it may
	// read the cursor, which does not move then.
	turn turnLock
	// replaced is set, under turn, when another stream goes on instead.
	replaced bool
	recent   recent
	prev     int64
	pace     pace
	// fence is the first line that may come from another file than the one being
	// read, when that is known.
	fence head
	// again is the line with which the stream began a file once more.
	again record
	// unchecked counts bytes since the last look at the head of the file; grown
	// gets a token when it is time for the next.
	unchecked atomic.Int64
	grown     chan struct{}
	runtime   string // "containerd", "cri-o", …
	cancel    context.CancelCauseFunc
	ctx       context.Context
	done      chan struct{}
	// err and tail say how it ended, after done.
	err  error
	tail record
	has  bool
}

// openFollow opens a follow and reads up to the anchor.
func (t *target) openFollow(ctx context.Context, v *containerView, r *reading, turn turnLock) (*stream, error) {
	o := &corev1.PodLogOptions{Follow: true}
	a := r.cur.anchor
	mustFind := a.valid() && r.gap == nil && t.absent != a
	if mustFind && !t.noSince {
		o.SinceTime = sinceAnchor(a)
	}
	if err := t.admit(ctx, v, "follow", o); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	body, err := t.open(ctx, v, "follow", o)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	s := &stream{
		t: t, r: r, body: body, lr: newLineReader(body, t.c.opts.MaxLineBytes), turn: turn,
		cancel: cancel, ctx: ctx, done: make(chan struct{}), runtime: v.runtime, grown: make(chan struct{}, 1),
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
	attached := make(chan struct{})
	defer close(attached)
	go s.giveUpWhenReplaced(attached)
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
			s.pace.late(line.ts, time.Now())
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

// giveUpWhenReplaced ends the wait for the anchor when the status shows that
// another run is being served: the anchor will not come, and the run that has it
// can be read as the previous one only until the next restart.
func (s *stream) giveUpWhenReplaced(attached <-chan struct{}) {
	select {
	case <-s.t.changed:
		notify(s.t.changed) // for the target
		if v, _ := s.t.snapshot(); v.current.id != s.r.start.instance {
			s.cancel(errChanged)
		}
	case <-attached:
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
	n, before := 0, s.r.bytes
	now := time.Now()
	for s.lr.scan(&line) {
		if line.stamped {
			if err := s.judge(&line, now); err != nil {
				return errors.Join(err, s.r.flush())
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
	s.t.lastData.Store(now.UnixNano())
	s.grew(s.r.bytes-before+int64(n)*recordRoom, now)
	return s.r.flush()
}

// grew counts what was delivered.
func (s *stream) grew(bytes int64, now time.Time) {
	s.t.rate.add(bytes, now)
	s.t.sinceHead += bytes
	if s.unchecked.Add(bytes) >= s.t.headStep() {
		notify(s.grown)
	}
}

// judge says why a line may not follow what was read.
func (s *stream) judge(line *rawLine, now time.Time) error {
	if s.pace.late(line.ts, now) {
		s.t.c.metrics.lagging.Inc()
		return errLagging
	}
	if s.fence.known() && line.ts >= s.fence.ts {
		if !s.fence.begins(line.ts, line.text) {
			return errSkipped
		}
		s.fence = head{}
	}
	if s.suspicious(line) {
		s.again = recordOf(line, false)
		return errRewound
	}
	return nil
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

// open opens the follow, and makes sure that it is of the run it is for.
func (f *follower) open() error {
	s, err := f.t.openFollow(f.r.ctx, f.view, f.r, f.turn)
	if err != nil {
		return err
	}
	f.s = s
	if f.r.cur.anchor.valid() {
		return nil
	}
	// Nothing in the stream proves which run it is.
	if now := f.t.refresh(f.r.ctx, f.view); now.current.id != f.inst.id || f.t.isReplaced() {
		s.abandon()
		return errInstanceMoved
	}
	return nil
}

// follow reads the log as it grows, until something happens.
func (t *target) follow(ctx context.Context, v *containerView, inst instance) error {
	r := t.newReading(ctx, v)
	defer r.close()
	f := follower{t: t, r: r, view: v, inst: inst, turn: make(turnLock, 1)}
	t.endSeen = false
	t.lastData.Store(time.Now().UnixNano()) // idle from now on
	var err error
	apart(func() { err = f.open() })
	if err != nil {
		return err
	}
	t.setState(StateFollowing, "")
	go f.s.run()
	cause := f.watch(r.ctx)
	f.s.stop(cause)
	err = f.s.err
	f.keepEmpty()
	if errors.Is(err, errRewound) {
		f.rewound(r.ctx)
	}
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
