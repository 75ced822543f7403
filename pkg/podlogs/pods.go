package podlogs

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

const (
	// departedFor is how long a pod that is gone can still be asked for: events
	// about it come a little later.
	departedFor = 10 * time.Minute
	maxDeparted = 2048
	// forbiddenPause is the least time between requests for a log that is
	// refused for want of a right.
	forbiddenPause = 30 * time.Second
)

// NewAPI makes the API of a cluster, for Options.API and for others who list,
// watch and review. Objects come as protobuf: that is a third of the work of
// JSON.
func NewAPI(config *rest.Config) (API, error) { return newAPI(config) }

// PodState says what the collector knows of a pod.
type PodState int

// The states of pods that FindPod tells apart.
const (
	// PodUnknown pods were never seen, or have been gone for some minutes.
	PodUnknown PodState = iota
	// PodCollected pods have streams.
	PodCollected
	// PodExcluded pods, or containers of a pod, opted out.
	PodExcluded
)

// podCache answers questions about pods from the informers' stores.
type podCache struct {
	mu     sync.Mutex
	stores []cache.Store
	// departed are pods that are gone, by namespace/name; order is oldest first.
	departed map[string]*corev1.Pod
	order    []departure
}

type departure struct {
	key string
	at  time.Time
}

// watchPods lets the cache and the lifecycle entries see what the informers see.
func (c *Collector) watchPods(informers []cache.SharedIndexInformer) {
	c.known.mu.Lock()
	c.known.departed = make(map[string]*corev1.Pod)
	for _, inf := range informers {
		c.known.stores = append(c.known.stores, inf.GetStore())
	}
	c.known.mu.Unlock()
	for _, inf := range informers {
		// An error means that the informer was stopped already.
		_, _ = inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { c.life.seen(o.(*corev1.Pod)) },
			UpdateFunc: func(_, o any) { c.life.seen(o.(*corev1.Pod)) },
			DeleteFunc: func(o any) {
				if pod := deletedPod(o); pod != nil {
					c.known.left(pod)
					c.life.gone(pod)
				}
			},
		})
	}
}

// deletedPod is the pod of a delete notification.
func deletedPod(o any) *corev1.Pod {
	if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	pod, _ := o.(*corev1.Pod)
	return pod
}

// left remembers a pod that is gone.
func (p *podCache) left(pod *corev1.Pod) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	key := pod.Namespace + "/" + pod.Name
	p.departed[key] = pod
	p.order = append(p.order, departure{key, now})
	n := 0
	for n < len(p.order) && (len(p.order)-n > maxDeparted || now.Sub(p.order[n].at) > departedFor) {
		delete(p.departed, p.order[n].key)
		n++
	}
	if n > 0 {
		p.order = p.order[n:]
	}
}

// all returns the pods there are, and those that are gone since a short time.
func (p *podCache) all() (here, departed []*corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.stores {
		for _, o := range s.List() {
			here = append(here, o.(*corev1.Pod))
		}
	}
	return here, slices.Collect(maps.Values(p.departed))
}

// find returns the pod of that name, also one that is gone. uid may be "", or
// that of a static pod, which only the kubelet knows: 32 hexadecimal digits.
func (p *podCache) find(namespace, name, uid string) *corev1.Pod {
	key := namespace + "/" + name
	is := func(pod *corev1.Pod) bool {
		return uid == "" || string(pod.UID) == uid || !strings.Contains(uid, "-") && len(uid) == 32
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.stores {
		if o, ok, err := s.GetByKey(key); err == nil && ok {
			if pod := o.(*corev1.Pod); is(pod) {
				return pod
			}
		}
	}
	if pod := p.departed[key]; pod != nil && is(pod) {
		return pod
	}
	return nil
}

// FindPod returns the labels of the stream of a container of a pod, or those
// that all containers of the pod share if container is "". uid may be "". It
// does not wait; safe at any time.
func (c *Collector) FindPod(namespace, name, uid, container string) (labels.Labels, PodState) {
	pod := c.known.find(namespace, name, uid)
	switch {
	case pod == nil:
		return labels.EmptyLabels(), PodUnknown
	case pod.Annotations[AnnotationCollect] == "false", container != "" && listed(pod.Annotations[AnnotationExcludeContainers], container):
		return labels.EmptyLabels(), PodExcluded
	}
	return podLabels(pod, container, jobLabel), PodCollected
}

// podLabels are streamLabels with another job; without a container, those that
// do not depend on it.
func podLabels(pod *corev1.Pod, container, job string) labels.Labels {
	b := labels.NewBuilder(streamLabels(pod, container))
	b.Set("job", job)
	if container == "" {
		b.Del("instance")
	}
	return b.Labels()
}

// NamespaceExcluded says whether a namespace opted out of collection.
func (c *Collector) NamespaceExcluded(namespace string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.quiet[namespace]
}

// Synced says whether all pods have been seen once.
func (c *Collector) Synced() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.synced
}
