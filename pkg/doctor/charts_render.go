package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/data"
	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// lokiValues reads the values that decide what the loki chart renders.
type lokiValues struct{ c chartCtx }

// get is the user's value, else the chart's default, else def.
func (l lokiValues) get(def string, path ...string) string { return l.c.r.Effective(def, path...) }

// mode is the deployment mode; before 6.0.0 there was none.
func (l lokiValues) mode() string {
	def := "SimpleScalable"
	if l.c.lineage.ID == data.LokiCommunity && data.Compare(l.c.version, "12.0.0") >= 0 {
		def = "Monolithic"
	}
	if m := l.c.r.String("deploymentMode"); m != "" {
		return m
	}
	return def
}

// filesystem says whether the chart takes the storage for a local disk.
func (l lokiValues) filesystem() bool {
	if l.get("false", "minio", "enabled") == "true" {
		return false
	}
	if l.get("false", "loki", "storage", "use_thanos_objstore") == "true" {
		return l.get("s3", "loki", "storage", "object_store", "type") == "filesystem"
	}
	return l.get("s3", "loki", "storage", "type") == "filesystem"
}

func (l lokiValues) replicas(component string) int {
	def := "0"
	switch component {
	case "read", "write", "backend":
		def = "3"
	}
	n, err := strconv.Atoi(l.get(def, component, "replicas"))
	if err != nil {
		return 0
	}
	return n
}

func (l lokiValues) scalable() bool {
	return l.replicas("read") > 0 || l.replicas("write") > 0 || l.replicas("backend") > 0
}

func (l lokiValues) distributed() bool {
	for _, c := range []string{"ingester", "distributor", "querier", "queryFrontend", "queryScheduler", "indexGateway", "compactor", "ruler"} {
		if l.c.r.Value(c, "replicas") != nil && l.replicas(c) > 0 {
			return true
		}
	}
	return false
}

// transitional modes run two sets of components while one replaces the other.
var lokiModes = []string{"SingleBinary", "SimpleScalable", "Distributed", "SingleBinary<->SimpleScalable", "SimpleScalable<->Distributed"}

func deploymentMode(c chartCtx) []Finding {
	if c.r.Chart != "loki" || data.Compare(c.version, "6.0.0") < 0 {
		return nil
	}
	l := lokiValues{c}
	mode := l.mode()
	set := c.r.Value("deploymentMode") != nil
	ref := c.r.Ref("deploymentMode")
	monolithic := c.lineage.ID == data.LokiCommunity && data.Compare(c.version, "12.0.0") >= 0
	single := "SingleBinary"
	modes := slices.Clone(lokiModes)
	if monolithic {
		single = "Monolithic"
		modes = append(modes, "Monolithic", "Monolithic<->SimpleScalable")
	}
	explains := []string{"LS0407", "LS0504@service/" + c.r.Namespace + "/*"}
	if set && !slices.Contains(modes, mode) {
		f := Finding{Status: Error, Ref: ref, Explains: explains,
			Detail: fmt.Sprintf("deploymentMode %q is unknown to %s: the release renders no Loki at all", mode, c.title()),
			Fix:    "deploymentMode: " + single + " (known: " + strings.Join(modes, ", ") + ")"}
		if mode == "Monolithic" {
			f.Detail += " (it is only known to grafana-community/loki from 12.0.0 on)"
			f.Patch = c.setPatch("deploymentMode", single, "!!str")
		}
		return []Finding{f}
	}
	if mode == "SimpleScalable" && !l.scalable() && l.replicas("singleBinary") > 0 {
		return []Finding{{Status: Error, Ref: ref, Explains: explains,
			Detail: fmt.Sprintf("%s is in mode SimpleScalable (%s) with read, write and backend.replicas 0: the release renders no Loki at all", c.title(), map[bool]string{true: "set", false: "the default"}[set]),
			Fix:    "deploymentMode: " + single, Patch: c.setPatch("deploymentMode", single, "!!str")}}
	}
	return nil
}

// renderRule is one `fail` of the chart's validate.yaml.
type renderRule struct {
	from string // version
	path []string
	when func(lokiValues) bool
	// message is Helm's, word for word.
	message, fix string
}

