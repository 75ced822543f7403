package doctor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/data"
	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// gitopsChecks are those of Flux and Argo CD.
func gitopsChecks() []Check {
	return []Check{
		{
			Code: "LS0621", Severity: Error, Title: "Flux's HelmReleases of log stacks are ready",
			Explain: "The condition Ready of the HelmRelease is quoted: a failed install or upgrade, a chart that was not found, retries that are exhausted, or a suspended release that follows nothing any more.",
			Fix:     "flux reconcile hr NAME -n NAMESPACE --force, once the cause in the message is mended",
			Needs:   []snapshot.Input{snapshot.HelmReleases}, Applies: func(s *snapshot.Snapshot) bool { return len(logHelmReleases(s)) > 0 }, Transient: true,
			Run: helmReleasesReady,
		},
		{
			Code: "LS0622", Severity: Error, Title: "Flux's substitution leaves ${1} alone",
			Explain: "A Flux Kustomization with postBuild substitutes ${...} in everything it applies. A relabel rule's ${1}_${2} becomes an empty word (or an error in strict mode), and the path /var/log/pods/${1}_${2}_${3}/${4} becomes /var/log/pods/__//. It has to be written $${1}, or the object be annotated.",
			Fix:     "write $${1} for ${1}, or annotate the object: kustomize.toolkit.fluxcd.io/substitute: disabled",
			Needs:   []snapshot.Input{snapshot.Kustomizations}, Uses: []snapshot.Input{snapshot.HelmReleases, snapshot.ConfigMaps},
			Applies: func(s *snapshot.Snapshot) bool { return len(substituting(s)) > 0 },
			Run:     substituted,
		},
		{
			Code: "LS0623", Severity: Warning, Title: "Argo CD's Applications of log stacks are synced and healthy",
			Explain: "The sync and health status of the Application is quoted. Argo CD only runs helm template: there is no Helm release to look at.",
			Fix:     "argocd app get NAME shows what differs; argocd app sync NAME",
			Needs:   []snapshot.Input{snapshot.Applications}, Applies: func(s *snapshot.Snapshot) bool { return len(logApplications(s)) > 0 }, Transient: true,
			Run: applicationsHealthy,
		},
		{
			Code: "LS0624", Severity: Warning, Title: "HelmReleases use the current API version",
			Explain: "helm.toolkit.fluxcd.io/v2beta1 and v2beta2 are deprecated and removed from new versions of Flux: a manifest that names them is refused then.",
			Fix:     "flux migrate -f FILE, or write apiVersion: helm.toolkit.fluxcd.io/v2",
			Needs:   []snapshot.Input{snapshot.HelmReleases}, Applies: func(s *snapshot.Snapshot) bool { return len(s.HelmReleases()) > 0 },
			Run: oldFluxAPI,
		},
		{
			Code: "LS0625", Severity: Info, Title: "the release is named as the manifest is",
			Explain: "Flux names a Helm release targetNamespace-name when a target namespace and no releaseName is set; all Services are named after that. Argo CD takes the Application's name. URLs have to use those names.",
			Fix:     "use the Services that the finding lists, or set spec.releaseName",
			Needs:   []snapshot.Input{snapshot.Releases}, Applies: hasGitops, Run: onCharts(computedName),
		},
		{
			Code: "LS0626", Severity: Warning, Title: "chart versions are pinned",
			Explain: "A range (6.x) or no version at all takes whatever is newest at the next reconciliation. Minor and patch versions of the loki chart have renamed Services and ServiceAccounts without a word in their notes (6.46.0, 8.1.1, 9.4.2).",
			Fix:     "write the exact version that runs",
			Needs:   []snapshot.Input{snapshot.Releases}, Applies: hasGitops, Run: onCharts(unpinned),
		},
	}
}

func hasGitops(s *snapshot.Snapshot) bool {
	return anyRelease(s, func(r *snapshot.Release) bool { return r.Object != nil && judged(r.Chart) })
}

func nested(u *unstructured.Unstructured, path ...string) string {
	v, _, _ := unstructured.NestedString(u.Object, path...)
	return v
}

