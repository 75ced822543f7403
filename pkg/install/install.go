package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

// Observer is told what happens, from one goroutine. Nil fields are skipped.
type Observer struct {
	// Applied is called after each object.
	Applied func(object string, change kube.Change)
	// Waiting is called whenever the reason for waiting changes.
	Waiting func(reason string)
}

func (o Observer) applied(object string, change kube.Change) {
	if o.Applied != nil {
		o.Applied(object, change)
	}
}

// Options say how Run proceeds.
type Options struct {
	Values Values
	// DryRun asks the API server to judge every object and stores nothing.
	DryRun bool
	// Force takes over fields that another manager owns.
	Force bool
	// Wait for the collector to be ready; the context bounds the wait.
	Wait     bool
	Observer Observer
}

// StuckError says why waiting any longer is hopeless.
type StuckError struct {
	Object string
	Reason string
	Fix    string
}

func (e *StuckError) Error() string { return fmt.Sprintf("%s: %s\n  %s", e.Object, e.Reason, e.Fix) }

// TimeoutError says what was still missing when the time was over.
type TimeoutError struct{ Namespace, Reason string }

func (e *TimeoutError) Error() string {
	return "not ready in time: " + e.Reason + "\n  look further: " + Command(e.Namespace, "status") + "; wait longer: --timeout"
}

// Run installs or upgrades: a second run with the same values changes nothing.
// It returns how many objects were created or changed.
func Run(ctx context.Context, c *kube.Client, opts Options) (changed int, err error) {
	resolved, err := resolve(c, opts.Values)
	if err != nil {
		return 0, err
	}
	objs, err := Render(resolved)
	if err != nil {
		return 0, err
	}
	former, err := readRecord(ctx, c, opts.Values.Namespace)
	if err != nil {
		return 0, err
	}
	rec, err := record(opts.Values, objs)
	if err != nil {
		return 0, err
	}
	old := dropped(former, append(objs, rec))
	// The record is written after the namespace and before the rest: an
	// installation that breaks off can be taken out whole.
	for _, o := range slices.Insert(objs, 1, rec) {
		if o.GetKind() == "Namespace" {
			theirs, err := foreignNamespace(ctx, c, o.GetName(), opts.Observer)
			if err != nil {
				return changed, err
			}
			if theirs {
				// Our labels would force PodSecurity restricted on other people's pods.
				opts.Observer.applied(kube.ObjectName(o), kube.Unchanged)
				continue
			}
		}
		change, err := c.Apply(ctx, o, opts.DryRun, opts.Force)
		if err != nil {
			if opts.DryRun && apierrors.IsNotFound(err) && o.GetKind() != "Namespace" {
				// A server-side dry run cannot create in a namespace that is only
				// about to exist.
				change = kube.Created
			} else {
				return changed, explainApply(err, o)
			}
		}
		if change != kube.Unchanged {
			changed++
		}
		opts.Observer.applied(kube.ObjectName(o), change)
	}
	n, err := pruneObjects(ctx, c, old, opts)
	if changed += n; err != nil {
		return changed, err
	}
	if opts.DryRun || !opts.Wait {
		return changed, nil
	}
	return changed, waitReady(ctx, c, opts)
}

// pruneObjects deletes what an earlier installation made and this one does not
// render any more. An object that lost our label is somebody else's now.
func pruneObjects(ctx context.Context, c *kube.Client, old []*unstructured.Unstructured, opts Options) (deleted int, err error) {
	for _, o := range old {
		mine, err := isOurs(ctx, c, o)
		if err != nil {
			return deleted, err
		}
		if !mine {
			continue
		}
		change := kube.Deleted
		if !opts.DryRun {
			if change, err = c.Delete(ctx, o); err != nil {
				return deleted, err
			}
		}
		if change == kube.Deleted {
			deleted++
		}
		opts.Observer.applied(kube.ObjectName(o), change)
	}
	return deleted, nil
}

