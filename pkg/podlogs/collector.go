package podlogs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	corev1 "k8s.io/api/core/v1"
)

// Collector reads the logs of all containers it finds. See the package comment.
type Collector struct {
	opts    Options
	api     API
	opener  opener
	limits  *limits
	metrics *metrics
	batcher *batcher
	log     *limitedLog
	files   *nodeFiles // nil: none are read
	known   podCache
	life    *lifecycle // nil if not wanted

	mu sync.Mutex
	// targets are those with a goroutine.
	targets map[targetKey]*running
	// pods lists the containers of each pod uid that have a target.
	pods map[string][]targetKey
	// saved are positions that no target has taken yet.
	saved    map[targetKey]saved
	quiet    map[string]bool // namespaces that opted out
	shared   *sharing        // nil where nothing is shared
	synced   bool
	closing  bool
	problems []string
	wg       sync.WaitGroup
	ctx      context.Context // of Run
	began    time.Time
}

// running is a target with its goroutine.
type running struct {
	*target
	cancel context.CancelFunc
	// wanted is set when a target that is being stopped is to be read again.
	stopping bool
	wanted   *corev1.Pod
	// released is set when it is stopped for another replica; done is closed
	// when it has ended.
	released bool
	done     chan struct{}
}

// saved is what the store knows about a target.
type saved struct {
	pos    position
	labels labels.Labels
	// seenLabels are those that the pod asks for, whether stored or not.
	seenLabels labels.Labels
	// epoch is that of the target. contact and startLate are what the target of
	// that name knew, of a run of which nothing is stored.
	epoch     int64
	contact   time.Time
	startLate bool
}

// TargetState is what is being done with a target.
type TargetState string

// The states of targets.
const (
	StateWaiting    TargetState = "waiting"     // no run of the container has a log yet
	StateCatchingUp TargetState = "catching_up" // reading what lies behind the position
	StateFollowing  TargetState = "following"   // lines arrive as they are written
	StatePolling    TargetState = "polling"     // looked at from time to time
	StateDraining   TargetState = "draining"    // reading an ended run to its end
	StateRetrying   TargetState = "retrying"    // the last read failed or ended; waiting for the next
	StateDone       TargetState = "done"        // the container has ended and all of it is stored
)

var targetStates = []TargetState{StateWaiting, StateCatchingUp, StateFollowing, StatePolling, StateDraining, StateRetrying, StateDone}

// Status is a picture of the collector at one moment.
type Status struct {
	// Shared counts pods where several replicas share them, else nil.
	Shared *SharedStatus
	// Synced says that all pods have been seen once.
	Synced bool
	// Targets counts containers by state.
	Targets map[TargetState]int
	// Problems say what keeps the collector from working, such as missing
	// permissions, each with its remedy.
	Problems []string
}

// TargetStatus describes one container.
type TargetStatus struct {
	Namespace, Pod, Container, Node string
	State                           TargetState
	// Reason says why it waits or retries.
	Reason string
	// Source is where its log is read from; FilesProblem says why not from files,
	// when it was to be.
	Source       LogSource
	FilesProblem string
	// LastLine is the timestamp of the last line stored, zero if there is none.
	LastLine time.Time
}

// New checks the options and prepares a collector; Run starts it.
func New(o Options) (*Collector, error) {
	o.setDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	c := &Collector{
		opts: o, api: o.API, opener: o.opener, limits: newLimits(&o), metrics: newMetrics(),
		log:     newLimitedLog(o.Logger),
		targets: make(map[targetKey]*running),
		pods:    make(map[string][]targetKey),
		saved:   make(map[targetKey]saved),
		quiet:   make(map[string]bool),
	}
	if c.opener == nil {
		var err error
		if c.opener, err = newAPIOpener(o.RESTConfig); err != nil {
			return nil, err
		}
	}
	if c.api == nil {
		var err error
		if c.api, err = newAPI(o.RESTConfig); err != nil {
			return nil, err
		}
	}
	if o.Lifecycle {
		c.startLifecycle()
	}
	if o.Share != nil {
		c.shared = newSharing(c)
		if err := c.shared.register(o.Registerer); err != nil {
			return nil, fmt.Errorf("registering the metrics of shared pods: %w", err)
		}
	}
	c.batcher = newBatcher(&c.opts, c.metrics, c.log)
	c.metrics.all = append(c.metrics.all, c.batcher.lag)
	files, err := newNodeFiles(&c.opts, c.metrics, c.log)
	if err != nil {
		return nil, err
	}
	if c.files = files; files != nil {
		files.back = c.wakeNode
	}
	if o.Registerer != nil {
		if err := c.metrics.register(o.Registerer, c); err != nil {
			return nil, fmt.Errorf("registering the metrics of the pod log collector: %w", err)
		}
	}
	return c, nil
}