// logHelmReleases are the HelmReleases of log charts.
func logHelmReleases(s *snapshot.Snapshot) []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for _, u := range s.HelmReleases() {
		if judged(nested(u, "spec", "chart", "spec", "chart")) || looksJudged(u.GetName()) {
			out = append(out, u)
		}
	}
	return out
}

func looksJudged(name string) bool {
	for _, c := range []string{"loki", "alloy", "promtail", "grafana", "fluent-bit", "vector"} {
		if strings.Contains(name, c) {
			return true
		}
	}
	return false
}

func logApplications(s *snapshot.Snapshot) []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for _, u := range s.Applications() {
		if judged(nested(u, "spec", "source", "chart")) || looksJudged(u.GetName()) {
			out = append(out, u)
		}
	}
	return out
}

func helmReleasesReady(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, u := range logHelmReleases(s) {
		if suspended, _, _ := unstructured.NestedBool(u.Object, "spec", "suspend"); suspended {
			out = append(out, Finding{Status: Warning, Ref: s.Ref(u, "spec", "suspend"), Detail: "it is suspended: changes of it are not applied", Fix: fmt.Sprintf("flux resume hr %s -n %s", u.GetName(), u.GetNamespace())})
		}
		conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
		for _, c := range conditions {
			m, ok := c.(map[string]any)
			if !ok || m["type"] != "Ready" || m["status"] != "False" {
				continue
			}
			message, _ := m["message"].(string)
			out = append(out, Finding{Status: Error, Ref: s.Ref(u), Detail: fmt.Sprintf("%v: %s", m["reason"], snapshot.RedactText(message)),
				Fix: fmt.Sprintf("flux reconcile hr %s -n %s --force", u.GetName(), u.GetNamespace())})
		}
	}
	return out
}

func applicationsHealthy(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, u := range logApplications(s) {
		sync, health := nested(u, "status", "sync", "status"), nested(u, "status", "health", "status")
		if (sync == "" || sync == "Synced") && (health == "" || health == "Healthy") {
			continue
		}
		message := orElse(nested(u, "status", "operationState", "message"), nested(u, "status", "health", "message"))
		out = append(out, Finding{Status: Warning, Ref: s.Ref(u), Detail: fmt.Sprintf("sync %s, health %s%s", orElse(sync, "unknown"), orElse(health, "unknown"), note(snapshot.RedactText(message))),
			Fix: "argocd app get " + u.GetName() + "; argocd app sync " + u.GetName()})
	}
	return out
}

func oldFluxAPI(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, u := range s.HelmReleases() {
		r := s.Ref(u, "apiVersion")
		if _, version, _ := strings.Cut(u.GetAPIVersion(), "/"); r.File != "" && strings.HasPrefix(version, "v2beta") {
			out = append(out, Finding{Status: Warning, Ref: r, Detail: u.GetAPIVersion() + " is deprecated", Fix: "flux migrate -f " + r.File,
				Patch: "-apiVersion: " + u.GetAPIVersion() + "\n+apiVersion: helm.toolkit.fluxcd.io/v2\n"})
		}
	}
	return out
}

// substituting are the Kustomizations with postBuild substitution.
func substituting(s *snapshot.Snapshot) []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	for _, u := range s.Kustomizations() {
		if m, ok, _ := unstructured.NestedMap(u.Object, "spec", "postBuild"); ok && len(m) > 0 {
			out = append(out, u)
		}
	}
	return out
}

var (
	// bareGroup is ${1} that is not escaped as $${1}.
	bareGroup = regexp.MustCompile(`(^|[^$])\$\{\d+\}`)
	// eaten is what substitution leaves of a path of groups.
	eaten = regexp.MustCompile(`pods/_+/|/__+/+`)
)

const substituteKey = "kustomize.toolkit.fluxcd.io/substitute"

