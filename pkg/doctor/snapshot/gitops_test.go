package snapshot

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

// TestValuesFrom: entries in their order, the inline values over all, each value
// with the place where it is written; what is not at hand is named.
func TestValuesFrom(t *testing.T) {
	dir := filepath.Dir(write(t, "hr.yaml", `apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: loki, namespace: flux-system}
spec:
  chart: {spec: {chart: loki, version: 6.55.0}}
  valuesFrom:
    - {kind: ConfigMap, name: base}
    - {kind: ConfigMap, name: base, valuesKey: more.yaml}
    - {kind: Secret, name: creds, valuesKey: password, targetPath: 'minio.root\.password'}
    - {kind: ConfigMap, name: base, valuesKey: replicas, targetPath: singleBinary.replicas}
    - {kind: ConfigMap, name: not-there, optional: true}
    - {kind: ConfigMap, name: gone}
    - {kind: ConfigMap, name: base, valuesKey: replicas, targetPath: 'a[0].b'}
  values:
    loki: {auth_enabled: false}
`))
	for name, text := range map[string]string{
		"cm.yaml": `apiVersion: v1
kind: ConfigMap
metadata: {name: base, namespace: flux-system}
data:
  replicas: "3"
  values.yaml: |
    loki: {auth_enabled: true, storage: {type: s3}}
    monitoring:
      lokiCanary: {enabled: true}
  more.yaml: |
    monitoring:
      lokiCanary: {enabled: false}
`,
		"secret.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: creds, namespace: flux-system}\nstringData: {password: hunter2}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := offline(t, FileOptions{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	r := s.Releases()[0]
	for path, want := range map[string]string{"loki/auth_enabled": "false", "loki/storage/type": "s3", "monitoring/lokiCanary/enabled": "false", "minio/root.password": "hunter2", "singleBinary/replicas": "3"} {
		if got := r.String(strings.Split(path, "/")...); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	if n := r.Value("singleBinary", "replicas"); n.Tag != "!!int" {
		t.Errorf("a number became %s", n.Tag)
	}
	for path, want := range map[string]string{
		"loki/auth_enabled":             "hr.yaml:15:12 spec.values.loki.auth_enabled (helmrelease/flux-system/loki)",
		"loki/storage":                  "cm.yaml:7:32 data[values.yaml] loki.storage (configmap/flux-system/base)",
		"monitoring/lokiCanary/enabled": "cm.yaml:12:20 data[more.yaml] monitoring.lokiCanary.enabled (configmap/flux-system/base)",
	} {
		ref := r.Ref(strings.Split(path, "/")...)
		if got := filepath.Base(ref.String()) + " (" + ref.Object() + ")"; got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	var lacking []string
	for _, l := range r.Incomplete {
		lacking = append(lacking, l.What)
	}
	// Among files, an optional one that is not there may be elsewhere.
	if want := []string{"ConfigMap/gone[values.yaml]", "ConfigMap/base[replicas]"}; !slices.Equal(lacking, want) {
		t.Errorf("lacking %q, want %q", lacking, want)
	}
}

// TestLiveValuesFrom: what HelmReleases of log charts refer to is got by name;
// what may not be read lacks with its right.
func TestLiveValuesFrom(t *testing.T) {
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "flux-system", Name: name} }
	c := fake.NewClientset(&corev1.ConfigMap{ObjectMeta: meta("base"), Data: map[string]string{"values.yaml": "a: 1\n"}}, &corev1.Secret{ObjectMeta: meta("creds")}, &corev1.Secret{ObjectMeta: meta("shop")})
	c.PrependReactor("get", "secrets", func(a k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "x", errors.New("no"))
	})
	release := func(name, chart, secret string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": map[string]any{"name": name, "namespace": "flux-system"},
			"spec": map[string]any{"chart": map[string]any{"spec": map[string]any{"chart": chart}}, "valuesFrom": []any{map[string]any{"kind": "ConfigMap", "name": "base"}, map[string]any{"kind": "Secret", "name": secret}}}}}
	}
	s := New(now, "logstack", "logstack")
	s.Add(HelmReleases, release("loki", "loki", "creds"))
	s.Add(HelmReleases, release("shop", "shop", "shop"))
	l := &live{s: s, c: &kube.Client{Kube: c}, all: true}
	l.valuesFrom(t.Context())
	s.Finish()
	r := s.Releases()[0]
	if r.String("a") != "1" || len(r.Incomplete) != 1 || r.Incomplete[0].Right == nil || r.Incomplete[0].Right.String() != "get secrets in namespace flux-system" {
		t.Errorf("%+v", r)
	}
	if ref := r.Ref("a").String(); ref != "configmap/flux-system/base data[values.yaml] a:1:1" {
		t.Error(ref)
	}
	for _, a := range c.Actions() {
		if g, ok := a.(k8stesting.GetAction); ok && g.GetName() == "shop" {
			t.Error("values of another chart were read")
		}
	}
}

