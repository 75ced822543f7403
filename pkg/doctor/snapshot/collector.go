package snapshot

import (
	"path"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/conf"
)

// Collector is the configuration of a log collector, with what is known about
// who runs it.
type Collector struct {
	Product Product
	// Config is the text, in the product's own language.
	Config Text
	// Err says why the configuration could not be read; Config is empty then.
	Err *Missing
	// Namespace is that of its pods: short names resolve there. Empty when unknown.
	Namespace string
	// Component is the workload, nil for a bare file or for values.
	Component *Component
	// Release holds the values that the configuration comes from, nil when it
	// comes from elsewhere.
	Release *Release
	// Kind is DaemonSet, Deployment or StatefulSet, "" when unknown.
	Kind string
}

// Title names it in messages.
func (c *Collector) Title() string {
	switch {
	case c.Component != nil:
		return strings.ToLower(c.Component.Kind) + "/" + c.Component.Namespace() + "/" + c.Component.Name()
	case c.Release != nil:
		return c.Release.Title()
	}
	return c.Config.Ref.String()
}

// deriveCollectors finds the configurations of workloads, values and files. A
// ConfigMap that no workload of the snapshot mounts counts as well, when it
// comes from a file: its workload may be in another repository.
func (s *Snapshot) deriveCollectors() {
	used := map[any]bool{}
	for _, c := range s.d.stacks {
		if c.Product.IsCollector() && !c.Predicted {
			s.d.collectors = append(s.d.collectors, s.collectorOf(c, used)...)
		}
	}
	for _, o := range s.d.objects[ConfigMaps] {
		if cm, ok := o.(*corev1.ConfigMap); ok && s.d.sources[o] != nil && !used[o] {
			for _, key := range sortedKeys(cm.Data) {
				if p := productOfConfig(key, cm.Data[key]); p != "" {
					s.d.collectors = append(s.d.collectors, &Collector{Product: p, Config: s.dataText(cm, "data", key, cm.Data[key]), Namespace: cm.Namespace})
				}
			}
		}
	}
	for _, o := range s.d.objects[Secrets] {
		if sec, ok := o.(*corev1.Secret); ok && s.d.sources[o] != nil && !used[o] {
			for key, text := range secretData(sec) {
				if p := productOfConfig(key, text); p != "" {
					s.d.collectors = append(s.d.collectors, &Collector{Product: p, Config: s.secretText(sec, key, text), Namespace: sec.Namespace})
				}
			}
		}
	}
	s.d.collectors = append(s.valuesCollectors(), s.d.collectors...)
}

// secretText points into the file where the text stands there in the clear.
func (s *Snapshot) secretText(sec *corev1.Secret, key, text string) Text {
	if _, plain := sec.StringData[key]; plain {
		return s.dataText(sec, "stringData", key, text)
	}
	r := s.Ref(sec)
	r.Path, r.File = "data["+key+"]", ""
	return Text{Content: text, Ref: r}
}

func secretData(sec *corev1.Secret) map[string]string {
	m := map[string]string{}
	for k, v := range sec.Data {
		m[k] = string(v)
	}
	for k, v := range sec.StringData {
		m[k] = v
	}
	return m
}

// dataText is the text of a data key with its place in the file, if any.
func (s *Snapshot) dataText(o object, field, key, text string) Text {
	src := s.d.sources[o]
	r := s.Ref(o)
	r.Path = field + "[" + key + "]"
	if src == nil {
		r.Line, r.Column = 0, 0
		return Text{Content: text, Ref: r}
	}
	if n := lookup(src.node, []string{field, key}); n != nil && n.Value == text {
		return scalarText(n, src.lines, r)
	}
	return Text{Content: text, Ref: r}
}

// DataText is the text of a ConfigMap's key with its place.
func (s *Snapshot) DataText(cm *corev1.ConfigMap, key string) Text {
	return s.dataText(cm, "data", key, cm.Data[key])
}

// productOfConfig recognises a configuration by its file name and its words.
func productOfConfig(name, text string) Product {
	base := path.Base(name)
	switch {
	case strings.HasSuffix(base, ".alloy"), strings.HasSuffix(base, ".river"):
		return Alloy
	case strings.HasSuffix(base, ".conf") && (strings.Contains(text, "[OUTPUT]") || strings.Contains(text, "[output]") || strings.Contains(text, "[INPUT]") || strings.Contains(text, "[SERVICE]")):
		return FluentBit
	case strings.HasSuffix(base, ".toml"):
		// A Vector configuration that does not parse is still one.
		if n, err := conf.VectorTree(text); err == nil && productOfTree(n) == Vector || err != nil && strings.Contains(text, "[sinks.") {
			return Vector
		}
		return ""
	case strings.HasSuffix(base, ".json") && strings.HasPrefix(strings.TrimSpace(text), "{"):
		n, err := conf.VectorTree(text) // with tabs, it is no YAML
		if err != nil || n == nil {
			return ""
		}
		return productOfTree(n)
	case strings.HasSuffix(base, ".yaml"), strings.HasSuffix(base, ".yml"), strings.HasSuffix(base, ".json"):
		n, err := ParseYAML(text)
		if err != nil {
			return ""
		}
		return productOfTree(n)
	}
	return ""
}

// collectorOf finds the configurations of a workload in the ConfigMaps and
// Secrets that it mounts. One that could not be read has Err.
func (s *Snapshot) collectorOf(c *Component, used map[any]bool) []*Collector {
	base := Collector{Product: c.Product, Namespace: c.Namespace(), Component: c, Kind: c.Kind}
	var out []*Collector
	var unreadable *Missing
	for _, v := range c.Template.Spec.Volumes {
		switch {
		case v.ConfigMap != nil:
			cm, ok := Find(list[corev1.ConfigMap](s, ConfigMaps), c.Namespace(), v.ConfigMap.Name)
			if !ok {
				if m := s.d.missing[ConfigMaps]; m != nil {
					unreadable = m
				}
				continue
			}
			used[cm] = true
			for _, key := range sortedKeys(cm.Data) {
				if s.isConfigOf(c, key, cm.Data[key]) {
					one := base
					one.Config = s.dataText(cm, "data", key, cm.Data[key])
					out = append(out, &one)
				}
			}
		case v.Secret != nil:
			sec, ok := Find(list[corev1.Secret](s, Secrets), c.Namespace(), v.Secret.SecretName)
			if !ok {
				if m := s.d.missing[Secrets]; m != nil {
					unreadable = m
				}
				continue
			}
			used[sec] = true
			data := secretData(sec)
			for _, key := range sortedKeys(data) {
				if s.isConfigOf(c, key, data[key]) {
					one := base
					one.Config = s.secretText(sec, key, data[key])
					out = append(out, &one)
				}
			}
		}
	}
	if len(out) == 0 && unreadable != nil {
		base.Err = unreadable
		base.Config.Ref = s.Ref(c.Workload)
		out = append(out, &base)
	}
	return out
}

func (s *Snapshot) isConfigOf(c *Component, key, text string) bool {
	p := productOfConfig(key, text)
	return p == c.Product || p == Alloy && c.Product == GrafanaAgent
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
