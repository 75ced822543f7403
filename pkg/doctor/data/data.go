package data

import (
	"bytes"
	"compress/gzip"
	_ "embed" // the facts
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/Masterminds/semver/v3"
	"go.yaml.in/yaml/v3"
)

var (
	//go:embed chart-values.yaml
	chartValues []byte
	//go:embed chart-keys.json.gz
	chartKeys []byte
	//go:embed rendered-services.json.gz
	renderedServices []byte
)

// Fact is one entry about a chart's values or behaviour. From is inclusive,
// Until exclusive; "" is open.
type Fact struct {
	Path     string `yaml:"path"`
	Status   string `yaml:"status"`
	From     string `yaml:"from"`
	Until    string `yaml:"until"`
	To       Words  `yaml:"to"`
	Effect   string `yaml:"effect"`
	Fix      string `yaml:"fix"`
	Severity string `yaml:"severity"`
	Note     string `yaml:"note"`
	Old      any    `yaml:"old"`
	New      any    `yaml:"new"`
	Default  any    `yaml:"default"`
	Source   string `yaml:"source"`
}

// Words is a string, or several.
type Words []string

// UnmarshalYAML takes a scalar, a sequence, or a mapping (as "key: value").
func (w *Words) UnmarshalYAML(n *yaml.Node) error {
	switch n.Kind {
	case yaml.ScalarNode:
		*w = Words{n.Value}
	case yaml.SequenceNode:
		for _, c := range n.Content {
			*w = append(*w, c.Value)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			*w = append(*w, n.Content[i].Value+": "+n.Content[i+1].Value)
		}
	}
	return nil
}

// String joins them.
func (w Words) String() string { return strings.Join(w, ", ") }

// Lineage is a line of a chart: two charts are called loki, with the same
// version numbers.
type Lineage struct {
	ID         string `yaml:"id"`
	Chart      string `yaml:"chart"`
	Deprecated bool   `yaml:"deprecated"`
	Last       string `yaml:"last_version"`
	Note       string `yaml:"note"`
}

// The lineages of the chart loki.
const (
	LokiGrafana   = "loki-oss-grafana"   // grafana/loki up to 6.55.0
	LokiGEL       = "loki-gel"           // grafana/loki from 7.0.0: Grafana Enterprise Logs
	LokiCommunity = "loki-oss-community" // grafana-community/loki from 6.56.0
)

type facts struct {
	lineages []Lineage
	byChart  map[string][]Fact
}

var loadFacts = sync.OnceValue(func() *facts {
	var root map[string]yaml.Node
	must(yaml.Unmarshal(chartValues, &root), "chart-values.yaml")
	f := &facts{byChart: map[string][]Fact{}}
	lineages := root["lineages"]
	must(lineages.Decode(&f.lineages), "lineages")
	for _, chart := range []string{"loki", "alloy", "promtail", "loki-stack", "grafana", "k8s-monitoring"} {
		n := root[chart]
		var list []Fact
		must(n.Decode(&list), chart)
		f.byChart[chart] = list
	}
	return f
})

// must: the files are part of the binary, and a test reads them.
func must(err error, what string) {
	if err != nil {
		panic(fmt.Sprintf("embedded %s: %v", what, err))
	}
}

// FactsOf are the entries of a chart, in the order of the file.
func FactsOf(chart string) []Fact { return loadFacts().byChart[chart] }

// LineageOf names the line of a chart from its repository (URL or short name),
// home, description and version. ok is false for charts that are unknown.
func LineageOf(chart, repo, home, description, version string) (Lineage, bool) {
	id := ""
	if chart == "loki" {
		switch {
		case strings.Contains(repo, "grafana-community"), strings.Contains(home, "grafana-community"):
			id = LokiCommunity
		case strings.Contains(description, "Enterprise Logs"):
			id = LokiGEL
		case repo == "grafana", strings.Contains(repo, "grafana.github.io"), strings.Contains(home, "grafana.github.io"):
			id = LokiGrafana
			if Compare(version, "7.0.0") >= 0 {
				id = LokiGEL
			}
		case version != "" && Compare(version, "7.4.0") >= 0:
			id = LokiCommunity
		case version != "" && Compare(version, "6.56.0") < 0:
			id = LokiGrafana
		case version == "":
			id = LokiCommunity
		default:
			return Lineage{Chart: chart}, false // 6.56.0 to 7.3.0 without a repository: either line
		}
	}
	for _, l := range loadFacts().lineages {
		if id != "" && l.ID == id || id == "" && l.Chart == chart && chart != "loki" {
			// the chart fluent-bit of fluent/helm-charts lives
			if l.ID == "fluent-bit-grafana" && !strings.Contains(repo+home, "grafana") {
				return Lineage{Chart: chart}, false
			}
			return l, true
		}
	}
	return Lineage{Chart: chart}, false
}

// Newest is the newest version of a lineage's or chart's line that the facts
// know; "" for unknown ones.
func Newest(lineage Lineage) string {
	switch lineage.ID {
	case LokiGrafana:
		return "6.55.0"
	case LokiGEL:
		return keysFor("loki-gel").Versions[1]
	}
	if k := keysFor(lineage.Chart); k != nil {
		return k.Versions[1]
	}
	return lineage.Last
}

// Compare orders versions by semver; what is no version comes first.
func Compare(a, b string) int {
	x, errX := semver.NewVersion(a)
	y, errY := semver.NewVersion(b)
	switch {
	case errX != nil && errY != nil:
		return 0
	case errX != nil:
		return -1
	case errY != nil:
		return 1
	}
	return x.Compare(y)
}

