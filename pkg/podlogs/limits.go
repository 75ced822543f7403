package podlogs

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	backoffFirst = 500 * time.Millisecond
	backoffMax   = 60 * time.Second

	// breakerFailures in a row open a node's breaker.
	breakerFailures = 5
	breakerFirst    = 2 * time.Second
	breakerMax      = 60 * time.Second

	// inotifyPenalty is how long a node that ran out of inotify instances has
	// to do with half of its follows.
	inotifyPenalty = 10 * time.Minute
	// noFollowPenalty is how long a container is polled that met that limit, or
	// that gave its slot to a busier one.
	noFollowPenalty = time.Minute
	// busier is how many times as much a container has to write to take the slot
	// of one that has been quiet for a moment, muchBusier of one that has not.
	busier, muchBusier = 2, 10
	// busierBy and muchBusierBy are in bytes per second: between containers that
	// write next to nothing, a follow is not worth moving.
	busierBy, muchBusierBy = 100, 10 << 10
	// idleBy is that for the slot of one that has long been silent: more than a line
	// in a minute. Every move costs three requests, and of ten thousand idle
	// containers somebody always writes a line.
	idleBy = 5
	quiet  = time.Minute
	// writtenLately is how long after its last line, or its start, a container is
	// read before those that are idle.
	writtenLately = 5 * time.Minute
)

// backoff waits longer after each failure: full jitter below a doubling limit,
// so that targets which failed together do not come back together.
type backoff struct{ failures int }

// next returns the wait after one more failure.
func (b *backoff) next() time.Duration {
	limit := backoffMax
	if b.failures < 7 { // 0.5 s << 7 is past the maximum
		limit = min(backoffFirst<<b.failures, backoffMax)
	}
	b.failures++
	return limit/10 + rand.N(limit)
}

func (b *backoff) reset() { b.failures = 0 }

// sleep waits or returns early with the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// limits admits requests. The API server throttles neither follow nor plain log
// requests (they count as long-running), so the collector has to.
type limits struct {
	opens       *turns
	probes      *rate.Limiter
	nodeOpens   rate.Limit
	nodeBurst   int
	followCap   int
	totalFollow int
	// polled is the number of containers that are polled, busy that of those
	// among them that had something to read the last time.
	polled, busy atomic.Int64

	mu    sync.Mutex
	nodes map[string]*nodeLimits
	// follows of all nodes.
	follows int
}

// nodeLimits is what the collector allows itself on one node.
type nodeLimits struct {
	opens *rate.Limiter

	mu sync.Mutex
	// follows hold one inotify instance of the node's root each.
	follows map[*target]struct{}
	cap     int
	// restoreAt ends the penalty for running out of inotify instances.
	restoreAt time.Time
	breaker   breaker
	// blind says that follows of this node stay on rotated files.
	blind bool
}

func newLimits(o *Options) *limits {
	return &limits{
		opens:       newTurns(o.OpensPerSecond, o.OpensBurst),
		probes:      rate.NewLimiter(rate.Limit(o.ProbesPerSecond), max(int(o.ProbesPerSecond), 1)),
		nodeOpens:   rate.Limit(o.NodeOpensPerSecond),
		nodeBurst:   o.NodeOpensBurst,
		followCap:   o.NodeFollowCap,
		totalFollow: o.FollowCap,
		nodes:       make(map[string]*nodeLimits),
	}
}

// node returns the limits of a node. Nodes are few and come back under their
// name, so none is ever forgotten.
func (l *limits) node(name string) *nodeLimits {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.nodes[name]
	if n == nil {
		n = &nodeLimits{
			opens:   rate.NewLimiter(l.nodeOpens, l.nodeBurst),
			follows: make(map[*target]struct{}),
			cap:     l.followCap,
		}
		l.nodes[name] = n
	}
	return n
}

// spread divides the follows of a node among the replicas that read its pods.
func (l *limits) spread(nodeCap, replicas int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.followCap = max(nodeCap/max(replicas, 1), 1)
	for _, n := range l.nodes {
		n.mu.Lock()
		n.cap = min(n.cap, l.followCap)
		n.mu.Unlock()
	}
}

// urgency of a request.
type urgency int

const (
	// turnNow requests take tokens without waiting for them: the pod is about to
	// vanish.
	turnNow urgency = iota
	// turnNext is for a follow after its catch-up: a pause between the two is time
	// for a rotation.
	turnNext
	// turnBusy is for a container that has written lately, turnFresh for one that
	// has just started.
	turnBusy
	turnFresh
	turnIdle
	// turnProbe requests bring one line only.
	turnProbe
)

// headStarts are how much earlier requests count as having come.
var headStarts = map[urgency]time.Duration{turnNext: time.Hour, turnBusy: 10 * time.Minute, turnFresh: 5 * time.Minute}

