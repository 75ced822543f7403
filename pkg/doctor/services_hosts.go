package doctor

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/data"
	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
	"github.com/logstack-dev/kubectl-logstack/pkg/install"
)

// hostChecks are the checks of category 05 that look at one target each.
func hostChecks() []Check {
	hosts := func(code string, severity Status, title, explain, fix string, run func(*snapshot.Snapshot, target, resolution) *Finding) Check {
		return Check{
			Code: code, Severity: severity, Title: title, Explain: explain, Fix: fix,
			Needs:   []snapshot.Input{snapshot.Services},
			Uses:    append([]snapshot.Input{snapshot.Namespaces}, trafficInputs...),
			Applies: func(s *snapshot.Snapshot) bool { return len(traffic(s)) > 0 },
			Run: func(s *snapshot.Snapshot) []Finding {
				var out []Finding
				for _, t := range traffic(s) {
					r := resolve(s, t)
					if r.external && code != "LS0511" && code != "LS0512" {
						continue // paths and schemes need no Service
					}
					if f := run(s, t, r); f != nil {
						f.Ref = t.ref
						out = append(out, *f)
					}
				}
				return out
			},
		}
	}
	return []Check{
		hosts("LS0502", Error, "no Service is looked for in the wrong namespace",
			"The host names a Service that exists, in another namespace than the one in the host.",
			"write the namespace that the finding names", wrongNamespace),
		hosts("LS0506", Error, "short names are used inside of their namespace only",
			"A name without dots is looked up in the pod's own namespace: `loki` finds nothing from any other.",
			"write name.namespace.svc", shortName),
		hosts("LS0507", Error, "hosts end with the cluster's own domain",
			"A name that ends with .svc.DOMAIN resolves only when DOMAIN is the cluster's (CoreDNS's Corefile says it; cluster.local nearly always). Without the suffix (name.namespace.svc) it always resolves.",
			"leave the suffix out: name.namespace.svc", clusterDomain),
		hosts("LS0503", Error, "the Services have the ports that are asked for",
			"The Service exists and does not listen on the port of the URL. The gateway of Loki's chart listens on 80 (it hands on to 3100), Loki itself on 3100; the two are easily mixed up.",
			"gateway: port 80, Loki: port 3100", wrongPort),
		hosts("LS0508", Error, "no helper Service is used as an API",
			"Services whose names end in -headless, -memberlist, -canary or -gateway-exporter are the chart's own: the first bypasses load balancing, the others are no Loki at all.",
			"use the Service without the suffix, or the gateway", helperService),
		hosts("LS0511", Error, "push URLs have the path of the push API",
			"Alloy, Promtail and Fluent Bit post to exactly the URL that they are given: without /loki/api/v1/push the answer is 404. Vector and Grafana add the path themselves and must not be given it.",
			"push: http://HOST:PORT/loki/api/v1/push; Vector, Grafana: the base URL", wrongPath),
		hosts("LS0512", Warning, "http and https go to ports that speak them",
			"Loki's chart serves plain HTTP on 3100 and 80: https to these ports ends in a TLS error, http to 443 in a 400.",
			"http:// inside of the cluster, unless you have set up TLS", wrongScheme),
	}
}

// missingHost is LS0501 for one target.
func missingHost(s *snapshot.Snapshot, t target, r resolution) *Finding {
	if r.svc != nil || len(r.elsewhere) > 0 {
		return nil
	}
	if r.unknown {
		sk := skip("Services of namespace "+snapshot.Input(r.namespace), &snapshot.Missing{Right: &snapshot.Right{Verb: "list", Resource: "services", Namespace: r.namespace}})
		if !s.Live() {
			sk = Finding{Status: Skip, Detail: fmt.Sprintf("%s: no Service of namespace %s is among the files", t.host, r.namespace)}
		}
		return &sk
	}
	f := &Finding{Status: Error, Explains: slices.Clone(t.symptoms)}
	f.Detail = fmt.Sprintf("%s: %s does not exist (\"no such host\"); Services in %s: %s", t.who, t.host, r.namespace, servicesIn(s, r.namespace))
	f.Fix = "write the name of a Service that exists: kubectl get svc -n " + r.namespace
	if near := nearestService(s, t, r); near != nil {
		to := urlFor(s, t, near)
		f.Fix = fmt.Sprintf("use %s%s", to, namingOf(near))
		f.Patch = "-" + t.raw + "\n+" + to + "\n"
	}
	return f
}

