package conf

import (
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
)

// newRule completes and compiles a rule as Prometheus does: defaults, and
// regular expressions anchored at both ends.
func newRule(r Rule, sourceLabels []string, separator, action, target string, modulus uint64, hasSep, hasRepl bool) Rule {
	c := relabel.DefaultRelabelConfig
	c.NameValidationScheme = model.UTF8Validation
	for _, l := range sourceLabels {
		c.SourceLabels = append(c.SourceLabels, model.LabelName(l))
	}
	if hasSep {
		c.Separator = separator
	}
	if action != "" {
		c.Action = relabel.Action(strings.ToLower(action))
	}
	c.TargetLabel, c.Modulus = target, modulus
	if r.Regex == "" {
		r.Regex = "(.*)"
	}
	re, err := relabel.NewRegexp(r.Regex)
	if err != nil {
		r.Err = err
		return r
	}
	c.Regex = re
	if plain, err := regexp.Compile(r.Regex); err == nil {
		r.Groups = plain.NumSubexp()
	}
	if hasRepl {
		c.Replacement = r.Replacement
	} else {
		r.Replacement = c.Replacement
	}
	r.Config = &c
	return r
}

// Trap is a reference of a replacement that expands to nothing.
type Trap struct {
	// Token as written ("$1_"), Group the number that was meant.
	Token string
	Group int
	// Beyond: the number is larger than the count of groups. Otherwise the
	// letters behind the number were taken for its name.
	Beyond bool
}

// Traps finds references in a replacement that do not mean what they seem to:
// in Go's templates $1_ is the group named "1_".
func (r *Rule) Traps() []Trap {
	if r.Config == nil {
		return nil
	}
	switch r.Config.Action {
	case relabel.Replace, relabel.LabelMap:
	default:
		return nil
	}
	names := map[string]bool{}
	if re, err := regexp.Compile(r.Regex); err == nil {
		for _, n := range re.SubexpNames() {
			names[n] = n != ""
		}
	}
	var out []Trap
	for _, ref := range references(r.Replacement) {
		n, err := strconv.Atoi(ref.name)
		switch {
		case err == nil && n > r.Groups:
			out = append(out, Trap{Token: ref.token, Group: n, Beyond: true})
		case err != nil && !names[ref.name] && ref.name != "" && ref.name[0] >= '0' && ref.name[0] <= '9':
			digits := 0
			for digits < len(ref.name) && ref.name[digits] >= '0' && ref.name[digits] <= '9' {
				digits++
			}
			group, _ := strconv.Atoi(ref.name[:digits])
			out = append(out, Trap{Token: ref.token, Group: group})
		}
	}
	return out
}

type reference struct{ token, name string }

// references follows Regexp.Expand: $name is the longest run of letters,
// digits and underscores, ${name} ends at the brace, $$ is a dollar.
func references(s string) []reference {
	var out []reference
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 || i+1 >= len(s) {
			return out
		}
		s = s[i+1:]
		if s[0] == '$' {
			s = s[1:]
			continue
		}
		if s[0] == '{' {
			if end := strings.IndexByte(s, '}'); end > 0 {
				out = append(out, reference{"$" + s[:end+1], s[1:end]})
				s = s[end+1:]
			}
			continue
		}
		n := 0
		for n < len(s) && (s[n] == '_' || s[n] >= '0' && s[n] <= '9' || s[n] >= 'a' && s[n] <= 'z' || s[n] >= 'A' && s[n] <= 'Z') {
			n++
		}
		if n > 0 {
			out = append(out, reference{"$" + s[:n], s[:n]})
		}
		s = s[n:]
	}
}

// Mend writes the numbers of a replacement in braces: $1_ becomes ${1}_.
func Mend(replacement string) string {
	return regexp.MustCompile(`\$(\d+)`).ReplaceAllString(replacement, "$${$1}")
}

// Pod is what service discovery knows of one container of a pod.
type Pod struct {
	Namespace, Name, UID, Container, Node, IP, ContainerID string
	Labels, Annotations                                    map[string]string
}

// Static says whether it is the mirror of a static pod; its directory is named
// by the hash, not by the UID of the mirror.
func (p *Pod) Static() bool { return p.Annotations["kubernetes.io/config.mirror"] != "" }

// Dir is the directory of the container's log files on the node.
func (p *Pod) Dir() string {
	uid := p.UID
	if h := p.Annotations["kubernetes.io/config.hash"]; h != "" && p.Static() {
		uid = h
	}
	return "/var/log/pods/" + p.Namespace + "_" + p.Name + "_" + uid + "/" + p.Container
}

