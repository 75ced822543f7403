package podlogs

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	authv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
)

const (
	// accessInterval is how often missing permissions are asked for again.
	accessInterval = time.Minute
)

// discover watches pods and drives the targets until ctx ends.
func (c *Collector) discover(ctx context.Context) {
	missing := c.checkAccess(ctx)
	namespaces := c.opts.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	var pods []cache.SharedIndexInformer
	for _, ns := range namespaces {
		pods = append(pods, c.informer("pods", ns, &corev1.Pod{}))
	}
	var running sync.WaitGroup
	start := func(inf cache.SharedIndexInformer) { running.Go(func() { inf.RunWithContext(ctx) }) }
	if inf := c.watchNamespaces(ctx, pods); inf != nil {
		// First, so that nothing of a namespace that opted out is read.
		start(inf)
		cache.WaitForCacheSync(ctx.Done(), inf.HasSynced)
	}
	c.watchPods(pods)
	running.Go(func() { c.life.run(ctx) })
	var synced []cache.InformerSynced
	for _, p := range pods {
		c.reportWatchErrors(p, "pods")
		reg, err := p.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { c.podSeen(o.(*corev1.Pod)) },
			UpdateFunc: func(_, o any) { c.podSeen(o.(*corev1.Pod)) },
			DeleteFunc: func(o any) {
				if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
					o = gone.Obj
				}
				if pod, ok := o.(*corev1.Pod); ok {
					c.podGone(string(pod.UID))
				}
			},
		})
		if err == nil {
			synced = append(synced, reg.HasSynced)
		}
	}
	for _, p := range pods {
		start(p)
	}
	if cache.WaitForCacheSync(ctx.Done(), synced...) {
		alive := aliveUIDs(pods)
		c.allSeen(alive)
		c.life.allSeen(alive)
	}
	c.watchAccess(ctx, missing)
	running.Wait()
}

// aliveUIDs are the uids of all pods that the informers know.
func aliveUIDs(pods []cache.SharedIndexInformer) map[string]bool {
	alive := make(map[string]bool)
	for _, p := range pods {
		for _, o := range p.GetStore().List() {
			alive[string(o.(*corev1.Pod).UID)] = true
		}
	}
	return alive
}

// informer makes an informer that keeps what the collector looks at.
func (c *Collector) informer(resource, namespace string, of runtime.Object) cache.SharedIndexInformer {
	inf := cache.NewSharedIndexInformerWithOptions(c.api.ListWatch(resource, namespace), of, cache.SharedIndexInformerOptions{
		ObjectDescription: resource,
	})
	_ = inf.SetTransform(stripObject) // fails only once it runs
	return inf
}

// watchNamespaces follows the opt-out annotation of namespaces, if the
// collector may see namespaces; it is not needed otherwise.
func (c *Collector) watchNamespaces(ctx context.Context, pods []cache.SharedIndexInformer) cache.SharedIndexInformer {
	for _, verb := range []string{"list", "watch"} {
		if ok, err := c.may(ctx, permission{verb, "namespaces", ""}, metav1.NamespaceAll); err != nil || !ok {
			c.opts.Logger.Info("namespaces may not be listed: the annotation " + AnnotationCollect + " is honoured on pods only")
			return nil
		}
	}
	inf := c.informer("namespaces", metav1.NamespaceAll, &corev1.Namespace{})
	c.reportWatchErrors(inf, "namespaces")
	changed := func(o any) {
		ns := o.(*corev1.Namespace)
		if c.setQuiet(ns.Name, ns.Annotations[AnnotationCollect] == "false") {
			for _, p := range pods {
				for _, o := range p.GetStore().List() {
					if pod := o.(*corev1.Pod); pod.Namespace == ns.Name {
						c.podSeen(pod)
					}
				}
			}
		}
	}
	_, err := inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    changed,
		UpdateFunc: func(_, o any) { changed(o) },
	})
	if err != nil {
		return nil
	}
	return inf
}

// setQuiet notes whether a namespace opted out; true means that this is new.
func (c *Collector) setQuiet(namespace string, quiet bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.quiet[namespace] == quiet {
		return false
	}
	c.quiet[namespace] = quiet
	return true
}

func (c *Collector) reportWatchErrors(inf cache.SharedIndexInformer, what string) {
	_ = inf.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		c.log.warn("watch "+what, "watching "+what+" failed; it will be tried again", "err", err)
	})
}

// stripObject keeps of an object only what the collector looks at: a pod then
// takes 2 to 3 KiB.
func stripObject(o any) (any, error) {
	switch o := o.(type) {
	case *corev1.Pod:
		return stripPod(o), nil
	case *corev1.Namespace:
		n := &corev1.Namespace{}
		n.Name, n.UID, n.ResourceVersion = o.Name, o.UID, o.ResourceVersion
		n.Annotations = pick(o.Annotations, AnnotationCollect)
		return n, nil
	}
	return o, nil
}

