package install

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/kube"
)

// What Grafana's chart and kube-prometheus-stack have their sidecars look for.
const (
	defaultSourceLabel    = "grafana_datasource"
	defaultDashboardLabel = "grafana_dashboard"
	defaultLabelValue     = "1"
)

// FoundGrafana is a Grafana that runs in the cluster, with the sidecars that
// bring ConfigMaps into it (kiwigrid's k8s-sidecar).
type FoundGrafana struct {
	// Workload is its Deployment or StatefulSet, as kind/name.
	Workload  string
	Namespace string
	// Sources and Dashboards are nil where no sidecar loads them.
	Sources, Dashboards *GrafanaSidecar
}

func (g *FoundGrafana) String() string { return g.Workload + " in namespace " + g.Namespace }

// GrafanaSidecar says for which ConfigMaps a sidecar looks, by its environment.
type GrafanaSidecar struct {
	// Label and Value are those of the ConfigMap.
	Label, Value string
	// Namespace is one in which it looks: Grafana's own where it does.
	Namespace string
}

// FindGrafana lists the Grafanas of a namespace, of all if it is "".
func FindGrafana(ctx context.Context, c *kube.Client, namespace string) ([]FoundGrafana, error) {
	var found []FoundGrafana
	look := func(kind string, meta *metav1.ObjectMeta, pod *corev1.PodSpec) {
		if slices.ContainsFunc(pod.Containers, isGrafana) {
			g := FoundGrafana{Workload: kind + "/" + meta.Name, Namespace: meta.Namespace}
			g.sidecars(pod)
			found = append(found, g)
		}
	}
	page := metav1.ListOptions{Limit: 500}
	for {
		list, err := c.Kube.AppsV1().Deployments(namespace).List(ctx, page)
		if err != nil {
			return nil, kube.Explain(err)
		}
		for i := range list.Items {
			look("deployment", &list.Items[i].ObjectMeta, &list.Items[i].Spec.Template.Spec)
		}
		if page.Continue = list.Continue; page.Continue == "" {
			break
		}
	}
	for {
		list, err := c.Kube.AppsV1().StatefulSets(namespace).List(ctx, page)
		if err != nil {
			return nil, kube.Explain(err)
		}
		for i := range list.Items {
			look("statefulset", &list.Items[i].ObjectMeta, &list.Items[i].Spec.Template.Spec)
		}
		if page.Continue = list.Continue; page.Continue == "" {
			break
		}
	}
	slices.SortFunc(found, func(a, b FoundGrafana) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Workload, b.Workload))
	})
	return found, nil
}

// isGrafana recognises the program by its image: grafana/grafana, -oss,
// -enterprise, from any registry, and bitnami/grafana.
func isGrafana(c corev1.Container) bool {
	image, _, _ := strings.Cut(c.Image, "@")
	name, _, _ := strings.Cut(path.Base(image), ":")
	switch name {
	case "grafana", "grafana-oss", "grafana-enterprise":
		return true
	}
	return false
}

// sidecars reads the environment of the containers that load ConfigMaps. They
// are init containers in some versions, or both.
func (g *FoundGrafana) sidecars(pod *corev1.PodSpec) {
	for _, c := range append(slices.Clone(pod.Containers), pod.InitContainers...) {
		env := map[string]string{}
		for _, e := range c.Env {
			env[e.Name] = e.Value
		}
		folder := env["FOLDER"]
		if env["LABEL"] == "" || folder == "" || env["RESOURCE"] == "secret" {
			continue // another program, or one that reads no ConfigMaps
		}
		s := &GrafanaSidecar{Label: env["LABEL"], Value: cmp.Or(env["LABEL_VALUE"], defaultLabelValue), Namespace: g.Namespace}
		if ns := env["NAMESPACE"]; ns != "" && ns != "ALL" {
			all := strings.Split(ns, ",")
			for i := range all {
				all[i] = strings.TrimSpace(all[i])
			}
			if !slices.Contains(all, g.Namespace) {
				s.Namespace = all[0]
			}
		}
		switch {
		case g.Sources == nil && strings.Contains(folder, "provisioning/datasources"):
			g.Sources = s
		// Alerts, plugins and notifiers are provisioned, too; dashboards lie elsewhere.
		case g.Dashboards == nil && !strings.Contains(folder, "/provisioning/"):
			g.Dashboards = s
		}
	}
}

