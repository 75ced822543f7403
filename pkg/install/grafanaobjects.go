package install

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/logstack-dev/kubectl-logstack/manifests"
	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
	"github.com/logstack-dev/kubectl-logstack/pkg/version"
)

// sourceUID is the uid of the data source, to which dashboards refer. A second
// installation is a second data source.
func sourceUID(v Values) string { return Name + suffix(v) }

// suffix tells the objects of several installations apart where they meet.
func suffix(v Values) string {
	if v.Namespace == Name {
		return ""
	}
	return "-" + v.Namespace
}

// fillDatasource moves the data source into Grafana's namespace and points it at
// the installation.
func fillDatasource(o *unstructured.Unstructured, v Values) error {
	o.SetNamespace(v.Grafana.Namespace)
	labels := o.GetLabels()
	delete(labels, defaultSourceLabel)
	labels[v.Grafana.Label] = v.Grafana.LabelValue
	o.SetLabels(labels)
	file := o.GetName() + ".yaml"
	text, _, err := unstructured.NestedString(o.Object, "data", file)
	if err != nil {
		return err
	}
	scheme := "http"
	if v.TLS.SecretName != "" {
		scheme = "https"
	}
	unstructured.RemoveNestedField(o.Object, "data", file)
	o.SetName(datasourceName + suffix(v))
	text = strings.NewReplacer(
		"http://logstack.logstack.svc", scheme+"://"+Name+"."+v.Namespace+".svc",
		"name: logstack\n", "name: "+sourceUID(v)+"\n", "uid: logstack\n", "uid: "+sourceUID(v)+"\n",
	).Replace(text)
	text += grafanaSecrets(v.Grafana)
	return unstructured.SetNestedField(o.Object, text, "data", o.GetName()+".yaml")
}

// grafanaSecrets continues a data source after its jsonData: what Grafana sends
// and whom it trusts, by names that it resolves itself.
func grafanaSecrets(g Grafana) string {
	var json, secure string
	if g.CA != "" {
		json += "      tlsAuthWithCACert: true\n"
		secure += "      tlsCACert: " + g.CA + "\n"
	}
	if g.Token != "" {
		json += "      httpHeaderName1: Authorization\n"
		secure += "      httpHeaderValue1: Bearer " + g.Token + "\n"
	}
	if secure == "" {
		return ""
	}
	return json + "    secureJsonData:\n" + secure
}

// dashboardName begins the names of the ConfigMaps with dashboards.
const dashboardName = Name + "-dashboard-"

// dashboards makes a ConfigMap for each dashboard of manifests/dashboards.
func dashboards(v Values) ([]*unstructured.Unstructured, error) {
	if !v.Grafana.wanted() || !v.Grafana.Dashboards.Enabled {
		return nil, nil
	}
	all, err := dashboardFiles(v)
	if err != nil {
		return nil, err
	}
	var out []*unstructured.Unstructured
	for _, d := range all {
		out = append(out, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": map[string]any{
				"name": dashboardName + d.name, "namespace": v.Grafana.Dashboards.Namespace,
				"labels": map[string]any{
					"app.kubernetes.io/name": Name, "app.kubernetes.io/part-of": Name, managedBy: kube.FieldManager,
					"app.kubernetes.io/version": version.Version,
					v.Grafana.Dashboards.Label:  v.Grafana.Dashboards.LabelValue,
				},
			},
			// The sidecar writes all ConfigMaps into one directory: the name must be ours.
			"data": map[string]any{Name + "-" + d.name + ".json": string(d.text)},
		}})
	}
	return out, nil
}

// dashboard is one for an installation.
type dashboard struct {
	// name is that of its file, and of the namespace where it is not the usual one.
	name string
	text []byte
}

func dashboardFiles(v Values) ([]dashboard, error) {
	files, err := fs.Glob(manifests.Dashboards, "dashboards/*.json")
	if err != nil {
		return nil, err
	}
	var out []dashboard
	for _, file := range files {
		text, err := manifests.Dashboards.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if v.Namespace != Name {
			if text, err = ofInstallation(text, v); err != nil {
				return nil, fmt.Errorf("BUG: manifests/%s: %w", file, err)
			}
		}
		out = append(out, dashboard{strings.TrimSuffix(path.Base(file), ".json") + suffix(v), text})
	}
	return out, nil
}

// ofInstallation gives a dashboard its own uid and title, and the data source of
// the installation as the first choice of its variable.
func ofInstallation(text []byte, v Values) ([]byte, error) {
	var d map[string]any
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, err
	}
	d["uid"], d["title"] = fmt.Sprint(d["uid"], suffix(v)), fmt.Sprintf("%s (%s)", d["title"], v.Namespace)
	variables, _, err := unstructured.NestedSlice(d, "templating", "list")
	if err != nil {
		return nil, err
	}
	for _, each := range variables {
		if variable := each.(map[string]any); variable["name"] == "datasource" && variable["query"] == "loki" {
			variable["current"] = map[string]any{"selected": true, "text": sourceUID(v), "value": sourceUID(v)}
		}
	}
	if err := unstructured.SetNestedSlice(d, variables, "templating", "list"); err != nil {
		return nil, err
	}
	return json.MarshalIndent(d, "", "  ")
}
