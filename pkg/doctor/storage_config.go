package doctor

import (
	"fmt"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// withoutRelease are the configurations of Loki in ConfigMaps of namespaces in
// which no release of the chart is known (Argo CD, kubectl apply): values say
// nothing about them.
func withoutRelease(s *snapshot.Snapshot) []lokiConfig {
	return slices.DeleteFunc(lokiConfigs(s), func(l lokiConfig) bool {
		return slices.ContainsFunc(s.Releases(), func(r *snapshot.Release) bool { return r.Chart == "loki" && r.Namespace == l.cm.Namespace })
	})
}

func hasLokiConfig(s *snapshot.Snapshot) bool { return hasLokiChart(s) || len(withoutRelease(s)) > 0 }

// onConfigMaps adds what a function finds in ConfigMaps to what the values say.
func onConfigMaps(values func(*snapshot.Snapshot) []Finding, f func(*snapshot.Snapshot, lokiConfig) []Finding) func(*snapshot.Snapshot) []Finding {
	return func(s *snapshot.Snapshot) []Finding {
		out := values(s)
		for _, l := range withoutRelease(s) {
			out = append(out, f(s, l)...)
		}
		return out
	}
}

// at is the place of a path, or of the deepest part of it that is there.
func (l lokiConfig) at(path ...string) snapshot.Ref {
	for n := len(path); n > 0; n-- {
		if v := snapshot.Lookup(l.root, path[:n]...); v != nil {
			return l.text.At(v.Line, v.Column)
		}
	}
	return l.text.Ref
}

func scalarAt(n *yaml.Node, path ...string) string {
	if v := snapshot.Lookup(n, path...); v != nil {
		return v.Value
	}
	return ""
}

func configRetention(_ *snapshot.Snapshot, l lokiConfig) []Finding {
	period := scalarAt(l.root, "limits_config", "retention_period")
	f := Finding{Status: Warning, Ref: l.at("limits_config", "retention_period"), Fix: "limits_config.retention_period: 168h with compactor: {retention_enabled: true, delete_request_store: filesystem}"}
	switch {
	case period == "" || period == "0" || period == "0s":
		f.Detail = "limits_config.retention_period is not set: logs are kept until the volume is full"
	case scalarAt(l.root, "compactor", "retention_enabled") != "true":
		f.Detail = "retention_period is " + period + " and compactor.retention_enabled is not true: nothing is deleted"
	case scalarAt(l.root, "compactor", "delete_request_store") == "":
		f.Ref, f.Detail = l.at("compactor", "retention_enabled"), "retention is enabled without compactor.delete_request_store: Loki from 3.0 on does not start"
	default:
		return nil
	}
	return []Finding{f}
}

// configSchema judges the period that is active now.
func configSchema(s *snapshot.Snapshot, l lokiConfig) []Finding {
	periods := snapshot.Lookup(l.root, "schema_config", "configs")
	if periods == nil {
		return nil
	}
	var active *yaml.Node
	coming := ""
	for _, p := range periods.Content {
		day, err := time.Parse(time.DateOnly, scalarAt(p, "from"))
		switch {
		case err != nil:
		case day.After(s.Taken):
			coming = scalarAt(p, "from")
		default:
			active = p
		}
	}
	if active == nil || scalarAt(active, "store") == "tsdb" && scalarAt(active, "schema") >= "v13" {
		return nil
	}
	f := Finding{Status: Warning, Ref: l.text.At(active.Line, active.Column), Detail: fmt.Sprintf("the active period uses store %s with schema %s", orElse(scalarAt(active, "store"), "?"), orElse(scalarAt(active, "schema"), "?")),
		Fix: "add a period that begins in the future: {from: \"" + s.Taken.AddDate(0, 0, 2).Format(time.DateOnly) + "\", store: tsdb, object_store: " + orElse(scalarAt(active, "object_store"), "filesystem") + ", schema: v13, index: {prefix: index_, period: 24h}}"}
	if coming != "" {
		f.Status, f.Detail = Info, f.Detail+"; the one from "+coming+" is to come"
	}
	return []Finding{f}
}