func substituted(s *snapshot.Snapshot) []Finding {
	var out []Finding
	look := func(ks *unstructured.Unstructured, t snapshot.Text) {
		loc := bareGroup.FindStringIndex(t.Content)
		f := Finding{Status: Error, Explains: []string{"LS0704", "LS0705", "LS0706"}}
		switch {
		case loc != nil && t.Ref.File != "":
			start := loc[0]
			if t.Content[start] != '$' {
				start++
			}
			f.Ref = t.Offset(start)
			match := strings.TrimLeft(t.Content[start:loc[1]], " ")
			f.Detail = fmt.Sprintf("Kustomization %s/%s substitutes variables: %s becomes an empty word", ks.GetNamespace(), ks.GetName(), match)
			line := lineAt(t.Content, start)
			f.Patch = "-" + line + "\n+" + regexp.MustCompile(`(^|[^$])(\$\{\d+\})`).ReplaceAllString(line, "${1}$$$2") + "\n"
		case t.Ref.File == "" && eaten.MatchString(t.Content):
			at := eaten.FindStringIndex(t.Content)
			f.Ref = t.Offset(at[0])
			f.Detail = fmt.Sprintf("the substitution of Kustomization %s/%s has eaten ${1}: what is left is %q", ks.GetNamespace(), ks.GetName(), strings.TrimSpace(lineAt(t.Content, at[0])))
		default:
			return
		}
		f.Fix = "write $${1} for ${1} (all of them), or annotate the object: kustomize.toolkit.fluxcd.io/substitute: disabled"
		out = append(out, f)
	}
	for _, ks := range substituting(s) {
		for _, u := range s.HelmReleases() {
			if applies(s, ks, u) {
				for _, t := range s.Strings(u, "spec", "values") {
					look(ks, t)
				}
			}
		}
		for _, cm := range s.ConfigMaps() {
			if !applies(s, ks, cm) {
				continue
			}
			for key := range cm.Data {
				look(ks, s.DataText(cm, key))
			}
		}
	}
	return out
}

// lineAt is the line of a text that holds an offset.
func lineAt(text string, off int) string {
	start := strings.LastIndexByte(text[:off], '\n') + 1
	if end := strings.IndexByte(text[off:], '\n'); end >= 0 {
		return text[start : off+end]
	}
	return text[start:]
}

// applies says whether a Kustomization applies an object: in a cluster by the
// labels that Flux sets, in files by the path, or when both are in one file.
func applies(s *snapshot.Snapshot, ks *unstructured.Unstructured, o metav1.Object) bool {
	if o.GetAnnotations()[substituteKey] == "disabled" || o.GetLabels()[substituteKey] == "disabled" {
		return false
	}
	ref, ksRef := s.Ref(o), s.Ref(ks)
	if ref.File == "" {
		l := o.GetLabels()
		return l["kustomize.toolkit.fluxcd.io/name"] == ks.GetName() && l["kustomize.toolkit.fluxcd.io/namespace"] == ks.GetNamespace()
	}
	if ref.File == ksRef.File {
		return true
	}
	dir := filepath.ToSlash(filepath.Dir(ref.File)) + "/"
	p := strings.Trim(strings.TrimPrefix(nested(ks, "spec", "path"), "./"), "/")
	return p != "" && (strings.Contains("/"+dir, "/"+p+"/"))
}

func computedName(c chartCtx) []Finding {
	r := c.r
	if r.Object == nil || r.Chart != "loki" {
		return nil
	}
	name, full := data.Names(r.Chart, r.Name, r.String("nameOverride"), r.String("fullnameOverride"))
	if r.Name == r.Object.GetName() && full == name {
		return nil
	}
	how := "Argo CD takes the Application's name"
	if r.Origin == snapshot.FromFlux {
		how = "targetNamespace-name, since spec.releaseName is not set"
		if nested(r.Object, "spec", "releaseName") != "" {
			how = "spec.releaseName"
		}
	}
	services := data.ServiceNames(data.Services(c.lineage.ID, c.version, lokiValues{c}.serviceMode(), name, full))
	return []Finding{{Status: Info, Ref: r.VersionRef(), Detail: fmt.Sprintf("the Helm release is called %s (%s); its Services: %s", r.Name, how, strings.Join(services, ", ")),
		Fix: "use these names in URLs, or set spec.releaseName (it renames a running release: reinstall)"}}
}