// Run collects until ctx ends. What was read by then is stored before it
// returns. It is to be called once.
func (c *Collector) Run(ctx context.Context) error {
	c.mu.Lock()
	c.loadMarks()
	c.mu.Unlock()
	stopBatcher, batcherDone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(batcherDone)
		c.batcher.run(context.WithoutCancel(ctx), stopBatcher)
	}()
	stopSharing := c.runShared(ctx)
	c.mu.Lock()
	c.ctx, c.began = ctx, time.Now()
	c.mu.Unlock()

	if c.files != nil {
		c.wg.Go(func() { c.files.watch(ctx) })
	}
	c.discover(ctx) // returns when ctx has ended

	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	c.wg.Wait()
	close(stopBatcher)
	<-batcherDone
	stopSharing()
	return nil
}

// loadMarks reads the positions of earlier runs. The lock is held.
func (c *Collector) loadMarks() {
	marks := c.opts.Marks.Marks(MarkPrefix)
	c.life.load(marks)
	for key, value := range marks {
		k, isLabels, ok := parseMarkKey(key)
		if !ok {
			continue
		}
		s := c.saved[k]
		var err error
		if isLabels {
			s.labels, err = decodeLabels(value)
		} else {
			s.pos, s.epoch, err = decodeShared(value)
		}
		if err != nil {
			c.opts.Logger.Error("a stored position cannot be read; the container's log is read from the beginning of its file", "mark", key, "err", err)
		}
		c.saved[k] = s
	}
	if c.shared != nil {
		c.shared.load()
	}
}

// podSeen brings the targets of a pod into line with the pod.
func (c *Collector) podSeen(pod *corev1.Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shared == nil || !c.closing && c.shared.admit(pod) {
		c.bring(pod)
	}
}

// bring is podSeen for a pod that is this replica's. The lock is held.
func (c *Collector) bring(pod *corev1.Pod) {
	if c.closing {
		return
	}
	c.files.learn(pod)
	var views []*containerView
	if !c.quiet[pod.Namespace] {
		views = containerViews(pod)
	}
	uid := string(pod.UID)
	seen := make(map[targetKey]bool, len(views))
	for _, v := range views {
		seen[v.key] = true
		switch t := c.targets[v.key]; {
		case t == nil:
			c.start(v, pod.ResourceVersion)
		case t.stopping:
			t.wanted = pod
		default:
			t.update(v, pod.ResourceVersion)
		}
	}
	for _, k := range c.pods[uid] {
		if t := c.targets[k]; t != nil && !seen[k] {
			t.stopping, t.wanted = true, nil
			t.cancel()
		}
	}
}

// podGone tells the targets of a pod that its object is gone.
func (c *Collector) podGone(uid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shared != nil && !c.shared.gone(uid) {
		return
	}
	c.dismiss(uid)
}

// dismiss is podGone for a pod that is this replica's. The lock is held.
func (c *Collector) dismiss(uid string) {
	for _, k := range c.pods[uid] {
		if t := c.targets[k]; t != nil {
			t.wanted = nil
			t.podDeleted()
		}
	}
	if c.closing {
		return
	}
	for k := range c.saved {
		if k.uid == uid {
			c.forget(k)
		}
	}
}

// forget removes the marks of a container that opted out and whose pod is gone.
// What it wrote since then was not wanted, so it is no gap. The lock is held.
func (c *Collector) forget(k targetKey) {
	s := c.saved[k]
	s.pos.done, s.pos.last = true, true
	c.bury(k, s)
}

// bury launches a target that only finalizes. The lock is held.
func (c *Collector) bury(k targetKey, s saved) {
	v := &containerView{
		key: k, labels: s.labels,
		namespace: s.labels.Get("namespace"), pod: s.labels.Get("pod"), node: s.labels.Get("node"),
	}
	t := newTarget(c, v, "")
	t.committed, t.storedLabels, t.deleted, t.epoch = s.pos, s.labels, true, s.epoch
	delete(c.saved, k)
	c.launch(t)
}

