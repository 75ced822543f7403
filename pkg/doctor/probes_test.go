package doctor

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apiversion "k8s.io/apimachinery/pkg/version"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
	"github.com/logstack-dev/kubectl-logstack/pkg/install"
)

func init() { moreCases = append(moreCases, discoveryCases, preCases, insideCases, logCases) }

// live is a snapshot of a cluster without anything.
func live() *snapshot.Snapshot {
	s := snapshot.New(taken, "logstack", "logstack")
	s.SetVersion(&apiversion.Info{GitVersion: "v1.36.3"})
	return s
}

func discoveryCases() []testCase {
	return []testCase{
		{name: "all answer", code: "LS0105", build: func(testing.TB) *snapshot.Snapshot { return live() }},
		{name: "metrics are gone", code: "LS0105", expect: []expectation{{"LS0105", Info, "apiservice/v1beta1.metrics.k8s.io its server does not answer"}}, build: func(testing.TB) *snapshot.Snapshot {
			s := live()
			s.SetStaleGroups("v1beta1.metrics.k8s.io")
			return s
		}},
		{name: "an old API server", code: "LS0105", expect: []expectation{{"LS0105", Skip, "kubectl get apiservice"}}, build: func(testing.TB) *snapshot.Snapshot {
			s := live()
			s.SetMissing(snapshot.Discovery, &snapshot.Missing{Err: errors.New("kubectl get apiservice")})
			return s
		}},
	}
}

func preCases() []testCase {
	with := func(allowed bool) func(testing.TB) *snapshot.Snapshot {
		return func(testing.TB) *snapshot.Snapshot {
			s := live()
			s.SetInstallRights([]snapshot.InstallRight{
				{Right: snapshot.Right{Verb: "create", Resource: "services", Namespace: "logstack"}, Allowed: true},
				{Right: snapshot.Right{Verb: "create", Group: "rbac.authorization.k8s.io", Resource: "clusterroles"}, Allowed: allowed},
			})
			return s
		}
	}
	return []testCase{
		{name: "an admin", code: "LS0202", build: with(true)},
		{name: "no admin", code: "LS0202", expect: []expectation{{"LS0202", Error, "you may not create clusterroles.rbac.authorization.k8s.io"}}, build: with(false)},
		{name: "what to do", code: "LS0202", expect: []expectation{{"LS0202", Error, "kubectl logstack install --export"}}, build: with(false)},
	}
}

// TestInstallNeeds: two verbs for each kind of object that an installation has.
func TestInstallNeeds(t *testing.T) {
	objs, err := install.Render(install.DefaultValues())
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, r := range InstallNeeds(append(objs, &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"namespace": "logstack"}}})) {
		have = append(have, r.String())
	}
	for _, want := range []string{"create namespaces", "create statefulsets.apps in namespace logstack", "patch clusterroles.rbac.authorization.k8s.io", "create networkpolicies.networking.k8s.io in namespace logstack"} {
		if !slices.Contains(have, want) {
			t.Errorf("%q is not among %q", want, have)
		}
	}
	slices.Sort(have)
	if n := len(slices.Compact(slices.Clone(have))); n != len(have) {
		t.Error("a right is asked for twice")
	}
}

