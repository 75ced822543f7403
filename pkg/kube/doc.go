// Package kube is the project's door to a Kubernetes cluster: clients built
// from a kubeconfig, server-side apply, and a way to reach a Service inside the
// cluster from a laptop.
//
//   - [Client] bundles what commands need; [NewClient] makes one from kubectl's
//     own flags.
//   - [Connect] reaches a Service with nothing but a kubeconfig: through the API
//     server's service proxy, else by a port-forward. It returns an
//     [Connection], an http.Client and the URL to use with it.
//   - [Client.Apply] and [Client.Delete] change objects and say what changed.
//
// It knows Kubernetes objects only in general: which objects make up an
// installation is pkg/install's business, what flows over a connection
// pkg/lokiapi's.
package kube
