package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	authv1 "k8s.io/api/authorization/v1"
)

// allowed reviews by a list of verbs on leases.
type allowed []string

func (a allowed) Review(_ context.Context, r *authv1.SelfSubjectAccessReview) (*authv1.SelfSubjectAccessReview, error) {
	if a == nil {
		return nil, errors.New("connection refused")
	}
	attrs, out := r.Spec.ResourceAttributes, r.DeepCopy()
	for _, verb := range a {
		if verb == attrs.Verb && attrs.Group == "coordination.k8s.io" && attrs.Resource == "leases" && attrs.Namespace == "logstack" {
			out.Status.Allowed = true
		}
	}
	return out, nil
}

func TestMissingLeaseRights(t *testing.T) {
	if problem, err := missingLeaseRights(t.Context(), allowed(leaseVerbs), "logstack"); problem != "" || err != nil {
		t.Errorf("%q, %v", problem, err)
	}
	problem, err := missingLeaseRights(t.Context(), allowed{"get", "list", "watch"}, "logstack")
	if err != nil || !strings.Contains(problem, `may not create, update, delete leases.coordination.k8s.io in namespace "logstack"`) {
		t.Errorf("%q, %v", problem, err)
	}
	if _, err := missingLeaseRights(t.Context(), allowed(nil), "logstack"); err == nil {
		t.Error("no error from an API server that does not answer")
	}
}
