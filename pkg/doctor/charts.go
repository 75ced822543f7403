package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/data"
	"github.com/logstack-dev/kubectl-logstack/pkg/doctor/snapshot"
)

// Category 06: chart values and releases.
func chartChecks() []Check {
	releases := []snapshot.Input{snapshot.Releases}
	return append([]Check{
		{
			Code: "LS0601", Severity: Error, Title: "no value stands where the chart looked in older versions",
			Explain: "Charts move values between versions and Helm never rejects a stale one: it is ignored without a word, and helm upgrade, Flux and Argo CD stay green. monitoring.lokiCanary of loki charts before 6.0.0 is the best known: from 6.0.0 on `enabled: false` there switches nothing off, and one canary pod per node comes back.",
			Fix:     "move the value to its new path; doctor --fix prints the change",
			Needs:   releases, Applies: hasKnownChart, Run: onValues(chartCtx.blind, movedValues),
		},
		{
			Code: "LS0602", Severity: Error, Title: "no value is set that the chart has removed",
			Explain: "A value that a chart no longer has is ignored by Helm without a word; what it switched on or off is as the chart's default has it.",
			Fix:     "take the value out, and read in the finding what took its place",
			Needs:   releases, Applies: hasKnownChart, Run: onValues(chartCtx.blind, removedValues),
		},
		{
			Code: "LS0606", Severity: Error, Title: "values are nested as the chart expects them",
			Explain: "Values written for an umbrella chart (everything below `loki:`) and given to the chart directly are all ignored; so are chart-level keys (deploymentMode, singleBinary, lokiCanary) below `loki:`, which holds Loki's own configuration.",
			Fix:     "move the block one level up",
			Needs:   releases, Applies: hasKnownChart, Run: onValues(chartCtx.blindForKeys, misnestedValues),
		},
		{
			Code: "LS0603", Severity: Warning, Title: "every value is one that the chart knows",
			Explain: "Each value's path is compared with the chart's own default values (from Helm's release secret, else from the embedded facts). What stands below a free-form map is not judged. A typing mistake is the common cause: Helm ignores it without a word.",
			Fix:     "use the nearest right key that the finding names, or take the value out",
			Needs:   releases, Applies: hasKnownChart, Run: onValues(chartCtx.blindForKeys, unknownValues),
		},
		{
			Code: "LS0604", Severity: Warning, Title: "no deprecated value is set",
			Explain: "A deprecated value still works in this version of the chart and will be ignored in a later one.",
			Fix:     "use the value that takes its place",
			Needs:   releases, Applies: hasKnownChart, Run: onValues(chartCtx.blind, deprecatedValues),
		},
		{
			Code: "LS0605", Severity: Warning, Title: "the chart adds no pods that nobody asked for",
			Explain: "New versions of the loki chart switch components on by default: from 6.0.0 on two memcached StatefulSets whose memory requests are 9830Mi and 1229Mi, from 3.1.0 on a canary on every node, from 9.1.0 on an exporter beside the gateway. Values that say nothing about a component get it.",
			Fix:     "say what you want: chunksCache.enabled: false, resultsCache.enabled: false, lokiCanary.enabled: false with test.enabled: false",
			Needs:   releases, Applies: hasLokiChart, Run: onValues(chartCtx.blind, newDefaultPods),
		},
		{
			Code: "LS0613", Severity: Error, Title: "the deployment mode is one that the chart's version knows",
			Explain: "The loki chart from 6.0.0 on knows SingleBinary, SimpleScalable and Distributed (and the transitional SingleBinary<->SimpleScalable, SimpleScalable<->Distributed); the community chart from 12.0.0 on calls the first Monolithic. An unknown mode, or one whose components have no replicas, renders gateway, canary and caches but no Loki at all, without an error.",
			Fix:     "deploymentMode: SingleBinary (Monolithic from 12.0.0 on) with read, write and backend.replicas: 0",
			Needs:   releases, Applies: hasLokiChart, Run: onValues(chartCtx.blind, deploymentMode),
		},
		{
			Code: "LS0607", Severity: Error, Title: "the values render",
			Explain: "The rules of the chart's validate.yaml: helm template, Flux and Argo CD will refuse these values with the message that is quoted.",
			Fix:     "change the values as the finding says; try it: helm template RELEASE CHART -f values.yaml",
			Needs:   releases, Applies: hasLokiChart, Run: onValues(chartCtx.blind, renderRules),
		},
		{
			Code: "LS0614", Severity: Error, Title: "values have the type that the chart's version expects",
			Explain: "Loki's affinity and topologySpreadConstraints became objects in 6.0.0 (before, string templates); k8s-monitoring's destinations became a map in 4.0.0 (before, a list). A value of the old type breaks rendering.",
			Fix:     "write the value as an object",
			Needs:   releases, Applies: hasKnownChart, Run: onValues(chartCtx.blind, changedTypes),
		},
		{
			Code: "LS0608", Severity: Warning, Title: "the chart's line is alive",
			Explain: "Two charts are called loki. grafana/loki is for Grafana Enterprise Logs since 7.0.0 (2026-03-16); 6.55.0 was its last release of open-source Loki, which went on as grafana-community/loki, with overlapping version numbers.",
			Fix:     "helm repo add grafana-community https://grafana-community.github.io/helm-charts",
			Needs:   releases, Applies: hasLokiChart, Run: onCharts(chartLineage),
		},
		{
			Code: "LS0609", Severity: Warning, Title: "the chart is maintained",
			Explain: "promtail, loki-stack, loki-distributed, loki-simple-scalable, loki-canary, grafana-agent-operator, Grafana's fluent-bit and lgtm-distributed are deprecated and get no fixes. Promtail itself is at its end of life since 2026-03-02.",
			Fix:     "promtail: alloy convert --source-format=promtail, chart alloy; loki-stack and others: charts loki (grafana-community), alloy and grafana",
			Needs:   releases, Applies: hasFamiliarChart, Run: onCharts(deprecatedChart),
		},
		{
			Code: "LS0610", Severity: Warning, Title: "the upgrade to --target-version needs no preparation",
			Explain: "What breaks or changes between the version of a release and --target-version: immutable fields, renamed objects, changed defaults, each with what to do first.",
			Fix:     "do what the findings say, in their order, before upgrading",
			Needs:   releases, Applies: hasTarget, Run: upgradeBlockers,
		},
		{
			Code: "LS0611", Severity: Error, Title: "Helm's releases are deployed",
			Explain: "A release that is failed or pending (a helm that was interrupted) is in an unknown state: the objects may be half of one version and half of another, and the next upgrade is refused.",
			Fix:     "helm history RELEASE -n NAMESPACE; helm rollback RELEASE REVISION -n NAMESPACE",
			Needs:   releases, Applies: hasHelmRelease, Run: releaseState,
		},
		{
			Code: "LS0612", Severity: Warning, Title: "the objects in the cluster are as the chart rendered them",
			Explain: "Images and replicas of the workloads that Helm rendered are compared with those in the cluster. A difference was made by hand (or by an autoscaler) and is lost with the next upgrade.",
			Fix:     "put the change into the values, or take it back: helm upgrade RELEASE CHART --reuse-values",
			Needs:   []snapshot.Input{snapshot.Releases, snapshot.Deployments, snapshot.StatefulSets, snapshot.DaemonSets},
			Applies: hasManifest, Run: liveDrift,
		},
	}, gitopsChecks()...)
}

