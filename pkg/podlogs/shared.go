package podlogs

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

// sharing is what a collector knows of pods that it shares with other replicas.
// Its methods are called with the collector's lock, except where they say
// otherwise.
type sharing struct {
	c     *Collector
	share Share
	pods  map[string]*sharedPod
	// nodes counts the pods of each node.
	nodes map[string]int
	// copies are positions of other replicas' targets, by pod uid and container.
	copies map[string]map[string]copied
	// finished are pods whose end is stored, since when: somebody may ask for
	// them who has not heard of it.
	finished map[string]time.Time
	// drops are marks to be removed with the next sweep.
	drops  []model.Mark
	loaded bool
	wake   chan struct{} // holds a token when a pod is to be claimed
	dirty  dirtyTargets  // has a lock of its own
	// pace admits pods that somebody reads until they are asked for: no faster
	// than they can be opened here.
	pace      *rate.Limiter
	handovers *prometheus.CounterVec
}

// sharedPod is a pod that some replica reads.
type sharedPod struct {
	ref   PodRef
	pod   *corev1.Pod // nil if it was never seen
	state podState
	// gone says that the pod's object is gone, since when, and who was to read it.
	gone      bool
	goneAt    time.Time
	lastOwner string
	// tryAt is when a pod that is being claimed is to be asked for.
	tryAt time.Time
	// lostAt is since when a pod that is being read belongs to another replica.
	lostAt time.Time
	// inherited says that somebody may have read the pod who could not be asked.
	inherited bool
}

// podState says what a pod is to this replica.
type podState int

const (
	podForeign  podState = iota // somebody else's
	podClaiming                 // ours, and positions are being asked for
	podMine                     // being read
)

// How a pod came or went, in metrics.
const (
	handoverLive     = "live"     // from a replica that read it until now
	handoverCopy     = "copy"     // with the copy of a position
	handoverOwn      = "own"      // with the position of an earlier time
	handoverUnknown  = "unknown"  // with nothing
	handoverReleased = "released" // to another replica
)

func newSharing(c *Collector) *sharing {
	s := &sharing{
		c: c, share: c.opts.Share,
		pods: make(map[string]*sharedPod), nodes: make(map[string]int),
		copies: make(map[string]map[string]copied), finished: make(map[string]time.Time),
		wake: make(chan struct{}, 1), dirty: newDirtyTargets(),
		pace: rate.NewLimiter(rate.Limit(c.opts.OpensPerSecond), c.opts.OpensBurst),
		handovers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: metricPrefix + "handovers_total", Help: "Pods taken over by this replica or released by it, by where their positions came from.",
		}, []string{"kind"}),
	}
	for _, kind := range []string{handoverLive, handoverCopy, handoverOwn, handoverUnknown, handoverReleased} {
		s.handovers.WithLabelValues(kind)
	}
	return s
}

func (s *sharing) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	return errors.Join(r.Register(s.handovers), r.Register(sharedCollector{s.c}))
}

// runShared starts what sharing takes; stop ends it, after ctx has ended and
// everything is stored. Called without the lock.
func (c *Collector) runShared(ctx context.Context) (stop func()) {
	s := c.shared
	if s == nil {
		return func() {}
	}
	changed, unsubscribe := s.share.Subscribe()
	var wg sync.WaitGroup
	wg.Go(func() { s.watch(ctx, changed) })
	wg.Go(func() { s.claimLoop(ctx) })
	wg.Go(func() { s.replicateLoop(ctx) })
	return func() {
		unsubscribe()
		wg.Wait()
		final, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalReplicate)
		defer cancel()
		s.replicate(final)
	}
}

// watch follows the comings and goings of replicas.
func (s *sharing) watch(ctx context.Context, changed <-chan struct{}) {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			s.c.mu.Lock()
			s.reassess()
			s.c.mu.Unlock()
		case <-tick.C:
			s.sweep(ctx)
		}
	}
}

func (s *sharing) owns(p PodRef) bool {
	return p.Node != "" && s.share.Owner(p) == s.share.Self()
}

// reads says whether the pod is this replica's, also where nothing is shared.
// Called with or without the lock.
func (s *sharing) reads(pod *corev1.Pod) bool {
	return s == nil || s.owns(PodRef{UID: string(pod.UID), Node: pod.Spec.NodeName})
}