// resolveGrafana fills in what the values leave to the Grafana of the cluster. note
// says what was found, or why nothing was made, in one line; it is "" where the
// values say that there is nothing to do. An error is a Grafana that the values
// demand and that is not there.
func resolveGrafana(ctx context.Context, c *kube.Client, g Grafana) (out Grafana, note string, err error) {
	if g.Enabled == AutoOff || g.complete() {
		return g, "", nil
	}
	found, err := FindGrafana(ctx, c, g.Namespace)
	switch {
	case err != nil && g.Namespace == "" && (g.Enabled == AutoOn || !apierrors.IsForbidden(err)):
		return g, "", fmt.Errorf("looking for a Grafana: %w", err)
	case err != nil && g.Namespace == "":
		return g, "this user may not look for a Grafana: no data source was made; --grafana-namespace names its namespace", nil
	case err != nil:
		return g.withDefaults(), "this user may not look at the Grafana in namespace " + g.Namespace + ": using the usual labels", nil //nolint:nilerr // said in the note
	}
	loaded := slices.DeleteFunc(slices.Clone(found), func(f FoundGrafana) bool { return f.Sources == nil })
	switch len(loaded) {
	case 1:
		return g.from(&loaded[0]), fmt.Sprintf("Grafana is %s: %s", &loaded[0], g.from(&loaded[0]).places()), nil
	case 0:
		why := "no Grafana was found"
		if len(found) > 0 {
			why = fmt.Sprintf("Grafana (%s) has no sidecar that loads data sources from ConfigMaps (values of its chart: sidecar.datasources.enabled: true)", &found[0])
		}
		if g.Namespace != "" {
			return g.withDefaults(), why + " in namespace " + g.Namespace + ": using the usual labels", nil
		}
		if g.Enabled == AutoOn {
			return g, "", fmt.Errorf("grafana.enabled is true: %s", why)
		}
		if len(found) == 0 {
			return g, "", nil // most clusters: not worth a line
		}
		return g, why + ": no data source was made; --grafana-url adds it through Grafana's API", nil
	}
	var names []string
	for i := range loaded {
		names = append(names, loaded[i].String())
	}
	several := fmt.Sprintf("%d Grafanas were found (%s)", len(loaded), strings.Join(names, ", "))
	if g.Enabled == AutoOn || g.Namespace != "" {
		return g, "", fmt.Errorf("%s: name the labels and namespaces of one under grafana in a values file", several)
	}
	return g, several + ": no data source was made; --grafana-namespace names one", nil
}

// complete says whether nothing is left to find out.
func (g Grafana) complete() bool {
	return g.Namespace != "" && g.Label != "" && g.LabelValue != "" &&
		(!g.Dashboards.Enabled || g.Dashboards.Label != "" && g.Dashboards.LabelValue != "")
}

// from lays the values over what the sidecars say.
func (g Grafana) from(f *FoundGrafana) Grafana {
	g.Namespace = f.Sources.Namespace
	g.Label, g.LabelValue = cmp.Or(g.Label, f.Sources.Label), cmp.Or(g.LabelValue, f.Sources.Value)
	if d := &g.Dashboards; f.Dashboards != nil {
		d.Namespace = cmp.Or(d.Namespace, f.Dashboards.Namespace)
		d.Label, d.LabelValue = cmp.Or(d.Label, f.Dashboards.Label), cmp.Or(d.LabelValue, f.Dashboards.Value)
	} else {
		// Nothing would load them, unless somebody knows better.
		d.Enabled = d.Enabled && d.Label != ""
	}
	return g.withDefaults()
}

// withDefaults are the labels of the usual charts where nothing says otherwise.
func (g Grafana) withDefaults() Grafana {
	g.Label, g.LabelValue = cmp.Or(g.Label, defaultSourceLabel), cmp.Or(g.LabelValue, defaultLabelValue)
	d := &g.Dashboards
	d.Namespace = cmp.Or(d.Namespace, g.Namespace)
	d.Label, d.LabelValue = cmp.Or(d.Label, defaultDashboardLabel), cmp.Or(d.LabelValue, defaultLabelValue)
	return g
}

// wanted says whether there is a place for a data source.
func (g Grafana) wanted() bool { return g.Enabled != AutoOff && g.Namespace != "" }

// places says what is made where, for a note.
func (g Grafana) places() string {
	text := fmt.Sprintf("a data source in namespace %s (label %s=%s)", g.Namespace, g.Label, g.LabelValue)
	if d := g.Dashboards; d.Enabled {
		text += fmt.Sprintf(", dashboards in %s (%s=%s)", d.Namespace, d.Label, d.LabelValue)
	}
	return text
}
