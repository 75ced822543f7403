package doctor

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"time"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// insideChecks look at what a pod inside of the cluster has found.
func insideChecks() []Check {
	return []Check{{
		Code: "LS0515", Severity: Error, Title: "what log traffic goes to answers inside of the cluster",
		Explain: "All other checks of this category reckon from objects. With --probe, doctor makes a short-lived pod (our collector's image, restricted, without a token) in the namespace of each consumer; it looks every host up, connects, and asks for /ready, and is deleted. The finding has the real error: no such host, connection refused, a timeout (often a NetworkPolicy), a wrong certificate. A NetworkPolicy that picks the consumer's pods by their labels is not seen by it: LS0509 is.",
		Fix:     "see the error; kubectl get svc,endpointslices,networkpolicy -n NAMESPACE",
		Needs:   []snapshot.Input{snapshot.Server, snapshot.Inside}, Uses: trafficInputs,
		Run: checkInside,
	}}
}

// maxInside bounds what is asked from inside.
const maxInside = 48

// InsideTargets are the hosts that log traffic goes to, each once per namespace
// of its consumers.
func InsideTargets(s *snapshot.Snapshot) []snapshot.InsideTarget {
	all := traffic(s)
	for _, d := range datasources(s) {
		if u, err := url.Parse(d.url); d.kind == "loki" && err == nil && u.Host != "" {
			t := fromURL(d.url, u)
			t.namespace, t.who, t.ref, t.base = grafanaNamespace(s, d), "datasource "+d.name, d.ref("url"), true
			all = append(all, t)
		}
	}
	if svc, ok := snapshot.Find(s.Services(), s.Namespace, s.Name); ok && hasOurs(s) && len(svc.Spec.Ports) > 0 {
		all = append(all, target{scheme: "http", host: svc.Name + "." + svc.Namespace + ".svc", port: fmt.Sprint(apiPort(svc)), namespace: svc.Namespace, who: "our collector", ref: ownService(s)})
	}
	var out []snapshot.InsideTarget
	seen := map[string]bool{}
	for i := range all {
		t := &all[i]
		u := insideURL(t)
		key := t.namespace + " " + u
		if u == "" || t.namespace == "" || seen[key] || len(out) == maxInside {
			continue
		}
		seen[key] = true
		out = append(out, snapshot.InsideTarget{URL: u, Namespace: t.namespace, Who: t.who, Ref: t.ref})
	}
	return out
}

// insideURL is what is asked for a target: Loki's /ready where it speaks HTTP,
// else a connection. "" when there is no port to connect to.
func insideURL(t *target) string {
	port := portOf(*t)
	switch {
	case port == "":
		return ""
	case t.scheme == "http" || t.scheme == "https":
		return (&url.URL{Scheme: t.scheme, Host: net.JoinHostPort(t.host, port), Path: "/ready"}).String()
	}
	return "tcp://" + net.JoinHostPort(t.host, port)
}

// grafanaNamespace is where Grafana runs: the datasource's URL is resolved there.
func grafanaNamespace(s *snapshot.Snapshot, d *datasource) string {
	for _, g := range grafanas(s) {
		return g.Namespace()
	}
	return d.cm.Namespace
}

// slowInside is where an answer from inside deserves a word.
const slowInside = 2 * time.Second

func checkInside(s *snapshot.Snapshot) []Finding {
	if len(s.Inside()) == 0 { // nothing is known to ask for: because there is nothing, or nobody could look
		for _, in := range trafficInputs {
			if m := unseen(s, in); m != nil {
				return []Finding{skip(in, m)}
			}
		}
		return []Finding{{Status: None, Detail: "there is no client of log traffic"}}
	}
	var out []Finding
	asked := 0
	for _, r := range s.Inside() {
		f := Finding{Ref: r.Ref, Explains: complaintsIn(r.Namespace, "no-such-host", "refused", "timeout")}
		what := fmt.Sprintf("%s: from namespace %s, %s", r.Who, r.Namespace, r.URL)
		switch {
		case r.Err != nil:
			f = Finding{Status: Skip, Detail: r.Err.Error()}
			if r.Right != nil {
				f.Right = r.Right.String()
			}
			if slices.ContainsFunc(out, func(o Finding) bool { return o.Status == Skip && o.Detail == f.Detail }) {
				continue
			}
		case r.Hop != "":
			f.Status, f.Detail, f.Fix = Error, fmt.Sprintf("%s: %s (%s)", what, r.Error, r.Hop), insideFix(r)
		case r.Status == 401 || r.Status == 403:
			f.Status, f.Detail, f.Fix = Info, fmt.Sprintf("%s answers %d: it asks for credentials", what, r.Status), "does the client send some?"
		case r.Status >= 500:
			f.Status, f.Detail, f.Fix = Error, fmt.Sprintf("%s answers %d", what, r.Status), "it is reached and not ready: kubectl get pods -n NAMESPACE, and their logs"
		case r.Took >= slowInside:
			f.Status, f.Detail, f.Fix = Warning, fmt.Sprintf("%s answers after %s", what, r.Took.Round(100*time.Millisecond)), "is the name looked up slowly (ndots), or the pod short of CPU?"
		default:
			asked++
			continue
		}
		out = append(out, f)
	}
	if len(out) == 0 {
		return []Finding{{Status: OK, Detail: plural(asked, "URL") + " asked from inside"}}
	}
	return out
}

// insideFix is what to do about the step that failed.
func insideFix(r *snapshot.InsideResult) string {
	switch r.Hop {
	case snapshot.HopDNS:
		return "the name does not exist for pods of namespace " + r.Namespace + ": kubectl get svc -A; is CoreDNS well? kubectl get pods -n kube-system -l k8s-app=kube-dns"
	case snapshot.HopConnect:
		return "refused: the Service has no ready pod or another port (kubectl get svc,endpointslices -A); timeout: a NetworkPolicy (kubectl get networkpolicy -A)"
	case snapshot.HopTLS:
		return "is it https at all, and is the certificate's name the one of the URL?"
	case snapshot.HopURL:
		return "correct the URL"
	}
	return "it is reached and does not speak HTTP on this port"
}
