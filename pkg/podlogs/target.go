package podlogs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Causes for which a read ends although nothing failed.
var (
	errChanged       = errors.New("the pod's status has changed")
	errSteppedBack   = errors.New("gave its follow slot to a busier container")
	errNotAttached   = errors.New("the follow did not reach the last stored line in time")
	errRewound       = errors.New("the follow began the file again")
	errStuck         = errors.New("the follow is stuck on a rotated file")
	errIncomplete    = errors.New("the log ended before the last stored line")
	errInstanceMoved = errors.New("the container was restarted while its log was read")
	errEOF           = errors.New("the log stream was closed")
	errUnverified    = errors.New("the log's last record was not among the lines read")
)

// inbandFailure is an error text inside a response with status 200.
type inbandFailure struct{ kind, text string }

// gone says that the kubelet no longer has the container or its file.
func (e *inbandFailure) gone() bool {
	return e.kind == "container_gone" || e.kind == "file_gone" || strings.Contains(e.text, notFoundText)
}

func (e *inbandFailure) Error() string { return "the kubelet reports: " + e.text }

// target reads one container of one pod. run is its only goroutine, besides
// one per open follow; fields without a note are that goroutine's.
type target struct {
	c   *Collector
	key targetKey
	// changed holds a token after the view changed, back after a step back was asked.
	changed, back chan struct{}
	// lastData is when the last line arrived, in Unix nanoseconds.
	lastData atomic.Int64
	rate     byteRate

	mu           sync.Mutex // guards the following
	view         *containerView
	version      string // resource version of view
	deleted      bool   // the pod object is gone
	replaced     bool   // another pod has its name, and answers for it
	committed    position
	storedLabels labels.Labels
	state        TargetState
	reason       string
	lagFrom      int64 // timestamp of the last committed line
	// epoch is in which the target's pod came to this replica, 0 where nothing is
	// shared. Set before the goroutine starts.
	epoch int64
	// inherited says that another replica may have read the target of which
	// nothing could be learned. Set before the goroutine starts.
	inherited bool

	retry backoff
	// inst is the run being read, contact when its log was last read to the end
	// before anything of it was stored (startLate: for the first time too late
	// to know that it was not rotated), newcomer says that no earlier run of the target was read.
	// Others read the first three under the lock.
	inst    instance
	contact time.Time
	// first is the run's first line, as long as it may not be stored.
	first               anchor
	newcomer, startLate bool
	// gap is proven but not yet stored: it is written before the next line.
	gap *gap
	// carry is the anchor of the instance before, as long as it could be found
	// in the file of the present one: a status that lags behind the kubelet
	// makes us read a new run under the old one's name.
	carry anchor
	// head is the head of the live file when it was last looked at, sinceHead the
	// bytes delivered since it was new, fileMax the size at which this log is
	// rotated, as far as known. Held under turn by follows.
	head      head
	sinceHead int64
	fileMax   int64
	// handed is what a follow that stayed on a rotated file has proven.
	handed handover
	// fresh is the last line read before the live file was found empty again and
	// again, freshAt the last time; absent the last line read when it is known
	// not to be in the live file, with nothing missing between.
	fresh   anchor
	freshAt time.Time
	absent  anchor
	// sure is the last line that is this run's beyond doubt, none if no line is,
	// as far as known: from there on the file was another one's, if at all.
	sure      anchor
	sureKnown bool
	// noSince is set when the container's clock went back: the kubelet would
	// hide lines older than the anchor.
	noSince bool
	fileState
	// tail is what reads did not find at the end of the file.
	tail tailCheck
	// doubts counts reads in a row that ended before the anchor.
	doubts int
	// failures counts drains in a row that failed for good reasons.
	failures int
	// admitted says that the next request has been admitted already.
	admitted bool
	// endSeen says that the last follow ended the way it does when the
	// container has ended, at the time endAt.
	endSeen bool
	endAt   time.Time
	// noFollowUntil ends a time of polling after the node ran out of watches.
	noFollowUntil time.Time
	steppedBack   bool // that is why
}

func newTarget(c *Collector, v *containerView, version string) *target {
	return &target{
		c: c, key: v.key, view: v, version: version, state: StateWaiting,
		changed: make(chan struct{}, 1), back: make(chan struct{}, 1),
		storedLabels: labels.EmptyLabels(), fileMax: fileMax,
	}
}

// update replaces the view, unless the new one is older.
func (t *target) update(v *containerView, version string) {
	t.mu.Lock()
	if !newerVersion(version, t.version) {
		t.mu.Unlock()
		return
	}
	t.view, t.version = v, version
	t.mu.Unlock()
	notify(t.changed)
}

