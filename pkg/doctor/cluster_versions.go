package doctor

import (
	"fmt"
	"regexp"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/conf"
	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/data"
	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
	"github.com/logstack-dev/kubectl-logstack/pkg/install"
)

// versionChecks are those of category 01 about versions.
func versionChecks() []Check {
	return []Check{{
		Code: "LS0103", Severity: Warning, Title: "plugin and collector are of one version",
		Explain: "The plugin and the collector talk Loki's API and a few endpoints of their own. They understand each other across one minor version; beyond that, what one of them can do is missing in the other.",
		Fix:     "kubectl krew upgrade logstack, or kubectl logstack install to bring the collector up",
		Needs:   []snapshot.Input{snapshot.Server, snapshot.Query}, Uses: []snapshot.Input{snapshot.StatefulSets},
		Applies: func(s *snapshot.Snapshot) bool { return hasOurs(s) && s.Query() != nil && s.Query().Err == nil },
		Run:     checkSkew,
	}, {
		Code: "LS0102", Severity: Error, Title: "the version of Kubernetes is one that the stack supports",
		Explain: "grafana-community/loki from 7.0.0 on refuses to be installed below Kubernetes 1.25, as does any chart that says so in kubeVersion. Below 1.29.1 a follow through the API ends when a log file is rotated, and loki.source.kubernetes loses lines.",
		Fix:     "upgrade Kubernetes",
		Needs:   []snapshot.Input{snapshot.Server}, Uses: []snapshot.Input{snapshot.Releases, snapshot.Collectors},
		Run: checkKubeVersion,
	}}
}

// The versions that matter: the first one of grafana-community/loki that asks
// for Kubernetes 1.25, and the one in which a follow survives a rotation
// (kubernetes/kubernetes#59902, grafana/alloy#1728).
const (
	followsRotation = "1.29.1"
	communityKube   = "1.25.0"
	communityFrom   = "7.0.0"
)

var plainVersion = regexp.MustCompile(`\d+\.\d+(\.\d+)?`)

// kubeVersion is the API server's as x.y.z, "" when it says nothing.
func kubeVersion(s *snapshot.Snapshot) string {
	v := s.Version()
	if v == nil {
		return ""
	}
	if m := plainVersion.FindString(v.GitVersion); m != "" {
		return m
	}
	return plainVersion.FindString(v.Major + "." + v.Minor)
}

// checkSkew compares release versions; a build of a developer's has none.
func checkSkew(s *snapshot.Snapshot) []Finding {
	q := s.Query()
	theirs, mine := plainVersion.FindString(q.Version), plainVersion.FindString(q.Plugin)
	if theirs == "" || mine == "" {
		return []Finding{{Status: OK, Detail: fmt.Sprintf("plugin %s, collector %s: not both are releases", orElse(q.Plugin, "?"), orElse(q.Version, "?"))}}
	}
	var a, b struct{ major, minor int }
	// plainVersion has matched: both are numbers.
	_, _ = fmt.Sscanf(theirs, "%d.%d", &a.major, &a.minor)
	_, _ = fmt.Sscanf(mine, "%d.%d", &b.major, &b.minor)
	if a.major == b.major && max(a.minor-b.minor, b.minor-a.minor) <= 1 {
		return nil
	}
	f := Finding{Status: Warning, Ref: ownService(s), Detail: fmt.Sprintf("the collector is %s and the plugin %s", theirs, mine), Fix: install.Command(s.Namespace, "install") + " (brings the collector up)"}
	if data.Compare(theirs, mine) > 0 {
		f.Fix = "kubectl krew upgrade logstack (the collector is the newer one)"
	}
	return []Finding{f}
}

func checkKubeVersion(s *snapshot.Snapshot) []Finding {
	have := kubeVersion(s)
	if have == "" {
		return []Finding{{Status: Skip, Detail: "the API server does not say its version"}}
	}
	var out []Finding
	for _, r := range s.Releases() {
		c := chartOf(s, r)
		needs := plainVersion.FindString(r.KubeVersion)
		if needs == "" && c.lineage.ID == data.LokiCommunity && data.Compare(c.version, communityFrom) >= 0 {
			needs = communityKube
		}
		if needs != "" && data.Compare(have, needs) < 0 {
			out = append(out, Finding{Status: Error, Ref: r.VersionRef(), Detail: fmt.Sprintf("%s wants Kubernetes %s or newer, this is %s", c.title(), needs, have), Fix: "upgrade Kubernetes, or stay with an older version of the chart"})
		}
	}
	if data.Compare(have, followsRotation) >= 0 {
		return out
	}
	for _, col := range s.Collectors() {
		if col.Err != nil {
			continue
		}
		cfg := conf.Parse(string(col.Product), col.Config.Content)
		if cfg == nil {
			continue
		}
		for _, src := range cfg.Sources {
			if src.Kind == conf.API {
				out = append(out, Finding{Status: Warning, Ref: col.Config.At(src.Pos.Line, src.Pos.Column), Detail: fmt.Sprintf("below Kubernetes %s a follow through the API ends when a log file is rotated, this is %s: %s loses lines", followsRotation, have, src.Component),
					Fix: "upgrade Kubernetes to " + followsRotation + " or newer, or read files: loki.source.file with local.file_match"})
				break
			}
		}
	}
	return out
}
