package podlogs

import (
	"context"
	"errors"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// ErrNotShared says that the collector cannot answer other replicas: it shares
// nothing, or has not read its positions yet.
var ErrNotShared = errors.New("this collector does not share pods, or is still starting")

// Release gives up pods for another replica, the taker: what reads them is
// stopped, everything it has read is stored, and its positions are returned,
// together with copies that are kept of other replicas' positions. Pods that this
// replica takes for its own are refused. It is safe for concurrent use.
func (c *Collector) Release(ctx context.Context, taker string, pods []PodRef) (held []Held, refused []string, err error) {
	s := c.shared
	if s == nil {
		return nil, nil, ErrNotShared
	}
	c.mu.Lock()
	if !s.loaded {
		c.mu.Unlock()
		return nil, nil, ErrNotShared
	}
	released := make(map[string]PodRef, len(pods))
	ending := make(map[string][]*running)
	for _, ref := range pods {
		if !s.share.Fenced() && s.owns(ref) {
			refused = append(refused, ref.UID)
			continue
		}
		released[ref.UID] = ref
		if p := s.pods[ref.UID]; p != nil && p.state == podMine {
			ending[ref.UID] = s.stop(p)
			s.handovers.WithLabelValues(handoverReleased).Inc()
		}
		for _, k := range c.pods[ref.UID] { // also those that are ending already
			if r := c.targets[k]; r != nil && r.stopping {
				ending[ref.UID] = append(ending[ref.UID], r)
			}
		}
	}
	c.mu.Unlock()
	for uid, list := range ending {
		for _, r := range list {
			select {
			case <-r.done:
				continue
			case <-ctx.Done():
			}
			if _, still := released[uid]; still {
				delete(released, uid)
				refused = append(refused, uid)
			}
		}
	}
	var b model.Batch
	c.mu.Lock()
	held = s.yield(taker, released, &b)
	c.mu.Unlock()
	// Even if that fails nothing is wrong: what stays is older than what the
	// taker will write.
	_ = s.append(context.WithoutCancel(ctx), &b)
	return held, refused, nil
}

// yield lists what is known of pods, and turns positions into copies. The lock is
// held.
func (s *sharing) yield(taker string, pods map[string]PodRef, b *model.Batch) (held []Held) {
	now := time.Now()
	for uid, of := range s.copies {
		if _, ok := pods[uid]; !ok {
			continue
		}
		for container, cp := range of {
			k := targetKey{uid, container}
			held = append(held, cp.held(k, now))
			cp.origin = taker
			s.setCopy(k, cp)
			cp.marks(k, b)
		}
	}
	for k, v := range s.c.saved {
		ref, ok := pods[k.uid]
		if !ok {
			continue
		}
		delete(s.c.saved, k)
		dropOwn(k, b)
		h, ok := s.describe(k, v, ref.Node, now)
		if !ok {
			continue
		}
		h.Own = true
		held = append(held, h)
		cp := h.copied(taker)
		cp.through = h.Position
		s.setCopy(k, cp)
		cp.marks(k, b)
	}
	for uid := range pods {
		if _, ok := s.finished[uid]; ok {
			held = append(held, Held{UID: uid, Gone: true})
		}
	}
	return held
}

// Pending counts what other replicas have given away, or may have, and this one
// has not begun to read: containers of which lines that a former reader stored are
// stored here once more. Safe at any time.
func (c *Collector) Pending() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shared == nil {
		return 0
	}
	for _, p := range c.shared.pods {
		if p.state == podClaiming {
			n++
		}
	}
	for _, t := range c.targets {
		t.mu.Lock()
		if t.committed.taken && !t.committed.done && !t.deleted {
			n++
		}
		t.mu.Unlock()
	}
	return n
}

// describe says how far a target was read, if it was.
func (s *sharing) describe(k targetKey, v saved, node string, now time.Time) (Held, bool) {
	if v.pos.instance == "" {
		return Held{}, false
	}
	h := Held{
		UID: k.uid, Node: node, Container: k.container, Position: v.pos.encodeShared(v.epoch), Stamp: now.UnixMilli(),
		Empty: !v.contact.IsZero(), Late: v.startLate,
	}
	if h.Empty {
		h.EmptyMillis = now.Sub(v.contact).Milliseconds()
	}
	if ls := v.labels; !ls.IsEmpty() {
		h.Labels = encodeLabels(ls)
	} else if ls = v.seenLabels; !ls.IsEmpty() {
		h.Labels = encodeLabels(ls)
	}
	return h, true
}