// newerVersion compares resource versions, which are decimal numbers that grow.
func newerVersion(a, b string) bool {
	if len(a) != len(b) {
		return len(a) > len(b)
	}
	return a >= b
}

// podDeleted tells the target that the pod object is gone.
func (t *target) podDeleted() {
	t.mu.Lock()
	t.deleted = true
	t.mu.Unlock()
	notify(t.changed)
}

func (t *target) stepBack() { notify(t.back) }

func (t *target) snapshot() (*containerView, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.view, t.deleted
}

// isReplaced says that a pod of the same name has taken the pod's place, as a
// StatefulSet's does. Logs are asked for by name: what is read is then its log.
func (t *target) isReplaced() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.replaced
}

func (t *target) position() position {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.committed
}

// commit is called by the batcher when a piece is durable.
func (t *target) commit(p position) {
	t.mu.Lock()
	t.committed = p
	if p.anchor.valid() {
		t.lagFrom = p.anchor.ts
	}
	t.mu.Unlock()
	t.c.touched(t.key)
}

func (t *target) setState(s TargetState, reason string) {
	t.mu.Lock()
	t.state, t.reason = s, reason
	t.mu.Unlock()
}

// run reads the target until the pod is gone or ctx ends. It reports whether
// the target is finished for good.
func (t *target) run(ctx context.Context) (finished bool) {
	for ctx.Err() == nil {
		v, deleted := t.snapshot()
		if deleted {
			if t.finalize(ctx) {
				return true
			}
			continue
		}
		err := t.step(ctx, v)
		if err == nil || ctx.Err() != nil {
			continue
		}
		t.recover(ctx, v, err)
	}
	return false
}

// step does the next thing that the position and the status ask for.
func (t *target) step(ctx context.Context, v *containerView) error {
	pos := t.position()
	s := plan(pos, v)
	if t.inherited && pos.instance == "" && s.inst.restart > 0 && s.do != doWait {
		s.do = doSkip // the runs before may have been read, and may have been lost
	}
	t.trace("step", "do", s.do, "run", s.inst.id, "previous", s.previous, "lost", s.lost)
	switch s.do {
	case doWait:
		if s.done && v.last && !t.position().last {
			return t.seal(ctx, v)
		}
		return t.await(ctx, v, s.done)
	case doSkip:
		return t.skip(ctx, v, s)
	}
	t.enter(s.inst)
	if used, err := t.viaFiles(ctx, v, s); used || err != nil {
		return err
	}
	t.setState(StateCatchingUp, "waiting for its turn")
	if err := t.queue(ctx, v, "catchup"); err != nil {
		return err
	}
	if s.do == doDrain {
		var err error
		apart(func() { err = t.drain(ctx, v, s.inst, s.previous) })
		return err
	}
	return t.read(ctx, v, s.inst)
}

// seal notes in the position that no run will follow.
func (t *target) seal(ctx context.Context, v *containerView) error {
	r := t.newReading(ctx, v)
	defer r.close()
	r.done, r.last = true, true
	return r.end()
}

// await sleeps until the status changes.
func (t *target) await(ctx context.Context, v *containerView, done bool) error {
	if done {
		t.setState(StateDone, "")
	} else {
		t.setState(StateWaiting, v.reason)
	}
	t.retry.reset()
	select {
	case <-ctx.Done():
	case <-t.changed:
	}
	return nil
}

// enter begins another instance, in memory: the stored position stays with the
// instance before until the first line of this one is stored.
func (t *target) enter(inst instance) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.committed
	if t.inst.id != inst.id {
		t.contact, t.first = time.Time{}, anchor{}
		t.newcomer, t.startLate = old.instance == "", false
	}
	t.inst = inst
	if old.instance == inst.id {
		return
	}
	if old.anchor.valid() {
		t.carry = anchor{}
		if old.anchor.ts >= inst.started.Add(-time.Second).UnixNano() {
			t.carry = old.anchor
		}
	}
	t.committed = position{instance: inst.id, restart: inst.restart}
	t.past = anchor{}
	t.head, t.sinceHead, t.handed, t.fresh, t.absent = head{}, 0, handover{}, anchor{}, anchor{}
	t.sure, t.sureKnown = anchor{}, true
	if t.steppedBack {
		// A run that begins writes most, and nothing of it is known yet.
		t.steppedBack, t.noFollowUntil = false, time.Time{}
	}
	t.noSince, t.tail, t.doubts, t.failures, t.endSeen = false, tailCheck{}, 0, 0, false
}

