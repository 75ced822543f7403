// Package manifests holds the Kubernetes objects of an installation: a
// kustomize base that `kubectl apply -k` takes as it is, and the same files
// embedded for pkg/install, which fills in the values. One source for both.
package manifests

import "embed"

// Files are the YAML files of the base.
//
//go:embed *.yaml
var Files embed.FS

// Order lists the files in the order in which they are applied: what others
// need first. Rules for alerts (alerts.yaml) come after them.
var Order = []string{
	"namespace.yaml", "rbac.yaml", "node-files.yaml", "replicas.yaml", "networkpolicy.yaml", "service.yaml", "limits.yaml", "statefulset.yaml",
	"servicemonitor.yaml", "grafana-datasource.yaml",
}