// copied is what is kept of it.
func (h *Held) copied(origin string) copied {
	c := copied{origin: origin, node: h.Node, stamp: h.Stamp, late: h.Late, position: h.Position, labels: h.Labels}
	if h.Empty {
		c.emptyAt = h.Stamp - h.EmptyMillis
	}
	return c
}

// saved is how far the target was read. Called without the target's lock, and
// with the collector's.
func (t *target) saved() saved {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := saved{pos: t.committed, labels: t.storedLabels, seenLabels: t.view.labels, epoch: t.epoch}
	if !t.committed.anchor.valid() && t.inst.id == t.committed.instance {
		v.contact, v.startLate = t.contact, t.startLate
		if t.state == StateFollowing && !v.contact.IsZero() {
			v.contact = time.Now() // a line would have come
		}
	}
	return v
}

// Keep stores copies of another replica's positions. It is safe for concurrent use.
func (c *Collector) Keep(ctx context.Context, from string, list []Held) error {
	s := c.shared
	if s == nil {
		return ErrNotShared
	}
	var b model.Batch
	c.mu.Lock()
	if !s.loaded {
		c.mu.Unlock()
		return ErrNotShared
	}
	for i := range list {
		h := &list[i]
		k := h.key()
		if h.Gone {
			if _, ok := s.copies[k.uid][k.container]; ok {
				s.removeCopy(k)
				dropCopy(k, &b)
			}
			continue
		}
		if _, _, err := decodeShared(h.Position); err != nil {
			c.log.warn("keep", "another replica's position cannot be read; it is not kept", "from", from, "err", err)
			continue
		}
		cp, before := h.copied(from), s.copies[k.uid][k.container]
		cp.through = before.through
		if cp.labels == nil {
			cp.labels = before.labels
			s.setCopy(k, cp)
			b.Marks = append(b.Marks, model.Mark{Key: k.copyMark(), Value: cp.encode()})
			continue
		}
		s.setCopy(k, cp)
		cp.marks(k, &b)
	}
	c.mu.Unlock()
	return s.append(ctx, &b)
}

// replicateLoop copies positions that have moved.
func (s *sharing) replicateLoop(ctx context.Context) {
	tick := time.NewTicker(replicateInterval)
	defer tick.Stop()
	refreshed := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if time.Since(refreshed) >= refreshEmpty {
			refreshed = time.Now()
			s.touchEmpty()
		}
		s.replicate(ctx)
	}
}

// touchEmpty makes those be copied again of which nothing is stored: no anchor
// proves later that their files are the same, only that they were empty lately.
func (s *sharing) touchEmpty() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for k, t := range s.c.targets {
		t.mu.Lock()
		empty := !t.committed.anchor.valid() && !t.contact.IsZero()
		t.mu.Unlock()
		if empty {
			s.dirty.add(k)
		}
	}
}

func (s *sharing) replicate(ctx context.Context) {
	set, gone := s.dirty.take()
	if len(set)+len(gone) == 0 {
		return
	}
	c, now := s.c, time.Now()
	list := make([]Held, 0, len(set)+len(gone))
	for k, node := range gone {
		list = append(list, Held{UID: k.uid, Node: node, Container: k.container, Gone: true})
	}
	c.mu.Lock()
	for k := range set {
		v, ok := c.saved[k]
		if r := c.targets[k]; r != nil {
			v, ok = r.saved(), true
		}
		p := s.pods[k.uid]
		if !ok || p == nil || p.state != podMine {
			continue
		}
		h, ok := s.describe(k, v, p.ref.Node, now)
		if !ok {
			continue
		}
		if !s.dirty.tell(k) {
			h.Labels = nil
		}
		list = append(list, h)
	}
	c.mu.Unlock()
	if failed := s.share.Replicate(ctx, list); len(failed) > 0 {
		s.dirty.again(failed)
	}
}
