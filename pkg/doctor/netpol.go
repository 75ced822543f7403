package doctor

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// netpolCheck is LS0509.
func netpolCheck() Check {
	return Check{
		Code: "LS0509", Severity: Error, Title: "NetworkPolicies let log traffic through",
		Explain: "A pod that any NetworkPolicy selects for ingress (or egress) accepts (or sends) only what some policy allows; the connection times out otherwise. The policies are evaluated for each collector's way to its Loki: egress of the client, ingress of the pods behind the Service, at the container's port.",
		Fix:     "add the client's namespace to the policy's ingress.from (namespaceSelector kubernetes.io/metadata.name), or the port to its ports",
		Needs:   []snapshot.Input{snapshot.NetworkPolicies, snapshot.Services},
		Uses:    append([]snapshot.Input{snapshot.Namespaces, snapshot.Pods}, trafficInputs...),
		Applies: func(s *snapshot.Snapshot) bool { return len(s.NetworkPolicies()) > 0 && len(traffic(s)) > 0 },
		Run:     blockedTraffic,
	}
}

// endpoint is a pod as NetworkPolicies see it.
type endpoint struct {
	namespace string
	labels    map[string]string
}

func blockedTraffic(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, t := range traffic(s) {
		r := resolve(s, t)
		if r.svc == nil || t.labels == nil || len(r.svc.Spec.Selector) == 0 {
			continue
		}
		server, port, name := serverOf(s, r.svc, portOf(t))
		client := endpoint{t.namespace, t.labels}
		if np := blocked(s, networkingv1.PolicyTypeIngress, server, client, port, name); np != nil {
			out = append(out, Finding{Status: Error, Ref: s.Ref(np), Explains: append([]string{}, t.symptoms...),
				Detail: fmt.Sprintf("%s: the pods of Service %s/%s are selected by this policy, and none admits pods of namespace %s at port %d", t.who, r.svc.Namespace, r.svc.Name, t.namespace, port),
				Fix:    "add to ingress: from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: " + t.namespace + "}}}], ports: [{port: " + strconv.Itoa(int(port)) + "}]"})
			continue
		}
		if np := blocked(s, networkingv1.PolicyTypeEgress, client, server, port, name); np != nil {
			out = append(out, Finding{Status: Error, Ref: s.Ref(np), Explains: append([]string{}, t.symptoms...),
				Detail: fmt.Sprintf("%s: its pods are selected by this policy, and none lets them out to %s/%s at port %d", t.who, r.svc.Namespace, r.svc.Name, port),
				Fix:    "add to egress: to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: " + r.svc.Namespace + "}}}], ports: [{port: " + strconv.Itoa(int(port)) + "}] (and port 53 for DNS)"})
		}
	}
	return out
}

// serverOf is a pod behind a Service, and the container port (number and name)
// that a Service port leads to: policies see pods, not Services.
func serverOf(s *snapshot.Snapshot, svc *corev1.Service, port string) (e endpoint, number int32, name string) {
	e = endpoint{svc.Namespace, svc.Spec.Selector}
	var pod *corev1.Pod
	for _, p := range s.Pods() {
		if p.Namespace == svc.Namespace && snapshot.Selects(svc.Spec.Selector, p.Labels) {
			pod, e.labels = p, p.Labels
			break
		}
	}
	for _, p := range svc.Spec.Ports {
		if strconv.Itoa(int(p.Port)) != port {
			continue
		}
		number, name = p.Port, ""
		if p.TargetPort.Type == intstr.String {
			name = p.TargetPort.StrVal
		} else if p.TargetPort.IntVal != 0 {
			number = p.TargetPort.IntVal
		}
	}
	if pod != nil && name != "" {
		for _, c := range pod.Spec.Containers {
			for _, p := range c.Ports {
				if p.Name == name {
					number = p.ContainerPort
				}
			}
		}
	}
	return e, number, name
}

// blocked evaluates one direction: nil when the traffic passes, else a policy
// that selects the subject. What cannot be judged (addresses outside of the
// cluster) counts as allowed: a finding has to be certain.
func blocked(s *snapshot.Snapshot, dir networkingv1.PolicyType, subject, peer endpoint, port int32, portName string) *networkingv1.NetworkPolicy {
	var selecting *networkingv1.NetworkPolicy
	for _, np := range s.NetworkPolicies() {
		if np.Namespace != subject.namespace || !covers(np, dir) || !matchLabels(&np.Spec.PodSelector, subject.labels) {
			continue
		}
		selecting = np
		if dir == networkingv1.PolicyTypeIngress {
			for _, rule := range np.Spec.Ingress {
				if admitsPort(rule.Ports, port, portName) && admitsPeer(s, np, rule.From, peer) {
					return nil
				}
			}
			continue
		}
		for _, rule := range np.Spec.Egress {
			if admitsPort(rule.Ports, port, portName) && admitsPeer(s, np, rule.To, peer) {
				return nil
			}
		}
	}
	return selecting
}

// covers: without policyTypes a policy is for ingress, and for egress when it
// has egress rules.
func covers(np *networkingv1.NetworkPolicy, dir networkingv1.PolicyType) bool {
	for _, t := range np.Spec.PolicyTypes {
		if t == dir {
			return true
		}
	}
	return len(np.Spec.PolicyTypes) == 0 && (dir == networkingv1.PolicyTypeIngress || len(np.Spec.Egress) > 0)
}

func matchLabels(sel *metav1.LabelSelector, set map[string]string) bool {
	m, err := metav1.LabelSelectorAsSelector(sel)
	return err == nil && m.Matches(labels.Set(set))
}

func admitsPort(ports []networkingv1.NetworkPolicyPort, port int32, name string) bool {
	if len(ports) == 0 {
		return true
	}
	for _, p := range ports {
		switch {
		case p.Protocol != nil && *p.Protocol != corev1.ProtocolTCP:
		case p.Port == nil:
			return true
		case p.Port.Type == intstr.String:
			if p.Port.StrVal == name {
				return true
			}
		case p.EndPort != nil:
			if port >= p.Port.IntVal && port <= *p.EndPort {
				return true
			}
		case p.Port.IntVal == port:
			return true
		}
	}
	return false
}

func admitsPeer(s *snapshot.Snapshot, np *networkingv1.NetworkPolicy, peers []networkingv1.NetworkPolicyPeer, e endpoint) bool {
	if len(peers) == 0 {
		return true
	}
	for _, p := range peers {
		switch {
		case p.IPBlock != nil:
			return true // pod addresses may lie in it
		case p.NamespaceSelector == nil:
			if e.namespace == np.Namespace && matchLabels(p.PodSelector, e.labels) {
				return true
			}
		case matchLabels(p.NamespaceSelector, namespaceLabels(s, e.namespace)) && (p.PodSelector == nil || matchLabels(p.PodSelector, e.labels)):
			return true
		}
	}
	return false
}

// namespaceLabels are those of the namespace; its name is always one of them.
func namespaceLabels(s *snapshot.Snapshot, name string) map[string]string {
	set := map[string]string{}
	for _, ns := range s.Namespaces() {
		if ns.Name == name {
			for k, v := range ns.Labels {
				set[k] = v
			}
		}
	}
	set["kubernetes.io/metadata.name"] = strings.TrimSpace(name)
	return set
}
