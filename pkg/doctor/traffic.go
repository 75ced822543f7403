package doctor

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/conf"
	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/data"
	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// target is a host that log traffic goes to, as a configuration writes it.
type target struct {
	raw          string // the URL or address as written
	scheme, host string
	port         string // "" when none is written
	path         string
	namespace    string // of the consumer; "" when unknown
	ref          snapshot.Ref
	who          string
	// push is a client of Loki's push API that has to give the path.
	push bool
	// base: the client adds the path.
	base bool
	// symptoms that a broken host explains.
	symptoms []string
	// labels are those of the consumer's pods, nil when unknown.
	labels map[string]string
}

// trafficInputs are what [traffic] reads.
var trafficInputs = []snapshot.Input{snapshot.Collectors, snapshot.ConfigMaps, snapshot.Stacks}

// traffic collects the targets of collectors, of Loki's own configuration, of
// the gateway and of the canary. Grafana's datasources are LS0804's.
func traffic(s *snapshot.Snapshot) []target {
	var out []target
	for _, c := range s.Collectors() {
		if c.Err != nil {
			continue
		}
		cfg := conf.Parse(string(c.Product), c.Config.Content)
		if cfg == nil {
			continue
		}
		for i := range cfg.Endpoints {
			e := &cfg.Endpoints[i]
			u := e.Parse()
			if u == nil {
				continue
			}
			t := fromURL(e.URL, u)
			t.namespace, t.who, t.push, t.base = c.Namespace, whose(c)+e.Component, e.Loki && !e.BaseURL, e.BaseURL
			t.ref = collectorCtx{s, c, cfg}.at(e.Pos)
			t.symptoms = append(complaintsIn(c.Namespace, "no-such-host", "refused", "timeout", "not-found"), "LS1003", "LS1005", "LS0515")
			if c.Component != nil {
				t.labels = c.Component.Template.Labels
			}
			out = append(out, t)
		}
	}
	for _, cm := range s.ConfigMaps() {
		out = append(out, lokiTargets(s, cm)...)
		out = append(out, gatewayTargets(s, cm)...)
	}
	for _, c := range s.Stacks() {
		if c.Product == snapshot.LokiCanary {
			out = append(out, canaryTargets(s, c)...)
		}
	}
	return out
}

// whose names a collector before one of its parts; a bare file is in the place
// of the finding anyway.
func whose(c *snapshot.Collector) string {
	if c.Component == nil && c.Release == nil && c.Config.Ref.Kind == "" {
		return ""
	}
	return c.Title() + " "
}

// fromURL keeps the URL as written, but for a password: reports quote it.
func fromURL(raw string, u *url.URL) target {
	if u.User != nil {
		raw = u.Redacted()
	}
	return target{raw: raw, scheme: u.Scheme, host: u.Hostname(), port: u.Port(), path: u.Path}
}

// addressKeys are the keys of Loki's configuration that hold addresses.
var addressKeys = []string{"join_members", "compactor_address", "compactor_grpc_address", "frontend_address", "scheduler_address", "downstream_url", "addresses", "alertmanager_url", "server_address"}

// lokiTargets are the addresses in Loki's own configuration.
func lokiTargets(s *snapshot.Snapshot, cm *corev1.ConfigMap) []target {
	var out []target
	for _, key := range []string{"config.yaml", "loki.yaml"} {
		content := cm.Data[key]
		if _, ok := authEnabled(content); !ok && !strings.Contains(content, "schema_config:") {
			continue
		}
		root, err := snapshot.ParseYAML(content)
		if err != nil {
			continue
		}
		text := s.DataText(cm, key)
		var walk func(name string, n *yaml.Node)
		walk = func(name string, n *yaml.Node) {
			switch {
			case n == nil:
			case n.Kind == yaml.SequenceNode:
				for _, x := range n.Content {
					walk(name, x)
				}
			case n.Kind == yaml.ScalarNode && slices.Contains(addressKeys, name) && n.Value != "":
				for addr := range strings.SplitSeq(n.Value, ",") {
					if t, ok := fromAddress(addr); ok {
						t.namespace, t.who, t.ref = cm.Namespace, "Loki's "+name, text.At(n.Line, n.Column)
						out = append(out, t)
					}
				}
			default:
				snapshot.Entries(n, func(k string, _, v *yaml.Node) { walk(k, v) })
			}
		}
		walk("", root)
	}
	return out
}

var srvPrefix = regexp.MustCompile(`^(dns|dnssrv|dnssrvnoa)\+`)