// admit notes a pod that was seen. It says whether the pod is to be read now.
func (s *sharing) admit(pod *corev1.Pod) bool {
	uid := string(pod.UID)
	p := s.pods[uid]
	if p == nil {
		p = &sharedPod{ref: PodRef{UID: uid}}
		s.pods[uid] = p
	}
	if p.gone {
		return false // an event that is late
	}
	if p.pod == nil || newerVersion(pod.ResourceVersion, p.pod.ResourceVersion) {
		p.pod = pod
	}
	if p.ref.Node == "" {
		if pod.Spec.NodeName == "" {
			return false // nothing of it runs
		}
		p.ref.Node = pod.Spec.NodeName
		s.nodes[p.ref.Node]++
		s.countNodes()
	}
	if p.state != podForeign || !s.c.synced || s.share.Fenced() || !s.owns(p.ref) {
		return p.state == podMine
	}
	if s.fresh(p) {
		p.state = podMine
		return true
	}
	s.claim(p)
	return false
}

// fresh says that nobody else can have read the pod.
func (s *sharing) fresh(p *sharedPod) bool {
	if p.pod == nil || !s.share.Settled() || time.Since(p.pod.CreationTimestamp.Time) > freshPod || len(s.copies[p.ref.UID]) > 0 {
		return false
	}
	for _, v := range containerViews(p.pod) {
		if _, ok := s.c.saved[v.key]; ok {
			return false
		}
	}
	return true
}

// countNodes tells how many nodes there are, once all pods have been seen.
func (s *sharing) countNodes() {
	if s.c.synced {
		s.c.limits.spread(s.c.opts.NodeFollowCap, s.share.SetNodes(len(s.nodes)))
	}
}

// claim begins to ask for a pod.
func (s *sharing) claim(p *sharedPod) {
	p.state, p.tryAt, p.inherited = podClaiming, time.Time{}, false
	notify(s.wake)
	if p.pod != nil {
		s.c.life.seen(p.pod)
	}
}

// gone notes that the pod's object is gone, and says whether the pod is read here.
func (s *sharing) gone(uid string) bool {
	p := s.pods[uid]
	if p == nil || p.gone {
		return false
	}
	s.leaveNode(p)
	if p.state == podMine {
		delete(s.pods, uid)
		return true
	}
	p.gone, p.goneAt, p.lastOwner = true, time.Now(), s.share.Owner(p.ref)
	return false
}

func (s *sharing) leaveNode(p *sharedPod) {
	if p.pod == nil || p.ref.Node == "" {
		return
	}
	if s.nodes[p.ref.Node]--; s.nodes[p.ref.Node] <= 0 {
		delete(s.nodes, p.ref.Node)
		s.countNodes()
	}
}

// allSeen begins with the pods that exist. What is left of others was finished by
// those who took them over.
func (s *sharing) allSeen(alive map[string]bool) {
	if s.share.TakenOver() {
		var b model.Batch
		for k := range s.c.saved {
			if !alive[k.uid] {
				delete(s.c.saved, k)
				dropOwn(k, &b)
			}
		}
		for uid, of := range s.copies {
			if alive[uid] {
				continue
			}
			for container := range of {
				dropCopy(targetKey{uid, container}, &b)
			}
			delete(s.copies, uid)
		}
		s.drops = append(s.drops, b.Marks...)
	}
	s.countNodes()
	s.reassess()
}

// reassess brings all pods into line with the replicas that there are.
func (s *sharing) reassess() {
	if !s.c.synced || s.c.closing {
		return
	}
	s.countNodes()
	fenced, now := s.share.Fenced(), time.Now()
	for _, p := range s.pods {
		owned := !fenced && s.owns(p.ref)
		switch {
		case p.state == podMine && fenced:
			s.stop(p)
		case p.state == podMine && owned:
			p.lostAt = time.Time{}
		case p.state == podMine && p.lostAt.IsZero():
			p.lostAt = now
		case p.state == podClaiming && !owned:
			p.state = podForeign
		case p.state == podForeign && owned && (!p.gone || s.unfinished(p)):
			s.claim(p)
		}
	}
	s.dirty.all(s.c.targets)
}

// unfinished says whether the end of a pod that is gone may still have to be
// stored: there is a position, or the one who was to read it died first.
func (s *sharing) unfinished(p *sharedPod) bool {
	if len(s.copies[p.ref.UID]) > 0 {
		return true
	}
	for k := range s.c.saved {
		if k.uid == p.ref.UID {
			return true
		}
	}
	last, live := s.share.Seen(p.lastOwner)
	return p.pod != nil && !live && p.goneAt.After(last)
}

