package podlogs

import (
	"context"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// claimLoop asks the other replicas for pods. Called without the lock, as all
// here that do not say otherwise.
func (s *sharing) claimLoop(ctx context.Context) {
	tick := time.NewTicker(claimRetry)
	defer tick.Stop()
	for ctx.Err() == nil {
		pods := s.claimable()
		if len(pods) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-s.wake:
			case <-tick.C:
			}
			continue
		}
		ask, cancel := context.WithTimeout(ctx, claimTimeout)
		claim := s.share.Claim(ask, pods)
		cancel()
		live := s.settle(ctx, pods, claim)
		if live > 0 {
			// What others still read can wait there better than here.
			_ = s.pace.WaitN(ctx, min(live, s.pace.Burst()))
		}
	}
}

// candidate is what somebody knows of a container.
type candidate struct {
	saved
	// ours says that the lines before the anchor are in this replica's store,
	// marked that the position is there as the target's mark.
	ours, marked bool
	// reader says that it is the reader's own word, which no copy of the same
	// epoch is newer than.
	reader bool
	stamp  int64
}

// newer says which of two is to be believed.
func (a *candidate) newer(b *candidate) bool {
	switch {
	case b == nil:
		return true
	case a.epoch != b.epoch:
		return a.epoch > b.epoch
	case a.reader != b.reader:
		return a.reader
	}
	return a.stamp > b.stamp
}

// within says that this position is not further than the other one, of which
// this replica's store holds everything: what lies between them is not to be
// stored there again. Anchors of one time are of one group of lines.
func (p *position) within(own *position) bool {
	switch {
	case p.instance != own.instance:
		return own.restart > p.restart
	case p.done != own.done:
		return own.done
	}
	return own.anchor.valid() && (!p.anchor.valid() || p.anchor.ts <= own.anchor.ts)
}

// saved decodes a copy.
func (c *copied) saved() (saved, error) {
	var v saved
	var err error
	if v.pos, v.epoch, err = decodeShared(c.position); err != nil {
		return v, err
	}
	v.startLate = c.late
	v.labels = labels.EmptyLabels()
	if c.labels != nil {
		v.labels, err = decodeLabels(c.labels)
	}
	return v, err
}

// candidate decodes what another replica says.
func (h *Held) candidate(now time.Time) (*candidate, error) {
	cp := copied{position: h.Position, labels: h.Labels, late: h.Late}
	v, err := cp.saved()
	if err != nil {
		return nil, err
	}
	if h.Empty {
		age := time.Duration(h.EmptyMillis) * time.Millisecond
		v.contact = now.Add(-age)
		v.startLate = v.startLate || !h.Own && age > emptyCopyLapse
	}
	return &candidate{saved: v, reader: h.Own, stamp: h.Stamp}, nil
}

// decision is what is known of one pod, in the end.
type decision struct {
	ref PodRef
	// best is what others know, own what this replica has stored, by container;
	// when it is decided, best is what to go on from.
	best, own map[string]*candidate
	epoch     int64 // the highest that was met
	// finished says that its end is stored already.
	finished bool
	kind     string
}

// settle takes over the pods that may be, and returns how many containers others
// were reading.
func (s *sharing) settle(ctx context.Context, pods []PodRef, claim Claim) (live int) {
	c := s.c
	c.mu.Lock()
	now := time.Now()
	decisions := s.decide(pods, claim, now)
	var b model.Batch
	for _, d := range decisions {
		s.prepare(d, &b, now)
	}
	c.mu.Unlock()
	err := s.append(ctx, &b)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, uid := range claim.Later {
		if p := s.pods[uid]; p != nil {
			p.tryAt = now.Add(claimRetry)
		}
	}
	for _, d := range decisions {
		if err != nil {
			if p := s.pods[d.ref.UID]; p != nil {
				p.tryAt = time.Now().Add(claimRetry)
			}
			continue
		}
		s.take(d)
		if d.kind == handoverLive {
			live += len(d.best)
		}
	}
	return live
}

// decide chooses the newest of what is known. The lock is held.
func (s *sharing) decide(pods []PodRef, claim Claim, now time.Time) []*decision {
	byUID := make(map[string]*decision, len(pods))
	var list []*decision
	for _, ref := range pods {
		if !slices.Contains(claim.Later, ref.UID) {
			d := &decision{ref: ref, best: make(map[string]*candidate), own: make(map[string]*candidate)}
			byUID[ref.UID] = d
			list = append(list, d)
		}
	}
	s.gather(byUID, claim, now)
	patient := claim.Missing && now.Sub(claim.MissingSince) < missingPatience
	return slices.DeleteFunc(list, func(d *decision) bool {
		p := s.pods[d.ref.UID]
		if p == nil || p.state != podClaiming {
			return true // it is not to be had any more
		}
		for container, own := range d.own {
			if x := d.best[container]; x == nil || x.pos.within(&own.pos) {
				d.best[container] = own
			}
		}
		if len(d.best) > 0 {
			return false
		}
		if patient && !d.finished && !s.fresh(p) {
			p.tryAt = now.Add(claimRetry)
			return true
		}
		p.inherited = claim.Missing
		return false
	})
}