func checkHosts(s *snapshot.Snapshot) []Finding {
	var out []Finding
	if _, ok := snapshot.Find(s.Services(), s.Namespace, s.Name); !ok && ours(s) != nil && s.Covers(snapshot.Services, s.Namespace) {
		out = append(out, Finding{Status: Error, Ref: ownService(s), Detail: "the collector is there and its Service is not: the name " + s.Name + "." + s.Namespace + ".svc does not resolve",
			Fix: install.Command(s.Namespace, "install") + " (puts back what is missing)", Explains: []string{"LS1008"}})
	}
	for _, t := range traffic(s) {
		r := resolve(s, t)
		if r.external {
			continue
		}
		if f := missingHost(s, t, r); f != nil {
			f.Ref = t.ref
			out = append(out, *f)
		}
	}
	return out
}

func wrongNamespace(s *snapshot.Snapshot, t target, r resolution) *Finding {
	if r.svc != nil || len(r.elsewhere) == 0 || !strings.Contains(t.host, ".") || r.unknown {
		return nil
	}
	other := r.elsewhere[0]
	return &Finding{Status: Error, Detail: fmt.Sprintf("%s: Service %s is in namespace %s, not in %s", t.who, r.name, other.Namespace, r.namespace),
		Fix: "use " + urlFor(s, t, other), Patch: "-" + t.raw + "\n+" + urlFor(s, t, other) + "\n", Explains: slices.Clone(t.symptoms)}
}

func shortName(s *snapshot.Snapshot, t target, r resolution) *Finding {
	if r.svc != nil || len(r.elsewhere) == 0 || strings.Contains(t.host, ".") || r.unknown {
		return nil
	}
	other := r.elsewhere[0]
	return &Finding{Status: Error, Detail: fmt.Sprintf("%s: %s is looked up in namespace %s, where it does not exist; it is in %s", t.who, t.host, t.namespace, other.Namespace),
		Fix: "use " + urlFor(s, t, other), Patch: "-" + t.raw + "\n+" + urlFor(s, t, other) + "\n", Explains: slices.Clone(t.symptoms)}
}

func clusterDomain(s *snapshot.Snapshot, t target, r resolution) *Finding {
	d := domainOf(t.host)
	if d == "" || d == s.Domain {
		return nil
	}
	f := &Finding{Status: Error, Detail: fmt.Sprintf("%s: %s ends with %s, and the cluster's domain is %s (by %s)", t.who, t.host, d, s.Domain, s.DomainFrom),
		Fix: fmt.Sprintf("leave the suffix out: %s.%s.svc (Loki's chart: global.clusterDomain)", r.name, r.namespace), Explains: slices.Clone(t.symptoms)}
	if s.DomainFrom == "the default" {
		f.Status = Warning // nobody has looked
	}
	return f
}

func wrongPort(s *snapshot.Snapshot, t target, r resolution) *Finding {
	port := portOf(t)
	if r.svc == nil || port == "" || len(r.svc.Spec.Ports) == 0 || hasPort(r.svc, port) {
		return nil
	}
	return &Finding{Status: Error, Detail: fmt.Sprintf("%s: Service %s/%s listens on %s, not on %s", t.who, r.svc.Namespace, r.svc.Name, portList(r.svc), port),
		Fix: "use " + urlFor(s, t, r.svc), Patch: "-" + t.raw + "\n+" + urlFor(s, t, r.svc) + "\n", Explains: slices.Clone(t.symptoms)}
}

func helperService(s *snapshot.Snapshot, t target, r resolution) *Finding {
	if r.svc == nil || !t.push && !t.base {
		return nil
	}
	kind := helperKind(r.svc.Name)
	if kind == "" {
		return nil
	}
	f := &Finding{Status: Error, Detail: fmt.Sprintf("%s: %s is not the API of Loki, but its %s Service", t.who, r.svc.Name, strings.TrimPrefix(kind, "-"))}
	if kind == "-headless" {
		f.Status = Warning
		f.Detail = fmt.Sprintf("%s: the headless Service %s goes to single pods, also to those that are not ready", t.who, r.svc.Name)
	}
	plain := target{host: strings.TrimSuffix(r.svc.Name, kind), port: t.port, scheme: t.scheme, path: t.path, raw: t.raw, namespace: t.namespace}
	f.Fix = "use the Service without " + kind + ", or the gateway"
	if near := nearestService(s, plain, resolution{name: plain.host, namespace: r.namespace}); near != nil && helperKind(near.Name) == "" {
		f.Fix = "use " + urlFor(s, t, near)
	}
	return f
}

const pushPath = "/loki/api/v1/push"