// admit waits until the node may be asked.
func (l *limits) admit(ctx context.Context, node string, u urgency) error {
	n := l.node(node)
	switch u {
	case turnNow:
		n.opens.Reserve()
		l.opens.take()
		return nil
	case turnNext:
		n.opens.Reserve()
		return l.opens.wait(ctx, headStarts[u])
	}
	for {
		wait := n.takeBreaker(time.Now())
		if wait == 0 {
			break
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
	if err := n.opens.Wait(ctx); err != nil {
		return err
	}
	if u == turnProbe {
		return l.probes.Wait(ctx)
	}
	return l.opens.wait(ctx, headStarts[u])
}

// pollPause is the shortest mean time between two polls of a container with
// which all that are polled together leave a third of the probes to others, and
// those that have something to read half of the opens.
func (l *limits) pollPause(busy bool) time.Duration {
	seconds := 1.5 * float64(l.polled.Load()) / float64(l.probes.Limit())
	if busy {
		seconds = 2 * float64(l.busy.Load()) / l.opens.perSecond
	}
	return time.Duration(seconds * float64(time.Second))
}

// setBusy counts a polled container as busy or not, and returns what it is now.
func (l *limits) setBusy(was, is bool) bool {
	switch {
	case is && !was:
		l.busy.Add(1)
	case was && !is:
		l.busy.Add(-1)
	}
	return is
}

// report tells the node's breaker how a request ended. unreachable means that
// the kubelet could not be talked to; everything else proves that it could.
func (l *limits) report(node string, unreachable bool) {
	n := l.node(node)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.breaker.report(time.Now(), unreachable)
}

func (n *nodeLimits) takeBreaker(now time.Time) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.breaker.take(now)
}

// acquireFollow takes one of the node's follow slots. When all are taken and
// evict is set, an idle follow is asked to step back to polling; the caller
// polls meanwhile.
func (l *limits) acquireFollow(t *target, node string, urgent, evict bool) bool {
	n := l.node(node)
	l.mu.Lock()
	defer l.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if now := time.Now(); n.cap < l.followCap && now.After(n.restoreAt) {
		n.cap = l.followCap
	}
	if !urgent && (len(n.follows) >= n.cap || l.follows >= l.totalFollow) {
		if evict {
			n.evictFor(t)
		}
		return false
	}
	n.follows[t] = struct{}{}
	l.follows++
	return true
}

// releaseFollow gives the slot back. Safe without having one.
func (l *limits) releaseFollow(t *target, node string) {
	n := l.node(node)
	l.mu.Lock()
	defer l.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, has := n.follows[t]; has {
		delete(n.follows, t)
		l.follows--
	}
}

// evictFor asks the follow that brings least to stop, if it has been silent long
// enough to be polled instead, or brings far less than t would.
func (n *nodeLimits) evictFor(t *target) {
	now := time.Now()
	var idlest *target
	least := math.Inf(1)
	for o := range n.follows {
		if rate := o.rate.get(now); rate < least {
			idlest, least = o, rate
		}
	}
	if idlest == nil {
		return
	}
	silent, rate := now.Sub(time.Unix(0, idlest.lastData.Load())), t.rate.get(now)
	if silent > idleBeforePoll && rate > least+idleBy || silent > quiet && rate > busier*least+busierBy || rate > muchBusier*least+muchBusierBy {
		idlest.stepBack()
	}
}

// staysOnRotated notes that follows of the node do not notice rotations, as with
// kubelets before 1.29.
func (l *limits) staysOnRotated(node string) {
	n := l.node(node)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.blind = true
}

func (l *limits) isBlind(node string) bool {
	n := l.node(node)
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.blind
}

// inotifyExhausted halves the node's follows for a while: other daemons of the
// node need inotify instances too.
func (l *limits) inotifyExhausted(node string) {
	n := l.node(node)
	l.mu.Lock() // followCap
	defer l.mu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if now.Before(n.restoreAt) && n.cap < l.followCap && n.restoreAt.Sub(now) > inotifyPenalty-time.Minute {
		return // one step per minute: many targets report the same thing
	}
	n.cap = max(min(n.cap, len(n.follows))/2, 1)
	n.restoreAt = now.Add(inotifyPenalty)
}

// breaker stops requests to a node whose kubelet cannot be reached, except one
// at a time to find out whether it is back.
type breaker struct {
	failures int
	opened   int
	until    time.Time
	probing  bool
	probeAt  time.Time
}

// take returns how long to wait before asking again; 0 admits the caller.
func (b *breaker) take(now time.Time) time.Duration {
	if b.failures < breakerFailures {
		return 0
	}
	if now.Before(b.until) {
		return b.until.Sub(now) + rand.N(time.Second)
	}
	// A probe whose end was never reported must not lock the node out.
	if b.probing && now.Sub(b.probeAt) < breakerMax {
		return time.Second + rand.N(time.Second)
	}
	b.probing, b.probeAt = true, now
	return 0
}

func (b *breaker) report(now time.Time, unreachable bool) {
	b.probing = false
	if !unreachable {
		b.failures, b.opened = 0, 0
		return
	}
	b.failures++
	if b.failures >= breakerFailures {
		wait := breakerMax
		if b.opened < 5 {
			wait = breakerFirst << b.opened
		}
		b.opened++
		b.until = now.Add(wait)
	}
}
