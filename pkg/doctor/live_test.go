package doctor

import (
	"testing"
	"time"

	coordv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiversion "k8s.io/apimachinery/pkg/version"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

func init() { moreCases = append(moreCases, clockCases, versionCases, skewCases) }

// skewCases: our stack with versions of plugin and collector.
func skewCases() []testCase {
	of := func(plugin, collector string) func(testing.TB) *snapshot.Snapshot {
		return func(tb testing.TB) *snapshot.Snapshot {
			p := healthyParts()
			p.query.Plugin, p.query.Version = plugin, collector
			return p.snapshot(tb)
		}
	}
	return []testCase{
		{name: "neighbours", code: "LS0103", build: of("v0.3.0", "v0.2.4")},
		{name: "of a developer", code: "LS0103", build: of("dev", "v0.2.4")},
		{name: "old collector", code: "LS0103", expect: []expectation{{"LS0103", Warning, "kubectl logstack install"}}, build: of("v0.10.0", "v0.2.4")},
		{name: "old plugin", code: "LS0103", expect: []expectation{{"LS0103", Warning, "kubectl krew upgrade logstack"}}, build: of("v0.9.1", "v1.0.0")},
	}
}

// clockCases: one node whose lease is off by some time, and a local clock.
func clockCases() []testCase {
	at := func(node, local time.Duration, ready corev1.ConditionStatus) func(testing.TB) *snapshot.Snapshot {
		return func(testing.TB) *snapshot.Snapshot {
			s := snapshot.New(taken, "logstack", "logstack")
			s.SetVersion(&apiversion.Info{GitVersion: "v1.36.3"})
			s.SetClocks(snapshot.Clocks{Server: taken, Local: taken.Add(local)})
			renewed := metav1.NewMicroTime(taken.Add(node))
			s.Add(snapshot.Leases, &coordv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: "pi-1"}, Spec: coordv1.LeaseSpec{RenewTime: &renewed}})
			s.Add(snapshot.Nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "pi-1"}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}}})
			s.Finish()
			return s
		}
	}
	return []testCase{
		{name: "in time", code: "LS1101", build: at(-9*time.Second, 0, corev1.ConditionTrue)},
		{name: "ahead", code: "LS1101", expect: []expectation{{"LS1101", Warning, "2m0s ahead"}}, build: at(2*time.Minute, 0, corev1.ConditionTrue)},
		{name: "far behind", code: "LS1101", expect: []expectation{{"LS1101", Error, "1h0m0s behind"}}, build: at(-time.Hour, 0, corev1.ConditionTrue)},
		{name: "switched off", code: "LS1101", build: at(-time.Hour, 0, corev1.ConditionUnknown)},
		{name: "in time", code: "LS1102", build: at(0, 10*time.Second, corev1.ConditionTrue)},
		{name: "behind", code: "LS1102", expect: []expectation{{"LS1102", Warning, "3m0s behind the API server's"}}, build: at(0, -3*time.Minute, corev1.ConditionTrue)},
		{name: "unknown", code: "LS1102", expect: []expectation{{"LS1102", Skip, "no Date header"}}, build: func(testing.TB) *snapshot.Snapshot {
			s := snapshot.New(taken, "logstack", "logstack")
			s.Finish()
			return s
		}},
	}
}

// versionCases: collectors and charts on an API server of a version.
func versionCases() []testCase {
	on := func(version, file string) func(testing.TB) *snapshot.Snapshot {
		return func(tb testing.TB) *snapshot.Snapshot {
			h := parseHeader(tb.(*testing.T), "testdata/checks/"+file)
			s := load(tb, h.request("testdata/checks/"+file))
			s.SetMissing(snapshot.Server, nil)
			s.SetVersion(&apiversion.Info{GitVersion: version})
			return s
		}
	}
	return []testCase{
		{name: "new", code: "LS0102", build: on("v1.36.3", "LS0412-limited.yaml")},
		{name: "rotation", code: "LS0102", expect: []expectation{{"LS0102", Warning, "this is 1.28.9"}, {"LS0102", Warning, "this is 1.28.9"}}, build: on("v1.28.9+k3s1", "LS0412-limited.yaml")},
		{name: "chart", code: "LS0102", expect: []expectation{{"LS0102", Error, "wants Kubernetes 1.25.0 or newer, this is 1.24.17"}}, build: on("v1.24.17", "LS0608-community.values.yaml")},
	}
}
