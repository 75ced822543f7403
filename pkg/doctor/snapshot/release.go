package snapshot

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Origin says where a release is described.
type Origin string

// The origins.
const (
	FromHelm   Origin = "helm"   // Helm's own secret or ConfigMap in the cluster
	FromFlux   Origin = "flux"   // a HelmRelease
	FromArgo   Origin = "argo"   // an Application
	FromValues Origin = "values" // a values file
)

// Release is a chart with values: installed, or to be installed.
type Release struct {
	Origin Origin
	// Name is Helm's release name, Namespace where its objects go.
	Name, Namespace string
	// Chart is its name, Version an exact one or "" when unknown; Constraint
	// is what the description asks for ("6.x").
	Chart, Version, Constraint string
	// Repo is the repository's URL, Home, Description and KubeVersion are those of Chart.yaml, where known.
	Repo, Home, Description, KubeVersion string
	// Values are the user's values: a mapping, never nil. They may hold
	// secrets: never print one.
	Values *yaml.Node
	// Defaults are the chart's own values, from Helm's secret; nil when unknown.
	Defaults map[string]any
	// Schema is the chart's values.schema.json, from Helm's secret; nil when there is none.
	Schema json.RawMessage
	// Status, Message and Revision are Helm's.
	Status, Message string
	Revision        int
	// Subcharts are the names (or aliases) of the chart's dependencies: their
	// values stand below them.
	Subcharts []string
	// Manifest is what Helm rendered; empty when unknown.
	Manifest string
	// Object is the HelmRelease or Application; nil for the others.
	Object *unstructured.Unstructured
	// Incomplete are values that belong to the release and are not in Values.
	Incomplete []Lacking

	ref        Ref
	versionRef Ref
	prefix     string
	src        *source
	lines      []string // of ref.In
	// places are where keys and values stand that come from another object or
	// file than the release.
	places map[*yaml.Node]Ref
}

// Lacking is a part of a release's values that could not be read.
type Lacking struct {
	What  string // "Secret/creds[values.yaml]", "valueFiles $values/loki.yaml"
	Right *Right // that lacks for it, nil when something else does
}

// Ref is the place of a values path. The deepest part that is there gives the
// position.
func (r *Release) Ref(path ...string) Ref {
	out := r.ref
	out.Path = strings.Join(path, ".")
	if r.prefix != "" {
		out.Path = strings.TrimSuffix(r.prefix+"."+out.Path, ".")
	}
	for n := len(path); n >= 0; n-- {
		if n == 0 && out.In != "" {
			break // all of the values: no line of them
		}
		k, _ := lookupKey(r.Values, path[:n])
		if at, ok := r.places[k]; ok {
			at.Path = strings.TrimSpace(at.Path + " " + strings.Join(path, "."))
			return at
		}
		if k != nil && k.Line > 0 {
			out.Line, out.Column = k.Line, k.Column
			break
		}
	}
	return out
}

// VersionRef is the place of the chart's name and version.
func (r *Release) VersionRef() Ref {
	if r.versionRef != (Ref{}) {
		return r.versionRef
	}
	return r.Ref()
}

// Value is what the user set at a path; nil when nothing.
func (r *Release) Value(path ...string) *yaml.Node { return lookup(r.Values, path) }

// String is the scalar that the user set, or "".
func (r *Release) String(path ...string) string {
	if n := r.Value(path...); n != nil && n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		return n.Value
	}
	return ""
}

// Effective is the user's scalar, else the chart's default, else def.
func (r *Release) Effective(def string, path ...string) string {
	if n := r.Value(path...); n != nil && n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		return n.Value
	}
	var v any = r.Defaults
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return def
		}
		v = m[p]
	}
	switch v := v.(type) {
	case nil:
		return def
	case map[string]any, []any:
		return def
	default:
		return fmt.Sprint(v)
	}
}

// Text is a string value as a configuration with its place.
func (r *Release) Text(path ...string) (Text, bool) {
	n := r.Value(path...)
	if n == nil || n.Kind != yaml.ScalarNode {
		return Text{}, false
	}
	if _, elsewhere := r.places[n]; elsewhere {
		return Text{Content: n.Value, Ref: r.Ref(path...), fixed: true}, true
	}
	lines := r.lines
	if r.src != nil {
		lines = r.src.lines
	}
	return scalarText(n, lines, r.Ref(path...)), true
}

// Title is how a release is called in messages.
func (r *Release) Title() string {
	s := r.Chart
	if v := r.Version; v != "" {
		s += " " + v
	} else if r.Constraint != "" {
		s += " " + r.Constraint
	}
	return s
}

