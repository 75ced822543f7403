package kubevents

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

const (
	pageSize = 200
	// maxBatch bounds the occurrences of one batch, and the removals that wait.
	maxBatch = 1000
	// maxBytes bounds the messages of one batch.
	maxBytes = 1 << 20
	// watchTimeout and its jitter are how long the API server is asked to keep
	// a watch open. Its end renews the contact of a cluster where nothing
	// happens: API servers send no bookmarks for events, which they do not cache.
	watchTimeout, watchJitter = 4 * time.Minute, 2 * time.Minute
	// podPatience is how long an occurrence waits for its pod to become known:
	// pods and events come through different watches.
	podPatience = 3 * time.Second
	// backoffFirst and backoffMax bound the wait after failures in a row.
	backoffFirst, backoffMax = 500 * time.Millisecond, time.Minute
)

var (
	errExpired  = errors.New("the API server has forgotten the resource version")
	errNotOwner = errors.New("another replica collects events now")
)

// scope collects the events of one namespace, or of all. One goroutine runs it.
type scope struct {
	c         *Collector
	namespace string // "" for all
	lw        cache.ListerWatcherWithContext
	problems  []string // guarded by Collector.mu

	mu     sync.Mutex // guards what follows; only run's goroutine writes, and load before it
	place  place
	seen   map[string]seen // by uid
	synced bool
}

func (s *scope) placeMark() model.Mark {
	return model.Mark{Key: atPrefix + s.namespace, Value: s.place.encode()}
}

// marks are those of the place and of all events that are remembered.
func (s *scope) marks() []model.Mark {
	s.mu.Lock()
	defer s.mu.Unlock()
	marks := []model.Mark{s.placeMark()}
	for uid, e := range s.seen {
		marks = append(marks, model.Mark{Key: seenPrefix + uid, Value: e.encode()})
	}
	return marks
}

// adoptPlace takes a stored place, unless the present one is newer.
func (s *scope) adoptPlace(p place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.place.version == "" && p.contact >= s.place.contact || s.place.version != "" && newer(p.version, s.place.version) {
		s.place = p
	}
}

func (s *scope) adoptSeen(uid string, e seen) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, known := s.seen[uid]; !known || newer(e.version, old.version) {
		s.seen[uid] = e
	}
}

// run lists and watches until ctx ends.
func (s *scope) run(ctx context.Context) {
	failures, refusals := 0, 0
	owner := false
	for ctx.Err() == nil {
		if !s.c.opts.Owner() {
			owner = false
			_ = sleep(ctx, ownerInterval)
			continue
		}
		if !s.permitted(ctx) {
			_ = sleep(ctx, min(ownerInterval<<min(refusals, 10), accessInterval))
			refusals++
			continue
		}
		refusals = 0
		begin := time.Now()
		var err error
		if !owner {
			err = s.c.takeOver(ctx, s)
		}
		if err == nil {
			owner = true
			err = s.whileOwner(ctx)
		}
		if time.Since(begin) > backoffMax {
			failures = 0
		}
		switch {
		case err == nil:
			failures = 0
			continue
		case ctx.Err() != nil, errors.Is(err, errNotOwner):
			owner = false
			continue
		case errors.Is(err, errExpired):
			s.mu.Lock()
			s.place.version = ""
			s.mu.Unlock()
			if failures == 0 { // at once: the next may not expire so soon
				failures++
				continue
			}
		}
		limit := min(backoffFirst<<min(failures, 10), backoffMax)
		failures++
		wait := limit/10 + rand.N(limit)
		s.c.metrics.failures.Inc()
		s.c.log.Warn("collecting events failed; it goes on from the last stored one", "namespace", s.namespace, "err", err, "wait", wait.Round(time.Millisecond))
		_ = sleep(ctx, wait)
	}
}