func wrongPath(_ *snapshot.Snapshot, t target, _ resolution) *Finding {
	switch {
	case t.push && strings.TrimSuffix(t.path, "/") != pushPath && t.path != "/api/prom/push" && !strings.HasSuffix(t.path, pushPath):
		return &Finding{Status: Error, Detail: fmt.Sprintf("%s: the push URL %s has not the path %s: 404", t.who, t.raw, pushPath), Fix: "append " + pushPath, Explains: slices.Clone(t.symptoms)}
	case t.base && strings.Contains(t.path, pushPath):
		return &Finding{Status: Error, Detail: fmt.Sprintf("%s adds the path %s itself", t.who, pushPath), Fix: "give it the base URL: " + strings.TrimSuffix(t.raw, pushPath), Explains: slices.Clone(t.symptoms)}
	}
	return nil
}

func wrongScheme(_ *snapshot.Snapshot, t target, _ resolution) *Finding {
	switch port := portOf(t); {
	case t.scheme == "https" && (port == "80" || port == "3100"):
		return &Finding{Status: Warning, Detail: fmt.Sprintf("%s: https to port %s, where Loki's charts serve plain HTTP", t.who, port), Fix: "use http://"}
	case t.scheme == "http" && port == "443":
		return &Finding{Status: Warning, Detail: t.who + ": http to port 443", Fix: "use https://"}
	}
	return nil
}

// nameChecks are the checks of category 05 about names of releases.
func nameChecks() []Check {
	return []Check{
		{
			Code: "LS0510", Severity: Error, Title: "the gateway's resolver exists",
			Explain: "The nginx of Loki's gateway asks the DNS Service global.dnsService.global.dnsNamespace (kube-dns.kube-system by default) and does not start when that does not exist: \"host not found in resolver\". RKE2 calls it rke2-coredns-rke2-coredns; Talos and EKS Auto Mode differ as well.",
			Fix:     "global.dnsService and global.dnsNamespace: the names that kubectl get svc -A -l k8s-app=kube-dns shows",
			Needs:   []snapshot.Input{snapshot.Services}, Uses: []snapshot.Input{snapshot.Releases, snapshot.ConfigMaps},
			Applies: func(s *snapshot.Snapshot) bool { return len(resolvers(s)) > 0 }, Run: gatewayResolver,
		},
		{
			Code: "LS0513", Severity: Warning, Title: "the Services keep their names",
			Explain: "The loki chart names Services after the release, and renamed them in minor versions without a word: 6.0.0 the gateway, 6.46.0 memberlist, 8.1.1 read and write, 9.4.2 backend, 16.0.0 the canary, 17.1.1 the headless one. With --target-version the names before and after are compared.",
			Fix:     "fullnameOverride: loki keeps the names; or change the URLs together with the upgrade",
			Needs:   []snapshot.Input{snapshot.Releases}, Applies: hasLokiChart, Run: serviceNames,
		},
		{
			Code: "LS0514", Severity: Error, Title: "no two Loki releases share names",
			Explain: "Some objects of the loki chart are named without the release: loki-canary (before 16.0.0), loki-read and loki-write (8.1.1), loki-backend (9.4.2), loki-headless (17.1.1), loki-memberlist (6.46.0). Two releases in one namespace fight over them.",
			Fix:     "upgrade to 17.1.1 or later, or use a namespace for each",
			Needs:   []snapshot.Input{snapshot.Releases}, Applies: hasLokiChart, Run: collidingReleases,
		},
	}
}

// resolver is a DNS Service that a gateway asks.
type resolver struct {
	name, namespace string
	ref             snapshot.Ref
	release         string
}

func resolvers(s *snapshot.Snapshot) []resolver {
	var out []resolver
	for _, r := range s.Releases() {
		if r.Chart != "loki" || r.Effective("true", "gateway", "enabled") == "false" || r.String("gateway", "nginxConfig", "resolver") != "" || len(r.Incomplete) > 0 {
			continue
		}
		out = append(out, resolver{r.Effective("kube-dns", "global", "dnsService"), r.Effective("kube-system", "global", "dnsNamespace"), r.Ref("global", "dnsService"), r.Name})
	}
	for _, cm := range s.ConfigMaps() {
		content := cm.Data["nginx.conf"]
		if !strings.Contains(content, "/loki/api/") {
			continue
		}
		if _, rest, ok := strings.Cut(content, "resolver "); ok {
			host, _, _ := strings.Cut(rest, ";")
			if name, ns, in := splitHost(strings.TrimSpace(host), ""); in {
				out = append(out, resolver{name, ns, s.DataText(cm, "nginx.conf").Offset(strings.Index(content, "resolver ")), ""})
			}
		}
	}
	return out
}