// Matches says whether a version is in a Helm range ("6.x", ">=7").
func Matches(constraint, version string) bool {
	c, err := semver.NewConstraint(constraint)
	if err != nil {
		return false
	}
	v, err := semver.NewVersion(version)
	return err == nil && c.Check(v)
}

// Covers says whether [from, until) holds the version.
func Covers(from, until, version string) bool {
	return (from == "" || Compare(version, from) >= 0) && (until == "" || Compare(version, until) < 0)
}

// key is an entry of chart-keys.json.
type key struct {
	Ranges  [][2]*string `json:"r"`
	Open    bool         `json:"open"`
	Default any          `json:"d"`
}

type chart struct {
	Versions [2]string      `json:"versions"`
	Keys     map[string]key `json:"keys"`
}

var loadKeys = sync.OnceValue(func() map[string]*chart {
	var f struct {
		Charts map[string]*chart `json:"charts"`
	}
	must(json.Unmarshal(unzip(chartKeys), &f), "chart-keys.json.gz")
	return f.Charts
})

func unzip(b []byte) []byte {
	zr, err := gzip.NewReader(bytes.NewReader(b))
	must(err, "gzip")
	var buf bytes.Buffer
	_, err = buf.ReadFrom(zr)
	must(err, "gzip")
	return buf.Bytes()
}

func keysFor(name string) *chart { return loadKeys()[name] }

// Keys are the values paths of one version of a chart.
type Keys struct {
	c       *chart
	Version string
}

// KeysOf returns the keys of a chart's version; nil when the chart is unknown.
// A version newer than the facts is answered with the newest known.
func KeysOf(l Lineage, version string) *Keys {
	name := l.Chart
	if l.ID == LokiGEL {
		name = "loki-gel"
	}
	c := keysFor(name)
	if c == nil {
		return nil
	}
	if version == "" || Compare(version, c.Versions[1]) > 0 {
		version = c.Versions[1]
	}
	return &Keys{c, version}
}

// Bounds are the oldest and the newest version of the chart that the facts know.
func (k *Keys) Bounds() (oldest, newest string) { return k.c.Versions[0], k.c.Versions[1] }

// KeyState says what a version knows about a path.
type KeyState struct {
	// Known: the version has the key. Open: anything may stand below it, or it
	// is a leaf. Deep: the facts do not reach below it.
	Known, Open, Deep bool
	// Removed and Introduced are versions, where the key existed or will exist.
	Removed, Introduced string
	Default             any
}

// maxDepth is how deep the facts reach.
const maxDepth = 3

// Get looks a path up.
func (k *Keys) Get(path string) KeyState {
	e, ok := k.c.Keys[path]
	if !ok {
		return KeyState{}
	}
	s := KeyState{Open: e.Open, Default: e.Default, Deep: strings.Count(path, ".") >= maxDepth-1}
	for _, r := range e.Ranges {
		from, until := "", ""
		if r[0] != nil {
			from = *r[0]
		}
		if r[1] != nil {
			until = *r[1]
		}
		switch {
		case Covers(from, until, k.Version):
			s.Known = true
		case until != "" && Compare(k.Version, until) >= 0:
			s.Removed = until
		case s.Introduced == "" && Compare(k.Version, from) < 0:
			s.Introduced = from
		}
	}
	if !s.Known && s.Open {
		s.Open = false
	}
	return s
}

// HasChildren says whether the version has keys below a path.
func (k *Keys) HasChildren(path string) bool {
	for p := range k.c.Keys {
		if strings.HasPrefix(p, path+".") && k.Get(p).Known {
			return true
		}
	}
	return false
}

// All are the known paths of the version, sorted.
func (k *Keys) All() []string {
	var out []string
	for p := range k.c.Keys {
		if k.Get(p).Known {
			out = append(out, p)
		}
	}
	sort.Strings(out)
	return out
}

// Lineages are the names of the charts whose line is known, in the order of the
// file, each once.
func Lineages() []string {
	var out []string
	for _, l := range loadFacts().lineages {
		if !slices.Contains(out, l.Chart) {
			out = append(out, l.Chart)
		}
	}
	return out
}

// Charts are the names of charts whose keys are known.
func Charts() []string {
	var out []string
	for c := range loadKeys() {
		if c != "loki-gel" {
			out = append(out, c)
		}
	}
	sort.Strings(out)
	return out
}

// GuessChart names the chart that has all or nearly all of these top-level
// keys in any version; "" when none stands out. Keys that most charts have say
// nothing.
func GuessChart(keys []string) string {
	best, bestScore, second := "", 0, 0
	for _, name := range Charts() {
		c := keysFor(name)
		score, misses := 0, 0
		for _, k := range keys {
			switch _, ok := c.Keys[k]; {
			case !ok:
				misses++
			case telling(k):
				score += 2
			}
		}
		score -= misses
		if score > bestScore {
			best, bestScore, second = name, score, bestScore
		} else if score > second {
			second = score
		}
	}
	if bestScore == 0 || bestScore == second {
		return ""
	}
	return best
}

// telling keys are those that charts do not share.
func telling(k string) bool {
	switch k {
	case "image", "global", "serviceAccount", "rbac", "resources", "nodeSelector", "tolerations", "affinity", "annotations", "podAnnotations", "podLabels",
		"service", "ingress", "replicas", "replicaCount", "fullnameOverride", "nameOverride", "securityContext", "extraObjects", "imagePullSecrets", "networkPolicy",
		"serviceMonitor", "config", "namespace", "updateStrategy", "priorityClassName", "initContainer", "sidecar", "test":
		return false
	}
	return true
}