// The rules of templates/validate.yaml of helm-loki-6.55.0 and loki-18.11.0,
// in its order.
var validateRules = []renderRule{
	{"3.0.0", []string{"config"}, func(l lokiValues) bool { return !snapshot.IsEmpty(l.c.r.Value("config")) },
		"Top level 'config' is not allowed.", "move it: loki.config for a whole configuration, loki.structuredConfig for parts"},
	{"3.1.0", []string{"lokiCanary", "enabled"}, func(l lokiValues) bool {
		root := []string{"lokiCanary", "enabled"}
		if data.Compare(l.c.version, "6.0.0") < 0 {
			root = []string{"monitoring", "lokiCanary", "enabled"}
		}
		return l.c.r.String(root...) == "false" && l.get("true", "test", "enabled") == "true" && data.Compare(l.c.version, "3.3.0") >= 0
	}, "Helm test requires the Loki Canary to be enabled", "test.enabled: false"},
	{"6.0.0", []string{"singleBinary", "replicas"}, func(l lokiValues) bool { return l.filesystem() && l.replicas("singleBinary") > 1 },
		"Cannot run more than 1 Single Binary replica without an object storage backend.", "singleBinary.replicas: 1, or an object store in loki.storage"},
	{"6.0.0", []string{"loki", "storage", "type"}, func(l lokiValues) bool {
		return l.filesystem() && l.replicas("singleBinary") == 0 && (l.scalable() || l.distributed())
	}, "Cannot run scalable targets (backend, read, write) or distributed targets without an object storage backend.",
		"deploymentMode: SingleBinary with singleBinary.replicas: 1 and read, write, backend.replicas: 0; or an object store in loki.storage"},
	{"6.0.0", []string{"singleBinary", "replicas"}, func(l lokiValues) bool {
		return l.replicas("singleBinary") > 0 && l.scalable() && !strings.HasSuffix(l.mode(), "<->SimpleScalable")
	}, "You have more than zero replicas configured for both the single binary and simple scalable targets.",
		"deploymentMode: SingleBinary and read.replicas: 0, write.replicas: 0, backend.replicas: 0"},
	{"6.0.0", []string{"deploymentMode"}, func(l lokiValues) bool {
		return l.scalable() && l.distributed() && l.mode() != "SimpleScalable<->Distributed"
	}, "You have more than zero replicas configured for scalable targets (backend, read, write) and distributed targets.",
		"set the replicas of one of them to 0, or deploymentMode: SimpleScalable<->Distributed while you move"},
	{"6.0.0", []string{"loki", "useTestSchema"}, func(l lokiValues) bool {
		return l.get("false", "loki", "useTestSchema") == "true" && l.hasSchema()
	}, "loki.useTestSchema must be false if loki.schemaConfig or loki.structuredConfig.schema_config are defined.", "take loki.useTestSchema out"},
	{"6.0.0", []string{"loki", "schemaConfig"}, func(l lokiValues) bool {
		return l.get("false", "loki", "useTestSchema") != "true" && !l.hasSchema() && snapshot.IsEmpty(l.c.r.Value("loki", "config")) && len(l.c.r.Incomplete) == 0
	}, "You must provide a schema_config for Loki, one is not provided as this will be individual for every Loki cluster.",
		"loki.schemaConfig.configs: [{from: \"2024-04-01\", store: tsdb, object_store: filesystem, schema: v13, index: {prefix: index_, period: 24h}}] (an existing store keeps its old periods)"},
	{"6.1.0", []string{"loki", "storage", "bucketNames"}, func(l lokiValues) bool {
		return !l.filesystem() && l.get("false", "minio", "enabled") != "true" && l.get("false", "loki", "storage", "use_thanos_objstore") != "true" &&
			l.c.r.String("loki", "storage", "bucketNames", "chunks") == "" && snapshot.IsEmpty(l.c.r.Value("loki", "config")) && len(l.c.r.Incomplete) == 0
	}, "Please define loki.storage.bucketNames.chunks", "loki.storage.bucketNames.chunks: NAME (also ruler, admin), or loki.storage.type: filesystem for one replica"},
	{"17.0.0", []string{"minio", "enabled"}, func(l lokiValues) bool {
		return l.get("false", "minio", "enabled") == "true" && l.get("false", "ignoreMinioDeprecation") != "true"
	}, "the MinIO subchart is deprecated and will be removed", "use an object store of your own, or ignoreMinioDeprecation: true for the time being"},
}