// chartCtx is a release with what the facts know about its chart's version.
type chartCtx struct {
	r       *snapshot.Release
	lineage data.Lineage
	// version is the one that is judged: the target of an upgrade, else the
	// release's, else the newest that its range allows. assumed says the last.
	version string
	assumed bool
	keys    *data.Keys // nil when the chart's keys are unknown
}

func chartOf(s *snapshot.Snapshot, r *snapshot.Release) chartCtx {
	c := chartCtx{r: r, version: r.Version}
	if t := s.Options.TargetVersion; t != "" && r.Chart == "loki" {
		c.version = t
	}
	if c.version == "" {
		c.version, c.assumed = newestIn(r), true
	}
	c.lineage, _ = data.LineageOf(r.Chart, r.Repo, r.Home, r.Description, c.version)
	if c.version == "" {
		c.version = data.Newest(c.lineage)
	}
	if c.lineage.Chart != "" {
		c.keys = data.KeysOf(c.lineage, c.version)
	}
	return c
}

// newestIn is the newest version that the facts know of a chart's range.
func newestIn(r *snapshot.Release) string {
	l, _ := data.LineageOf(r.Chart, r.Repo, r.Home, r.Description, "")
	candidates := []string{data.Newest(l)}
	if r.Chart == "loki" && l.ID == data.LokiGrafana {
		candidates = []string{"7.3.0", "6.55.0", "5.48.0"}
	}
	if r.Chart == "loki" && l.ID == data.LokiCommunity && !strings.Contains(r.Repo+r.Home, "community") {
		candidates = append(candidates, "6.55.0", "5.48.0")
	}
	for _, v := range candidates {
		if r.Constraint == "" || data.Matches(r.Constraint, v) {
			return v
		}
	}
	return candidates[0]
}

