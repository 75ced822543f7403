package doctor

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// Category 12: security.
func hygieneChecks() []Check {
	return []Check{
		{
			Code: "LS1201", Severity: Error, Title: "logs are not open to everybody",
			Explain: "Loki, our collector and Alloy's UI ask nobody for a password: auth_enabled of Loki is about tenants, not about authentication. A LoadBalancer, a NodePort or an Ingress without authentication hands all logs to whoever reaches it.",
			Fix:     "type: ClusterIP and kubectl logstack query; or authentication before it (gateway.basicAuth, an annotation of the Ingress)",
			Needs:   []snapshot.Input{snapshot.Services}, Uses: []snapshot.Input{snapshot.Ingresses, snapshot.ConfigMaps},
			Applies: func(s *snapshot.Snapshot) bool { return len(openAPIs(s)) > 0 },
			Run:     checkExposed,
		},
		{
			Code: "LS1202", Severity: Warning, Title: "the collectors' rights are small",
			Explain: "A collector runs on every node and parses what others write: it should not be able to read Secrets, to change things, or to reach kubelets (nodes/proxy, which is as good as exec into every pod).",
			Fix:     "a ClusterRole with get, list and watch on pods, pods/log and namespaces is enough to read logs through the API",
			Needs:   append([]snapshot.Input{snapshot.Stacks}, rbacInputs...),
			Applies: func(s *snapshot.Snapshot) bool { return len(collectorsAndOurs(s)) > 0 },
			Run:     checkBroadRights,
		},
		{
			Code: "LS1203", Severity: Warning, Title: "the collectors' pods have no more than they need",
			Explain: "Reading log files needs a read-only mount of the node's /var/log; reading through the API needs nothing. Privileged containers and the namespaces of the host are needed for neither.",
			Fix:     "privileged: false, and no hostNetwork, hostPID or hostIPC",
			Needs:   []snapshot.Input{snapshot.Stacks},
			Applies: func(s *snapshot.Snapshot) bool { return len(collectorsAndOurs(s)) > 0 },
			Run:     checkPrivileged,
		},
		{
			Code: "LS1204", Severity: Error, Title: "no password is the one of the chart",
			Explain: "MinIO of Loki's chart has a user and a password that stand in the chart, and so had Grafana in kube-prometheus-stack: everybody knows them.",
			Fix:     "set a password of your own, from a Secret: minio.existingSecret, grafana.admin.existingSecret",
			Needs:   []snapshot.Input{snapshot.Releases},
			Applies: hasRelease,
			Run:     checkDefaultPasswords,
		},
	}
}

// openAPIs are the Services that give logs to whoever asks.
func openAPIs(s *snapshot.Snapshot) []*corev1.Service {
	return slices.DeleteFunc(logServices(s), func(svc *corev1.Service) bool {
		name := svc.Labels["app.kubernetes.io/name"]
		return name == "grafana" || name == "minio"
	})
}

func checkExposed(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, svc := range openAPIs(s) {
		status, note := Error, ""
		if svc.Labels["app.kubernetes.io/component"] == "gateway" {
			switch known, auth := gatewayAuth(s, svc.Namespace); {
			case auth:
				continue
			case !known:
				status, note = Warning, " (whether the gateway asks for a password could not be seen)"
			}
		}
		how := ""
		switch svc.Spec.Type {
		case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
			how = "it is a " + string(svc.Spec.Type)
			for k, v := range svc.Annotations {
				if strings.Contains(k, "internal") && v != "false" {
					status, how = Warning, how+" of the internal network"
				}
			}
		}
		if how != "" {
			out = append(out, Finding{Status: status, Ref: s.Ref(svc, "spec", "type"), Detail: how + " and asks for no password: whoever reaches it reads all logs" + note,
				Fix: fmt.Sprintf("kubectl patch service -n %s %s -p '{\"spec\":{\"type\":\"ClusterIP\"}}', and kubectl logstack query --service %s/%s", svc.Namespace, svc.Name, svc.Namespace, svc.Name)})
		}
		for _, ing := range s.Ingresses() {
			if ing.Namespace != svc.Namespace || !routesTo(ing, svc.Name) || hasAuth(ing.Annotations) {
				continue
			}
			out = append(out, Finding{Status: status, Ref: s.Ref(ing), Detail: fmt.Sprintf("it opens service %s without authentication: whoever reaches it reads all logs%s", svc.Name, note),
				Fix: "add authentication, as nginx.ingress.kubernetes.io/auth-type: basic with auth-secret, or remove the Ingress"})
		}
	}
	return out
}

// gatewayAuth looks into the nginx configuration of a namespace's gateway.
func gatewayAuth(s *snapshot.Snapshot, namespace string) (known, auth bool) {
	for _, cm := range s.ConfigMaps() {
		if text := cm.Data["nginx.conf"]; cm.Namespace == namespace && text != "" {
			known = true
			auth = auth || strings.Contains(text, "auth_basic ")
		}
	}
	return known, auth
}

