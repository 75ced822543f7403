package sharing

import (
	"context"
	"fmt"
	"maps"
	"time"

	coordv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// Run joins the set and stays in it until ctx ends. It is to be called once. A
// Lease that another process holds under our name is waited for.
func (g *Group) Run(ctx context.Context) {
	g.mu.Lock()
	g.began = time.Now()
	g.mu.Unlock()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		g.watch(ctx)
	}()
	defer func() { <-watched }()
	if !g.acquire(ctx) {
		return
	}
	fences := make(chan struct{})
	go func() {
		defer close(fences)
		g.guard(ctx)
	}()
	defer func() { <-fences }()
	tick := time.NewTicker(renewRetry)
	defer tick.Stop()
	for ctx.Err() == nil {
		g.expire(ctx)
		g.mu.Lock()
		g.evaluate()
		due := time.Since(g.renewed) >= renewInterval && !g.deposed
		g.mu.Unlock()
		if due {
			if err := g.renew(ctx); err != nil && ctx.Err() == nil {
				g.metrics.failures.Inc()
				g.trouble("renewing the Lease of this replica failed; it is tried again", err)
			}
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// trouble notes why the Lease cannot be had, and says so once a minute.
func (g *Group) trouble(what string, err error) {
	g.mu.Lock()
	g.problem = what + ": " + err.Error()
	due := time.Since(g.warned) >= warnInterval
	if due {
		g.warned = time.Now()
	}
	g.mu.Unlock()
	if due {
		g.log.Warn(what, "lease", g.opts.Name, "err", err)
	}
}

// guard looks at the clock while a renewal waits for the API server.
func (g *Group) guard(ctx context.Context) {
	for sleep(ctx, renewRetry) == nil {
		g.mu.Lock()
		g.evaluate()
		g.mu.Unlock()
	}
}

// acquire takes our Lease. It returns false when ctx ends first.
func (g *Group) acquire(ctx context.Context) bool {
	var seen *coordv1.Lease
	var since time.Time
	for {
		ok, l, err := g.tryAcquire(ctx, seen, since)
		if ok {
			return true
		}
		if err != nil && ctx.Err() == nil {
			g.trouble("the Lease of this replica could not be taken; until it is, nothing is read", err)
		}
		if l != nil && (seen == nil || l.ResourceVersion != seen.ResourceVersion) {
			seen, since = l, time.Now()
		}
		timer := time.NewTimer(renewRetry)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
	}
}

// tryAcquire takes the Lease if nobody holds it. since is when seen was found.
func (g *Group) tryAcquire(ctx context.Context, seen *coordv1.Lease, since time.Time) (bool, *coordv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	begun := time.Now()
	l, err := g.opts.Leases.Get(ctx, g.opts.Name)
	if apierrors.IsNotFound(err) {
		fresh := &coordv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: g.opts.Name}}
		g.take(fresh, begun)
		l, err = g.opts.Leases.Create(ctx, fresh)
		if err != nil {
			return false, nil, fmt.Errorf("creating it: %w", err)
		}
		g.hold(l, begun, term{})
		return true, nil, nil
	}
	if err != nil {
		return false, nil, fmt.Errorf("reading it: %w", err)
	}
	if set := l.Labels[LabelMember]; set != "" && set != g.opts.Set {
		return false, nil, fmt.Errorf("it belongs to the set %q: give this replica another name", set)
	}
	was := holder(l)
	waited := seen != nil && seen.ResourceVersion == l.ResourceVersion && begun.Sub(since) >= leaseDuration
	if was != "" && was != g.opts.ID && !waited && !longExpired(l, begun) {
		return false, l, nil
	}
	t := term{found: true, renewed: renewTime(l), ended: renewTime(l)}
	if was != "" {
		t.unbroken = begun.Sub(t.ended) < fenceAfter && !begun.Before(t.ended)
		t.ended = t.ended.Add(leaseDuration)
	}
	l = l.DeepCopy()
	g.take(l, begun)
	if was != g.opts.ID {
		n := int32(1)
		if l.Spec.LeaseTransitions != nil {
			n = *l.Spec.LeaseTransitions + 1
		}
		l.Spec.LeaseTransitions = &n
	}
	l, err = g.opts.Leases.Update(ctx, l)
	if err != nil {
		return false, nil, fmt.Errorf("updating it: %w", err)
	}
	g.hold(l, begun, t)
	return true, nil, nil
}

// take begins a term in a Lease.
func (g *Group) take(l *coordv1.Lease, now time.Time) {
	acquired := metav1.NewMicroTime(now)
	l.Spec.AcquireTime = &acquired
	g.mu.Lock()
	defer g.mu.Unlock()
	*l = *g.filled(l, now)
}

// filled is a Lease with everything that we say in it. The lock is held, or ours
// alone.
func (g *Group) filled(l *coordv1.Lease, now time.Time) *coordv1.Lease {
	l = l.DeepCopy()
	labels, annotations := maps.Clone(l.Labels), maps.Clone(l.Annotations)
	if labels == nil {
		labels = make(map[string]string)
	}
	if annotations == nil {
		annotations = make(map[string]string)
	}
	labels[LabelMember] = g.opts.Set
	annotations[AnnotationURL] = g.opts.URL
	annotations[AnnotationState] = string(g.state)
	l.Labels, l.Annotations = labels, annotations
	seconds, id, renewed := int32(leaseDuration/time.Second), g.opts.ID, metav1.NewMicroTime(now)
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = &id, &seconds, &renewed
	return l
}

// hold notes that the Lease is ours.
func (g *Group) hold(l *coordv1.Lease, begun time.Time, t term) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.own, g.renewed, g.lastTerm, g.problem = l, begun, t, ""
	g.judgeTerm()
	g.evaluate()
}

