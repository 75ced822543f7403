// Package conf reads the configurations of log collectors (Alloy, Promtail,
// Fluent Bit, Vector, OpenTelemetry) into terms that they share: where lines
// come from ([Source], with the relabel rules on their way), and where they are
// sent ([Endpoint]), each with its line and column.
//
// It evaluates no expression: what depends on the environment is marked as
// dynamic, and nobody should draw conclusions from it. Relabel rules are run by
// Prometheus's own relabel package ([Simulate]) on the labels that Kubernetes
// service discovery gives a pod ([PodTarget]).
package conf