func routesTo(ing *networkingv1.Ingress, service string) bool {
	if d := ing.Spec.DefaultBackend; d != nil && d.Service != nil && d.Service.Name == service {
		return true
	}
	for _, r := range ing.Spec.Rules {
		if r.HTTP != nil && slices.ContainsFunc(r.HTTP.Paths, func(p networkingv1.HTTPIngressPath) bool {
			return p.Backend.Service != nil && p.Backend.Service.Name == service
		}) {
			return true
		}
	}
	return false
}

// hasAuth knows the annotations of the usual controllers; Traefik's middlewares
// may be anything, so they get the benefit of the doubt.
func hasAuth(annotations map[string]string) bool {
	for k := range annotations {
		name := k[strings.LastIndexByte(k, '/')+1:]
		if strings.HasPrefix(name, "auth-") || strings.HasSuffix(name, "auth-type") || strings.HasSuffix(name, ".middlewares") {
			return true
		}
	}
	return false
}

func collectorsAndOurs(s *snapshot.Snapshot) []*snapshot.Component {
	var out []*snapshot.Component
	for _, c := range s.Stacks() {
		if !c.Predicted && (c.Product.IsCollector() || c.Product == snapshot.Logstack) {
			out = append(out, c)
		}
	}
	return out
}

func checkBroadRights(s *snapshot.Snapshot) []Finding {
	var out []Finding
	seen := map[account]bool{}
	for _, c := range collectorsAndOurs(s) {
		a := accountOf(c)
		if seen[a] {
			continue
		}
		seen[a] = true
		rules, _, _ := bound(s, a)
		f := Finding{Status: Warning, Ref: snapshot.Ref{Kind: "ServiceAccount", Namespace: a.namespace, Name: a.name},
			Fix: `bind a ClusterRole with {apiGroups: [""], resources: [pods, pods/log, namespaces], verbs: [get, list, watch]} in place of it (grafana charts: rbac.rules)`}
		var may []string
		switch {
		case allows(rules, "*", "*"), allows(rules, "create", "pods") && allows(rules, "get", "secrets"):
			may = []string{"do everything"}
		default:
			for _, r := range []struct{ verb, resource, says string }{
				{"list", "secrets", "read all Secrets of the cluster"}, {"get", "secrets", "read all Secrets of the cluster"},
				{"get", "nodes/proxy", "reach all kubelets (nodes/proxy), which is as good as exec into every pod"},
				{"create", "pods", "create pods"}, {"create", "pods/exec", "exec into every pod"},
			} {
				if allows(rules, r.verb, r.resource) && !slices.Contains(may, r.says) {
					may = append(may, r.says)
				}
			}
		}
		if len(may) == 0 {
			continue
		}
		f.Detail = fmt.Sprintf("the account of %s %s may %s", strings.ToLower(c.Kind), c.Name(), strings.Join(may, ", and "))
		out = append(out, f)
	}
	return out
}

func checkPrivileged(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, c := range collectorsAndOurs(s) {
		spec := &c.Template.Spec
		var has []string
		for _, ct := range append(slices.Clone(spec.InitContainers), spec.Containers...) {
			if sc := ct.SecurityContext; sc != nil && sc.Privileged != nil && *sc.Privileged {
				has = append(has, "container "+ct.Name+" is privileged")
			}
		}
		for _, h := range []struct {
			on   bool
			name string
		}{{spec.HostNetwork, "hostNetwork"}, {spec.HostPID, "hostPID"}, {spec.HostIPC, "hostIPC"}} {
			if h.on {
				has = append(has, h.name+" is on")
			}
		}
		if len(has) > 0 {
			out = append(out, Finding{Status: Warning, Ref: s.Ref(c.Workload, "spec", "template", "spec"), Detail: strings.Join(has, ", "), Fix: "logs can be read without: privileged: false, and no hostNetwork, hostPID or hostIPC"})
		}
	}
	return out
}

func checkDefaultPasswords(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, r := range s.Releases() {
		if len(r.Incomplete) > 0 {
			out = append(out, incomplete(r)...)
			continue // the password may be in what could not be read
		}
		for _, d := range []struct {
			chart, on string
			password  []string
			known     string
			secret    []string
		}{
			{"loki", "minio", []string{"minio", "rootPassword"}, "supersecretpassword", []string{"minio", "existingSecret"}},
			{"kube-prometheus-stack", "grafana", []string{"grafana", "adminPassword"}, "prom-operator", []string{"grafana", "admin", "existingSecret"}},
		} {
			if r.Chart != d.chart || r.Effective("", d.on, "enabled") == "false" || d.on == "minio" && r.Effective("false", "minio", "enabled") != "true" || r.String(d.secret...) != "" {
				continue
			}
			def := ""
			if d.on == "minio" {
				def = d.known // the chart's, in all versions that have MinIO
			}
			if r.Effective(def, d.password...) != d.known {
				continue
			}
			out = append(out, Finding{Status: Error, Ref: r.Ref(d.password...), Detail: strings.Join(d.password, ".") + " is the password of the chart, which everybody knows",
				Fix: strings.Join(d.secret, ".") + ": the name of a Secret with a password of your own"})
		}
	}
	return out
}