func insideCases() []testCase {
	target := snapshot.InsideTarget{URL: "http://loki.monitoring.svc:3100/ready", Namespace: "monitoring", Who: "daemonset/monitoring/alloy loki.write.default", Ref: snapshot.Ref{Kind: "ConfigMap", Namespace: "monitoring", Name: "alloy", Line: 33}}
	with := func(r snapshot.InsideResult) func(testing.TB) *snapshot.Snapshot {
		return func(testing.TB) *snapshot.Snapshot {
			s := live()
			r.InsideTarget = target
			second := r
			s.SetInside([]*snapshot.InsideResult{&r, &second})
			if r.Err == nil {
				s.SetInside([]*snapshot.InsideResult{&r})
			}
			return s
		}
	}
	one := func(name string, status Status, words string, r snapshot.InsideResult) testCase {
		return testCase{name: name, code: "LS0515", expect: []expectation{{"LS0515", status, words}}, build: with(r)}
	}
	right := &snapshot.Right{Verb: "create", Resource: "pods", Namespace: "monitoring"}
	return []testCase{
		{name: "answers", code: "LS0515", build: with(snapshot.InsideResult{Status: 200, Took: 20 * time.Millisecond})},
		{name: "clients that may not be read", code: "LS0515", expect: []expectation{{"LS0515", Skip, "need list configmaps"}}, build: func(testing.TB) *snapshot.Snapshot {
			s := live()
			s.SetMissing(snapshot.Collectors, &snapshot.Missing{Right: &snapshot.Right{Verb: "list", Resource: "configmaps"}})
			return s
		}},
		{name: "not found is reached", code: "LS0515", build: with(snapshot.InsideResult{Status: 404})},
		one("no such host", Error, "from namespace monitoring, http://loki.monitoring.svc:3100/ready: no such host (dns)", snapshot.InsideResult{Hop: snapshot.HopDNS, Error: "no such host"}),
		one("refused", Error, "connection refused (connect)", snapshot.InsideResult{Hop: snapshot.HopConnect, Error: "connection refused"}),
		one("certificate", Error, "is the certificate's name the one of the URL", snapshot.InsideResult{Hop: snapshot.HopTLS, Error: "x509: certificate is valid for a, not b"}),
		one("not ready", Error, "answers 503", snapshot.InsideResult{Status: 503}),
		one("credentials", Info, "answers 401", snapshot.InsideResult{Status: 401}),
		one("slow", Warning, "answers after 5s", snapshot.InsideResult{Status: 200, Took: 5 * time.Second}),
		one("not allowed", Skip, "need create pods in namespace monitoring", snapshot.InsideResult{Err: &snapshot.Missing{Right: right}, Right: right}),
	}
}

// TestInsideTargets: what a pod is asked to look at has no password, and is
// resolved in the namespace of its consumer; TCP where it is not HTTP.
func TestInsideTargets(t *testing.T) {
	s := load(t, (&header{}).request(filesIn(t, map[string]string{
		"alloy.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: alloy, namespace: monitoring}\ndata:\n  config.alloy: |\n    loki.write \"d\" {\n      endpoint { url = \"http://u:topsecret@loki:3100/loki/api/v1/push?x=y\" }\n    }\n",
		"loki.yaml":  "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: loki, namespace: monitoring}\ndata:\n  config.yaml: |\n    auth_enabled: false\n    memberlist: {join_members: [loki-memberlist.monitoring.svc:7946]}\n",
		"ds.yaml":    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ds, namespace: grafana, labels: {grafana_datasource: '1'}}\ndata:\n  ds.yaml: |\n    datasources: [{name: Loki, type: loki, url: 'http://loki.monitoring'}]\n",
	})))
	var have []string
	for _, target := range InsideTargets(s) {
		have = append(have, target.Namespace+" "+target.URL)
	}
	want := []string{"monitoring http://loki:3100/ready", "monitoring tcp://loki-memberlist.monitoring.svc:7946", "grafana http://loki.monitoring:80/ready"}
	if !slices.Equal(have, want) {
		t.Errorf("%q, want %q", have, want)
	}
}

