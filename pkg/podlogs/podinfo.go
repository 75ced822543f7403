package podlogs

import (
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	corev1 "k8s.io/api/core/v1"
)

// Annotations that steer the collector.
const (
	// AnnotationCollect set to "false" on a pod or a namespace keeps its logs out.
	AnnotationCollect = "logstack.dev/collect"
	// AnnotationExcludeContainers lists containers of a pod to leave out,
	// separated by commas.
	AnnotationExcludeContainers = "logstack.dev/exclude-containers"
)

// instance is one run of a container.
type instance struct {
	// id is the short container id, "" for none.
	id      string
	restart int32
	// finished says that the run has ended, clean that its exit code was 0.
	finished, clean bool
	// started and ended are 0 when not known. The status has whole seconds.
	started, ended time.Time
	// reason is why it ended, "StartError" if it never ran.
	reason string
}

func (i instance) exists() bool { return i.id != "" }

// ran says that the run has ended after some time in which it could write. The
// reasons are those of containerd and CRI-O for a process that was not started.
func (i instance) ran() bool {
	return i.finished && i.ended.After(i.started) && i.reason != "StartError" && i.reason != "ContainerCannotRun"
}

// containerView is what the pod's status says about one container, immutable.
type containerView struct {
	key       targetKey
	namespace string
	pod       string
	node      string
	labels    labels.Labels
	// logUID is the pod's uid as the node's directories have it.
	logUID  string
	runtime string
	// current is the run that a plain request serves, previous the one that
	// previous=true serves.
	current, previous instance
	// last says that current has ended and no other run will follow.
	last bool
	// terminating says that the pod has been asked to stop.
	terminating bool
	grace       time.Duration
	// reason is why the container waits, or why the pod failed.
	reason  string
	evicted bool
}

// containerViews lists the containers of a pod that are to be collected.
func containerViews(pod *corev1.Pod) []*containerView {
	if pod.Annotations[AnnotationCollect] == "false" {
		return nil
	}
	excluded := pod.Annotations[AnnotationExcludeContainers]
	views := make([]*containerView, 0, len(pod.Spec.Containers)+len(pod.Spec.InitContainers))
	add := func(name string, policy corev1.RestartPolicy, statuses []corev1.ContainerStatus) {
		if !listed(excluded, name) {
			views = append(views, newContainerView(pod, name, policy, statuses))
		}
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		policy := corev1.RestartPolicyOnFailure
		if pod.Spec.RestartPolicy == corev1.RestartPolicyNever {
			policy = corev1.RestartPolicyNever
		}
		add(c.Name, policyOf(c, policy), pod.Status.InitContainerStatuses)
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		add(c.Name, policyOf(c, pod.Spec.RestartPolicy), pod.Status.ContainerStatuses)
	}
	for i := range pod.Spec.EphemeralContainers {
		add(pod.Spec.EphemeralContainers[i].Name, corev1.RestartPolicyNever, pod.Status.EphemeralContainerStatuses)
	}
	return views
}

// policyOf is the container's own restart policy (a sidecar's, for one), else
// the given one.
func policyOf(c *corev1.Container, otherwise corev1.RestartPolicy) corev1.RestartPolicy {
	if c.RestartPolicy != nil {
		return corev1.RestartPolicy(*c.RestartPolicy)
	}
	return otherwise
}

func listed(list, name string) bool {
	for part := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(part) == name {
			return true
		}
	}
	return false
}

// ownedView is the view of one container of a fetched pod, nil if it has none.
func ownedView(pod *corev1.Pod, container string) *containerView {
	for _, v := range containerViews(pod) {
		if v.key.container == container {
			return v
		}
	}
	return nil
}

func newContainerView(pod *corev1.Pod, name string, policy corev1.RestartPolicy, statuses []corev1.ContainerStatus) *containerView {
	v := &containerView{
		key:         targetKey{uid: string(pod.UID), container: name},
		namespace:   pod.Namespace,
		pod:         pod.Name,
		node:        pod.Spec.NodeName,
		logUID:      logUID(pod),
		labels:      streamLabels(pod, name),
		terminating: pod.DeletionTimestamp != nil,
		reason:      pod.Status.Reason,
		evicted:     pod.Status.Reason == "Evicted",
		grace:       30 * time.Second,
	}
	if g := pod.DeletionGracePeriodSeconds; g != nil {
		v.grace = time.Duration(*g) * time.Second
	} else if g := pod.Spec.TerminationGracePeriodSeconds; g != nil {
		v.grace = time.Duration(*g) * time.Second
	}
	for i := range statuses {
		if statuses[i].Name == name {
			v.readStatus(&statuses[i])
			break
		}
	}
	v.last = v.current.finished && (v.terminating ||
		pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed ||
		policy == corev1.RestartPolicyNever || policy == corev1.RestartPolicyOnFailure && v.current.clean)
	return v
}

// readStatus chooses the runs as the kubelet does when it is asked for logs
// (validateContainerLogStatus): the running one, else the terminated one, else
// the last terminated one.
func (v *containerView) readStatus(s *corev1.ContainerStatus) {
	v.runtime, _, _ = strings.Cut(s.ContainerID, "://")
	if w := s.State.Waiting; w != nil && v.reason == "" {
		v.reason = w.Reason
	}
	last := terminatedInstance(s.LastTerminationState.Terminated, s.RestartCount)
	switch {
	case s.State.Running != nil:
		v.current = instance{id: shortID(s.ContainerID), restart: s.RestartCount, started: s.State.Running.StartedAt.Time}
	case s.State.Terminated != nil && s.State.Terminated.ContainerID != "":
		v.current = terminatedInstance(s.State.Terminated, s.RestartCount)
	default:
		// Waiting for the next start, or the next start failed.
		v.current = last
	}
	if last.exists() && last.id != v.current.id {
		last.restart = max(v.current.restart-1, 0)
		v.previous = last
	}
}

func terminatedInstance(t *corev1.ContainerStateTerminated, restart int32) instance {
	if t == nil || t.ContainerID == "" {
		return instance{}
	}
	return instance{
		id: shortID(t.ContainerID), restart: restart, finished: true, clean: t.ExitCode == 0,
		started: t.StartedAt.Time, ended: t.FinishedAt.Time, reason: t.Reason,
	}
}
