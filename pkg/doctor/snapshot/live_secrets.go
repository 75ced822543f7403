package snapshot

import (
	"context"
	"encoding/json"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// secrets gets those that collectors mount, and Helm's releases of log charts.
// Secrets are never listed with their data.
func (l *live) secrets(ctx context.Context) {
	type name struct{ ns, name string }
	var want []name
	for _, c := range l.s.d.stacks {
		if !c.Product.IsCollector() {
			continue
		}
		for _, v := range c.Template.Spec.Volumes {
			if v.Secret != nil {
				want = append(want, name{c.Namespace(), v.Secret.SecretName})
			}
		}
	}
	for _, n := range l.helmSecrets(ctx) {
		want = append(want, name{n[0], n[1]})
	}
	for _, n := range want {
		if _, have := Find(list[corev1.Secret](l.s, Secrets), n.ns, n.name); have {
			continue
		}
		sec, err := l.c.Kube.CoreV1().Secrets(n.ns).Get(ctx, n.name, metav1.GetOptions{})
		switch {
		case err == nil:
			sec.ManagedFields = nil
			l.s.d.objects[Secrets] = append(l.s.d.objects[Secrets], sec)
		case !apierrors.IsNotFound(err):
			l.miss(Secrets, Right{Verb: "get", Resource: string(Secrets), Namespace: n.ns}, err)
		}
	}
}

// maxValuesFrom bounds the Gets of values that HelmReleases refer to.
const maxValuesFrom = 16

// valuesFrom gets the ConfigMaps and Secrets that HelmReleases of log charts take
// values from.
func (l *live) valuesFrom(ctx context.Context) {
	n := 0
	for _, u := range l.s.HelmReleases() {
		if !looksLikeLogs(str(u, "spec", "chart", "spec", "chart")) && !looksLikeLogs(u.GetName()) {
			continue
		}
		for _, v := range valuesFrom(u) {
			if _, have := l.s.valuesText(u.GetNamespace(), v); have || n == maxValuesFrom || v.kind != "ConfigMap" && v.kind != "Secret" {
				continue
			}
			n++
			in := Input(strings.ToLower(v.kind) + "s")
			var o object
			var err error
			if v.kind == "Secret" {
				o, err = l.c.Kube.CoreV1().Secrets(u.GetNamespace()).Get(ctx, v.name, metav1.GetOptions{})
			} else {
				o, err = l.c.Kube.CoreV1().ConfigMaps(u.GetNamespace()).Get(ctx, v.name, metav1.GetOptions{})
			}
			switch {
			case err == nil:
				o.SetManagedFields(nil)
				l.s.d.objects[in] = append(l.s.d.objects[in], o)
			case apierrors.IsForbidden(err):
				l.s.d.refused[v.kind+"/"+u.GetNamespace()+"/"+v.name] = &Right{Verb: "get", Resource: string(in), Namespace: u.GetNamespace()}
			}
		}
	}
}

// helmSecrets finds the newest deployed revisions by metadata alone: only
// those of releases that a workload of a log stack belongs to, then others,
// up to a limit. The secret of a Flux release stands in another namespace.
func (l *live) helmSecrets(ctx context.Context) [][2]string {
	opts := metav1.ListOptions{LabelSelector: "owner=helm", FieldSelector: "type=helm.sh/release.v1", Limit: pageSize}
	right := Right{Verb: "list", Resource: string(Secrets)}
	namespaces := []string{""}
	if !l.all && !l.may(ctx, right) {
		namespaces = nil
		for _, ns := range l.s.stackNamespaces() {
			right.Namespace = ns
			if l.may(ctx, right) {
				namespaces = append(namespaces, ns)
			}
		}
		if namespaces == nil {
			right.Namespace = ""
			l.miss(Secrets, right, nil)
			return nil
		}
		l.s.d.scope[Secrets] = namespaces
	}
	type release struct {
		ns, name, secret string
		revision         string
	}
	newest := map[string]release{}
	for _, ns := range namespaces {
		items, err := l.secretMeta(ctx, ns, opts)
		if err != nil {
			l.miss(Secrets, Right{Verb: "list", Resource: string(Secrets), Namespace: ns}, err)
			continue
		}
		for _, m := range items {
			r := release{m.GetNamespace(), m.GetLabels()["name"], m.GetName(), m.GetLabels()["version"]}
			if st := m.GetLabels()["status"]; st == "superseded" {
				continue
			}
			key := r.ns + "/" + r.name
			if old, ok := newest[key]; !ok || len(r.revision) > len(old.revision) || len(r.revision) == len(old.revision) && r.revision > old.revision {
				newest[key] = r
			}
		}
	}
	ours := map[string]bool{}
	for _, c := range l.s.d.stacks {
		ours[c.Release] = true
	}
	var first, rest [][2]string
	for _, key := range sortedKeys(newest) {
		r := newest[key]
		if ours[r.name] || looksLikeLogs(r.name) {
			first = append(first, [2]string{r.ns, r.secret})
		} else {
			rest = append(rest, [2]string{r.ns, r.secret})
		}
	}
	// A broken release has no workloads: with few releases, look at all.
	if len(first)+len(rest) <= maxReleases/2 {
		first = append(first, rest...)
	}
	return first[:min(len(first), maxReleases)]
}

func looksLikeLogs(release string) bool {
	for _, w := range []string{"loki", "alloy", "promtail", "grafana", "fluent", "vector", "logs", "logging", "monitoring", "observability"} {
		if strings.Contains(release, w) {
			return true
		}
	}
	return false
}

// secretMeta lists metadata only: the data of Helm's secrets is megabytes.
func (l *live) secretMeta(ctx context.Context, namespace string, opts metav1.ListOptions) ([]metav1.PartialObjectMetadata, error) {
	rc := l.c.Kube.CoreV1().RESTClient()
	if l.c.Config == nil {
		secrets, err := l.c.Kube.CoreV1().Secrets(namespace).List(ctx, opts)
		if err != nil {
			return nil, err
		}
		var out []metav1.PartialObjectMetadata
		for _, s := range secrets.Items {
			out = append(out, metav1.PartialObjectMetadata{ObjectMeta: s.ObjectMeta})
		}
		return out, nil
	}
	req := rc.Get().Resource("secrets").VersionedParams(&opts, metav1.ParameterCodec).
		SetHeader("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
	if namespace != "" {
		req = req.Namespace(namespace)
	}
	body, err := req.Do(ctx).Raw()
	if err != nil {
		return nil, err
	}
	var list metav1.PartialObjectMetadataList
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, err
	}
	return list.Items, nil
}
