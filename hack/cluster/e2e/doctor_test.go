package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"

	"github.com/logstack-dev/kubectl-logstack/hack/cluster/internal/binaries"
	"github.com/logstack-dev/kubectl-logstack/hack/cluster/rig"
)

// maxDoctorCalls is what a run of doctor may ask of the API server, whatever the
// size of the cluster. A collector that answers is asked another dozen times.
const maxDoctorCalls = 100 - 12

// TestDoctorCalls runs the plugin on a real API server with 1,000 pods, a Loki,
// an Alloy, a Grafana and our own stack, and counts its requests: as an admin,
// and as a user who may only view, for whom every kind is a question and an
// answer. The time is printed, and asserted by nobody.
func TestDoctorCalls(t *testing.T) {
	if testing.Short() {
		t.Skip("a thousand pods")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	plugin := buildPlugin(ctx, t)
	fleet, err := shared.AddFleet(ctx, rig.FleetSpec{Name: "doctor", Nodes: 25, PodsPerNode: 40, ContainersPerPod: 1})
	t.Cleanup(func() {
		if fleet != nil {
			if err := fleet.Remove(context.WithoutCancel(ctx)); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	stack := newStack(ctx, t)
	stack.files("../../e2e/testdata/story/cluster.yaml", "../../e2e/testdata/story/alloy-daemonset.yaml")
	export, err := exec.CommandContext(ctx, plugin, "install", "--dry-run=client").Output()
	if err != nil {
		t.Fatal(err)
	}
	stack.text(export)
	stack.helmRelease()
	stack.alloy("../../e2e/testdata/story/alloy.config")
	api := countCalls(t)

	stack.text([]byte(viewerRole))
	for name, args := range map[string][]string{"admin": nil, "viewer": {"--as", "system:serviceaccount:monitoring:viewer"}} {
		api.reset()
		started := time.Now()
		r := runDoctor(ctx, t, plugin, append([]string{"--server", api.URL}, args...)...)
		took := time.Since(started)
		n := api.report(t)
		t.Logf("%s: %d calls in %s: %s", name, n, took.Round(time.Millisecond), r.Summary)
		if n >= maxDoctorCalls {
			t.Errorf("%s: %d calls, want less than %d", name, n, maxDoctorCalls)
		}
		if !slices.Contains(r.codes("error"), "LS0501") {
			t.Errorf("%s: the wrong Service name was not found: %v", name, r.codes("error"))
		}
	}
}

// viewerRole is what the cluster's own role view grants; here no controller
// fills that in.
const viewerRole = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: doctor-viewer}
rules:
  - {apiGroups: [""], resources: [configmaps, endpoints, events, namespaces, persistentvolumeclaims, pods, pods/log, serviceaccounts, services], verbs: [get, list, watch]}
  - {apiGroups: [apps, batch, networking.k8s.io, discovery.k8s.io], resources: ["*"], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: doctor-viewer}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: doctor-viewer}
subjects: [{kind: ServiceAccount, name: viewer, namespace: monitoring}]
`

// buildPlugin builds kubectl-logstack, unless E2E_PLUGIN names one.
func buildPlugin(ctx context.Context, t *testing.T) string {
	t.Helper()
	if path := os.Getenv("E2E_PLUGIN"); path != "" {
		return path
	}
	module, err := binaries.FindModule()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kubectl-logstack")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "./cmd/kubectl-logstack")
	cmd.Dir = filepath.Join(module, "..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the plugin: %v\n%s", err, out)
	}
	return path
}

// doctorReport is the part of a report that matters here.
type doctorReport struct {
	Summary  string
	Findings []struct{ Code, Status, Object, Detail string }
}

func (r *doctorReport) codes(status string) []string {
	var out []string
	for _, f := range r.Findings {
		if f.Status == status && !slices.Contains(out, f.Code) {
			out = append(out, f.Code)
		}
	}
	return out
}

func runDoctor(ctx context.Context, t *testing.T, plugin string, args ...string) *doctorReport {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, plugin, append([]string{"doctor", "-o", "json"}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(os.Environ(), "KUBECONFIG=/dev/null")
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatalf("doctor: %v\n%s", err, stderr.String())
	}
	r := &doctorReport{}
	if err := json.Unmarshal(stdout.Bytes(), r); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout.String(), stderr.String())
	}
	return r
}

// callCounter stands before the API server, with an admin's rights, and counts.
type callCounter struct {
	URL string

	mu    sync.Mutex // guards calls
	calls map[string]int
}

func countCalls(t *testing.T) *callCounter {
	t.Helper()
	transport, err := rest.TransportFor(shared.Config())
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(shared.URL())
	if err != nil {
		t.Fatal(err)
	}
	c := &callCounter{calls: map[string]int{}}
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.calls[r.Method+" "+r.URL.Path]++
		c.mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	c.URL = s.URL
	return c
}

func (c *callCounter) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.calls)
}

// report logs the calls by path and returns their number.
func (c *callCounter) report(t *testing.T) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, path := range slices.Sorted(maps.Keys(c.calls)) {
		t.Logf("%4d %s", c.calls[path], path)
		n += c.calls[path]
	}
	return n
}

// stack makes objects and deletes them at the end.
type stack struct {
	ctx    context.Context
	t      *testing.T
	client dynamic.Interface
	groups []*restmapper.APIGroupResources
}

func newStack(ctx context.Context, t *testing.T) *stack {
	t.Helper()
	client, err := dynamic.NewForConfig(shared.Config())
	if err != nil {
		t.Fatal(err)
	}
	d, err := discovery.NewDiscoveryClientForConfig(shared.Config())
	if err != nil {
		t.Fatal(err)
	}
	groups, err := restmapper.GetAPIGroupResources(d)
	if err != nil {
		t.Fatal(err)
	}
	return &stack{ctx: ctx, t: t, client: client, groups: groups}
}

func (s *stack) files(names ...string) {
	s.t.Helper()
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			s.t.Fatal(err)
		}
		s.text(text)
	}
}

var documents = regexp.MustCompile(`(?m)^---\s*$`)

func (s *stack) text(manifests []byte) {
	s.t.Helper()
	for _, doc := range documents.Split(string(manifests), -1) {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
			s.t.Fatal(err)
		}
		if len(o.Object) > 0 {
			s.create(o)
		}
	}
}

func (s *stack) create(o *unstructured.Unstructured) {
	s.t.Helper()
	mapping, err := restmapper.NewDiscoveryRESTMapper(s.groups).RESTMapping(o.GroupVersionKind().GroupKind(), o.GroupVersionKind().Version)
	if err != nil {
		s.t.Fatal(err)
	}
	objects := s.client.Resource(mapping.Resource).Namespace(o.GetNamespace())
	if _, err := objects.Create(s.ctx, o, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		s.t.Fatalf("%s %s: %v", o.GetKind(), o.GetName(), err)
	} else if err != nil || o.GetKind() == "Namespace" {
		return // of other tests; and nobody here would finish a namespace's deletion
	}
	s.t.Cleanup(func() {
		err := objects.Delete(context.WithoutCancel(s.ctx), o.GetName(), metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			s.t.Error(err)
		}
	})
}

// alloy makes the ConfigMap of Alloy.
func (s *stack) alloy(file string) {
	s.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	s.create(&unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": "monitoring-alloy", "namespace": "monitoring"}, "data": map[string]any{"config.alloy": string(text)}}})
}

// helmRelease is what Helm keeps of a release, in the form of its first versions
// (not compressed).
func (s *stack) helmRelease() {
	s.t.Helper()
	js, err := json.Marshal(map[string]any{
		"name": "monitoring", "namespace": "monitoring", "version": 1, "info": map[string]any{"status": "deployed"},
		"config": map[string]any{"deploymentMode": "SingleBinary", "monitoring": map[string]any{"lokiCanary": map[string]any{"enabled": false}}},
		"chart":  map[string]any{"metadata": map[string]any{"name": "loki", "version": "6.55.0"}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	name := "sh.helm.release.v1.monitoring.v1"
	_, err = shared.Client().CoreV1().Secrets("monitoring").Create(s.ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"owner": "helm", "name": "monitoring", "status": "deployed", "version": "1"}},
		Type:       "helm.sh/release.v1", StringData: map[string]string{"release": base64.StdEncoding.EncodeToString(js)},
	}, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(fmt.Errorf("%s: %w", name, err))
	}
	s.t.Cleanup(func() {
		if err := shared.Client().CoreV1().Secrets("monitoring").Delete(context.WithoutCancel(s.ctx), name, metav1.DeleteOptions{}); err != nil && !strings.Contains(err.Error(), "not found") {
			s.t.Error(err)
		}
	})
}
