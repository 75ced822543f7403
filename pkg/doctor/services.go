package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
	"github.com/logstack-dev/kubectl-logstack/pkg/install"
)

// Category 05: Services and DNS.
func serviceChecks() []Check {
	list := []Check{
		{
			Code: "LS0501", Severity: Error, Title: "every host that log traffic goes to exists",
			Explain: "Every URL and host in collectors' configurations, Grafana's datasources and Loki's own configuration is resolved as a pod of the consumer's namespace would: search list, ndots:5, cluster domain. A name that is no Service gives \"no such host\". Our own Service has to exist as well.",
			Fix:     "write the name of a Service that exists: kubectl get svc -n NAMESPACE",
			Needs:   []snapshot.Input{snapshot.Services}, Uses: append([]snapshot.Input{snapshot.StatefulSets, snapshot.Namespaces}, trafficInputs...),
			Applies: func(s *snapshot.Snapshot) bool { return hasOurs(s) || len(traffic(s)) > 0 },
			Run:     checkHosts,
		},
		{
			Code: "LS0504", Severity: Error, Title: "the Services of log stacks have ready endpoints",
			Explain: "A Service without ready endpoints resolves and then refuses connections: its selector matches no pod, or no pod is ready.",
			Fix:     "kubectl get endpointslices -n NAMESPACE -l kubernetes.io/service-name=NAME; kubectl get pods -n NAMESPACE",
			Needs:   []snapshot.Input{snapshot.Services, snapshot.EndpointSlices}, Uses: []snapshot.Input{snapshot.Pods},
			Applies: func(s *snapshot.Snapshot) bool { return len(logServices(s)) > 0 }, Transient: true,
			Run: checkEndpoints,
		},
		{
			Code: "LS0505", Severity: Error, Title: "the Services' ports lead to container ports",
			Explain: "A named targetPort has to be the name of a container port; otherwise the endpoint has no port.",
			Fix:     "make targetPort the name or the number of a container port",
			Needs:   []snapshot.Input{snapshot.Services, snapshot.Pods},
			Applies: func(s *snapshot.Snapshot) bool { return len(logServices(s)) > 0 },
			Run:     checkTargetPorts,
		},
	}
	return slices.Concat(list[:1], hostChecks(), nameChecks(), []Check{netpolCheck()}, list[1:], insideChecks())
}

// logServices are the Services of log products, known by their labels.
func logServices(s *snapshot.Snapshot) []*corev1.Service {
	var out []*corev1.Service
	for _, svc := range s.Services() {
		switch svc.Labels["app.kubernetes.io/name"] {
		case "loki", "enterprise-logs", "alloy", "grafana", "logstack", "vector", "fluent-bit", "minio":
			out = append(out, svc)
		}
	}
	return out
}

func checkEndpoints(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, svc := range logServices(s) {
		if f := endpointsOf(s, svc); f != nil {
			out = append(out, *f)
		}
	}
	return out
}

func endpointsOf(s *snapshot.Snapshot, svc *corev1.Service) *Finding {
	if len(svc.Spec.Selector) == 0 || svc.Spec.Type == corev1.ServiceTypeExternalName || !s.Covers(snapshot.EndpointSlices, svc.Namespace) {
		return nil
	}
	total, ready, slices := 0, 0, 0
	for _, sl := range s.EndpointSlices() {
		if sl.Namespace != svc.Namespace || sl.Labels["kubernetes.io/service-name"] != svc.Name {
			continue
		}
		slices++
		for _, e := range sl.Endpoints {
			total++
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				ready++
			}
		}
	}
	if ready > 0 || slices == 0 && !s.Live() {
		return nil
	}
	f := &Finding{Status: Error, Ref: s.Ref(svc), Explains: []string{"LS1008"}}
	own := svc.Namespace == s.Namespace && svc.Name == s.Name
	matching := 0
	for _, p := range s.Pods() {
		if p.Namespace == svc.Namespace && snapshot.Selects(svc.Spec.Selector, p.Labels) {
			matching++
		}
	}
	switch {
	case total > 0 || matching > 0:
		f.Detail = plural(max(total, matching), "endpoint") + ", 0 ready"
		f.Fix = "kubectl get pods -n " + svc.Namespace + " -l " + selectorText(svc.Spec.Selector)
		if own {
			f.Fix = install.Command(s.Namespace, "status")
		}
	default:
		f.Detail = "its selector " + selectorText(svc.Spec.Selector) + " matches no pod"
		f.Fix = "compare the selector with the labels of the pods: kubectl get pods -n " + svc.Namespace + " --show-labels"
		if own {
			f.Fix = install.Command(s.Namespace, "install --force-conflicts") + " (puts the selector back)"
		}
		if !own && !isAPI(svc) {
			f.Status = Info // the chart renders Services for parts that are switched off
		}
	}
	return f
}

// isAPI says whether clients use the Service, as opposed to helpers of the chart.
func isAPI(svc *corev1.Service) bool {
	for _, suffix := range []string{"-headless", "-memberlist", "-canary", "-chunks-cache", "-results-cache", "-gateway-exporter"} {
		if strings.HasSuffix(svc.Name, suffix) {
			return false
		}
	}
	return true
}

func selectorText(m map[string]string) string {
	var parts []string
	for k, v := range m {
		parts = append(parts, k+"="+v)
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

func checkTargetPorts(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, svc := range logServices(s) {
		var worst []Finding
		for i, p := range podsOf(s, svc) {
			found := targetPorts(s, svc, p)
			if i == 0 || len(found) < len(worst) {
				worst = found
			}
		}
		out = append(out, worst...)
	}
	return out
}

// podsOf are the pods that a Service selects and that declare ports: one that
// declares none listens where it likes.
func podsOf(s *snapshot.Snapshot, svc *corev1.Service) []*corev1.Pod {
	var out []*corev1.Pod
	for _, p := range s.Pods() {
		if p.Namespace == svc.Namespace && snapshot.Selects(svc.Spec.Selector, p.Labels) && slices.ContainsFunc(p.Spec.Containers, func(c corev1.Container) bool { return len(c.Ports) > 0 }) {
			out = append(out, p)
		}
	}
	return out
}

// targetPorts compares a Service's ports with those of one of its pods. A
// Service that selects several kinds of pods is judged by the best of them.
func targetPorts(s *snapshot.Snapshot, svc *corev1.Service, pod *corev1.Pod) []Finding {
	var names, numbers []string
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name != "" {
				names = append(names, p.Name)
			}
			numbers = append(numbers, strconv.Itoa(int(p.ContainerPort)))
		}
	}
	own := svc.Namespace == s.Namespace && svc.Name == s.Name
	var out []Finding
	for i, sp := range svc.Spec.Ports {
		target, have := sp.TargetPort.String(), names
		if sp.TargetPort.Type == intstr.Int {
			if have = numbers; sp.TargetPort.IntVal == 0 {
				target = strconv.Itoa(int(sp.Port))
			}
			if !own {
				continue // a number needs no declared port to work
			}
		}
		if slices.Contains(have, target) {
			continue
		}
		f := Finding{Status: Error, Ref: s.Ref(svc, "spec", "ports", strconv.Itoa(i)),
			Detail: fmt.Sprintf("targetPort %q is no container port of pod %s (it has: %s)", target, pod.Name, strings.Join(append(names, numbers...), ", ")),
			Fix:    "make targetPort one of: " + strings.Join(append(names, numbers...), ", "), Explains: []string{"LS0504", "LS1008"}}
		if own {
			f.Fix = install.Command(s.Namespace, "install --force-conflicts") + " (puts the port back)"
		}
		out = append(out, f)
	}
	return out
}
