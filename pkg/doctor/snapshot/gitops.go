package snapshot

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// fluxRelease reads a HelmRelease (v2, v2beta2, v2beta1).
func (s *Snapshot) fluxRelease(u *unstructured.Unstructured) *Release {
	r := &Release{Origin: FromFlux, Object: u, Name: FluxReleaseName(u), Namespace: str(u, "spec", "targetNamespace"), prefix: "spec.values"}
	if r.Namespace == "" {
		r.Namespace = u.GetNamespace()
	}
	r.Chart = str(u, "spec", "chart", "spec", "chart")
	r.setVersion(str(u, "spec", "chart", "spec", "version"))
	repoNS := str(u, "spec", "chart", "spec", "sourceRef", "namespace")
	if repoNS == "" {
		repoNS = u.GetNamespace()
	}
	if repo, ok := Find(s.HelmRepositories(), repoNS, str(u, "spec", "chart", "spec", "sourceRef", "name")); ok {
		r.Repo = str(repo, "spec", "url")
	}
	if ref := str(u, "spec", "chartRef", "name"); ref != "" && str(u, "spec", "chartRef", "kind") == "OCIRepository" {
		ns := str(u, "spec", "chartRef", "namespace")
		if ns == "" {
			ns = u.GetNamespace()
		}
		if repo, ok := Find(s.OCIRepositories(), ns, ref); ok {
			r.Repo = str(repo, "spec", "url")
			r.Chart = r.Repo[strings.LastIndexByte(r.Repo, '/')+1:]
			r.setVersion(str(repo, "spec", "ref", "tag") + str(repo, "spec", "ref", "semver"))
		}
	}
	if last := str(u, "status", "lastAttemptedRevision"); r.Version == "" && last != "" {
		r.Version, _, _ = strings.Cut(last, "+")
	}
	s.placeRelease(r, u, "spec", "values")
	r.versionRef = s.Ref(u, "spec", "chart", "spec")
	if r.Constraint != "" && str(u, "spec", "chart", "spec", "version") != "" {
		r.versionRef = s.Ref(u, "spec", "chart", "spec", "version")
	}
	s.addValuesFrom(r, u)
	return r
}

// placeRelease takes the values at a path of an object, with their positions
// when the object came from a file.
func (s *Snapshot) placeRelease(r *Release, u *unstructured.Unstructured, path ...string) {
	r.ref = s.Ref(u)
	r.prefix = strings.Join(path, ".")
	r.src = s.d.sources[u]
	if r.src != nil {
		r.Values = lookup(r.src.node, path)
	} else if v, ok, _ := unstructured.NestedFieldNoCopy(u.Object, path...); ok {
		r.Values = ToNode(v)
	}
	if !IsMap(r.Values) {
		r.Values = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	}
}

// valuesRef is an entry of a HelmRelease's valuesFrom.
type valuesRef struct {
	kind, name, key, target string
	optional                bool
}

func (v valuesRef) String() string { return v.kind + "/" + v.name + "[" + v.key + "]" }

// valuesFrom are the entries of a HelmRelease, in their order.
func valuesFrom(u *unstructured.Unstructured) []valuesRef {
	from, _, _ := unstructured.NestedSlice(u.Object, "spec", "valuesFrom")
	var out []valuesRef
	for _, f := range from {
		m, ok := f.(map[string]any)
		if !ok {
			continue
		}
		v := valuesRef{key: "values.yaml"}
		v.kind, _ = m["kind"].(string)
		v.name, _ = m["name"].(string)
		v.target, _ = m["targetPath"].(string)
		v.optional, _ = m["optional"].(bool)
		if k, _ := m["valuesKey"].(string); k != "" {
			v.key = k
		}
		out = append(out, v)
	}
	return out
}

// addValuesFrom merges the values that a HelmRelease takes from ConfigMaps and
// Secrets, as helm-controller does: a later entry wins over an earlier one, the
// inline values over all of them. What is not at hand is named.
func (s *Snapshot) addValuesFrom(r *Release, u *unstructured.Unstructured) {
	all := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for _, v := range valuesFrom(u) {
		text, found := s.valuesText(u.GetNamespace(), v)
		in := Input(strings.ToLower(v.kind) + "s")
		if !found {
			if m := s.d.missing[in]; !v.optional || m != nil || !s.Covers(in, u.GetNamespace()) {
				l := Lacking{What: v.String(), Right: s.d.refused[v.kind+"/"+u.GetNamespace()+"/"+v.name]}
				if m != nil && l.Right == nil {
					l.Right = m.Right
				}
				r.Incomplete = append(r.Incomplete, l)
			}
			continue
		}
		n, err := ParseYAML(text.Content)
		switch {
		case v.target != "":
			n, err = &yaml.Node{Kind: yaml.ScalarNode, Tag: scalarTag(text.Content), Value: text.Content, Line: 1, Column: 1}, nil
			r.place(n, text)
			n = atPath(v.target, n)
		case err == nil && IsMap(n):
			r.place(n, text)
		default:
			err = fmt.Errorf("it is no mapping: %w", err)
		}
		if n == nil || err != nil {
			r.Incomplete = append(r.Incomplete, Lacking{What: v.String()})
			continue
		}
		mergeMissing(n, all)
		all = n
	}
	r.under(all)
}