// TestArgoValues: parameters win over valuesObject, that over the files of
// another source; a later file over an earlier one.
func TestArgoValues(t *testing.T) {
	repo := t.TempDir()
	app := `apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: logs, namespace: argocd}
spec:
  destination: {namespace: monitoring}
  sources:
    - {repoURL: https://example.com/x.git, ref: values}
    - repoURL: https://grafana.github.io/helm-charts
      chart: loki
      targetRevision: 6.55.0
      helm:
        parameters:
          - {name: loki.auth_enabled, value: "false"}
          - {name: loki.tenant, value: "1", forceString: true}
          - {name: "list[0]", value: x}
        valuesObject: {loki: {auth_enabled: true, storage: {type: s3}}}
        valueFiles:
          - $values/envs/base.yaml
          - $values/envs/home.yaml
          - $values/../secret.yaml
          - $values/envs/none.yaml
          - values-ha.yaml
`
	for name, text := range map[string]string{
		"repo/.git/HEAD": "x", "repo/apps/logs.yaml": app, "secret.yaml": "a: 1\n",
		"repo/envs/base.yaml": "loki: {storage: {type: filesystem}}\nmonitoring:\n  lokiCanary: {enabled: true}\n",
		"repo/envs/home.yaml": "monitoring:\n  lokiCanary: {enabled: false}\n",
	} {
		file := filepath.Join(repo, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := offline(t, FileOptions{}, filepath.Join(repo, "repo", "apps"))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Releases()) != 1 {
		t.Fatal("releases")
	}
	r := s.Releases()[0]
	for path, want := range map[string]string{"loki/auth_enabled": "false", "loki/storage/type": "s3", "monitoring/lokiCanary/enabled": "false", "loki/tenant": "1", "a": ""} {
		if got := r.String(strings.Split(path, "/")...); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	if n := r.Value("loki", "tenant"); n.Tag != "!!str" {
		t.Errorf("forceString gives %s", n.Tag)
	}
	if got := r.Ref("monitoring", "lokiCanary").String(); !strings.HasSuffix(got, filepath.Join("repo", "envs", "home.yaml")+":2:3 monitoring.lokiCanary") {
		t.Error(got)
	}
	if got := r.Ref("loki", "auth_enabled"); filepath.Base(got.File) != "logs.yaml" || got.Line != 13 {
		t.Errorf("%+v", got)
	}
	var lacking []string
	for _, l := range r.Incomplete {
		lacking = append(lacking, l.What)
	}
	if want := []string{"parameter list[0]", "valueFiles $values/../secret.yaml", "valueFiles $values/envs/none.yaml", "valueFiles values-ha.yaml"}; !slices.Equal(lacking, want) {
		t.Errorf("lacking %q, want %q", lacking, want)
	}
}

// TestNoRepository: without a repository, nothing above the file is read.
func TestNoRepository(t *testing.T) {
	file := write(t, "a/b/app.yaml", "x: 1\n")
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), "..", "v.yaml"), []byte("a: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if stepsToRoot(filepath.Dir(file)) > 0 {
		t.Skip("the temporary directory is in a repository")
	}
	if name, _ := besideOrAbove(file, "v.yaml"); name != "" {
		t.Errorf("%s was read", name)
	}
	if name, _ := besideOrAbove(file, "app.yaml"); name == "" {
		t.Error("the file beside it was not")
	}
}