// stop ends the reading of a pod; its positions are then among the saved ones.
func (s *sharing) stop(p *sharedPod) (ending []*running) {
	p.state, p.lostAt = podForeign, time.Time{}
	for _, k := range s.c.pods[p.ref.UID] {
		if r := s.c.targets[k]; r != nil {
			r.stopping, r.released, r.wanted = true, true, nil
			r.cancel()
			ending = append(ending, r)
		}
	}
	return ending
}

// adopt prepares a target that is about to start.
func (s *sharing) adopt(t *target) {
	if t.epoch == 0 {
		t.epoch = time.Now().UnixMilli()
	}
	if p := s.pods[t.key.uid]; p != nil && t.committed.instance == "" {
		t.inherited = p.inherited
	}
	s.dirty.add(t.key)
}

// sweep looks at what is left over. Called without the lock.
func (s *sharing) sweep(ctx context.Context) {
	c := s.c
	c.mu.Lock()
	if !c.synced || c.closing || s.share.Fenced() {
		c.mu.Unlock()
		return
	}
	now := time.Now()
	for uid, of := range s.copies {
		if s.pods[uid] == nil {
			p := &sharedPod{ref: PodRef{UID: uid}, gone: true, goneAt: now}
			for _, cp := range of {
				p.ref.Node = cp.node
			}
			s.pods[uid] = p
		}
	}
	orphans := make(map[string][]PodRef)
	var b model.Batch
	for _, p := range s.pods {
		switch {
		case p.state == podMine && !p.lostAt.IsZero() && now.Sub(p.lostAt) > orphanAfter:
			if owner := s.share.Owner(p.ref); owner != "" && owner != s.share.Self() {
				orphans[owner] = append(orphans[owner], p.ref)
			}
		case p.state != podForeign || !p.gone:
		case s.owns(p.ref) && s.unfinished(p):
			s.claim(p)
		case now.Sub(p.goneAt) > orphanAfter:
			s.clear(p, &b)
		}
	}
	for uid, at := range s.finished {
		if now.Sub(at) > 2*orphanAfter {
			delete(s.finished, uid)
		}
	}
	b.Marks = append(b.Marks, s.drops...)
	s.drops = nil
	c.mu.Unlock()
	if err := s.append(ctx, &b); err != nil {
		c.mu.Lock()
		s.drops = append(s.drops, b.Marks...)
		c.mu.Unlock()
	}
	for owner, pods := range orphans {
		c.opts.Logger.Info("pods that another replica owns and did not ask for are read no more", "owner", owner, "pods", len(pods))
		_, _, _ = c.Release(ctx, owner, pods)
	}
}

// clear ends what is known of a pod that is gone and was another's: its reader
// had to finish it. If that one is dead and nobody has taken the pod over, the
// copies are the last that is known, and what they say is missing is marked.
func (s *sharing) clear(p *sharedPod, b *model.Batch) {
	for container, cp := range s.copies[p.ref.UID] {
		k := targetKey{p.ref.UID, container}
		if _, live := s.share.Seen(cp.origin); !live && cp.labels != nil {
			if v, err := cp.saved(); err == nil {
				s.c.bury(k, v)
			}
		}
		dropCopy(k, b)
	}
	delete(s.copies, p.ref.UID)
	for k := range s.c.saved {
		if k.uid == p.ref.UID {
			delete(s.c.saved, k)
			dropOwn(k, b)
		}
	}
	delete(s.pods, p.ref.UID)
}

// append stores marks. Called without the lock.
func (s *sharing) append(ctx context.Context, b *model.Batch) error {
	if len(b.Marks) == 0 {
		return nil
	}
	err := s.c.opts.Sink.Append(ctx, b)
	if err != nil {
		s.c.log.warn("marks", "positions of other replicas could not be stored", "err", err)
	}
	return err
}

// SharedStatus counts pods by what they are to this replica.
type SharedStatus struct {
	// Owned pods are read here, Claimed ones are being asked for, Foreign ones
	// are other replicas'.
	Owned   int `json:"owned"`
	Claimed int `json:"claimed"`
	Foreign int `json:"foreign"`
	// Copies are positions kept for other replicas.
	Copies int `json:"copies"`
}

