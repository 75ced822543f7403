// Package data holds facts about log charts: which values keys each version
// has, which moved, were removed or deprecated, what upgrades change, and which
// Services a release renders. They answer [Keys], [FactsOf], [LineageOf] and
// [Services] offline, for any version.
//
// The files were generated on 2026-11-22 from the git history of the charts
// (values.yaml of every release tag of grafana/loki 3.0.0 to 7.3.0,
// grafana-community/helm-charts loki 6.56.0 to 18.11.0, grafana/alloy 0.1.0 to
// 1.11.1, grafana/helm-charts promtail and loki-stack) and from rendering every
// tag; each entry of chart-values.yaml names its own source:
//
//	chart-values.yaml          facts, by chart
//	chart-keys.json.gz         every values path down to depth 3, with versions
//	rendered-services.json.gz  Services and workloads of each version and mode
//
// The package judges nothing: severities and messages are the checks' work.
package data
