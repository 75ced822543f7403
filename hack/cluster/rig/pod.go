package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// PodSpec describes a pod to [Rig.AddPod].
type PodSpec struct {
	// Namespace is created when it is missing; empty means "default".
	Namespace string
	Name      string
	// Containers are the app containers; none means one called "app".
	Containers []string
	// Init, Sidecars and Ephemeral containers come with the pod.
	Init, Sidecars, Ephemeral []string

	Labels, Annotations map[string]string
	Owners              []metav1.OwnerReference
	// RestartPolicy is Always when empty.
	RestartPolicy corev1.RestartPolicy
	Image         string

	// Waiting leaves the containers waiting with this reason, for example
	// "ContainerCreating"; [Pod.Start] starts them.
	Waiting string
	// Rotation of every container's log.
	Rotation Rotation
	// NoBook does without the record of written lines, for big runs.
	NoBook bool
	// KeepFiles leaves the files of containers that are gone where they are, as a
	// kubelet does until its next garbage collection, up to a minute.
	KeepFiles bool
	// Clock stamps lines, in the zone that it returns; nil means time.Now in UTC.
	Clock func() time.Time

	shut bool // logs are open only while written to
}

func (s *PodSpec) image() string {
	if s.Image != "" {
		return s.Image
	}
	return "registry.example/app:1"
}

// Pod is a pod that the test plays. Every method that takes a context publishes
// the changed status before it returns; the kubelet knows it a moment earlier.
// Its methods may be called from several goroutines.
type Pod struct {
	Namespace string
	Name      string
	UID       types.UID

	rig  *Rig
	node *Node // nil while unscheduled
	spec PodSpec
	dir  string

	list []*Container // set once

	mu      sync.Mutex // orders status updates
	evicted bool
}

// AddPod creates a pod bound to node, starts its containers (init containers
// have run and ended) and publishes the status. A nil node leaves the pod
// unscheduled: the API server then answers log requests with 204.
func (r *Rig) AddPod(ctx context.Context, node *Node, spec PodSpec) (*Pod, error) {
	if spec.Namespace == "" {
		spec.Namespace = metav1.NamespaceDefault
	}
	if len(spec.Containers) == 0 {
		spec.Containers = []string{"app"}
	}
	if err := r.ensureNamespace(ctx, spec.Namespace); err != nil {
		return nil, err
	}
	p := &Pod{Namespace: spec.Namespace, Name: spec.Name, rig: r, node: node, spec: spec}
	for _, group := range []struct {
		kind  Kind
		names []string
	}{{Init, spec.Init}, {Sidecar, spec.Sidecars}, {App, spec.Containers}, {Ephemeral, spec.Ephemeral}} {
		for _, name := range group.names {
			c := &Container{pod: p, name: name, kind: group.kind, waiting: spec.Waiting}
			if c.waiting == "" {
				c.waiting = "PodInitializing"
			}
			p.list = append(p.list, c)
		}
	}
	if err := p.create(ctx); err != nil {
		return nil, fmt.Errorf("pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	if node == nil {
		return p, nil
	}
	r.mu.Lock()
	r.pods[p] = struct{}{}
	r.mu.Unlock()
	node.Kubelet.adopt(p)
	if spec.Waiting != "" {
		return p, p.publish(ctx)
	}
	return p, p.startAll(ctx)
}

func (r *Rig) ensureNamespace(ctx context.Context, name string) error {
	r.mu.Lock()
	known := r.namespaces[name]
	r.mu.Unlock()
	if known {
		return nil
	}
	_, err := r.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("namespace %s: %w", name, err)
	}
	r.mu.Lock()
	r.namespaces[name] = true
	r.mu.Unlock()
	return nil
}

func (p *Pod) create(ctx context.Context) error {
	always := corev1.ContainerRestartPolicyAlways
	spec := corev1.PodSpec{RestartPolicy: p.spec.RestartPolicy}
	if p.node != nil {
		spec.NodeName = p.node.Name
	}
	var ephemeral []corev1.EphemeralContainer
	for _, c := range p.list {
		cc := corev1.Container{Name: c.name, Image: p.spec.image()}
		switch c.kind {
		case Sidecar:
			cc.RestartPolicy = &always
			fallthrough
		case Init:
			spec.InitContainers = append(spec.InitContainers, cc)
		case App:
			spec.Containers = append(spec.Containers, cc)
		case Ephemeral:
			ephemeral = append(ephemeral, corev1.EphemeralContainer{
				EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: c.name, Image: p.spec.image()},
			})
		}
	}
	pods := p.rig.client.CoreV1().Pods(p.Namespace)
	obj, err := pods.Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: p.Name, Labels: p.spec.Labels, Annotations: p.spec.Annotations, OwnerReferences: p.spec.Owners,
		},
		Spec: spec,
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	p.UID = obj.UID
	uid := string(p.UID)
	if hash := p.spec.Annotations["kubernetes.io/config.hash"]; hash != "" {
		uid = hash // a static pod: the kubelet does not know the mirror's uid
	}
	p.dir = filepath.Join(p.rig.dir, "pods", p.Namespace+"_"+p.Name+"_"+uid)
	if len(ephemeral) == 0 {
		return nil
	}
	obj.Spec.EphemeralContainers = ephemeral
	_, err = pods.UpdateEphemeralContainers(ctx, p.Name, obj, metav1.UpdateOptions{})
	return err
}

