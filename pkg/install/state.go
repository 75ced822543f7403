package install

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

// State is how an installation is.
type State struct {
	Installed bool
	Ready     bool
	// Reason is what is missing to be ready, one line; "" when ready.
	Reason string
	// Stuck is set when time alone will not mend it.
	Stuck *StuckError
	Image string
	// Replicas are wanted, ReadyReplicas there.
	Replicas, ReadyReplicas int32
	// Pod is the collector's pod, nil when there is none; of several the first
	// that is not ready.
	Pod *corev1.Pod
	// Claim is the volume claim of Pod, nil when there is none.
	Claim *corev1.PersistentVolumeClaim
	// Pods and Claims are all of them, by number.
	Pods   []corev1.Pod
	Claims []corev1.PersistentVolumeClaim
	// revision is the one that pods should have, "" while nobody knows.
	revision string
}

// current says whether a pod is of the newest revision.
func (st *State) current(p *corev1.Pod) bool {
	return st.revision == "" || p.Labels[appsv1.ControllerRevisionHashLabelKey] == st.revision
}

// Inspect looks at the installation in a namespace. A missing one is not an
// error: State.Installed is false.
func Inspect(ctx context.Context, c *kube.Client, namespace string) (*State, error) {
	set, err := c.Kube.AppsV1().StatefulSets(namespace).Get(ctx, Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return &State{Reason: "there is no StatefulSet " + Name + " in namespace " + namespace}, nil
	}
	if err != nil {
		return nil, kube.Explain(err)
	}
	st := &State{Installed: true, Image: set.Spec.Template.Spec.Containers[0].Image, Replicas: wantedReplicas(set), ReadyReplicas: set.Status.ReadyReplicas, revision: set.Status.UpdateRevision}
	pods, err := c.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(set.Spec.Selector.MatchLabels).String()})
	if err != nil {
		return nil, kube.Explain(err)
	}
	st.Pods = pods.Items
	slices.SortFunc(st.Pods, func(a, b corev1.Pod) int { return ordinal(a.Name) - ordinal(b.Name) })
	st.choosePod()
	for _, name := range claimNames(st.Replicas) {
		claim, err := c.Kube.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case err == nil:
			st.Claims = append(st.Claims, *claim)
		case apierrors.IsForbidden(err): // the rest is worth more than nothing
		case !apierrors.IsNotFound(err):
			return nil, kube.Explain(err)
		}
	}
	st.chooseClaim()
	if setReady(set) {
		st.Ready = true
		return st, nil
	}
	st.Reason, st.Stuck = diagnose(ctx, c, set, st)
	if st.Replicas > 1 {
		st.Reason = fmt.Sprintf("%d of %d replicas are ready; %s", st.ReadyReplicas, st.Replicas, st.Reason)
	}
	return st, nil
}

// ordinal is the number at the end of a pod's name.
func ordinal(pod string) int {
	n, err := strconv.Atoi(pod[strings.LastIndexByte(pod, '-')+1:])
	if err != nil {
		return 0
	}
	return n
}

// choosePod takes the pod that most needs to be looked at.
func (st *State) choosePod() {
	for i := range st.Pods {
		if p := &st.Pods[i]; st.Pod == nil || podReady(st.Pod) && !podReady(p) {
			st.Pod = p
		}
	}
}

func podReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func (st *State) chooseClaim() {
	for i := range st.Claims {
		if st.Pod == nil || strings.HasSuffix(st.Claims[i].Name, "-"+st.Pod.Name) {
			st.Claim = &st.Claims[i]
			return
		}
	}
}

func wantedReplicas(s *appsv1.StatefulSet) int32 {
	if s.Spec.Replicas == nil {
		return 1
	}
	return *s.Spec.Replicas
}

func setReady(s *appsv1.StatefulSet) bool {
	want := wantedReplicas(s)
	return want > 0 && s.Status.ObservedGeneration >= s.Generation && s.Status.ReadyReplicas == want &&
		s.Status.UpdatedReplicas == want && s.Status.UpdateRevision == s.Status.CurrentRevision
}

// diagnose says what an installation waits for, from the pod outwards.
func diagnose(ctx context.Context, c *kube.Client, set *appsv1.StatefulSet, st *State) (string, *StuckError) {
	if set.Spec.Replicas != nil && *set.Spec.Replicas == 0 {
		return "it is scaled to 0", &StuckError{Object: "statefulset/" + set.Name, Reason: "it is scaled to 0: nothing collects",
			Fix: fmt.Sprintf("kubectl scale statefulset -n %s %s --replicas=1", set.Namespace, set.Name)}
	}
	if st.Pod == nil {
		if stuck := createFailure(ctx, c, set); stuck != nil {
			return stuck.Reason, stuck
		}
		return "the pod is being created", nil
	}
	if set.Status.ObservedGeneration < set.Generation || set.Status.UpdateRevision != "" &&
		st.Pod.Labels[appsv1.ControllerRevisionHashLabelKey] != set.Status.UpdateRevision {
		return "the pod of the previous revision is being replaced", nil
	}
	if st.Pod.Status.Phase == corev1.PodPending && st.Pod.Spec.NodeName == "" {
		return unscheduled(ctx, c, st)
	}
	if st.Pod.DeletionTimestamp != nil {
		return "pod/" + st.Pod.Name + " is stopping", nil
	}
	for _, cs := range st.Pod.Status.ContainerStatuses {
		if w := cs.State.Waiting; w != nil {
			return waitingReason(st.Pod, cs.Image, w, cs.LastTerminationState.Terminated)
		}
		if cs.State.Running != nil && !cs.Ready {
			return "the collector is starting (not ready yet)", nil
		}
	}
	return "the pod is " + strings.ToLower(string(st.Pod.Status.Phase)), nil
}

