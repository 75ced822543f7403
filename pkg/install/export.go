package install

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	sigsyaml "sigs.k8s.io/yaml"
)

// Format is how Export lays out files.
type Format string

// The formats of Export.
const (
	// FormatYAML is one file for kubectl apply.
	FormatYAML Format = "yaml"
	// FormatKustomize is a directory for kubectl apply -k.
	FormatKustomize Format = "kustomize"
	// FormatFlux and FormatArgoCD add the object that makes Flux or Argo CD
	// apply the directory from a repository.
	FormatFlux   Format = "flux"
	FormatArgoCD Format = "argocd"
)

// Formats lists them all.
var Formats = []Format{FormatYAML, FormatKustomize, FormatFlux, FormatArgoCD}

// File is one file of an export; Name is its path with slashes.
type File struct {
	Name string
	Data []byte
}

// ExportNames are the names of all files that Export makes for any values.
var ExportNames = []string{"kustomization.yaml", "namespace.yaml", "rbac.yaml", "release.yaml", "monitoring.yaml", "datasource.yaml", "dashboards.yaml", "flux-kustomization.yaml", "application.yaml", "logstack.yaml"}

// Export returns the files of an installation under GitOps: the objects that Run
// would apply, but for its record, which is for who has no repository. Equal
// values give equal bytes.
func Export(v Values, format Format) ([]File, error) {
	if !slices.Contains(Formats, format) {
		return nil, fmt.Errorf("unknown format %q: yaml, kustomize, flux or argocd", format)
	}
	objs, err := Render(v)
	if err != nil {
		return nil, err
	}
	objs = slices.DeleteFunc(objs, func(o *unstructured.Unstructured) bool {
		return o.GetKind() == "Namespace" && slices.Contains(clusterNamespaces, o.GetName())
	})
	for _, o := range objs {
		if err := guard(o, format); err != nil {
			return nil, err
		}
	}
	if format == FormatYAML {
		data, err := YAML(objs)
		return []File{{"logstack.yaml", data}}, err
	}
	files, err := kustomize(objs)
	if err != nil {
		return nil, err
	}
	switch format {
	case FormatFlux:
		files = append(files, File{"flux-kustomization.yaml", fluxSync(v)})
	case FormatArgoCD:
		files = append(files, File{"application.yaml", argoApplication(v)})
	}
	return files, nil
}

// clusterNamespaces come with every cluster. A repository that has one of them
// would force our PodSecurity level on everybody's pods in it, and prune it with
// our objects. (Run leaves every namespace that it did not make as it is.)
var clusterNamespaces = []string{"default", "kube-system", "kube-public", "kube-node-lease"}

// guard keeps GitOps tools from changing an object. Flux replaces ${NAME} in
// everything that it applies when its Kustomization has postBuild, and an
// unknown name becomes nothing.
func guard(o *unstructured.Unstructured, format Format) error {
	if format != FormatFlux {
		return nil
	}
	data, err := sigsyaml.Marshal(o.Object)
	if err != nil {
		return err
	}
	if bytes.Contains(data, []byte("${")) {
		annotations := o.GetAnnotations()
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations["kustomize.toolkit.fluxcd.io/substitute"] = "disabled"
		o.SetAnnotations(annotations)
	}
	return nil
}

// kustomize lays objects out as people lay out a component by hand: what it
// is, what runs, and what Grafana reads.
func kustomize(objs []*unstructured.Unstructured) ([]File, error) {
	group := func(o *unstructured.Unstructured) string {
		switch o.GetKind() {
		case "Namespace":
			return "namespace.yaml"
		case "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding":
			return "rbac.yaml"
		case "ServiceMonitor", "PrometheusRule":
			return "monitoring.yaml"
		case "ConfigMap":
			switch {
			case strings.HasPrefix(o.GetName(), dashboardName):
				return "dashboards.yaml"
			case o.GetName() != limitsName:
				return "datasource.yaml"
			}
		}
		return "release.yaml"
	}
	var names []string
	groups := map[string][]*unstructured.Unstructured{}
	for _, o := range objs {
		name := group(o)
		if groups[name] == nil {
			names = append(names, name)
		}
		groups[name] = append(groups[name], o)
	}
	var top strings.Builder
	top.WriteString("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n")
	files := make([]File, 1, len(names)+2)
	for _, name := range names {
		data, err := YAML(groups[name])
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&top, "  - %s\n", name)
		files = append(files, File{name, data})
	}
	files[0] = File{"kustomization.yaml", []byte(top.String())}
	return files, nil
}

// fluxSync is for the directory that Flux reads itself (clusters/NAME): it is
// not among the resources of kustomization.yaml.
func fluxSync(v Values) []byte {
	return fmt.Appendf(nil, `# Move this file to where Flux looks for its own objects (clusters/NAME), and
# name the repository and the path of the other files in it.
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata:
  name: logstack
  namespace: flux-system
spec:
  interval: 10m
  timeout: 3m
  prune: true
  wait: true
  sourceRef:
    kind: GitRepository
    name: flux-system
  path: ./infrastructure/logstack
  healthChecks:
    - apiVersion: apps/v1
      kind: StatefulSet
      name: %s
      namespace: %s
`, Name, v.Namespace)
}

func argoApplication(v Values) []byte {
	return fmt.Appendf(nil, `# Apply this file to the cluster that Argo CD runs in, after naming the
# repository and the path of the other files in it.
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata:
  name: logstack
  namespace: argocd
spec:
  project: default
  source:
    repoURL: https://example.org/gitops.git
    targetRevision: main
    path: infrastructure/logstack
  destination:
    server: https://kubernetes.default.svc
    namespace: %s
  syncPolicy:
    automated: {prune: true, selfHeal: true}
    syncOptions: [ServerSideApply=true]
`, v.Namespace)
}