// skip notes what can no longer be read and goes on with the next instance.
func (t *target) skip(ctx context.Context, v *containerView, s step) error {
	pos := t.position()
	r := t.newReading(ctx, v)
	defer r.close()
	g := gap{reason: GapInstanceLost, from: pos.anchor.ts, container: pos.instance, instances: s.lost}
	g.to = endOfSecond(s.inst.started)
	if t.gap != nil && t.gap.from != 0 {
		g.from = t.gap.from
	}
	left := t.fillLost(ctx, v, r, g, s.inst.restart)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.gap = nil
	r.cur.position = position{instance: s.inst.id, restart: s.inst.restart}
	if left != nil {
		r.addGap(*left)
	} else if r.piece == nil {
		r.piece = newPiece(0)
	}
	if err := r.end(); err != nil {
		return err
	}
	t.gap = nil
	if pos.anchor.valid() && pos.anchor.ts >= s.inst.started.Add(-time.Second).UnixNano() {
		t.carry = pos.anchor
	}
	return nil
}

// trace is for finding faults; it writes nothing unless debug is on.
func (t *target) trace(msg string, args ...any) {
	if log := t.c.opts.Logger; log.Enabled(context.Background(), slog.LevelDebug) {
		log.Debug(msg, append([]any{"target", t.name()}, args...)...)
	}
}

// recover decides how long to wait after a read ended, and looks at the pod.
func (t *target) recover(ctx context.Context, v *containerView, err error) {
	t.trace("ended", "why", err)
	var inband *inbandFailure
	if errors.As(err, &inband) {
		t.c.metrics.inbandErrors.WithLabelValues(inband.kind).Inc()
		if inband.kind == "inotify" {
			t.c.limits.inotifyExhausted(v.node)
			t.noFollowUntil, t.steppedBack = time.Now().Add(noFollowPenalty), false
		}
	}
	var open *openError
	if errors.As(err, &open) && open.kind != openWaiting && open.kind != openGone {
		// It was the connection or the kubelet that ended, then. The other two
		// are what the kubelet says of a container that it has removed.
		t.endSeen = false
	}
	switch {
	case errors.Is(err, errSteppedBack):
		// Time for the busier one to take the slot.
		t.noFollowUntil, t.steppedBack = time.Now().Add(noFollowPenalty), true
		return
	case errors.Is(err, errChanged):
		return
	case errors.Is(err, errRewound), errors.Is(err, errStuck), errors.Is(err, errLagging), errors.Is(err, errSkipped):
		return
	}
	wait := t.retry.next()
	if open != nil && open.kind == openForbidden && t.retry.failures > 3 {
		wait = forbiddenPause + rand.N(forbiddenPause) // somebody has to grant it first
	}
	t.setState(StateRetrying, firstWords(err.Error()))
	if !errors.Is(err, errEOF) {
		t.c.log.warn("read "+t.key.String(), "reading a container's log failed; it will be tried again from the last stored line",
			"target", t.name(), "err", err, "wait", wait.Round(time.Millisecond))
	}
	if errors.Is(err, errEOF) || errors.Is(err, errInstanceMoved) || open != nil || inband != nil {
		// Only the pod's status says what the end of a stream means, and the
		// informer may be behind.
		now := t.refresh(ctx, v)
		if _, deleted := t.snapshot(); !deleted && !now.current.finished && !(now.terminating && (open != nil || inband == nil || inband.gone())) {
			// The stream was cut while the container goes on. While a pod stops,
			// though, its status comes later than the end of the log, and than the
			// removal of the container: finalize compares the times.
			t.endSeen = false
		}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-t.changed:
	case <-timer.C:
	}
}

// refresh fetches the pod and updates the view.
func (t *target) refresh(ctx context.Context, v *containerView) *containerView {
	pod, err := t.c.api.Pod(ctx, v.namespace, v.pod)
	switch {
	case apierrors.IsNotFound(err), err == nil && string(pod.UID) != t.key.uid:
		// The informer will say so too; but a pod deleted before it was ever
		// seen again must not be asked for forever.
		t.mu.Lock()
		t.replaced = t.replaced || err == nil
		t.mu.Unlock()
		t.podDeleted()
	case err != nil:
		t.c.log.warn("get", "fetching a pod failed", "pod", v.namespace+"/"+v.pod, "err", err)
	default:
		if fresh := ownedView(pod, t.key.container); fresh != nil {
			t.mu.Lock()
			if newerVersion(pod.ResourceVersion, t.version) {
				t.view, t.version = fresh, pod.ResourceVersion
			}
			t.mu.Unlock()
		}
	}
	now, _ := t.snapshot()
	return now
}