// start begins reading a target. The lock is held.
func (c *Collector) start(v *containerView, version string) {
	t := newTarget(c, v, version)
	if s, ok := c.saved[v.key]; ok {
		delete(c.saved, v.key)
		t.committed, t.storedLabels, t.epoch = s.pos, s.labels, s.epoch
		if !s.contact.IsZero() {
			t.inst = instance{id: s.pos.instance, restart: s.pos.restart}
			t.contact, t.startLate = s.contact, s.startLate
		}
		t.lagFrom = s.pos.anchor.ts
	}
	if c.shared != nil {
		c.shared.adopt(t)
	}
	c.launch(t)
}

// launch starts the target's goroutine. The lock is held.
func (c *Collector) launch(t *target) {
	ctx, cancel := context.WithCancel(c.ctx)
	r := &running{target: t, cancel: cancel, done: make(chan struct{})}
	c.targets[t.key] = r
	if !slices.Contains(c.pods[t.key.uid], t.key) {
		c.pods[t.key.uid] = append(c.pods[t.key.uid], t.key)
	}
	c.wg.Go(func() {
		defer close(r.done)
		defer cancel()
		finished := t.run(ctx)
		if !finished && c.optedOut(r) {
			t.unlabel(c.ctx)
		}
		c.ended(r, finished)
	})
}

// ended forgets a target whose goroutine returns.
func (c *Collector) ended(r *running, finished bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := r.key
	delete(c.targets, k)
	c.pods[k.uid] = slices.DeleteFunc(c.pods[k.uid], func(o targetKey) bool { return o == k })
	if len(c.pods[k.uid]) == 0 {
		delete(c.pods, k.uid)
	}
	if finished {
		return
	}
	c.saved[k] = r.saved()
	if r.released && r.wanted == nil {
		return
	}
	if _, deleted := r.snapshot(); r.stopping && deleted && !c.closing && c.ctx.Err() == nil {
		c.forget(k) // the pod went while the target was being stopped
		return
	}
	if r.wanted != nil && !c.closing {
		if v := ownedView(r.wanted, k.container); v != nil {
			c.start(v, r.wanted.ResourceVersion)
		}
	}
}

// allSeen is called once, after every pod of the cluster has been seen, with
// the uids of those that exist: positions that are left belong to pods that
// were deleted meanwhile, or to living ones that opted out.
func (c *Collector) allSeen(alive map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.synced = true
	if c.closing {
		return
	}
	if c.shared != nil {
		c.shared.allSeen(alive)
	}
	for k, s := range c.saved {
		switch {
		case alive[k.uid]:
			// Kept for the day it is collected again, see start and podGone.
		case c.outside(s):
			// Kept for the day its namespace is.
		case s.labels.IsEmpty():
			c.forget(k) // there is no stream to put a gap entry into
		default:
			c.bury(k, s)
		}
	}
}

// Status returns the present state; safe at any time.
func (c *Collector) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status{Synced: c.synced, Targets: make(map[TargetState]int), Problems: append(slices.Clone(c.problems), c.files.problems()...)}
	for _, t := range c.targets {
		t.mu.Lock()
		s.Targets[t.state]++
		t.mu.Unlock()
	}
	if c.shared != nil {
		s.Shared = c.shared.status()
	}
	return s
}

// Targets describes every target, ordered by namespace, pod and container.
func (c *Collector) Targets() []TargetStatus {
	c.mu.Lock()
	all := slices.Collect(maps.Values(c.targets))
	c.mu.Unlock()
	list := make([]TargetStatus, 0, len(all))
	for _, t := range all {
		t.mu.Lock()
		s := TargetStatus{
			Namespace: t.view.namespace, Pod: t.view.pod, Container: t.key.container, Node: t.view.node,
			State: t.state, Reason: t.reason, Source: t.source, FilesProblem: t.sourceReason,
		}
		if t.lagFrom != 0 {
			s.LastLine = time.Unix(0, t.lagFrom)
		}
		t.mu.Unlock()
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b TargetStatus) int {
		if d := strings.Compare(a.Namespace, b.Namespace); d != 0 {
			return d
		}
		if d := strings.Compare(a.Pod, b.Pod); d != 0 {
			return d
		}
		return strings.Compare(a.Container, b.Container)
	})
	return list
}
