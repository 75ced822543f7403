package kube

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWaitFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		err := WaitFor(t.Context(), "never", time.Minute, func(context.Context) error {
			if calls++; calls == 10 {
				return nil
			}
			return errors.New("not yet")
		})
		if err != nil || calls != 10 {
			t.Errorf("%d calls, %v", calls, err)
		}
		begin := time.Now()
		cause := errors.New("pod is pending")
		err = WaitFor(t.Context(), "app is not ready", time.Minute, func(context.Context) error { return cause })
		if !errors.Is(err, cause) || !strings.Contains(err.Error(), "app is not ready after 1m0s") || time.Since(begin) != time.Minute {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}

func TestAvailable(t *testing.T) {
	two := int32(2)
	for _, tc := range []struct {
		name string
		d    appsv1.Deployment
		want bool
	}{
		{"nothing reported", appsv1.Deployment{}, false},
		{"one by default", appsv1.Deployment{Status: appsv1.DeploymentStatus{UpdatedReplicas: 1, AvailableReplicas: 1}}, true},
		{"one of two", appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: &two}, Status: appsv1.DeploymentStatus{UpdatedReplicas: 2, AvailableReplicas: 1}}, false},
		{"old generation", appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Generation: 2}, Status: appsv1.DeploymentStatus{ObservedGeneration: 1, UpdatedReplicas: 1, AvailableReplicas: 1}}, false},
		{"old pods", appsv1.Deployment{Status: appsv1.DeploymentStatus{AvailableReplicas: 1}}, false},
	} {
		if got := available(&tc.d); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

func TestOpenWithoutFile(t *testing.T) {
	if _, err := Open(t.TempDir()+"/none", true); err == nil || !strings.Contains(err.Error(), "kubeconfig") {
		t.Errorf("got %v", err)
	}
}