// deriveReleases collects the releases of all origins. A description by Flux
// or Argo that is in the cluster with its Helm release gives way to that:
// the release is what runs. One from a file wins: it is what would run.
func (s *Snapshot) deriveReleases() {
	byHelm := map[string]*Release{}
	for _, o := range s.d.objects[Secrets] {
		sec, ok := o.(*corev1.Secret)
		if !ok || sec.Type != "helm.sh/release.v1" && !strings.HasPrefix(sec.Name, "sh.helm.release.v1.") {
			continue
		}
		stored := sec.Data["release"]
		if stored == nil && sec.StringData["release"] != "" {
			stored = []byte(sec.StringData["release"])
		}
		s.addHelm(byHelm, sec, stored)
	}
	for _, o := range s.d.objects[ConfigMaps] {
		if cm, ok := o.(*corev1.ConfigMap); ok && cm.Labels["owner"] == "helm" && cm.Data["release"] != "" {
			s.addHelm(byHelm, cm, []byte(cm.Data["release"]))
		}
	}
	var found []*Release
	for _, r := range byHelm {
		found = append(found, r)
	}
	sort.Slice(found, func(i, j int) bool {
		return found[i].Namespace+"/"+found[i].Name < found[j].Namespace+"/"+found[j].Name
	})
	for _, u := range s.HelmReleases() {
		found = s.mergeRelease(found, s.fluxRelease(u))
	}
	for _, u := range s.Applications() {
		for _, r := range s.argoReleases(u) {
			found = s.mergeRelease(found, r)
		}
	}
	for _, r := range s.d.releases { // those of values files
		found = s.mergeRelease(found, r)
	}
	s.d.releases = found
}

func (s *Snapshot) addHelm(found map[string]*Release, o metav1.Object, stored []byte) {
	r, err := DecodeRelease(stored)
	if err != nil {
		s.Notes = append(s.Notes, fmt.Sprintf("%s: %v", s.Ref(o), err))
		return
	}
	if src := s.d.sources[o]; src != nil {
		r.ref.File, r.ref.Line, r.ref.Column = src.file, src.node.Line, src.node.Column
		r.Values, r.lines = unplaced(r.Values), nil // the file has them packed
	} else if r.lines != nil {
		r.ref.In = "helm get values " + r.Name + " -n " + o.GetNamespace()
	}
	key := r.Namespace + "/" + r.Name
	if old := found[key]; old == nil || r.Revision > old.Revision {
		found[key] = r
	}
}

func (s *Snapshot) mergeRelease(found []*Release, r *Release) []*Release {
	if r == nil {
		return found
	}
	for i, f := range found {
		if f.Name != r.Name || f.Namespace != r.Namespace || f.Chart != r.Chart {
			continue
		}
		if r.src == nil { // described in the cluster: what Helm stored knows more
			if f.Object == nil {
				f.Object, f.Constraint, f.Repo = r.Object, r.Constraint, r.Repo
			}
			return found
		}
		// from a file: its values count, the chart's facts stay where the version does
		if r.Version == "" {
			r.Version = f.Version
		}
		if r.Version == f.Version {
			r.Defaults, r.Schema, r.Home, r.Description, r.Subcharts = f.Defaults, f.Schema, f.Home, f.Description, f.Subcharts
		}
		found[i] = r
		return found
	}
	return append(found, r)
}

func str(u *unstructured.Unstructured, path ...string) string {
	v, _, _ := unstructured.NestedString(u.Object, path...)
	return v
}

// FluxReleaseName follows helm-controller: releaseName, else
// targetNamespace-name where a target is set, else name.
func FluxReleaseName(u *unstructured.Unstructured) string {
	name := str(u, "spec", "releaseName")
	if name == "" {
		name = u.GetName()
		if t := str(u, "spec", "targetNamespace"); t != "" {
			name = t + "-" + name
		}
	}
	return name
}

// setVersion tells an exact version from a range.
func (r *Release) setVersion(v string) {
	r.Constraint = v
	exact := strings.TrimPrefix(strings.TrimPrefix(v, "="), "v")
	if strings.Count(exact, ".") == 2 && !strings.ContainsAny(exact, "<>^~*xX |,") {
		r.Version = exact
	}
}

// unplaced copies a tree without positions: they would be those of another text.
func unplaced(n *yaml.Node) *yaml.Node {
	c := *n
	c.Line, c.Column = 0, 0
	c.Content = make([]*yaml.Node, len(n.Content))
	for i := range n.Content {
		c.Content[i] = unplaced(n.Content[i])
	}
	return &c
}

// shift moves the positions of a tree that was parsed from a text to those of its file.
func shift(n *yaml.Node, t Text) {
	r := t.At(n.Line, n.Column)
	n.Line, n.Column = r.Line, r.Column
	for _, c := range n.Content {
		shift(c, t)
	}
}
