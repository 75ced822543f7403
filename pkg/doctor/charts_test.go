package doctor

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

func init() { moreCases = append(moreCases, releaseCases) }

// helmSecret is a release as Helm stores it.
func helmSecret(t testing.TB, status string, revision int, config map[string]any, manifest string) *corev1.Secret {
	t.Helper()
	stored, err := snapshot.EncodeRelease(map[string]any{
		"name": "monitoring", "namespace": "monitoring", "version": revision, "config": config, "manifest": manifest,
		"info": map[string]any{"status": status, "description": "Upgrade failed: timed out waiting for the condition"},
		"chart": map[string]any{
			"metadata": map[string]any{"name": "loki", "version": "6.55.0", "home": "https://grafana.github.io/helm-charts", "dependencies": []any{map[string]any{"name": "rollout-operator", "alias": "rollout_operator"}}},
			"values":   map[string]any{"loki": map[string]any{"auth_enabled": true, "storage": map[string]any{"type": "s3"}}, "lokiCanary": map[string]any{"enabled": true}, "singleBinary": map[string]any{"replicas": 0, "extraEnv": []any{}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "monitoring", Name: "sh.helm.release.v1.monitoring.v3"}, Type: "helm.sh/release.v1", Data: map[string][]byte{"release": stored}}
}

func releaseCases() []testCase {
	build := func(status string, config map[string]any, manifest string, live ...metav1.Object) func(testing.TB) *snapshot.Snapshot {
		return func(t testing.TB) *snapshot.Snapshot {
			s := snapshot.New(taken, "logstack", "logstack")
			s.Context = "home"
			s.Add(snapshot.Secrets, helmSecret(t, status, 3, config, manifest))
			for _, o := range live {
				s.Add(snapshot.Deployments, o)
			}
			s.Finish()
			return s
		}
	}
	gateway := `
# Source: loki/templates/gateway.yaml
apiVersion: apps/v1
kind: Deployment
metadata: {name: gateway, namespace: monitoring}
spec:
  replicas: 1
  template: {spec: {containers: [{name: nginx, image: "nginx:1.29"}]}}
`
	live := func(image string, replicas int32) metav1.Object {
		return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "monitoring", Name: "gateway"}, Spec: appsv1.DeploymentSpec{Replicas: &replicas,
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "nginx", Image: image}}}}}}
	}
	canary := map[string]any{"monitoring": map[string]any{"lokiCanary": map[string]any{"enabled": false}}}
	return []testCase{
		{name: "failed", code: "LS0611", expect: []expectation{{"LS0611", Error, "helm rollback monitoring 2 -n monitoring"}}, build: build("failed", nil, "")},
		{name: "deployed", code: "LS0611", build: build("deployed", nil, "")},
		{name: "from the secret", code: "LS0601", expect: []expectation{{"LS0601", Error, "release/monitoring/monitoring monitoring.lokiCanary"}}, build: build("deployed", canary, "")},
		{name: "defaults of the secret", code: "LS0603", expect: []expectation{{"LS0603", Warning, "did you mean singleBinary.replicas?"}},
			build: build("deployed", map[string]any{"singleBinary": map[string]any{"replica": 1, "extraEnv": []any{"x"}}, "rollout_operator": map[string]any{"enabled": true}}, "")},
		{name: "same", code: "LS0612", build: build("deployed", nil, gateway, live("nginx:1.29", 1))},
		{name: "scaled and patched", code: "LS0612", expect: []expectation{{"LS0612", Warning, "spec.replicas is 3"}, {"LS0612", Warning, "nginx:1.30"}}, build: build("deployed", nil, gateway, live("nginx:1.30", 3))},
	}
}

// TestPatchOfHelmRelease: a change of values that stand in a HelmRelease is
// printed where they stand.
func TestPatchOfHelmRelease(t *testing.T) {
	r := examineFiles(t, header{}, map[string]string{"hr.yaml": `apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: loki, namespace: monitoring}
spec:
  chart: {spec: {chart: loki, version: 6.55.0, sourceRef: {kind: HelmRepository, name: grafana}}}
  values:
    monitoring: {lokiCanary: {enabled: false}}
    test: {enabled: false}
`})
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Code != "LS0601" || f.Status != Error {
			continue
		}
		_, patch, _ := strings.Cut(f.Patch, "\n")
		want := " spec:\n   values:\n-    monitoring:\n-        lokiCanary:\n-            enabled: false\n+    lokiCanary:\n+        enabled: false\n"
		if patch != want {
			t.Errorf("%s\nwant\n%s", patch, want)
		}
		return
	}
	t.Errorf("LS0601 was not found: %+v", r.Findings)
}
