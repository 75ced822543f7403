package podlogs

import (
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// jobLabel is the job of every stream, so that dashboards made for the usual
// scrape configuration of pod logs find them.
const jobLabel = "kubernetes-pods"

// streamLabels are the labels of a container's stream. They are few and stay
// the same over restarts: ids of pods and containers are not among them.
func streamLabels(pod *corev1.Pod, container string) labels.Labels {
	app := appName(pod)
	m := map[string]string{
		"app":          app,
		"container":    container,
		"instance":     pod.Namespace + "/" + pod.Name + ":" + container,
		"job":          jobLabel,
		"namespace":    pod.Namespace,
		"node":         pod.Spec.NodeName,
		"pod":          pod.Name,
		"service_name": app,
	}
	for k, v := range m {
		if v == "" {
			delete(m, k)
		}
	}
	return labels.FromMap(m)
}

// appName is the first of the usual labels, else the name of what made the pod
// without the random part.
func appName(pod *corev1.Pod) string {
	for _, k := range []string{"app.kubernetes.io/name", "app", "k8s-app"} {
		if v := pod.Labels[k]; v != "" {
			return v
		}
	}
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return pod.Name
	}
	switch owner.Kind {
	case "ReplicaSet":
		if hash := pod.Labels["pod-template-hash"]; hash != "" {
			return strings.TrimSuffix(owner.Name, "-"+hash)
		}
		return owner.Name
	case "Job":
		return trimSchedule(owner.Name)
	case "Node":
		// A static pod: its mirror is named after the node.
		return strings.TrimSuffix(pod.Name, "-"+owner.Name)
	}
	return owner.Name
}

// trimSchedule turns the name of a CronJob's Job into the CronJob's: the
// controller appends the scheduled time in minutes, eight digits until 2160.
func trimSchedule(job string) string {
	i := strings.LastIndexByte(job, '-')
	if i <= 0 || len(job)-i-1 < 8 {
		return job
	}
	for _, c := range job[i+1:] {
		if c < '0' || c > '9' {
			return job
		}
	}
	return job[:i]
}