func (l lokiValues) hasSchema() bool {
	return !snapshot.IsEmpty(l.c.r.Value("loki", "schemaConfig")) || !snapshot.IsEmpty(l.c.r.Value("loki", "structuredConfig", "schema_config"))
}

func renderRules(c chartCtx) []Finding {
	if c.r.Chart != "loki" || c.lineage.ID == data.LokiGEL {
		return nil
	}
	if c.r.Status == "deployed" && c.version == c.r.Version && c.r.Origin == snapshot.FromHelm {
		return nil // it did render
	}
	l := lokiValues{c}
	var out []Finding
	for _, rule := range validateRules {
		if data.Compare(c.version, rule.from) < 0 || !rule.when(l) {
			continue
		}
		out = append(out, Finding{Status: Error, Ref: c.r.Ref(rule.path...), Detail: fmt.Sprintf("%s refuses these values: %q", c.title(), rule.message), Fix: rule.fix})
	}
	return out
}

func changedTypes(c chartCtx) []Finding {
	var out []Finding
	wrong := func(want string, path ...string) {
		out = append(out, Finding{Status: Error, Ref: c.r.Ref(path...), Detail: fmt.Sprintf("%s has to be %s in %s", strings.Join(path, "."), want, c.title()), Fix: "write it as " + want})
	}
	switch {
	case c.r.Chart == "loki" && data.Compare(c.version, "6.0.0") >= 0:
		snapshot.Entries(c.r.Values, func(component string, _, v *yaml.Node) {
			for _, key := range []string{"affinity", "topologySpreadConstraints"} {
				if n := snapshot.Lookup(v, key); n != nil && n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
					wrong("an object, not a string template (since 6.0.0)", component, key)
				}
			}
		})
	case c.r.Chart == "k8s-monitoring":
		n := c.r.Value("destinations")
		if n == nil {
			return nil
		}
		if data.Compare(c.version, "4.0.0") >= 0 && n.Kind == yaml.SequenceNode {
			wrong("a map keyed by name (since 4.0.0)", "destinations")
		}
		if data.Compare(c.version, "4.0.0") < 0 && n.Kind == yaml.MappingNode {
			wrong("a list (until 4.0.0)", "destinations")
		}
	}
	return out
}

// upgradeBlockers lists what lies between a release's version and the target.
func upgradeBlockers(s *snapshot.Snapshot) []Finding {
	target := s.Options.TargetVersion
	var out []Finding
	for _, r := range s.Releases() {
		if r.Chart != "loki" || r.Version == "" {
			continue
		}
		if why := chartOf(s, r).blind(); why != "" {
			out = append(out, Finding{Status: Skip, Ref: r.Ref(), Detail: why})
		}
		for _, f := range data.FactsOf(r.Chart) {
			relevant := f.Status == "upgrade-blocker" || f.Status == "renamed" || f.Status == "default-changed" || f.Status == "behaviour-changed" || f.Status == "blocked"
			if !relevant || f.From == "" || data.Compare(f.From, r.Version) <= 0 || data.Compare(f.From, target) > 0 || f.Effect == "" {
				continue
			}
			status := Info
			if f.Status == "upgrade-blocker" || f.Status == "renamed" || f.Severity == "error" {
				status = Warning
			}
			out = append(out, Finding{Status: status, Ref: r.Ref(), Detail: fmt.Sprintf("from %s on: %s: %s", f.From, f.Path, f.Effect), Fix: orElse(f.Fix, "prepare for it before upgrading to "+f.From+" or later")})
		}
	}
	return out
}

func releaseState(s *snapshot.Snapshot) []Finding {
	var out []Finding
	for _, r := range s.Releases() {
		switch r.Status {
		case "", "deployed", "superseded", "uninstalled":
			continue
		}
		f := Finding{Status: Error, Ref: r.Ref(), Detail: fmt.Sprintf("revision %d of release %s (%s) is %s", r.Revision, r.Name, r.Title(), r.Status)}
		if line, _, _ := strings.Cut(snapshot.RedactText(r.Message), "\n"); line != "" {
			f.Detail += ": " + line
		}
		if r.Revision > 1 {
			f.Fix = fmt.Sprintf("helm rollback %s %d -n %s", r.Name, r.Revision-1, r.Namespace)
		} else {
			f.Fix = fmt.Sprintf("helm uninstall %s -n %s, mend the cause and install again", r.Name, r.Namespace)
		}
		out = append(out, f)
	}
	return out
}
