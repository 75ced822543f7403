package install

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// evaluator is Kubernetes's own, with the newest rules that this program knows;
// it is immutable.
var evaluator = sync.OnceValues(func() (policy.Evaluator, error) {
	return policy.NewEvaluator(policy.DefaultChecks(), nil)
})

// PodSecurityViolations is the API server's text about a pod template at a level
// of PodSecurity, "" when it passes.
func PodSecurityViolations(level api.LevelVersion, t *corev1.PodTemplateSpec) string {
	e, err := evaluator()
	if err != nil || level.Level == api.LevelPrivileged {
		return ""
	}
	res := policy.AggregateCheckResults(e.EvaluatePod(level, &t.ObjectMeta, &t.Spec))
	if res.Allowed {
		return ""
	}
	return res.ForbiddenDetail()
}

// PodSecurityLevels are the levels that the labels of a namespace ask for; labels
// that cannot be read are treated as the API server does.
func PodSecurityLevels(labels map[string]string) api.Policy {
	privileged := api.LevelVersion{Level: api.LevelPrivileged, Version: api.LatestVersion()}
	p, _ := api.PolicyToEvaluate(labels, api.Policy{Enforce: privileged, Audit: privileged, Warn: privileged})
	return p
}
