package install

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/logstack-dev/kubectl-logstack/manifests"
)

// exported are the values of the golden exports: everything that adds an object.
func exported() Values {
	v := DefaultValues()
	v.Image.Tag = "v0.1.0"
	v.Grafana.Namespace = "monitoring"
	return v
}

func TestExportGolden(t *testing.T) {
	for _, format := range Formats {
		t.Run(string(format), func(t *testing.T) {
			v := exported()
			// Thousands of lines; TestExportIsWhatInstallApplies looks at them.
			v.Grafana.Dashboards.Enabled = false
			files, err := Export(v, format)
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join("testdata", "export", string(format))
			var names []string
			for _, f := range files {
				names = append(names, f.Name)
				if !slices.Contains(ExportNames, f.Name) {
					t.Errorf("%s is not among ExportNames", f.Name)
				}
				golden := filepath.Join(dir, f.Name)
				if *update {
					if err := os.MkdirAll(dir, 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(golden, f.Data, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(string(want), string(f.Data)); d != "" {
					t.Errorf("%s: %s", f.Name, d)
				}
			}
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) != len(files) {
				t.Errorf("%d golden files, exported %s, %v", len(entries), strings.Join(names, ", "), err)
			}
		})
	}
	if _, err := Export(exported(), "helm"); err == nil {
		t.Error("an unknown format was exported")
	}
}

// build runs kustomize over files.
func build(t *testing.T, files map[string][]byte) map[string]map[string]any {
	t.Helper()
	fs := filesys.MakeFsInMemory()
	for name, data := range files {
		if err := fs.WriteFile(path.Join("/base", name), data); err != nil {
			t.Fatal(err)
		}
	}
	res, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(fs, "/base")
	if err != nil {
		t.Fatal(err)
	}
	text, err := res.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	objs, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	return byID(objs)
}

func byID(objs []*unstructured.Unstructured) map[string]map[string]any {
	out := map[string]map[string]any{}
	for _, o := range objs {
		out[objectID(o)] = o.Object
	}
	return out
}

// What `kubectl apply -k` makes of an export is what Run applies.
func TestExportIsWhatInstallApplies(t *testing.T) {
	v := exported()
	objs, err := Render(v)
	if err != nil {
		t.Fatal(err)
	}
	// Through YAML and back, so that numbers have one type.
	text, err := YAML(objs)
	if err != nil {
		t.Fatal(err)
	}
	if objs, err = decode(text); err != nil {
		t.Fatal(err)
	}
	for _, format := range []Format{FormatKustomize, FormatFlux, FormatArgoCD} {
		t.Run(string(format), func(t *testing.T) {
			files, err := Export(v, format)
			if err != nil {
				t.Fatal(err)
			}
			all := map[string][]byte{}
			for _, f := range files {
				all[f.Name] = f.Data
			}
			got := build(t, all)
			if format == FormatFlux {
				withoutGuard(t, got)
			}
			if d := cmp.Diff(byID(objs), got); d != "" {
				t.Error(d)
			}
		})
	}
}

// withoutGuard takes the annotation off that an export for Flux adds to objects
// in which Flux would take something for a variable of its own.
func withoutGuard(t *testing.T, objs map[string]map[string]any) {
	t.Helper()
	guarded := 0
	for id, o := range objs {
		text, err := sigsyaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		meta := o["metadata"].(map[string]any)
		annotations, _ := meta["annotations"].(map[string]any)
		const substitute = "kustomize.toolkit.fluxcd.io/substitute"
		if strings.Contains(string(text), "${") != (annotations[substitute] == "disabled") {
			t.Errorf("%s: has ${ in it, or is guarded, but not both", id)
		}
		if annotations[substitute] != nil {
			guarded++
			if delete(annotations, substitute); len(annotations) == 0 {
				delete(meta, "annotations")
			}
		}
	}
	if guarded == 0 {
		t.Error("no object is guarded: the dashboards have variables")
	}
}

// The base in manifests/ gives the objects of the default values, but for the
// version label and the fields that the values set to what they already are.
func TestBaseIsTheDefault(t *testing.T) {
	all := map[string][]byte{}
	entries, err := manifests.Files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if all[e.Name()], err = manifests.Files.ReadFile(e.Name()); err != nil {
			t.Fatal(err)
		}
	}
	objs, err := Render(DefaultValues())
	if err != nil {
		t.Fatal(err)
	}
	text, err := YAML(objs)
	if err != nil {
		t.Fatal(err)
	}
	if objs, err = decode(text); err != nil {
		t.Fatal(err)
	}
	for _, o := range objs {
		labels := o.GetLabels()
		delete(labels, "app.kubernetes.io/version")
		o.SetLabels(labels)
	}
	got := build(t, all)
	for id, want := range byID(objs) {
		claims, _, _ := unstructured.NestedSlice(want, "spec", "volumeClaimTemplates")
		for _, c := range claims {
			delete(c.(map[string]any), "apiVersion")
			delete(c.(map[string]any), "kind")
		}
		if len(claims) > 0 {
			if err := unstructured.SetNestedSlice(want, claims, "spec", "volumeClaimTemplates"); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff(want, got[id]); d != "" {
			t.Errorf("%s: %s", id, d)
		}
		delete(got, id)
	}
	for id := range got {
		t.Errorf("only in the base: %s", id)
	}
}

// A second installation's data source must not replace the first one's.
func TestDatasourceOfASecondInstallation(t *testing.T) {
	v := exported()
	v.Namespace, v.Grafana.Label, v.Grafana.LabelValue = "audit", "my/datasource", "yes"
	objs, err := Render(v)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objs {
		if o.GetKind() != "ConfigMap" {
			continue
		}
		text, _, _ := unstructured.NestedString(o.Object, "data", "logstack-datasource-audit.yaml")
		for _, want := range []string{"name: logstack-audit\n", "uid: logstack-audit\n", "url: http://logstack.audit.svc:3100\n", "isDefault: false\n"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is missing in\n%s", want, text)
			}
		}
		if o.GetName() != "logstack-datasource-audit" || o.GetNamespace() != "monitoring" || o.GetLabels()["my/datasource"] != "yes" || o.GetLabels()["grafana_datasource"] != "" {
			t.Errorf("%s %v", objectID(o), o.GetLabels())
		}
		return
	}
	t.Error("no data source")
}

// TestExportLeavesTheClustersNamespaces: kubectl apply -k must not put
// PodSecurity "restricted" on kube-system.
func TestExportLeavesTheClustersNamespaces(t *testing.T) {
	for namespace, want := range map[string]bool{"kube-system": false, "default": false, "logs": true} {
		for _, format := range Formats {
			v := DefaultValues()
			v.Namespace = namespace
			files, err := Export(v, format)
			if err != nil {
				t.Fatal(err)
			}
			has := slices.ContainsFunc(files, func(f File) bool { return strings.Contains(string(f.Data), "kind: Namespace\n") })
			if has != want {
				t.Errorf("%s as %s: a Namespace: %v", namespace, format, has)
			}
		}
	}
}