// renew writes our Lease again.
func (g *Group) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	g.mu.Lock()
	if g.own == nil || g.deposed {
		g.mu.Unlock()
		return nil
	}
	begun := time.Now()
	l := g.filled(g.own, begun)
	g.mu.Unlock()
	out, err := g.opts.Leases.Update(ctx, l)
	switch {
	case apierrors.IsConflict(err):
		out, err = g.contested(ctx, begun)
	case apierrors.IsNotFound(err):
		l.ResourceVersion, l.UID = "", ""
		out, err = g.opts.Leases.Create(ctx, l)
	}
	if err != nil {
		// Soon again, but not at once.
		_ = sleep(ctx, renewRetry)
		return err
	}
	if out == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.own != nil {
		g.own, g.renewed, g.problem = out, begun, ""
	}
	g.evaluate()
	return nil
}

// contested looks at a Lease that somebody else has written.
func (g *Group) contested(ctx context.Context, now time.Time) (*coordv1.Lease, error) {
	l, err := g.opts.Leases.Get(ctx, g.opts.Name)
	if err != nil {
		return nil, err
	}
	if by := holder(l); by != g.opts.ID && by != "" {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.deposed = true
		g.evaluate()
		g.log.Error("another process holds the Lease of this replica, which does nothing more", "lease", g.opts.Name, "holder", by)
		return nil, nil
	}
	g.mu.Lock()
	l = g.filled(l, now)
	g.mu.Unlock()
	return g.opts.Leases.Update(ctx, l)
}

// watch follows the Leases of the set until ctx ends.
func (g *Group) watch(ctx context.Context) {
	inf := cache.NewSharedIndexInformerWithOptions(g.opts.Leases.ListWatch(LabelMember+"="+g.opts.Set), &coordv1.Lease{},
		cache.SharedIndexInformerOptions{ObjectDescription: "leases"})
	_ = inf.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		g.log.Warn("watching the Leases of the set failed; it is tried again", "err", err)
	})
	reg, err := inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { g.seen(o.(*coordv1.Lease)) },
		UpdateFunc: func(_, o any) { g.seen(o.(*coordv1.Lease)) },
		DeleteFunc: func(o any) {
			if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			if l, ok := o.(*coordv1.Lease); ok {
				g.forget(l.Name)
			}
		},
	})
	if err != nil {
		return
	}
	synced := make(chan struct{})
	go func() {
		defer close(synced)
		if cache.WaitForCacheSync(ctx.Done(), reg.HasSynced) {
			g.mu.Lock()
			g.synced = true
			close(g.known)
			g.judgeTerm()
			g.evaluate()
			g.mu.Unlock()
		}
	}()
	inf.RunWithContext(ctx)
	<-synced
}

// seen notes a member's Lease.
func (g *Group) seen(l *coordv1.Lease) {
	if l.Name == g.opts.Name {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seenLocked(l)
	g.evaluate()
}

func (g *Group) seenLocked(l *coordv1.Lease) {
	now := time.Now()
	m := g.members[l.Name]
	if m == nil {
		m = &member{seen: now}
		if longExpired(l, now) {
			m.seen = renewTime(l)
		}
		g.members[l.Name] = m
	} else if l.ResourceVersion != m.lease.ResourceVersion {
		m.seen = now
	}
	m.lease = l
	m.live = holder(l) != "" && now.Sub(m.seen) < leaseDuration
}

func (g *Group) forget(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.members, name)
	g.evaluate()
}

// expire looks for members whose Leases are not renewed. It asks for each before
// that is believed: it may be the watch that hangs.
func (g *Group) expire(ctx context.Context) {
	g.mu.Lock()
	var late []string
	for name, m := range g.members {
		if m.live && time.Since(m.seen) >= leaseDuration {
			late = append(late, name)
		}
	}
	g.mu.Unlock()
	for _, name := range late {
		get, cancel := context.WithTimeout(ctx, renewTimeout)
		l, err := g.opts.Leases.Get(get, name)
		cancel()
		switch {
		case apierrors.IsNotFound(err):
			g.forget(name)
		case err != nil:
			return // who cannot ask does not know
		default:
			g.mu.Lock()
			g.seenLocked(l)
			g.mu.Unlock()
		}
	}
}

// judgeTerm decides, once, whether others took over our pods before we came. It
// was so if one that was there before our last term ended still worked later. Who
// came later has not seen the pods that went in between.
func (g *Group) judgeTerm() {
	if !g.synced || g.own == nil || !g.lastTerm.found || g.lastTerm.unbroken {
		return
	}
	for _, m := range g.members {
		if acquired := m.lease.Spec.AcquireTime; acquired != nil && acquired.Time.Before(g.lastTerm.renewed) &&
			renewTime(m.lease).After(g.lastTerm.ended.Add(settleTime)) {
			g.takenOver = true
		}
	}
	g.lastTerm.found = false
}

// longExpired says that a Lease was not renewed for so long that no clock can be
// so wrong.
func longExpired(l *coordv1.Lease, now time.Time) bool {
	return now.Sub(renewTime(l)) > leaseDuration+maxSkew
}

func renewTime(l *coordv1.Lease) time.Time {
	if l.Spec.RenewTime == nil {
		return time.Time{}
	}
	return l.Spec.RenewTime.Time
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