func (t *target) name() string {
	v, _ := t.snapshot()
	return v.namespace + "/" + v.pod + ":" + v.key.container
}

// admit waits until a request for the target's log may be made. Whoever has a
// time limit starts it afterwards: ten thousand containers wait for minutes.
func (t *target) admit(ctx context.Context, v *containerView, kind string, o *corev1.PodLogOptions) error {
	if t.admitted {
		t.admitted = false
		return nil
	}
	return t.c.limits.admit(ctx, v.node, t.urgency(v, kind, o))
}

// urgency says how soon the request is to be made.
func (t *target) urgency(v *containerView, kind string, o *corev1.PodLogOptions) urgency {
	t.mu.Lock()
	deleted, lastLine := t.deleted, t.lagFrom
	t.mu.Unlock()
	now := time.Now()
	switch {
	case v.terminating || deleted:
		return turnNow
	case o.Follow:
		return turnNext
	case kind == "probe":
		return turnProbe
	case kind == "poll":
		return turnIdle // it will be back soon, and others were never read
	case t.rate.get(now) >= 1 || now.Sub(time.Unix(0, lastLine)) < writtenLately:
		return turnBusy
	case now.Sub(v.current.started) < writtenLately:
		return turnFresh
	}
	return turnIdle
}

// queue waits for the admission of the next request, where few stack frames do.
func (t *target) queue(ctx context.Context, v *containerView, kind string) error {
	err := t.admit(ctx, v, kind, &corev1.PodLogOptions{})
	t.admitted = err == nil
	return err
}

// apart runs f on a goroutine of its own and waits for it. Requests need deep
// stacks, which do not shrink again all the way: of ten thousand targets, most of
// which only wait, each would keep 8 KiB and more.
func apart(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// open makes one request for the target's log, which has been admitted.
func (t *target) open(ctx context.Context, v *containerView, kind string, o *corev1.PodLogOptions) (io.ReadCloser, error) {
	o.Container = t.key.container
	o.Timestamps = true
	o.InsecureSkipTLSVerifyBackend = t.c.opts.InsecureSkipTLSVerifyBackend
	t.c.metrics.opens.WithLabelValues(kind).Inc()
	body, err := t.c.opener.open(ctx, v.namespace, v.pod, o)
	if err == nil {
		t.c.limits.report(v.node, false)
		return body, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	err = classifyOpen(err)
	var oe *openError
	if errors.As(err, &oe) {
		t.c.limits.report(v.node, oe.kind == openUnreachable)
		t.c.metrics.openErrors.WithLabelValues(string(oe.kind)).Inc()
	}
	return nil, fmt.Errorf("%s request for the log: %w", kind, err)
}

// finalize ends a target whose pod is gone: what was not read is marked, and
// the position is removed. It returns false if that could not be stored.
func (t *target) finalize(ctx context.Context) bool {
	v, _ := t.snapshot()
	pos := t.position()
	complete := pos.done && (pos.last || pos.instance == v.current.id) ||
		t.endSeen && pos.instance == v.current.id && !v.current.ended.After(t.endAt)
	ran := pos.instance != "" || v.current.exists()
	r := t.newReading(ctx, v)
	defer r.close()
	complete = t.fillFinal(ctx, v, r, complete, ran)
	if ctx.Err() != nil {
		return false
	}
	switch {
	case r.gap != nil:
		g := *r.gap
		if !complete {
			g.reason = GapPodDeleted
		}
		r.gap = nil
		r.addGap(g)
	case !complete && ran:
		r.addGap(gap{reason: GapPodDeleted, from: pos.anchor.ts, to: endOfSecond(v.current.ended), container: pos.instance})
	case t.startLate && !pos.done && !pos.anchor.valid():
		// The file was empty when it was first read, but that was late.
		r.addGap(gap{reason: GapRotatedAway, from: t.inst.started.UnixNano(), container: pos.instance})
	}
	r.forget = true
	if err := r.end(); err != nil {
		t.c.log.warn("finalize", "the end of a deleted pod's log could not be stored; trying again", "target", t.name(), "err", err)
		_ = sleep(ctx, t.retry.next())
		return false
	}
	t.c.finished(t.key, v.node)
	return true
}

// endOfSecond is the last nanosecond of the second that a status names, 0 for the
// zero time. A status has whole seconds, rounded down: a gap that ended there
// would end before lines that may be missing, or before it began.
func endOfSecond(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Truncate(time.Second).Add(time.Second - 1).UnixNano()
}

// firstWords shortens an error for the status page.
func firstWords(s string) string {
	const limit = 200
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
