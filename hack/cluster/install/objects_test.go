package install

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// kinds are those of everything that an installation may make.
var kinds = []schema.GroupVersionResource{
	{Version: "v1", Resource: "serviceaccounts"}, {Version: "v1", Resource: "services"}, {Version: "v1", Resource: "configmaps"}, {Version: "v1", Resource: "secrets"},
	{Group: "apps", Version: "v1", Resource: "statefulsets"}, {Group: "apps", Version: "v1", Resource: "deployments"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"}, {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"}, {Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"},
	{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"}, {Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
}

// installed lists the objects of an installation as YAML without what the API
// server adds for itself, by kind, namespace and name; its record is left out.
func installed(t *testing.T, namespace string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, gvr := range kinds {
		list, err := objects.Resource(gvr).List(context.Background(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/part-of=logstack"})
		if err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			o := &list.Items[i]
			ours := o.GetNamespace() == namespace || strings.HasSuffix(o.GetName(), "-"+namespace) ||
				namespace == "logstack" && (o.GetName() == "logstack-collector" || o.GetName() == "logstack-node-logs")
			if !ours || o.GetName() == "logstack-install" {
				continue
			}
			out[o.GetKind()+" "+o.GetNamespace()+" "+o.GetName()] = bare(t, o)
		}
	}
	return out
}

func bare(t *testing.T, o *unstructured.Unstructured) string {
	t.Helper()
	o = o.DeepCopy()
	for _, f := range []string{"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"} {
		unstructured.RemoveNestedField(o.Object, "metadata", f)
	}
	unstructured.RemoveNestedField(o.Object, "metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration")
	if len(o.GetAnnotations()) == 0 {
		o.SetAnnotations(nil)
	}
	unstructured.RemoveNestedField(o.Object, "status")
	for _, f := range []string{"clusterIP", "clusterIPs"} { // chosen by the API server
		if o.GetKind() == "Service" {
			if ip, _, _ := unstructured.NestedString(o.Object, "spec", f); ip != "None" {
				unstructured.RemoveNestedField(o.Object, "spec", f)
			}
		}
	}
	text, err := yaml.Marshal(o.Object)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// compare tells what differs between two sets of objects.
func compare(t *testing.T, what string, want, got map[string]string) {
	t.Helper()
	for id := range want {
		switch {
		case got[id] == "":
			t.Errorf("%s: %s is missing", what, id)
		case got[id] != want[id]:
			t.Errorf("%s: %s differs\nwant:\n%s\ngot:\n%s", what, id, want[id], got[id])
		}
	}
	for id := range got {
		if want[id] == "" {
			t.Errorf("%s: %s is too much", what, id)
		}
	}
}

// values has everything that adds objects and needs nothing of others.
const values = `
namespaces: [default, kube-system]
limits: {max_line_size: 1MB}
retention: 3d
`

// TestExportIsWhatInstallApplies applies an export with kubectl -k, and the base of
// the repository, and compares with what install makes of the same values.
func TestExportIsWhatInstallApplies(t *testing.T) {
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{"defaults": nil, "values": {"--values", file}} {
		t.Run(name, func(t *testing.T) {
			namespace := "export-" + name
			args := append([]string{"-n", namespace}, args...)
			remove(t, namespace)
			plugin(t, append([]string{"install", "--wait=false"}, args...)...).want(t, 0)
			want := installed(t, namespace)
			endPods(t, namespace)
			plugin(t, "uninstall", "-n", namespace).want(t, 0, "kept: namespace/"+namespace)
			if left := installed(t, namespace); len(left) > 0 {
				t.Fatalf("left over: %v", left)
			}
			for _, format := range []string{"kustomize", "flux", "argocd"} {
				dir := filepath.Join(t.TempDir(), format)
				plugin(t, append([]string{"export", dir, "--format", format}, args...)...).want(t, 0)
				kubectl(t, "", "apply", "-k", dir)
				compare(t, format, want, installed(t, namespace))
				endPods(t, namespace)
				kubectl(t, "", "delete", "-k", dir, "--timeout=60s", "--ignore-not-found")
			}
		})
	}
	t.Run("base", func(t *testing.T) {
		plugin(t, "install", "--wait=false", "--image", "ghcr.io/logstack-dev/collector:dev").want(t, 0)
		remove(t, "logstack")
		want := installed(t, "logstack")
		endPods(t, "logstack")
		plugin(t, "uninstall").want(t, 0)
		kubectl(t, "", "apply", "-k", filepath.Join(root, "manifests"))
		for id := range want {
			want[id] = strings.ReplaceAll(want[id], "    app.kubernetes.io/version: "+pluginVersion+"\n", "")
		}
		compare(t, "base", want, installed(t, "logstack"))
	})
}

// TestInstallIsIdempotent: a second run changes nothing, a value that is taken
// back takes its object with it, and diff says both before.
func TestInstallIsIdempotent(t *testing.T) {
	const namespace = "again"
	remove(t, namespace)
	plugin(t, "diff", "-n", namespace).want(t, 1, "+++ new/again/statefulset/logstack", "objects would change")
	plugin(t, "install", "-n", namespace, "--wait=false").want(t, 0, "statefulset/logstack created")
	before := installed(t, namespace)
	r := plugin(t, "install", "-n", namespace, "--wait=false")
	r.want(t, 0, "statefulset/logstack unchanged")
	for _, word := range []string{" created", " configured", " deleted"} {
		if strings.Contains(r.stderr, word) {
			t.Errorf("%q in:\n%s", word, r.stderr)
		}
	}
	compare(t, "again", before, installed(t, namespace))
	plugin(t, "diff", "-n", namespace).want(t, 0, "nothing would change")
	plugin(t, "diff", "-n", namespace, "--set", "networkPolicy=false", "--retention", "30d").want(t, 1,
		"--- live/again/networkpolicy/logstack\n+++ /dev/null", "-        - --retention=7d\n+        - --retention=30d", "2 of ")
	plugin(t, "install", "-n", namespace, "--set", "networkPolicy=false", "--dry-run=server").want(t, 0, "networkpolicy/logstack deleted", "the API server accepts it")
	compare(t, "a dry run", before, installed(t, namespace))
	plugin(t, "install", "-n", namespace, "--set", "networkPolicy=false", "--wait=false").want(t, 0, "networkpolicy/logstack deleted")
	if _, there := installed(t, namespace)["NetworkPolicy "+namespace+" logstack"]; there {
		t.Error("the NetworkPolicy is still there")
	}
}

// TestUpgradeFromEarlier: what earlier releases installed becomes what a fresh
// installation with the same values is; the volume stays, nothing is left over.
func TestUpgradeFromEarlier(t *testing.T) {
	samples, err := filepath.Glob(filepath.Join(root, "pkg/install/testdata/installations/*/*.yaml"))
	if err != nil || len(samples) < 4 {
		t.Fatalf("%d samples, %v", len(samples), err)
	}
	for _, sample := range samples {
		t.Run(filepath.Base(filepath.Dir(sample))+"/"+filepath.Base(sample), func(t *testing.T) {
			text, err := os.ReadFile(sample)
			if err != nil {
				t.Fatal(err)
			}
			namespace := "logstack"
			if strings.Contains(string(text), "namespace: logging\n") {
				namespace = "logging"
			}
			for _, ns := range []string{namespace, "monitoring"} {
				kubectl(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+ns+"}\n", "apply", "-f", "-")
			}
			remove(t, namespace)
			kubectl(t, "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: local-path}\nprovisioner: example.org/none\n", "apply", "-f", "-")
			kubectl(t, "apiVersion: v1\nkind: Secret\nmetadata: {name: mirror, namespace: "+namespace+"}\n", "apply", "-f", "-")
			kubectl(t, "", "label", "node", "node-a", "kubernetes.io/arch=arm64", "--overwrite")
			kubectl(t, string(text), "apply", "--server-side", "--field-manager=kubectl-logstack", "-f", "-")
			uid := claimUID(t, namespace)

			r := plugin(t, "upgrade", "-n", namespace, "--wait=false")
			r.want(t, 0, "statefulset/logstack configured")
			if got := claimUID(t, namespace); got != uid {
				t.Error("the volume claim was replaced")
			}
			got := installed(t, namespace)
			// What a fresh installation with the recorded values is.
			record := kubectl(t, "", "get", "configmap", "-n", namespace, "logstack-install", "-o", `jsonpath={.data.values\.yaml}`)
			file := filepath.Join(t.TempDir(), "values.yaml")
			if err := os.WriteFile(file, []byte(record), 0o600); err != nil {
				t.Fatal(err)
			}
			endPods(t, namespace)
			if r := plugin(t, "uninstall", "-n", namespace); strings.Contains(r.stderr, "kept: persistentvolumeclaim/data-logstack-0") != (uid != "") {
				t.Errorf("uninstall: %d\n%s", r.code, r.stderr)
			}
			if left := installed(t, namespace); len(left) > 0 {
				t.Errorf("left over: %v", left)
			}
			plugin(t, "install", "-n", namespace, "--values", file, "--wait=false").want(t, 0)
			compare(t, "fresh", installed(t, namespace), got)
			// Values that the sample had are kept.
			for sign, value := range map[string]string{"--retention=3d": "retention: 3d", "registry.example:5000": "registry.example:5000"} {
				if strings.Contains(string(text), sign) && !strings.Contains(record, value) {
					t.Errorf("%s was lost:\n%s", value, record)
				}
			}
		})
	}
}

// endPods takes the StatefulSet and its pods away as if a kubelet had ended them.
func endPods(t *testing.T, namespace string) {
	t.Helper()
	kubectl(t, "", "delete", "statefulset", "-n", namespace, "--all", "--cascade=orphan")
	kubectl(t, "", "delete", "pods", "-n", namespace, "--all", "--force", "--grace-period=0")
}

// claimUID waits for the claim that the StatefulSet's controller makes, and returns
// its uid; "" where the logs are kept in the pod.
func claimUID(t *testing.T, namespace string) (uid string) {
	t.Helper()
	if templates := kubectl(t, "", "get", "statefulset", "-n", namespace, "logstack", "-o", "jsonpath={.spec.volumeClaimTemplates}"); templates == "" {
		return ""
	}
	eventually(t, func() string {
		uid = kubectl(t, "", "get", "pvc", "-n", namespace, "data-logstack-0", "-o", "jsonpath={.metadata.uid}", "--ignore-not-found")
		if uid == "" {
			return "the controller has made no claim"
		}
		return ""
	})
	return uid
}

// TestServiceMonitor: it is made where the cluster knows the kind, and only there.
func TestServiceMonitor(t *testing.T) {
	const namespace = "monitored"
	remove(t, namespace)
	plugin(t, "install", "-n", namespace, "--wait=false", "--set", "serviceMonitor=true").want(t, 1, "the cluster does not know monitoring.coreos.com/v1, Kind=ServiceMonitor")
	r := plugin(t, "install", "-n", namespace, "--wait=false", "--set", "serviceMonitor=auto")
	r.want(t, 0)
	if strings.Contains(r.stderr, "servicemonitor") {
		t.Errorf("without the kind:\n%s", r.stderr)
	}
	kubectl(t, serviceMonitorCRD, "apply", "-f", "-")
	t.Cleanup(func() { kubectl(t, "", "delete", "crd", "servicemonitors.monitoring.coreos.com") })
	kubectl(t, "", "wait", "--for=condition=Established", "crd/servicemonitors.monitoring.coreos.com", "--timeout=30s")
	if err := os.RemoveAll(filepath.Join(home, ".kube")); err != nil { // what discovery remembers
		t.Fatal(err)
	}
	plugin(t, "install", "-n", namespace, "--wait=false").want(t, 0, "servicemonitor/logstack created")
	plugin(t, "install", "-n", namespace, "--wait=false", "--set", "serviceMonitor=false").want(t, 0, "servicemonitor/logstack deleted")
}

const serviceMonitorCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: servicemonitors.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  names: {kind: ServiceMonitor, plural: servicemonitors, singular: servicemonitor, listKind: ServiceMonitorList}
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

// TestKinds: a kind that an installation makes and the tests above do not list
// would be compared by nobody.
func TestKinds(t *testing.T) {
	r := plugin(t, "install", "--dry-run=client", "--set", "namespaces=[a]")
	r.want(t, 0)
	for line := range strings.Lines(r.stdout) {
		kind, ok := strings.CutPrefix(line, "kind: ")
		if !ok || strings.TrimSpace(kind) == "Namespace" {
			continue
		}
		plural := strings.ToLower(strings.TrimSpace(kind))
		if !slices.ContainsFunc(kinds, func(k schema.GroupVersionResource) bool {
			return k.Resource == plural+"s" || k.Resource == strings.TrimSuffix(plural, "y")+"ies"
		}) {
			t.Errorf("%s is not in the list of the tests", plural)
		}
	}
}
