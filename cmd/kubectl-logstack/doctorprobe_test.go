package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
	psaapi "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

// consumer is a snapshot with one client of log traffic in namespace monitoring.
func consumer(t *testing.T) *snapshot.Snapshot {
	t.Helper()
	file := filepath.Join(t.TempDir(), "alloy.yaml")
	text := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: alloy, namespace: monitoring}\ndata:\n  config.alloy: |\n    loki.write \"d\" {\n      endpoint { url = \"http://loki:3100/loki/api/v1/push\" }\n    }\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := snapshot.Load(t.Context(), snapshot.Request{Files: []string{file}, StackNamespace: "logstack", StackName: "logstack"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// probeCluster is a fake API server whose pods become what status says as soon
// as somebody looks; denied are verbs on pods that are not allowed.
func probeCluster(status func() (corev1.PodStatus, error), denied ...string) *fake.Clientset {
	c := fake.NewClientset()
	c.PrependReactor("create", "selfsubjectaccessreviews", func(a k8stesting.Action) (bool, runtime.Object, error) {
		r := a.(k8stesting.CreateAction).GetObject().(*authv1.SelfSubjectAccessReview)
		r.Status.Allowed = !slices.Contains(denied, r.Spec.ResourceAttributes.Verb)
		return true, r, nil
	})
	c.PrependReactor("get", "pods", func(a k8stesting.Action) (bool, runtime.Object, error) {
		obj, err := c.Tracker().Get(a.GetResource(), a.GetNamespace(), a.(k8stesting.GetAction).GetName())
		if err != nil {
			return true, nil, err
		}
		pod := obj.(*corev1.Pod).DeepCopy()
		pod.Status, err = status()
		return true, pod, err
	})
	return c
}

func ended(message string) func() (corev1.PodStatus, error) {
	return func() (corev1.PodStatus, error) {
		return corev1.PodStatus{Phase: corev1.PodSucceeded, ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: message}}}}}, nil
	}
}

func stuck(reason, message string) func() (corev1.PodStatus, error) {
	return func() (corev1.PodStatus, error) {
		return corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}}}, nil
	}
}

// TestProbePods: whatever becomes of a pod, its answers or the reason come back
// and no pod stays; without a right none is made.
func TestProbePods(t *testing.T) {
	for name, tc := range map[string]struct {
		status  func() (corev1.PodStatus, error)
		denied  []string
		hop     snapshot.InsideHop
		words   string // of Error or Err
		created bool
	}{
		"answers":      {ended(`[{"f":"dns","e":"no such host","m":12}]`), nil, snapshot.HopDNS, "no such host", true},
		"no report":    {ended("exec format error"), nil, "", "is not readable", true},
		"no image":     {stuck("ImagePullBackOff", "manifest unknown"), nil, "", "ImagePullBackOff manifest unknown", true},
		"never starts": {stuck("ContainerCreating", ""), nil, "", "did not end within 50ms: ContainerCreating", true},
		"lost":         {func() (corev1.PodStatus, error) { return corev1.PodStatus{}, errors.New("connection lost") }, nil, "", "connection lost", true},
		"may not make": {nil, []string{"create"}, "", "need create pods in namespace monitoring", false},
		"may not undo": {nil, []string{"delete"}, "", "need delete pods in namespace monitoring", false},
	} {
		t.Run(name, func(t *testing.T) {
			c := probeCluster(tc.status, tc.denied...)
			p := insideProbe{c: &kube.Client{Kube: c}, image: "x/collector:1", poll: time.Millisecond, wait: 50 * time.Millisecond}
			got := p.look(t.Context(), consumer(t))
			if len(got) != 1 || got[0].URL != "http://loki:3100/ready" || got[0].Hop != tc.hop {
				t.Fatalf("%+v", got)
			}
			text := got[0].Error
			if got[0].Err != nil {
				text += got[0].Err.Error()
			}
			if !strings.Contains(text, tc.words) || (got[0].Right != nil) != (len(tc.denied) > 0) {
				t.Errorf("%+v", got[0])
			}
			checkDeleted(t, c, tc.created)
		})
	}
}

// checkDeleted wants as many pods deleted as made, and none left.
func checkDeleted(t *testing.T, c *fake.Clientset, created bool) {
	t.Helper()
	verbs := map[string]int{}
	for _, a := range c.Actions() {
		if a.GetResource().Resource == "pods" {
			verbs[a.GetVerb()]++
		}
	}
	if (verbs["create"] == 1) != created || verbs["create"] != verbs["delete"] {
		t.Errorf("%v", verbs)
	}
	left, err := c.Tracker().List(corev1.SchemeGroupVersion.WithResource("pods"), corev1.SchemeGroupVersion.WithKind("Pod"), "")
	if err != nil || len(left.(*corev1.PodList).Items) != 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

// TestProbeInterrupted: Ctrl-C deletes the pod as well.
func TestProbeInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := probeCluster(func() (corev1.PodStatus, error) {
		cancel()
		return stuck("ContainerCreating", "")()
	})
	p := insideProbe{c: &kube.Client{Kube: c}, image: "x", poll: time.Millisecond, wait: time.Minute}
	if got := p.look(ctx, consumer(t)); len(got) != 1 || got[0].Err == nil {
		t.Errorf("%+v", got)
	}
	checkDeleted(t, c, true)
}

// TestProbeUndeletable: a pod that stays is told, with the command.
func TestProbeUndeletable(t *testing.T) {
	c := probeCluster(ended(`[{"s":200}]`))
	c.PrependReactor("delete", "pods", func(a k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "x", errors.New("no"))
	})
	p := insideProbe{c: &kube.Client{Kube: c}, image: "x", poll: time.Millisecond, wait: time.Minute}
	if got := p.look(t.Context(), consumer(t)); got[0].Err == nil || !strings.Contains(got[0].Err.Error(), "kubectl delete pod -n monitoring logstack-probe-") {
		t.Errorf("%+v", got[0])
	}
}

// TestProbePod: restricted admits it, and it cannot do anything else.
func TestProbePod(t *testing.T) {
	pod := probePod("monitoring", "x/collector:1", []string{"http://loki:3100/ready"})
	e, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range e.EvaluatePod(psaapi.LevelVersion{Level: psaapi.LevelRestricted, Version: psaapi.LatestVersion()}, &pod.ObjectMeta, &pod.Spec) {
		if !r.Allowed {
			t.Errorf("%s: %s", r.ForbiddenReason, r.ForbiddenDetail)
		}
	}
	if *pod.Spec.AutomountServiceAccountToken || pod.Spec.ActiveDeadlineSeconds == nil || pod.Spec.RestartPolicy != corev1.RestartPolicyNever {
		t.Errorf("%+v", pod.Spec)
	}
}
