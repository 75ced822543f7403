package kubevents

import (
	"context"
	"fmt"

	authv1 "k8s.io/api/authorization/v1"
)

// permitted asks the API server whether the scope's events may be seen, and
// notes what is missing. When the question fails, the events are tried.
func (s *scope) permitted(ctx context.Context) bool {
	var problems []string
	for _, verb := range []string{"list", "watch"} {
		review := &authv1.SelfSubjectAccessReview{Spec: authv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authv1.ResourceAttributes{Namespace: s.namespace, Verb: verb, Resource: "events"},
		}}
		answer, err := s.c.opts.API.Review(ctx, review)
		if err != nil {
			return true
		}
		if answer.Status.Allowed {
			continue
		}
		where, kind := "in all namespaces", "ClusterRole"
		if s.namespace != "" {
			where, kind = fmt.Sprintf("in namespace %q", s.namespace), "Role"
		}
		problems = append(problems, fmt.Sprintf(
			"the collector may not %s events %s: add this to the %s of its service account, or run it with --events=false", verb, where, kind))
	}
	s.c.setProblems(s, problems)
	return len(problems) == 0
}
