package podlogs

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/model"
)

const (
	// lifeSuffix ends the key of the mark of a container's life; the pod's own
	// has the container "".
	lifeSuffix  = "/lifecycle"
	lifeVersion = 1
	// lifePods bounds the pods of one batch.
	lifePods = 500
)

func (k targetKey) lifeMark() string { return k.mark() + lifeSuffix }

// lifecycle stores lifecycle entries. One goroutine, run, writes.
type lifecycle struct {
	c       *Collector
	wake    chan struct{}
	entries prometheus.Counter

	mu sync.Mutex
	// dirty holds the newest status of each pod that has to be looked at.
	dirty map[string]*dirtyPod
	marks map[targetKey]lifeMark
	pods  map[string][]targetKey // marks by pod uid
	// passed are uids of pods that went while another replica owned them, which
	// may have gone, too, since when. Their marks stay for a while.
	passed map[string]time.Time
}

type dirtyPod struct {
	pod  *corev1.Pod
	gone bool
}

func newLifecycle(c *Collector) *lifecycle {
	return &lifecycle{
		c: c, wake: make(chan struct{}, 1),
		entries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: metricPrefix + "lifecycle_entries_total", Help: "Entries stored about starts, ends and troubles of containers.",
		}),
		dirty: make(map[string]*dirtyPod),
		marks: make(map[targetKey]lifeMark), pods: make(map[string][]targetKey), passed: make(map[string]time.Time),
	}
}

// startLifecycle makes the collector store lifecycle entries.
func (c *Collector) startLifecycle() {
	c.life = newLifecycle(c)
	c.metrics.all = append(c.metrics.all, c.life.entries)
	c.opts.Sink = &serialSink{Sink: c.opts.Sink}
}

// seen takes a status. A nil lifecycle takes nothing.
func (l *lifecycle) seen(pod *corev1.Pod) { l.put(pod, false) }

// gone takes the last status of a pod.
func (l *lifecycle) gone(pod *corev1.Pod) { l.put(pod, true) }

func (l *lifecycle) put(pod *corev1.Pod, gone bool) {
	if l == nil || !gone && !l.c.shared.reads(pod) {
		// All replicas store the end of a pod, since its owner may be dead: they
		// store the same.
		return
	}
	l.mu.Lock()
	l.dirty[string(pod.UID)] = &dirtyPod{pod, gone}
	l.mu.Unlock()
	notify(l.wake)
}

// load takes over the marks of an earlier run.
func (l *lifecycle) load(stored map[string][]byte) {
	if l == nil {
		return
	}
	for key, value := range stored {
		k, ok := parseLifeKey(key)
		if !ok {
			continue
		}
		m, err := decodeLife(value)
		if err != nil {
			l.c.opts.Logger.Error("a stored mark of a container's life cannot be read; what its status says is stored again", "mark", key, "err", err)
			continue
		}
		l.keep(k, m)
	}
}

func (l *lifecycle) keep(k targetKey, m lifeMark) {
	if _, known := l.marks[k]; !known {
		l.pods[k.uid] = append(l.pods[k.uid], k)
	}
	l.marks[k] = m
}

// allSeen is called once, after every pod has been seen: what is left of others
// is forgotten. How their last runs ended is not known; the log's gap entry
// says so.
func (l *lifecycle) allSeen(alive map[string]bool) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for uid := range l.pods {
		if _, waits := l.dirty[uid]; !alive[uid] && !waits {
			l.dirty[uid] = &dirtyPod{gone: true}
		}
	}
	notify(l.wake)
}

// run stores entries until ctx ends, and then what is known by then.
func (l *lifecycle) run(ctx context.Context) {
	if l == nil {
		return
	}
	var retry backoff
	var changed <-chan struct{}
	if share := l.c.opts.Share; share != nil {
		var unsubscribe func()
		changed, unsubscribe = share.Subscribe()
		defer unsubscribe()
	}
	for {
		select {
		case <-ctx.Done():
			_ = l.store(context.WithoutCancel(ctx))
			return
		case <-changed:
			l.lookAgain()
			continue
		case <-l.wake:
		}
		_ = sleep(ctx, l.c.opts.FlushInterval)
		if err := l.store(ctx); err != nil && ctx.Err() == nil {
			l.c.metrics.appendFailures.Inc()
			l.c.log.warn("lifecycle", "lifecycle entries could not be stored; they are taken from the pods' status again", "err", err)
			_ = sleep(ctx, retry.next())
			notify(l.wake)
			continue
		}
		retry.reset()
	}
}

// lookAgain looks at all pods: some may be ours now. What their former owner
// has stored is stored here once more, and the same, so that a query shows it
// once.
func (l *lifecycle) lookAgain() {
	here, departed := l.c.known.all()
	l.mu.Lock()
	defer l.mu.Unlock()
	again := func(pod *corev1.Pod, gone bool) {
		if _, waits := l.dirty[string(pod.UID)]; !waits {
			l.dirty[string(pod.UID)] = &dirtyPod{pod, gone}
		}
	}
	for _, pod := range here {
		again(pod, false)
	}
	for _, pod := range departed {
		if _, is := l.passed[string(pod.UID)]; is {
			again(pod, true)
		}
	}
	notify(l.wake)
}

// owns says whether the pod's entries are stored by this replica.
func (l *lifecycle) owns(pod *corev1.Pod) bool {
	share := l.c.opts.Share
	return share == nil || pod.Spec.NodeName != "" && share.Owner(PodRef{UID: string(pod.UID), Node: pod.Spec.NodeName}) == share.Self()
}