// valuesText is the text that an entry means.
func (s *Snapshot) valuesText(namespace string, v valuesRef) (Text, bool) {
	switch v.kind {
	case "ConfigMap":
		if cm, ok := Find(list[corev1.ConfigMap](s, ConfigMaps), namespace, v.name); ok {
			_, ok = cm.Data[v.key]
			return s.DataText(cm, v.key), ok
		}
	case "Secret":
		if sec, ok := Find(list[corev1.Secret](s, Secrets), namespace, v.name); ok {
			text, ok := secretData(sec)[v.key]
			return s.secretText(sec, v.key, text), ok
		}
	}
	return Text{}, false
}

// place remembers where the keys and values of a tree stand.
func (r *Release) place(n *yaml.Node, text Text) {
	if r.places == nil {
		r.places = map[*yaml.Node]Ref{}
	}
	r.places[n] = text.At(n.Line, n.Column)
	for _, c := range n.Content {
		r.place(c, text)
	}
}

// under adds values that those of the release win over.
func (r *Release) under(n *yaml.Node) {
	if len(n.Content) == 0 {
		return
	}
	merged := *r.Values
	merged.Content = slices.Clone(r.Values.Content)
	mergeMissing(&merged, n)
	r.Values = &merged
}

// scalarTag is the type that YAML would see in a text; true and 1 are no strings.
func scalarTag(text string) string {
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err == nil && n.Kind == yaml.DocumentNode && n.Content[0].Kind == yaml.ScalarNode {
		return n.Content[0].Tag
	}
	return "!!str"
}

// atPath wraps a value into mappings: a.b.c, with \\. for a dot in a name. nil
// for what would need to look into a list.
func atPath(path string, v *yaml.Node) *yaml.Node {
	if strings.Contains(path, "[") {
		return nil
	}
	names := strings.Split(strings.ReplaceAll(path, `\.`, "\x00"), ".")
	for _, name := range slices.Backward(names) {
		k := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: strings.ReplaceAll(name, "\x00", ".")}
		v = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{k, v}}
	}
	return v
}

// mergeMissing adds what dst does not have, key by key.
func mergeMissing(dst, from *yaml.Node) {
	Entries(from, func(key string, k, v *yaml.Node) {
		i := 0
		for ; i+1 < len(dst.Content) && dst.Content[i].Value != key; i += 2 {
		}
		if i+1 >= len(dst.Content) {
			dst.Content = append(dst.Content, k, v)
			return
		}
		if have := resolve(dst.Content[i+1]); IsMap(have) && IsMap(v) {
			c := *have
			c.Content = append([]*yaml.Node(nil), have.Content...)
			mergeMissing(&c, v)
			dst.Content[i+1] = &c
		}
	})
}

// argoReleases reads the Helm sources of an Application.
func (s *Snapshot) argoReleases(u *unstructured.Unstructured) []*Release {
	paths := [][]string{{"spec", "source"}}
	if sources, ok, _ := unstructured.NestedSlice(u.Object, "spec", "sources"); ok {
		paths = nil
		for i := range sources {
			paths = append(paths, []string{"spec", "sources", fmt.Sprint(i)})
		}
	}
	var out []*Release
	for _, p := range paths {
		if r := s.argoRelease(u, p); r != nil {
			out = append(out, r)
		}
	}
	return out
}

func (s *Snapshot) argoRelease(u *unstructured.Unstructured, path []string) *Release {
	root := ToNode(u.Object)
	src := s.d.sources[u]
	if src != nil {
		root = src.node
	}
	get := func(p ...string) string {
		if n := lookup(root, append(append([]string(nil), path...), p...)); n != nil {
			return n.Value
		}
		return ""
	}
	r := &Release{Origin: FromArgo, Object: u, Name: get("helm", "releaseName"), Namespace: str(u, "spec", "destination", "namespace"), Chart: get("chart"), Repo: get("repoURL")}
	if r.Chart == "" {
		return nil
	}
	if r.Name == "" {
		r.Name = u.GetName()
	}
	r.setVersion(get("targetRevision"))
	r.ref, r.src = s.Ref(u), src
	r.versionRef = s.Ref(u, append(append([]string(nil), path...), "targetRevision")...)
	r.Values = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	// parameters > valuesObject > values > valueFiles (Argo CD 3.3, user guide, Helm)
	if n := lookup(root, append(append([]string(nil), path...), "helm", "valuesObject")); IsMap(n) {
		r.Values, r.prefix = n, strings.Join(append(path, "helm.valuesObject"), ".")
	} else if n := lookup(root, append(append([]string(nil), path...), "helm", "values")); n != nil && n.Kind == yaml.ScalarNode {
		if parsed, err := ParseYAML(n.Value); err == nil && IsMap(parsed) {
			r.prefix = strings.Join(append(path, "helm.values"), ".")
			r.Values = parsed
			if src != nil {
				shift(parsed, scalarText(n, src.lines, r.ref))
			}
		}
	}
	helm := lookup(root, append(slices.Clone(path), "helm"))
	s.addParameters(r, u, lookup(helm, []string{"parameters"}), path)
	s.addValueFiles(r, root, helm, src)
	return r
}