// serviceMode is the mode for which Services were rendered: before 6.0.0 the
// storage decided, later modes in transition are those they come from.
func (l lokiValues) serviceMode() string {
	if data.Compare(l.c.version, "6.0.0") < 0 {
		if l.filesystem() || l.replicas("singleBinary") > 0 && !l.scalable() {
			return "SingleBinary"
		}
		return "SimpleScalable"
	}
	mode, _, _ := strings.Cut(l.mode(), "<->")
	return mode
}

func unpinned(c chartCtx) []Finding {
	r := c.r
	if r.Object == nil || !judged(r.Chart) {
		return nil
	}
	exact := strings.TrimPrefix(strings.TrimPrefix(r.Constraint, "="), "v")
	if strings.Count(exact, ".") == 2 && !strings.ContainsAny(exact, "<>^~*xX |,") || nested(r.Object, "spec", "chartRef", "kind") == "GitRepository" {
		return nil
	}
	f := Finding{Status: Warning, Ref: r.VersionRef(), Detail: fmt.Sprintf("the version of chart %s is %q: any new version that fits is installed by itself", r.Chart, r.Constraint), Fix: "pin it to the version that runs (helm ls -A)"}
	if r.Constraint == "" {
		f.Detail = "chart " + r.Chart + " has no version: the newest is installed by itself"
	}
	if r.Version != "" {
		f.Fix = "pin it to " + r.Version
	}
	return []Finding{f}
}

// liveDrift compares images and replicas of Helm's manifest with the cluster.
func liveDrift(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, r := range s.Releases() {
		if r.Manifest == "" || r.Status != "deployed" || !judged(r.Chart) {
			continue
		}
		dec := yaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(r.Manifest)), 4096)
		for {
			var want workload
			if err := dec.Decode(&want); err != nil {
				if errors.Is(err, io.EOF) {
					break
				}
				break // a document that is no mapping: nothing to compare beyond it
			}
			out = append(out, drift(s, r, &want)...)
		}
	}
	return out
}

// workload is the part of a Deployment, StatefulSet or DaemonSet that drift looks at.
type workload struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name, Namespace string
	} `json:"metadata"`
	Spec struct {
		Replicas *int32                 `json:"replicas"`
		Template corev1.PodTemplateSpec `json:"template"`
	} `json:"spec"`
}

func drift(s *snapshot.Snapshot, r *snapshot.Release, want *workload) []Finding {
	ns := orElse(want.Metadata.Namespace, r.Namespace)
	var (
		o        metav1.Object
		template *corev1.PodTemplateSpec
		replicas *int32
	)
	switch want.Kind {
	case "Deployment":
		if w, ok := snapshot.Find(s.Deployments(), ns, want.Metadata.Name); ok {
			o, template, replicas = w, &w.Spec.Template, w.Spec.Replicas
		}
	case "StatefulSet":
		if w, ok := snapshot.Find(s.StatefulSets(), ns, want.Metadata.Name); ok {
			o, template, replicas = w, &w.Spec.Template, w.Spec.Replicas
		}
	case "DaemonSet":
		if w, ok := snapshot.Find(s.DaemonSets(), ns, want.Metadata.Name); ok {
			o, template = w, &w.Spec.Template
		}
	}
	if o == nil {
		return nil
	}
	var out []Finding
	say := func(field, live, chart string) {
		out = append(out, Finding{Status: Warning, Ref: s.Ref(o), Detail: fmt.Sprintf("%s is %s, the chart says %s", field, live, chart),
			Fix: "put it into the values of release " + r.Name + ", or take it back: helm upgrade " + r.Name + " CHART -n " + r.Namespace + " --reuse-values"})
	}
	if want.Spec.Replicas != nil && replicas != nil && *want.Spec.Replicas != *replicas {
		say("spec.replicas", fmt.Sprint(*replicas), fmt.Sprint(*want.Spec.Replicas))
	}
	for _, w := range want.Spec.Template.Spec.Containers {
		for _, l := range template.Spec.Containers {
			if w.Name == l.Name && w.Image != l.Image {
				say("the image of container "+l.Name, l.Image, w.Image)
			}
		}
	}
	return out
}