// title names chart and version in messages.
func (c chartCtx) title() string {
	switch {
	case c.assumed && c.r.Constraint == "":
		return c.r.Chart + " " + c.version + " (assumed: the newest known)"
	case c.assumed && !data.Matches(c.r.Constraint, c.version):
		return fmt.Sprintf("%s %s (assumed: %s is no version that is known)", c.r.Chart, c.version, c.r.Constraint)
	case c.assumed:
		return fmt.Sprintf("%s %s (assumed: the newest that %s allows)", c.r.Chart, c.version, c.r.Constraint)
	case c.newer() != "":
		return fmt.Sprintf("%s %s (judged as %s, the newest known)", c.r.Chart, c.version, c.newer())
	}
	return c.r.Chart + " " + c.version
}

func orElse(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// onCharts makes a check of a function over one release.
func onCharts(f func(chartCtx) []Finding) func(*snapshot.Snapshot) []Finding {
	return func(s *snapshot.Snapshot) []Finding {
		var out []Finding
		for _, r := range s.Releases() {
			out = append(out, f(chartOf(s, r))...)
		}
		return out
	}
}

// onValues is onCharts for checks that judge the values of log stacks' charts:
// a release of which blind knows too little is a skip, whatever was found.
func onValues(blind func(chartCtx) string, f func(chartCtx) []Finding) func(*snapshot.Snapshot) []Finding {
	return onCharts(func(c chartCtx) []Finding {
		out := f(c)
		if why := blind(c); why != "" && judged(c.r.Chart) {
			out = append(out, Finding{Status: Skip, Ref: c.r.Ref(), Detail: why})
		}
		return append(out, incomplete(c.r)...)
	})
}

// onAllValues is onValues for charts of which nothing has to be known.
func onAllValues(f func(chartCtx) []Finding) func(*snapshot.Snapshot) []Finding {
	return onValues(func(chartCtx) string { return "" }, f)
}

// incomplete are the skips of a check of values that are not all at hand.
func incomplete(r *snapshot.Release) []Finding {
	var out []Finding
	for _, l := range r.Incomplete {
		f := Finding{Status: Skip, Ref: r.Ref(), Detail: "the values of " + r.Title() + " are not all at hand: " + l.What + " could not be read"}
		if l.Right != nil {
			f.Right = l.Right.String()
		}
		out = append(out, f)
	}
	return out
}

// blind says why the values of a release cannot be judged; "" when they can.
func (c chartCtx) blind() string {
	switch {
	case c.ownDefaults():
		return ""
	case c.keys == nil && len(data.FactsOf(c.r.Chart)) == 0:
		return "the values of chart " + c.r.Chart + " are not known (those of " + strings.Join(data.Charts(), ", ") + " are)"
	case c.keys == nil:
		return ""
	}
	oldest, newest := c.keys.Bounds()
	switch {
	case c.assumed && c.r.Constraint != "" && !data.Matches(c.r.Constraint, c.version):
		return fmt.Sprintf("no version of chart %s that is known (%s to %s) is %s", c.r.Chart, oldest, newest, c.r.Constraint)
	case c.newer() != "":
		return fmt.Sprintf("%s %s is newer than %s, the newest version that is known", c.r.Chart, c.version, newest)
	case data.Compare(c.version, oldest) < 0:
		return fmt.Sprintf("%s %s is older than %s, the oldest version that is known", c.r.Chart, c.version, oldest)
	}
	return ""
}

// blindForKeys also asks for the list of the chart's keys.
func (c chartCtx) blindForKeys() string {
	if why := c.blind(); why != "" || c.knowsKeys() {
		return why
	}
	return "the keys of chart " + c.r.Chart + " are not known (those of " + strings.Join(data.Charts(), ", ") + " are)"
}

// ownDefaults: Helm stored the default values of the judged version.
func (c chartCtx) ownDefaults() bool { return len(c.r.Defaults) > 0 && c.version == c.r.Version }

// newer is the newest known version, when the judged one is newer.
func (c chartCtx) newer() string {
	if c.keys == nil || c.ownDefaults() {
		return ""
	}
	if _, newest := c.keys.Bounds(); data.Compare(c.version, newest) > 0 {
		return newest
	}
	return ""
}

// FamiliarCharts are the charts of which anything is known, sorted.
func FamiliarCharts() []string {
	out := slices.Concat(data.Lineages(), data.Charts(), []string{"k8s-monitoring", "vector"})
	slices.Sort(out)
	return slices.Compact(out)
}

// CheckChart refuses the name of a chart of which nothing is known.
func CheckChart(name string) error {
	known := FamiliarCharts()
	if slices.Contains(known, name) {
		return nil
	}
	hint := "known are " + strings.Join(known, ", ")
	if near := nearest(name, known); near != "" {
		hint = "did you mean " + near + "? (" + hint + ")"
	}
	return fmt.Errorf("nothing is known of a chart %q: %s", name, hint)
}

func hasFamiliarChart(s *snapshot.Snapshot) bool {
	return anyRelease(s, func(r *snapshot.Release) bool { return slices.Contains(FamiliarCharts(), r.Chart) })
}

func anyRelease(s *snapshot.Snapshot, f func(*snapshot.Release) bool) bool {
	for _, r := range s.Releases() {
		if f(r) {
			return true
		}
	}
	return false
}

func hasKnownChart(s *snapshot.Snapshot) bool {
	return anyRelease(s, func(r *snapshot.Release) bool { return judged(r.Chart) })
}

func hasLokiChart(s *snapshot.Snapshot) bool {
	return anyRelease(s, func(r *snapshot.Release) bool { return r.Chart == "loki" })
}

func hasHelmRelease(s *snapshot.Snapshot) bool {
	return anyRelease(s, func(r *snapshot.Release) bool { return r.Status != "" })
}

func hasTarget(s *snapshot.Snapshot) bool { return s.Options.TargetVersion != "" && hasLokiChart(s) }

func hasManifest(s *snapshot.Snapshot) bool {
	return anyRelease(s, func(r *snapshot.Release) bool { return r.Manifest != "" })
}

// judged charts are those of log stacks: other charts' values are not our business.
func judged(chart string) bool {
	switch chart {
	case "loki", "alloy", "promtail", "loki-stack", "grafana", "fluent-bit", "vector", "k8s-monitoring":
		return true
	}
	return false
}

func chartLineage(c chartCtx) []Finding {
	r := c.r
	if r.Chart != "loki" {
		return nil
	}
	f := Finding{Status: Warning, Ref: r.VersionRef(), Fix: "helm repo add grafana-community https://grafana-community.github.io/helm-charts (or oci://ghcr.io/grafana-community/helm-charts/loki), then upgrade step by step: doctor --target-version shows what changes"}
	switch {
	case c.lineage.ID == data.LokiGrafana && data.Compare(c.version, "6.55.0") >= 0, c.lineage.ID == data.LokiGrafana && r.Version == "":
		f.Detail = "grafana/loki " + c.version + ": 6.55.0 was the last release of open-source Loki in this repository; the chart went on as grafana-community/loki"
		if r.Version == "" && r.Constraint != "" {
			f.Detail = fmt.Sprintf("grafana/loki with version %q stays at 6.55.0 for ever: the chart went on as grafana-community/loki; a range that admits 7.0.0 gets the chart of Grafana Enterprise Logs", r.Constraint)
		}
	case c.lineage.ID == data.LokiGEL:
		f.Detail = "grafana/loki " + c.version + " is the chart of Grafana Enterprise Logs (since 7.0.0), not of open-source Loki"
	case c.lineage.ID == "":
		f.Status = Info
		f.Detail = "loki " + c.version + " exists in grafana/loki and in grafana-community/loki, and nothing says which one this is"
		f.Fix = "name the repository: --chart grafana-community/loki@" + c.version
	default:
		return nil
	}
	return []Finding{f}
}

func deprecatedChart(c chartCtx) []Finding {
	if !c.lineage.Deprecated {
		return nil
	}
	fix := "charts loki (grafana-community), alloy and grafana take its place"
	switch c.r.Chart {
	case "promtail":
		fix = "alloy convert --source-format=promtail promtail.yaml, then chart grafana/alloy"
	case "fluent-bit":
		fix = "use the chart of https://fluent.github.io/helm-charts"
	case "loki-canary":
		fix = "the loki chart brings its own canary (lokiCanary)"
	}
	detail := "chart " + c.r.Chart + " is deprecated; its last version is " + c.lineage.Last
	if c.r.Chart == "promtail" {
		detail += "; Promtail is at its end of life since 2026-03-02"
	}
	return []Finding{{Status: Warning, Ref: c.r.VersionRef(), Detail: detail, Fix: fix}}
}

func hasRelease(s *snapshot.Snapshot) bool { return len(s.Releases()) > 0 }