func (s *sharing) status() *SharedStatus {
	out := &SharedStatus{}
	for _, p := range s.pods {
		switch p.state {
		case podMine:
			out.Owned++
		case podClaiming:
			out.Claimed++
		default:
			out.Foreign++
		}
	}
	for _, of := range s.copies {
		out.Copies += len(of)
	}
	return out
}

// sharedCollector exports SharedStatus.
type sharedCollector struct{ c *Collector }

var (
	podsDesc   = prometheus.NewDesc(metricPrefix+"pods", "Pods known, by what they are to this replica.", []string{"state"}, nil)
	copiesDesc = prometheus.NewDesc(metricPrefix+"position_copies", "Positions kept for other replicas.", nil, nil)
)

// Describe implements prometheus.Collector.
func (sharedCollector) Describe(ch chan<- *prometheus.Desc) { ch <- podsDesc; ch <- copiesDesc }

// Collect implements prometheus.Collector.
func (s sharedCollector) Collect(ch chan<- prometheus.Metric) {
	st := s.c.Status().Shared
	for state, n := range map[string]int{"owned": st.Owned, "claimed": st.Claimed, "foreign": st.Foreign} {
		ch <- prometheus.MustNewConstMetric(podsDesc, prometheus.GaugeValue, float64(n), state)
	}
	ch <- prometheus.MustNewConstMetric(copiesDesc, prometheus.GaugeValue, float64(st.Copies))
}

// dirtyTargets are those whose positions are to be copied.
type dirtyTargets struct {
	mu   sync.Mutex
	set  map[targetKey]struct{}
	gone map[targetKey]string // those of vanished pods, with their node
	// told are those whose labels have been told.
	told map[targetKey]struct{}
}

// maxGone bounds those of vanished pods that could not be told: whoever keeps
// their copies forgets them by himself, a little later.
const maxGone = 10_000

func newDirtyTargets() dirtyTargets {
	return dirtyTargets{set: make(map[targetKey]struct{}), gone: make(map[targetKey]string), told: make(map[targetKey]struct{})}
}

func (d *dirtyTargets) add(k targetKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set[k] = struct{}{}
}

// all is for when others than before take the copies.
func (d *dirtyTargets) all(targets map[targetKey]*running) {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.told)
	for k := range targets {
		d.set[k] = struct{}{}
	}
}

func (d *dirtyTargets) finished(k targetKey, node string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.set, k)
	delete(d.told, k)
	d.gone[k] = node
}

// take returns what there is and forgets it.
func (d *dirtyTargets) take() (set map[targetKey]struct{}, gone map[targetKey]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	set, gone = d.set, d.gone
	d.set, d.gone = make(map[targetKey]struct{}), make(map[targetKey]string)
	return set, gone
}

// tell says whether the labels have still to be told, and notes that they are.
func (d *dirtyTargets) tell(k targetKey) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, told := d.told[k]
	d.told[k] = struct{}{}
	return !told
}

// again puts back what did not arrive.
func (d *dirtyTargets) again(list []Held) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range list {
		k := list[i].key()
		delete(d.told, k)
		switch {
		case !list[i].Gone:
			d.set[k] = struct{}{}
		case len(d.gone) < maxGone:
			d.gone[k] = list[i].Node
		}
	}
}

// touched notes that a target's position has moved. Called without locks.
func (c *Collector) touched(k targetKey) {
	if c.shared != nil {
		c.shared.dirty.add(k)
	}
}

// finished notes that the end of a target's pod is stored. Called without locks.
func (c *Collector) finished(k targetKey, node string) {
	if c.shared == nil {
		return
	}
	c.shared.dirty.finished(k, node)
	c.mu.Lock()
	c.shared.finished[k.uid] = time.Now()
	c.mu.Unlock()
}

// claimable lists pods that are to be asked for now. Called without the lock.
func (s *sharing) claimable() []PodRef {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.c.closing {
		return nil
	}
	now := time.Now()
	var list []PodRef
	for uid, p := range s.pods {
		if p.state != podClaiming || now.Before(p.tryAt) || slices.ContainsFunc(s.c.pods[uid], s.running) {
			continue
		}
		if list = append(list, p.ref); len(list) == claimBatch {
			break
		}
	}
	return list
}

// running says whether the target has a goroutine, which may be about to end.
func (s *sharing) running(k targetKey) bool { return s.c.targets[k] != nil }