// fromAddress reads host, host:port, URLs, and Thanos-style DNS lookups.
func fromAddress(addr string) (target, bool) {
	addr = strings.TrimSpace(srvPrefix.ReplaceAllString(strings.TrimSpace(addr), ""))
	if strings.Contains(addr, "://") {
		u, err := url.Parse(addr)
		if err != nil || u.Host == "" {
			return target{}, false
		}
		return fromURL(addr, u), true
	}
	t := target{raw: addr, host: addr}
	if h, p, err := net.SplitHostPort(addr); err == nil {
		t.host, t.port = h, p
	}
	for strings.HasPrefix(t.host, "_") { // _memcached-client._tcp.name.namespace.svc
		_, rest, ok := strings.Cut(t.host, ".")
		if !ok {
			return target{}, false
		}
		t.host = rest
	}
	return t, t.host != "" && !strings.ContainsAny(t.host, "${}/ ")
}

var proxyPass = regexp.MustCompile(`proxy_pass\s+(https?://[^;\s$]+)`)

// gatewayTargets are the upstreams of Loki's nginx gateway.
func gatewayTargets(s *snapshot.Snapshot, cm *corev1.ConfigMap) []target {
	content := cm.Data["nginx.conf"]
	if !strings.Contains(content, "/loki/api/") {
		return nil
	}
	var out []target
	seen := map[string]bool{}
	for _, m := range proxyPass.FindAllStringSubmatchIndex(content, -1) {
		raw := content[m[2]:m[3]]
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" || seen[u.Host] {
			continue
		}
		seen[u.Host] = true
		t := fromURL(raw, u)
		t.namespace, t.who, t.ref = cm.Namespace, "Loki's gateway", s.DataText(cm, "nginx.conf").Offset(m[2])
		t.path = ""
		out = append(out, t)
	}
	return out
}

func canaryTargets(s *snapshot.Snapshot, c *snapshot.Component) []target {
	var out []target
	for _, ct := range c.Template.Spec.Containers {
		for _, a := range ct.Args {
			if addr, ok := strings.CutPrefix(strings.TrimPrefix(a, "-"), "-addr="); ok || strings.HasPrefix(a, "-addr=") {
				if !ok {
					addr = strings.TrimPrefix(a, "-addr=")
				}
				if t, ok := fromAddress(addr); ok {
					t.namespace, t.who, t.ref, t.labels = c.Namespace(), "the canary's -addr", s.Ref(c.Workload), c.Template.Labels
					out = append(out, t)
				}
			}
		}
	}
	return out
}

// splitHost reads a host as a pod of a namespace does: the name of a Service
// and its namespace. inCluster is false for IP addresses and for names of the
// internet; two labels (name.namespace) are left to the caller to judge.
func splitHost(host, consumer string) (name, namespace string, inCluster bool) {
	host = strings.TrimSuffix(host, ".")
	if net.ParseIP(host) != nil || host == "localhost" || host == "" {
		return "", "", false
	}
	parts := strings.Split(host, ".")
	if len(parts) == 1 {
		return host, consumer, consumer != ""
	}
	if i := slices.Index(parts, "svc"); i >= 2 {
		return parts[i-2], parts[i-1], true
	}
	if len(parts) == 2 {
		return parts[0], parts[1], true
	}
	return "", "", false
}

// domainOf is what follows .svc. in a host; "" when nothing does.
func domainOf(host string) string {
	_, d, _ := strings.Cut(strings.TrimSuffix(host, ".")+".", ".svc.")
	return strings.TrimSuffix(d, ".")
}

// resolution is what becomes of a target.
type resolution struct {
	svc *corev1.Service
	// name and namespace that the host means.
	name, namespace string
	// elsewhere are Services of that name in other namespaces.
	elsewhere []*corev1.Service
	// unknown: nobody may look there. external: not a name of the cluster.
	unknown, external bool
}

// resolve looks a target up as a pod of the consumer's namespace would: the
// search list makes name, name.namespace and name.namespace.svc the same.
func resolve(s *snapshot.Snapshot, t target) resolution {
	name, ns, in := splitHost(t.host, t.namespace)
	r := resolution{name: name, namespace: ns}
	if !in {
		r.external = true
		return r
	}
	for _, svc := range s.Services() {
		if svc.Name != name {
			continue
		}
		if svc.Namespace == ns {
			r.svc = svc
		} else {
			r.elsewhere = append(r.elsewhere, svc)
		}
	}
	if r.svc != nil {
		return r
	}
	if strings.Count(t.host, ".") == 1 && !isNamespace(s, ns) {
		r.external = true // loki.example: a name of the internet
		return r
	}
	r.unknown = !s.Covers(snapshot.Services, ns)
	return r
}

// isNamespace says whether a namespace is known by its Services or by itself.
func isNamespace(s *snapshot.Snapshot, ns string) bool {
	for _, svc := range s.Services() {
		if svc.Namespace == ns {
			return true
		}
	}
	for _, n := range s.Namespaces() {
		if n.Name == ns {
			return true
		}
	}
	return false
}