func (p *Pod) startAll(ctx context.Context) error {
	for _, c := range p.list {
		if err := c.start(); err != nil {
			return err
		}
		if c.kind == Init {
			if err := c.exit(0); err != nil {
				return err
			}
		}
	}
	return p.publish(ctx)
}

// Container returns the container called name, nil if the pod has none.
func (p *Pod) Container(name string) *Container {
	for _, c := range p.list {
		if c.name == name {
			return c
		}
	}
	return nil
}

// Containers returns every container, in the order in which they start.
func (p *Pod) Containers() []*Container { return p.list }

func (p *Pod) container(name string) (*Container, error) {
	if c := p.Container(name); c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("pod %s has no container %q", p.Name, name)
}

func (p *Pod) now() time.Time {
	if p.spec.Clock != nil {
		return p.spec.Clock()
	}
	return time.Now().UTC()
}

// Write logs one line of a container, see [Container.Write].
func (p *Pod) Write(container string, stream Stream, line string) error {
	c, err := p.container(container)
	if err != nil {
		return err
	}
	return c.Write(stream, line)
}

// WritePartial logs a piece of a line, see [Container.WritePartial].
func (p *Pod) WritePartial(container string, stream Stream, data string) error {
	c, err := p.container(container)
	if err != nil {
		return err
	}
	return c.WritePartial(stream, data)
}

// Rotate rotates a container's log, see [Container.Rotate].
func (p *Pod) Rotate(container string) error {
	c, err := p.container(container)
	if err != nil {
		return err
	}
	return c.Rotate()
}

// Start starts a container that waits or has ended.
func (p *Pod) Start(ctx context.Context, container string) error {
	return p.change(ctx, container, func(c *Container) error { return c.start() })
}

// Exit ends the running instance of a container; its log stays readable.
func (p *Pod) Exit(ctx context.Context, container string, code int32) error {
	return p.change(ctx, container, func(c *Container) error { return c.exit(code) })
}

// BackOff ends the running instance and leaves the container waiting with
// CrashLoopBackOff; the API then serves the dead instance as the current one.
func (p *Pod) BackOff(ctx context.Context, container string, code int32) error {
	return p.change(ctx, container, func(c *Container) error {
		err := c.exit(code)
		c.mu.Lock()
		c.waiting = "CrashLoopBackOff"
		c.mu.Unlock()
		return err
	})
}

// Restart ends a container's instance and starts the next one, published as one
// status update: the quickest restart that a client can see.
func (p *Pod) Restart(ctx context.Context, container string, code int32) error {
	return p.change(ctx, container, func(c *Container) error {
		return errors.Join(c.exit(code), c.start())
	})
}

func (p *Pod) change(ctx context.Context, container string, f func(*Container) error) error {
	c, err := p.container(container)
	if err != nil {
		return err
	}
	if p.node == nil {
		return fmt.Errorf("pod %s is not scheduled", p.Name)
	}
	if err := f(c); err != nil {
		return err
	}
	return p.publish(ctx)
}

// Finish ends every container with the same exit code. The pod succeeds or fails
// unless its restart policy is Always.
func (p *Pod) Finish(ctx context.Context, code int32) error {
	if err := p.exitAll(code); err != nil {
		return err
	}
	return p.publish(ctx)
}

func (p *Pod) exitAll(code int32) error {
	var errs []error
	for _, c := range p.list {
		errs = append(errs, c.exit(code))
	}
	return errors.Join(errs...)
}

// Evict ends the containers and removes their logs; the failed pod stays.
func (p *Pod) Evict(ctx context.Context) error {
	if err := p.exitAll(137); err != nil {
		return err
	}
	p.mu.Lock()
	p.evicted = true
	p.mu.Unlock()
	err := p.publish(ctx)
	for _, c := range p.list {
		err = errors.Join(err, c.collect())
	}
	return err
}

