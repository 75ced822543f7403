package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	authv1 "k8s.io/api/authorization/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/podlogs"
)

// leaseVerbs are what sharing pods takes; losing one of them shows as a replica
// that is fenced, which does not say why.
var leaseVerbs = []string{"get", "list", "watch", "create", "update", "delete"}

// reviewInterval is how often missing rights are asked for again.
const reviewInterval = time.Minute

// reviewer is what the API server knows of our own rights.
type reviewer interface {
	Review(ctx context.Context, r *authv1.SelfSubjectAccessReview) (*authv1.SelfSubjectAccessReview, error)
}

var _ reviewer = podlogs.API(nil)

// missingLeaseRights says what is missing to share pods in a namespace; an error
// means that it is not known.
func missingLeaseRights(ctx context.Context, api reviewer, namespace string) (problem string, err error) {
	var missing []string
	for _, verb := range leaseVerbs {
		answer, err := api.Review(ctx, &authv1.SelfSubjectAccessReview{Spec: authv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authv1.ResourceAttributes{Namespace: namespace, Verb: verb, Group: "coordination.k8s.io", Resource: "leases"},
		}})
		if err != nil {
			return "", fmt.Errorf("asking for the collector's own rights: %w", err)
		}
		if !answer.Status.Allowed {
			missing = append(missing, verb)
		}
	}
	if len(missing) == 0 {
		return "", nil
	}
	return fmt.Sprintf("the collector may not %s leases.coordination.k8s.io in namespace %q, which replicas share pods by: add this to the Role logstack-replicas",
		strings.Join(missing, ", "), namespace), nil
}

// reviewLeases looks for missing rights until there are none.
func (p *parts) reviewLeases(ctx context.Context, api reviewer) {
	if p.cfg.replicas.set == "" {
		return
	}
	tick := time.NewTicker(reviewInterval)
	defer tick.Stop()
	for {
		problem, err := missingLeaseRights(ctx, api, p.cfg.replicas.namespace)
		if err == nil {
			p.operator.setProblem(problem)
			if problem == "" {
				return
			}
			p.log.Warn(problem)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