// helperKinds are Services that no client should use, by the end of their name.
var helperKinds = []string{"-headless", "-memberlist", "-canary", "-gateway-exporter", "-chunks-cache", "-results-cache", "-query-scheduler-discovery"}

func helperKind(name string) string {
	for _, k := range helperKinds {
		if strings.HasSuffix(name, k) {
			return k
		}
	}
	return ""
}

// nearestService is the Service that a wrong host most likely means; nil when
// none comes close. In order of weight: namespace, a log product's name, the
// wanted port, the labels of an API, the distance of the names.
func nearestService(s *snapshot.Snapshot, t target, r resolution) *corev1.Service {
	var best *corev1.Service
	bestScore := 0
	for _, svc := range s.Services() {
		score := 0
		product := svc.Labels["app.kubernetes.io/name"]
		like := strings.Contains(svc.Name, r.name) || strings.Contains(r.name, svc.Name) || levenshtein.ComputeDistance(svc.Name, r.name) <= 2
		if !like && (!strings.Contains(r.name, "loki") || product != "loki") {
			continue
		}
		if svc.Namespace == r.namespace {
			score += 40
		}
		if strings.Contains(svc.Name, "loki") || product == "loki" || product == "logstack" {
			score += 20
		}
		if strings.Contains(r.name, "gateway") == strings.Contains(svc.Name, "gateway") {
			score += 15
		}
		if hasPort(svc, portOf(t)) {
			score += 12
		}
		switch helperKind(svc.Name) {
		case helperKind(r.name):
			score += 40
		case "":
			score += 25
		}
		score -= min(levenshtein.ComputeDistance(svc.Name, r.name), 12)
		if score > bestScore {
			best, bestScore = svc, score
		}
	}
	return best
}

// portOf is the port that a target means.
func portOf(t target) string {
	switch {
	case t.port != "":
		return t.port
	case t.scheme == "https":
		return "443"
	case t.scheme == "http":
		return "80"
	}
	return ""
}

func hasPort(svc *corev1.Service, port string) bool {
	return slices.ContainsFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return strconv.Itoa(int(p.Port)) == port })
}

func portList(svc *corev1.Service) string {
	var out []string
	for _, p := range svc.Spec.Ports {
		out = append(out, strconv.Itoa(int(p.Port)))
	}
	return strings.Join(out, ", ")
}

// urlFor is a target's URL with the host and port of a Service. The form of
// the host (short, with namespace, full) stays where it can.
func urlFor(s *snapshot.Snapshot, t target, svc *corev1.Service) string {
	host := svc.Name + "." + svc.Namespace + ".svc." + s.Domain
	switch {
	case strings.Count(t.host, ".") == 0 && svc.Namespace == t.namespace:
		host = svc.Name
	case domainOf(t.host) == "":
		host = svc.Name + "." + svc.Namespace + ".svc"
	}
	port := portOf(t)
	if port == "" {
		return host
	}
	if !hasPort(svc, port) && len(svc.Spec.Ports) > 0 {
		port = strconv.Itoa(int(apiPort(svc)))
	}
	scheme := t.scheme
	if scheme == "" {
		return host + ":" + port
	}
	u := scheme + "://" + host
	if !(port == "80" && scheme == "http" || port == "443" && scheme == "https") {
		u += ":" + port
	}
	return u + t.path
}

// apiPort is the port of HTTP: gRPC and exporters are not meant.
func apiPort(svc *corev1.Service) int32 {
	for _, p := range svc.Spec.Ports {
		if strings.HasPrefix(p.Name, "http") {
			return p.Port
		}
	}
	return svc.Spec.Ports[0].Port
}

// servicesIn lists the Services of a namespace for a message, APIs first.
func servicesIn(s *snapshot.Snapshot, ns string) string {
	var api, other []string
	for _, svc := range s.Services() {
		switch {
		case svc.Namespace != ns:
		case helperKind(svc.Name) == "":
			api = append(api, svc.Name)
		default:
			other = append(other, svc.Name)
		}
	}
	slices.Sort(api)
	slices.Sort(other)
	all := slices.Concat(api, other)
	switch {
	case len(all) == 0:
		return "none"
	case len(all) > 8:
		return strings.Join(all[:8], ", ") + fmt.Sprintf(" and %d more", len(all)-8)
	}
	return strings.Join(all, ", ")
}

// namingOf explains a Service's name by its release, "" when that is unknown.
func namingOf(svc *corev1.Service) string {
	release, chart := svc.Labels["app.kubernetes.io/instance"], svc.Labels["app.kubernetes.io/name"]
	if release == "" || chart == "" {
		return ""
	}
	if _, full := data.Names(chart, release, "", ""); strings.HasPrefix(svc.Name, full) {
		return fmt.Sprintf(" (release %q and chart %q make %s)", release, chart, full)
	}
	return ""
}
