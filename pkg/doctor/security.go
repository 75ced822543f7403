package doctor

import (
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
	"github.com/logstack-dev/kubectl-logstack/pkg/install"
)

// recentEvents is how far back an event still counts as present.
const recentEvents = time.Hour

// Category 03: namespace and PodSecurity.
func securityChecks() []Check {
	return append(podSecurityChecks(),
		Check{
			Code: "LS0306", Severity: Error, Title: "no admission webhook refuses pods of the log stack",
			Explain: "Policy engines (Kyverno, Gatekeeper, Kubewarden) and ValidatingAdmissionPolicies refuse pods with words of their own: they stand in an event of the controller only.",
			Fix:     "change the pod template as the message asks, or exempt the namespace in the policy",
			Needs:   []snapshot.Input{snapshot.Events},
			Uses:    []snapshot.Input{snapshot.Stacks},
			Run:     func(s *snapshot.Snapshot) []Finding { return refusals(s, byWebhook) },
		},
		Check{
			Code: "LS0302", Severity: Error, Title: "no pod of the log stack is refused by admission",
			Explain: "A pod that admission refuses does not exist: kubectl get pods shows nothing, only an event of its controller says so. PodSecurity and quotas refuse pods (webhooks: LS0306).",
			Fix:     "kubectl describe KIND NAME shows the event; change the pod template or the namespace's rule",
			Needs:   []snapshot.Input{snapshot.Events},
			Uses:    []snapshot.Input{snapshot.Stacks},
			Run:     func(s *snapshot.Snapshot) []Finding { return refusals(s, byRule) },
		},
	)
}

// eventTime is when an event was seen last; old and new API fill different
// fields. Zero for events of files without a time.
func eventTime(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil && !e.Series.LastObservedTime.IsZero():
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	}
	return e.CreationTimestamp.Time
}

// refusals are the recent events of refused pods, the last one of each controller.
func refusals(s *snapshot.Snapshot, kind func(message string) bool) []Finding {
	latest := map[corev1.ObjectReference]*corev1.Event{}
	var order []corev1.ObjectReference
	for _, e := range s.Events() {
		if at := eventTime(e); e.Reason != "FailedCreate" || !at.IsZero() && s.Taken.Sub(at) > recentEvents || !kind(e.Message) {
			continue
		}
		key := corev1.ObjectReference{Kind: e.InvolvedObject.Kind, Namespace: e.Namespace, Name: e.InvolvedObject.Name}
		if !refusedStack(s, key) {
			continue
		}
		if latest[key] == nil {
			order = append(order, key)
		}
		latest[key] = e
	}
	var out []Finding
	for _, key := range order {
		e := latest[key]
		f := Finding{Status: Error, Ref: s.Ref(e), Detail: e.Message, Explains: []string{"LS0410@*/" + key.Namespace + "/" + key.Name, "LS0408@*/" + key.Namespace + "/" + key.Name}}
		if key.Namespace == s.Namespace && key.Name == s.Name {
			f.Explains = append(f.Explains, "LS0504@*/"+key.Namespace+"/*", "LS1008")
		}
		f.Ref.Kind, f.Ref.Name = key.Kind, key.Name
		own := key.Namespace == s.Namespace && key.Name == s.Name
		switch {
		case strings.Contains(e.Message, "violates PodSecurity") && own:
			f.Fix = "the collector passes `restricted` as it is shipped: undo the change to its pod template: " + install.Command(s.Namespace, "install --force-conflicts")
		case strings.Contains(e.Message, "violates PodSecurity"):
			f.Fix = "read logs through the API (loki.source.kubernetes needs no hostPath), or allow it in this namespace: kubectl label ns " + key.Namespace + " pod-security.kubernetes.io/enforce=privileged --overwrite"
		case strings.Contains(e.Message, "exceeded quota") && own:
			f.Fix = "raise the ResourceQuota of namespace " + s.Namespace + " or lower --memory"
		case strings.Contains(e.Message, "exceeded quota"):
			f.Fix = "raise the ResourceQuota of namespace " + key.Namespace + " (kubectl describe quota -n " + key.Namespace + ") or lower the requests of " + key.Name
		case byWebhook(e.Message):
			f.Fix = "change the pod template of " + key.Name + " as the message asks, or exempt namespace " + key.Namespace + " in the policy"
		default:
			f.Fix = "kubectl describe " + strings.ToLower(key.Kind) + " -n " + key.Namespace + " " + key.Name
		}
		out = append(out, f)
	}
	return out
}

// byWebhook: `admission webhook "x" denied the request: ...` and the words of a
// ValidatingAdmissionPolicy.
func byWebhook(message string) bool {
	return strings.Contains(message, "admission webhook") || strings.Contains(message, "denied the request") || strings.Contains(message, "ValidatingAdmissionPolicy")
}

// byRule are the refusals of the API server itself.
func byRule(message string) bool {
	return !byWebhook(message) && (strings.Contains(message, "violates PodSecurity") || strings.Contains(message, "exceeded quota") || strings.Contains(message, "forbidden"))
}

// complete says whether a workload has all its pods: what an event of it says
// is over then.
func complete(c *snapshot.Component) bool {
	switch w := c.Workload.(type) {
	case *appsv1.DaemonSet:
		return w.Status.DesiredNumberScheduled > 0 && w.Status.CurrentNumberScheduled >= w.Status.DesiredNumberScheduled
	case *appsv1.StatefulSet:
		return w.Status.Replicas > 0 && w.Spec.Replicas != nil && w.Status.Replicas >= *w.Spec.Replicas
	case *appsv1.Deployment:
		return w.Status.Replicas > 0 && w.Spec.Replicas != nil && w.Status.UpdatedReplicas >= *w.Spec.Replicas
	}
	return false
}

// refusedStack says whether the event's controller belongs to a log stack. A
// ReplicaSet is known by its Deployment's name. Without workloads to compare
// with (files), the name decides.
func refusedStack(s *snapshot.Snapshot, key corev1.ObjectReference) bool {
	if s.Missing(snapshot.Stacks) != nil {
		return true
	}
	for _, c := range s.Stacks() {
		if c.Namespace() != key.Namespace || c.Predicted {
			continue
		}
		if c.Kind == key.Kind && c.Name() == key.Name || key.Kind == "ReplicaSet" && c.Kind == "Deployment" && strings.HasPrefix(key.Name, c.Name()+"-") {
			return !complete(c)
		}
	}
	return false
}