// logCases: what one pod's log says.
func logCases() []testCase {
	with := func(purpose snapshot.LogPurpose, namespace string, err error, lines ...string) func(testing.TB) *snapshot.Snapshot {
		return func(testing.TB) *snapshot.Snapshot {
			s := live()
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "x-0", Labels: map[string]string{"app.kubernetes.io/name": "logstack"}}}
			e := &snapshot.LogExcerpt{Purpose: purpose, Pod: p, Container: "c", Lines: lines, Err: err}
			if err != nil {
				e.Right = &snapshot.Right{Verb: "get", Resource: "pods", Subresource: "log"}
			}
			s.SetLogs([]*snapshot.LogExcerpt{e})
			return s
		}
	}
	complaint := func(name, words, line string) testCase {
		return testCase{name: name, code: "LS0715", expect: []expectation{{"LS0715", Error, words}}, build: with(snapshot.CollectorLog, "monitoring", nil, "level=info msg=fine", line, line, line)}
	}
	const alloy = `ts=2026-03-05T11:59:00Z level=warn msg="error sending batch, will retry" component_id=loki.write.default component=client host=loki status=`
	out := []testCase{
		{name: "quiet", code: "LS0715", build: with(snapshot.CollectorLog, "monitoring", nil, "level=info msg=\"connection refused is only a word here\"", "GET /x 404 page not found")},
		{name: "not allowed", code: "LS0715", expect: []expectation{{"LS0715", Skip, "could not read the log of c: no"}}, build: with(snapshot.CollectorLog, "monitoring", errors.New("no"))},
		{name: "passing", code: "LS0715", expect: []expectation{{"LS0715", Warning, "1 such line"}}, build: with(snapshot.CollectorLog, "monitoring", nil, alloy+`-1 error="dial tcp: connect: connection refused"`)},
		{name: "our own", code: "LS0715", expect: []expectation{{"LS0715", Warning, "3 such lines"}}, build: with(snapshot.CollectorLog, "logstack", nil, alloy+"429", alloy+"429", alloy+"429")},
		complaint("no such host", "pod/monitoring/x-0 no-such-host 3 such lines in 10 minutes", alloy+`-1 error="Post \"http://loki:3100/loki/api/v1/push\": dial tcp: lookup loki on 10.96.0.10:53: no such host"`),
		complaint("tenant", "(the cause: LS0711)", alloy+`401 error="server returned HTTP status 401 Unauthorized (401): no org id"`),
		complaint("too many", "x-0 too-many", alloy+`429 error="Ingestion rate limit exceeded for user fake"`),
		complaint("too old", "x-0 too-old", alloy+`400 error="entry too far behind, oldest acceptable timestamp is: 2026-03-05T10:00:00Z"`),
		complaint("stat failed", "exec -n monitoring x-0 -- ls", `level=error msg="failed to tail file, stat failed" error="stat /var/log/pods/*u/c/*.log: no such file or directory"`),
		complaint("forbidden", "x-0 forbidden", `level=error msg="failed to list *v1.Pod" err="pods is forbidden: User \"system:serviceaccount:m:alloy\" cannot list resource \"pods\""`),
		complaint("fluent bit", "x-0 refused", `[2026/03/05 11:59:00] [error] [output:loki:loki.0] no upstream connections available: loki:3100 connection refused`),
		complaint("vector", "x-0 no-such-host", `2026-03-05T11:59:00Z ERROR sink{component_id=loki}: Healthcheck failed. error=error trying to connect: dns error: failed to lookup address information: Name or service not known`),
		complaint("replicas", "LS0409", alloy+`500 error="at least 2 live replicas required, could only find 1"`),

		{name: "loaded", code: "LS0809", build: with(snapshot.GrafanaLog, "monitoring", nil, `{"level":"INFO","msg":"Writing /etc/grafana/provisioning/datasources/loki.yaml"}`)},
		{name: "reloaded since", code: "LS0809", build: with(snapshot.GrafanaLog, "monitoring", nil, `{"level":"ERROR","msg":"Failed to reload: api/admin/provisioning/datasources/reload connection refused"}`, `{"level":"INFO","msg":"http://localhost:3000/api/admin/provisioning/datasources/reload request sent. Response: 200 OK Datasources config reloaded"}`)},
		{name: "two defaults", code: "LS0809", expect: []expectation{{"LS0809", Warning, "LS0806"}}, build: with(snapshot.GrafanaLog, "monitoring", nil, `logger=provisioning level=error msg="Failed to provision data sources" error="datasource.yaml config is invalid. Only one datasource per organization can be marked as default"`)},
		{name: "sidecar may not", code: "LS0809", expect: []expectation{{"LS0809", Warning, "LS0206"}}, build: with(snapshot.GrafanaLog, "monitoring", nil, `{"level":"ERROR","msg":"ApiException: (403) Reason: Forbidden: configmaps is forbidden"}`)},
		{name: "not read", code: "LS0809", expect: []expectation{{"LS0809", Skip, "could not read"}}, build: with(snapshot.GrafanaLog, "monitoring", errors.New("no"))},
	}
	return out
}

// TestComplaintsAreExplained: the cause takes the complaint of its kind and
// namespace, and no other one.
func TestComplaintsAreExplained(t *testing.T) {
	pod := snapshot.Ref{Kind: "Pod", Namespace: "monitoring", Name: "alloy-x"}
	r := Run(empty(), []Check{
		fake("LS0501", Finding{Status: Error, Explains: complaintsIn("monitoring", "no-such-host")}),
		fake("LS0715", Finding{Status: Error, Ref: pod.WithPath("no-such-host")}, Finding{Status: Error, Ref: pod.WithPath("too-many")}),
	}, RunOptions{})
	if r.Findings[1].ExplainedBy == nil || r.Findings[2].ExplainedBy != nil {
		t.Errorf("%+v", r.Findings)
	}
}

// TestQuoted: a quoted line is short, and has no password.
func TestQuoted(t *testing.T) {
	if got := quoted(" error Post https://bob:hunter2@loki/x: no such host " + strings.Repeat("é", 300)); strings.Contains(got, "hunter2") || !strings.Contains(got, "bob:xxxxx@loki") || len([]rune(got)) != quotedLength+1 {
		t.Error(got)
	}
}