func stripPod(o *corev1.Pod) *corev1.Pod {
	p := &corev1.Pod{}
	p.Name, p.Namespace, p.UID, p.ResourceVersion = o.Name, o.Namespace, o.UID, o.ResourceVersion
	p.OwnerReferences = o.OwnerReferences
	p.CreationTimestamp = o.CreationTimestamp
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = o.DeletionTimestamp, o.DeletionGracePeriodSeconds
	p.Labels = pick(o.Labels, "app.kubernetes.io/name", "app", "k8s-app", "pod-template-hash")
	p.Annotations = pick(o.Annotations, AnnotationCollect, AnnotationExcludeContainers, annotationMirror, annotationConfigHash)
	p.Spec.NodeName, p.Status.HostIP = o.Spec.NodeName, o.Status.HostIP
	p.Spec.RestartPolicy = o.Spec.RestartPolicy
	p.Spec.TerminationGracePeriodSeconds = o.Spec.TerminationGracePeriodSeconds
	names := func(cs []corev1.Container) []corev1.Container {
		out := make([]corev1.Container, len(cs))
		for i := range cs {
			out[i].Name, out[i].RestartPolicy = cs[i].Name, cs[i].RestartPolicy
		}
		return out
	}
	p.Spec.InitContainers, p.Spec.Containers = names(o.Spec.InitContainers), names(o.Spec.Containers)
	for i := range o.Spec.EphemeralContainers {
		var e corev1.EphemeralContainer
		e.Name = o.Spec.EphemeralContainers[i].Name
		p.Spec.EphemeralContainers = append(p.Spec.EphemeralContainers, e)
	}
	p.Status.Phase, p.Status.Reason, p.Status.Message = o.Status.Phase, o.Status.Reason, o.Status.Message
	p.Status.StartTime = o.Status.StartTime
	for i := range o.Status.Conditions {
		if c := &o.Status.Conditions[i]; c.Type == corev1.DisruptionTarget {
			p.Status.Conditions = append(p.Status.Conditions, *c)
		}
	}
	p.Status.InitContainerStatuses = stripStatuses(o.Status.InitContainerStatuses)
	p.Status.ContainerStatuses = stripStatuses(o.Status.ContainerStatuses)
	p.Status.EphemeralContainerStatuses = stripStatuses(o.Status.EphemeralContainerStatuses)
	return p
}

func stripStatuses(in []corev1.ContainerStatus) []corev1.ContainerStatus {
	out := slices.Clone(in)
	for i := range out {
		s := &out[i]
		*s = corev1.ContainerStatus{
			Name: s.Name, ContainerID: s.ContainerID, RestartCount: s.RestartCount,
			State: s.State, LastTerminationState: s.LastTerminationState,
		}
	}
	return out
}

func pick(m map[string]string, keys ...string) map[string]string {
	var out map[string]string
	for _, k := range keys {
		if v, ok := m[k]; ok {
			if out == nil {
				out = make(map[string]string, len(keys))
			}
			out[k] = v
		}
	}
	return out
}

// permission is one thing the collector must be allowed to do.
type permission struct{ verb, resource, subresource string }

func (p permission) String() string {
	if p.subresource != "" {
		return p.verb + " " + p.resource + "/" + p.subresource
	}
	return p.verb + " " + p.resource
}

var permissions = []permission{
	{"get", "pods", ""}, {"list", "pods", ""}, {"watch", "pods", ""}, {"get", "pods", "log"},
}

// checkAccess asks the API server what the collector may do, reports what is
// missing, and returns it.
func (c *Collector) checkAccess(ctx context.Context) []string {
	namespaces := c.opts.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	var problems []string
	for _, ns := range namespaces {
		where, kind := "in all namespaces", "ClusterRole"
		if ns != metav1.NamespaceAll {
			where, kind = fmt.Sprintf("in namespace %q", ns), "Role"
		}
		for _, p := range permissions {
			ok, err := c.may(ctx, p, ns)
			if err != nil {
				c.log.warn("access", "asking the API server for the collector's own permissions failed", "err", err)
				return nil
			}
			if !ok {
				problems = append(problems, fmt.Sprintf("the collector may not %s %s: add this to the %s of its service account", p, where, kind))
			}
		}
	}
	c.mu.Lock()
	c.problems = problems
	c.mu.Unlock()
	for _, p := range problems {
		c.log.warn(p, p)
	}
	return problems
}

// watchAccess waits for the end, and looks from time to time whether missing
// permissions were granted.
func (c *Collector) watchAccess(ctx context.Context, missing []string) {
	for len(missing) > 0 {
		if sleep(ctx, accessInterval) != nil {
			return
		}
		missing = c.checkAccess(ctx)
	}
	<-ctx.Done()
}

func (c *Collector) may(ctx context.Context, p permission, namespace string) (bool, error) {
	review := &authv1.SelfSubjectAccessReview{Spec: authv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authv1.ResourceAttributes{
			Namespace: namespace, Verb: p.verb, Resource: p.resource, Subresource: p.subresource,
		},
	}}
	out, err := c.api.Review(ctx, review)
	if err != nil {
		return false, err
	}
	return out.Status.Allowed, nil
}