// whileOwner is sync, ended when this process is not the owner any more.
func (s *scope) whileOwner(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	defer func() { cancel(nil); <-done }()
	go func() {
		defer close(done)
		for sleep(ctx, ownerInterval) == nil {
			if !s.c.opts.Owner() {
				cancel(errNotOwner)
			}
		}
	}()
	err := s.sync(ctx)
	if err != nil && context.Cause(ctx) != nil {
		return context.Cause(ctx)
	}
	return err
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

// sync lists if need be and watches once. It returns nil when the watch ended
// by itself.
func (s *scope) sync(ctx context.Context) error {
	if s.place.version == "" {
		if err := s.list(ctx); err != nil {
			return err
		}
	}
	return s.watch(ctx)
}

// list stores what advanced since the scope was last in contact, and forgets
// events that are gone.
func (s *scope) list(ctx context.Context) error {
	s.c.metrics.lists.Inc()
	start := time.Now()
	gone := maps.Clone(s.seen)
	o := metav1.ListOptions{Limit: pageSize}
	for first := true; ; first = false {
		got, err := s.lw.ListWithContext(ctx, o)
		if err != nil {
			return expired(fmt.Errorf("listing events: %w", err))
		}
		page, ok := got.(*corev1.EventList)
		if !ok {
			return fmt.Errorf("listing events: the answer is a %T", got)
		}
		if first && s.place.floor != "" && newer(s.place.floor, page.ResourceVersion) {
			s.mu.Lock()
			s.place.floor = "" // versions have begun anew, as after a restored etcd
			s.mu.Unlock()
		}
		b := s.newBatch()
		for i := range page.Items {
			delete(gone, string(page.Items[i].UID))
			b.add(&page.Items[i])
		}
		if o.Continue = page.Continue; o.Continue != "" {
			if err := b.commit(ctx); err != nil {
				return err
			}
			continue
		}
		b.place.version = page.ResourceVersion
		b.gap(start)
		b.place.contact = start.UnixNano()
		for uid := range gone {
			b.remove(uid)
		}
		return b.commit(ctx)
	}
}

// expired turns the error of a resource version that is too old into errExpired.
func expired(err error) error {
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return fmt.Errorf("%w: %w", errExpired, err)
	}
	return err
}

// watch stores occurrences as they come.
func (s *scope) watch(ctx context.Context) error {
	timeout := watchTimeout + rand.N(watchJitter)
	seconds := int64(timeout / time.Second)
	start := time.Now()
	w, err := s.lw.WatchWithContext(ctx, metav1.ListOptions{
		ResourceVersion: s.place.version, TimeoutSeconds: &seconds, AllowWatchBookmarks: true,
	})
	if err != nil {
		return expired(fmt.Errorf("watching events: %w", err))
	}
	defer w.Stop()
	s.mu.Lock()
	s.synced = true
	s.mu.Unlock()
	b := s.newBatch()
	for {
		open, err := b.gather(ctx, w.ResultChan())
		if err != nil {
			return err
		}
		if silent := b.place.contact < start.UnixNano(); !open && silent && time.Since(start) >= timeout/2 {
			if err := s.verify(ctx); err != nil {
				return err
			}
			// It was open for minutes: what had happened before it has come.
			b.place.contact = start.UnixNano()
		}
		if err := b.commit(ctx); err != nil {
			return err
		}
		if !open {
			if time.Since(start) < time.Second {
				return errors.New("the watch of events ended at once")
			}
			return nil
		}
		b = s.newBatch()
	}
}

// verify looks, after a watch in which nothing came, whether resource versions
// have begun anew, as they do when etcd was restored from a backup: such a watch
// waits for a version that lies far ahead.
func (s *scope) verify(ctx context.Context) error {
	got, err := s.lw.ListWithContext(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return fmt.Errorf("listing events: %w", err)
	}
	if page, ok := got.(*corev1.EventList); ok && newer(s.place.version, page.ResourceVersion) {
		return errExpired
	}
	return nil
}

// batch is what is about to be stored, and the state behind it.
type batch struct {
	s       *scope
	place   place
	changed map[string]seen // by uid
	removed map[string]bool
	waiting []occurrence
	bytes   int                 // of waiting's messages
	entry   model.StreamEntries // a gap
}

// occurrence is an event object that shows an advance.
type occurrence struct {
	event *corev1.Event
	ts    int64
	count int32
}

func (s *scope) newBatch() *batch {
	return &batch{s: s, place: s.place, changed: make(map[string]seen), removed: make(map[string]bool)}
}

// add takes what the object shows, if it is not stored yet.
func (b *batch) add(e *corev1.Event) {
	uid := string(e.UID)
	now := occurrence{event: e, ts: timestampOf(e), count: countOf(e)}
	mark := seen{version: e.ResourceVersion, namespace: e.Namespace, count: now.count, ts: now.ts}
	if old, pending := b.changed[uid]; pending {
		if old.count == mark.count && old.ts == mark.ts || !newer(mark.version, old.version) {
			return
		}
	} else if !b.s.advances(uid, mark) {
		return
	}
	b.changed[uid] = mark
	delete(b.removed, uid)
	b.waiting = append(b.waiting, now)
	b.bytes += len(e.Message)
}

// remove notes that an event is gone.
func (b *batch) remove(uid string) {
	if _, known := b.s.seen[uid]; known || b.changed[uid] != (seen{}) {
		delete(b.changed, uid)
		b.removed[uid] = true
	}
}