func gatewayResolver(s *snapshot.Snapshot) []Finding {
	var out []Finding
	seen := map[string]bool{}
	for _, r := range resolvers(s) {
		if _, ok := snapshot.Find(s.Services(), r.namespace, r.name); ok || !s.Covers(snapshot.Services, r.namespace) || seen[r.namespace+"/"+r.name] {
			continue
		}
		seen[r.namespace+"/"+r.name] = true
		f := Finding{Status: Error, Ref: r.ref, Detail: fmt.Sprintf("the gateway's resolver %s.%s does not exist: nginx will not start (\"host not found in resolver\")", r.name, r.namespace),
			Fix: "global.dnsService: the DNS Service of the cluster (kubectl get svc -A -l k8s-app=kube-dns)", Explains: []string{"LS0401@pod/*/*gateway*", "LS0504@service/*/*gateway*"}}
		if dns := dnsService(s); dns != nil {
			f.Fix = "global.dnsService: " + dns.Name
			f.Patch = "# values of the loki chart\n+global:\n+    dnsService: " + dns.Name + "\n"
			if dns.Namespace != "kube-system" {
				f.Fix += ", global.dnsNamespace: " + dns.Namespace
				f.Patch += "+    dnsNamespace: " + dns.Namespace + "\n"
			}
		}
		out = append(out, f)
	}
	return out
}

// dnsService is the cluster's DNS, by its label or its port.
func dnsService(s *snapshot.Snapshot) *corev1.Service {
	var byPort *corev1.Service
	for _, svc := range s.Services() {
		if svc.Labels["k8s-app"] == "kube-dns" {
			return svc
		}
		if svc.Namespace == "kube-system" && hasPort(svc, "53") && byPort == nil {
			byPort = svc
		}
	}
	return byPort
}

func serviceNames(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, r := range s.Releases() {
		if r.Chart != "loki" {
			continue
		}
		c := chartOf(s, r)
		name, full := data.Names(r.Chart, r.Name, r.String("nameOverride"), r.String("fullnameOverride"))
		mode := lokiValues{c}.serviceMode()
		target := data.Services(c.lineage.ID, c.version, mode, name, full)
		if s.Options.TargetVersion != "" && r.Version != "" {
			before := chartOf(snapshotAt(s, ""), r)
			gone := data.Renamed(data.Services(before.lineage.ID, before.version, lokiValues{before}.serviceMode(), name, full), target)
			if len(gone) > 0 {
				out = append(out, Finding{Status: Warning, Ref: r.VersionRef(), Detail: fmt.Sprintf("with %s these Services are gone or called differently: %s; there will be: %s", c.version, strings.Join(gone, ", "), strings.Join(data.ServiceNames(target), ", ")),
					Fix: "set fullnameOverride: loki where the release is not called loki, or change the URLs together with the upgrade"})
			}
			continue
		}
		if full != r.Chart && target != nil {
			out = append(out, Finding{Status: Info, Ref: r.VersionRef(), Detail: fmt.Sprintf("the Services of release %q are: %s (not %s)", r.Name, strings.Join(data.ServiceNames(target), ", "), r.Chart),
				Fix: "use these names in URLs; or fullnameOverride: loki"})
		}
	}
	return out
}

// snapshotAt is a view with another target version.
func snapshotAt(s *snapshot.Snapshot, version string) *snapshot.Snapshot {
	v := *s
	v.Options.TargetVersion = version
	return &v
}

// lastShared is the first version from which on no name is shared.
const lastShared = "17.1.1"

func collidingReleases(s *snapshot.Snapshot) []Finding {
	seen := map[string]*snapshot.Release{}
	var out []Finding
	for _, r := range s.Releases() {
		if r.Chart != "loki" {
			continue
		}
		first := seen[r.Namespace]
		if first == nil {
			seen[r.Namespace] = r
			continue
		}
		c, other := chartOf(s, r), chartOf(s, first)
		if first.Name == r.Name || data.Compare(c.version, lastShared) >= 0 && data.Compare(other.version, lastShared) >= 0 {
			continue
		}
		out = append(out, Finding{Status: Error, Ref: r.Ref(), Detail: fmt.Sprintf("releases %s and %s in namespace %s share the names of some Services and workloads", first.Name, r.Name, r.Namespace),
			Fix: "upgrade both to " + lastShared + " or later, or move one to another namespace"})
	}
	return out
}
