package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	authv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor"
	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
	"github.com/logstack-dev/kubectl-logstack/pkg/install"
	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/reach"
)

// Limits of doctor --probe.
const (
	probeName       = "logstack-probe"
	maxProbePods    = 6 // one for each namespace with a consumer
	probeURLTimeout = 5 * time.Second
	// probeTimeout is how long a pod may take, the pull of its image included.
	probeTimeout = time.Minute
	probePoll    = 300 * time.Millisecond
	probeCleanup = 10 * time.Second
)

// insideProbe makes the pods of --probe.
type insideProbe struct {
	c     *kube.Client
	image string // "" is that of our collector, else the one that install uses
	poll  time.Duration
	wait  time.Duration
}

// look asks one pod in each namespace that has a consumer of log traffic.
func (p insideProbe) look(ctx context.Context, s *snapshot.Snapshot) []*snapshot.InsideResult {
	by := map[string][]snapshot.InsideTarget{}
	var order []string
	for _, t := range doctor.InsideTargets(s) {
		if by[t.Namespace] == nil {
			order = append(order, t.Namespace)
		}
		by[t.Namespace] = append(by[t.Namespace], t)
	}
	image := p.image
	if set, ok := snapshot.Find(s.StatefulSets(), s.Namespace, s.Name); ok && image == "" {
		image = set.Spec.Template.Spec.Containers[0].Image
	}
	if image == "" {
		image = install.DefaultValues().Image.Ref()
	}
	results := make([][]*snapshot.InsideResult, len(order))
	var g errgroup.Group
	for i, ns := range order {
		if i >= maxProbePods {
			results[i] = notLooked(by[ns], fmt.Errorf("namespace %s was not asked: at most %d are", ns, maxProbePods), nil)
			continue
		}
		g.Go(func() error {
			results[i] = p.namespace(ctx, ns, image, by[ns])
			return nil
		})
	}
	_ = g.Wait() // no function fails
	return slices.Concat(results...)
}

// notLooked are the results when nobody could look.
func notLooked(targets []snapshot.InsideTarget, err error, right *snapshot.Right) []*snapshot.InsideResult {
	var out []*snapshot.InsideResult
	for _, t := range targets {
		out = append(out, &snapshot.InsideResult{InsideTarget: t, Err: err, Right: right})
	}
	return out
}

// namespace runs a pod there. Without one of the rights nothing is made: a pod
// that could not be deleted would stay.
func (p insideProbe) namespace(ctx context.Context, ns, image string, targets []snapshot.InsideTarget) []*snapshot.InsideResult {
	for _, verb := range []string{"create", "get", "delete"} {
		r := snapshot.Right{Verb: verb, Resource: "pods", Namespace: ns}
		sar, err := p.c.Kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authv1.SelfSubjectAccessReview{
			Spec: authv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authv1.ResourceAttributes{Verb: verb, Resource: "pods", Namespace: ns}},
		}, metav1.CreateOptions{})
		if err != nil || !sar.Status.Allowed {
			return notLooked(targets, &snapshot.Missing{Right: &r}, &r)
		}
	}
	var urls []string
	for _, t := range targets {
		urls = append(urls, t.URL)
	}
	answers, err := p.run(ctx, ns, image, urls)
	if err != nil {
		return notLooked(targets, fmt.Errorf("nobody could look from namespace %s: %w", ns, err), nil)
	}
	var out []*snapshot.InsideResult
	for i, a := range answers {
		out = append(out, &snapshot.InsideResult{InsideTarget: targets[i], Hop: snapshot.InsideHop(a.Failed), Error: a.Error, Status: a.Status, Took: time.Duration(a.Millis) * time.Millisecond})
	}
	return out
}

// run makes the pod, waits for its end, and deletes it whatever happens, also
// after Ctrl-C.
func (p insideProbe) run(ctx context.Context, ns, image string, urls []string) (answers []reach.Answer, err error) {
	pods := p.c.Kube.CoreV1().Pods(ns)
	pod, err := pods.Create(ctx, probePod(ns, image, urls), metav1.CreateOptions{FieldManager: kube.FieldManager})
	if err != nil {
		return nil, err
	}
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeCleanup)
		defer cancel()
		now := int64(0)
		if e := pods.Delete(clean, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); e != nil && !apierrors.IsNotFound(e) {
			err = errors.Join(err, fmt.Errorf("its pod could not be deleted (kubectl delete pod -n %s %s): %w", ns, pod.Name, e))
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, p.wait)
	defer cancel()
	last := "it has no status yet"
	for {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("pod %s did not end within %s: %s", pod.Name, p.wait, last)
		case <-time.After(p.poll):
		}
		pod, err := pods.Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil {
			if ctx.Err() != nil {
				continue
			}
			return nil, err
		}
		done, why := probeState(pod)
		switch {
		case done != nil:
			return reach.Decode([]byte(done.Message), len(urls))
		case strings.Contains(why, "ImagePull") || strings.Contains(why, "InvalidImage"):
			return nil, fmt.Errorf("pod %s: %s (another image: --probe-image)", pod.Name, why)
		case pod.Status.Phase == corev1.PodFailed:
			return nil, fmt.Errorf("pod %s: %s", pod.Name, orText(why, "it failed"))
		}
		last = orText(why, last)
	}
}

// probeState is how the container ended, or why it has not.
func probeState(pod *corev1.Pod) (done *corev1.ContainerStateTerminated, why string) {
	for _, st := range pod.Status.ContainerStatuses {
		if t := st.State.Terminated; t != nil {
			return t, ""
		}
		if w := st.State.Waiting; w != nil {
			return nil, strings.TrimSpace(w.Reason + " " + w.Message)
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return nil, c.Message
		}
	}
	return nil, strings.TrimSpace(pod.Status.Reason + " " + pod.Status.Message)
}

func orText(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// probePod passes PodSecurity's restricted level, has no token, and ends by
// itself when doctor cannot end it. Its name is no label that a Service picks.
func probePod(ns, image string, urls []string) *corev1.Pod {
	no, yes := false, true
	user, grace, deadline := int64(65532), int64(0), int64((probeTimeout + probeCleanup).Seconds())
	labels := map[string]string{"app.kubernetes.io/name": probeName, "app.kubernetes.io/part-of": install.Name, "app.kubernetes.io/managed-by": "kubectl-logstack"}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: ns, Name: probeName + "-" + rand.String(8), Labels: labels,
			Annotations: map[string]string{"logstack.dev/collect": "false", "sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled"},
		},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, ActiveDeadlineSeconds: &deadline, TerminationGracePeriodSeconds: &grace,
			AutomountServiceAccountToken: &no, EnableServiceLinks: &no,
			SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes, RunAsUser: &user, RunAsGroup: &user, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			Containers: []corev1.Container{{
				Name: "probe", Image: image, ImagePullPolicy: corev1.PullIfNotPresent,
				Args: append([]string{"probe", "--timeout=" + probeURLTimeout.String(), "--report=" + corev1.TerminationMessagePathDefault}, urls...),
				Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("16Mi")},
					Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")},
				},
				SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, RunAsNonRoot: &yes, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}},
			}},
		},
	}
}