// createFailure finds the event with which admission or quota refused the pod.
func createFailure(ctx context.Context, c *kube.Client, set *appsv1.StatefulSet) *StuckError {
	events, err := c.Kube.CoreV1().Events(set.Namespace).List(ctx, metav1.ListOptions{
		FieldSelector: "involvedObject.kind=StatefulSet,involvedObject.name=" + set.Name + ",reason=FailedCreate",
	})
	if err != nil {
		return nil //nolint:nilerr // without the right to read events there is less to say, no failure
	}
	for i := len(events.Items) - 1; i >= 0; i-- {
		e := events.Items[i]
		// An event of an earlier generation would stop an upgrade that mends it.
		if e.InvolvedObject.UID == set.UID && time.Since(e.LastTimestamp.Time) < time.Minute && e.LastTimestamp.After(lastApplied(set)) {
			return &StuckError{Object: "statefulset/" + set.Name, Reason: e.Message,
				Fix: "admission refused the pod: check the namespace's pod-security labels and ResourceQuota (kubectl describe ns,quota -n " + set.Namespace + ")"}
		}
	}
	return nil
}

func lastApplied(set *appsv1.StatefulSet) time.Time {
	t := set.CreationTimestamp.Time
	for _, m := range set.ManagedFields {
		if m.Manager == kube.FieldManager && m.Time != nil && m.Time.After(t) {
			t = m.Time.Time
		}
	}
	return t.Add(-time.Second)
}

func unscheduled(ctx context.Context, c *kube.Client, st *State) (string, *StuckError) {
	if st.Claim != nil && st.Claim.Status.Phase == corev1.ClaimPending {
		if stuck := claimStuck(ctx, c, st.Claim); stuck != nil {
			return stuck.Reason, stuck
		}
	}
	for _, cond := range st.Pod.Status.Conditions {
		if cond.Type == corev1.PodScheduled && cond.Status == corev1.ConditionFalse && cond.Message != "" {
			return "not scheduled: " + cond.Message, nil
		}
	}
	return "waiting for a node", nil
}

// claimStuck recognises a claim that nothing will ever bind: no class was named
// and the cluster has no default, or the named class does not exist.
func claimStuck(ctx context.Context, c *kube.Client, claim *corev1.PersistentVolumeClaim) *StuckError {
	classes, err := c.Kube.StorageV1().StorageClasses().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil //nolint:nilerr // as above: the scheduler's message is shown instead
	}
	return judgeClass(claim, classes.Items)
}

// afterFirst begins what has to be done before the rest of an advice.
const afterFirst = "; first: "

func judgeClass(claim *corev1.PersistentVolumeClaim, classes []storagev1.StorageClass) *StuckError {
	names := make([]string, 0, len(classes))
	for _, k := range classes {
		names = append(names, k.Name)
	}
	have := "the cluster has none"
	if len(names) > 0 {
		have = "there are: " + strings.Join(names, ", ")
	}
	object := "persistentvolumeclaim/" + claim.Name
	if claim.Spec.StorageClassName == nil || *claim.Spec.StorageClassName == "" {
		for _, k := range classes {
			if k.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" {
				return nil
			}
		}
		return &StuckError{Object: object, Reason: "no StorageClass was named and the cluster has no default one",
			Fix: "name one with --storage-class (" + have + "), or keep the logs only as long as the pod with --ephemeral" + afterFirst + Command(claim.Namespace, "uninstall --purge")}
	}
	for _, n := range names {
		if n == *claim.Spec.StorageClassName {
			return nil
		}
	}
	return &StuckError{Object: object, Reason: fmt.Sprintf("StorageClass %q does not exist", *claim.Spec.StorageClassName),
		Fix: "name another one with --storage-class (" + have + ")" + afterFirst + Command(claim.Namespace, "uninstall --purge")}
}

func waitingReason(pod *corev1.Pod, image string, w *corev1.ContainerStateWaiting, last *corev1.ContainerStateTerminated) (string, *StuckError) {
	object := "pod/" + pod.Name
	switch w.Reason {
	case "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull":
		reason := fmt.Sprintf("image %s cannot be pulled: %s", image, firstLine(w.Message))
		// The first failure may be a passing fault of the registry; a back-off
		// means that it has been tried again.
		if w.Reason == "ErrImagePull" {
			return reason, nil
		}
		return reason, &StuckError{Object: object, Reason: reason, Fix: "name an image that the nodes can pull with --image (a registry of your own, or one loaded on the nodes)"}
	case "CrashLoopBackOff":
		reason := "the collector exits again and again"
		if last != nil {
			reason = fmt.Sprintf("the collector exits (%s, code %d)", last.Reason, last.ExitCode)
			if last.Message != "" {
				reason += ": " + firstLine(last.Message)
			}
		}
		return reason, &StuckError{Object: object, Reason: reason, Fix: "see why: kubectl logs -n " + pod.Namespace + " " + pod.Name + " --previous"}
	case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
		reason := w.Reason + ": " + firstLine(w.Message)
		return reason, &StuckError{Object: object, Reason: reason, Fix: "see the pod's events: kubectl describe pod -n " + pod.Namespace + " " + pod.Name}
	}
	return "the container is being created (" + w.Reason + ")", nil
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s
}