// gap notes that events may have come and gone since the last contact.
func (b *batch) gap(now time.Time) {
	last := b.place.contact
	if last == 0 || now.UnixNano()-last <= int64(b.s.c.opts.TTL) {
		return // first contact is nobody's gap
	}
	b.entry = gapEntry(b.s.namespace, last, now.Add(-b.s.c.opts.TTL).UnixNano())
	b.s.c.log.Warn("events may be missing: they were not watched for longer than the API server keeps them",
		"namespace", b.s.namespace, "since", time.Unix(0, last).UTC().Format(time.RFC3339))
}

// gather takes events from a watch: from the first one on for one flush
// interval, longer if the pod of one is not known yet. It returns early, with
// open false, when the watch has ended.
func (b *batch) gather(ctx context.Context, events <-chan watch.Event) (open bool, err error) {
	var timer *time.Timer
	var due <-chan time.Time
	var began time.Time
	for {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-due:
			if time.Since(began) < podPatience && b.podMissing() {
				timer.Reset(b.s.c.opts.FlushInterval)
				continue
			}
			return true, nil
		case e, ok := <-events:
			if !ok {
				return false, nil
			}
			if err := b.take(e); err != nil {
				return false, err
			}
			if len(b.waiting) >= maxBatch || b.bytes >= maxBytes || len(b.removed) >= maxBatch {
				return true, nil
			}
			if due == nil && len(b.waiting) > 0 {
				began, timer = time.Now(), time.NewTimer(b.s.c.opts.FlushInterval)
				defer timer.Stop()
				due = timer.C
			}
		}
	}
}

// take looks at one message of a watch.
func (b *batch) take(e watch.Event) error {
	if e.Type == watch.Error {
		return expired(fmt.Errorf("watching events: %w", apierrors.FromObject(e.Object)))
	}
	event, ok := e.Object.(*corev1.Event)
	if !ok {
		return fmt.Errorf("watching events: the API server sent a %T", e.Object)
	}
	if !newer(event.ResourceVersion, b.place.version) {
		return nil // sent again
	}
	switch e.Type {
	case watch.Added, watch.Modified:
		b.add(event)
	case watch.Deleted:
		b.remove(string(event.UID))
	case watch.Bookmark:
	}
	b.place.version, b.place.contact = event.ResourceVersion, time.Now().UnixNano()
	return nil
}

// podMissing says whether an occurrence waits for its pod, which ought to be
// there: the event is young.
func (b *batch) podMissing() bool {
	for _, o := range b.waiting {
		ref := &o.event.InvolvedObject
		if ref.Kind != "Pod" || time.Since(time.Unix(0, o.ts)) > time.Minute {
			continue
		}
		if _, state := b.s.c.opts.Pods(ref.Namespace, ref.Name, string(ref.UID), ""); state == PodUnknown {
			return true
		}
	}
	return false
}

// commit stores the batch with the state behind it, which becomes the scope's.
func (b *batch) commit(ctx context.Context) error {
	s := b.s
	if b.place == s.place && len(b.waiting) == 0 && len(b.removed) == 0 {
		return nil
	}
	var out model.Batch
	if len(b.entry.Entries) > 0 {
		out.Streams = append(out.Streams, b.entry)
	}
	s.c.render(&out, b.waiting)
	for uid, e := range b.changed {
		out.Marks = append(out.Marks, model.Mark{Key: seenPrefix + uid, Value: e.encode()})
	}
	for uid := range b.removed {
		out.Marks = append(out.Marks, model.Mark{Key: seenPrefix + uid})
	}
	out.Marks = append(out.Marks, model.Mark{Key: atPrefix + s.namespace, Value: b.place.encode()})
	if err := s.c.append(ctx, &out); err != nil {
		s.c.metrics.appendFailures.Inc()
		return fmt.Errorf("storing events: %w", err)
	}
	s.c.metrics.stored(b.waiting)
	if len(b.entry.Entries) > 0 {
		s.c.metrics.gaps.Inc()
		if s.c.opts.OnGap != nil {
			s.c.opts.OnGap(s.namespace)
		}
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.place = b.place
	for uid, e := range b.changed {
		s.seen[uid] = e
	}
	for uid := range b.removed {
		delete(s.seen, uid)
	}
	if len(s.seen) <= s.c.opts.MaxSeen {
		return nil
	}
	var less model.Batch
	s.forget(s.c.opts.MaxSeen, &less)
	less.Marks = append(less.Marks, s.placeMark())
	// Should this fail, the marks stay until the events are gone.
	_ = s.c.append(ctx, &less)
	return nil
}