// store writes what the dirty pods show beyond the marks, many pods at a time.
func (l *lifecycle) store(ctx context.Context) error {
	for {
		work := l.take()
		if len(work) == 0 {
			return nil
		}
		var b model.Batch
		changed := make(map[targetKey]*lifeMark) // nil is gone
		for uid, d := range work {
			l.look(&b, changed, uid, d)
		}
		if b.Len() > 0 || len(b.Marks) > 0 {
			if err := l.c.opts.Sink.Append(ctx, &b); err != nil {
				l.giveBack(work)
				return err
			}
		}
		l.entries.Add(float64(b.Len()))
		l.mu.Lock()
		for k, m := range changed {
			if m != nil {
				l.keep(k, *m)
				continue
			}
			delete(l.marks, k)
			delete(l.pods, k.uid)
		}
		l.mu.Unlock()
	}
}

// take removes some pods from dirty.
func (l *lifecycle) take() map[string]*dirtyPod {
	l.mu.Lock()
	defer l.mu.Unlock()
	for uid, since := range l.passed {
		if _, waits := l.dirty[uid]; !waits && time.Since(since) > departedFor {
			l.dirty[uid] = &dirtyPod{gone: true}
		}
	}
	work := make(map[string]*dirtyPod, min(len(l.dirty), lifePods))
	for uid, d := range l.dirty {
		if len(work) == lifePods {
			break
		}
		work[uid] = d
		delete(l.dirty, uid)
	}
	return work
}

// giveBack makes pods dirty again, unless they have a newer status.
func (l *lifecycle) giveBack(work map[string]*dirtyPod) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for uid, d := range work {
		if _, newer := l.dirty[uid]; !newer {
			l.dirty[uid] = d
		}
	}
}

// look adds what a pod shows beyond its marks.
func (l *lifecycle) look(b *model.Batch, changed map[targetKey]*lifeMark, uid string, d *dirtyPod) {
	if pod := d.pod; pod != nil && l.owns(pod) && !l.c.NamespaceExcluded(pod.Namespace) && pod.Annotations[AnnotationCollect] != "false" {
		for _, list := range [][]corev1.ContainerStatus{
			pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses,
		} {
			for i := range list {
				if s := &list[i]; !listed(pod.Annotations[AnnotationExcludeContainers], s.Name) {
					l.advance(b, changed, targetKey{uid, s.Name}, d, func(m *lifeMark) []model.Entry { return m.advance(pod, s) })
				}
			}
		}
		l.advance(b, changed, targetKey{uid: uid}, d, func(m *lifeMark) []model.Entry { return m.podFailure(pod, d.gone) })
	}
	if !d.gone {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if d.pod != nil && len(l.passed) < maxDeparted && !l.owns(d.pod) {
		if _, is := l.passed[uid]; !is {
			l.passed[uid] = time.Now()
		}
		return
	}
	delete(l.passed, uid)
	for _, k := range l.pods[uid] {
		b.Marks = append(b.Marks, model.Mark{Key: k.lifeMark()})
		changed[k] = nil
	}
}

// advance adds the entries by which f moves a mark, and the mark if it is still
// of use.
func (l *lifecycle) advance(b *model.Batch, changed map[targetKey]*lifeMark, k targetKey, d *dirtyPod, f func(*lifeMark) []model.Entry) {
	l.mu.Lock()
	old := l.marks[k]
	l.mu.Unlock()
	m := old
	entries := f(&m)
	if len(entries) > 0 {
		b.Streams = append(b.Streams, model.StreamEntries{Labels: podLabels(d.pod, k.container, LifecycleJob), Entries: entries})
	}
	if m != old && !d.gone {
		b.Marks = append(b.Marks, model.Mark{Key: k.lifeMark(), Value: m.encode()})
		changed[k] = &m
	}
}

// parseLifeKey is the inverse of targetKey.lifeMark.
func parseLifeKey(s string) (k targetKey, ok bool) {
	s, ok = strings.CutPrefix(s, MarkPrefix)
	if !ok {
		return k, false
	}
	if s, ok = strings.CutSuffix(s, lifeSuffix); !ok {
		return k, false
	}
	k.uid, k.container, ok = strings.Cut(s, "/")
	return k, ok && k.uid != ""
}

// encode writes the record that doc.go draws.
func (m *lifeMark) encode() []byte {
	b := make([]byte, 0, 32)
	b = append(b, lifeVersion, 0)
	if m.ended {
		b[1] = 1
	}
	b = appendString(b, m.id)
	b = binary.AppendUvarint(b, uint64(uint32(m.restart)))
	b = binary.AppendUvarint(b, uint64(max(m.started, 0)))
	return appendString(b, m.waits)
}

func decodeLife(b []byte) (lifeMark, error) {
	var m lifeMark
	if len(b) < 2 {
		return m, errShortMark
	}
	if b[0] != lifeVersion || b[1] > 1 {
		return m, fmt.Errorf("mark has version %d and flags %#x, this collector knows version %d", b[0], b[1], lifeVersion)
	}
	d := decoder{b: b[2:]}
	m.ended = b[1] == 1
	m.id = d.str()
	m.restart = int32(d.uvarint(1<<31 - 1))
	m.started = int64(d.uvarint(1<<63 - 1))
	m.waits = d.str()
	if err := d.end(); err != nil {
		return lifeMark{}, err
	}
	return m, nil
}

// serialSink makes a sink that two goroutines use one that is used by one.
type serialSink struct {
	mu sync.Mutex
	Sink
}

func (s *serialSink) Append(ctx context.Context, b *model.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Sink.Append(ctx, b)
}