// BeginDelete asks for deletion: the pod gets its deletion timestamp, its
// containers run on until [Pod.Delete].
func (p *Pod) BeginDelete(ctx context.Context) error {
	return p.remove(ctx, 30)
}

// lastMoment is how long the object outlives its containers: half a second to
// two are usual.
const lastMoment = 500 * time.Millisecond

// Delete deletes the pod as a kubelet does: deletion timestamp, containers end
// with exit code 0, last status, half a second later the object is gone, then
// the files. Follows that are open read on to the end of their file.
func (p *Pod) Delete(ctx context.Context) error {
	if err := p.BeginDelete(ctx); err != nil {
		return err
	}
	if err := p.Finish(ctx, 0); err != nil {
		return err
	}
	select {
	case <-time.After(lastMoment):
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := p.remove(ctx, 0); err != nil {
		return err
	}
	return p.forget()
}

// ForceDelete removes the object at once (grace period 0). The kubelet still
// knows the containers and they may write on, but the API server serves their
// logs no more. [Pod.Collect] ends them.
func (p *Pod) ForceDelete(ctx context.Context) error { return p.remove(ctx, 0) }

// Collect ends what runs and removes the files of a pod whose object is gone.
func (p *Pod) Collect() error {
	return errors.Join(p.exitAll(137), p.forget())
}

func (p *Pod) remove(ctx context.Context, grace int64) error {
	err := p.rig.client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &grace, Preconditions: metav1.NewUIDPreconditions(string(p.UID)),
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	return nil
}

func (p *Pod) forget() error {
	if p.node == nil {
		return nil
	}
	p.node.Kubelet.forget(p)
	var errs []error
	for _, c := range p.list {
		errs = append(errs, c.collect())
	}
	p.rig.mu.Lock()
	delete(p.rig.pods, p)
	p.rig.mu.Unlock()
	if !p.spec.KeepFiles {
		errs = append(errs, os.RemoveAll(p.dir))
	}
	return errors.Join(errs...)
}

// close ends writing when the rig stops.
func (p *Pod) close() error {
	var errs []error
	for _, c := range p.list {
		if in := c.Instance(); in != nil {
			errs = append(errs, in.log.close())
		}
	}
	return errors.Join(errs...)
}

// Status returns the status as the kubelet has it now.
func (p *Pod) Status() corev1.PodStatus {
	st := corev1.PodStatus{Phase: p.phase(), HostIP: "127.0.0.1", PodIP: "127.0.0.1"}
	p.mu.Lock()
	evicted := p.evicted
	p.mu.Unlock()
	if evicted {
		st.Reason, st.Message = "Evicted", "The node was low on resource: ephemeral-storage."
	}
	for _, c := range p.list {
		cs := c.status()
		switch c.kind {
		case Init, Sidecar:
			st.InitContainerStatuses = append(st.InitContainerStatuses, cs)
		case App:
			st.ContainerStatuses = append(st.ContainerStatuses, cs)
		case Ephemeral:
			st.EphemeralContainerStatuses = append(st.EphemeralContainerStatuses, cs)
		}
	}
	ready := corev1.ConditionFalse
	if st.Phase == corev1.PodRunning {
		ready = corev1.ConditionTrue
	}
	st.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	return st
}

func (p *Pod) phase() corev1.PodPhase {
	p.mu.Lock()
	evicted := p.evicted
	p.mu.Unlock()
	if evicted {
		return corev1.PodFailed
	}
	started, ended, failed := false, true, false
	for _, c := range p.list {
		in := c.Instance()
		if c.kind != App {
			continue
		}
		started = started || in != nil
		ended = ended && in != nil && !in.Running()
		failed = failed || in != nil && in.exitedBadly()
	}
	switch always := p.spec.RestartPolicy == "" || p.spec.RestartPolicy == corev1.RestartPolicyAlways; {
	case !started:
		return corev1.PodPending
	case always || !ended:
		return corev1.PodRunning
	case failed:
		return corev1.PodFailed
	default:
		return corev1.PodSucceeded
	}
}

func (in *Instance) exitedBadly() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return !in.running && in.exitCode != 0
}

// publish sends the present status. A pod that is gone is not an error: a
// container may end after a forced deletion.
func (p *Pod) publish(ctx context.Context) error {
	st := p.Status()
	p.mu.Lock()
	defer p.mu.Unlock()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.UID}, "status": st})
	if err != nil {
		return fmt.Errorf("pod %s: encode status: %w", p.Name, err)
	}
	_, err = p.rig.client.CoreV1().Pods(p.Namespace).Patch(ctx, p.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("pod %s/%s: status: %w", p.Namespace, p.Name, err)
	}
	return nil
}