// addParameters lays parameters over the values: they win.
func (s *Snapshot) addParameters(r *Release, u *unstructured.Unstructured, list *yaml.Node, path []string) {
	if list == nil || list.Kind != yaml.SequenceNode {
		return
	}
	over := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for i, p := range list.Content {
		name, value := lookup(p, []string{"name"}), lookup(p, []string{"value"})
		if name == nil || value == nil {
			continue
		}
		v := *value
		if force := lookup(p, []string{"forceString"}); force == nil || force.Value != "true" {
			v.Tag = scalarTag(v.Value)
		}
		tree := atPath(name.Value, &v)
		if tree == nil {
			r.Incomplete = append(r.Incomplete, Lacking{What: "parameter " + name.Value})
			continue
		}
		at := s.Ref(u, append(slices.Clone(path), "helm", "parameters", strconv.Itoa(i))...)
		r.place(tree, Text{Ref: at, fixed: true})
		mergeMissing(tree, over)
		over = tree
	}
	if len(over.Content) == 0 {
		return
	}
	mergeMissing(over, r.Values)
	r.Values = over
}

// addValueFiles merges valueFiles below the other values, a later file over an
// earlier one. Those of a source with a ref ("$values/loki/values.yaml") are
// looked for where the Application's file is: beside it and above it, up to the
// repository's root. Files inside of a chart are nowhere at hand.
func (s *Snapshot) addValueFiles(r *Release, root, helm *yaml.Node, src *source) {
	files := lookup(helm, []string{"valueFiles"})
	if files == nil || files.Kind != yaml.SequenceNode {
		return
	}
	ignore := lookup(helm, []string{"ignoreMissingValueFiles"})
	all := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for _, f := range files.Content {
		what := Lacking{What: "valueFiles " + f.Value}
		ref, path, ok := strings.Cut(strings.TrimPrefix(f.Value, "$"), "/")
		if !strings.HasPrefix(f.Value, "$") || !ok || src == nil || !hasRef(root, ref) {
			r.Incomplete = append(r.Incomplete, what)
			continue
		}
		name, text := besideOrAbove(src.file, path)
		if name == "" {
			if ignore == nil || ignore.Value != "true" {
				r.Incomplete = append(r.Incomplete, what)
			}
			continue
		}
		n, err := ParseYAML(text)
		if err != nil || !IsMap(n) {
			r.Incomplete = append(r.Incomplete, what)
			continue
		}
		r.place(n, FileText(name, text))
		mergeMissing(n, all)
		all = n
	}
	r.under(all)
}

// hasRef says whether one of an Application's sources is called that.
func hasRef(root *yaml.Node, ref string) bool {
	sources := lookup(root, []string{"spec", "sources"})
	return sources != nil && slices.ContainsFunc(sources.Content, func(n *yaml.Node) bool {
		v := lookup(n, []string{"ref"})
		return v != nil && v.Value == ref
	})
}

// besideOrAbove looks for a path of a repository from the directory of one of
// its files upwards, and no further than the repository's root; without a
// repository, beside the file alone. A path that leads out is not followed.
func besideOrAbove(file, path string) (name, text string) {
	dir := filepath.Dir(file)
	if !filepath.IsLocal(filepath.FromSlash(path)) {
		return "", ""
	}
	for range 1 + stepsToRoot(dir) {
		name := filepath.Join(dir, filepath.FromSlash(path))
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() && info.Size() <= maxFileSize {
			if content, err := os.ReadFile(name); err == nil {
				return name, string(content)
			}
		}
		dir = filepath.Join(dir, "..")
	}
	return "", ""
}

// stepsToRoot is how many directories above dir its repository begins, 0
// without one.
func stepsToRoot(dir string) int {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return 0
	}
	for n := 0; ; n++ {
		if _, err := os.Stat(filepath.Join(abs, ".git")); err == nil {
			return n
		}
		if filepath.Dir(abs) == abs {
			return 0
		}
		abs = filepath.Dir(abs)
	}
}