// gather collects what is known of pods: here, and by others. The lock is held.
func (s *sharing) gather(pods map[string]*decision, claim Claim, now time.Time) {
	offer := func(k targetKey, x *candidate) {
		d := pods[k.uid]
		if d == nil {
			return
		}
		d.epoch = max(d.epoch, x.epoch)
		of := d.best
		if x.ours {
			of = d.own
		}
		if x.newer(of[k.container]) {
			of[k.container] = x
		}
	}
	for k, v := range s.c.saved {
		if v.pos.instance != "" {
			offer(k, &candidate{saved: v, ours: true, marked: true, reader: true})
		}
	}
	for i := range claim.Held {
		h := &claim.Held[i]
		if h.Gone {
			if d := pods[h.UID]; d != nil {
				d.finished = true
			}
			continue
		}
		x, err := h.candidate(now)
		if err != nil {
			s.c.log.warn("held", "another replica's position cannot be read; it is not used", "target", h.key().String(), "err", err)
			continue
		}
		offer(h.key(), x)
	}
	for uid := range pods {
		for container, cp := range s.copies[uid] {
			h := cp.held(targetKey{uid, container}, now)
			if x, err := h.candidate(now); err == nil {
				offer(h.key(), x)
			}
			if len(cp.through) > 0 {
				h.Position, h.Empty = cp.through, false
				if x, err := h.candidate(now); err == nil {
					x.ours = true
					offer(h.key(), x)
				}
			}
		}
	}
}

// prepare puts what is decided about a pod into a batch. The lock is held.
func (s *sharing) prepare(d *decision, b *model.Batch, now time.Time) {
	d.kind = handoverUnknown
	for container := range s.copies[d.ref.UID] {
		dropCopy(targetKey{d.ref.UID, container}, b)
	}
	epoch := max(now.UnixMilli(), d.epoch+1)
	for container, x := range d.best {
		k := targetKey{d.ref.UID, container}
		if d.finished {
			dropOwn(k, b)
			continue
		}
		switch {
		case x.ours && d.kind == handoverUnknown:
			d.kind = handoverOwn
		case x.ours:
		case x.reader:
			d.kind = handoverLive
		case d.kind != handoverLive:
			d.kind = handoverCopy
		}
		if x.ours && x.marked && x.epoch == d.epoch {
			continue // goes on where it ended
		}
		x.epoch = epoch
		if !x.ours {
			x.pos.taken = x.pos.anchor.valid()
		}
		b.Marks = append(b.Marks, model.Mark{Key: k.mark(), Value: x.pos.encodeShared(epoch)})
		if !x.labels.IsEmpty() {
			b.Marks = append(b.Marks, model.Mark{Key: k.labelsMark(), Value: encodeLabels(x.labels)})
		}
	}
}

// take begins to read a pod. The lock is held.
func (s *sharing) take(d *decision) {
	c, uid := s.c, d.ref.UID
	delete(s.copies, uid)
	p := s.pods[uid]
	if d.finished {
		for container := range d.best {
			delete(c.saved, targetKey{uid, container})
		}
		delete(s.pods, uid)
		return
	}
	for container, x := range d.best {
		c.saved[targetKey{uid, container}] = x.saved
	}
	if p == nil || p.state != podClaiming || c.closing {
		return // what is known of it is kept
	}
	s.handovers.WithLabelValues(d.kind).Inc()
	p.state = podMine
	if !s.owns(p.ref) {
		p.lostAt = time.Now()
	}
	if p.pod != nil {
		c.bring(p.pod)
	}
	if p.gone {
		delete(s.pods, uid)
		s.finish(uid)
	}
}

// finish ends the targets of a pod that went while it was being claimed.
func (s *sharing) finish(uid string) {
	c := s.c
	for _, k := range c.pods[uid] {
		if t := c.targets[k]; t != nil {
			t.podDeleted()
		}
	}
	for k, v := range c.saved {
		switch {
		case k.uid != uid:
		case v.labels.IsEmpty():
			c.forget(k)
		default:
			c.bury(k, v)
		}
	}
}