// foreignNamespace says whether the namespace exists and was not made by us. One
// that is terminating is waited for.
func foreignNamespace(ctx context.Context, c *kube.Client, name string, obs Observer) (bool, error) {
	ns, err := c.Kube.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, kube.Explain(err)
	}
	if ns.DeletionTimestamp != nil {
		return false, waitNamespaceGone(ctx, c, name, obs)
	}
	return ns.Labels[managedBy] != kube.FieldManager, nil
}

func explainApply(err error, o *unstructured.Unstructured) error {
	if apierrors.IsInvalid(err) && o.GetKind() == "StatefulSet" && strings.Contains(err.Error(), "updates to statefulset spec") {
		return fmt.Errorf("statefulset/%s: this cannot be changed in place (the volume's size or class): %w\n"+
			"  keep the old values, or: %s (the logs stay unless --purge), then install again", o.GetName(), err, Command(o.GetNamespace(), "uninstall"))
	}
	return err
}

// pollInterval is how often waitReady looks. A watch would save little for the
// seconds that an installation takes, and would need more rights.
const pollInterval = 500 * time.Millisecond

func waitReady(ctx context.Context, c *kube.Client, opts Options) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	last := ""
	for {
		st, err := Inspect(ctx, c, opts.Values.Namespace)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err == nil {
			if st.Ready {
				return nil
			}
			if st.Stuck != nil {
				return st.Stuck
			}
			if st.Reason != last && opts.Observer.Waiting != nil {
				opts.Observer.Waiting(st.Reason)
			}
			last = st.Reason
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return &TimeoutError{Namespace: opts.Values.Namespace, Reason: last}
			}
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// State is how an installation is.
type State struct {
	Installed bool
	Ready     bool
	// Reason is what is missing to be ready, one line; "" when ready.
	Reason string
	// Stuck is set when time alone will not mend it.
	Stuck *StuckError
	Image string
	// Pod is the collector's pod, nil when there is none.
	Pod *corev1.Pod
	// Claim is the collector's volume claim, nil when there is none.
	Claim *corev1.PersistentVolumeClaim
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
	st := &State{Installed: true, Image: set.Spec.Template.Spec.Containers[0].Image}
	pods, err := c.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(set.Spec.Selector.MatchLabels).String()})
	if err != nil {
		return nil, kube.Explain(err)
	}
	if len(pods.Items) > 0 {
		st.Pod = &pods.Items[0]
	}
	claim, err := c.Kube.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, "data-"+Name+"-0", metav1.GetOptions{})
	if err == nil {
		st.Claim = claim
	} else if !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) {
		return nil, kube.Explain(err)
	}
	if setReady(set) {
		st.Ready = true
		return st, nil
	}
	st.Reason, st.Stuck = diagnose(ctx, c, set, st)
	return st, nil
}

func setReady(s *appsv1.StatefulSet) bool {
	want := int32(1)
	if s.Spec.Replicas != nil {
		want = *s.Spec.Replicas
	}
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
	names := make([]string, 0, len(classes.Items))
	for _, k := range classes.Items {
		names = append(names, k.Name)
	}
	have := "the cluster has none"
	if len(names) > 0 {
		have = "there are: " + strings.Join(names, ", ")
	}
	object := "persistentvolumeclaim/" + claim.Name
	if claim.Spec.StorageClassName == nil || *claim.Spec.StorageClassName == "" {
		for _, k := range classes.Items {
			if k.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" {
				return nil
			}
		}
		return &StuckError{Object: object, Reason: "no StorageClass was named and the cluster has no default one",
			Fix: "name one with --storage-class (" + have + "), or keep the logs only as long as the pod with --ephemeral; first: " + Command(claim.Namespace, "uninstall --purge")}
	}
	for _, n := range names {
		if n == *claim.Spec.StorageClassName {
			return nil
		}
	}
	return &StuckError{Object: object, Reason: fmt.Sprintf("StorageClass %q does not exist", *claim.Spec.StorageClassName),
		Fix: "name another one with --storage-class (" + have + ") after " + Command(claim.Namespace, "uninstall --purge")}
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