// PodTarget are the labels that discovery with role pod gives a container.
func PodTarget(p Pod) labels.Labels {
	b := labels.NewScratchBuilder(24)
	add := func(k, v string) { b.Add(k, v) }
	add("__address__", p.IP)
	add("__meta_kubernetes_namespace", p.Namespace)
	add("__meta_kubernetes_pod_name", p.Name)
	add("__meta_kubernetes_pod_uid", p.UID)
	add("__meta_kubernetes_pod_ip", p.IP)
	add("__meta_kubernetes_pod_phase", "Running")
	add("__meta_kubernetes_pod_ready", "true")
	add("__meta_kubernetes_pod_node_name", p.Node)
	add("__meta_kubernetes_pod_container_name", p.Container)
	add("__meta_kubernetes_pod_container_id", p.ContainerID)
	add("__meta_kubernetes_pod_container_init", "false")
	for k, v := range p.Labels {
		add("__meta_kubernetes_pod_label_"+sanitize(k), v)
		add("__meta_kubernetes_pod_labelpresent_"+sanitize(k), "true")
	}
	for k, v := range p.Annotations {
		add("__meta_kubernetes_pod_annotation_"+sanitize(k), v)
		add("__meta_kubernetes_pod_annotationpresent_"+sanitize(k), "true")
	}
	b.Sort()
	return b.Labels()
}

var notName = regexp.MustCompile(`[^a-zA-Z0-9_]`)

func sanitize(s string) string { return notName.ReplaceAllString(s, "_") }

// Simulate runs the rules of a chain on a target. ok is false when a rule
// cannot be run, or when the target is dropped.
func Simulate(rules []Rule, target labels.Labels) (result labels.Labels, kept, ok bool) {
	b := labels.NewBuilder(target)
	for i := range rules {
		if rules[i].Config == nil || rules[i].Dynamic {
			return labels.EmptyLabels(), false, false
		}
		if !relabel.ProcessBuilder(b, rules[i].Config) {
			return labels.EmptyLabels(), false, true
		}
	}
	return b.Labels(), true, true
}

// PathFits says whether a pattern of __path__ finds the log files of a pod's
// container. known is false for places that nobody can judge from here.
func PathFits(pattern string, p Pod) (fits, known bool) {
	switch {
	case strings.HasPrefix(pattern, "/var/log/containers/"):
		id := p.ContainerID[strings.LastIndexByte(p.ContainerID, '/')+1:]
		if id == "" {
			id = strings.Repeat("0", 64)
		}
		return globs(pattern, "/var/log/containers/"+p.Name+"_"+p.Namespace+"_"+p.Container+"-"+id+".log"), true
	case strings.HasPrefix(pattern, "/var/lib/docker/containers/"):
		return true, false
	}
	return globs(pattern, p.Dir()+"/0.log"), true
}

// globs matches segment by segment; ** takes any number of segments.
func globs(pattern, name string) bool {
	return globSegments(strings.Split(pattern, "/"), strings.Split(name, "/"))
}

func globSegments(pattern, name []string) bool {
	for len(pattern) > 0 {
		if pattern[0] == "**" {
			for i := 0; i <= len(name); i++ {
				if globSegments(pattern[1:], name[i:]) {
					return true
				}
			}
			return false
		}
		if len(name) == 0 {
			return false
		}
		if ok, err := path.Match(pattern[0], name[0]); err != nil || !ok {
			return false
		}
		pattern, name = pattern[1:], name[1:]
	}
	return len(name) == 0
}

// SamplePods stand for the pods of a cluster that nobody could look at: a
// normal one, one with many dashes, and a static one.
func SamplePods() []Pod {
	return []Pod{
		{Namespace: "kube-system", Name: "coredns-7db6d8ff4d-x2k9q", UID: "3f6c1f7e-0f7b-4e0a-9a2c-2f6a3a3d9a10", Container: "coredns", Node: "node-1", IP: "10.42.0.5", Labels: map[string]string{"k8s-app": "kube-dns"}},
		{Namespace: "shop", Name: "web-7d4b9c5f8d-x2x8p", UID: "0b7e7f0e-6b1c-4e59-8c1b-57a3b1a4b8aa", Container: "app-server", Node: "node-1", IP: "10.42.0.7", Labels: map[string]string{"app": "web"}},
		{Namespace: "kube-system", Name: "etcd-node-1", UID: "c7d2a8a4-42b5-4c5d-9a85-2d0ad6f7e1c3", Container: "etcd", Node: "node-1", IP: "192.168.1.10",
			Annotations: map[string]string{"kubernetes.io/config.hash": "f2b9f1a6a1d3f3b0f4a2c7f7a3a0e9d1", "kubernetes.io/config.mirror": "f2b9f1a6a1d3f3b0f4a2c7f7a3a0e9d1"}},
	}
}
